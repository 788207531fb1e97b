//! The rule by which blocks of traces become one: traces by id, each with its spans by start; of spans with the same id and
//! kind the earlier accepted stays. What depends on the whole trace is worked out anew.

use super::columns::{EventReader, LinkReader, Plan, Projection, SpanReader};
use super::cut::TableBatches;
use super::schema;
use super::source::{deleted_trace, parts_of_batch};
use super::span::Span;
use super::trace::{Part, Trace};
use crate::model::TraceId;
use crate::storage::block::{Block, BlockWriter};
use crate::storage::{Merge, MergeError, Merged, RowStream, Scan};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Spans that are written at a time.
const STEP_SPANS: usize = 8 << 10;

/// Spans by which columns are chosen, of all inputs together, and of each run of neighbours among them.
const SAMPLE_SPANS: u64 = 16 << 10;
const SAMPLE_RUN: u64 = 256;

/// One input: its tables are all in order of traces.
struct Cursor<'a> {
    traces: RowStream<'a>,
    queue: VecDeque<Part>,
    spans: RowStream<'a>,
    events: RowStream<'a>,
    links: RowStream<'a>,
    deleted: HashSet<TraceId>,
}

fn damaged(table: &str) -> MergeError {
    MergeError::Arrow(ArrowError::SchemaError(format!("table {table} has another shape")))
}

impl Cursor<'_> {
    fn open<'a>(block: &Arc<Block>, deleted: HashSet<TraceId>) -> Result<Cursor<'a>, MergeError> {
        Ok(Cursor {
            traces: RowStream::open(block, schema::TRACES)?,
            queue: VecDeque::new(),
            spans: RowStream::open(block, schema::SPANS)?,
            events: RowStream::open(block, schema::EVENTS)?,
            links: RowStream::open(block, schema::LINKS)?,
            deleted,
        })
    }

    fn peek(&mut self) -> Result<Option<&Part>, MergeError> {
        while self.queue.is_empty() {
            let Some(batch) = self.traces.take(usize::MAX)? else { return Ok(None) };
            let queue = &mut self.queue;
            parts_of_batch(&batch, &mut |part| queue.push_back(part)).ok_or_else(|| damaged(schema::TRACES))?;
        }
        Ok(self.queue.front())
    }

    /// The spans of the next part, which is `part`.
    fn read(&mut self, part: &Part, projection: &Projection) -> Result<Vec<Span>, MergeError> {
        let mut spans = Vec::with_capacity((part.spans.end - part.spans.start) as usize);
        each_batch(&mut self.spans, part.spans.end - part.spans.start, schema::SPANS, |batch| {
            let reader = SpanReader::new(batch, projection);
            spans.extend((0..batch.num_rows()).map(|row| reader.read(row)));
            Ok(())
        })?;
        let index = |row: u64| row.checked_sub(part.spans.start).map(|i| i as usize);
        each_batch(&mut self.events, part.events.end - part.events.start, schema::EVENTS, |batch| {
            let reader = EventReader::new(batch, projection);
            for (row, event) in (0..batch.num_rows()).map(|row| reader.read(row)) {
                let span = index(row).and_then(|i| spans.get_mut(i)).ok_or_else(|| damaged(schema::EVENTS))?;
                span.events.push(event);
            }
            Ok(())
        })?;
        each_batch(&mut self.links, part.links.end - part.links.start, schema::LINKS, |batch| {
            let reader = LinkReader::new(batch, projection);
            for (row, link) in (0..batch.num_rows()).map(|row| reader.read(row)) {
                let span = index(row).and_then(|i| spans.get_mut(i)).ok_or_else(|| damaged(schema::LINKS))?;
                span.links.push(link);
            }
            Ok(())
        })?;
        Ok(spans)
    }

    fn skip(&mut self, part: &Part) -> Result<(), MergeError> {
        self.spans.skip(part.spans.end - part.spans.start)?;
        self.events.skip(part.events.end - part.events.start)?;
        self.links.skip(part.links.end - part.links.start)
    }
}

fn each_batch(
    stream: &mut RowStream<'_>,
    mut rows: u64,
    table: &str,
    mut each: impl FnMut(&RecordBatch) -> Result<(), MergeError>,
) -> Result<(), MergeError> {
    while rows > 0 {
        let batch = stream.take(usize::try_from(rows).unwrap_or(usize::MAX))?.ok_or_else(|| damaged(table))?;
        rows -= batch.num_rows() as u64;
        each(&batch)?;
    }
    Ok(())
}

