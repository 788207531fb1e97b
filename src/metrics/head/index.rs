//! The inverted index: a pair of label name and value, once, with the series that have it. A label set is the list of the
//! numbers of its pairs.

use super::chunked::Chunked;
use crate::model::{Labels, Matcher};
use hashbrown::HashTable;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// References of series, in no order.
#[derive(Debug)]
enum References {
    One(u32),
    Many(Vec<u32>),
}

impl References {
    fn as_slice(&self) -> &[u32] {
        match self {
            References::One(reference) => std::slice::from_ref(reference),
            References::Many(all) => all,
        }
    }

    fn push(&mut self, reference: u32) {
        match self {
            References::One(first) => *self = References::Many(vec![*first, reference]),
            References::Many(all) => {
                if all.len() == all.capacity() {
                    all.reserve_exact((all.len() / 4).max(4));
                }
                all.push(reference);
            }
        }
    }

    fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        match self {
            References::One(reference) if keep(*reference) => {}
            References::One(_) => *self = References::Many(Vec::new()),
            References::Many(all) => {
                all.retain(|r| keep(*r));
                if all.len() * 2 < all.capacity() {
                    all.shrink_to_fit();
                }
            }
        }
    }
}

#[derive(Debug)]
struct Pair {
    name: u32,
    value: Box<str>,
    references: References,
}

#[derive(Debug)]
struct Name {
    text: Box<str>,
    /// Pairs, by their values.
    pairs: HashTable<u32>,
}

#[derive(Debug, Default)]
pub struct Index {
    names: Vec<Name>,
    name_by_text: HashMap<Box<str>, u32>,
    pairs: Chunked<Pair>,
    /// Names and pairs that no series has any more.
    free_names: Vec<u32>,
    free_pairs: Vec<u32>,
    hasher: RandomState,
}

impl Index {
    /// Enters a series, and gives the numbers of its pairs in the order of its labels.
    pub fn insert(&mut self, labels: &Labels, reference: u32) -> Box<[u32]> {
        labels.iter().map(|(name, value)| self.insert_pair(name, value, reference)).collect()
    }

    fn insert_pair(&mut self, name: &str, value: &str, reference: u32) -> u32 {
        let name = self.name(name);
        let hash = self.hasher.hash_one(value);
        if let Some(number) = self.find(name, hash, value) {
            if let Some(pair) = self.pairs.get_mut(number) {
                pair.references.push(reference);
            }
            return number;
        }
        let pair = Pair { name, value: value.into(), references: References::One(reference) };
        let number = match self.free_pairs.pop() {
            Some(number) => {
                if let Some(slot) = self.pairs.get_mut(number) {
                    *slot = pair;
                }
                number
            }
            None => self.pairs.push(pair),
        };
        let (pairs, hasher) = (&self.pairs, &self.hasher);
        let rehash = |n: &u32| hasher.hash_one(pairs.get(*n).map_or("", |p| &*p.value));
        self.names[name as usize].pairs.insert_unique(hash, number, rehash);
        number
    }

    fn name(&mut self, text: &str) -> u32 {
        if let Some(number) = self.name_by_text.get(text) {
            return *number;
        }
        let name = Name { text: text.into(), pairs: HashTable::new() };
        let number = match self.free_names.pop() {
            Some(number) => {
                self.names[number as usize] = name;
                number
            }
            None => {
                self.names.push(name);
                (self.names.len() - 1) as u32
            }
        };
        self.name_by_text.insert(text.into(), number);
        number
    }

    fn find(&self, name: u32, hash: u64, value: &str) -> Option<u32> {
        let equal = |n: &u32| self.pairs.get(*n).is_some_and(|p| &*p.value == value);
        self.names[name as usize].pairs.find(hash, equal).copied()
    }

    fn find_pair(&self, name: &str, value: &str) -> Option<u32> {
        let name = *self.name_by_text.get(name)?;
        self.find(name, self.hasher.hash_one(value), value)
    }

    /// The label set of these pairs.
    pub fn labels(&self, pairs: &[u32]) -> Labels {
        let text = |pair: &Pair| -> &str { self.names.get(pair.name as usize).map_or("", |n| &n.text) };
        Labels::from_sorted(pairs.iter().filter_map(|n| self.pairs.get(*n)).map(|p| (text(p), &*p.value)))
    }

    /// Drops references from these pairs, and pairs that have none left.
    pub fn remove(&mut self, pairs: &[u32], is_gone: impl Fn(u32) -> bool) {
        for number in pairs {
            let Some(pair) = self.pairs.get_mut(*number) else { continue };
            pair.references.retain(|r| !is_gone(r));
            if !pair.references.as_slice().is_empty() || pair.value.is_empty() {
                continue;
            }
            let (name, hash) = (pair.name, self.hasher.hash_one(&*pair.value));
            pair.value = Box::default();
            let of_name = &mut self.names[name as usize];
            if let Ok(entry) = of_name.pairs.find_entry(hash, |n| n == number) {
                entry.remove();
            }
            self.free_pairs.push(*number);
            if of_name.pairs.is_empty() {
                self.name_by_text.remove(&of_name.text);
                self.free_names.push(name);
            }
        }
    }

    /// The pairs that satisfy a matcher which an absent label does not. A pattern is tried once a value, or not at all if it
    /// only lists values.
    fn pairs_of(&self, matcher: &Matcher) -> Vec<u32> {
        if let Some(values) = matcher.values() {
            return values.filter_map(|value| self.find_pair(&matcher.name, value)).collect();
        }
        let Some(name) = self.name_by_text.get(matcher.name.as_str()) else { return Vec::new() };
        let hit = |n: &&u32| self.pairs.get(**n).is_some_and(|p| matcher.matches(&p.value));
        self.names[*name as usize].pairs.iter().filter(hit).copied().collect()
    }

