use super::quote::quote;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// A label set: sorted, unique names with non-empty values, which together identify a series or a stream.
///
/// One shared allocation: each name and each value is preceded by its length in four ASCII characters of seven bits, so
/// that the whole is valid UTF-8, equality and hash are those of the bytes, and a clone is a reference count.
/// Names and values are shorter than 2^28 bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<str>);

const LENGTH: usize = 4;

fn push_part(packed: &mut String, part: &str) {
    debug_assert!(part.len() < 1 << 28, "labels are bounded by the size of a request");
    for shift in [21, 14, 7, 0] {
        packed.push(char::from((part.len() >> shift & 0x7f) as u8));
    }
    packed.push_str(part);
}

fn split_part(packed: &str) -> Option<(&str, &str)> {
    let (length, rest) = packed.split_at_checked(LENGTH)?;
    let length = length.bytes().fold(0, |n, b| n << 7 | usize::from(b));
    rest.split_at_checked(length)
}

impl Labels {
    pub fn empty() -> Labels {
        Labels(Arc::from(""))
    }

    /// From pairs in any order: empty values drop out, and of two equal names the later one stays.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Labels {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// From pairs in name order, with unique names. Empty values stay, which only results of LogQL have: there an empty
    /// label is not an absent one.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Labels {
        let mut packed = String::with_capacity(256);
        for (name, value) in pairs {
            push_part(&mut packed, name);
            push_part(&mut packed, value);
        }
        Labels(packed.into())
    }

    /// In name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, after) = split_part(rest)?;
            let (value, after) = split_part(after)?;
            rest = after;
            Some((name, value))
        })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// The value, or `""` for an absent label: the rule of matchers in Prometheus and Loki.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Bytes this label set occupies, for memory accounts.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() + 16
    }

    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Only the labels whose names satisfy `keep`.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Labels {
        let mut packed = String::with_capacity(self.0.len());
        for (name, value) in self.iter().filter(|(n, _)| keep(n)) {
            push_part(&mut packed, name);
            push_part(&mut packed, value);
        }
        Labels(packed.into())
    }

    /// The stable id of this label set in files: XXH3-64, seed 0, over `name 0xFF value 0xFF` in name order, as i64.
    /// Pinned by a test vector, because stored blocks depend on it.
    pub fn stable_id(&self) -> i64 {
        let mut hash = Xxh3::new();
        for (name, value) in self.iter() {
            hash.update(name.as_bytes());
            hash.update(&[0xff]);
            hash.update(value.as_bytes());
            hash.update(&[0xff]);
        }
        hash.digest().cast_signed()
    }
}

impl Labels {
    /// Another hash than [`Labels::stable_id`], for memory only: label sets are the same if both are.
    pub fn second_hash(&self) -> u64 {
        const SEED: u64 = 0x6d6f_6e6f_636c_6521;
        xxhash_rust::xxh3::xxh3_64_with_seed(self.0.as_bytes(), SEED)
    }
}

impl Ord for Labels {
    /// Pairwise by name, then value, bytewise; a prefix sorts first.
    fn cmp(&self, other: &Labels) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Labels {
    /// `{a="1", b="x\"y"}`: the form that Prometheus and Loki print. Names that are not `[A-Za-z_][A-Za-z0-9_]*` are quoted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let separator = if i > 0 { ", " } else { "" };
            if is_legacy_name(name) {
                write!(f, "{separator}{name}={}", quote(value))?;
            } else {
                write!(f, "{separator}{}={}", quote(name), quote(value))?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `[A-Za-z_][A-Za-z0-9_]*`: a label name that needs no quotes.
fn is_legacy_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Collects labels in any order.
#[derive(Debug, Default, Clone)]
pub struct LabelsBuilder {
    /// Sorted by name, unique.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value removes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
            Ok(at) if value.is_empty() => {
                self.pairs.remove(at);
            }
            Ok(at) => value.clone_into(&mut self.pairs[at].1),
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok().map(|at| self.pairs[at].1.as_str())
    }

    /// In name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub fn build(&self) -> Labels {
        let mut packed = String::with_capacity(self.pairs.iter().map(|(n, v)| n.len() + v.len() + 2 * LENGTH).sum());
        for (name, value) in &self.pairs {
            push_part(&mut packed, name);
            push_part(&mut packed, value);
        }
        Labels(packed.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_unique_and_never_empty() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(labels.value("c"), "");
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!(labels, labels.to_builder().build());
    }

    #[test]
    fn sorted_pairs_keep_empty_values() {
        let labels = Labels::from_sorted([("a", ""), ("b", "1")]);
        assert_eq!(labels.get("a"), Some(""));
        assert_ne!(labels, Labels::from_pairs([("b", "1")]));
    }

    #[test]
    fn order_is_pairwise_and_a_prefix_comes_first() {
        let of = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(of(&[("a", "1")]) < of(&[("a", "1"), ("b", "1")]));
        assert!(of(&[("a", "2")]) > of(&[("a", "1"), ("b", "1")]));
        assert!(of(&[("aa", "1")]) > of(&[("a", "2")]));
    }

    #[test]
    fn long_and_unicode_parts_survive_packing() {
        let long = "é".repeat(5_000);
        let labels = Labels::from_pairs([("näme", long.as_str())]);
        assert_eq!(labels.get("näme"), Some(long.as_str()));
        assert!(labels.to_string().starts_with("{\"näme\"="));
    }

    #[test]
    fn the_stable_id_never_changes() {
        let labels = Labels::from_pairs([("__name__", "up"), ("instance", "a:1"), ("job", "x")]);
        let direct = xxhash_rust::xxh3::xxh3_64(b"__name__\xffup\xffinstance\xffa:1\xffjob\xffx\xff").cast_signed();
        assert_eq!(labels.stable_id(), direct);
        assert_eq!(labels.stable_id(), PINNED);
    }

    const PINNED: i64 = 5_704_477_628_543_585_045;
}
