//! What compaction asks of a signal: rows of several blocks become those of one. Storage chooses the blocks, opens the
//! writer and commits; the signal's room knows the order of rows and which of them are the same.

use super::Tombstone;
use super::block::{Block, ReadError, WriteError};
use super::scan::Scan;
use arrow_array::RecordBatch;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("merge: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The process stops; nothing was changed.
    #[error("merge: stopped")]
    Stopped,
}

/// One block to merge, with the deletes whose rows are left out for good.
pub struct MergeInput {
    pub block: Arc<Block>,
    pub tombstones: Vec<Arc<Tombstone>>,
}

/// Blocks of one tenant, in the order in which their rows were accepted: of duplicates, that of the earlier block stays.
/// Each is sorted, and has none inside.
pub struct Merge<'a> {
    pub inputs: Vec<MergeInput>,
    /// Only rows with these times are taken, nanoseconds since the epoch.
    pub times: RangeInclusive<i64>,
    pub pace: &'a mut Pace,
}

/// What was written.
#[derive(Debug, Clone, Copy)]
pub struct Merged {
    /// Times of the oldest and newest row, nanoseconds, both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    pub items: u64,
}

/// Rests after each step of work, so that ingest and queries keep their latency.
pub struct Pace {
    stop: Arc<AtomicBool>,
    /// Rest for each part of work.
    rest: f64,
    since: Instant,
}

/// The longest rest at a time: a stop is noticed after it.
const REST_MAX: Duration = Duration::from_millis(100);

impl Pace {
    /// Works half of the time, until `stop` is set.
    pub fn gentle(stop: Arc<AtomicBool>) -> Pace {
        Pace { stop, rest: 1.0, since: Instant::now() }
    }

    /// Someone waits for it.
    pub fn hurried(stop: Arc<AtomicBool>) -> Pace {
        Pace { stop, rest: 0.0, since: Instant::now() }
    }

    /// To be called once a batch.
    pub fn step(&mut self) -> Result<(), MergeError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(MergeError::Stopped);
        }
        let rest = self.since.elapsed().mul_f64(self.rest).min(REST_MAX);
        if rest > Duration::from_millis(1) {
            std::thread::sleep(rest);
            self.since = Instant::now();
        }
        Ok(())
    }
}

/// Reads a table from its first row to its last, in pieces of batches.
pub struct RowStream<'a> {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, MergeError>> + 'a>,
    current: Option<RecordBatch>,
}

/// Rows of one input that are decoded at a time; fewer where rows are large: about so many bytes of a file, several times as
/// many when decoded.
const STREAM_ROWS: u64 = 4_096;
const STREAM_BYTES: u64 = 1 << 20;

impl<'a> RowStream<'a> {
    /// A table that the block does not have has no rows.
    pub fn open(block: &Arc<Block>, table: &str) -> Result<RowStream<'a>, MergeError> {
        RowStream::mapped(block, table, Ok)
    }

    /// As [`RowStream::open`], with texts that have dictionaries (see [`Scan::dictionaries`]).
    pub fn with_dictionaries(block: &Arc<Block>, table: &str) -> Result<RowStream<'a>, MergeError> {
        RowStream::scanned(block, table, Scan { dictionaries: true, ..Scan::default() }, Ok)
    }

    /// `map` is applied to each batch and keeps the number of its rows.
    pub fn mapped(
        block: &Arc<Block>,
        table: &str,
        map: impl FnMut(RecordBatch) -> Result<RecordBatch, MergeError> + 'a,
    ) -> Result<RowStream<'a>, MergeError> {
        RowStream::scanned(block, table, Scan::default(), map)
    }

    fn scanned(
        block: &Arc<Block>,
        table: &str,
        scan: Scan,
        mut map: impl FnMut(RecordBatch) -> Result<RecordBatch, MergeError> + 'a,
    ) -> Result<RowStream<'a>, MergeError> {
        let Some(table) = block.table(table)? else { return Ok(RowStream { batches: Box::new(std::iter::empty()), current: None }) };
        let row_bytes = table.bytes().div_ceil(table.rows().max(1)).max(1);
        let batch_rows = (STREAM_BYTES / row_bytes).clamp(16, STREAM_ROWS) as usize;
        let batches = table.scan(&Scan { batch_rows, ..scan })?;
        Ok(RowStream { batches: Box::new(batches.map(move |batch| map(batch?))), current: None })
    }

    /// At most `max` next rows; fewer where a batch ends. `None` at the end of the table.
    pub fn take(&mut self, max: usize) -> Result<Option<RecordBatch>, MergeError> {
        let batch = match self.current.take() {
            Some(batch) => batch,
            None => match self.batches.by_ref().find(|b| b.as_ref().map_or(true, |b| b.num_rows() > 0)) {
                Some(batch) => batch?,
                None => return Ok(None),
            },
        };
        if batch.num_rows() <= max {
            return Ok(Some(batch));
        }
        self.current = Some(batch.slice(max, batch.num_rows() - max));
        Ok(Some(batch.slice(0, max)))
    }

    /// Passes over rows.
    pub fn skip(&mut self, mut rows: u64) -> Result<(), MergeError> {
        while rows > 0 {
            let Some(batch) = self.take(usize::try_from(rows).unwrap_or(usize::MAX))? else { break };
            rows -= batch.num_rows() as u64;
        }
        Ok(())
    }
}
