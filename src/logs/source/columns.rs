use crate::logs::head::Chunk;
use crate::logs::rows::fingerprint;
use crate::logs::schema;
use crate::model::{SpanId, TraceId};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, FixedSizeBinaryArray, Int8Array, Int64Array, MapArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{ArrowError, DataType};
use std::borrow::Cow;
use std::sync::Arc;

/// Rows of a chunk of the head, or of one batch of `logs`.
#[derive(Clone)]
pub enum Columns {
    Chunk(Arc<Chunk>),
    Batch(Box<Batch>),
}

/// The rows of one batch of `logs`: columns that were not read are absent.
#[derive(Clone)]
pub struct Batch {
    stream_id: Int64Array,
    ts: TimestampNanosecondArray,
    line: Option<StringArray>,
    severity: Option<Int8Array>,
    trace_id: Option<FixedSizeBinaryArray>,
    span_id: Option<FixedSizeBinaryArray>,
    observed: Option<TimestampNanosecondArray>,
    dense: Vec<(String, StringArray)>,
    rest: Option<MapArray>,
}

/// A name and a value of structured metadata.
pub type Metadata<'a> = (&'a str, Cow<'a, str>);

impl Columns {
    pub fn read(batch: &RecordBatch) -> Result<Columns, ArrowError> {
        Batch::read(batch).map(|batch| Columns::Batch(Box::new(batch)))
    }

    pub fn len(&self) -> usize {
        match self {
            Columns::Chunk(chunk) => chunk.lines().len(),
            Columns::Batch(batch) => batch.ts.len(),
        }
    }

    pub fn stream_id(&self, row: usize) -> i64 {
        match self {
            Columns::Chunk(chunk) => chunk.stream_id(row),
            Columns::Batch(batch) => batch.stream_id.value(row),
        }
    }

    /// Nanoseconds since the epoch.
    #[inline]
    pub fn ts(&self, row: usize) -> i64 {
        match self {
            Columns::Chunk(chunk) => chunk.lines().ts(row),
            Columns::Batch(batch) => batch.ts.value(row),
        }
    }

    #[inline]
    pub fn line(&self, row: usize) -> &str {
        match self {
            Columns::Chunk(chunk) => chunk.lines().line(row),
            Columns::Batch(batch) => batch.line.as_ref().map_or("", |c| c.value(row)),
        }
    }

    /// Structured metadata of a row, in no particular order; names are unique.
    pub fn metadata(&self, row: usize) -> Vec<Metadata<'_>> {
        let mut pairs = Vec::with_capacity(16);
        self.each_metadata(row, |name, value| pairs.push((name, value)));
        pairs
    }

    #[inline]
    pub fn each_metadata<'a>(&'a self, row: usize, each: impl FnMut(&'a str, Cow<'a, str>)) {
        match self {
            Columns::Chunk(chunk) => chunk.lines().each_metadata(row, each),
            Columns::Batch(batch) => batch.each_metadata(row, each),
        }
    }

    /// See [`fingerprint`].
    pub fn fingerprint(&self, row: usize) -> u128 {
        fingerprint(self.line(row), |each| self.each_metadata(row, |name, value| each(name, &value)))
    }
}

impl Batch {
    fn read(batch: &RecordBatch) -> Result<Batch, ArrowError> {
        let schema = batch.schema();
        let optional =
            |name: &str, data_type: &dyn Fn(&DataType) -> bool| batch.column_by_name(name).filter(|c| data_type(c.data_type())).cloned();
        let missing = |name: &str| ArrowError::SchemaError(format!("column `{name}` of `logs` is missing or has another type"));
        let is_time = |t: &DataType| *t == schema::timestamp_type();
        let stream_id = optional(schema::STREAM_ID, &|t| *t == DataType::Int64).ok_or_else(|| missing(schema::STREAM_ID))?;
        let ts = optional(schema::TS, &is_time).ok_or_else(|| missing(schema::TS))?;
        let mut dense = Vec::new();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if let Some(key) = field.name().strip_prefix(schema::METADATA_PREFIX)
                && *column.data_type() == DataType::Utf8
            {
                dense.push((key.to_owned(), column.as_string::<i32>().clone()));
            }
        }
        let id = |name: &str, length: i32| {
            optional(name, &|t| *t == DataType::FixedSizeBinary(length)).map(|c| c.as_fixed_size_binary().clone())
        };
        let is_text_map = |t: &DataType| match t {
            DataType::Map(entries, _) => {
                matches!(entries.data_type(), DataType::Struct(f) if f.len() == 2 && f.iter().all(|f| *f.data_type() == DataType::Utf8))
            }
            _ => false,
        };
        Ok(Batch {
            stream_id: stream_id.as_primitive::<Int64Type>().clone(),
            ts: ts.as_primitive::<TimestampNanosecondType>().clone(),
            line: optional(schema::LINE, &|t| *t == DataType::Utf8).map(|c| c.as_string::<i32>().clone()),
            severity: optional(schema::SEVERITY, &|t| *t == DataType::Int8).map(|c| c.as_primitive::<Int8Type>().clone()),
            trace_id: id(schema::TRACE_ID, 16),
            span_id: id(schema::SPAN_ID, 8),
            observed: optional(schema::OBSERVED_TS, &is_time).map(|c| c.as_primitive::<TimestampNanosecondType>().clone()),
            dense,
            rest: optional(schema::METADATA_REST, &is_text_map).map(|c| c.as_map().clone()),
        })
    }

    fn each_metadata<'a>(&'a self, row: usize, mut each: impl FnMut(&'a str, Cow<'a, str>)) {
        if let Some(severity) = self.severity.as_ref().map(|c| c.value(row)).filter(|n| *n != 0) {
            each(schema::SEVERITY_NUMBER, Cow::Owned(severity.to_string()));
        }
        if let Some(id) = self.trace_id.as_ref().filter(|c| c.is_valid(row)).and_then(|c| TraceId::from_slice(c.value(row))) {
            each(schema::TRACE_ID, Cow::Owned(id.to_hex()));
        }
        if let Some(id) = self.span_id.as_ref().filter(|c| c.is_valid(row)).and_then(|c| SpanId::from_slice(c.value(row))) {
            each(schema::SPAN_ID, Cow::Owned(id.to_hex()));
        }
        if let Some(observed) = self.observed.as_ref().filter(|c| c.is_valid(row)) {
            each(schema::OBSERVED_TIMESTAMP, Cow::Owned(observed.value(row).to_string()));
        }
        for (key, column) in &self.dense {
            if column.is_valid(row) {
                each(key, Cow::Borrowed(column.value(row)));
            }
        }
        if let Some(rest) = &self.rest {
            let offsets = rest.value_offsets();
            let (from, to) = (offsets[row] as usize, offsets[row + 1] as usize);
            let (keys, values) = (rest.keys().as_string::<i32>(), rest.values().as_string::<i32>());
            for at in from..to {
                each(keys.value(at), Cow::Borrowed(values.value(at)));
            }
        }
    }
}
