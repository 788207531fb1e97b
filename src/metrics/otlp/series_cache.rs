//! Series by the bytes of what names them: a data point whose resource, scope, metric and attributes came before, byte for
//! byte, has its labels at the cost of one hash.

use crate::metrics::rows::SeriesKey;
use crate::model::Labels;
use crate::runtime::Shrink;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Bytes of series that are known, unless [`SeriesCache::new`] says otherwise.
const BYTES_MAX: usize = 64 << 20;

/// Bytes of an entry beside its key, about: its place in a table, labels and id.
const ENTRY_BYTES: usize = 80;

/// What is known of all tenants' series: labels follow from the bytes alone.
pub struct SeriesCache {
    max_bytes: usize,
    generations: Mutex<Generations>,
    /// Of the generation that grows.
    bytes: AtomicUsize,
}

type Contexts = HashMap<u64, Arc<Context>>;

#[derive(Default)]
struct Generations {
    now: Contexts,
    before: Contexts,
}

/// The series of one resource and scope.
pub struct Context {
    key: Box<[u8]>,
    families: Mutex<Families>,
}

/// The families of a [`Context`], while they are used.
#[derive(Default)]
pub struct Families {
    /// Positions by the hashes of keys.
    known: HashMap<u64, usize>,
    all: Vec<Family>,
    bytes: usize,
}

struct Family {
    key: Box<[u8]>,
    seed: u64,
    /// In the order in which they came first.
    points: Vec<Point>,
    /// Their positions.
    known: HashTable<u32>,
    /// Behind the one that was asked for last: a source says its points in the same order each time.
    next: usize,
}

struct Point {
    hash: u64,
    attributes: Box<[u8]>,
    labels: Labels,
    key: SeriesKey,
}

impl Family {
    /// The hash of a point's attributes. Nobody outside can choose attributes with equal ones.
    fn hash_of(&self, attributes: &[u8]) -> u64 {
        xxh3_64_with_seed(attributes, self.seed)
    }

    fn position(&self, attributes: &[u8]) -> Option<usize> {
        if self.points.get(self.next).is_some_and(|p| *p.attributes == *attributes) {
            return Some(self.next);
        }
        let hash = self.hash_of(attributes);
        let is_it = |at: &u32| self.points.get(*at as usize).is_some_and(|p| p.hash == hash && *p.attributes == *attributes);
        self.known.find(hash, is_it).map(|at| *at as usize)
    }
}

impl std::fmt::Debug for SeriesCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeriesCache").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Default for SeriesCache {
    fn default() -> SeriesCache {
        SeriesCache::new(BYTES_MAX)
    }
}

impl Shrink for SeriesCache {
    fn shrink(&self) {
        let mut generations = self.generations.lock();
        let before = generations.turn();
        self.bytes.store(0, Ordering::Relaxed);
        drop(generations);
        drop(before);
    }
}

impl Generations {
    /// What was not asked for in the generation that ends.
    fn turn(&mut self) -> Contexts {
        let now = std::mem::take(&mut self.now);
        std::mem::replace(&mut self.before, now)
    }
}

impl SeriesCache {
    /// For at most `max_bytes` of series, about. Beyond half of them, what was not asked for since is forgotten with the next
    /// half.
    pub fn new(max_bytes: usize) -> SeriesCache {
        SeriesCache { max_bytes, generations: Mutex::default(), bytes: AtomicUsize::new(0) }
    }

    /// Calls `work` with the families of the resource and scope that `key` stands for. Others with the same key wait.
    pub fn with<R>(&self, key: &[u8], work: impl FnOnce(&mut Families) -> R) -> R {
        let context = self.context(key);
        let mut families = context.families.lock();
        let before = families.bytes;
        let result = work(&mut families);
        self.bytes.fetch_add(families.bytes - before, Ordering::Relaxed);
        result
    }