pub fn merge(merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
    let Merge { inputs, times, pace } = merge;
    let everything = Projection::all();
    let plan = choose(inputs.iter().map(|i| &i.block))?;
    let mut cursors = Vec::with_capacity(inputs.len());
    for input in &inputs {
        let deleted = input.tombstones.iter().filter_map(|t| deleted_trace(t)).collect();
        cursors.push(Cursor::open(&input.block, deleted)?);
    }
    let mut tables = TableBatches::default();
    let mut spans: Vec<Span> = Vec::new();
    while let Some(trace_id) = smallest(&mut cursors)? {
        let mut own = Vec::new();
        for cursor in &mut cursors {
            let Some(part) = cursor.queue.pop_front_if(|part| part.trace_id == trace_id) else { continue };
            if cursor.deleted.contains(&trace_id) {
                cursor.skip(&part)?;
            } else {
                own.append(&mut cursor.read(&part, &everything)?);
            }
        }
        let whole = Trace::assemble(trace_id, own).spans;
        spans.extend(whole.into_iter().filter(|s| times.contains(&s.start)));
        if spans.len() >= STEP_SPANS {
            write(&mut tables, &mut spans, &plan, out)?;
            pace.step()?;
        }
    }
    write(&mut tables, &mut spans, &plan, out)?;
    let merged = Merged { min_time: tables.min_time, max_time: tables.max_time, items: tables.items };
    Ok((tables.items > 0).then_some(merged))
}

fn smallest(cursors: &mut [Cursor<'_>]) -> Result<Option<TraceId>, MergeError> {
    let mut smallest = None;
    for cursor in cursors {
        let own = cursor.peek()?.map(|part| part.trace_id);
        smallest = match (smallest, own) {
            (Some(a), Some(b)) => Some(std::cmp::min(a, b)),
            (a, b) => a.or(b),
        };
    }
    Ok(smallest)
}

fn write(tables: &mut TableBatches, spans: &mut Vec<Span>, plan: &Plan, out: &mut BlockWriter<'_>) -> Result<(), MergeError> {
    if spans.is_empty() {
        return Ok(());
    }
    tables.add(spans, plan)?;
    spans.clear();
    for (name, batches, options) in [
        (schema::SPANS, &mut tables.spans, schema::span_options(plan.distinct.iter().cloned())),
        (schema::TRACES, &mut tables.traces, schema::trace_options()),
        (schema::EVENTS, &mut tables.events, schema::event_options()),
        (schema::LINKS, &mut tables.links, schema::link_options()),
    ] {
        for batch in batches.drain(..).filter(|b| b.num_rows() > 0) {
            if !out.is_open(name) {
                out.open(name, &batch.schema(), &options)?;
            }
            out.write(name, &batch)?;
        }
    }
    Ok(())
}

/// The attribute columns of the new block, chosen by spans from all over the inputs.
fn choose<'a>(blocks: impl Iterator<Item = &'a Arc<Block>> + Clone) -> Result<Plan, MergeError> {
    let everything = Projection::all();
    let total: u64 = blocks.clone().map(|b| b.meta().items).sum();
    let every = (total / SAMPLE_SPANS).max(1) * SAMPLE_RUN;
    let mut spans = Vec::new();
    for block in blocks {
        let Some(table) = block.table(schema::SPANS)? else { continue };
        let rows = table.rows();
        let runs = (0..rows).step_by(every as usize).map(|first| first..(first + SAMPLE_RUN).min(rows)).collect();
        for batch in table.scan(&Scan::default().rows(runs))? {
            let batch = batch?;
            let reader = SpanReader::new(&batch, &everything);
            spans.extend((0..batch.num_rows()).map(|row| reader.read(row)));
        }
        let first = spans.len();
        for (name, is_event) in [(schema::EVENTS, true), (schema::LINKS, false)] {
            let Some(table) = block.table(name)? else { continue };
            let first_rows = 0..table.rows().min(SAMPLE_RUN);
            for batch in table.scan(&Scan::default().rows([first_rows].into()))? {
                let batch = batch?;
                let mut holder = Span::default();
                if is_event {
                    let reader = EventReader::new(&batch, &everything);
                    holder.events = (0..batch.num_rows()).map(|row| reader.read(row).1).collect();
                } else {
                    let reader = LinkReader::new(&batch, &everything);
                    holder.links = (0..batch.num_rows()).map(|row| reader.read(row).1).collect();
                }
                // On a span that is in the sample anyway, so that it does not count as one without attributes.
                if let Some(last) = spans[..first].last_mut() {
                    last.events.append(&mut holder.events);
                    last.links.append(&mut holder.links);
                }
            }
        }
    }
    Ok(Plan::choose(&spans))
}
