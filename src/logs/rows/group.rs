//! What lines that come together share, known by the bytes that say it: stream labels, and the metadata of their resource and
//! scope. It is put together once for a sender, not once for each of its requests.

use super::{METADATA_MAX_BYTES, METADATA_MAX_PAIRS, Pair};
use crate::logs::level::{self, DETECTED_LEVEL};
use crate::model::Labels;
use crate::runtime::Shrink;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Collects structured metadata within its bounds.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pairs: Vec<Pair>,
    bytes: usize,
    is_too_large: bool,
}

impl Metadata {
    /// Sets a pair; of two with the same name the later one stays. Beyond the bounds nothing more is taken.
    pub fn set(&mut self, name: &Arc<str>, value: &Arc<str>) {
        if self.is_too_large {
            return;
        }
        self.bytes += name.len() + value.len();
        match self.pairs.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = value.clone(),
            None => self.pairs.push((name.clone(), value.clone())),
        }
        self.is_too_large = self.pairs.len() > METADATA_MAX_PAIRS || self.bytes > METADATA_MAX_BYTES;
    }

    /// Takes over the pairs of `other`, and its being too large.
    pub fn extend(&mut self, other: &Metadata) {
        self.is_too_large |= other.is_too_large;
        other.pairs.iter().for_each(|(name, value)| self.set(name, value));
    }

    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// Why an entry with too much of it is refused.
    pub fn complaint(labels: &Labels) -> String {
        format!("stream '{labels}' has structured metadata too large: limit: {METADATA_MAX_PAIRS} pairs and '{METADATA_MAX_BYTES}' bytes")
    }

    pub fn into_pairs(self) -> Vec<Pair> {
        self.pairs
    }
}

/// What lines share.
#[derive(Debug)]
pub struct Group {
    pub labels: Labels,
    /// Of the labels.
    pub id: i64,
    /// On every line; it wins over what a line itself says under the same name.
    pub shared: Arc<[Pair]>,
    /// Names and values that were set for it.
    pub shared_bytes: usize,
    /// No line can have it.
    pub is_too_large: bool,
    pub level: GroupLevel,
}

/// What a group says of its lines' level.
#[derive(Debug, Default)]
pub struct GroupLevel {
    /// `detected_level` is among the shared pairs.
    pub is_given: bool,
    pub of_labels: Option<String>,
    /// The best of the shared pairs that name a level: its rank and value.
    pub of_pairs: Option<(u8, Arc<str>)>,
}

impl Group {
    pub fn new(labels: Labels, shared: Metadata) -> Group {
        let Metadata { mut pairs, bytes, is_too_large } = shared;
        let mut level = GroupLevel { of_labels: level::of_labels(&labels), ..GroupLevel::default() };
        for (name, value) in &mut pairs {
            if &**name == DETECTED_LEVEL {
                level.is_given = true;
                if let Some(known) = level::known(value) {
                    *value = known.into();
                }
            }
            if let Some(rank) = level::rank(name)
                && level.of_pairs.as_ref().is_none_or(|(best, _)| rank < *best)
            {
                level.of_pairs = Some((rank, value.clone()));
            }
        }
        Group { id: labels.stable_id(), labels, shared: pairs.into(), shared_bytes: bytes, is_too_large, level }
    }

    fn heap_bytes(&self) -> usize {
        let pairs: usize = self.shared.iter().map(|(n, v)| n.len() + v.len() + 64).sum();
        self.labels.heap_bytes() + pairs + size_of::<Group>()
    }
}

/// Bytes of groups that are known, about. Beyond half of them, what was not asked for since is forgotten with the next half.
const BYTES_MAX: usize = 16 << 20;

/// Groups that are larger are made anew each time.
const GROUP_MAX_BYTES: usize = 64 << 10;

/// Groups by the bytes that say them; those of all tenants, since they follow from the bytes alone. Every byte is compared.
#[derive(Default)]
pub struct KnownGroups(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    now: HashMap<u64, Known>,
    before: HashMap<u64, Known>,
    /// Of those of now.
    bytes: usize,
}

struct Known {
    key: Box<[u8]>,
    group: Arc<Group>,
}

impl std::fmt::Debug for KnownGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownGroups").field("bytes", &self.0.lock().bytes).finish_non_exhaustive()
    }
}

impl KnownGroups {
    /// The group that `key` says, which `make` makes if it is not known.
    pub fn get<E>(&self, key: &[u8], make: impl FnOnce() -> Result<Group, E>) -> Result<Arc<Group>, E> {
        let hash = xxh3_64(key);
        let mut generations = self.0.lock();
        if let Some(known) = generations.now.get(&hash).filter(|k| *k.key == *key) {
            return Ok(known.group.clone());
        }
        if let Some(known) = generations.before.remove(&hash).filter(|k| *k.key == *key) {
            let group = known.group.clone();
            generations.insert(hash, known);
            return Ok(group);
        }
        drop(generations);
        let group = Arc::new(make()?);
        self.0.lock().insert(hash, Known { key: key.into(), group: group.clone() });
        Ok(group)
    }
}

impl Shrink for KnownGroups {
    fn shrink(&self) {
        self.0.lock().turn();
    }
}

impl Generations {
    /// What was not asked for in the generation that ends is forgotten.
    fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
        self.bytes = 0;
    }

    fn insert(&mut self, hash: u64, known: Known) {
        let bytes = known.key.len() + known.group.heap_bytes();
        if bytes > GROUP_MAX_BYTES {
            return;
        }
        if self.bytes > BYTES_MAX / 2 {
            self.turn();
        }
        self.bytes += bytes;
        self.now.insert(hash, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_known_by_their_bytes_and_bounded() {
        let known = KnownGroups::default();
        let make = |n: u32| Ok::<_, ()>(Group::new(Labels::from_pairs([("n", n.to_string().repeat(100))]), Metadata::default()));
        let first = known.get(b"0", || make(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &known.get(b"0", || make(1)).unwrap()));
        for n in 0..100_000u32 {
            known.get(&n.to_le_bytes(), || make(n)).unwrap();
        }
        let generations = known.0.lock();
        let bytes = |of: &HashMap<u64, Known>| of.values().map(|k| k.key.len() + k.group.heap_bytes()).sum::<usize>();
        assert!(bytes(&generations.now) + bytes(&generations.before) <= BYTES_MAX + 2 * GROUP_MAX_BYTES);
        assert!(!generations.now.is_empty() && !generations.before.is_empty());
    }

    #[test]
    fn what_cannot_be_made_is_not_kept() {
        let known = KnownGroups::default();
        assert_eq!(known.get(b"x", || Err("bad")).unwrap_err(), "bad");
        assert!(known.get(b"x", || Ok::<_, ()>(Group::new(Labels::empty(), Metadata::default()))).is_ok());
    }
}
