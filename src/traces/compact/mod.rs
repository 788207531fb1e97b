//! The rule by which blocks of traces become one: traces by id, each with its spans by start; of spans with the same id and
//! kind the earlier accepted stays. What depends on the whole trace is worked out anew.

mod by_columns;
mod by_rows;
mod join;
#[cfg(test)]
mod tests;

use super::columns::{EventReader, LinkReader, Plan, Projection, SpanReader, without_dictionaries};
use super::cut::TableBatches;
use super::schema;
use super::source::{deleted_trace, parts_of_batch};
use super::trace::Part;
use crate::model::TraceId;
use crate::storage::block::{Block, BlockWriter};
use crate::storage::{Merge, MergeError, Merged, RowStream, Scan};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Spans that are written at a time.
const STEP_SPANS: u64 = 8 << 10;

/// Spans by which columns are chosen, of all inputs together, and of each run of neighbours among them.
const SAMPLE_SPANS: u64 = 8 << 10;
const SAMPLE_RUN: u64 = 256;

/// One input: its tables are all in order of traces.
struct Cursor<'a> {
    traces: RowStream<'a>,
    queue: VecDeque<Part>,
    spans: Rows<'a>,
    events: Rows<'a>,
    links: Rows<'a>,
    deleted: HashSet<TraceId>,
}

/// A table that is read from its first row to its last.
struct Rows<'a> {
    name: &'static str,
    stream: RowStream<'a>,
    /// The row that comes next.
    next: u64,
}

fn damaged(table: &str) -> MergeError {
    MergeError::Arrow(ArrowError::SchemaError(format!("table {table} has another shape")))
}

