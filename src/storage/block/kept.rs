use super::BlockId;
use crate::runtime::Shrink;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What is decoded of blocks and kept for the next query: footers, tables of series and streams. Says what it takes.
pub trait Kept: Send + Sync + 'static {
    /// Of memory, about.
    fn bytes(&self) -> u64;
}

type Value = Arc<dyn Any + Send + Sync>;

struct Entry {
    value: Value,
    bytes: u64,
    used: u64,
}

#[derive(Default)]
struct Entries {
    /// By block, then name.
    blocks: HashMap<BlockId, HashMap<String, Entry>>,
    by_use: BTreeMap<u64, (BlockId, String)>,
    uses: u64,
    bytes: u64,
}

impl Entries {
    fn get(&mut self, block: BlockId, name: &str) -> Option<Value> {
        let entry = self.blocks.get_mut(&block)?.get_mut(name)?;
        self.uses += 1;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.by_use.insert(self.uses, key);
        }
        entry.used = self.uses;
        Some(entry.value.clone())
    }

    fn remove(&mut self, block: BlockId, name: &str) {
        let Some(of_block) = self.blocks.get_mut(&block) else { return };
        if let Some(entry) = of_block.remove(name) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
        if of_block.is_empty() {
            self.blocks.remove(&block);
        }
    }

    fn insert(&mut self, block: BlockId, name: &str, value: Value, bytes: u64) {
        self.remove(block, name);
        self.uses += 1;
        let used = self.uses;
        self.by_use.insert(used, (block, name.to_owned()));
        self.blocks.entry(block).or_default().insert(name.to_owned(), Entry { value, bytes, used });
        self.bytes += bytes;
    }

    /// Takes the longest unused out until there are at most `max` bytes, or `least` parts.
    fn let_go(&mut self, max: u64, least: usize) -> Vec<Value> {
        let mut gone = Vec::new();
        while self.bytes > max && self.by_use.len() > least {
            let Some((block, name)) = self.by_use.first_key_value().map(|(_, key)| key.clone()) else { break };
            gone.extend(self.get(block, &name));
            self.remove(block, &name);
        }
        gone
    }
}

impl Shrink for KeptParts {
    fn shrink(&self) {
        let mut entries = self.entries.lock();
        let half = entries.bytes / 2;
        let gone = entries.let_go(half, 0);
        drop(entries);
        drop(gone);
    }
}

/// What was decoded of all blocks, of which the longest unused goes first. The newest stays whatever it takes: who asked for
/// it holds it anyway, and will ask again.
pub struct KeptParts {
    entries: Mutex<Entries>,
    max_bytes: u64,
}

impl KeptParts {
    pub fn new(max_bytes: u64) -> KeptParts {
        KeptParts { entries: Mutex::default(), max_bytes }
    }

    /// The kept part, or the one that `make` makes, which may run twice when two threads ask at once.
    pub fn get_or<T: Kept, E>(&self, block: BlockId, name: &str, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        let found = self.entries.lock().get(block, name);
        if let Some(value) = found.and_then(|value| value.downcast::<T>().ok()) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        let mut entries = self.entries.lock();
        entries.insert(block, name, value.clone(), value.bytes());
        let gone = entries.let_go(self.max_bytes, 1);
        drop(entries);
        // Outside the lock, since a large table takes its time to free.
        drop(gone);
        Ok(value)
    }

    pub fn forget(&self, block: BlockId) {
        let mut entries = self.entries.lock();
        let names: Vec<String> = entries.blocks.get(&block).map(|of_block| of_block.keys().cloned().collect()).unwrap_or_default();
        names.iter().for_each(|name| entries.remove(block, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Part(u64);

    impl Kept for Part {
        fn bytes(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn the_longest_unused_goes_and_the_newest_stays_whatever_it_takes() {
        let kept = KeptParts::new(10);
        let id = |n: u128| BlockId::new(0, n);
        let ask = |n: u128, bytes: u64| {
            let mut made = false;
            let make = || {
                made = true;
                Ok::<_, ()>(Part(bytes))
            };
            assert_eq!(kept.get_or(id(n), "part", make), Ok(Arc::new(Part(bytes))));
            made
        };
        assert!(ask(1, 4) && ask(2, 4) && !ask(1, 4) && ask(3, 4));
        assert!(!ask(1, 4) && !ask(3, 4), "they were used since");
        assert!(ask(2, 4));
        assert!(ask(9, 50) && !ask(9, 50));
        let held = |kept: &KeptParts| {
            let entries = kept.entries.lock();
            (entries.bytes, entries.by_use.len())
        };
        assert_eq!(held(&kept), (50, 1));
        assert!(ask(8, 4) && ask(7, 4));
        kept.shrink();
        assert_eq!(held(&kept), (4, 1));
        assert!(!ask(7, 4));
        kept.shrink();
        assert_eq!(held(&kept), (0, 0));
        assert!(ask(9, 50));
        kept.forget(id(9));
        assert_eq!(held(&kept), (0, 0));
        assert!(kept.entries.lock().blocks.is_empty());
    }
}
