use crate::metrics::promql::{Run, SeriesData};
use crate::runtime::Shrink;
use crate::storage::block::BlockId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// Some neighbouring series' floats of a block, decoded. Times in milliseconds since the epoch.
#[derive(Debug, Default)]
pub struct Piece {
    /// Row of `samples` that the lists begin with.
    pub first_row: u64,
    pub ts: Arc<Vec<i64>>,
    pub values: Arc<Vec<f64>>,
    /// Start times, 0 if unknown; empty if the block has none.
    pub starts: Arc<Vec<i64>>,
}

impl Piece {
    /// Of all rows from the first on.
    pub fn new(first_row: u64, data: SeriesData) -> Piece {
        let fitting = |mut all: Vec<i64>| {
            all.shrink_to_fit();
            Arc::new(all)
        };
        let mut values = data.values.into_vec();
        values.shrink_to_fit();
        Piece { first_row, ts: fitting(data.ts.into_vec()), values: Arc::new(values), starts: fitting(data.starts.into_vec()) }
    }

    fn bytes(&self) -> u64 {
        8 * (self.ts.len() + self.values.len() + self.starts.len()) as u64 + 256
    }

    /// Positions of `rows` of the table in the lists, as far as they are there.
    pub fn positions(&self, rows: &Range<u64>) -> Range<usize> {
        let position = |row: u64| usize::try_from(row.saturating_sub(self.first_row)).unwrap_or(usize::MAX).min(self.ts.len());
        position(rows.start)..position(rows.end)
    }

    /// Start times of the samples at `part`.
    pub fn starts(&self, part: Range<usize>) -> Run<i64> {
        if self.starts.is_empty() { Run::default() } else { Run::shared(self.starts.clone(), part) }
    }
}

/// A piece by its block and first row.
type Key = (BlockId, u64);

/// Decoded pieces of blocks that were asked for of late, at most so many bytes of them. Blocks never change, so a piece is
/// right for as long as anyone wants it.
pub struct SampleCache {
    max_bytes: u64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    pieces: HashMap<Key, (Arc<Piece>, u64)>,
    /// Keys by when they were last asked for.
    used: BTreeMap<u64, Key>,
    asked: u64,
    bytes: u64,
}

impl SampleCache {
    pub fn new(max_bytes: u64) -> SampleCache {
        SampleCache { max_bytes, inner: Mutex::default() }
    }

    pub fn get(&self, key: Key) -> Option<Arc<Piece>> {
        self.inner.lock().get(key)
    }

    /// Keeps a piece if it fits at all.
    pub fn insert(&self, key: Key, piece: Arc<Piece>) {
        let bytes = piece.bytes();
        if bytes <= self.max_bytes {
            let mut inner = self.inner.lock();
            inner.remove(key);
            inner.forget(self.max_bytes - bytes);
            inner.insert(key, piece);
        }
    }
}

impl Shrink for SampleCache {
    fn shrink(&self) {
        let mut inner = self.inner.lock();
        let half = inner.bytes / 2;
        inner.forget(half);
    }
}

impl Inner {
    fn get(&mut self, key: Key) -> Option<Arc<Piece>> {
        let (piece, used) = self.pieces.get_mut(&key)?;
        self.used.remove(used);
        self.asked += 1;
        *used = self.asked;
        self.used.insert(self.asked, key);
        Some(piece.clone())
    }

    /// Lets the longest unused pieces go until there are at most `max` bytes.
    fn forget(&mut self, max: u64) {
        while self.bytes > max
            && let Some((_, key)) = self.used.pop_first()
            && let Some((piece, _)) = self.pieces.remove(&key)
        {
            self.bytes -= piece.bytes();
        }
    }

    fn remove(&mut self, key: Key) {
        if let Some((piece, used)) = self.pieces.remove(&key) {
            self.bytes -= piece.bytes();
            self.used.remove(&used);
        }
    }

    fn insert(&mut self, key: Key, piece: Arc<Piece>) {
        self.asked += 1;
        self.bytes += piece.bytes();
        self.used.insert(self.asked, key);
        self.pieces.insert(key, (piece, self.asked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(rows: usize) -> Arc<Piece> {
        Arc::new(Piece { ts: Arc::new(vec![0; rows]), values: Arc::new(vec![0.0; rows]), ..Piece::default() })
    }

    #[test]
    fn the_longest_unused_goes_first_and_the_bound_holds() {
        let cache = SampleCache::new(3 * (16 * 100 + 256));
        let key = |n: u128| (BlockId(ulid::Ulid(n)), 0);
        for n in 0..3 {
            cache.insert(key(n), piece(100));
        }
        assert!(cache.get(key(0)).is_some());
        cache.insert(key(3), piece(100));
        assert_eq!([0, 1, 2, 3].map(|n| cache.get(key(n)).is_some()), [true, false, true, true]);
        cache.insert(key(3), piece(50));
        cache.insert(key(9), piece(100_000));
        let held = cache.inner.lock();
        assert_eq!((held.bytes, held.pieces.len(), held.used.len()), (250 * 16 + 3 * 256, 3, 3));
        drop(held);
        cache.shrink();
        let held = cache.inner.lock();
        assert_eq!((held.bytes, held.pieces.len(), held.used.len()), (50 * 16 + 256, 1, 1));
    }
}
