use super::quote::quote;
use super::regexp::{Anchored, RegexpError};
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A test of one label, as PromQL and LogQL write it. An absent label has the value `""`.
/// Regular expressions are RE2's, anchored at both ends, and a dot matches a newline.
#[derive(Debug, Clone)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    pattern: Option<Anchored>,
}

impl Matcher {
    /// Fails with the text of the regular-expression error.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Matcher, RegexpError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Regex | MatchOp::NotRegex => Some(Anchored::new(&value)?),
            MatchOp::Equal | MatchOp::NotEqual => None,
        };
        Ok(Matcher { name: name.into(), op, value, pattern })
    }

    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Matcher {
        Matcher { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label has one of these values.
    pub fn one_of(name: impl Into<String>, values: &[String]) -> Result<Matcher, RegexpError> {
        match values {
            [one] => Ok(Matcher::equal(name, one)),
            many => {
                let any: Vec<String> = many.iter().map(|value| regex_syntax::escape(value)).collect();
                Matcher::new(name, MatchOp::Regex, any.join("|"))
            }
        }
    }

    pub fn matches(&self, value: &str) -> bool {
        let hit = match &self.pattern {
            Some(pattern) => pattern.is_match(value),
            None => self.value == value,
        };
        hit == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// The only values that satisfy the matcher; `None` if it does not list them.
    pub fn values(&self) -> Option<impl Iterator<Item = &str>> {
        let listed: (Option<&str>, &[Box<str>]) = match (self.op, &self.pattern) {
            (MatchOp::Equal, _) => (Some(&self.value), &[]),
            (MatchOp::Regex, Some(Anchored::Values(values))) => (None, values),
            _ => return None,
        };
        Some(listed.0.into_iter().chain(listed.1.iter().map(|v| &**v)))
    }

    /// Whether a series without this label satisfies the matcher.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.name, self.op.as_str(), quote(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_operators() {
        let m = |op, value: &str| Matcher::new("a", op, value).unwrap();
        assert!(m(MatchOp::Equal, "x").matches("x") && !m(MatchOp::Equal, "x").matches(""));
        assert!(m(MatchOp::NotEqual, "x").matches_empty());
        assert!(m(MatchOp::Regex, "x|y.*").matches("y\nz") && !m(MatchOp::Regex, "x").matches("xx"));
        assert!(m(MatchOp::NotRegex, "x.*").matches_empty() && !m(MatchOp::NotRegex, "x.*").matches("xy"));
        assert!(Matcher::new("a", MatchOp::Regex, "(").is_err());
        let listed = |matcher: Matcher| matcher.values().map(|v| v.map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(listed(m(MatchOp::Regex, "y|x")), Some(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!((listed(m(MatchOp::NotRegex, "y|x")), listed(m(MatchOp::Regex, "y.*"))), (None, None));
    }
}
