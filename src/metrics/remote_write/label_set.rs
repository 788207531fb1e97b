//! Label sets as remote write sends them: perhaps unsorted, perhaps faulty.

use crate::metrics::METRIC_NAME;
use crate::model::Labels;

/// Why pairs are no series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LabelFault {
    /// Without a metric name, with a label without a name, or not UTF-8.
    Invalid,
    /// The name that is there twice.
    Duplicate(String),
}

/// Sorts the pairs and makes labels of them; a pair with an empty value counts as absent.
pub(super) fn label_set(pairs: &mut [(&str, &str)]) -> Result<Labels, LabelFault> {
    if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
        pairs.sort_by(|a, b| a.0.cmp(b.0));
        if let Some(twice) = pairs.windows(2).find(|w| w[0].0 == w[1].0) {
            // Both faults at once are told as the first that upstream looks for.
            let has_name = pairs.iter().any(|(n, v)| *n == METRIC_NAME && !v.is_empty());
            return Err(if has_name { LabelFault::Duplicate(twice[0].0.to_owned()) } else { LabelFault::Invalid });
        }
    }
    let is_named = pairs.iter().any(|(name, value)| *name == METRIC_NAME && !value.is_empty());
    if !is_named || pairs.iter().any(|(name, value)| name.is_empty() && !value.is_empty()) {
        return Err(LabelFault::Invalid);
    }
    Ok(Labels::from_sorted(pairs.iter().copied().filter(|(_, value)| !value.is_empty())))
}

/// How faulty pairs are shown, at most 1,000 bytes of them.
pub(super) fn shown(pairs: &[(&str, &str)]) -> String {
    const SHOWN_MAX: usize = 1_000;
    // Few bytes may refer to pairs of gigabytes.
    let mut seen = 0;
    let first = pairs.iter().take_while(|(name, value)| {
        let fits = seen <= SHOWN_MAX;
        seen += name.len() + value.len();
        fits
    });
    let mut text = Labels::from_sorted(first.copied()).to_string();
    if text.len() > SHOWN_MAX {
        text.truncate(text.floor_char_boundary(SHOWN_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_any_order_become_labels() {
        let labels = label_set(&mut [("z", "1"), ("__name__", "m"), ("a", "")]).unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="m", z="1"}"#);
        assert_eq!(label_set(&mut [("a", "1")]), Err(LabelFault::Invalid));
        assert_eq!(label_set(&mut [("__name__", ""), ("a", "1")]), Err(LabelFault::Invalid));
        assert_eq!(label_set(&mut [("__name__", "m"), ("", "1")]), Err(LabelFault::Invalid));
        assert_eq!(label_set(&mut [("__name__", "m"), ("b", "1"), ("a", "1"), ("b", "2")]), Err(LabelFault::Duplicate("b".into())));
    }
}
