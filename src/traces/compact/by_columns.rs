//! Rows are copied column by column, in runs, where all attributes of a step stand where the new block has them. What the tree
//! of a trace depends on is all that is looked at row by row.

use super::join::join;
use super::{InputRows, Step, Taken, damaged};
use crate::model::{SpanId, TraceId};
use crate::storage::MergeError;
use crate::storage::block::relabel;
use crate::traces::columns::{Plan, Structure, batch};
use crate::traces::cut::{TableBatches, nested_of};
use crate::traces::schema::{self, AttributeScope, parse_column};
use crate::traces::span_ref::{Node, node};
use crate::traces::trace::assemble;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field};
use std::ops::{Range, RangeInclusive};

const SPAN_SCOPES: [AttributeScope; 3] = [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation];

/// Rows that follow each other in a batch: its number, and they.
pub(super) type Run = (usize, Range<usize>);

/// Where a row stands: the number of its batch among those of all inputs, and its own in it.
type At = (usize, usize);

/// Adds the spans of a step to the tables. `false`, and nothing is added, where an attribute has to move.
pub(super) fn add(
    step: &Step,
    taken: &[InputRows],
    times: &RangeInclusive<i64>,
    plan: &Plan,
    tables: &mut TableBatches,
) -> Result<bool, MergeError> {
    let (span_fields, event_fields, link_fields) = (schema::span_fields(), schema::event_fields(), schema::link_fields());
    let stands = |rows: &InputRows| {
        rows.spans.batches.iter().all(|b| stay(b, &span_fields, &SPAN_SCOPES, plan))
            && rows.events.batches.iter().all(|b| stay(b, &event_fields, &[AttributeScope::Event], plan))
            && rows.links.batches.iter().all(|b| stay(b, &link_fields, &[AttributeScope::Link], plan))
    };
    if !taken.iter().all(stands) {
        return Ok(false);
    }
    let spans = Source::new(taken.iter().map(|rows| &rows.spans), SpanColumns::open).ok_or_else(|| damaged(schema::SPANS))?;
    let events = Source::new(taken.iter().map(|rows| &rows.events), row_of_span).ok_or_else(|| damaged(schema::EVENTS))?;
    let links = Source::new(taken.iter().map(|rows| &rows.links), row_of_span).ok_or_else(|| damaged(schema::LINKS))?;
    let mut places: Vec<Place<'_>> = Vec::new();
    let mut own: Vec<Place<'_>> = Vec::new();
    for parts in &step.traces {
        for (input, part) in parts {
            let (first, rows) = (own.len(), &taken[*input]);
            rows.spans.each(&spans.readers[*input], &part.spans, |(batch, columns), row| own.push(columns.place((*batch, row))));
            let index = |row: i64| row.cast_unsigned().checked_sub(part.spans.start).map(|i| first + i as usize);
            let mut is_whole = true;
            rows.events.each(&events.readers[*input], &part.events, |(batch, of_span), row| {
                match index(of_span.value(row)).and_then(|i| own.get_mut(i)) {
                    Some(span) => span.events.push((*batch, row)),
                    None => is_whole = false,
                }
            });
            rows.links.each(&links.readers[*input], &part.links, |(batch, of_span), row| {
                match index(of_span.value(row)).and_then(|i| own.get_mut(i)) {
                    Some(span) => span.links.push((*batch, row)),
                    None => is_whole = false,
                }
            });
            if !is_whole {
                return Err(damaged(schema::SPANS));
            }
        }
        if parts.len() > 1 {
            assemble(&mut own);
        }
        places.extend(own.drain(..).filter(|p| times.contains(&p.start)));
    }
    if places.is_empty() {
        return Ok(true);
    }
    let Structure { of_spans, of_events, of_links } = Structure::of(&places, &nested_of(&places), tables.items.cast_signed());
    let batches = [
        spans.joined(plan.span_fields(), places.iter().map(|p| p.at), &of_spans)?,
        events.joined(plan.event_fields(), places.iter().flat_map(|p| p.events.iter().copied()), &of_events)?,
        links.joined(plan.link_fields(), places.iter().flat_map(|p| p.links.iter().copied()), &of_links)?,
    ];
    tables.push(&places, batches)?;
    Ok(true)
}

