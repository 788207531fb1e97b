//! A head becomes block drafts: a block a UTC day, and one for all that is older than the newest days.

use super::columns::{Plan, write_events, write_links, write_spans, write_traces};
use super::head::{Chunk, ChunkReader};
use super::schema;
use super::span_ref::{Node, SpanRef};
use super::trace::{Nested, TraceRow, assemble, nested_sets, parts_of};
use crate::model::{TraceId, time};
use crate::storage::{BlockDraft, Portion, TableDraft, TableOptions};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Day-blocks a cut writes at most (decisions 21).
const DAYS_MAX: usize = 32;

/// Spans that are decoded at a time.
const STEP_SPANS: usize = 8 << 10;

type Chunks = Arc<Vec<Arc<Chunk>>>;

/// A trace's rows in a chunk, by their positions.
type Place = (TraceId, usize, usize);

pub fn drafts(chunks: Chunks) -> impl Iterator<Item = Result<BlockDraft, ArrowError>> {
    let mut places: Vec<Place> = Vec::new();
    for (index, chunk) in chunks.iter().enumerate() {
        places.extend(chunk.parts.iter().enumerate().map(|(part, p)| (p.trace_id, index, part)));
    }
    // Within a trace the order of chunks stays, which is the order in which they were accepted.
    places.sort_unstable();
    let places = Arc::new(places);
    days_of(&chunks).into_iter().filter_map(move |(days, mixed)| draft(&chunks, &places, days, mixed).transpose())
}

/// The days to write a block for, newest last, and whether it holds several.
fn days_of(chunks: &[Arc<Chunk>]) -> Vec<(RangeInclusive<i64>, bool)> {
    let mut days = BTreeSet::new();
    let mut last = None;
    for row in chunks.iter().flat_map(|chunk| chunk.rows()) {
        let day = time::day_of(row.start);
        if last.replace(day) != Some(day) {
            days.insert(day);
        }
    }
    let days: Vec<i64> = days.into_iter().collect();
    let (old, young) = days.split_at(days.len().saturating_sub(DAYS_MAX));
    let mixed = old.first().zip(old.last()).map(|(first, last)| (*first..=*last, first != last));
    mixed.into_iter().chain(young.iter().map(|day| (*day..=*day, false))).collect()
}

fn draft(chunks: &Chunks, places: &Arc<Vec<Place>>, days: RangeInclusive<i64>, mixed: bool) -> Result<Option<BlockDraft>, ArrowError> {
    let readers: Vec<ChunkReader<'_>> = chunks.iter().map(|c| c.reader()).collect();
    let plan = Plan::choose(&sample(chunks, &readers, places, &days));
    drop(readers);
    let day = *days.end();
    let mut more = Steps { chunks: chunks.clone(), places: places.clone(), next: 0, days, plan, tables: TableBatches::default() };
    let Some(first) = more.next().transpose()? else { return Ok(None) };
    let Portion { min_time, max_time, items, tables } = first;
    Ok(Some(BlockDraft { day, mixed, min_time, max_time, items, tables, more: Some(Box::new(more)) }))
}

/// The rows of a block, some [`STEP_SPANS`] at a time.
struct Steps {
    chunks: Chunks,
    places: Arc<Vec<Place>>,
    /// The place that comes next.
    next: usize,
    days: RangeInclusive<i64>,
    plan: Plan,
    tables: TableBatches,
}

impl Iterator for Steps {
    type Item = Result<Portion, ArrowError>;

    fn next(&mut self) -> Option<Result<Portion, ArrowError>> {
        loop {
            let end = self.next + step(&self.chunks, &self.places[self.next..]);
            let step = &self.places[self.next..end];
            if step.is_empty() {
                return None;
            }
            self.next = end;
            let readers: Vec<ChunkReader<'_>> = self.chunks.iter().map(|c| c.reader()).collect();
            let spans = spans_of(&self.chunks, &readers, step, &self.days);
            if !spans.is_empty() {
                return Some(self.tables.add(&spans, &self.plan).map(|()| self.tables.portion(&self.plan)));
            }
        }
    }
}

/// How many of the places make whole traces of about [`STEP_SPANS`] spans.
fn step(chunks: &Chunks, places: &[Place]) -> usize {
    let mut spans = 0;
    let mut end = 0;
    for trace in places.chunk_by(|a, b| a.0 == b.0) {
        end += trace.len();
        spans += trace.iter().map(|(_, chunk, part)| rows(chunks, *chunk, *part)).sum::<usize>();
        if spans >= STEP_SPANS {
            break;
        }
    }
    end
}

fn rows(chunks: &Chunks, chunk: usize, part: usize) -> usize {
    let range = &chunks[chunk].parts[part].spans;
    (range.end - range.start) as usize
}

