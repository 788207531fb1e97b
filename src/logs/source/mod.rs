//! Entries of a View, whether they lie in chunks of the head or in blocks: which streams match, and batches of their
//! rows. A part is one chunk or one block; parts are numbered in order of acceptance.

mod columns;
mod streams;

pub use columns::{Columns, Metadata};
pub use streams::{Run, decode_streams, each_stream, kept_streams, matches};

use super::erase::Eraser;
use super::head::Chunk;
use super::schema::{self, Binary};
use super::spec::LogsSpec;
use super::tokens::{Clause, allowed_rows};
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::{Context, QueryError};
use crate::storage::block::{Block, ReadError};
use crate::storage::{Predicate, Scan, Value, View};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

fn unreadable(error: &ReadError) -> QueryError {
    QueryError::Storage(error.to_string())
}

enum Source {
    Chunk(Arc<Chunk>),
    Block(Arc<Block>),
}

/// The rows of one matching stream in one part.
struct Wanted {
    stream: u32,
    id: i64,
    rows: Range<u64>,
}

struct Part {
    source: Source,
    erasers: Vec<Eraser>,
    wanted: Vec<Wanted>,
    /// What the token index leaves of the wanted rows; looked up once. A selection is for one query, whose needs are the same
    /// all the time.
    allowed: OnceLock<Option<Vec<Range<u64>>>>,
    min_ts: i64,
    max_ts: i64,
}

/// The matching streams of a View, and where their rows are.
pub struct Selection {
    /// In label order.
    pub streams: Vec<Labels>,
    range: TimeRange,
    ctx: Context,
    parts: Vec<Part>,
    spans: Spans,
}

/// What a query looks at in the rows of a block. The head has all in memory, so there nothing is left out.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Lines are not read.
    pub without_line: bool,
    /// Names of the structured metadata that is looked at; `None` for all.
    pub metadata: Option<Vec<String>>,
    /// Only rows whose labels have these values, which are not empty, can matter.
    pub equal: Vec<(String, String)>,
    /// Only rows whose lines satisfy all of these can matter.
    pub texts: Vec<Clause>,
}

/// Nanoseconds between times of twins that are not worth reads of their own.
const TWINS_GAP: i64 = 10_000_000_000;

/// Rows of one part that match by stream and time.
pub struct Rows {
    pub columns: Columns,
    /// Row of `columns`, and stream.
    pub rows: Vec<(u32, u32)>,
}

/// The deletes that hide rows of the block.
fn erasers(view: &View<LogsSpec>, block: &Block) -> Vec<Eraser> {
    view.tombstones_of(block).into_iter().map(Eraser::new).collect()
}

/// Runs between two looks at whether the query goes on.
const CHECK_EVERY: u64 = 1_024;

/// Calls `visit` for every run of a View that satisfies all matchers and has an entry between its own bounds in `range`, in
/// order of acceptance.
pub fn each_run(
    view: &View<LogsSpec>,
    range: TimeRange,
    matchers: &[Matcher],
    ctx: &Context,
    mut visit: impl FnMut(&Run) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let mut visited = 0u64;
    let mut visit = |run: &Run| {
        visited += 1;
        if visited.is_multiple_of(CHECK_EVERY) {
            ctx.check()?;
        }
        visit(run)
    };
    for block in view.blocks_in(range) {
        ctx.check()?;
        let erasers = erasers(view, block);
        each_stream(block, range, matchers, |run| if erasers.iter().any(|e| e.hides_run(run)) { Ok(()) } else { visit(run) })?;
    }
    for chunk in view.heads.iter().flat_map(|h| &h.chunks) {
        let shown = chunk.runs().iter().filter(|r| range.overlaps(r.min_ts, r.max_ts) && matches(&r.labels, matchers));
        shown.into_iter().try_for_each(&mut visit)?;
    }
    Ok(())
}

