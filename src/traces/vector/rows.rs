//! Runs of whole traces, and the columns of their rows.

use super::check::Check;
use super::column::{Column, Layer, Word};
use super::facts::Facts;
use super::row::Columns;
use crate::query::{Context, QueryError};
use crate::storage::{Predicate, Scan, Value as Stored};
use crate::traces::index::Index;
use crate::traces::schema::{AttributeScope, ColumnType, SERVICE_NAME_KEY};
use crate::traces::source::{damaged, storage};
use crate::traces::traceql::ast::{Field, Intrinsic, Op, Scope, Static};
use crate::traces::traceql::eval::{Value, trimmed};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// A run of whole traces: positions in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub traces: Range<usize>,
}

/// For each row group the traces that begin in it: about as many rows, so that segments can be read side by side.
pub fn segments(groups: &[Range<u64>], index: &Index) -> Vec<Segment> {
    let first_at = |row: u64| {
        let at = index.at_row(row);
        // A trace that began before the row belongs to the segment before.
        if at < index.len() && index.rows(at).start < row { at + 1 } else { at }
    };
    let segments = groups.iter().map(|rows| Segment { traces: first_at(rows.start)..first_at(rows.end) });
    segments.filter(|s| !s.traces.is_empty()).collect()
}

/// Rows of a segment that lie in one row group.
struct Piece {
    group: usize,
    rows: Range<u64>,
    /// Where they stand among the rows of the segment.
    place: Range<usize>,
}

/// The rows of a segment, with the columns that were read of them so far.
pub struct Rows<'a> {
    pub(super) ctx: &'a Context,
    pub(super) facts: &'a Facts<'a>,
    index: &'a Index,
    pub segment: Segment,
    pieces: Vec<Piece>,
    /// The rows of each trace.
    pub bounds: Vec<Range<usize>>,
    columns: HashMap<Field, Arc<Column>>,
    held: u64,
}