impl<'a> Rows<'a> {
    fn open(block: &Arc<Block>, name: &'static str) -> Result<Rows<'a>, MergeError> {
        Ok(Rows { name, stream: RowStream::with_dictionaries(block, name)?, next: 0 })
    }

    /// The rows up to `end`.
    fn take(&mut self, end: u64) -> Result<Taken, MergeError> {
        let mut taken = Taken { first: self.next, batches: Vec::new() };
        while self.next < end {
            let most = usize::try_from(end - self.next).unwrap_or(usize::MAX);
            let batch = self.stream.take(most)?.ok_or_else(|| damaged(self.name))?;
            self.next += batch.num_rows() as u64;
            taken.batches.push(batch);
        }
        Ok(taken)
    }
}

/// The rows of a step that one input has.
struct InputRows {
    spans: Taken,
    events: Taken,
    links: Taken,
}

impl InputRows {
    fn without_dictionaries(&self) -> Result<InputRows, ArrowError> {
        let plain = |taken: &Taken| {
            let batches = taken.batches.iter().map(without_dictionaries).collect::<Result<_, ArrowError>>()?;
            Ok::<_, ArrowError>(Taken { first: taken.first, batches })
        };
        Ok(InputRows { spans: plain(&self.spans)?, events: plain(&self.events)?, links: plain(&self.links)? })
    }
}

/// Consecutive rows of a table.
struct Taken {
    first: u64,
    batches: Vec<RecordBatch>,
}

impl Taken {
    /// `read` is called with each row in `range`, which lies within, and how many rows of the range came before it.
    /// `readers` has one for each batch.
    fn each<R>(&self, readers: &[R], range: &Range<u64>, mut read: impl FnMut(&R, usize)) {
        let mut first = self.first;
        for (batch, reader) in self.batches.iter().zip(readers) {
            let end = first + batch.num_rows() as u64;
            for row in range.start.max(first)..range.end.min(end) {
                read(reader, (row - first) as usize);
            }
            first = end;
        }
    }
}

impl Cursor<'_> {
    fn open<'a>(block: &Arc<Block>, deleted: HashSet<TraceId>) -> Result<Cursor<'a>, MergeError> {
        Ok(Cursor {
            traces: RowStream::open(block, schema::TRACES)?,
            queue: VecDeque::new(),
            spans: Rows::open(block, schema::SPANS)?,
            events: Rows::open(block, schema::EVENTS)?,
            links: Rows::open(block, schema::LINKS)?,
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
}

/// The next traces, in order, each with its parts by input; those of inputs where it is deleted are left out.
#[derive(Default)]
struct Step {
    traces: Vec<Vec<(usize, Part)>>,
    /// Where the rows of each input end: of spans, events and links.
    ends: Vec<[u64; 3]>,
}

impl Step {
    fn next(cursors: &mut [Cursor<'_>]) -> Result<Step, MergeError> {
        let mut step = Step { traces: Vec::new(), ends: cursors.iter().map(|c| [c.spans.next, c.events.next, c.links.next]).collect() };
        let mut spans = 0;
        while spans < STEP_SPANS
            && let Some(trace_id) = smallest(cursors)?
        {
            let mut parts = Vec::new();
            for (number, cursor) in cursors.iter_mut().enumerate() {
                let Some(part) = cursor.queue.pop_front_if(|part| part.trace_id == trace_id) else { continue };
                spans += part.spans.end.saturating_sub(part.spans.start);
                let ends = [part.spans.end, part.events.end, part.links.end];
                step.ends[number].iter_mut().zip(ends).for_each(|(end, own)| *end = own.max(*end));
                if !cursor.deleted.contains(&trace_id) {
                    parts.push((number, part));
                }
            }
            step.traces.push(parts);
        }
        Ok(step)
    }

    fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Its rows, of each input.
    fn take(&self, cursors: &mut [Cursor<'_>]) -> Result<Vec<InputRows>, MergeError> {
        let rows = |(cursor, ends): (&mut Cursor<'_>, &[u64; 3])| {
            let (spans, events, links) = (cursor.spans.take(ends[0])?, cursor.events.take(ends[1])?, cursor.links.take(ends[2])?);
            Ok(InputRows { spans, events, links })
        };
        cursors.iter_mut().zip(&self.ends).map(rows).collect()
    }
}

pub fn merge(merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
    let Merge { inputs, times, pace } = merge;
    let plan = choose(inputs.iter().map(|i| &i.block))?;
    let mut cursors = Vec::with_capacity(inputs.len());
    for input in &inputs {
        let deleted = input.tombstones.iter().filter_map(|t| deleted_trace(t)).collect();
        cursors.push(Cursor::open(&input.block, deleted)?);
    }
    let mut tables = TableBatches::default();
    loop {
        let step = Step::next(&mut cursors)?;
        if step.is_empty() {
            break;
        }
        let taken = step.take(&mut cursors)?;
        // Values that move between a column and a rest map are the exception.
        if !by_columns::add(&step, &taken, &times, &plan, &mut tables)? {
            let taken = taken.iter().map(InputRows::without_dictionaries).collect::<Result<Vec<_>, _>>()?;
            by_rows::add(&step, &taken, &times, &plan, &mut tables)?;
        }
        write(&mut tables, &plan, out)?;
        pace.step()?;
    }
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

fn write(tables: &mut TableBatches, plan: &Plan, out: &mut BlockWriter<'_>) -> Result<(), MergeError> {
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
    let total: u64 = blocks.clone().map(|b| b.meta().items).sum();
    let every = (total / SAMPLE_SPANS).max(1) * SAMPLE_RUN;
    let sampled = |name: &str, few: bool| {
        let mut batches: Vec<RecordBatch> = Vec::new();
        for block in blocks.clone() {
            let Some(table) = block.table(name)? else { continue };
            let rows = if few { table.rows().min(SAMPLE_RUN) } else { table.rows() };
            let runs = (0..rows).step_by(every as usize).map(|first| first..(first + SAMPLE_RUN).min(rows)).collect();
            for batch in table.scan(&Scan::default().rows(runs))? {
                batches.push(batch?);
            }
        }
        Ok::<_, MergeError>(batches)
    };
    let (spans, events, links) = (sampled(schema::SPANS, false)?, sampled(schema::EVENTS, true)?, sampled(schema::LINKS, true)?);
    let everything = Projection::all();
    let mut sample = Vec::new();
    for batch in &spans {
        let reader = SpanReader::new(batch, &everything);
        sample.extend((0..batch.num_rows()).map(|row| reader.borrow(row)));
    }
    // On a span that is in the sample anyway, so that it does not count as one without attributes.
    if let Some(holder) = sample.last_mut() {
        for batch in &events {
            let reader = EventReader::new(batch, &everything);
            holder.events.extend((0..batch.num_rows()).map(|row| reader.borrow(row).1));
        }
        for batch in &links {
            let reader = LinkReader::new(batch, &everything);
            holder.links.extend((0..batch.num_rows()).map(|row| reader.borrow(row).1));
        }
    }
    Ok(Plan::choose(&sample))
}
