//! The tables `spans`, `events`, `links` and `traces` of SQL. The rows of a trace that is whole in one block have no duplicates
//! and are given as they lie there; other traces are put together first.

mod cells;
mod specs;

use super::cache::Cache;
use super::columns::{Projection, SpanReader, trace_rows};
use super::index::Index;
use super::scene::Scene;
use super::schema::{SPANS, TRACES};
use super::source::{Source, Sources, TraceRef, damaged, steps, storage};
use super::span_ref::SpanRef;
use super::spec::TracesSpec;
use super::trace::{Part, Trace, TraceRow, parts_of};
use crate::model::{TenantId, TimeRange, TraceId, time};
use crate::query::sql::{Output, Reader, Request, TableSpec, Tables};
use crate::query::{Context, QueryError};
use crate::storage::block::Block;
use crate::storage::{Predicate, Scan, Store, Value, View};
use cells::{AttachedColumn, SpanColumn, TraceColumn};
use specs::{Kind, SPECS};
use std::ops::Range;
use std::sync::Arc;

/// The traces of a store.
pub struct TraceTables {
    pub store: Arc<Store<TracesSpec>>,
    pub cache: Arc<Cache>,
}

/// How far before and after its trace an event is found by its time, nanoseconds.
const EVENT_SPREAD: i64 = 3600 * time::SECOND;

/// Traces that are put together at a time.
const STEP_TRACES: usize = 4_096;

/// Ids in a statement up to which traces are looked up one by one.
const LOOKUPS_MAX: usize = 1_024;

impl Tables for TraceTables {
    fn specs(&self) -> &'static [TableSpec] {
        SPECS
    }

    fn open(&self, tenant: &TenantId) -> Result<Arc<dyn Reader>, QueryError> {
        if !self.store.is_ready() {
            return Err(QueryError::NotReady);
        }
        Ok(Arc::new(Opened { view: self.store.view(tenant), cache: self.cache.clone() }))
    }
}

struct Opened {
    view: View<TracesSpec>,
    cache: Arc<Cache>,
}

impl Reader for Opened {
    fn read(&self, request: &Request, context: &Context, out: &mut Output<'_>) -> Result<(), QueryError> {
        let sources = Sources::new(self.view.clone(), self.cache.clone());
        let Some(rows) = Rows::of(request) else { return Ok(()) };
        let mut scan =
            SpanScan { sources: &sources, context, request, range: rows.range(request.range), projection: rows.projection(), rows, out };
        match request.values("trace_id").filter(|ids| ids.len() <= LOOKUPS_MAX) {
            Some(ids) => scan.lookups(ids),
            None => scan.all(),
        }
    }

    fn warning(&self) -> Option<String> {
        self.view.missing.warning()
    }
}

