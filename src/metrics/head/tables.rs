//! Arrow tables of one block.

use super::buffer::SeriesBuffer;
use crate::metrics::histogram::{Buckets, ResetHint};
use crate::metrics::rows::{Exemplar, Metadata};
use crate::metrics::{decimal, schema};
use crate::model::time::MILLI;
use crate::model::{Labels, SpanId, TraceId};
use crate::storage::{Portion, TableDraft, TableOptions};
use arrow_array::builder::{
    FixedSizeBinaryBuilder, Float64Builder, Int32Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What the tables of a block have in common, and where their next rows go.
pub struct Writing {
    pub with_start: bool,
    /// Labels with columns of their own.
    pub dense: Vec<String>,
    /// Rows of `samples` and `hist` so far.
    pub rows: (i64, i64),
}

/// `parts`, which are sorted by metric name and labels, each by time, as the next rows of a block.
pub fn portion(parts: &[SeriesBuffer], writing: &mut Writing) -> Result<Portion, ArrowError> {
    let mut tables = Vec::new();
    let floats: usize = parts.iter().map(|p| p.ts.len()).sum();
    let histograms: usize = parts.iter().map(|p| p.histograms.len()).sum();
    if floats > 0 {
        tables.push(table(schema::SAMPLES, samples(parts, writing.with_start)?, schema::samples_options()));
    }
    let entries: Vec<SeriesEntry> = parts.iter().map(|part| SeriesEntry::of(part, &mut writing.rows)).collect();
    tables.push(table(schema::SERIES, series(&entries, &writing.dense)?, schema::series_options()));
    if histograms > 0 {
        tables.push(table(schema::HIST, hist(parts)?, schema::hist_options()));
    }
    if parts.iter().any(|p| !p.exemplars.is_empty()) {
        tables.push(table(schema::EXEMPLARS, exemplars(parts)?, schema::exemplars_options()));
    }
    let (min, max) = parts.iter().filter_map(bounds).fold((i64::MAX, i64::MIN), |a, b| (a.0.min(b.0), a.1.max(b.1)));
    let nanos = |ms: i64| ms.saturating_mul(MILLI);
    let items = (floats + histograms) as u64;
    Ok(Portion { min_time: nanos(min), max_time: nanos(max).saturating_add(MILLI - 1), items, tables })
}

/// Times of the oldest and newest sample or exemplar, milliseconds.
fn bounds(part: &SeriesBuffer) -> Option<(i64, i64)> {
    let times = || {
        let floats = part.ts.iter().copied().chain(part.histograms.iter().map(|h| h.ts));
        floats.chain(part.exemplars.iter().map(|e| e.ts))
    };
    Some((times().min()?, times().max()?))
}

fn table(name: &'static str, batch: RecordBatch, options: TableOptions) -> TableDraft {
    TableDraft { name, schema: batch.schema(), batches: vec![batch], options }
}

fn times() -> TimestampMillisecondBuilder {
    TimestampMillisecondBuilder::new().with_data_type(schema::timestamp())
}

/// Rows of `samples`.
pub fn samples(parts: &[SeriesBuffer], with_start: bool) -> Result<RecordBatch, ArrowError> {
    let (mut ids, mut ts, mut starts) = (Int64Builder::new(), times(), times());
    let (mut integers, mut divisors, mut floats) = (Int64Builder::new(), Float64Builder::new(), Float64Builder::new());
    for part in parts {
        let divisor = decimal::divisor(&part.values);
        for (at, (time, value)) in part.ts.iter().zip(&part.values).enumerate() {
            ids.append_value(part.id);
            ts.append_value(*time);
            match decimal::encode(*value, divisor) {
                Some(integer) => {
                    integers.append_value(integer);
                    divisors.append_value(divisor);
                    floats.append_null();
                }
                None => {
                    integers.append_null();
                    divisors.append_null();
                    floats.append_value(*value);
                }
            }
            starts.append_option(part.starts.get(at).copied().filter(|s| *s != 0));
        }
    }
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(ts.finish()),
        Arc::new(integers.finish()),
        Arc::new(divisors.finish()),
        Arc::new(floats.finish()),
    ];
    if with_start {
        columns.push(Arc::new(starts.finish()));
    }
    RecordBatch::try_new(schema::samples(with_start), columns)
}

/// How often each label name occurs.
#[derive(Default)]
pub struct LabelCounts {
    names: BTreeMap<String, usize>,
    series: usize,
    /// Names of the series that came last, and how many such came one after the other: they are mostly the same.
    last: Vec<String>,
    run: usize,
}