/// Finds the streams that satisfy all `matchers` and may have entries in `range`.
pub fn select(view: &View<LogsSpec>, range: TimeRange, matchers: &[Matcher], ctx: &Context) -> Result<Selection, QueryError> {
    let mut found = Found { index: HashMap::new(), streams: Vec::new(), parts: Vec::new(), ctx };
    for block in view.blocks_in(range) {
        ctx.check()?;
        let mut part = FoundPart::new(Source::Block(block.clone()), erasers(view, block));
        each_stream(block, range, matchers, |run| found.run(&mut part, run))?;
        found.part(part);
    }
    for chunk in view.heads.iter().flat_map(|h| &h.chunks) {
        let mut part = FoundPart::new(Source::Chunk(chunk.clone()), Vec::new());
        let shown = chunk.runs().iter().filter(|r| range.overlaps(r.min_ts, r.max_ts) && matches(&r.labels, matchers));
        shown.into_iter().try_for_each(|run| found.run(&mut part, run))?;
        found.part(part);
    }
    Ok(found.placed(range))
}

/// Where a stream is: a part, with the times of its oldest and newest entry there.
type Span = (u32, i64, i64);

/// For each stream the parts that hold it, in one list: there may be a million streams.
struct Spans {
    /// Where the spans of each stream begin; while they are counted and added, where its next one goes, one further.
    starts: Vec<u32>,
    all: Vec<Span>,
}

impl Spans {
    fn new(streams: usize) -> Spans {
        Spans { starts: vec![0; streams + 2], all: Vec::new() }
    }

    fn count(&mut self, stream: u32) {
        self.starts[stream as usize + 2] += 1;
    }

    fn open(&mut self) {
        for at in 2..self.starts.len() {
            self.starts[at] += self.starts[at - 1];
        }
        self.all = vec![(0, 0, 0); self.starts.last().copied().unwrap_or(0) as usize];
    }

    fn add(&mut self, stream: u32, span: Span) {
        let next = &mut self.starts[stream as usize + 1];
        self.all[*next as usize] = span;
        *next += 1;
    }

    fn of(&self, stream: u32) -> &[Span] {
        &self.all[self.starts[stream as usize] as usize..self.starts[stream as usize + 1] as usize]
    }
}

struct FoundPart {
    source: Source,
    erasers: Vec<Eraser>,
    /// Whether each eraser selects any of the streams.
    selects: Vec<bool>,
    wanted: Vec<Wanted>,
    bounds: Vec<(i64, i64)>,
    min_ts: i64,
    max_ts: i64,
}

impl FoundPart {
    fn new(source: Source, erasers: Vec<Eraser>) -> FoundPart {
        let selects = vec![false; erasers.len()];
        FoundPart { source, erasers, selects, wanted: Vec::new(), bounds: Vec::new(), min_ts: i64::MAX, max_ts: i64::MIN }
    }

    fn placed(self) -> Part {
        let erasers = self.erasers.into_iter().zip(self.selects).filter_map(|(eraser, selects)| selects.then_some(eraser)).collect();
        Part { source: self.source, erasers, wanted: self.wanted, allowed: OnceLock::new(), min_ts: self.min_ts, max_ts: self.max_ts }
    }
}

struct Found<'a> {
    /// Streams by their ids, or by the next free number where two have the same.
    index: HashMap<i64, u32>,
    /// In the order in which they are met: within a block nearly their own.
    streams: Vec<Labels>,
    parts: Vec<FoundPart>,
    ctx: &'a Context,
}

/// Memory of a stream in a selection beside its labels, and of its share in each part.
const STREAM_BYTES: u64 = 96;
const SHARE_BYTES: u64 = 104;