/// Whole traces, each without duplicates and in order.
fn spans_of<'a>(chunks: &Chunks, readers: &[ChunkReader<'a>], places: &[Place], days: &RangeInclusive<i64>) -> Vec<SpanRef<'a>> {
    let mut out = Vec::new();
    let mut own = Vec::new();
    for trace in places.chunk_by(|a, b| a.0 == b.0) {
        for (_, chunk, part) in trace {
            let range = &chunks[*chunk].parts[*part].spans;
            own.extend((range.start..range.end).filter_map(|row| readers[*chunk].span(row as usize)));
        }
        // Duplicates go before days are told apart, since they may differ in their start.
        if trace.len() > 1 {
            assemble(&mut own);
        }
        out.extend(own.drain(..).filter(|s| days.contains(&time::day_of(s.start))));
    }
    out
}

/// Spans by which columns are chosen, about.
const SAMPLE_SPANS: usize = 8 << 10;

/// Spans by which columns are chosen: evenly spread.
fn sample<'a>(chunks: &Chunks, readers: &[ChunkReader<'a>], places: &[Place], days: &RangeInclusive<i64>) -> Vec<SpanRef<'a>> {
    let total: usize = places.iter().map(|(_, chunk, part)| rows(chunks, *chunk, *part)).sum();
    let every = total.div_ceil(SAMPLE_SPANS).max(1);
    let chosen: Vec<Place> = places.iter().copied().step_by(every).collect();
    spans_of(chunks, readers, &chosen, days)
}

/// The nested-set numbers of whole traces.
pub fn nested_of<N: Node>(spans: &[N]) -> Vec<Nested> {
    spans.chunk_by(|a, b| a.trace_id() == b.trace_id()).flat_map(nested_sets).collect()
}

/// The tables of a block as they grow: whoever writes them takes the batches away.
#[derive(Default)]
pub struct TableBatches {
    pub spans: Vec<RecordBatch>,
    pub events: Vec<RecordBatch>,
    pub links: Vec<RecordBatch>,
    pub traces: Vec<RecordBatch>,
    pub items: u64,
    pub events_rows: u64,
    pub links_rows: u64,
    pub min_time: i64,
    pub max_time: i64,
    /// Items that were taken away in portions.
    portioned: u64,
}

impl TableBatches {
    /// Appends whole traces, in order of their ids.
    pub fn add(&mut self, spans: &[SpanRef<'_>], plan: &Plan) -> Result<(), ArrowError> {
        let first_row = self.items.cast_signed();
        let of_spans = write_spans(spans, &nested_of(spans), plan)?;
        self.push(spans, [of_spans, write_events(spans, first_row, plan)?, write_links(spans, first_row, plan)?])
    }

    /// Appends whole traces, in order of their ids, whose rows of spans, events and links these are.
    pub fn push<N: Node>(&mut self, nodes: &[N], [spans, events, links]: [RecordBatch; 3]) -> Result<(), ArrowError> {
        let parts = parts_of(nodes, self.items, self.events_rows, self.links_rows);
        let traces = nodes.chunk_by(|a, b| a.trace_id() == b.trace_id());
        let rows: Vec<TraceRow> = parts.into_iter().zip(traces).map(|(part, nodes)| TraceRow::new(part, nodes)).collect();
        self.traces.push(write_traces(&rows)?);
        let (low, high) = (rows.iter().map(|r| r.part.start).min(), rows.iter().map(|r| r.part.end).max());
        let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
        (self.min_time, self.max_time) = if self.items == 0 { (low, high) } else { (self.min_time.min(low), self.max_time.max(high)) };
        self.items += spans.num_rows() as u64;
        self.events_rows += events.num_rows() as u64;
        self.links_rows += links.num_rows() as u64;
        self.spans.push(spans);
        self.events.push(events);
        self.links.push(links);
        Ok(())
    }

    /// Takes what came since the portion before.
    fn portion(&mut self, plan: &Plan) -> Portion {
        let table = |name, batches: &mut Vec<RecordBatch>, options: TableOptions| {
            let batches: Vec<RecordBatch> = batches.drain(..).filter(|b| b.num_rows() > 0).collect();
            let schema = batches.first().map(RecordBatch::schema)?;
            Some(TableDraft { name, schema, batches, options })
        };
        let tables = [
            table(schema::SPANS, &mut self.spans, schema::span_options(plan.distinct.iter().cloned())),
            table(schema::TRACES, &mut self.traces, schema::trace_options()),
            table(schema::EVENTS, &mut self.events, schema::event_options()),
            table(schema::LINKS, &mut self.links, schema::link_options()),
        ];
        let items = self.items - std::mem::replace(&mut self.portioned, self.items);
        // The times of all portions so far are those of the last one, too.
        Portion { min_time: self.min_time, max_time: self.max_time, items, tables: tables.into_iter().flatten().collect() }
    }
}
