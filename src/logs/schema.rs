//! What a block's tables hold.
//!
//! `logs`: one row a line, sorted by stream and time. Structured metadata that is nearly always there has columns of
//! its own: ids, severity and observed time in their binary form, frequent keys as `md.<key>`; the rest is in a map.
//! A value goes into a binary column only if it can be read back to the same text, so nothing is lost by it.
//! `streams`: one row a stream, with its labels and the range of its rows.

use crate::model::{SpanId, TraceId};
use arrow_array::builder::{
    FixedSizeBinaryBuilder, Int8Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampNanosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

pub const LOGS: &str = "logs";
pub const STREAMS: &str = "streams";

pub const STREAM_ID: &str = "stream_id";
pub const TS: &str = "ts";
pub const LINE: &str = "line";
pub const SEVERITY: &str = "severity";
pub const TRACE_ID: &str = "trace_id";
pub const SPAN_ID: &str = "span_id";
pub const OBSERVED_TS: &str = "observed_ts";
/// A column of structured metadata: `md.<key>`.
pub const METADATA_PREFIX: &str = "md.";
pub const METADATA_REST: &str = "md_rest";

pub const ROW_START: &str = "row_start";
pub const ROW_COUNT: &str = "row_count";
pub const MIN_TS: &str = "min_ts";
pub const MAX_TS: &str = "max_ts";
pub const BYTES: &str = "bytes";
/// A column of stream labels: `label.<name>`.
pub const LABEL_PREFIX: &str = "label.";
pub const LABEL_REST: &str = "label_rest";

/// Names of structured metadata that have binary columns.
pub const SEVERITY_NUMBER: &str = "severity_number";
pub const OBSERVED_TIMESTAMP: &str = "observed_timestamp";

/// Keys that get columns of their own at most.
pub const DENSE_MAX: usize = 128;

/// `PARQUET:field_id`, which is how a number below 1000 is fixed.
const FIELD_ID: &str = "PARQUET:field_id";

pub fn field(name: &str, data_type: DataType, nullable: bool, id: u32) -> Field {
    Field::new(name, data_type, nullable).with_metadata(HashMap::from([(FIELD_ID.to_owned(), id.to_string())]))
}

pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// A value of structured metadata in its binary column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Severity(i8),
    Observed(i64),
    Trace(TraceId),
    Span(SpanId),
}

impl Binary {
    /// `None` if the pair has no binary column, or if its text is not the canonical one.
    pub fn of(name: &str, value: &str) -> Option<Binary> {
        match name {
            SEVERITY_NUMBER => canonical(value).and_then(|n| i8::try_from(n).ok()).filter(|n| (1..=24).contains(n)).map(Binary::Severity),
            OBSERVED_TIMESTAMP => canonical(value).map(Binary::Observed),
            TRACE_ID => TraceId::from_hex(value).filter(|_| is_lower(value)).map(Binary::Trace),
            SPAN_ID => SpanId::from_hex(value).filter(|_| is_lower(value)).map(Binary::Span),
            _ => None,
        }
    }
}

/// Whether a name has a binary column, for values that fit.
pub fn may_be_binary(name: &str) -> bool {
    matches!(name, SEVERITY_NUMBER | OBSERVED_TIMESTAMP | TRACE_ID | SPAN_ID)
}

/// A number in the one form in which it is written.
fn canonical(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_shortest = digits.as_bytes().first().is_some_and(|first| (b'1'..=b'9').contains(first)) || text == "0";
    if is_shortest { text.parse().ok() } else { None }
}

fn is_lower(hex: &str) -> bool {
    !hex.bytes().any(|b| b.is_ascii_uppercase())
}

/// Where a pair of metadata goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// Into a binary column, if its value fits.
    Binary,
    /// Into the column of its own with this position.
    Dense(u32),
    Rest,
}

/// Builds rows of `logs`.
pub struct LogsBuilder {
    stream_id: Int64Builder,
    ts: TimestampNanosecondBuilder,
    line: StringBuilder,
    severity: Int8Builder,
    trace_id: FixedSizeBinaryBuilder,
    span_id: FixedSizeBinaryBuilder,
    observed: TimestampNanosecondBuilder,
    dense: Vec<(String, StringBuilder)>,
    dense_index: HashMap<String, usize>,
    rest: MapBuilder<StringBuilder, StringBuilder>,
    /// Of the row at hand.
    ids: Ids,
}

#[derive(Clone, Copy, Default)]
struct Ids {
    severity: i8,
    observed: Option<i64>,
    trace: Option<TraceId>,
    span: Option<SpanId>,
}

fn map_builder() -> MapBuilder<StringBuilder, StringBuilder> {
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
}

