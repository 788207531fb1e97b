//! Names of labels and structured metadata at the door (contracts/loki.md 2.1, 2.3).

use crate::model::LabelsBuilder;

/// A name of structured metadata or of an OTLP attribute in Loki's alphabet: every character outside `[a-zA-Z0-9]`
/// becomes `_`, runs of `_` collapse to one (but the two on both sides of a reserved `__name__`), and a leading digit
/// gets the prefix `key_`. `None` for a name that is empty or has nothing but underscores.
pub fn normalise(name: &str) -> Option<String> {
    let reserved = name.len() > 4 && name.starts_with("__") && name.ends_with("__");
    let inner = if reserved { &name[2..name.len() - 2] } else { name };
    let mut out = String::with_capacity(name.len() + 4);
    if inner.bytes().next().is_some_and(|b| b.is_ascii_digit()) && !reserved {
        out.push_str("key_");
    }
    for c in inner.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    if out.bytes().all(|b| b == b'_') {
        return None;
    }
    Some(if reserved { format!("__{out}__") } else { out })
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`: a label name that Loki takes in a pushed stream.
pub fn is_label_name(name: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_' || b == b':';
    let mut bytes = name.bytes();
    bytes.next().is_some_and(first) && bytes.all(|b| first(b) || b.is_ascii_digit())
}

pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// Sets `service_name` from the first label of `candidates` that there is (contracts/loki.md 2.3).
pub fn discover_service_name(labels: &mut LabelsBuilder, candidates: &[String]) {
    if candidates.is_empty() || labels.get("service_name").is_some() {
        return;
    }
    let name = candidates.iter().find_map(|c| labels.get(c)).unwrap_or(UNKNOWN_SERVICE).to_owned();
    labels.set("service_name", &name);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    #[test]
    fn names_are_normalised() {
        for (name, want) in [
            ("a..b", Some("a_b")),
            ("a__b", Some("a_b")),
            ("http.status_code", Some("http_status_code")),
            ("1st", Some("key_1st")),
            ("__meta__", Some("__meta__")),
            ("__a.b__", Some("__a_b__")),
            ("_x", Some("_x")),
            ("é", None),
            ("é1", Some("_1")),
            ("", None),
            ("____", None),
        ] {
            assert_eq!(normalise(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn the_first_candidate_with_a_value_names_the_service() {
        let candidates = ["app".to_owned(), "job".to_owned()];
        let found = |pairs: &[(&str, &str)]| {
            let mut b = Labels::from_pairs(pairs.iter().copied()).to_builder();
            discover_service_name(&mut b, &candidates);
            b.get("service_name").map(str::to_owned)
        };
        assert_eq!(found(&[("job", "j"), ("app", "a")]).as_deref(), Some("a"));
        assert_eq!(found(&[("x", "y")]).as_deref(), Some("unknown_service"));
        assert_eq!(found(&[("service_name", "s"), ("app", "a")]).as_deref(), Some("s"));
    }
}