impl<'a> Rows<'a> {
    pub fn new(ctx: &'a Context, facts: &'a Facts<'a>, index: &'a Index, segment: Segment) -> Rows<'a> {
        let first = if segment.traces.is_empty() { 0 } else { index.rows(segment.traces.start).start };
        let local = |row: u64| usize::try_from(row - first).unwrap_or(usize::MAX);
        let bounds: Vec<Range<usize>> = segment.traces.clone().map(|at| index.rows(at)).map(|r| local(r.start)..local(r.end)).collect();
        let end = first + bounds.last().map_or(0, |b| b.end as u64);
        let within = facts.groups.iter().enumerate().filter_map(|(group, rows)| {
            let rows = rows.start.max(first)..rows.end.min(end);
            (rows.start < rows.end).then(|| Piece { group, place: local(rows.start)..local(rows.end), rows })
        });
        Rows { ctx, facts, index, pieces: within.collect(), segment, bounds, columns: HashMap::new(), held: 0 }
    }

    pub fn len(&self) -> usize {
        self.bounds.last().map_or(0, |b| b.end)
    }

    pub fn pieces(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let places: Vec<Range<usize>> = self.pieces.iter().map(|p| p.place.clone()).collect();
        places.into_iter().enumerate()
    }

    /// Reads top-level columns of a piece.
    fn scan(&self, piece: &Piece, columns: Vec<String>) -> Result<RecordBatch, QueryError> {
        self.ctx.check()?;
        let rows = piece.place.len();
        let scan = Scan { batch_rows: rows, dictionaries: true, ..Scan::columns(columns) }.rows(vec![piece.rows.clone()]);
        let batch = self.facts.spans.scan(&scan).map_err(storage)?.next();
        let batch = batch.ok_or_else(|| damaged(self.facts.block))?.map_err(storage)?;
        if batch.num_rows() == rows { Ok(batch) } else { Err(damaged(self.facts.block)) }
    }

    fn column_of(&self, piece: &Piece, name: &str) -> Result<ArrayRef, QueryError> {
        let batch = self.scan(piece, vec![name.to_owned()])?;
        batch.column_by_name(name).cloned().ok_or_else(|| damaged(self.facts.block))
    }

    /// When the spans of a piece started.
    pub fn starts(&self, piece: usize) -> Result<Int64Array, QueryError> {
        let column = self.column_of(&self.pieces[piece], "start")?;
        let times = column.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| damaged(self.facts.block))?;
        Ok(times.reinterpret_cast::<Int64Type>())
    }

    /// The values of a field, which the block supports. Read once.
    pub fn column(&mut self, field: &Field) -> Result<Arc<Column>, QueryError> {
        if let Some(column) = self.columns.get(field) {
            return Ok(column.clone());
        }
        let mut column = Column::default();
        for piece in &self.pieces {
            column.pieces.push(self.layers(piece, field)?);
        }
        // Ten bytes a row and layer is about right for dictionaries and numbers alike.
        let layers: usize = column.pieces.iter().map(Vec::len).max().unwrap_or(0);
        let bytes = (10 * layers * self.len()) as u64;
        self.ctx.reserve(bytes)?;
        self.held += bytes;
        let column = Arc::new(column);
        self.columns.insert(field.clone(), column.clone());
        Ok(column)
    }

    pub fn columns(&mut self, fields: &[Field]) -> Result<Columns, QueryError> {
        let mut columns = Columns::default();
        for field in fields {
            columns.0.push((field.clone(), self.column(field)?));
        }
        Ok(columns)
    }

    /// The rows of the table of events, or of links, that belong to these spans.
    pub(super) fn attached(&self, scope: AttributeScope) -> Range<u64> {
        let of = |at: usize| {
            let part = self.index.part(at);
            if scope == AttributeScope::Event { part.events } else { part.links }
        };
        let last = self.segment.traces.end.checked_sub(1).filter(|last| *last >= self.segment.traces.start);
        last.map_or(0..0, |last| of(self.segment.traces.start).start..of(last).end)
    }

    /// Where a row of the table of spans stands among these.
    pub(super) fn local(&self, row: u64) -> Option<usize> {
        let first = self.pieces.first()?.rows.start;
        usize::try_from(row.checked_sub(first)?).ok()
    }

    /// The trace that a row belongs to, as its position in the index.
    pub fn trace_at(&self, row: usize) -> usize {
        self.segment.traces.start + self.bounds.partition_point(|b| b.end <= row)
    }

    fn layers(&self, piece: &Piece, field: &Field) -> Result<Vec<Layer>, QueryError> {
        match field {
            Field::Attribute { scope, name, .. } => self.attribute(piece, *scope, name),
            Field::Intrinsic(intrinsic) => self.intrinsic(piece, *intrinsic),
        }
    }

    fn attribute(&self, piece: &Piece, scope: Scope, key: &str) -> Result<Vec<Layer>, QueryError> {
        let mut layers = Vec::new();
        for scope in scope.attribute_scopes().iter().filter(|s| in_spans(**s)) {
            for name in self.typed(*scope, key) {
                layers.extend(Layer::of_array(&self.column_of(piece, &name)?));
            }
            if self.facts.rest_has(*scope, key, piece.group)? {
                layers.extend(Layer::of_rest(&self.column_of(piece, scope.rest())?, key));
            }
        }
        Ok(layers)
    }

    fn typed(&self, scope: AttributeScope, key: &str) -> Vec<String> {
        let mut names: Vec<String> = self.facts.typed(scope, key);
        if scope == AttributeScope::Resource && key == SERVICE_NAME_KEY {
            names.insert(0, "service_name".to_owned());
        }
        names
    }

    fn intrinsic(&self, piece: &Piece, intrinsic: Intrinsic) -> Result<Vec<Layer>, QueryError> {
        let shape = || damaged(self.facts.block);
        let small = |name: &str, word| {
            let column = self.column_of(piece, name)?;
            Ok(vec![Layer::Small(column.as_primitive_opt::<Int32Type>().ok_or_else(shape)?.clone(), word)])
        };
        let text = |name: &str| Ok(vec![Layer::of_array(&self.column_of(piece, name)?).ok_or_else(shape)?]);
        let id = |name: &str| {
            let column = self.column_of(piece, name)?;
            Ok(vec![Layer::Id(column.as_fixed_size_binary_opt().ok_or_else(shape)?.clone())])
        };
        match intrinsic {
            Intrinsic::Duration => {
                let column = self.column_of(piece, "duration_ns")?;
                Ok(vec![Layer::Duration(column.as_primitive_opt::<Int64Type>().ok_or_else(shape)?.clone())])
            }
            Intrinsic::Name => text("name"),
            Intrinsic::StatusMessage => text("status_message"),
            Intrinsic::InstrumentationName => text("scope_name"),
            Intrinsic::InstrumentationVersion => text("scope_version"),
            Intrinsic::Status => small("status_code", Word::Status),
            Intrinsic::Kind => small("kind", Word::Kind),
            Intrinsic::NestedSetLeft => small("nested_left", Word::Int),
            Intrinsic::NestedSetRight => small("nested_right", Word::Int),
            Intrinsic::NestedSetParent => small("nested_parent", Word::Int),
            Intrinsic::ChildCount => small("child_count", Word::Int),
            Intrinsic::SpanId => id("span_id"),
            Intrinsic::ParentId => id("parent_span_id"),
            Intrinsic::RootName => {
                let roots = self.facts.roots()?;
                Ok(self.by_trace(piece, |at| Value::String(roots.names.get(at).map_or("", |t| t).to_owned().into())))
            }
            Intrinsic::RootService => {
                let roots = self.facts.roots()?;
                Ok(self.by_trace(piece, |at| Value::String(roots.services.get(at).map_or("", |t| t).to_owned().into())))
            }
            Intrinsic::TraceDuration => Ok(self.by_trace(piece, |at| {
                let (start, end) = self.index.times(at);
                Value::Duration(end.saturating_sub(start))
            })),
            Intrinsic::TraceId => Ok(self.by_trace(piece, |at| Value::String(trimmed(self.index.id(at).to_hex()).into()))),
            // Not of a span, or of none that the language knows.
            Intrinsic::Parent | Intrinsic::EventName | Intrinsic::EventTimeSinceStart | Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => {
                Ok(Vec::new())
            }
        }
    }

    fn by_trace(&self, piece: &Piece, value: impl Fn(usize) -> Value<'static>) -> Vec<Layer> {
        let (mut values, mut bounds) = (Vec::new(), Vec::new());
        for (rows, at) in self.bounds.iter().zip(self.segment.traces.clone()) {
            let own = rows.start.max(piece.place.start)..rows.end.min(piece.place.end);
            if own.start < own.end {
                values.push(value(at));
                bounds.push(own.start - piece.place.start..own.end - piece.place.start);
            }
        }
        vec![Layer::Traces { values, bounds }]
    }

    /// Whether rows of the piece may satisfy the test, which no missing value does, as far as dictionaries, statistics and
    /// Bloom filters tell.
    pub fn may_hold(&self, piece: usize, field: &Field, check: &Check) -> Result<bool, QueryError> {
        let Field::Attribute { scope, name: key, .. } = field else { return Ok(true) };
        if check.holds_for_nil() {
            return Ok(true);
        }
        let group = self.pieces[piece].group;
        for scope in scope.attribute_scopes().iter().filter(|s| in_spans(**s)) {
            if self.facts.rest_has(*scope, key, group)? {
                return Ok(true);
            }
            for name in self.typed(*scope, key) {
                if self.column_may_hold(group, &name, check)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn column_may_hold(&self, group: usize, name: &str, check: &Check) -> Result<bool, QueryError> {
        let table = &self.facts.spans;
        if let Some(predicate) = predicate(name, check)
            && !table.group_allows(group, &predicate).map_err(storage)?
        {
            return Ok(false);
        }
        let texts = table.schema().field_with_name(name).is_ok_and(|f| ColumnType::String.data_type() == *f.data_type());
        if !texts || matches!(check, Check::Exists) {
            return Ok(true);
        }
        let distinct = table.distinct(group, name).map_err(storage)?;
        Ok(distinct.is_none_or(|texts| texts.iter().any(|text| check.may_hold_for_text(text))))
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.ctx.release(self.held);
    }
}

const fn in_spans(scope: AttributeScope) -> bool {
    matches!(scope, AttributeScope::Span | AttributeScope::Resource | AttributeScope::Instrumentation)
}

/// What statistics of a column can tell of the test.
fn predicate(name: &str, check: &Check) -> Option<Predicate> {
    let column = name.to_owned();
    let Check::Compare(op, wanted) = check else { return None };
    match (op, wanted) {
        (Op::Eq, Static::String(text)) => Some(Predicate::OneOf { column, values: vec![Stored::Text(text.clone())] }),
        (op, Static::Int(n) | Static::Duration(n)) => {
            let (min, max) = match op {
                Op::Eq => (*n, *n),
                Op::Less => (i64::MIN, n.checked_sub(1)?),
                Op::LessEq => (i64::MIN, *n),
                Op::Greater => (n.checked_add(1)?, i64::MAX),
                Op::GreaterEq => (*n, i64::MAX),
                _ => return None,
            };
            Some(Predicate::Between { column, min, max })
        }
        _ => None,
    }
}