impl Found<'_> {
    fn run(&mut self, part: &mut FoundPart, run: &Run) -> Result<(), QueryError> {
        if part.erasers.iter().any(|e| e.hides_run(run)) {
            return Ok(());
        }
        part.erasers.iter().zip(&mut part.selects).for_each(|(e, selects)| *selects |= e.selects(&run.labels));
        if part.wanted.len().is_multiple_of(CHECK_EVERY as usize) {
            self.ctx.check()?;
        }
        let mut id = run.id;
        let stream = loop {
            match self.index.entry(id) {
                Entry::Occupied(known) if self.streams[*known.get() as usize] == run.labels => break *known.get(),
                Entry::Occupied(_) => id = id.wrapping_add(1),
                Entry::Vacant(free) => {
                    self.ctx.reserve(STREAM_BYTES + run.labels.heap_bytes() as u64)?;
                    let next = self.streams.len() as u32;
                    self.streams.push(run.labels.clone());
                    break *free.insert(next);
                }
            }
        };
        self.ctx.reserve(SHARE_BYTES)?;
        part.wanted.push(Wanted { stream, id: run.id, rows: run.rows.clone() });
        part.bounds.push((run.min_ts, run.max_ts));
        part.min_ts = part.min_ts.min(run.min_ts);
        part.max_ts = part.max_ts.max(run.max_ts);
        Ok(())
    }

    fn part(&mut self, part: FoundPart) {
        if !part.wanted.is_empty() {
            self.parts.push(part);
        }
    }

    fn placed(mut self, range: TimeRange) -> Selection {
        drop(self.index);
        let mut order: Vec<u32> = (0..self.streams.len() as u32).collect();
        // This sort makes use of what is sorted already.
        order.sort_by(|a, b| self.streams[*a as usize].cmp(&self.streams[*b as usize]));
        let mut renumbered = vec![0u32; order.len()];
        for (old, new) in order.iter().zip(0..) {
            renumbered[*old as usize] = new;
        }
        let streams: Vec<Labels> = order.into_iter().map(|old| self.streams[old as usize].clone()).collect();
        let mut spans = Spans::new(streams.len());
        for part in &mut self.parts {
            for wanted in &mut part.wanted {
                wanted.stream = renumbered[wanted.stream as usize];
                spans.count(wanted.stream);
            }
        }
        spans.open();
        for (part, number) in self.parts.iter_mut().zip(0u32..) {
            for (wanted, (min, max)) in part.wanted.iter().zip(std::mem::take(&mut part.bounds)) {
                spans.add(wanted.stream, (number, min, max));
            }
        }
        let parts = self.parts.into_iter().map(FoundPart::placed).collect();
        Selection { streams, range, ctx: self.ctx.clone(), parts, spans }
    }
}

impl Selection {
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Rows of a part's matching streams, whatever their times.
    pub fn rows(&self, part: usize) -> u64 {
        self.parts[part].wanted.iter().map(|w| w.rows.end - w.rows.start).sum()
    }

    /// Times of the oldest and newest matching entry of a part, both inclusive; they may lie outside the range.
    pub fn bounds(&self, part: usize) -> (i64, i64) {
        (self.parts[part].min_ts, self.parts[part].max_ts)
    }

    /// Whether another row may have the same stream, time, line and metadata as a row of this part. Blocks have no
    /// duplicates inside; chunks may.
    pub fn may_have_twin(&self, part: usize, stream: u32, ts: i64) -> bool {
        let other = |(p, min, max): &(u32, i64, i64)| *p as usize != part && (*min..=*max).contains(&ts);
        matches!(self.parts[part].source, Source::Chunk(_)) || self.spans.of(stream).iter().any(other)
    }

    /// Times at which a row of the part may have a twin in another one: ascending and disjoint.
    fn twin_times(&self, part: usize) -> Vec<TimeRange> {
        let mut times: Vec<TimeRange> = Vec::new();
        for wanted in &self.parts[part].wanted {
            let spans = self.spans.of(wanted.stream);
            let Some((_, min, max)) = spans.iter().find(|(p, _, _)| *p as usize == part) else { continue };
            let others = spans.iter().filter(|(p, a, b)| *p as usize != part && a <= max && b >= min);
            times.extend(others.map(|(_, a, b)| TimeRange::new(*a.max(min), (*b.min(max)).saturating_add(1))));
        }
        times.sort_by_key(|t| t.start);
        let mut joined: Vec<TimeRange> = Vec::new();
        for time in times {
            match joined.last_mut() {
                Some(last) if time.start <= last.end.saturating_add(TWINS_GAP) => last.end = last.end.max(time.end),
                _ => joined.push(time),
            }
        }
        joined
    }

