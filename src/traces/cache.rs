//! What was decoded of blocks, kept for the next query: a bounded number of bytes, of which what was used longest ago goes
//! first.

use crate::runtime::Shrink;
use crate::storage::block::BlockId;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

/// What of which blocks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    Index(BlockId),
    /// Names in the rest map of a scope, by row group.
    RestKeys(BlockId, &'static str),
    /// Which traces of these blocks are in several.
    Shared(Vec<BlockId>),
    /// Roots of the traces of a block.
    Roots(BlockId),
}

struct Entry {
    value: Arc<dyn Any + Send + Sync>,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct Entries {
    by_key: HashMap<Key, Entry>,
    bytes: u64,
    clock: u64,
}

pub struct Cache {
    entries: Mutex<Entries>,
    max_bytes: u64,
}

impl Cache {
    pub fn new(max_bytes: u64) -> Cache {
        Cache { entries: Mutex::default(), max_bytes }
    }

    pub fn get<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        let mut entries = self.entries.lock();
        entries.clock += 1;
        let now = entries.clock;
        let entry = entries.by_key.get_mut(key)?;
        entry.used = now;
        entry.value.clone().downcast().ok()
    }

    /// The kept value, or the one that `make` makes, with its size in bytes. `make` may run twice when two threads ask at
    /// once. What is larger than the whole cache is not kept.
    pub fn get_or<T: Send + Sync + 'static, E>(&self, key: Key, make: impl FnOnce() -> Result<(T, u64), E>) -> Result<Arc<T>, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let (value, bytes) = make()?;
        let value = Arc::new(value);
        self.keep(key, value.clone(), bytes);
        Ok(value)
    }

    fn keep(&self, key: Key, value: Arc<dyn Any + Send + Sync>, bytes: u64) {
        if bytes > self.max_bytes {
            return;
        }
        let mut entries = self.entries.lock();
        entries.clock += 1;
        let used = entries.clock;
        entries.bytes += bytes;
        if let Some(old) = entries.by_key.insert(key, Entry { value, bytes, used }) {
            entries.bytes -= old.bytes;
        }
        entries.let_go(self.max_bytes);
    }
}

impl Entries {
    /// The longest unused go until there are at most `max` bytes.
    fn let_go(&mut self, max: u64) {
        while self.bytes > max {
            let Some(oldest) = self.by_key.iter().min_by_key(|(_, e)| e.used).map(|(k, _)| k.clone()) else { break };
            if let Some(gone) = self.by_key.remove(&oldest) {
                self.bytes -= gone.bytes;
            }
        }
    }
}

impl Shrink for Cache {
    fn shrink(&self) {
        let mut entries = self.entries.lock();
        let half = entries.bytes / 2;
        entries.let_go(half);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> Key {
        Key::Index(BlockId::new(0, n))
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(10);
        let put = |n: u128| cache.get_or(key(n), || Ok::<_, ()>((n, 4))).unwrap();
        put(1);
        put(2);
        assert_eq!(cache.get::<u128>(&key(1)).as_deref(), Some(&1));
        put(3);
        assert_eq!(cache.get::<u128>(&key(2)), None);
        assert_eq!(cache.get::<u128>(&key(1)).as_deref(), Some(&1));
        assert_eq!(*cache.get_or(key(4), || Ok::<_, ()>((4u128, 11))).unwrap(), 4);
        assert_eq!((cache.get::<u128>(&key(4)), cache.entries.lock().bytes), (None, 8));
        cache.shrink();
        assert_eq!((cache.get::<u128>(&key(1)).as_deref(), cache.entries.lock().bytes), (Some(&1), 4));
    }
}
