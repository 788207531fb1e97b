//! Answers as bytes, batch by batch.

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use datafusion::arrow::csv;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::writer::{EncoderOptions, JsonArray, LineDelimited, make_encoder};
use datafusion::arrow::json::{Writer, WriterBuilder};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// An array with an object a row.
    #[default]
    Json,
    /// An object a line.
    JsonLines,
    /// With a line of names; what is nested is JSON.
    Csv,
    /// Arrow's IPC stream.
    Arrow,
}

/// Rows that are encoded at a time: text takes several times the space of columns.
const ROWS: usize = 1_024;

/// Where a writer writes to, and what was written is taken from.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Kind {
    Json(Writer<Sink, JsonArray>),
    JsonLines(Writer<Sink, LineDelimited>),
    Csv(Box<csv::Writer<Sink>>),
    Arrow(StreamWriter<Sink>),
}

pub(super) struct Encoder {
    kind: Kind,
    sink: Sink,
}

impl Encoder {
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Encoder, ArrowError> {
        let sink = Sink::default();
        let json = || WriterBuilder::new().with_explicit_nulls(true);
        let mut kind = match format {
            Format::Json => Kind::Json(json().build(sink.clone())),
            Format::JsonLines => Kind::JsonLines(json().build(sink.clone())),
            Format::Csv => Kind::Csv(Box::new(csv::WriterBuilder::new().with_header(true).build(sink.clone()))),
            Format::Arrow => Kind::Arrow(StreamWriter::try_new(sink.clone(), schema)?),
        };
        if let Kind::Csv(writer) = &mut kind {
            // The line of names is there even if no row is.
            writer.write(&without_nesting(&RecordBatch::new_empty(schema.clone()))?)?;
        }
        Ok(Encoder { kind, sink })
    }

    /// Calls `each` with what pieces of the batch became.
    pub fn pieces(&self, batch: &RecordBatch) -> impl Iterator<Item = RecordBatch> + use<> {
        let rows = if matches!(self.kind, Kind::Arrow(_)) { batch.num_rows().max(1) } else { ROWS };
        let batch = batch.clone();
        (0..batch.num_rows()).step_by(rows).map(move |from| batch.slice(from, rows.min(batch.num_rows() - from)))
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match &mut self.kind {
            Kind::Json(writer) => writer.write(batch),
            Kind::JsonLines(writer) => writer.write(batch),
            Kind::Csv(writer) => writer.write(&without_nesting(batch)?),
            Kind::Arrow(writer) => writer.write(batch),
        }
    }

    pub fn finish(&mut self) -> Result<(), ArrowError> {
        match &mut self.kind {
            Kind::Json(writer) => writer.finish(),
            Kind::JsonLines(writer) => writer.finish(),
            Kind::Csv(_) => Ok(()),
            Kind::Arrow(writer) => writer.finish(),
        }
    }

    /// Bytes that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.sink.0.lock().len()
    }

    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut *self.sink.0.lock())
    }
}

/// CSV has no lists and maps: they become texts in JSON.
fn without_nesting(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(as_json(field, column)?);
        } else {
            fields.push(field.clone());
            columns.push(column.clone());
        }
    }
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn as_json(field: &Arc<Field>, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(field, column, &options)?;
    let mut text = Vec::new();
    let each = (0..column.len()).map(|row| {
        text.clear();
        if column.is_null(row) {
            return None;
        }
        encoder.encode(row, &mut text);
        Some(String::from_utf8_lossy(&text).into_owned())
    });
    Ok(Arc::new(each.collect::<StringArray>()))
}
