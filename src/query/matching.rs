use crate::model::Labels;

/// How elements of two vectors find each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matching {
    pub cardinality: Cardinality,
    /// `on (..)` if set, else `ignoring (..)`.
    pub on: bool,
    pub names: Vec<String>,
    /// Labels that `group_left` or `group_right` takes over from the one side.
    pub include: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cardinality {
    #[default]
    OneToOne,
    /// `group_left`: the left side is the many side.
    ManyToOne,
    /// `group_right`.
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Matching {
    fn lists(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// Elements with equal signatures match. The metric name never takes part unless `on` lists it.
    pub fn signature(&self, labels: &Labels) -> Labels {
        if self.on { labels.filtered(|n| self.lists(n)) } else { labels.filtered(|n| n != "__name__" && !self.lists(n)) }
    }

    /// Labels of a result. `many` is the left element for one-to-one matching and the element of the many side
    /// otherwise; `one` is the other. `keep_name` is true for comparisons that filter.
    pub fn result_labels(&self, many: &Labels, one: &Labels, keep_name: bool) -> Labels {
        let base = if keep_name { many.clone() } else { many.filtered(|n| n != "__name__") };
        if self.cardinality == Cardinality::OneToOne {
            return base.filtered(|n| if self.on { self.lists(n) } else { !self.lists(n) });
        }
        if self.include.is_empty() {
            return base;
        }
        let mut builder = base.to_builder();
        for name in &self.include {
            builder.set(name, one.value(name));
        }
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_labels_follow_the_cardinality() {
        let left = Labels::from_pairs([("__name__", "m"), ("a", "1"), ("b", "2")]);
        let right = Labels::from_pairs([("a", "1"), ("c", "3")]);
        let on = Matching { on: true, names: vec!["a".into()], ..Matching::default() };
        assert_eq!(on.signature(&left), on.signature(&right));
        assert_eq!(on.result_labels(&left, &right, false).to_string(), r#"{a="1"}"#);
        let group = Matching { cardinality: Cardinality::ManyToOne, include: vec!["b".into(), "c".into()], ..on };
        assert_eq!(group.result_labels(&left, &right, false).to_string(), r#"{a="1", c="3"}"#);
        let ignoring = Matching { names: vec!["b".into()], ..Matching::default() };
        assert_eq!(ignoring.signature(&left).to_string(), r#"{a="1"}"#);
        assert_eq!(ignoring.result_labels(&left, &right, true).to_string(), r#"{__name__="m", a="1"}"#);
    }
}
