//! Acknowledged spans that are not in a block yet, in chunks: one a request, and small ones made one by and by.

mod chunk;

use super::{cut, otlp};
use crate::model::{Reason, time};
use crate::storage::{BlockDraft, Head, HeadStats, Refusals, Rows};
use arrow_schema::ArrowError;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

pub use chunk::{Chunk, ChunkReader, Group, Row};

/// One request's rows.
pub struct TraceRows {
    chunk: Arc<Chunk>,
    bytes: usize,
}

impl TraceRows {
    pub fn new(translated: otlp::Translated<'_>) -> TraceRows {
        let chunk = Chunk::new(translated);
        let bytes = chunk.bytes();
        TraceRows { chunk: Arc::new(chunk), bytes }
    }

    /// What was accepted, without duplicates among it.
    pub fn chunk(&self) -> &Arc<Chunk> {
        &self.chunk
    }
}

impl Rows for TraceRows {
    fn len(&self) -> usize {
        self.chunk.rows().len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Which times are accepted (decisions 9).
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Nanoseconds; `None` takes spans of any age.
    pub retention: Option<i64>,
}

/// How far ahead of the clock a span may start, nanoseconds.
const FUTURE_MAX: i64 = 10 * 60 * time::SECOND;

impl Window {
    /// Refuses, of what was translated, the spans outside the window around `now`.
    pub fn judge(self, translated: &mut otlp::Translated<'_>, now: i64) {
        let oldest = self.retention.map_or(i64::MIN, |r| now.saturating_sub(r));
        let newest = now.saturating_add(FUTURE_MAX);
        let refusals: &mut Refusals = &mut translated.refusals;
        translated.spans.retain(|span| {
            let (index, start) = (span.index, span.row.start);
            if start < oldest {
                refusals.refuse(index, Reason::TooOld, || format!("span starts at {}, before the retention", time::format_rfc3339(start)));
            } else if start > newest {
                refusals.refuse(index, Reason::TooFarAhead, || format!("span starts at {}, in the future", time::format_rfc3339(start)));
            }
            (oldest..=newest).contains(&start)
        });
    }
}

/// A tenant's chunks in the order in which they were accepted.
#[derive(Default)]
pub struct TraceHead {
    chunks: RwLock<Arc<Vec<Arc<Chunk>>>>,
    stats: Mutex<HeadStats>,
}

impl Head for TraceHead {
    type Rows = TraceRows;
    type Snapshot = Arc<Vec<Arc<Chunk>>>;

    fn apply(&self, rows: TraceRows) {
        let mut stats = self.stats.lock();
        stats.rows += rows.len() as u64;
        stats.bytes += rows.bytes as u64;
        drop(stats);
        let mut chunks = self.chunks.write();
        let chunks = Arc::make_mut(&mut chunks);
        chunks.push(rows.chunk);
        self.seal(chunks);
    }

    fn snapshot(&self) -> Arc<Vec<Arc<Chunk>>> {
        self.chunks.read().clone()
    }

    fn stats(&self) -> HeadStats {
        *self.stats.lock()
    }

    fn cut(&self) -> Box<dyn Iterator<Item = Result<BlockDraft, ArrowError>> + '_> {
        Box::new(cut::drafts(self.snapshot()))
    }
}

/// Rows from which on a chunk is left as it is.
const SEALED_ROWS: usize = 4 << 10;

/// Smaller chunks at the end of a head at most.
const SMALL_CHUNKS_MAX: usize = 64;

impl TraceHead {
    /// Makes the small chunks at the end one, when they are many or have rows enough: a query visits every chunk.
    fn seal(&self, chunks: &mut Vec<Arc<Chunk>>) {
        let rows = |c: &Arc<Chunk>| c.rows().len();
        let first = chunks.iter().rposition(|c| rows(c) >= SEALED_ROWS).map_or(0, |i| i + 1);
        let small = &chunks[first..];
        if small.len() < 2 || (small.len() < SMALL_CHUNKS_MAX && small.iter().map(rows).sum::<usize>() < SEALED_ROWS) {
            return;
        }
        let merged = Chunk::merge(small);
        let before: usize = small.iter().map(|c| c.bytes()).sum();
        let gone = small.iter().map(rows).sum::<usize>() - merged.rows().len();
        let mut stats = self.stats.lock();
        stats.bytes = (stats.bytes + merged.bytes() as u64).saturating_sub(before as u64);
        stats.rows = stats.rows.saturating_sub(gone as u64);
        drop(stats);
        chunks.truncate(first);
        chunks.push(Arc::new(merged));
    }
}
