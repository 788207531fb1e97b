use super::chunked::Chunked;
use super::ids::Ids;
use super::index::Index;
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, RowSeries, SeriesKey, Value};
use crate::metrics::select::block_newest;
use crate::model::time::SECOND;
use crate::model::{Labels, Matcher};
use crate::storage::block::Block;
use parking_lot::RwLock;
use std::collections::{HashMap, HashSet, VecDeque};
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
    key: SeriesKey,
    /// Numbers of its pairs in the index, in the order of its labels; none once it is forgotten.
    pairs: Box<[u32]>,
    newest: Option<Newest>,
    /// See [`Registry::enter`]; 0 before its first sample.
    created: i64,
    /// Seconds since the epoch.
    touched: u32,
    /// Heads that hold samples of it.
    heads: u16,
    /// Whether blocks were asked for the newest sample.
    learned: bool,
    live: bool,
}

fn seconds(now: i64) -> u32 {
    u32::try_from(now / SECOND).unwrap_or(0)
}

/// Families that are remembered at most; further ones are not described.
const FAMILIES_MAX: usize = 50_000;

/// Seconds. An entry without unflushed samples is forgotten when it was not touched for so long, and its reference is not
/// used again for as long: longer than any request takes from `prepare` to `apply`, and than any query holds a snapshot.
const IDLE: u32 = 3600;

/// The series of one tenant that were written of late: their newest samples, for admission, and an inverted index. It
/// outlives heads; what it has forgotten it learns again from blocks.
#[derive(Default)]
pub struct Registry {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    ids: Ids,
    /// By reference.
    entries: Chunked<Entry>,
    /// References of forgotten entries, with the seconds since the epoch when they were forgotten.
    free: VecDeque<(u32, u32)>,
    index: Index,
    /// The newest exemplar of those series that have any.
    exemplars: HashMap<u32, Exemplar>,
    /// Families that were described apart from their series, by name.
    families: HashMap<String, Arc<Metadata>>,
    /// The latest `created` that was given.
    created: i64,
    /// Entries that are not forgotten, and how many of them there may be.
    live: u64,
    live_max: Option<u64>,
}

impl Inner {
    fn insert(&mut self, series: &RowSeries, now: i64) -> u32 {
        let now = seconds(now);
        let free = self.free.pop_front_if(|(_, since)| now.saturating_sub(*since) > IDLE).map(|f| f.0);
        let reference = free.unwrap_or(self.entries.len() as u32);
        let pairs = self.index.insert(&series.labels, reference);
        let key = series.key;
        let entry = Entry { key, pairs, newest: None, created: 0, touched: now, heads: 0, learned: false, live: true };
        match free.and_then(|f| self.entries.get_mut(f)) {
            Some(slot) => *slot = entry,
            None => {
                self.entries.push(entry);
            }
        }
        self.live += 1;
        let entries = &self.entries;
        self.ids.insert(key.id, reference, |r| entries.get(r).map_or(0, |e| e.key.id));
        reference
    }

    fn reference(&self, id: i64) -> Option<u32> {
        self.ids.find(id, |r| self.entries.get(r).is_some_and(|e| e.key.id == id))
    }

    fn get(&self, id: i64) -> Option<&Entry> {
        self.entries.get(self.reference(id)?)
    }

    /// As [`Inner::reference`], which a series may know already.
    fn reference_of(&self, series: &RowSeries) -> Option<u32> {
        let known = series.reference.filter(|r| self.live(*r).is_some_and(|e| e.key.id == series.key.id));
        known.or_else(|| self.reference(series.key.id))
    }

    fn of_id(&mut self, id: i64) -> Option<&mut Entry> {
        self.entries.get_mut(self.reference(id)?)
    }

    /// Whether it is a new series, and there may be no more of them.
    fn is_one_too_many(&self, id: i64) -> bool {
        self.live_max.is_some_and(|max| self.live >= max) && self.reference(id).is_none()
    }

    fn live(&self, reference: u32) -> Option<&Entry> {
        self.entries.get(reference).filter(|e| e.live)
    }
}

impl Registry {
    /// Has entries for `series_max` series; of what is replayed, for all.
    pub fn bounded(series_max: Option<u64>) -> Registry {
        Registry { inner: RwLock::new(Inner { live_max: series_max, ..Inner::default() }) }
    }

