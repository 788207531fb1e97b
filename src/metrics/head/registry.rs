use crate::metrics::METRIC_NAME;
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, RowSeries, Value};
use crate::metrics::select::block_newest;
use crate::model::time::SECOND;
use crate::model::{Labels, MatchOp, Matcher};
use crate::storage::block::Block;
use parking_lot::RwLock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The newest accepted sample of a series.
#[derive(Debug, Clone)]
pub struct Newest {
    /// Milliseconds since the epoch; a `start` of 0 is unknown.
    pub ts: i64,
    pub start: i64,
    pub value: Value,
}

#[derive(Debug)]
struct Entry {
    labels: Labels,
    id: i64,
    newest: Option<Newest>,
    /// See [`Registry::enter`]; 0 before its first sample.
    created: i64,
    /// Whether blocks were asked for the newest sample.
    learned: bool,
    /// Nanoseconds since the epoch.
    touched: i64,
    /// Heads that hold samples of it.
    heads: u32,
}

/// Families that are remembered at most; further ones are not described.
const FAMILIES_MAX: usize = 50_000;

/// An entry without unflushed samples is forgotten when it was not touched for so long: longer than any request takes
/// from `prepare` to `apply`, and than any query holds a snapshot.
const IDLE: i64 = 3600 * SECOND;

/// The series of one tenant that were written of late: their newest samples, for admission, and an inverted index. It
/// outlives heads; what it has forgotten it learns again from blocks.
#[derive(Default)]
pub struct Registry {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    by_id: HashMap<i64, u32>,
    entries: HashMap<u32, Entry>,
    /// References are never used twice.
    next: u32,
    /// The newest exemplar of those series that have any.
    exemplars: HashMap<u32, Exemplar>,
    /// Families that were described apart from their series, by name.
    families: HashMap<String, Arc<Metadata>>,
    /// The latest `created` that was given.
    created: i64,
    /// Label name, then value, to ascending references.
    postings: HashMap<Box<str>, BTreeMap<Box<str>, Vec<u32>>>,
}

impl Inner {
    fn insert(&mut self, labels: &Labels, id: i64, now: i64) -> u32 {
        let reference = self.next;
        self.next += 1;
        self.by_id.insert(id, reference);
        for (name, value) in labels.iter() {
            let values = match self.postings.get_mut(name) {
                Some(values) => values,
                None => self.postings.entry(name.into()).or_default(),
            };
            match values.get_mut(value) {
                Some(list) => list.push(reference),
                None => {
                    values.insert(value.into(), vec![reference]);
                }
            }
        }
        self.entries
            .insert(reference, Entry { labels: labels.clone(), id, newest: None, created: 0, learned: false, touched: now, heads: 0 });
        reference
    }

    fn reference(&self, series: &RowSeries) -> Option<u32> {
        self.by_id.get(&series.id).copied()
    }

    fn of_id(&mut self, id: i64) -> Option<&mut Entry> {
        self.entries.get_mut(self.by_id.get(&id)?)
    }
}

impl Registry {
    /// Makes entries for series seen for the first time, with their newest samples as the blocks have them.
    /// A block that cannot be read is taken as if it did not hold the series: queries will report it.
    pub fn learn_newest(&self, series: &[RowSeries], blocks: &[Arc<Block>], now: i64) {
        let unknown: Vec<&RowSeries> = {
            let inner = self.inner.read();
            let learned = |s: &&RowSeries| inner.by_id.get(&s.id).and_then(|r| inner.entries.get(r)).is_some_and(|e| e.learned);
            series.iter().filter(|s| !learned(s)).collect()
        };
        if unknown.is_empty() {
            return;
        }
        let ids: HashSet<i64> = unknown.iter().map(|s| s.id).collect();
        let mut found: HashMap<i64, Newest> = HashMap::new();
        for block in blocks {
            match block_newest(block, &ids) {
                Ok(newest) => {
                    for (id, newest) in newest {
                        if found.get(&id).is_none_or(|n| n.ts < newest.ts) {
                            found.insert(id, newest);
                        }
                    }
                }
                Err(error) => tracing::warn!(block = %block.meta().id, %error, "newest samples cannot be read"),
            }
        }
        let mut inner = self.inner.write();
        for series in unknown {
            if !inner.by_id.contains_key(&series.id) {
                inner.insert(&series.labels, series.id, now);
            }
            let newest = found.remove(&series.id);
            let Some(entry) = inner.of_id(series.id) else { continue };
            entry.learned = true;
            entry.touched = now;
            if newest.as_ref().is_some_and(|n| entry.newest.as_ref().is_none_or(|e| e.ts < n.ts)) {
                entry.newest = newest;
            }
        }
    }

