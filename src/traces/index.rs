//! The traces of one source, in order of their ids: where their rows are, and when they were.

use super::head::Chunk;
use super::place::Place;
use super::schema::TRACES;
use super::source::{damaged, storage};
use super::trace::Part;
use crate::model::{TimeRange, TraceId};
use crate::query::QueryError;
use crate::storage::Scan;
use crate::storage::block::Block;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// What a trace takes in the index of a block.
const TRACE_BYTES: u64 = (size_of::<TraceId>() + 2 * size_of::<i64>() + 3 * size_of::<u32>()) as u64;

/// The decoded table of traces of a block, without what is only for show.
#[derive(Debug, Default)]
pub struct BlockIndex {
    ids: Vec<TraceId>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    /// Where the rows of each trace end in `spans`, `events` and `links`; each begins where the one before ends.
    spans: Vec<u32>,
    events: Vec<u32>,
    links: Vec<u32>,
}

impl BlockIndex {
    pub fn read(block: &Arc<Block>) -> Result<BlockIndex, QueryError> {
        let Some(table) = block.table(TRACES).map_err(storage)? else { return Ok(BlockIndex::default()) };
        let mut index = BlockIndex::with_capacity(usize::try_from(table.rows()).unwrap_or(0));
        let columns = ["trace_id", "start", "end", "first_row", "row_count", "first_event", "event_count", "first_link", "link_count"];
        for batch in table.scan(&Scan { batch_rows: 32 << 10, ..Scan::columns(columns) }).map_err(storage)? {
            index.add(&batch.map_err(storage)?).ok_or_else(|| damaged(block))?;
        }
        Ok(index)
    }

    /// A vector that grows takes up to twice what is in it.
    fn with_capacity(traces: usize) -> BlockIndex {
        BlockIndex {
            ids: Vec::with_capacity(traces),
            starts: Vec::with_capacity(traces),
            ends: Vec::with_capacity(traces),
            spans: Vec::with_capacity(traces),
            events: Vec::with_capacity(traces),
            links: Vec::with_capacity(traces),
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Option<()> {
        let ids = batch.column_by_name("trace_id")?.as_fixed_size_binary_opt()?;
        for row in 0..batch.num_rows() {
            let id = TraceId::from_slice(ids.value(row))?;
            if self.ids.last().is_some_and(|last| *last >= id) {
                return None;
            }
            self.ids.push(id);
        }
        let time = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampNanosecondType>();
        self.starts.extend_from_slice(time("start")?.values());
        self.ends.extend_from_slice(time("end")?.values());
        add_ends(&mut self.spans, batch, "first_row", "row_count")?;
        add_ends(&mut self.events, batch, "first_event", "event_count")?;
        add_ends(&mut self.links, batch, "first_link", "link_count")
    }

    /// What the index of so many traces takes.
    pub fn bytes_of(traces: usize) -> u64 {
        traces as u64 * TRACE_BYTES
    }

    pub fn bytes(&self) -> u64 {
        BlockIndex::bytes_of(self.ids.len())
    }

    /// In order.
    pub fn ids(&self) -> &[TraceId] {
        &self.ids
    }
}

/// `None` if the rows of a trace do not begin where those of the trace before end.
fn add_ends(ends: &mut Vec<u32>, batch: &RecordBatch, first: &str, count: &str) -> Option<()> {
    let number = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    for (first, count) in number(first)?.values().iter().zip(number(count)?.values()) {
        let first = u32::try_from(*first).ok()?;
        if ends.last().copied().unwrap_or(0) != first {
            return None;
        }
        ends.push(first.checked_add(u32::try_from(*count).ok()?)?);
    }
    Some(())
}

fn range(ends: &[u32], at: usize) -> Range<u64> {
    let first = at.checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
    u64::from(first)..u64::from(ends.get(at).copied().unwrap_or(first))
}

/// Of a block or of a chunk of a head.
#[derive(Debug, Clone)]
pub enum Index {
    /// With the traces that are deleted from it.
    Block(Arc<BlockIndex>, Arc<HashSet<TraceId>>),
    Chunk(Arc<Chunk>),
}

impl Index {
    pub fn len(&self) -> usize {
        match self {
            Index::Block(index, _) => index.ids.len(),
            Index::Chunk(chunk) => chunk.parts.len(),
        }
    }

    pub fn id(&self, at: usize) -> TraceId {
        match self {
            Index::Block(index, _) => index.ids[at],
            Index::Chunk(chunk) => chunk.parts[at].trace_id,
        }
    }

    /// Of a trace that is not deleted.
    pub fn position(&self, id: TraceId) -> Option<usize> {
        match self {
            Index::Block(_, deleted) if deleted.contains(&id) => None,
            Index::Block(index, _) => index.ids.binary_search(&id).ok(),
            Index::Chunk(chunk) => chunk.parts.binary_search_by_key(&id, |p| p.trace_id).ok(),
        }
    }

    /// Whether nobody may see the trace at this position.
    pub fn is_deleted(&self, at: usize) -> bool {
        match self {
            Index::Block(index, deleted) => !deleted.is_empty() && deleted.contains(&index.ids[at]),
            Index::Chunk(_) => false,
        }
    }

    /// Smallest start and largest end, both inclusive.
    pub fn times(&self, at: usize) -> (i64, i64) {
        match self {
            Index::Block(index, _) => (index.starts[at], index.ends[at]),
            Index::Chunk(chunk) => (chunk.parts[at].start, chunk.parts[at].end),
        }
    }

    pub fn overlaps(&self, at: usize, time: TimeRange) -> bool {
        let (start, end) = self.times(at);
        time.overlaps(start, end)
    }

    pub fn rows(&self, at: usize) -> Range<u64> {
        match self {
            Index::Block(index, _) => range(&index.spans, at),
            Index::Chunk(chunk) => chunk.parts[at].spans.clone(),
        }
    }

    pub fn part(&self, at: usize) -> Part {
        match self {
            Index::Block(index, _) => Part {
                trace_id: index.ids[at],
                start: index.starts[at],
                end: index.ends[at],
                spans: range(&index.spans, at),
                events: range(&index.events, at),
                links: range(&index.links, at),
            },
            Index::Chunk(chunk) => chunk.parts[at].clone(),
        }
    }

    /// What is at a position of this index, which is that of the source of this number.
    pub fn place(&self, number: usize, at: usize) -> Place {
        Place::new((number, at), &self.part(at))
    }

    /// The first trace whose rows do not all lie before `row`.
    pub fn at_row(&self, row: u64) -> usize {
        match self {
            Index::Block(index, _) => index.spans.partition_point(|end| u64::from(*end) <= row),
            Index::Chunk(chunk) => chunk.parts.partition_point(|p| p.spans.end <= row),
        }
    }
}
