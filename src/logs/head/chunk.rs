use crate::logs::entry::{Entry, LogRows};
use crate::logs::schema::LogsBuilder;
use crate::logs::source::{Columns, Run};
use crate::model::Labels;
use arrow_array::{RecordBatch, UInt32Array};
use arrow_schema::ArrowError;
use std::collections::HashMap;

/// Rows of one request, or of several merged ones: the rows of a stream stand together, in order of acceptance.
pub struct Chunk {
    batch: RecordBatch,
    columns: Columns,
    runs: Vec<Run>,
    bytes: u64,
}

/// Chunks are merged up to these bounds.
const ROWS_MAX: u64 = 32_768;
const BYTES_MAX: u64 = 16 << 20;

impl Chunk {
    pub fn build(rows: &LogRows) -> Result<Chunk, ArrowError> {
        let mut order: Vec<(&Labels, Vec<&Entry>)> = Vec::new();
        let mut index: HashMap<&Labels, usize> = HashMap::new();
        for stream in &rows.streams {
            let at = *index.entry(&stream.labels).or_insert_with(|| {
                order.push((&stream.labels, Vec::new()));
                order.len() - 1
            });
            order[at].1.extend(&stream.entries);
        }
        let mut builder = LogsBuilder::new(rows.streams.iter().map(|s| s.entries.len()).sum(), &[]);
        let mut runs = Vec::with_capacity(order.len());
        let mut next = 0u64;
        for (labels, entries) in order {
            let id = labels.stable_id();
            let mut run = Run { labels: labels.clone(), id, rows: next..next, min_ts: i64::MAX, max_ts: i64::MIN, bytes: 0 };
            for entry in entries {
                let metadata = entry.metadata.iter().map(|(n, v)| (&**n, &**v));
                builder.append(id, entry.ts, &entry.line, metadata)?;
                run.extend(entry.ts, entry.line.len());
            }
            next = run.rows.end;
            runs.push(run);
        }
        Chunk::new(builder.finish(true)?, runs)
    }

    fn new(batch: RecordBatch, runs: Vec<Run>) -> Result<Chunk, ArrowError> {
        let bytes = (batch.get_array_memory_size() + runs.iter().map(Run::heap_bytes).sum::<usize>()) as u64;
        Ok(Chunk { columns: Columns::read(&batch)?, batch, runs, bytes })
    }

    pub fn rows(&self) -> u64 {
        self.batch.num_rows() as u64
    }

    /// Estimated memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// As in a binary counter: equals merge, so that each row is copied a logarithmic number of times.
    pub fn merges_with(&self, next: &Chunk) -> bool {
        self.rows() <= 2 * next.rows() && self.rows() + next.rows() <= ROWS_MAX && self.bytes + next.bytes <= BYTES_MAX
    }

    /// The rows of `self`, then those of `next`, stream by stream.
    pub fn merge(&self, next: &Chunk) -> Result<Chunk, ArrowError> {
        let both = arrow_select::concat::concat_batches(&self.batch.schema(), [&self.batch, &next.batch])?;
        let shift = self.rows();
        let mut runs: Vec<Run> = Vec::with_capacity(self.runs.len());
        let mut sources: Vec<[std::ops::Range<u64>; 2]> = Vec::with_capacity(self.runs.len());
        let mut index: HashMap<&Labels, usize> = HashMap::new();
        for run in &self.runs {
            index.insert(&run.labels, runs.len());
            sources.push([run.rows.clone(), 0..0]);
            runs.push(run.clone());
        }
        for run in &next.runs {
            let shifted = run.rows.start + shift..run.rows.end + shift;
            match index.get(&run.labels) {
                Some(at) => {
                    sources[*at][1] = shifted;
                    runs[*at].absorb(run);
                }
                None => {
                    sources.push([shifted, 0..0]);
                    runs.push(run.clone());
                }
            }
        }
        let mut indices = Vec::with_capacity(both.num_rows());
        for (run, source) in runs.iter_mut().zip(sources) {
            let start = indices.len() as u64;
            indices.extend(source.into_iter().flatten().map(|row| row as u32));
            run.rows = start..indices.len() as u64;
        }
        Chunk::new(arrow_select::take::take_record_batch(&both, &UInt32Array::from(indices))?, runs)
    }
}