/// What a row is, and its cells.
enum Rows<'a> {
    Spans(Vec<SpanColumn<'a>>),
    Events(Vec<AttachedColumn<'a>>),
    Links(Vec<AttachedColumn<'a>>),
    Traces(Vec<TraceColumn>),
}

impl<'a> Rows<'a> {
    fn of(request: &'a Request) -> Option<Rows<'a>> {
        let names = request.columns.iter();
        Some(match Kind::of(request.table)? {
            Kind::Spans => Rows::Spans(names.filter_map(|name| SpanColumn::of(name)).collect()),
            Kind::Events => Rows::Events(names.filter_map(|name| AttachedColumn::of_event(name)).collect()),
            Kind::Links => Rows::Links(names.filter_map(|name| AttachedColumn::of_link(name)).collect()),
            Kind::Traces => Rows::Traces(names.filter_map(|name| TraceColumn::of(name)).collect()),
        })
    }

    fn projection(&self) -> Projection {
        let mut projection = Projection::none();
        match self {
            Rows::Spans(columns) => columns.iter().for_each(|column| column.add_to(&mut projection)),
            Rows::Events(columns) => {
                projection.events = true;
                columns.iter().for_each(|column| column.add_to(&mut projection));
            }
            Rows::Links(columns) => {
                projection.links = true;
                columns.iter().for_each(|column| column.add_to(&mut projection));
            }
            Rows::Traces(_) => TraceColumn::add_all_to(&mut projection),
        }
        projection
    }

    /// Traces in which rows may be.
    fn range(&self, asked: TimeRange) -> TimeRange {
        match self {
            Rows::Events(_) => TimeRange::new(asked.start.saturating_sub(EVENT_SPREAD), asked.end.saturating_add(EVENT_SPREAD)),
            Rows::Spans(_) | Rows::Links(_) | Rows::Traces(_) => asked,
        }
    }

    fn write(&self, span: &SpanRef<'_>, out: &mut Output<'_>) -> Result<(), QueryError> {
        match self {
            Rows::Spans(columns) => out.row(columns.iter().map(|column| column.cell(span))),
            Rows::Events(columns) => {
                span.events.iter().try_for_each(|event| out.row(columns.iter().map(|column| column.cell_of_event(span, event))))
            }
            Rows::Links(columns) => {
                span.links.iter().try_for_each(|link| out.row(columns.iter().map(|column| column.cell_of_link(span, link))))
            }
            Rows::Traces(_) => Ok(()),
        }
    }

    /// Whether a trace may have any: one that is in blocks alone says how many events and links it has.
    fn are_in(&self, trace: &TraceRef, sources: &Sources) -> bool {
        let has = |of_part: fn(&Part) -> &Range<u64>| {
            trace.parts().any(|(number, part)| matches!(sources.get(number), Source::Chunk(_)) || !of_part(part).is_empty())
        };
        match self {
            Rows::Spans(_) | Rows::Traces(_) => true,
            Rows::Events(_) => has(|part| &part.events),
            Rows::Links(_) => has(|part| &part.links),
        }
    }

    /// The rows of a block that a trace has which is whole there; `None` where rows are not written as they lie.
    fn in_block(&self, index: &Index, at: usize) -> Option<Range<u64>> {
        match self {
            Rows::Spans(_) => Some(index.rows(at)),
            Rows::Traces(_) => Some(at as u64..at as u64 + 1),
            Rows::Events(_) | Rows::Links(_) => None,
        }
    }

    fn write_trace(&self, trace: &Trace, out: &mut Output<'_>) -> Result<(), QueryError> {
        match self {
            Rows::Traces(columns) => parts_of(&trace.spans, 0, 0, 0).into_iter().try_for_each(|part| {
                let row = TraceRow::new(part, &trace.spans);
                out.row(columns.iter().map(|column| column.cell(&row)))
            }),
            _ => trace.spans.iter().try_for_each(|span| self.write(&SpanRef::from(span), out)),
        }
    }
}

struct SpanScan<'a, 'o> {
    sources: &'a Sources,
    context: &'a Context,
    request: &'a Request,
    range: TimeRange,
    projection: Projection,
    rows: Rows<'a>,
    out: &'a mut Output<'o>,
}

impl SpanScan<'_, '_> {
    fn lookups(&mut self, ids: &[String]) -> Result<(), QueryError> {
        let mut ids: Vec<TraceId> = ids.iter().filter_map(|id| TraceId::from_hex(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some(found) = self.sources.find(self.context, id, self.range)? {
                self.traces(&[found])?;
            }
        }
        Ok(())
    }

    fn all(&mut self) -> Result<(), QueryError> {
        let scene = Scene::new(self.context, self.sources, self.range)?;
        for number in scene.numbers() {
            self.context.check()?;
            let index = scene.index(number)?;
            let block = match self.sources.get(number) {
                Source::Block(block) => Some(block),
                Source::Chunk(_) => None,
            };
            let mut ranges: Vec<Range<u64>> = Vec::new();
            let mut traces: Vec<TraceRef> = Vec::new();
            for at in (0..index.len()).filter(|at| !index.is_deleted(*at)) {
                if scene.shared(number).is_some_and(|shared| shared.get(at)) {
                    // It comes with the first source that has it.
                    if scene.place_of(index.id(at)).is_some_and(|place| place.source() == number) {
                        traces.extend(scene.find(index.id(at)).filter(|t| self.range.overlaps(t.start, t.end)));
                    }
                } else if index.overlaps(at, self.range) {
                    match block.and_then(|_| self.rows.in_block(&index, at)) {
                        Some(rows) => extend(&mut ranges, rows),
                        None => {
                            let trace = scene.trace(&index.place(number, at));
                            traces.extend(trace.filter(|trace| self.rows.are_in(trace, self.sources)));
                        }
                    }
                }
                if traces.len() >= STEP_TRACES {
                    self.traces(&std::mem::take(&mut traces))?;
                }
            }
            self.traces(&traces)?;
            if let Some(block) = block {
                self.block(block, ranges)?;
            }
        }
        Ok(())
    }

    fn traces(&mut self, traces: &[TraceRef]) -> Result<(), QueryError> {
        for step in steps(traces, STEP_TRACES) {
            for trace in self.sources.load(self.context, step, &self.projection)? {
                self.rows.write_trace(&trace, self.out)?;
            }
        }
        Ok(())
    }

    /// Rows of a block that are nowhere else.
    fn block(&mut self, block: &Arc<Block>, ranges: Vec<Range<u64>>) -> Result<(), QueryError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let held = (ranges.len() * size_of::<Range<u64>>()) as u64;
        self.context.reserve(held)?;
        match &self.rows {
            Rows::Traces(columns) => {
                let Some(table) = block.table(TRACES).map_err(storage)? else { return Ok(()) };
                for batch in table.scan(&Scan::default().rows(ranges)).map_err(storage)? {
                    self.context.check()?;
                    let rows = trace_rows(&batch.map_err(storage)?).ok_or_else(|| damaged(block))?;
                    rows.iter().try_for_each(|row| self.out.row(columns.iter().map(|column| column.cell(row))))?;
                }
            }
            _ => {
                let Some(table) = block.table(SPANS).map_err(storage)? else { return Ok(()) };
                let scan = Scan { columns: self.projection.span_columns(), predicates: self.predicates(block), ..Scan::default() };
                for batch in table.scan(&scan.rows(ranges)).map_err(storage)? {
                    self.context.check()?;
                    let batch = batch.map_err(storage)?;
                    let reader = SpanReader::new(&batch, &self.projection);
                    (0..batch.num_rows()).try_for_each(|row| self.rows.write(&reader.borrow(row), self.out))?;
                }
            }
        }
        self.context.release(held);
        Ok(())
    }

    fn predicates(&self, block: &Block) -> Vec<Predicate> {
        let mut predicates = Vec::new();
        if self.range.start > block.meta().min_time || self.range.end <= block.meta().max_time {
            let max = self.range.end.saturating_sub(1);
            predicates.push(Predicate::Between { column: "start".into(), min: self.range.start, max });
        }
        for (column, values) in &self.request.equal {
            if let Some(column) = cells::stored_as(column, values) {
                let values = values.iter().map(|value| Value::Text(value.clone())).collect();
                predicates.push(Predicate::OneOf { column, values });
            }
        }
        predicates
    }
}

/// Adds a range that begins at or behind the end of the last one.
fn extend(ranges: &mut Vec<Range<u64>>, next: Range<u64>) {
    match ranges.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ if next.is_empty() => {}
        _ => ranges.push(next),
    }
}
