//! A file of a block in the bucket, read in chunks of a MiB: those that lie side by side in one request, each checked against
//! its checksum and kept in the cache.

use super::Bucket;
use super::bucket::BucketError;
use super::cache::{ChunkCache, ChunkKey};
use super::health::Health;
use crate::runtime::ReadFile;
use crate::storage::block::{BlockId, CHUNK_BYTES, TableMeta};
use crate::telemetry::BucketMetrics;
use bytes::Bytes;
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Chunks that one request fetches at most.
const REQUEST_CHUNKS_MAX: u32 = 8;

/// What is fetched beyond what was asked for when a file is read from front to back.
const AHEAD_CHUNKS: u32 = 3;

/// Chunks whose checksum is wrong are fetched so many times.
const ATTEMPTS: usize = 3;

/// What all remote files share.
pub struct RemoteReader {
    pub bucket: Bucket,
    pub cache: ChunkCache,
    pub health: Health,
    pub metrics: BucketMetrics,
    /// Fetches of the same file wait for each other, so that none is made twice.
    fetching: [Mutex<()>; 16],
}

impl RemoteReader {
    pub fn new(bucket: Bucket, cache: ChunkCache, metrics: BucketMetrics) -> RemoteReader {
        RemoteReader { bucket, cache, health: Health::new(metrics.clone()), metrics, fetching: Default::default() }
    }
}

pub struct RemoteFile {
    shared: Arc<RemoteReader>,
    key: String,
    block: BlockId,
    table: Arc<str>,
    meta: TableMeta,
    /// The chunk that a reader that goes from front to back would want next.
    expected: AtomicU32,
}

impl RemoteFile {
    pub fn new(shared: Arc<RemoteReader>, key: String, block: BlockId, meta: TableMeta) -> RemoteFile {
        RemoteFile { shared, key, block, table: meta.name.as_str().into(), meta, expected: AtomicU32::new(u32::MAX) }
    }

    fn chunk_key(&self, chunk: u32) -> ChunkKey {
        ChunkKey { block: self.block, table: self.table.clone(), chunk }
    }

    fn chunks(&self) -> u32 {
        u32::try_from(self.meta.bytes.div_ceil(CHUNK_BYTES as u64)).unwrap_or(u32::MAX)
    }

    /// The chunks from `first` that are worth one request: those that are wanted, a few more behind them if the file is
    /// read from front to back, and none that are there.
    fn run_of_missing(&self, first: u32, wanted_end: u32) -> u32 {
        let ahead = if self.expected.load(Ordering::Relaxed) == first { AHEAD_CHUNKS } else { 0 };
        let end = wanted_end.saturating_add(ahead).min(first + REQUEST_CHUNKS_MAX).min(self.chunks());
        (first + 1..end).find(|chunk| self.shared.cache.contains(&self.chunk_key(*chunk))).unwrap_or(end)
    }

    /// Fetches chunks `[first, end)` and checks them.
    fn fetch(&self, first: u32, end: u32) -> Result<Vec<Bytes>, BucketError> {
        let shared = &self.shared;
        shared.health.may_try()?;
        let size = CHUNK_BYTES as u64;
        let range = u64::from(first) * size..(u64::from(end) * size).min(self.meta.bytes);
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            let bytes = match shared.bucket.get_range(&self.key, range.clone()) {
                Ok(bytes) => bytes,
                Err(error @ BucketError::Damaged(..)) => {
                    failure = Some(error);
                    continue;
                }
                Err(error) => {
                    shared.health.failed(&error);
                    return Err(error);
                }
            };
            shared.health.answered();
            shared.metrics.fetched(bytes.len() as u64);
            let chunks: Vec<Bytes> =
                (0..bytes.len()).step_by(CHUNK_BYTES).map(|at| bytes.slice(at..(at + CHUNK_BYTES).min(bytes.len()))).collect();
            match self.first_damaged(first, &chunks) {
                None => return Ok(chunks),
                Some(chunk) => failure = Some(BucketError::Damaged(self.key.clone(), format!("checksum of MiB {chunk} is wrong"))),
            }
        }
        Err(failure.unwrap_or_else(|| BucketError::Unavailable(self.key.clone())))
    }

    fn first_damaged(&self, first: u32, chunks: &[Bytes]) -> Option<u32> {
        let sums = self.meta.chunks.get(first as usize..)?;
        (first..).zip(chunks.iter().zip(sums)).find(|(_, (bytes, sum))| crc32c::crc32c(bytes) != **sum).map(|(chunk, _)| chunk)
    }

    /// Copies `within` of chunk `chunk` to `out`.
    fn read_chunk(&self, chunk: u32, wanted_end: u32, within: Range<usize>, out: &mut [u8]) -> Result<(), BucketError> {
        let cache = &self.shared.cache;
        if cache.read(&self.chunk_key(chunk), within.clone(), out) {
            self.shared.metrics.cache_hit();
            return Ok(());
        }
        let stripe = (self.block.0.random() as usize) % self.shared.fetching.len();
        let _one_at_a_time = self.shared.fetching[stripe].lock();
        if cache.read(&self.chunk_key(chunk), within.clone(), out) {
            return Ok(());
        }
        let end = self.run_of_missing(chunk, wanted_end);
        let fetched = self.fetch(chunk, end)?;
        self.expected.store(end, Ordering::Relaxed);
        for (number, bytes) in (chunk..).zip(&fetched) {
            cache.keep(&self.chunk_key(number), bytes);
        }
        let found = fetched.first().and_then(|bytes| bytes.get(within));
        out.copy_from_slice(found.ok_or_else(|| BucketError::Damaged(self.key.clone(), "it is shorter than it was".into()))?);
        Ok(())
    }
}

impl ReadFile for RemoteFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.meta.bytes)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let size = CHUNK_BYTES as u64;
        let end = offset + buffer.len() as u64;
        if end > self.meta.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = |at: u64| u32::try_from(at).map_err(io::Error::other);
        let wanted_end = number(end.div_ceil(size))?;
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let chunk = number(at / size)?;
            let from = (at % size) as usize;
            let length = rest.len().min(CHUNK_BYTES - from);
            let (now, later) = rest.split_at_mut(length);
            self.read_chunk(chunk, wanted_end, from..from + length, now).map_err(io::Error::other)?;
            (at, rest) = (at + length as u64, later);
        }
        Ok(())
    }
}