impl LogsBuilder {
    pub fn new(rows: usize, dense: &[String]) -> LogsBuilder {
        LogsBuilder {
            stream_id: Int64Builder::with_capacity(rows),
            ts: TimestampNanosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            line: StringBuilder::with_capacity(rows, 0),
            severity: Int8Builder::with_capacity(rows),
            trace_id: FixedSizeBinaryBuilder::with_capacity(rows, 16),
            span_id: FixedSizeBinaryBuilder::with_capacity(rows, 8),
            observed: TimestampNanosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            dense: dense.iter().map(|k| (k.clone(), StringBuilder::new())).collect(),
            dense_index: dense.iter().enumerate().map(|(i, k)| (k.clone(), i)).collect(),
            rest: map_builder(),
            ids: Ids::default(),
        }
    }

    /// Where pairs with this name go.
    pub fn slot(&self, name: &str) -> Slot {
        if may_be_binary(name) { Slot::Binary } else { self.text_slot(name) }
    }

    fn text_slot(&self, name: &str) -> Slot {
        self.dense_index.get(name).map_or(Slot::Rest, |at| Slot::Dense(*at as u32))
    }

    /// Names in `metadata` are unique.
    pub fn append<'a>(
        &mut self,
        stream_id: i64,
        ts: i64,
        line: &str,
        metadata: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), ArrowError> {
        self.begin(stream_id, ts, line);
        metadata.for_each(|(name, value)| self.set(self.slot(name), name, value));
        self.end()
    }

    /// A row, whose metadata is then set and which is ended.
    pub fn begin(&mut self, stream_id: i64, ts: i64, line: &str) {
        self.stream_id.append_value(stream_id);
        self.ts.append_value(ts);
        self.line.append_value(line);
        self.ids = Ids::default();
    }

    /// `slot` is that of the name, which the row does not have yet.
    pub fn set(&mut self, slot: Slot, name: &str, value: &str) {
        match slot {
            Slot::Binary => match Binary::of(name, value) {
                Some(Binary::Severity(n)) => self.ids.severity = n,
                Some(Binary::Observed(t)) => self.ids.observed = Some(t),
                Some(Binary::Trace(id)) => self.ids.trace = Some(id),
                Some(Binary::Span(id)) => self.ids.span = Some(id),
                None => self.set(self.text_slot(name), name, value),
            },
            Slot::Dense(at) => self.dense[at as usize].1.append_value(value),
            Slot::Rest => {
                self.rest.keys().append_value(name);
                self.rest.values().append_value(value);
            }
        }
    }

    pub fn end(&mut self) -> Result<(), ArrowError> {
        let row = self.ts.values_slice().len();
        let Ids { severity, observed, trace, span } = self.ids;
        self.rest.append(true)?;
        self.severity.append_value(severity);
        self.observed.append_option(observed);
        match trace {
            Some(id) => self.trace_id.append_value(id.0)?,
            None => self.trace_id.append_null(),
        }
        match span {
            Some(id) => self.span_id.append_value(id.0)?,
            None => self.span_id.append_null(),
        }
        for (_, column) in &mut self.dense {
            if arrow_array::builder::ArrayBuilder::len(column) < row {
                column.append_null();
            }
        }
        Ok(())
    }

    /// The column `observed_ts` stands only `with_observed`.
    pub fn finish(&mut self, with_observed: bool) -> Result<RecordBatch, ArrowError> {
        let mut fields = vec![
            field(STREAM_ID, DataType::Int64, false, 1),
            field(TS, timestamp_type(), false, 2),
            field(LINE, DataType::Utf8, false, 3),
            field(SEVERITY, DataType::Int8, false, 4),
            field(TRACE_ID, DataType::FixedSizeBinary(16), true, 5),
            field(SPAN_ID, DataType::FixedSizeBinary(8), true, 6),
        ];
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.stream_id.finish()),
            Arc::new(self.ts.finish()),
            Arc::new(self.line.finish()),
            Arc::new(self.severity.finish()),
            Arc::new(self.trace_id.finish()),
            Arc::new(self.span_id.finish()),
        ];
        let observed = self.observed.finish();
        if with_observed {
            fields.push(field(OBSERVED_TS, timestamp_type(), true, 7));
            columns.push(Arc::new(observed));
        }
        for (key, column) in &mut self.dense {
            fields.push(Field::new(format!("{METADATA_PREFIX}{key}"), DataType::Utf8, true));
            columns.push(Arc::new(column.finish()));
        }
        let rest = self.rest.finish();
        fields.push(field(METADATA_REST, arrow_array::Array::data_type(&rest).clone(), false, 8));
        columns.push(Arc::new(rest));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
    }
}

