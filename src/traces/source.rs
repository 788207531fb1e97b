//! Where a query's spans come from: the chunks of the heads and the blocks, in the order in which they were accepted.

use super::cache::{Cache, Key};
use super::columns::{EventReader, LinkReader, Projection, SpanReader};
use super::head::Chunk;
use super::index::{BlockIndex, Index};
use super::place::{Place, bytes_of};
use super::scene::Scene;
use super::schema::{self, EVENTS, LINKS, SPANS, TRACES};
use super::span::Span;
use super::spec::TracesSpec;
use super::trace::{Part, Trace};
use crate::model::{TimeRange, TraceId};
use crate::query::{Context, QueryError};
use crate::storage::block::{Block, ReadError};
use crate::storage::{Missing, Predicate, Scan, Tombstone, Value, View};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use std::collections::{HashMap, HashSet};
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub enum Source {
    Chunk(Arc<Chunk>),
    Block(Arc<Block>),
}

/// A trace that may be read: the places of its spans, in the order in which they were accepted.
#[derive(Debug, Clone)]
pub struct TraceRef {
    pub trace_id: TraceId,
    /// Smallest start and largest end, both inclusive.
    pub start: i64,
    pub end: i64,
    /// Source, and where in it.
    parts: Vec<(usize, Part)>,
}

impl TraceRef {
    /// `parts` with their sources, in the order in which they were accepted; `None` if there are none.
    pub fn new(trace_id: TraceId, parts: Vec<(usize, Part)>) -> Option<TraceRef> {
        let start = parts.iter().map(|(_, part)| part.start).min()?;
        let end = parts.iter().map(|(_, part)| part.end).max()?;
        Some(TraceRef { trace_id, start, end, parts })
    }

    pub fn bytes(&self) -> u64 {
        (size_of::<TraceRef>() + self.parts.len() * size_of::<(usize, Part)>()) as u64
    }

    /// The places of its spans: the number of the source, and where in it.
    pub fn parts(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.parts.iter().map(|(source, part)| (*source, part))
    }

    /// Its spans, duplicates included.
    pub fn spans(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.spans.end - part.spans.start).sum()
    }
}

/// Spans that are put together at a time, unless one trace has more.
const STEP_SPANS: u64 = 32 << 10;

/// What a decoded span takes, about.
const SPAN_BYTES: u64 = size_of::<Span>() as u64 + 256;

/// Runs of traces of bounded size, at most `traces_max` traces each, at least one.
pub fn steps(traces: &[TraceRef], traces_max: usize) -> impl Iterator<Item = &[TraceRef]> {
    let mut rest = traces;
    std::iter::from_fn(move || {
        let mut spans = 0;
        let fits = |trace: &&TraceRef| {
            let before = spans;
            spans += trace.spans();
            before == 0 || spans <= STEP_SPANS
        };
        let count = rest.iter().take(traces_max).take_while(fits).count();
        let (step, later) = rest.split_at(count);
        rest = later;
        (!step.is_empty()).then_some(step)
    })
}

/// A delete's selector is a trace id in hex, and hides the trace in all of its times.
pub fn deleted_trace(tombstone: &Tombstone) -> Option<TraceId> {
    TraceId::from_hex(&tombstone.selector)
}

/// Whether the block has spans of the trace. A block that cannot be read may.
pub fn has_trace(block: &Arc<Block>, trace_id: TraceId) -> bool {
    let mut found = false;
    part_of_block(block, trace_id, |_| found = true).is_err() || found
}

/// One instant of a tenant's traces.
pub struct Sources {
    sources: Vec<Source>,
    /// The traces that are deleted, of each block that has any, by its number.
    deleted: HashMap<usize, Arc<HashSet<TraceId>>>,
    cache: Arc<Cache>,
    missing: Arc<Missing>,
    /// Bytes of the largest step so far, which the query's budget holds.
    largest: AtomicU64,
}

pub fn storage(error: ReadError) -> QueryError {
    QueryError::Storage(error.to_string())
}

pub fn damaged(block: &Block) -> QueryError {
    QueryError::Storage(format!("block {} has a table of another shape", block.meta().id))
}

