use super::block::Block;
use super::block::{BlockWriter, Sidecar};
use super::wal::Frame;
use super::{Merge, MergeError, Merged, Refusals, Tombstone};
use crate::model::{Signal, TenantId};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use std::sync::Arc;
use std::time::Duration;

/// What storage is told of a signal. One value lives as long as the process and may hold state that outlives heads.
pub trait Spec: Send + Sync + Sized + 'static {
    type Rows: Rows;
    type Head: Head<Rows = Self::Rows>;

    fn signal(&self) -> Signal;

    /// An empty head for the next generation of one tenant.
    fn new_head(&self, tenant: &TenantId) -> Self::Head;

    /// Translates a frame as live ingest did, without the items listed in `frame.refused`, and judges nothing again.
    fn replay(&self, frame: &Frame) -> Result<Self::Rows, ReplayError>;

    /// Data of so much time make one block of the first level of compaction.
    fn window(&self) -> Duration {
        Duration::from_secs(3600)
    }

    /// The tables with the times of rows, and their columns of timestamps: by these a mixed block is split into days.
    fn time_columns(&self) -> &'static [(&'static str, &'static str)];

    /// Writes the rows of all inputs to `out`, sorted, each once, in memory that does not depend on their number. `None` if
    /// no row is left.
    fn merge(&self, merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError>;

    /// Tables that a merged block of this level has besides those that `merge` writes, made of the same rows.
    fn sidecars(&self, level: u8) -> Vec<Box<dyn Sidecar>> {
        let _ = level;
        Vec::new()
    }

    /// Whether the block may hold a row that the tombstone selects. Its times and place in the order were looked at.
    fn may_erase(&self, tombstone: &Tombstone, block: &Arc<Block>) -> bool {
        let _ = (tombstone, block);
        true
    }

    /// Told after blocks were added or removed: `blocks` are the tenant's, as the newest View has them.
    fn published(&self, tenant: &TenantId, blocks: &[Arc<Block>]) {
        let _ = (tenant, blocks);
    }
}

/// A frame that passed its checksum but cannot be translated: a bug or a damaged disk. It is set aside, not fatal.
#[derive(Debug, thiserror::Error)]
#[error("frame cannot be translated: {0}")]
pub struct ReplayError(pub String);

/// One request's rows.
pub trait Rows: Send + 'static {
    /// Items (samples, lines, spans) that will be stored.
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Estimated bytes these rows will take in a head.
    fn bytes(&self) -> usize;
}

/// Acknowledged rows of one tenant that are not in a block yet.
///
/// Calls of [`Head::admit`] are in frame order, and so are calls of [`Head::apply`], each from one thread at a time;
/// `snapshot` and `stats` come from any thread at any time. After the last `apply`, [`Head::cut`] is called, perhaps
/// more than once (a failed cut is tried again), while snapshots are still taken.
pub trait Head: Send + Sync + 'static {
    type Rows: Rows;
    /// Rows at one instant: cheap to make, never changed by later appends.
    type Snapshot: Send + Sync + 'static;

    /// Before the lane's lock is taken: may read blocks to learn what admission needs (a series' newest time).
    fn prepare(&self, rows: &Self::Rows, blocks: &[Arc<Block>]) {
        let _ = (rows, blocks);
    }

    /// Decides under the lane's lock which items of `rows` are refused, removes them from `rows` and records them.
    fn admit(&self, rows: &mut Self::Rows, refusals: &mut Refusals) {
        let _ = (rows, refusals);
    }

    /// Before the rows of a replayed frame are applied, with the blocks of everything before the log: may finish what
    /// [`Head::admit`] finished when the frame was written, and judges nothing.
    fn replayed(&self, rows: &mut Self::Rows, blocks: &[Arc<Block>]) {
        let _ = (rows, blocks);
    }

    /// Makes the rows visible. They are durable by now, so this cannot fail.
    fn apply(&self, rows: Self::Rows);

    fn snapshot(&self) -> Self::Snapshot;

    fn stats(&self) -> HeadStats;

    /// Sorted blocks without duplicates, split by UTC day as decisions 21 says, made one by one so that only one is in
    /// memory at a time.
    fn cut(&self) -> Box<dyn Iterator<Item = Result<BlockDraft, arrow_schema::ArrowError>> + '_>;
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadStats {
    pub rows: u64,
    pub bytes: u64,
}

/// The contents of a block that is about to be written.
pub struct BlockDraft {
    /// The UTC day it is filed under, counted from the epoch.
    pub day: i64,
    /// Holds older days too; compaction will split it (decisions 21).
    pub mixed: bool,
    /// Times of the oldest and newest row, nanoseconds, both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    /// Items, not table rows: samples, lines, spans.
    pub items: u64,
    pub tables: Vec<TableDraft>,
    /// What comes behind that, made piece by piece as it is written, so that never all of it is in memory.
    pub more: Option<Portions>,
}

/// Further rows of a draft.
pub type Portions = Box<dyn Iterator<Item = Result<Portion, arrow_schema::ArrowError>>>;

/// Further rows of the tables of a draft, or of further tables, with what [`BlockDraft`] says of them.
pub struct Portion {
    pub min_time: i64,
    pub max_time: i64,
    pub items: u64,
    pub tables: Vec<TableDraft>,
}

pub struct TableDraft {
    /// The file's name without `.parquet`, from the signal's own list (decisions 18).
    pub name: &'static str,
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    pub options: TableOptions,
}

/// How a table is written. Column names are those of the schema; a nested column is named by its path with `/` between its
/// parts, since a name may hold dots.
#[derive(Debug, Clone, Default)]
pub struct TableOptions {
    /// Columns the rows are sorted by, ascending; recorded in the file.
    pub sorted_by: Vec<&'static str>,
    /// No dictionary: values hardly repeat.
    pub plain: Vec<String>,
    /// DELTA_BINARY_PACKED: integers that change little from row to row.
    pub delta: Vec<String>,
    /// BYTE_STREAM_SPLIT: floats and fixed-size bytes that hardly repeat.
    pub split: Vec<String>,
    /// Bloom filter, for equality tests on values that hardly repeat.
    pub bloom: Vec<String>,
    /// No minimum and maximum.
    pub without_statistics: Vec<String>,
    /// Rows in a page and in a row group at most; 0 for the defaults (8,192 and 1 Mi).
    pub page_rows: usize,
    pub row_group_rows: usize,
}