/// One row of `streams`.
pub struct StreamRow<'a> {
    pub stream_id: i64,
    pub labels: &'a crate::model::Labels,
    pub row_start: u64,
    pub row_count: u64,
    pub min_ts: i64,
    pub max_ts: i64,
    pub bytes: u64,
}

impl StreamRow<'_> {
    pub fn of(run: &super::source::Run) -> StreamRow<'_> {
        StreamRow {
            stream_id: run.id,
            labels: &run.labels,
            row_start: run.rows.start,
            row_count: run.rows.end - run.rows.start,
            min_ts: run.min_ts,
            max_ts: run.max_ts,
            bytes: run.bytes,
        }
    }
}

/// The table `streams` with a column for each label of `dense`.
pub fn streams_batch(rows: &[StreamRow<'_>], dense: &[String]) -> Result<RecordBatch, ArrowError> {
    let mut numbers: [Int64Builder; 4] = std::array::from_fn(|_| Int64Builder::with_capacity(rows.len()));
    let mut times: [TimestampNanosecondBuilder; 2] = std::array::from_fn(|_| TimestampNanosecondBuilder::new().with_timezone("UTC"));
    let mut labels: Vec<StringBuilder> = dense.iter().map(|_| StringBuilder::new()).collect();
    let mut rest = map_builder();
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for row in rows {
        for (column, n) in numbers.iter_mut().zip([row.stream_id, signed(row.row_start), signed(row.row_count), signed(row.bytes)]) {
            column.append_value(n);
        }
        times[0].append_value(row.min_ts);
        times[1].append_value(row.max_ts);
        for (name, column) in dense.iter().zip(&mut labels) {
            column.append_option(row.labels.get(name));
        }
        for (name, value) in row.labels.iter().filter(|(n, _)| !dense.iter().any(|d| d == n)) {
            rest.keys().append_value(name);
            rest.values().append_value(value);
        }
        rest.append(true)?;
    }
    let mut fields = vec![
        field(STREAM_ID, DataType::Int64, false, 1),
        field(ROW_START, DataType::Int64, false, 2),
        field(ROW_COUNT, DataType::Int64, false, 3),
        field(BYTES, DataType::Int64, false, 4),
        field(MIN_TS, timestamp_type(), false, 5),
        field(MAX_TS, timestamp_type(), false, 6),
    ];
    let mut columns: Vec<ArrayRef> = numbers.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef).collect();
    columns.extend(times.iter_mut().map(|b| Arc::new(b.finish()) as ArrayRef));
    for (name, mut column) in dense.iter().zip(labels) {
        fields.push(Field::new(format!("{LABEL_PREFIX}{name}"), DataType::Utf8, true));
        columns.push(Arc::new(column.finish()));
    }
    let rest = rest.finish();
    fields.push(field(LABEL_REST, arrow_array::Array::data_type(&rest).clone(), false, 7));
    columns.push(Arc::new(rest));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The keys that occur in more than 1 % of `rows`, the most frequent first, at most [`DENSE_MAX`], then sorted.
pub fn dense_keys<'a>(counts: impl Iterator<Item = (&'a str, u64)>, rows: u64) -> Vec<String> {
    let mut frequent: Vec<(&str, u64)> = counts.filter(|(_, n)| n.saturating_mul(100) > rows).collect();
    frequent.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut keys: Vec<String> = frequent.into_iter().take(DENSE_MAX).map(|(k, _)| k.to_owned()).collect();
    keys.sort();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_texts_become_binary() {
        assert_eq!(Binary::of("severity_number", "9"), Some(Binary::Severity(9)));
        for (name, value) in [
            ("severity_number", "09"),
            ("severity_number", "25"),
            ("severity_number", "0"),
            ("observed_timestamp", "+5"),
            ("trace_id", "BA944992eeddcd8a02bcf5b1a4441acb"),
            ("trace_id", "ab"),
            ("span_id", "36c3b864eebc775"),
            ("other", "9"),
        ] {
            assert_eq!(Binary::of(name, value), None, "{name}={value}");
        }
    }

    #[test]
    fn frequent_keys_are_dense() {
        assert_eq!(dense_keys([("a", 2), ("b", 1), ("c", 100)].into_iter(), 100), ["a", "c"]);
        let many: Vec<(String, u64)> = (0..200).map(|i| (format!("k{i:03}"), 1000 - i)).collect();
        let dense = dense_keys(many.iter().map(|(k, n)| (k.as_str(), *n)), 1000);
        assert_eq!((dense.len(), dense[127].as_str()), (128, "k127"));
    }
}