    /// Runs `judge` with the newest samples of the registered series.
    pub fn with_newest<T>(&self, judge: impl FnOnce(&mut NewestSamples<'_>) -> T) -> T {
        judge(&mut NewestSamples { inner: &mut self.inner.write() })
    }

    /// Registers the rows that a head takes over, and returns the reference of each of their series: none for a series
    /// whose id belongs to other labels. With it comes when the series was created, nanoseconds since the epoch: heads
    /// take rows in one order, and of two series that which came first has the lower number.
    pub fn enter(&self, rows: &MetricRows, now: i64) -> Vec<Option<(u32, i64)>> {
        let mut inner = self.inner.write();
        let mut references = Vec::with_capacity(rows.series.len());
        for series in &rows.series {
            let reference = match inner.by_id.get(&series.id) {
                Some(reference) => *reference,
                None => inner.insert(&series.labels, series.id, now),
            };
            let next = inner.created.saturating_add(1).max(now);
            let entry = inner.entries.get_mut(&reference).filter(|e| e.labels == series.labels);
            let known = entry.map(|entry| {
                entry.touched = now;
                if entry.created == 0 {
                    entry.created = next;
                }
                (reference, entry.created)
            });
            inner.created = known.map_or(inner.created, |(_, created)| inner.created.max(created));
            references.push(known);
        }
        for sample in &rows.samples {
            let Some((reference, _)) = references[sample.series as usize] else { continue };
            let Some(entry) = inner.entries.get_mut(&reference) else { continue };
            if entry.newest.as_ref().is_none_or(|n| n.ts < sample.ts) {
                entry.newest = Some(Newest { ts: sample.ts, start: sample.start, value: sample.value.clone() });
            }
        }
        for exemplar in &rows.exemplars {
            let Some((reference, _)) = references[exemplar.series as usize] else { continue };
            if inner.exemplars.get(&reference).is_none_or(|e| e.ts <= exemplar.exemplar.ts) {
                inner.exemplars.insert(reference, exemplar.exemplar.clone());
            }
        }
        for family in &rows.families {
            if inner.families.len() < FAMILIES_MAX || inner.families.contains_key(&family.family) {
                inner.families.insert(family.family.clone(), family.clone());
            }
        }
        references
    }

    /// Families that were described apart from their series, in no order.
    pub fn families(&self) -> Vec<Arc<Metadata>> {
        self.inner.read().families.values().cloned().collect()
    }

    /// What was said of the family of the series with this metric name, which itself may be the family.
    pub fn described(&self, metric: &str) -> Option<Arc<Metadata>> {
        let inner = self.inner.read();
        if inner.families.is_empty() {
            return None;
        }
        let suffixes = ["_bucket", "_sum", "_count", "_total", "_created", "_gsum", "_gcount", "_info"];
        let bare = suffixes.iter().filter_map(|suffix| metric.strip_suffix(suffix));
        std::iter::once(metric).chain(bare).find_map(|name| inner.families.get(name).cloned())
    }

    /// A head took its first samples of these series.
    pub fn hold(&self, references: &[u32]) {
        if references.is_empty() {
            return;
        }
        let mut inner = self.inner.write();
        for reference in references {
            if let Some(entry) = inner.entries.get_mut(reference) {
                entry.heads += 1;
            }
        }
    }

    /// A head that held these series is gone.
    pub fn leave(&self, references: impl Iterator<Item = u32>) {
        let mut inner = self.inner.write();
        for reference in references {
            if let Some(entry) = inner.entries.get_mut(&reference) {
                entry.heads = entry.heads.saturating_sub(1);
            }
        }
    }

    /// Forgets series that have no unflushed samples and were not touched for an hour.
    pub fn forget_idle(&self, now: i64) {
        let mut inner = self.inner.write();
        let idle: HashSet<u32> =
            inner.entries.iter().filter(|(_, e)| e.heads == 0 && now.saturating_sub(e.touched) > IDLE).map(|(r, _)| *r).collect();
        if idle.is_empty() {
            return;
        }
        let gone: Vec<i64> = idle.iter().filter_map(|r| inner.entries.remove(r)).map(|e| e.id).collect();
        for id in gone {
            inner.by_id.remove(&id);
        }
        inner.exemplars.retain(|reference, _| !idle.contains(reference));
        for values in inner.postings.values_mut() {
            values.retain(|_, list| {
                list.retain(|r| !idle.contains(r));
                !list.is_empty()
            });
        }
        inner.postings.retain(|_, values| !values.is_empty());
    }

    /// References of the series that satisfy all matchers, ascending.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let inner = self.inner.read();
        // The first list comes from the matcher that is likely to have the shortest; the others are tested on labels.
        let narrowing = matchers
            .iter()
            .filter(|m| !m.matches_empty())
            .min_by_key(|m| (m.op != MatchOp::Equal, inner.posting_length(m), m.name != METRIC_NAME));
        // A list of postings satisfies its own matcher, so that a pattern is tried once a value and not once a series.
        let others: Vec<&Matcher> = matchers.iter().filter(|m| narrowing.is_none_or(|n| !std::ptr::eq(*m, n))).collect();
        let matches = |reference: &u32| {
            if others.is_empty() {
                return true;
            }
            let Some(entry) = inner.entries.get(reference) else { return false };
            others.iter().all(|m| m.matches(entry.labels.value(&m.name)))
        };
        let mut found: Vec<u32> = match narrowing {
            Some(matcher) => inner.postings_of(matcher).into_iter().filter(|r| matches(r)).collect(),
            None => inner.entries.keys().copied().filter(|r| matches(r)).collect(),
        };
        found.sort_unstable();
        found
    }
}