    /// Makes entries for series seen for the first time, with their newest samples as the blocks have them.
    /// A block that cannot be read is taken as if it did not hold the series: queries will report it.
    pub fn learn_newest(&self, series: &[RowSeries], blocks: &[Arc<Block>], now: i64) {
        let unknown: Vec<&RowSeries> = {
            let inner = self.inner.read();
            let learned = |s: &RowSeries| inner.get(s.key.id).is_some_and(|e| e.learned);
            series.iter().filter(|s| !learned(s) && !inner.is_one_too_many(s.key.id)).collect()
        };
        if unknown.is_empty() {
            return;
        }
        let ids: HashSet<i64> = unknown.iter().map(|s| s.key.id).collect();
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
            if inner.is_one_too_many(series.key.id) {
                continue;
            }
            if inner.reference(series.key.id).is_none() {
                inner.insert(series, now);
            }
            let newest = found.remove(&series.key.id);
            let Some(entry) = inner.of_id(series.key.id) else { continue };
            entry.learned = true;
            entry.touched = seconds(now);
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
            let reference = inner.reference_of(series).unwrap_or_else(|| inner.insert(series, now));
            let next = inner.created.saturating_add(1).max(now);
            let entry = inner.entries.get_mut(reference).filter(|e| e.key == series.key);
            let known = entry.map(|entry| {
                entry.touched = seconds(now);
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
            let Some(entry) = inner.entries.get_mut(reference) else { continue };
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
            if let Some(entry) = inner.entries.get_mut(*reference) {
                entry.heads = entry.heads.saturating_add(1);
            }
        }
    }

    /// A head that held these series is gone.
    pub fn leave(&self, references: impl Iterator<Item = u32>) {
        let mut inner = self.inner.write();
        for reference in references {
            if let Some(entry) = inner.entries.get_mut(reference) {
                entry.heads = entry.heads.saturating_sub(1);
            }
        }
    }

    /// Forgets series that have no unflushed samples and were not touched for an hour. It takes the registry for a short
    /// time again and again, since writes wait for it.
    pub fn forget_idle(&self, now: i64) {
        let now = seconds(now);
        let is_idle = |e: &Entry| e.live && e.heads == 0 && now.saturating_sub(e.touched) > IDLE;
        let mut idle: Vec<u32> = Vec::new();
        let mut at = 0;
        loop {
            let inner = self.inner.read();
            let entries = inner.entries.len() as u32;
            let group = at..entries.min(at + GROUP);
            idle.extend(group.filter(|r| inner.entries.get(*r).is_some_and(is_idle)));
            at += GROUP;
            if at >= entries {
                break;
            }
        }
        let (mut gone, mut pairs) = (HashSet::new(), Vec::new());
        for group in idle.chunks(GROUP as usize) {
            let mut inner = self.inner.write();
            for reference in group {
                let Some(entry) = inner.entries.get_mut(*reference).filter(|e| is_idle(e)) else { continue };
                (entry.live, entry.newest) = (false, None);
                pairs.append(&mut std::mem::take(&mut entry.pairs).into_vec());
                let id = entry.key.id;
                inner.ids.remove(id, *reference);
                inner.exemplars.remove(reference);
                gone.insert(*reference);
                inner.live -= 1;
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        for group in pairs.chunks(PAIRS_GROUP) {
            self.inner.write().index.remove(group, |r| gone.contains(&r));
        }
        // Only now that no list names them any more.
        let mut gone: Vec<u32> = gone.into_iter().collect();
        gone.sort_unstable();
        self.inner.write().free.extend(gone.into_iter().map(|r| (r, now)));
    }

    /// References of the series that satisfy all matchers, ascending.
    pub fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        let inner = self.inner.read();
        let all = || (0..inner.entries.len() as u32).filter(|r| inner.live(*r).is_some()).collect();
        inner.index.select(matchers, |r| inner.live(r).map(|e| &*e.pairs), all)
    }

    /// Ids and labels of series; `None` for those that are forgotten.
    pub fn named(&self, references: &[u32]) -> Vec<Option<(i64, Labels)>> {
        let inner = self.inner.read();
        references.iter().map(|r| inner.live(*r).map(|e| (e.key.id, inner.index.labels(&e.pairs)))).collect()
    }
}

/// Entries, and pairs of the index, that are worked on while the registry is taken.
const GROUP: u32 = 4_096;
const PAIRS_GROUP: usize = 64;

/// The newest samples, while admission holds the registry.
pub struct NewestSamples<'a> {
    inner: &'a mut Inner,
}

impl NewestSamples<'_> {
    /// The reference of a series; `None` if it has none, and an error if its id belongs to another label set.
    pub fn find(&self, series: &RowSeries) -> Result<Option<u32>, Labels> {
        let Some(reference) = self.inner.reference_of(series) else { return Ok(None) };
        match self.inner.entries.get(reference) {
            Some(entry) if entry.key == series.key => Ok(Some(reference)),
            entry => Err(entry.map_or_else(Labels::empty, |e| self.inner.index.labels(&e.pairs))),
        }
    }

    /// `None` for a series without samples.
    pub fn get(&self, reference: u32) -> Option<&Newest> {
        self.inner.entries.get(reference)?.newest.as_ref()
    }

    /// How many series there may be, if this one would be one more.
    pub fn refuses(&self, series: &RowSeries) -> Option<u64> {
        self.inner.live_max.filter(|_| self.inner.is_one_too_many(series.key.id))
    }

    /// Of the series with this reference, or of one that has none yet; gives its reference.
    pub fn set(&mut self, known: Option<u32>, series: &RowSeries, newest: Newest, now: i64) -> u32 {
        let reference = known.or_else(|| self.inner.reference(series.key.id)).unwrap_or_else(|| self.inner.insert(series, now));
        if let Some(entry) = self.inner.entries.get_mut(reference) {
            entry.touched = seconds(now);
            entry.newest = Some(newest);
        }
        reference
    }

    /// Takes back what [`NewestSamples::set`] did.
    pub fn restore(&mut self, reference: u32, before: Option<Newest>) {
        if let Some(entry) = self.inner.entries.get_mut(reference) {
            entry.newest = before;
        }
    }

    pub fn exemplar(&self, reference: u32) -> Option<&Exemplar> {
        self.inner.exemplars.get(&reference)
    }

    pub fn set_exemplar(&mut self, reference: u32, exemplar: &Exemplar) {
        self.inner.exemplars.insert(reference, exemplar.clone());
    }
}