impl Sources {
    /// Blocks were cut before what is in the heads was accepted.
    pub fn new(view: View<TracesSpec>, cache: Arc<Cache>) -> Sources {
        let deleted = |block: &Block| view.tombstones_of(block).iter().filter_map(|t| deleted_trace(t)).collect::<HashSet<_>>();
        let deleted = view.blocks.iter().map(|b| deleted(b)).enumerate().filter(|(_, ids)| !ids.is_empty());
        let deleted = deleted.map(|(number, ids)| (number, Arc::new(ids))).collect();
        let blocks = view.blocks.into_iter().map(Source::Block);
        let chunks = view.heads.iter().flat_map(|head| head.iter()).map(|chunk| Source::Chunk(chunk.clone()));
        Sources { sources: blocks.chain(chunks).collect(), deleted, cache, missing: view.missing, largest: AtomicU64::new(0) }
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    pub fn get(&self, number: usize) -> &Source {
        &self.sources[number]
    }

    /// Those that may have a span in `range`.
    pub fn within(&self, range: TimeRange) -> impl Iterator<Item = &Source> {
        self.missing.note(range);
        self.sources.iter().filter(move |s| s.overlaps(range))
    }

    /// The numbers of those that may have a span in `range`.
    pub fn numbers(&self, range: TimeRange) -> Vec<usize> {
        self.missing.note(range);
        (0..self.sources.len()).filter(|n| self.sources[*n].overlaps(range)).collect()
    }

    /// Whether some span may lie in `range`.
    pub fn overlap(&self, range: TimeRange) -> bool {
        self.within(range).next().is_some()
    }

    /// The index of a source, which the query has reserved as long as it is held, even if the cache has it: it may leave it.
    pub fn index(&self, ctx: &Context, number: usize) -> Result<Held, QueryError> {
        let reserved = ctx.part();
        let index = match &self.sources[number] {
            Source::Chunk(chunk) => Index::Chunk(chunk.clone()),
            Source::Block(block) => {
                reserved.reserve(BlockIndex::bytes_of(self.traces_of(number)))?;
                let sized = |index: BlockIndex| {
                    let bytes = index.bytes();
                    (index, bytes)
                };
                let index = self.cache.get_or(Key::Index(block.meta().id), || BlockIndex::read(block).map(sized))?;
                Index::Block(index, self.deleted_of(number))
            }
        };
        Ok(Held { index, _reserved: reserved })
    }

    /// How many traces a source has, deleted ones, too.
    pub fn traces_of(&self, number: usize) -> usize {
        match &self.sources[number] {
            Source::Chunk(chunk) => chunk.parts.len(),
            Source::Block(block) => block.meta().table(TRACES).map_or(0, |table| usize::try_from(table.rows).unwrap_or(usize::MAX)),
        }
    }

    /// At most `max` ids of a block from a position on, in place of what is in `ids`: of its index, if the cache has it.
    /// They follow on `before`.
    pub fn ids(&self, number: usize, first: usize, max: usize, before: Option<TraceId>, ids: &mut Vec<TraceId>) -> Result<(), QueryError> {
        ids.clear();
        let Source::Block(block) = &self.sources[number] else { return Ok(()) };
        let rows = first..self.traces_of(number).min(first + max);
        if rows.is_empty() {
            return Ok(());
        }
        match self.cache.get::<BlockIndex>(&Key::Index(block.meta().id)) {
            Some(index) => ids.extend_from_slice(index.ids().get(rows).unwrap_or_default()),
            None => read_ids(block, rows, ids)?,
        }
        let ascend = ids.is_sorted_by(|a, b| a < b) && before.is_none_or(|before| ids.first().is_none_or(|id| before < *id));
        if ascend { Ok(()) } else { Err(damaged(block)) }
    }

    pub fn damaged(&self, number: usize) -> QueryError {
        match &self.sources[number] {
            Source::Chunk(_) => QueryError::Execution("a head changed while it was read".into()),
            Source::Block(block) => damaged(block),
        }
    }

    pub fn is_deleted(&self, number: usize, id: TraceId) -> bool {
        self.deleted.get(&number).is_some_and(|deleted| deleted.contains(&id))
    }

    /// Whether the index of a block is in the cache.
    pub fn keeps_index(&self, number: usize) -> bool {
        match &self.sources[number] {
            Source::Chunk(_) => false,
            Source::Block(block) => self.cache.get::<BlockIndex>(&Key::Index(block.meta().id)).is_some(),
        }
    }

    fn deleted_of(&self, number: usize) -> Arc<HashSet<TraceId>> {
        self.deleted.get(&number).cloned().unwrap_or_default()
    }

    /// The places of one trace, wherever they are.
    pub fn find(&self, ctx: &Context, trace_id: TraceId, hint: TimeRange) -> Result<Option<TraceRef>, QueryError> {
        self.missing.note(hint);
        let mut parts = Vec::new();
        for (number, source) in self.sources.iter().enumerate() {
            ctx.check()?;
            match source {
                Source::Chunk(chunk) => parts.extend(chunk.part(trace_id).map(|part| (number, part.clone()))),
                Source::Block(_) if !source.overlaps(hint) || self.deleted_of(number).contains(&trace_id) => {}
                Source::Block(block) => match self.cache.get::<BlockIndex>(&Key::Index(block.meta().id)) {
                    Some(index) => {
                        let index = Index::Block(index, Arc::default());
                        parts.extend(index.position(trace_id).map(|at| (number, index.part(at))));
                    }
                    None => part_of_block(block, trace_id, |part| parts.push((number, part)))?,
                },
            }
        }
        Ok(TraceRef::new(trace_id, parts))
    }

    /// Traces that overlap `[range.start, range.end)`, newest start first, with all their parts within an hour of it.
    pub fn traces(&self, ctx: &Context, range: TimeRange) -> Result<Vec<TraceRef>, QueryError> {
        let scene = Scene::new(ctx, self, range)?;
        let mut places: Vec<Place> = Vec::new();
        let held = ctx.part();
        for number in scene.numbers() {
            ctx.check()?;
            let index = scene.index(number)?;
            // A trace may overlap the range though none of its parts does.
            let may = |at: usize| index.overlaps(at, range) || scene.shared(number).is_some_and(|shared| shared.get(at));
            let found = (0..index.len()).filter(|at| may(*at) && !index.is_deleted(*at));
            held.reserve(bytes_of(found.clone().count()))?;
            places.extend(found.map(|at| index.place(number, at)));
        }
        places.sort_unstable();
        places.dedup_by_key(|place| place.trace_id);
        let traces = places.iter().filter_map(|place| scene.trace(place));
        let mut traces: Vec<TraceRef> = traces.filter(|trace| range.overlaps(trace.start, trace.end)).collect();
        ctx.reserve(traces.iter().map(TraceRef::bytes).sum())?;
        traces.sort_by(|a, b| b.start.cmp(&a.start).then(a.trace_id.cmp(&b.trace_id)));
        Ok(traces)
    }

    /// The traces, put together, in the order asked for. Span ids, kinds and starts are read whatever the projection.
    pub fn load(&self, ctx: &Context, traces: &[TraceRef], projection: &Projection) -> Result<Vec<Trace>, QueryError> {
        self.hold(ctx, traces.iter().map(TraceRef::spans).sum::<u64>() * SPAN_BYTES)?;
        let mut projection = projection.clone();
        projection.add_columns(&["span_id", "kind", "start"]);
        let mut by_source: HashMap<usize, Vec<(usize, &Part)>> = HashMap::new();
        for (place, trace) in traces.iter().enumerate() {
            for (source, part) in &trace.parts {
                by_source.entry(*source).or_default().push((place, part));
            }
        }
        let mut spans: Vec<Vec<Span>> = vec![Vec::new(); traces.len()];
        let mut sources: Vec<_> = by_source.into_iter().collect();
        sources.sort_by_key(|(source, _)| *source);
        for (source, mut parts) in sources {
            ctx.check()?;
            parts.sort_by_key(|(_, part)| part.spans.start);
            match &self.sources[source] {
                Source::Chunk(chunk) => {
                    for (place, part) in parts {
                        spans[place].append(&mut chunk.read(part, &projection));
                    }
                }
                Source::Block(block) => {
                    let ranges: Vec<&Part> = parts.iter().map(|(_, part)| *part).collect();
                    let read = read_block(ctx, block, &ranges, &projection)?;
                    for ((place, _), mut read) in parts.into_iter().zip(read) {
                        spans[place].append(&mut read);
                    }
                }
            }
        }
        Ok(traces.iter().zip(spans).map(|(trace, spans)| Trace::assemble(trace.trace_id, spans)).collect())
    }
}

impl Sources {
    /// Steps come one after another, so that only the largest counts.
    fn hold(&self, ctx: &Context, bytes: u64) -> Result<(), QueryError> {
        let largest = self.largest.fetch_max(bytes, Ordering::Relaxed);
        ctx.reserve(bytes.saturating_sub(largest))
    }
}

impl Source {
    pub fn overlaps(&self, range: TimeRange) -> bool {
        match self {
            Source::Chunk(chunk) => chunk.parts.iter().any(|p| range.overlaps(p.start, p.end)),
            Source::Block(block) => range.overlaps(block.meta().min_time, block.meta().max_time),
        }
    }
}

/// The index of a source while a query looks at it.
pub struct Held {
    index: Index,
    /// Gives back what it takes when it is dropped.
    _reserved: Context,
}

impl Deref for Held {
    type Target = Index;