impl Inner {
    fn posting_length(&self, matcher: &Matcher) -> usize {
        match matcher.op {
            MatchOp::Equal => self.postings.get(matcher.name.as_str()).and_then(|v| v.get(matcher.value.as_str())).map_or(0, Vec::len),
            _ => self.postings.get(matcher.name.as_str()).map_or(0, BTreeMap::len),
        }
    }

    fn postings_of(&self, matcher: &Matcher) -> Vec<u32> {
        let Some(values) = self.postings.get(matcher.name.as_str()) else { return Vec::new() };
        if matcher.op == MatchOp::Equal {
            return values.get(matcher.value.as_str()).cloned().unwrap_or_default();
        }
        values.iter().filter(|(value, _)| matcher.matches(value)).flat_map(|(_, list)| list.iter().copied()).collect()
    }
}

/// The newest samples, while admission holds the registry.
pub struct NewestSamples<'a> {
    inner: &'a mut Inner,
}

impl NewestSamples<'_> {
    /// `None` for a series without samples; an error if the id belongs to another label set.
    pub fn get(&self, series: &RowSeries) -> Result<Option<&Newest>, &Labels> {
        let entry = self.inner.by_id.get(&series.id).and_then(|r| self.inner.entries.get(r));
        match entry {
            Some(entry) if entry.labels == series.labels => Ok(entry.newest.as_ref()),
            Some(entry) => Err(&entry.labels),
            None => Ok(None),
        }
    }

    pub fn set(&mut self, series: &RowSeries, newest: Newest, now: i64) {
        if !self.inner.by_id.contains_key(&series.id) {
            self.inner.insert(&series.labels, series.id, now);
        }
        if let Some(entry) = self.inner.of_id(series.id) {
            entry.touched = now;
            entry.newest = Some(newest);
        }
    }

    /// Takes back what [`NewestSamples::set`] did.
    pub fn restore(&mut self, series: &RowSeries, before: Option<Newest>) {
        if let Some(entry) = self.inner.of_id(series.id) {
            entry.newest = before;
        }
    }

    pub fn exemplar(&self, series: &RowSeries) -> Option<&Exemplar> {
        self.inner.exemplars.get(&self.inner.reference(series)?)
    }

    pub fn set_exemplar(&mut self, series: &RowSeries, exemplar: &Exemplar) {
        if let Some(reference) = self.inner.reference(series) {
            self.inner.exemplars.insert(reference, exemplar.clone());
        }
    }
}