/// Whether all fixed columns are there, and every attribute stands where the plan has it: it may be copied with its column.
fn stay(batch: &RecordBatch, fixed: &[Field], scopes: &[AttributeScope], plan: &Plan) -> bool {
    let is_there = |field: &Field| {
        let found = batch.column_by_name(field.name());
        found.is_some_and(|column| is_of(column, field))
    };
    let stays = |scope: &AttributeScope| {
        let chosen = plan.of(*scope);
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let mut of_scope = columns.filter_map(|(field, column)| Some((parse_column(*scope, field)?, column)));
        let columns_stay = of_scope.all(|((key, column_type), column)| {
            column.null_count() == column.len() || chosen.iter().any(|(own, t)| own == key && *t == column_type)
        });
        columns_stay && rest_stays(batch, *scope, chosen).unwrap_or(false)
    };
    fixed.iter().all(is_there) && scopes.iter().all(stays)
}

/// No key in the rest map has a column in the plan, of whatever type. `None` where there is no such map.
fn rest_stays(batch: &RecordBatch, scope: AttributeScope, chosen: &[(String, schema::ColumnType)]) -> Option<bool> {
    let map = batch.column_by_name(scope.rest())?.as_map_opt()?;
    let keys = map.keys().as_string_opt::<i32>()?;
    // A sliced map still has the keys of all its rows.
    let (from, to) = (*map.value_offsets().first()? as usize, *map.value_offsets().last()? as usize);
    Some((from..to).all(|at| chosen.binary_search_by(|(key, _)| key.as_str().cmp(keys.value(at))).is_err()))
}

/// Nested types may differ in what they say of their fields, and texts may have a dictionary.
fn is_of(column: &ArrayRef, field: &Field) -> bool {
    let (own, wanted) = (column.data_type(), field.data_type());
    own == wanted || (own.is_nested() && wanted.is_nested()) || matches!(own, DataType::Dictionary(_, texts) if **texts == *wanted)
}

/// The batches of one table of all inputs, numbered through, and what is read of each, by input.
struct Source<'a, R> {
    batches: Vec<&'a RecordBatch>,
    readers: Vec<Vec<(usize, R)>>,
}

impl<'a, R> Source<'a, R> {
    fn new(taken: impl Iterator<Item = &'a Taken>, open: impl Fn(&'a RecordBatch) -> Option<R>) -> Option<Source<'a, R>> {
        let mut source = Source { batches: Vec::new(), readers: Vec::new() };
        for taken in taken {
            let first = source.batches.len();
            source.batches.extend(&taken.batches);
            let readers = taken.batches.iter().enumerate().map(|(at, batch)| Some((first + at, open(batch)?)));
            source.readers.push(readers.collect::<Option<_>>()?);
        }
        Some(source)
    }

    /// These rows, with `own` in place of the columns of these names.
    fn joined(&self, fields: Vec<Field>, rows: impl Iterator<Item = At>, own: &[(&str, ArrayRef)]) -> Result<RecordBatch, ArrowError> {
        let mut runs: Vec<Run> = Vec::new();
        let mut count = 0;
        for (batch, row) in rows {
            count += 1;
            match runs.last_mut() {
                Some((of, range)) if *of == batch && range.end == row => range.end += 1,
                _ => runs.push((batch, row..row + 1)),
            }
        }
        let column = |field: &Field| match own.iter().find(|(name, _)| name == field.name()) {
            Some((_, column)) => Ok(column.clone()),
            None => self.column(field, &runs, count),
        };
        batch(fields.clone(), fields.iter().map(column).collect::<Result<_, _>>()?)
    }

    fn column(&self, field: &Field, runs: &[Run], count: usize) -> Result<ArrayRef, ArrowError> {
        if runs.is_empty() {
            return Ok(new_null_array(field.data_type(), 0));
        }
        let of_batch = |batch: &&RecordBatch| match batch.column_by_name(field.name()).filter(|column| is_of(column, field)) {
            Some(column) if matches!(column.data_type(), DataType::Dictionary(..)) => Ok(column.clone()),
            Some(column) => relabel(column, field.data_type()),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        };
        let columns = self.batches.iter().map(of_batch).collect::<Result<Vec<_>, ArrowError>>()?;
        join(&columns, field.data_type(), runs, count)
    }
}