    fn deref(&self) -> &Index {
        &self.index
    }
}

/// The ids of traces in rows of a block.
fn read_ids(block: &Arc<Block>, rows: Range<usize>, ids: &mut Vec<TraceId>) -> Result<(), QueryError> {
    let Some(table) = block.table(TRACES).map_err(storage)? else { return Ok(()) };
    ids.reserve_exact(rows.len());
    let batch_rows = rows.len();
    let rows = rows.start as u64..rows.end as u64;
    let scan = Scan { batch_rows, ..Scan::columns(["trace_id"]) }.rows(vec![rows]);
    for batch in table.scan(&scan).map_err(storage)? {
        let batch = batch.map_err(storage)?;
        let column = batch.column_by_name("trace_id").and_then(|c| c.as_fixed_size_binary_opt());
        let read = column.and_then(|column| column.iter().map(|id| TraceId::from_slice(id?)).collect::<Option<Vec<_>>>());
        ids.append(&mut read.ok_or_else(|| damaged(block))?);
    }
    Ok(())
}

/// The place of a trace in a block of which nothing is decoded yet.
fn part_of_block(block: &Arc<Block>, trace_id: TraceId, mut each: impl FnMut(Part)) -> Result<(), QueryError> {
    let Some(table) = block.table(TRACES).map_err(storage)? else { return Ok(()) };
    let columns = ["trace_id", "start", "end", "first_row", "row_count", "first_event", "event_count", "first_link", "link_count"];
    let predicate = Predicate::OneOf { column: "trace_id".into(), values: vec![Value::Bytes(trace_id.0.to_vec())] };
    for batch in table.scan(&Scan::columns(columns).with(predicate)).map_err(storage)? {
        let batch = batch.map_err(storage)?;
        parts_of_batch(&batch, &mut each).ok_or_else(|| damaged(block))?;
    }
    Ok(())
}

/// The parts that rows of `traces` name; `None` if it has another shape.
pub fn parts_of_batch(batch: &RecordBatch, each: &mut impl FnMut(Part)) -> Option<()> {
    let ids = batch.column_by_name("trace_id")?.as_fixed_size_binary_opt()?;
    let time = |name| batch.column_by_name(name)?.as_primitive_opt::<TimestampNanosecondType>();
    let number = |name| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (start, end) = (time("start")?, time("end")?);
    let ranges = [("first_row", "row_count"), ("first_event", "event_count"), ("first_link", "link_count")];
    let ranges = ranges.map(|(first, count)| Some((number(first)?, number(count)?)));
    let [Some(spans), Some(events), Some(links)] = ranges else { return None };
    for row in 0..batch.num_rows() {
        let range = |(first, count): (&arrow_array::Int64Array, &arrow_array::Int64Array)| {
            let first = first.value(row).cast_unsigned();
            first..first.saturating_add(count.value(row).cast_unsigned())
        };
        each(Part {
            trace_id: TraceId::from_slice(ids.value(row))?,
            start: start.value(row),
            end: end.value(row),
            spans: range(spans),
            events: range(events),
            links: range(links),
        });
    }
    Some(())
}

/// Ascending ranges with those that touch made one.
fn merged(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges.filter(|r| !r.is_empty()) {
        match out.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

/// The spans of each part; parts are in order of their rows.
fn read_block(ctx: &Context, block: &Arc<Block>, parts: &[&Part], projection: &Projection) -> Result<Vec<Vec<Span>>, QueryError> {
    let mut out: Vec<Vec<Span>> = parts.iter().map(|p| Vec::with_capacity((p.spans.end - p.spans.start) as usize)).collect();
    let Some(table) = block.table(SPANS).map_err(storage)? else { return Ok(out) };
    let rows = merged(parts.iter().map(|p| p.spans.clone()));
    // A column that says nothing need not be opened, which costs more than reading a few rows of it.
    let says = |name: &String| !schema::is_structural(name) && !table.is_blank(name, &rows);
    let asked = projection.span_columns().unwrap_or_else(|| table.schema().fields().iter().map(|f| f.name().clone()).collect());
    let columns = asked.into_iter().filter(|name| table.has_column(name) && says(name)).collect();
    let scan = Scan { columns: Some(columns), ..Scan::default() }.rows(rows);
    let mut part = 0;
    for batch in table.scan(&scan).map_err(storage)? {
        ctx.check()?;
        let batch = batch.map_err(storage)?;
        let reader = SpanReader::new(&batch, projection);
        for row in 0..batch.num_rows() {
            while parts.get(part).is_some_and(|p| out[part].len() as u64 == p.spans.end - p.spans.start) {
                part += 1;
            }
            if part == parts.len() {
                return Err(damaged(block));
            }
            out[part].push(reader.read(row));
        }
    }
    if projection.events {
        each_batch(ctx, block, EVENTS, parts.iter().map(|p| p.events.clone()), |batch| {
            let reader = EventReader::new(batch, projection);
            (0..batch.num_rows()).map(|row| reader.read(row)).try_for_each(|(row, event)| {
                place(parts, row, &mut out)?.events.push(event);
                Some(())
            })
        })?;
    }
    if projection.links {
        each_batch(ctx, block, LINKS, parts.iter().map(|p| p.links.clone()), |batch| {
            let reader = LinkReader::new(batch, projection);
            (0..batch.num_rows()).map(|row| reader.read(row)).try_for_each(|(row, link)| {
                place(parts, row, &mut out)?.links.push(link);
                Some(())
            })
        })?;
    }
    Ok(out)
}

/// Reads rows of a table that may be absent. `read` fails for rows that belong to no span.
fn each_batch(
    ctx: &Context,
    block: &Arc<Block>,
    name: &str,
    ranges: impl Iterator<Item = Range<u64>>,
    mut read: impl FnMut(&RecordBatch) -> Option<()>,
) -> Result<(), QueryError> {
    let rows = merged(ranges);
    let table = if rows.is_empty() { None } else { block.table(name).map_err(storage)? };
    let Some(table) = table else { return Ok(()) };
    for batch in table.scan(&Scan::default().rows(rows)).map_err(storage)? {
        ctx.check()?;
        read(&batch.map_err(storage)?).ok_or_else(|| damaged(block))?;
    }
    Ok(())
}

/// The span that stands in `row` of the table of spans.
fn place<'a>(parts: &[&Part], row: u64, out: &'a mut [Vec<Span>]) -> Option<&'a mut Span> {
    let part = parts.partition_point(|p| p.spans.end <= row);
    let index = row.checked_sub(parts.get(part)?.spans.start)?;
    out.get_mut(part)?.get_mut(index as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(spans: u64) -> TraceRef {
        let part = Part { trace_id: TraceId::default(), start: 0, end: 0, spans: 5..5 + spans, events: 0..0, links: 0..0 };
        TraceRef { trace_id: TraceId::default(), start: 0, end: 0, parts: vec![(0, part)] }
    }

    #[test]
    fn steps_are_bounded_by_traces_and_by_spans() {
        let traces: Vec<TraceRef> = [1, 1, 1, 20_000, 20_000, 100_000, 1].map(trace).into();
        let sizes: Vec<usize> = steps(&traces, 2).map(<[TraceRef]>::len).collect();
        assert_eq!(sizes, [2, 2, 1, 1, 1]);
        assert_eq!(steps(&traces, 100).map(<[TraceRef]>::len).collect::<Vec<_>>(), [4, 1, 1, 1]);
        assert_eq!(steps(&[], 3).count(), 0);
    }

    #[test]
    fn ranges_that_touch_are_read_as_one() {
        assert_eq!(merged([0..2, 2..3, 5..5, 7..9].into_iter()), [0..3, 7..9]);
    }
}
