use crate::logs::schema;
use crate::model::{Labels, LabelsBuilder};
use crate::storage::Scan;
use crate::storage::block::{Block, Kept, ReadError};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The rows of one stream in one chunk or block: they stand together.
#[derive(Debug, Clone)]
pub struct Run {
    pub labels: Labels,
    pub id: i64,
    pub rows: Range<u64>,
    /// Times of the oldest and newest entry, both inclusive.
    pub min_ts: i64,
    pub max_ts: i64,
    /// Bytes of the lines.
    pub bytes: u64,
}

impl Run {
    /// One more row at the end.
    pub fn extend(&mut self, ts: i64, line_bytes: usize) {
        self.rows.end += 1;
        self.min_ts = self.min_ts.min(ts);
        self.max_ts = self.max_ts.max(ts);
        self.bytes += line_bytes as u64;
    }

    /// Takes over bounds and bytes, not rows.
    pub fn absorb(&mut self, other: &Run) {
        self.min_ts = self.min_ts.min(other.min_ts);
        self.max_ts = self.max_ts.max(other.max_ts);
        self.bytes += other.bytes;
    }
}

/// A block's `streams`, decoded.
pub struct StreamTable {
    runs: Vec<Run>,
    by_id: HashMap<i64, u32>,
}

impl StreamTable {
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    pub fn labels_of(&self, id: i64) -> Option<&Labels> {
        self.by_id.get(&id).and_then(|at| self.runs.get(*at as usize)).map(|r| &r.labels)
    }
}

impl Kept for StreamTable {
    fn bytes(&self) -> u64 {
        let runs = self.runs.iter().map(|run| size_of::<Run>() + run.labels.heap_bytes()).sum::<usize>();
        (runs + self.by_id.len() * 2 * size_of::<(i64, u32)>()) as u64
    }
}

/// Read once and kept for a while.
pub fn stream_table(block: &Arc<Block>) -> Result<Arc<StreamTable>, ReadError> {
    block.derived("logs.streams", || {
        let mut runs = Vec::new();
        if let Some(table) = block.table(schema::STREAMS)? {
            for batch in table.scan(&Scan::default())? {
                decode_streams(&batch?, &mut runs);
            }
        }
        let by_id = runs.iter().zip(0..).map(|(r, at)| (r.id, at)).collect();
        Ok(StreamTable { runs, by_id })
    })
}

/// Rows whose columns are not those of the schema are left out: such a file was not written by us.
pub fn decode_streams(batch: &RecordBatch, runs: &mut Vec<Run>) {
    let number =
        |name: &str| batch.column_by_name(name).filter(|c| *c.data_type() == DataType::Int64).map(|c| c.as_primitive::<Int64Type>());
    let time = |name: &str| {
        let column = batch.column_by_name(name).filter(|c| *c.data_type() == schema::timestamp_type());
        column.map(|c| c.as_primitive::<TimestampNanosecondType>())
    };
    let (Some(ids), Some(starts), Some(counts), Some(bytes), Some(min), Some(max)) = (
        number(schema::STREAM_ID),
        number(schema::ROW_START),
        number(schema::ROW_COUNT),
        number(schema::BYTES),
        time(schema::MIN_TS),
        time(schema::MAX_TS),
    ) else {
        return;
    };
    let schema = batch.schema();
    let dense: Vec<_> = schema
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(_, c)| *c.data_type() == DataType::Utf8)
        .filter_map(|(f, c)| f.name().strip_prefix(schema::LABEL_PREFIX).map(|n| (n, c.as_string::<i32>())))
        .collect();
    let rest = batch.column_by_name(schema::LABEL_REST).and_then(|c| c.as_map_opt());
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    for row in 0..batch.num_rows() {
        let mut labels = LabelsBuilder::default();
        for (name, column) in dense.iter().filter(|(_, c)| c.is_valid(row)) {
            labels.set(name, column.value(row));
        }
        if let Some(rest) = rest {
            let entries = rest.value(row);
            if let (Some(keys), Some(values)) = (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>()) {
                for (name, value) in keys.iter().zip(values).filter_map(|(n, v)| n.zip(v)) {
                    labels.set(name, value);
                }
            }
        }
        let start = unsigned(starts.value(row));
        runs.push(Run {
            labels: labels.build(),
            id: ids.value(row),
            rows: start..start + unsigned(counts.value(row)),
            min_ts: min.value(row),
            max_ts: max.value(row),
            bytes: unsigned(bytes.value(row)),
        });
    }
}
