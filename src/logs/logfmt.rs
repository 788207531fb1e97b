//! A logfmt scanner: `key=value key2="quoted \" value" flag`.

use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogfmtPair<'a> {
    pub key: &'a str,
    /// Unescaped; `None` for a key without `=`.
    pub value: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("logfmt syntax error at pos {position} : {what}")]
pub struct LogfmtError {
    /// 1-based byte.
    pub position: usize,
    pub what: String,
}

/// Yields pairs and mistakes in order; after a mistake it goes on behind the next blank.
pub struct Logfmt<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Logfmt<'a> {
    pub fn new(line: &'a str) -> Logfmt<'a> {
        Logfmt { line, at: 0 }
    }

    /// Skips to the next blank; the mistake is at byte `at`.
    fn mistake(&mut self, at: usize, what: String) -> LogfmtError {
        let bytes = self.line.as_bytes();
        self.at = at + bytes[at.min(bytes.len())..].iter().take_while(|b| **b > b' ').count();
        LogfmtError { position: at + 1, what }
    }

    fn pair(&mut self) -> Result<LogfmtPair<'a>, LogfmtError> {
        let bytes = self.line.as_bytes();
        let from = self.at;
        let length = bytes[from..].iter().take_while(|b| !matches!(b, b'=' | b'"' | 0..=b' ')).count();
        let end = from + length;
        match bytes.get(end) {
            Some(b'=') if length == 0 => return Err(self.mistake(end, "unexpected '='".into())),
            Some(b'"') => return Err(self.mistake(end, "unexpected '\"'".into())),
            _ => {}
        }
        let key = &self.line[from..end];
        if key.contains('\u{fffd}') {
            return Err(self.mistake(end, "invalid key".into()));
        }
        self.at = end;
        if bytes.get(end) != Some(&b'=') {
            return Ok(LogfmtPair { key, value: None });
        }
        self.at = end + 1;
        if bytes.get(self.at) == Some(&b'"') {
            return self.quoted(key);
        }
        let from = self.at;
        let length = bytes[from..].iter().take_while(|b| !matches!(b, b'=' | b'"' | 0..=b' ')).count();
        match bytes.get(from + length) {
            Some(c @ (b'=' | b'"')) => Err(self.mistake(from + length, format!("unexpected '{}'", char::from(*c)))),
            _ => {
                self.at = from + length;
                Ok(LogfmtPair { key, value: Some(Cow::Borrowed(&self.line[from..self.at])) })
            }
        }
    }

    fn quoted(&mut self, key: &'a str) -> Result<LogfmtPair<'a>, LogfmtError> {
        let bytes = self.line.as_bytes();
        let from = self.at + 1;
        let mut at = from;
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                None => {
                    self.at = bytes.len();
                    return Err(LogfmtError { position: bytes.len() + 1, what: "unterminated quoted value".into() });
                }
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        let inside = &self.line[from..at];
        self.at = at + 1;
        if !escaped {
            return Ok(LogfmtPair { key, value: Some(Cow::Borrowed(inside)) });
        }
        match unescape(inside) {
            Some(value) => Ok(LogfmtPair { key, value: Some(Cow::Owned(value)) }),
            None => Err(LogfmtError { position: at + 2, what: "invalid quoted value".into() }),
        }
    }
}

/// JSON's escapes, which logfmt writers use. `None` for another.
fn unescape(inside: &str) -> Option<String> {
    match super::json::Scanner::new(&format!("\"{inside}\"")).scalar() {
        Ok(super::json::Scalar::String(text)) => Some(text.into_owned()),
        _ => None,
    }
}

impl<'a> Iterator for Logfmt<'a> {
    type Item = Result<LogfmtPair<'a>, LogfmtError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.line.as_bytes();
        self.at += bytes[self.at.min(bytes.len())..].iter().take_while(|b| **b <= b' ').count();
        (self.at < bytes.len()).then(|| self.pair())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(line: &str) -> Vec<String> {
        let show = |p: LogfmtPair<'_>| format!("{}={}", p.key, p.value.as_deref().unwrap_or("<none>"));
        Logfmt::new(line).map(|r| r.map_or_else(|e| format!("!{}", e.position), show)).collect()
    }

    #[test]
    fn pairs_flags_quotes_and_mistakes() {
        assert_eq!(pairs(r#"a=1  b="x \"y\" z" flag c="#), ["a=1", r#"b=x "y" z"#, "flag=<none>", "c="]);
        assert_eq!(pairs(r#"a=b=c d=1 x"y e=2"#), ["!4", "d=1", "!12", "e=2"]);
        assert_eq!(pairs(r#"=x b=1"#), ["!1", "b=1"]);
        assert_eq!(pairs(r#"a=1 broken="unterminated"#), ["a=1", "!25"]);
        assert_eq!(pairs(""), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn any_line_ends(line in ".{0,64}") {
            prop_assert!(Logfmt::new(&line).count() <= line.len());
        }

        #[test]
        fn any_quoting_ends(line in "[a= \"\\\\é]{0,32}") {
            prop_assert!(Logfmt::new(&line).count() <= line.len());
        }
    }
}