    /// What to read of a part in `range`: twins are told apart by all of a row, and a delete may look at all of it, so where
    /// there may be some, all is read.
    fn pieces(&self, part: usize, range: TimeRange, needs: &Needs) -> Vec<(TimeRange, Needs)> {
        let mut needs = needs.clone();
        // A stream label hides metadata of the same name.
        let has_label = |name: &str| self.parts[part].wanted.iter().any(|w| self.streams[w.stream as usize].get(name).is_some());
        needs.equal.retain(|(name, _)| !has_label(name));
        let mut pieces = Vec::new();
        let mut at = range.start;
        if self.parts[part].erasers.iter().any(Eraser::reads_rows) {
            (needs.without_line, needs.metadata) = (false, None);
        }
        if needs.without_line || needs.metadata.is_some() {
            let all = Needs { without_line: false, metadata: None, ..needs.clone() };
            for twins in self.twin_times(part) {
                let (from, to) = (twins.start.clamp(at, range.end), twins.end.clamp(at, range.end));
                pieces.push((TimeRange::new(at, from), needs.clone()));
                pieces.push((TimeRange::new(from, to), all.clone()));
                at = to;
            }
        }
        pieces.push((TimeRange::new(at, range.end), needs));
        let (min, max) = self.bounds(part);
        pieces.retain(|(range, _)| range.start < range.end && range.overlaps(min, max));
        pieces
    }

    /// The matching rows of a part that lie in `range`, too; in the order of the part. Of a block, only what is needed.
    pub fn read(&self, part: usize, range: TimeRange, needs: &Needs) -> Result<RowsIter<'_>, QueryError> {
        let range = TimeRange::new(range.start.max(self.range.start), range.end.min(self.range.end));
        let Part { source, erasers, wanted, allowed, .. } = &self.parts[part];
        match source {
            Source::Chunk(chunk) => {
                let lines = chunk.lines();
                let mut rows = Vec::new();
                for run in wanted {
                    rows.extend(run.rows.clone().filter(|row| range.contains(lines.ts(*row as usize))).map(|row| (row as u32, run.stream)));
                }
                Ok(Box::new(std::iter::once(Ok(Rows { columns: Columns::Chunk(chunk.clone()), rows }))))
            }
            Source::Block(block) => {
                let allowed = match allowed.get() {
                    Some(known) => known,
                    None => {
                        let rows = joined(&wanted.iter().collect::<Vec<_>>());
                        let found = allowed_rows(block, &needs.texts, &rows, &self.ctx)?;
                        allowed.get_or_init(|| found)
                    }
                };
                let batches = self.pieces(part, range, needs).into_iter().flat_map(move |(range, needs)| {
                    read_block(block, wanted.iter().collect(), allowed.as_ref(), range, &needs)
                        .unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
                });
                let hides = |columns: &Columns, (row, stream): (u32, u32)| {
                    let labels = &self.streams[stream as usize];
                    erasers.iter().any(|e| e.hides(labels, columns, row as usize))
                };
                Ok(Box::new(batches.map(move |batch| {
                    let mut batch = batch?;
                    batch.rows.retain(|at| !hides(&batch.columns, *at));
                    Ok(batch)
                })))
            }
        }
    }
}

/// The columns that hold what is needed; `None` for all.
fn columns_of(needs: &Needs, has_column: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let names = needs.metadata.as_ref()?;
    let mut columns = vec![schema::STREAM_ID.to_owned(), schema::TS.to_owned()];
    if !needs.without_line {
        columns.push(schema::LINE.to_owned());
    }
    for name in names {
        match name.as_str() {
            schema::SEVERITY_NUMBER => columns.push(schema::SEVERITY.to_owned()),
            schema::OBSERVED_TIMESTAMP => columns.push(schema::OBSERVED_TS.to_owned()),
            schema::TRACE_ID | schema::SPAN_ID => columns.push(name.clone()),
            _ => {}
        }
        let dense = format!("{}{name}", schema::METADATA_PREFIX);
        columns.push(if has_column(&dense) { dense } else { schema::METADATA_REST.to_owned() });
    }
    Some(columns)
}