impl LabelCounts {
    pub fn add(&mut self, labels: &Labels) {
        self.series += 1;
        if !labels.iter().map(|(name, _)| name).eq(self.last.iter().map(String::as_str)) {
            self.end_run();
            self.last = labels.iter().map(|(name, _)| name.to_owned()).collect();
        }
        self.run += 1;
    }

    fn end_run(&mut self) {
        for name in self.last.drain(..) {
            *self.names.entry(name).or_default() += self.run;
        }
        self.run = 0;
    }

    /// Labels that enough series have, most frequent first, then by name; as many as a block may have.
    pub fn dense(mut self) -> Vec<String> {
        self.end_run();
        let mut dense: Vec<(String, usize)> = self.names.into_iter().filter(|(_, n)| n * schema::DENSE_SHARE >= self.series).collect();
        dense.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        dense.truncate(schema::DENSE_MAX);
        let mut names: Vec<String> = dense.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }
}

/// A row of `series`. Times in milliseconds since the epoch, both inclusive.
pub struct SeriesEntry {
    pub labels: Labels,
    pub id: i64,
    pub created: i64,
    pub metadata: Option<Arc<Metadata>>,
    /// First row and rows in `samples`, and in `hist`.
    pub rows: (i64, i64),
    pub hist_rows: (i64, i64),
    pub min_ts: i64,
    pub max_ts: i64,
}

impl SeriesEntry {
    /// `next` is where the rows of `samples` and `hist` begin, and then where they end.
    fn of(part: &SeriesBuffer, next: &mut (i64, i64)) -> SeriesEntry {
        let (rows, hist_rows) = ((next.0, part.ts.len() as i64), (next.1, part.histograms.len() as i64));
        *next = (next.0 + rows.1, next.1 + hist_rows.1);
        let (min_ts, max_ts) = bounds(part).unwrap_or((0, 0));
        SeriesEntry {
            labels: part.labels.clone(),
            id: part.id,
            created: part.created,
            metadata: part.metadata.clone(),
            rows,
            hist_rows,
            min_ts,
            max_ts,
        }
    }
}

/// Rows of `series`.
pub fn series(entries: &[SeriesEntry], dense: &[String]) -> Result<RecordBatch, ArrowError> {
    let schema = schema::series(dense);
    let mut integers: [Int64Builder; 6] = std::array::from_fn(|_| Int64Builder::new());
    let (mut min, mut max) = (times(), times());
    let mut texts: [StringBuilder; 4] = std::array::from_fn(|_| StringBuilder::new());
    let mut labels: Vec<StringBuilder> = dense.iter().map(|_| StringBuilder::new()).collect();
    let mut rest = map_builder(&schema, "labels_rest")?;
    let columns_of: HashSet<&str> = dense.iter().map(String::as_str).collect();
    for entry in entries {
        let numbers = [entry.id, entry.rows.0, entry.rows.1, entry.hist_rows.0, entry.hist_rows.1, entry.created];
        for (builder, value) in integers.iter_mut().zip(numbers) {
            builder.append_value(value);
        }
        min.append_value(entry.min_ts);
        max.append_value(entry.max_ts);
        let metadata = entry.metadata.as_deref();
        let words = [
            metadata.map(|m| m.family.as_str()),
            metadata.map(|m| m.kind.as_str()),
            metadata.map(|m| m.unit.as_str()),
            metadata.map(|m| m.help.as_str()),
        ];
        for (builder, word) in texts.iter_mut().zip(words) {
            builder.append_option(word);
        }
        for (builder, name) in labels.iter_mut().zip(dense) {
            builder.append_option(entry.labels.get(name));
        }
        for (name, value) in entry.labels.iter().filter(|(n, _)| !columns_of.contains(n)) {
            rest.keys().append_value(name);
            rest.values().append_value(value);
        }
        rest.append(true)?;
    }
    let mut columns: Vec<ArrayRef> = integers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    columns.push(Arc::new(min.finish()));
    columns.push(Arc::new(max.finish()));
    columns.extend(texts.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.extend(labels.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.push(Arc::new(rest.finish()));
    RecordBatch::try_new(schema, columns)
}

/// A builder of the map column, with the very fields that the schema has.
fn map_builder(schema: &SchemaRef, column: &str) -> Result<MapBuilder<StringBuilder, StringBuilder>, ArrowError> {
    let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
    let builder = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    let DataType::Map(entry, _) = schema.field_with_name(column)?.data_type() else {
        return Err(ArrowError::SchemaError(format!("{column} is not a map")));
    };
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(ArrowError::SchemaError(format!("{column} has no entries")));
    };
    Ok(builder.with_keys_field(fields[0].clone()).with_values_field(fields[1].clone()))
}

fn hint_number(hint: ResetHint) -> i32 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    }
}

