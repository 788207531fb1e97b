use crate::model::Labels;

/// `by (..)` or `without (..)` of an aggregation. No clause is `by ()`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grouping {
    pub without: bool,
    pub names: Vec<String>,
}

impl Grouping {
    pub fn by<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Grouping {
        Grouping { without: false, names: names.into_iter().map(Into::into).collect() }
    }

    pub fn without<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Grouping {
        Grouping { without: true, names: names.into_iter().map(Into::into).collect() }
    }

    fn names_label(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// The labels of the group that `labels` falls into, which are also the labels of the group's result.
    /// `without` drops the metric name, too; label sets that have none are not affected.
    pub fn key(&self, labels: &Labels) -> Labels {
        if self.without { labels.filtered(|n| n != "__name__" && !self.names_label(n)) } else { labels.filtered(|n| self.names_label(n)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_keeps_and_without_drops() {
        let labels = Labels::from_pairs([("__name__", "m"), ("a", "1"), ("b", "2")]);
        assert_eq!(Grouping::by(["a", "z"]).key(&labels).to_string(), r#"{a="1"}"#);
        assert_eq!(Grouping::without(["a"]).key(&labels).to_string(), r#"{b="2"}"#);
        assert!(Grouping::default().key(&labels).is_empty());
    }
}