    /// References of the series that satisfy one of the matchers, and the position of that matcher: the one with the fewest
    /// series, of those that list values; only without such a one a pattern is tried on all values of its label.
    fn narrowed(&self, matchers: &[Matcher]) -> Option<(usize, Vec<u32>)> {
        let telling = || matchers.iter().enumerate().filter(|(_, m)| !m.matches_empty());
        let series = |pairs: &[u32]| pairs.iter().map(|n| self.references(*n).len()).sum::<usize>();
        let listing = telling().filter(|(_, m)| m.values().is_some()).map(|(at, m)| (at, self.pairs_of(m)));
        let (at, pairs) = listing.min_by_key(|(_, pairs)| series(pairs)).or_else(|| {
            let (at, matcher) = telling().min_by_key(|(_, m)| self.values_of(&m.name))?;
            Some((at, self.pairs_of(matcher)))
        })?;
        let mut found: Vec<u32> = Vec::with_capacity(series(&pairs));
        pairs.iter().for_each(|n| found.extend_from_slice(self.references(*n)));
        found.sort_unstable();
        Some((at, found))
    }

    fn references(&self, pair: u32) -> &[u32] {
        self.pairs.get(pair).map_or(&[], |p| p.references.as_slice())
    }

    /// How many values a label has.
    fn values_of(&self, name: &str) -> usize {
        self.name_by_text.get(name).map_or(0, |n| self.names[*n as usize].pairs.len())
    }

    /// References of the series that satisfy all matchers, ascending. `pairs_of` gives the pairs of a series, and `all`
    /// every series, which are looked at when no matcher tells where to look.
    pub fn select<'a>(
        &self,
        matchers: &[Matcher],
        pairs_of: impl Fn(u32) -> Option<&'a [u32]>,
        all: impl FnOnce() -> Vec<u32>,
    ) -> Vec<u32> {
        let (at, mut found) = self.narrowed(matchers).map_or_else(|| (usize::MAX, all()), |(at, found)| (at, found));
        let others = matchers.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, m)| m);
        let mut tests: Vec<Test<'_>> = others.map(|m| Test::new(self, m)).collect();
        if !tests.is_empty() {
            found.retain(|reference| pairs_of(*reference).is_some_and(|pairs| tests.iter_mut().all(|t| t.passes(pairs))));
        }
        found
    }
}

/// A matcher that is tried once a pair.
struct Test<'a> {
    index: &'a Index,
    matcher: &'a Matcher,
    name: Option<u32>,
    absent_passes: bool,
    known: HashMap<u32, bool>,
}

impl<'a> Test<'a> {
    fn new(index: &'a Index, matcher: &'a Matcher) -> Test<'a> {
        let name = index.name_by_text.get(matcher.name.as_str()).copied();
        Test { index, matcher, name, absent_passes: matcher.matches_empty(), known: HashMap::new() }
    }

    fn passes(&mut self, pairs: &[u32]) -> bool {
        let Some(name) = self.name else { return self.absent_passes };
        let of_name = |n: &&u32| self.index.pairs.get(**n).is_some_and(|p| p.name == name);
        let Some(pair) = pairs.iter().find(of_name) else { return self.absent_passes };
        let (index, matcher) = (self.index, self.matcher);
        *self.known.entry(*pair).or_insert_with(|| index.pairs.get(*pair).is_some_and(|p| matcher.matches(&p.value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MatchOp;

    #[test]
    fn what_is_removed_leaves_nothing_and_its_numbers_are_used_again() {
        let mut index = Index::default();
        let set = |n: u32| Labels::from_pairs([("__name__", "m".to_owned()), ("n", n.to_string()), ("odd", (n % 2).to_string())]);
        let pairs: Vec<Box<[u32]>> = (0..100).map(|n| index.insert(&set(n), n)).collect();
        let find = |index: &Index, op, name: &str, value: &str| {
            let matchers = [Matcher::equal("__name__", "m"), Matcher::new(name, op, value).unwrap()];
            index.select(&matchers, |r| pairs.get(r as usize).map(|p| &**p), Vec::new)
        };
        assert_eq!(index.labels(&pairs[42]), set(42));
        assert_eq!(find(&index, MatchOp::Regex, "n", "4|5|77|400"), [4, 5, 77]);
        assert_eq!(find(&index, MatchOp::Regex, "n", "9."), (90..100).collect::<Vec<_>>());
        assert_eq!(find(&index, MatchOp::NotRegex, "n", ".|[1-8].").len(), 10);
        assert_eq!(find(&index, MatchOp::Equal, "nowhere", "").len(), 100);
        let gone: Vec<u32> = pairs[10..].concat();
        index.remove(&gone, |r| r >= 10);
        assert_eq!(find(&index, MatchOp::Equal, "odd", "1"), [1, 3, 5, 7, 9]);
        assert!(find(&index, MatchOp::Equal, "n", "77").is_empty());
        let before = index.pairs.len();
        (10..100).for_each(|n| drop(index.insert(&set(n), n)));
        assert_eq!((index.pairs.len(), index.free_pairs.len()), (before, 0));
        index.remove(&pairs.concat(), |_| true);
        assert!(index.name_by_text.is_empty());
    }
}
