//! Acknowledged spans that are not in a block yet, in chunks that are laid out as small blocks would be: one a request, and
//! small ones made one by and by.

mod merge;

use super::columns::{EventReader, LinkReader, Plan, Projection, SpanReader, write_events, write_links, write_spans};
use super::span::Span;
use super::trace::{Part, parts_of};
use super::{cut, otlp};
use crate::model::{Reason, TraceId, time};
use crate::storage::{BlockDraft, Head, HeadStats, Refusals, Rows};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use parking_lot::{Mutex, RwLock};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

pub use merge::merge;

/// Rows that arrived together, sorted by trace id, start and span id, without duplicates among them.
#[derive(Debug)]
pub struct Chunk {
    pub spans: RecordBatch,
    pub events: RecordBatch,
    pub links: RecordBatch,
    /// In order of trace id.
    pub parts: Vec<Part>,
}

impl Chunk {
    /// `spans` in the order in which they came; an earlier one wins over its duplicates.
    pub fn new(mut spans: Vec<Span>) -> Result<Chunk, ArrowError> {
        Chunk::of(&mut spans)
    }

    /// As [`Chunk::new`]; what is left in `spans` are its rows.
    fn of(spans: &mut Vec<Span>) -> Result<Chunk, ArrowError> {
        let mut seen = HashSet::with_capacity(spans.len());
        spans.retain(|s| seen.insert((s.trace_id, s.identity())));
        spans.sort_by_key(|s| (s.trace_id, s.start, s.span_id));
        let plan = Plan::default();
        Ok(Chunk {
            spans: write_spans(spans, None, &plan)?,
            events: write_events(spans, 0, &plan)?,
            links: write_links(spans, 0, &plan)?,
            parts: parts_of(spans, 0, 0, 0),
        })
    }

    pub fn part(&self, trace_id: TraceId) -> Option<&Part> {
        self.parts.binary_search_by_key(&trace_id, |p| p.trace_id).ok().map(|i| &self.parts[i])
    }

    fn bytes(&self) -> usize {
        let batches = [&self.spans, &self.events, &self.links];
        let arrays: usize = batches.iter().map(|b| b.get_array_memory_size()).sum();
        arrays + self.parts.len() * size_of::<Part>()
    }
}

/// One request's rows.
pub struct TraceRows {
    chunk: Arc<Chunk>,
    /// For observers; gone when the rows are applied.
    spans: Arc<Vec<Span>>,
    bytes: usize,
}

impl TraceRows {
    pub fn new(mut spans: Vec<Span>) -> Result<TraceRows, ArrowError> {
        let chunk = Chunk::of(&mut spans)?;
        let bytes = chunk.bytes();
        Ok(TraceRows { chunk: Arc::new(chunk), spans: Arc::new(spans), bytes })
    }

    /// What was accepted, without duplicates among it.
    pub fn spans(&self) -> &Arc<Vec<Span>> {
        &self.spans
    }
}

impl Rows for TraceRows {
    fn len(&self) -> usize {
        self.chunk.spans.num_rows()
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
    pub fn judge(self, translated: &mut otlp::Translated, now: i64) {
        let oldest = self.retention.map_or(i64::MIN, |r| now.saturating_sub(r));
        let newest = now.saturating_add(FUTURE_MAX);
        let refusals: &mut Refusals = &mut translated.refusals;
        translated.spans.retain(|(index, span)| {
            if span.start < oldest {
                refusals.refuse(*index, Reason::TooOld, || {
                    format!("span starts at {}, before the retention", time::format_rfc3339(span.start))
                });
            } else if span.start > newest {
                refusals
                    .refuse(*index, Reason::TooFarAhead, || format!("span starts at {}, in the future", time::format_rfc3339(span.start)));
            }
            (oldest..=newest).contains(&span.start)
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
        let rows = |c: &Arc<Chunk>| c.spans.num_rows();
        let first = chunks.iter().rposition(|c| rows(c) >= SEALED_ROWS).map_or(0, |i| i + 1);
        let small = &chunks[first..];
        if small.len() < 2 || (small.len() < SMALL_CHUNKS_MAX && small.iter().map(rows).sum::<usize>() < SEALED_ROWS) {
            return;
        }
        match merge(small) {
            Ok(merged) => {
                let before: usize = small.iter().map(|c| c.bytes()).sum();
                let gone = small.iter().map(rows).sum::<usize>() - merged.spans.num_rows();
                let mut stats = self.stats.lock();
                stats.bytes = (stats.bytes + merged.bytes() as u64).saturating_sub(before as u64);
                stats.rows = stats.rows.saturating_sub(gone as u64);
                drop(stats);
                chunks.truncate(first);
                chunks.push(Arc::new(merged));
            }
            // They are right as they are, only slower.
            Err(error) => tracing::warn!(%error, "chunks of the head are not merged"),
        }
    }
}

/// Rows of a chunk, decoded; with events and links if the projection has them. `rows` lie within the chunk.
pub fn read_chunk(chunk: &Chunk, part: &Part, projection: &Projection) -> Vec<Span> {
    let index = |range: &Range<u64>| range.start as usize..range.end as usize;
    let reader = SpanReader::new(&chunk.spans, projection);
    let mut spans: Vec<Span> = index(&part.spans).map(|row| reader.read(row)).collect();
    if projection.events && !part.events.is_empty() {
        let reader = EventReader::new(&chunk.events, projection);
        for (row, event) in index(&part.events).map(|row| reader.read(row)) {
            spans[(row - part.spans.start) as usize].events.push(event);
        }
    }
    if projection.links && !part.links.is_empty() {
        let reader = LinkReader::new(&chunk.links, projection);
        for (row, link) in index(&part.links).map(|row| reader.read(row)) {
            spans[(row - part.spans.start) as usize].links.push(link);
        }
    }
    spans
}
