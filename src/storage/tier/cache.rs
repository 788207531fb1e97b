//! Chunks of remote files that queries have read, kept in `DATA/cache` under a bound: the least recently used goes first.

use crate::runtime::World;
use crate::storage::block::BlockId;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A file of a block, and the number of a chunk in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChunkKey {
    pub block: BlockId,
    pub table: Arc<str>,
    pub chunk: u32,
}

#[derive(Default)]
struct State {
    /// When each chunk was last used, and its bytes.
    chunks: HashMap<ChunkKey, (u64, u64)>,
    by_use: BTreeMap<u64, ChunkKey>,
    uses: u64,
    bytes: u64,
}

impl State {
    fn forget(&mut self, key: &ChunkKey) -> bool {
        let Some((used, bytes)) = self.chunks.remove(key) else { return false };
        self.by_use.remove(&used);
        self.bytes -= bytes;
        true
    }

    fn use_now(&mut self, key: &ChunkKey) -> bool {
        let Some((used, _)) = self.chunks.get_mut(key) else { return false };
        self.uses += 1;
        self.by_use.remove(used);
        *used = self.uses;
        self.by_use.insert(self.uses, key.clone());
        true
    }
}

pub struct ChunkCache {
    world: World,
    directory: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
}

impl ChunkCache {
    /// What an earlier process left is removed: nothing says what of it is whole.
    pub fn open(world: World, directory: PathBuf, max_bytes: u64) -> io::Result<ChunkCache> {
        if world.disk.exists(&directory) {
            world.disk.remove_dir_all(&directory)?;
        }
        world.disk.create_dir_all(&directory)?;
        Ok(ChunkCache { world, directory, max_bytes, state: Mutex::default() })
    }

    fn path(&self, key: &ChunkKey) -> PathBuf {
        self.directory.join(format!("{}.{}.{}", key.block, key.table, key.chunk))
    }

    /// Reads `range` of a chunk into `buffer`, which is as long; whether the chunk was there.
    pub fn read(&self, key: &ChunkKey, range: Range<usize>, buffer: &mut [u8]) -> bool {
        if !self.state.lock().use_now(key) {
            return false;
        }
        let read = self.world.disk.open(&self.path(key)).and_then(|file| file.read_exact_at(buffer, range.start as u64));
        // Evicted between the two steps, or the disk failed: then it is fetched again.
        read.is_ok() || {
            self.state.lock().forget(key);
            false
        }
    }

    pub fn contains(&self, key: &ChunkKey) -> bool {
        self.state.lock().chunks.contains_key(key)
    }

    /// Keeps a chunk if it can: a full disk costs only speed.
    pub fn keep(&self, key: &ChunkKey, bytes: &Bytes) {
        let length = bytes.len() as u64;
        if length > self.max_bytes || self.contains(key) {
            return;
        }
        let mut state = self.state.lock();
        while state.bytes + length > self.max_bytes {
            let Some(oldest) = state.by_use.first_key_value().map(|(_, key)| key.clone()) else { return };
            state.forget(&oldest);
            self.remove(&oldest);
        }
        let path = self.path(key);
        let written = self.world.disk.create(&path).and_then(|mut file| file.write_all(bytes));
        if let Err(error) = written {
            tracing::debug!(%error, "a chunk of a remote file is not kept");
            self.remove(key);
            return;
        }
        state.uses += 1;
        let used = state.uses;
        state.by_use.insert(used, key.clone());
        state.chunks.insert(key.clone(), (used, length));
        state.bytes += length;
    }

    fn remove(&self, key: &ChunkKey) {
        // One that is not there is as good as removed.
        let _ = self.world.disk.remove_file(&self.path(key));
    }

    /// Drops what is kept of a block that is gone.
    pub fn forget_block(&self, block: BlockId) {
        let mut state = self.state.lock();
        let of_block: Vec<ChunkKey> = state.chunks.keys().filter(|key| key.block == block).cloned().collect();
        for key in &of_block {
            state.forget(key);
            self.remove(key);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(chunk: u32) -> ChunkKey {
        ChunkKey { block: BlockId::new(1_000_000, 7), table: "words".into(), chunk }
    }

    #[test]
    fn the_least_recently_used_goes_and_the_bound_holds() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ChunkCache::open(World::real(), dir.path().join("cache"), 25).unwrap();
        let mut buffer = [0; 3];
        for chunk in 0..2 {
            cache.keep(&key(chunk), &Bytes::from(vec![chunk as u8; 10]));
        }
        assert!(cache.read(&key(0), 2..5, &mut buffer));
        assert_eq!(buffer, [0; 3]);
        cache.keep(&key(2), &Bytes::from(vec![2; 10]));
        assert!(!cache.contains(&key(1)) && cache.contains(&key(0)) && cache.contains(&key(2)));
        cache.keep(&key(3), &Bytes::from(vec![3; 26]));
        assert!(!cache.contains(&key(3)), "larger than everything");
        assert_eq!(cache.bytes(), 20);
        assert_eq!(std::fs::read_dir(dir.path().join("cache")).unwrap().count(), 2);
        cache.forget_block(key(0).block);
        assert_eq!((cache.bytes(), std::fs::read_dir(dir.path().join("cache")).unwrap().count()), (0, 0));
    }

    #[test]
    fn a_chunk_whose_file_is_gone_is_fetched_again() {
        let dir = tempfile::tempdir().unwrap();
        let cache = ChunkCache::open(World::real(), dir.path().join("cache"), 100).unwrap();
        cache.keep(&key(0), &Bytes::from_static(b"abc"));
        std::fs::remove_dir_all(dir.path().join("cache")).unwrap();
        assert!(!cache.read(&key(0), 0..1, &mut [0]));
        assert!(!cache.contains(&key(0)));
    }
}
