//! Several chunks of a head made one, column by column, without decoding what is in them.

use super::write::exact;
use crate::model::{SpanId, TraceId};
use crate::traces::head::Chunk;
use crate::traces::trace::Part;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;
use arrow_select::take::take_record_batch;
use std::collections::HashSet;
use std::sync::Arc;

/// One chunk with the rows of all, which are in the order in which they were accepted: of duplicates the earlier stays.
pub fn merge(chunks: &[Arc<Chunk>]) -> Result<Chunk, ArrowError> {
    let Some(first) = chunks.first() else { return Chunk::new(Vec::new()) };
    let spans = concat_batches(&first.spans.schema(), chunks.iter().map(|c| &c.spans))?;
    let rows = rows_of(&spans).ok_or_else(|| ArrowError::SchemaError("a chunk has a table of another shape".into()))?;
    let mut seen = HashSet::with_capacity(rows.len());
    let mut order: Vec<u32> = (0u32..).zip(&rows).filter(|(_, r)| seen.insert((r.trace_id, r.span_id, r.kind))).map(|(i, _)| i).collect();
    order.sort_by_key(|i| rows[*i as usize].sort_key());
    let mut place = vec![None; rows.len()];
    (0i64..).zip(&order).for_each(|(new, old)| place[*old as usize] = Some(new));
    let mut parts = parts_of(&order.iter().map(|i| &rows[*i as usize]).collect::<Vec<_>>());
    let offsets = || {
        chunks.iter().scan(0, |next, chunk| {
            let first = *next;
            *next += chunk.spans.num_rows();
            Some(first)
        })
    };
    let events = attached(chunks.iter().map(|c| &c.events).zip(offsets()), &place)?;
    let links = attached(chunks.iter().map(|c| &c.links).zip(offsets()), &place)?;
    count_attached(&mut parts, &events, |part| &mut part.events);
    count_attached(&mut parts, &links, |part| &mut part.links);
    Ok(Chunk { spans: exact(take_record_batch(&spans, &UInt32Array::from(order))?)?, events, links, parts })
}

/// What order, duplicates and times depend on.
struct Row {
    trace_id: TraceId,
    span_id: SpanId,
    kind: i32,
    start: i64,
    duration: i64,
}

impl Row {
    fn sort_key(&self) -> (TraceId, i64, SpanId) {
        (self.trace_id, self.start, self.span_id)
    }
}

fn rows_of(spans: &RecordBatch) -> Option<Vec<Row>> {
    let trace_ids = spans.column_by_name("trace_id")?.as_fixed_size_binary_opt()?;
    let span_ids = spans.column_by_name("span_id")?.as_fixed_size_binary_opt()?;
    let kinds = spans.column_by_name("kind")?.as_primitive_opt::<Int32Type>()?;
    let starts = spans.column_by_name("start")?.as_primitive_opt::<TimestampNanosecondType>()?;
    let durations = spans.column_by_name("duration_ns")?.as_primitive_opt::<Int64Type>()?;
    let row = |i| {
        Some(Row {
            trace_id: TraceId::from_slice(trace_ids.value(i))?,
            span_id: SpanId::from_slice(span_ids.value(i))?,
            kind: kinds.value(i),
            start: starts.value(i),
            duration: durations.value(i),
        })
    };
    (0..spans.num_rows()).map(row).collect()
}

fn parts_of(rows: &[&Row]) -> Vec<Part> {
    let mut first = 0;
    let parts = rows.chunk_by(|a, b| a.trace_id == b.trace_id).map(|trace| {
        let spans = first..first + trace.len() as u64;
        first = spans.end;
        Part {
            trace_id: trace[0].trace_id,
            start: trace.iter().map(|r| r.start).min().unwrap_or(0),
            end: trace.iter().map(|r| r.start.saturating_add(r.duration.max(0))).max().unwrap_or(0),
            spans,
            events: 0..0,
            links: 0..0,
        }
    });
    parts.collect()
}

/// Events or links of several chunks, each with the first row of its chunk among all: those of rows that have a new place,
/// in order of it.
fn attached<'a>(tables: impl Iterator<Item = (&'a RecordBatch, usize)>, place: &[Option<i64>]) -> Result<RecordBatch, ArrowError> {
    let tables: Vec<(&RecordBatch, usize)> = tables.collect();
    let shape = || ArrowError::SchemaError("a chunk has a table of another shape".into());
    let schema = tables.first().ok_or_else(shape)?.0.schema();
    let mut rows: Vec<(i64, u32)> = Vec::new();
    let mut index = 0u32;
    for (table, offset) in &tables {
        let own = table.column_by_name("span_row").and_then(|c| c.as_primitive_opt::<Int64Type>()).ok_or_else(shape)?;
        for row in own.values() {
            let old = usize::try_from(*row).map_err(|_| shape())? + offset;
            if let Some(new) = place.get(old).ok_or_else(shape)? {
                rows.push((*new, index));
            }
            index += 1;
        }
    }
    // The order of the events of one span stays.
    rows.sort_unstable();
    let all = concat_batches(&schema, tables.into_iter().map(|(table, _)| table))?;
    let taken = take_record_batch(&all, &UInt32Array::from(rows.iter().map(|(_, i)| *i).collect::<Vec<_>>()))?;
    let mut columns: Vec<ArrayRef> = taken.columns().to_vec();
    columns[schema.index_of("span_row")?] = Arc::new(Int64Array::from(rows.iter().map(|(new, _)| *new).collect::<Vec<_>>()));
    exact(RecordBatch::try_new(schema, columns)?)
}

/// Sets the range of rows of each part, whose spans follow one another as the rows of the table do.
fn count_attached(parts: &mut [Part], table: &RecordBatch, range: impl Fn(&mut Part) -> &mut std::ops::Range<u64>) {
    let rows = table.column_by_name("span_row").and_then(|c| c.as_primitive_opt::<Int64Type>());
    let rows = rows.map_or(&[][..], |c| c.values());
    let mut first = 0u64;
    for part in parts {
        let end = rows.partition_point(|row| row.cast_unsigned() < part.spans.end) as u64;
        *range(part) = first..end;
        first = end;
    }
}