/// What storage can tell of metadata that has this value; `None` where only the rows themselves can.
fn predicate_of(name: &str, value: &str, has_column: impl Fn(&str) -> bool) -> Option<Predicate> {
    let bytes = |column: &str, bytes: &[u8]| Predicate::OneOf { column: column.into(), values: vec![Value::Bytes(bytes.to_vec())] };
    match Binary::of(name, value) {
        Some(Binary::Trace(id)) => Some(bytes(schema::TRACE_ID, &id.0)),
        Some(Binary::Span(id)) => Some(bytes(schema::SPAN_ID, &id.0)),
        Some(_) => None,
        None => {
            let column = format!("{}{name}", schema::METADATA_PREFIX);
            has_column(&column).then(|| Predicate::OneOf { column, values: vec![Value::Text(value.to_owned())] })
        }
    }
}

/// Row ranges in order, neighbours as one.
fn joined(wanted: &[&Wanted]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = wanted.iter().map(|w| w.rows.clone()).collect();
    ranges.sort_unstable_by_key(|r| r.start);
    ranges.dedup_by(|next, last| {
        let joins = next.start == last.end;
        if joins {
            last.end = next.end;
        }
        joins
    });
    ranges
}

type RowsIter<'a> = Box<dyn Iterator<Item = Result<Rows, QueryError>> + 'a>;

/// `allowed`: those of the wanted rows that can matter, if that is known.
fn read_block<'a>(
    block: &Arc<Block>,
    wanted: Vec<&'a Wanted>,
    allowed: Option<&Vec<Range<u64>>>,
    range: TimeRange,
    needs: &Needs,
) -> Result<RowsIter<'a>, QueryError> {
    if allowed.is_some_and(Vec::is_empty) {
        return Ok(Box::new(std::iter::empty()));
    }
    let Some(table) = block.table(schema::LOGS).map_err(|e| unreadable(&e))? else { return Ok(Box::new(std::iter::empty())) };
    let mut by_id: HashMap<i64, u32> = HashMap::with_capacity(wanted.len());
    // Two streams with one id, if there ever are any, are told apart by where their rows are.
    let (own, twins): (Vec<&Wanted>, Vec<&Wanted>) = wanted.into_iter().partition(|w| match by_id.entry(w.id) {
        Entry::Vacant(free) => {
            free.insert(w.stream);
            true
        }
        Entry::Occupied(_) => false,
    });
    let rows = allowed.filter(|_| twins.is_empty()).cloned().unwrap_or_else(|| joined(&own));
    let mut scan = Scan::default().rows(rows);
    if !(range.start <= block.meta().min_time && block.meta().max_time < range.end) {
        let max = range.end.saturating_sub(1);
        scan = scan.with(Predicate::Between { column: schema::TS.into(), min: range.start, max });
    }
    scan.columns = columns_of(needs, |name| table.has_column(name));
    scan.predicates.extend(needs.equal.iter().filter_map(|(name, value)| predicate_of(name, value, |column| table.has_column(column))));
    let batches = table.scan(&scan).map_err(|e| unreadable(&e))?;
    let rows = batches.map(move |batch| {
        let batch = batch.map_err(|e| unreadable(&e))?;
        let columns = Columns::read(&batch).map_err(|e| QueryError::Storage(e.to_string()))?;
        let stream = |row: &u32| by_id.get(&columns.stream_id(*row as usize)).map(|s| (*row, *s));
        let rows = (0..columns.len() as u32).filter_map(|row| stream(&row)).collect();
        Ok(Rows { columns, rows })
    });
    if twins.is_empty() {
        return Ok(Box::new(rows));
    }
    Ok(Box::new(rows.chain(read_block(block, twins, None, range, needs)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_that_hold_what_is_needed() {
        let has = |name: &str| name == "md.a";
        let needs = |names: &[&str]| Needs {
            without_line: true,
            metadata: Some(names.iter().map(|n| (*n).to_owned()).collect()),
            ..Needs::default()
        };
        assert_eq!(columns_of(&Needs::default(), has), None);
        assert_eq!(columns_of(&needs(&[]), has).unwrap(), ["stream_id", "ts"]);
        assert_eq!(columns_of(&needs(&["a", "severity_number"]), has).unwrap(), ["stream_id", "ts", "md.a", "severity", "md_rest"]);
    }
}