struct BucketLists {
    indexes: ListBuilder<Int32Builder>,
    counts: ListBuilder<Float64Builder>,
}

impl BucketLists {
    fn new(id: i32) -> BucketLists {
        BucketLists {
            indexes: ListBuilder::new(Int32Builder::new()).with_field(schema::list_item(id + 1, DataType::Int32)),
            counts: ListBuilder::new(Float64Builder::new()).with_field(schema::list_item(id + 3, DataType::Float64)),
        }
    }

    fn push(&mut self, buckets: &Buckets) {
        for (index, count) in buckets {
            self.indexes.values().append_value(*index);
            self.counts.values().append_value(*count);
        }
        self.indexes.append(true);
        self.counts.append(true);
    }

    fn finish(mut self) -> [ArrayRef; 2] {
        [Arc::new(self.indexes.finish()), Arc::new(self.counts.finish())]
    }
}

/// Rows of `hist`.
pub fn hist(parts: &[SeriesBuffer]) -> Result<RecordBatch, ArrowError> {
    let (mut ids, mut ts, mut starts) = (Int64Builder::new(), times(), times());
    let (mut hints, mut schemas) = (Int32Builder::new(), Int32Builder::new());
    let mut numbers: [Float64Builder; 4] = std::array::from_fn(|_| Float64Builder::new());
    let (mut positive, mut negative) = (BucketLists::new(50), BucketLists::new(54));
    let mut custom = ListBuilder::new(Float64Builder::new()).with_field(schema::list_item(59, DataType::Float64));
    for part in parts {
        for sample in &part.histograms {
            let h = &sample.histogram;
            ids.append_value(part.id);
            ts.append_value(sample.ts);
            starts.append_option((sample.start != 0).then_some(sample.start));
            hints.append_value(hint_number(h.hint));
            schemas.append_value(h.schema);
            for (builder, number) in numbers.iter_mut().zip([h.zero_threshold, h.zero_count, h.count, h.sum]) {
                builder.append_value(number);
            }
            positive.push(&h.positive);
            negative.push(&h.negative);
            custom.values().append_slice(&h.custom);
            custom.append(true);
        }
    }
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(ts.finish()),
        Arc::new(starts.finish()),
        Arc::new(hints.finish()),
        Arc::new(schemas.finish()),
    ];
    columns.extend(numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    columns.extend(positive.finish());
    columns.extend(negative.finish());
    columns.push(Arc::new(custom.finish()));
    RecordBatch::try_new(schema::hist(), columns)
}

/// Rows of `exemplars`.
pub fn exemplars(parts: &[SeriesBuffer]) -> Result<RecordBatch, ArrowError> {
    let schema = schema::exemplars();
    let (mut ids, mut ts, mut values) = (Int64Builder::new(), times(), Float64Builder::new());
    let (mut traces, mut spans) = (FixedSizeBinaryBuilder::new(16), FixedSizeBinaryBuilder::new(8));
    let mut labels = map_builder(&schema, "labels")?;
    for part in parts {
        for exemplar in &part.exemplars {
            ids.append_value(part.id);
            ts.append_value(exemplar.ts);
            values.append_value(exemplar.value);
            let (trace, span) = exemplar_ids(exemplar);
            match trace {
                Some(id) => traces.append_value(id.0)?,
                None => traces.append_null(),
            }
            match span {
                Some(id) => spans.append_value(id.0)?,
                None => spans.append_null(),
            }
            let in_column = |name: &str| (name == "trace_id" && trace.is_some()) || (name == "span_id" && span.is_some());
            for (name, value) in exemplar.labels.iter().filter(|(n, _)| !in_column(n)) {
                labels.keys().append_value(name);
                labels.values().append_value(value);
            }
            labels.append(true)?;
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ids.finish()),
        Arc::new(ts.finish()),
        Arc::new(values.finish()),
        Arc::new(traces.finish()),
        Arc::new(spans.finish()),
        Arc::new(labels.finish()),
    ];
    RecordBatch::try_new(schema, columns)
}

/// The ids that have columns of their own: lower-case hex of exact length, so that the text comes back as it was.
fn exemplar_ids(exemplar: &Exemplar) -> (Option<TraceId>, Option<SpanId>) {
    let trace = exemplar.labels.get("trace_id").and_then(|text| TraceId::from_hex(text).filter(|id| id.to_hex() == text));
    let span = exemplar.labels.get("span_id").and_then(|text| SpanId::from_hex(text).filter(|id| id.to_hex() == text));
    (trace, span)
}