fn row_of_span(batch: &RecordBatch) -> Option<&Int64Array> {
    batch.column_by_name("span_row")?.as_primitive_opt::<Int64Type>()
}

/// What the tree of a trace depends on, in the columns of a batch.
struct SpanColumns<'a> {
    trace_id: &'a FixedSizeBinaryArray,
    span_id: &'a FixedSizeBinaryArray,
    parent_span_id: &'a FixedSizeBinaryArray,
    kind: &'a Int32Array,
    start: &'a TimestampNanosecondArray,
    duration: &'a Int64Array,
    status_code: &'a Int32Array,
    name: Texts<'a>,
    service_name: Texts<'a>,
}

/// With a dictionary, or without.
enum Texts<'a> {
    Plain(&'a StringArray),
    Keys(&'a Int32Array, &'a StringArray),
}

impl<'a> Texts<'a> {
    fn open(column: &'a ArrayRef) -> Option<Texts<'a>> {
        match column.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => Some(Texts::Keys(dictionary.keys(), dictionary.values().as_string_opt()?)),
            None => column.as_string_opt().map(Texts::Plain),
        }
    }

    fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Texts::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Texts::Keys(keys, texts) => keys.is_valid(row).then(|| texts.value(keys.value(row).cast_unsigned() as usize)),
        }
    }
}

fn id<const N: usize>(column: &FixedSizeBinaryArray, row: usize) -> Option<[u8; N]> {
    column.is_valid(row).then(|| column.value(row)).and_then(|id| id.try_into().ok())
}

impl<'a> SpanColumns<'a> {
    fn open(batch: &'a RecordBatch) -> Option<SpanColumns<'a>> {
        let column = |name| batch.column_by_name(name);
        Some(SpanColumns {
            trace_id: column("trace_id")?.as_fixed_size_binary_opt()?,
            span_id: column("span_id")?.as_fixed_size_binary_opt()?,
            parent_span_id: column("parent_span_id")?.as_fixed_size_binary_opt()?,
            kind: column("kind")?.as_primitive_opt::<Int32Type>()?,
            start: column("start")?.as_primitive_opt::<TimestampNanosecondType>()?,
            duration: column("duration_ns")?.as_primitive_opt::<Int64Type>()?,
            status_code: column("status_code")?.as_primitive_opt::<Int32Type>()?,
            name: Texts::open(column("name")?)?,
            service_name: Texts::open(column("service_name")?)?,
        })
    }

    fn place(&self, at: At) -> Place<'a> {
        let row = at.1;
        Place {
            at,
            trace_id: TraceId(id(self.trace_id, row).unwrap_or_default()),
            span_id: SpanId(id(self.span_id, row).unwrap_or_default()),
            parent_span_id: id(self.parent_span_id, row).map(SpanId),
            kind: self.kind.value(row),
            start: self.start.value(row),
            duration: self.duration.value(row),
            status_code: self.status_code.value(row),
            name: self.name.get(row).unwrap_or_default(),
            service_name: self.service_name.get(row),
            events: Vec::new(),
            links: Vec::new(),
        }
    }
}

/// A span by what its trace depends on, and where its rows stand.
struct Place<'a> {
    at: At,
    trace_id: TraceId,
    span_id: SpanId,
    parent_span_id: Option<SpanId>,
    kind: i32,
    start: i64,
    duration: i64,
    status_code: i32,
    name: &'a str,
    service_name: Option<&'a str>,
    events: Vec<At>,
    links: Vec<At>,
}

node!(Place<'_>, self => self.service_name);