    fn context(&self, key: &[u8]) -> Arc<Context> {
        let hash = xxh3_64(key);
        let mut generations = self.generations.lock();
        if self.bytes.load(Ordering::Relaxed) > self.max_bytes / 2 {
            generations.turn();
            self.bytes.store(0, Ordering::Relaxed);
        }
        if let Some(known) = generations.now.get(&hash).filter(|c| *c.key == *key) {
            return known.clone();
        }
        let known = generations.before.remove(&hash).filter(|c| *c.key == *key);
        // One that alone is half of the bound would push out all others again and again.
        let known = known.filter(|c| c.families.try_lock().is_some_and(|f| f.bytes <= self.max_bytes / 4));
        let context = known.unwrap_or_else(|| Arc::new(Context { key: key.into(), families: Mutex::default() }));
        let bytes = key.len() + ENTRY_BYTES + context.families.try_lock().map_or(0, |f| f.bytes);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        generations.now.insert(hash, context.clone());
        context
    }
}

/// A family in a [`Families`].
#[derive(Debug, Clone, Copy)]
pub struct FamilyId(usize);

impl Families {
    /// `None` if another family has the hash of this key.
    pub fn family(&mut self, key: &[u8]) -> Option<FamilyId> {
        let hash = xxh3_64(key);
        let at = *self.known.entry(hash).or_insert_with(|| {
            self.bytes += key.len() + ENTRY_BYTES;
            let seed = RandomState::new().hash_one(hash);
            self.all.push(Family { key: key.into(), seed, points: Vec::new(), known: HashTable::new(), next: 0 });
            self.all.len() - 1
        });
        (*self.all[at].key == *key).then_some(FamilyId(at))
    }

    /// Labels and key of the series with these attributes, if they are known.
    #[inline]
    pub fn get(&mut self, FamilyId(family): FamilyId, attributes: &[u8]) -> Option<(&Labels, SeriesKey)> {
        let family = &mut self.all[family];
        let at = family.position(attributes)?;
        family.next = at + 1;
        let point = &family.points[at];
        Some((&point.labels, point.key))
    }

    /// Remembers a series that is not known yet.
    pub fn insert(&mut self, FamilyId(family): FamilyId, attributes: &[u8], labels: &Labels, key: SeriesKey) {
        let family = &mut self.all[family];
        let (hash, at) = (family.hash_of(attributes), family.points.len());
        let Ok(position) = u32::try_from(at) else { return };
        family.points.push(Point { hash, attributes: attributes.into(), labels: labels.clone(), key });
        let points = &family.points;
        family.known.insert_unique(hash, position, |at| points[*at as usize].hash);
        family.next = at + 1;
        self.bytes += attributes.len() + labels.heap_bytes() + ENTRY_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_found_by_all_of_its_bytes() {
        let cache = SeriesCache::default();
        let labels = Labels::from_pairs([("a", "1")]);
        cache.with(b"resource", |families| {
            let family = families.family(b"metric").unwrap();
            assert!(families.get(family, b"x").is_none());
            families.insert(family, b"x", &labels, SeriesKey::of(&labels));
        });
        cache.with(b"resource", |families| {
            let (family, other) = (families.family(b"metric").unwrap(), families.family(b"other").unwrap());
            assert_eq!(families.get(family, b"x"), Some((&labels, SeriesKey::of(&labels))));
            assert!(families.get(family, b"y").is_none() && families.get(other, b"x").is_none());
        });
        cache.with(b"resource 2", |families| assert!(families.known.is_empty()));
    }

    #[test]
    fn bytes_are_bounded_and_what_is_used_stays() {
        let cache = SeriesCache::default();
        let labels = Labels::from_pairs([("a", "x".repeat(1 << 20))]);
        for n in 0..200u32 {
            for key in [n.to_le_bytes(), [0; 4]] {
                cache.with(&key, |families| {
                    let family = families.family(b"m").unwrap();
                    if families.get(family, b"").is_none() {
                        assert!(key != [0; 4] || n == 0, "{n}");
                        families.insert(family, b"", &labels, SeriesKey::of(&labels));
                    }
                });
            }
        }
        let generations = cache.generations.lock();
        assert!(generations.now.len() + generations.before.len() <= BYTES_MAX >> 20);
    }
}
