use super::pages::Groups;
use super::pruning::{self, Plan};
use super::{BlockMeta, Kept, TableMeta};
use crate::runtime::ReadFile;
use crate::storage::tier::Tier;
use crate::storage::{Predicate, Scan};
use arrow_array::RecordBatch;
use arrow_schema::{DataType, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowGroups, RowSelection,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use parquet::file::reader::{ChunkReader, Length};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

const BATCH_ROWS: usize = 8_192;

/// A block could not be read: damaged, or the disk failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot read table `{table}` of block {block}: {cause}")]
pub struct ReadError {
    pub block: super::BlockId,
    pub table: String,
    pub cause: String,
}

/// A table's footer, and the types its columns are read as.
struct Footer {
    plain: ArrowReaderMetadata,
    /// With texts as dictionaries; made when it is first asked for.
    dictionaries: OnceLock<Option<ArrowReaderMetadata>>,
}

impl Kept for Footer {
    /// The types are few beside the statistics of pages, and the second ones may come later.
    fn bytes(&self) -> u64 {
        self.plain.metadata().memory_size() as u64 * 2
    }
}

impl Footer {
    fn with_dictionaries(&self) -> &ArrowReaderMetadata {
        let made = self.dictionaries.get_or_init(|| {
            let text = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            let retype = |field: &FieldRef| match field.data_type() {
                DataType::Utf8 => Arc::new(field.as_ref().clone().with_data_type(text.clone())),
                _ => field.clone(),
            };
            let schema = self.plain.schema();
            let fields: Vec<FieldRef> = schema.fields().iter().map(retype).collect();
            let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
            let options = ArrowReaderOptions::new().with_schema(schema);
            ArrowReaderMetadata::try_new(self.plain.metadata().clone(), options).ok()
        });
        // Plain texts are right, too, only slower.
        made.as_ref().unwrap_or(&self.plain)
    }
}

/// A live block. Views share it; once it is obsolete, the last one to let go deletes its files.
pub struct Block {
    meta: BlockMeta,
    tier: Tier,
    obsolete: AtomicBool,
}

impl Block {
    pub fn new(meta: BlockMeta, tier: Tier) -> Block {
        Block { meta, tier, obsolete: AtomicBool::new(false) }
    }

    pub fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    /// The files go when the last View lets go.
    pub(in crate::storage) fn mark_obsolete(&self) {
        self.obsolete.store(true, Ordering::Release);
    }

    /// `None` if the block has no such table, which is legal for tables that may be empty.
    pub fn table(self: &Arc<Block>, name: &str) -> Result<Option<Table>, ReadError> {
        let Some(meta) = self.meta.table(name) else { return Ok(None) };
        let error = |cause: &dyn std::fmt::Display| ReadError { block: self.meta.id, table: name.to_owned(), cause: cause.to_string() };
        let file = self.tier.open(&self.meta, meta).map_err(|e| error(&e))?;
        let file = TableFile::new(file, meta.bytes);
        let load = || {
            let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
            let plain = ArrowReaderMetadata::load(&file, options)?;
            Ok(Footer { plain, dictionaries: OnceLock::new() })
        };
        let footer = self.tier.kept().get_or(self.meta.id, &meta.name, load).map_err(|e: ParquetError| error(&e))?;
        Ok(Some(Table { block: self.clone(), meta: meta.clone(), file, footer }))
    }

    /// A value derived from this block and kept for the next who asks, as long as there is memory for it: a decoded series
    /// table, say. `make` may run twice when two threads ask at once. A `key` holds a dot, which names of tables do not.
    pub fn derived<T: Kept, E>(&self, key: &'static str, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        self.tier.kept().get_or(self.meta.id, key, make)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.tier.kept().forget(self.meta.id);
        if self.obsolete.load(Ordering::Acquire)
            && let Err(error) = self.tier.remove(&self.meta)
        {
            // Start-up collects what is left: the catalog no longer lists it.
            tracing::warn!(block = %self.meta.id, %error, "files of an obsolete block are left behind");
        }
    }
}

/// One Parquet file of a block, open.
pub struct Table {
    block: Arc<Block>,
    meta: TableMeta,
    file: TableFile,
    footer: Arc<Footer>,
}

impl Table {
    pub fn schema(&self) -> &SchemaRef {
        self.footer.plain.schema()
    }

    /// The rows of each row group, in order.
    pub fn groups(&self) -> Vec<Range<u64>> {
        let mut start = 0;
        let groups = self.footer.plain.metadata().row_groups().iter().map(|group| {
            let rows = start..start + u64::try_from(group.num_rows()).unwrap_or(0);
            start = rows.end;
            rows
        });
        groups.collect()
    }

    /// Whether statistics and Bloom filters leave room for a row of the group that satisfies the predicate.
    pub fn group_allows(&self, group: usize, predicate: &Predicate) -> Result<bool, ReadError> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.footer.plain.clone());
        pruning::group_allows(&builder, group, predicate).map_err(|e| self.error()(&e))
    }

    /// Whether all values of a top-level column in the rows are missing, or, in one that cannot miss any, zero or empty, as
    /// far as statistics tell.
    pub fn is_blank(&self, column: &str, rows: &[Range<u64>]) -> bool {
        let metadata = self.footer.plain.metadata();
        let groups = self.groups().into_iter().zip(metadata.row_groups());
        let mut asked = groups.filter(|(group, _)| rows.iter().any(|r| r.start < group.end && group.start < r.end));
        asked.all(|(_, group)| pruning::is_blank(group, column))
    }

    /// The distinct texts of a column in a row group, if all of its pages refer to a dictionary, which alone is read.
    /// `path` is that of a leaf, with `/` between its parts.
    pub fn distinct(&self, group: usize, path: &str) -> Result<Option<Vec<String>>, ReadError> {
        pruning::distinct(&self.file, self.footer.plain.metadata(), group, path).map_err(|e| self.error()(&e))
    }

    pub fn rows(&self) -> u64 {
        self.meta.rows
    }

    /// Of its file.
    pub fn bytes(&self) -> u64 {
        self.meta.bytes
    }

    pub fn has_column(&self, name: &str) -> bool {
        self.schema().index_of(name).is_ok()
    }

    /// Batches in row order. Rows that cannot satisfy the predicates are skipped by row-group and page statistics and
    /// bloom filters, and then one by one.
    pub fn scan(&self, scan: &Scan) -> Result<impl Iterator<Item = Result<RecordBatch, ReadError>> + use<>, ReadError> {
        let error = self.error();
        let footer = if scan.dictionaries { self.footer.with_dictionaries() } else { &self.footer.plain };
        let reader = self.read(footer, scan).map_err(|e| error(&e))?;
        Ok(reader.map(move |batch| batch.map_err(|e| error(&e))))
    }

    fn read(&self, footer: &ArrowReaderMetadata, scan: &Scan) -> parquet::errors::Result<ParquetRecordBatchReader> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), footer.clone());
        let Plan { groups, mut selection, predicates } = pruning::plan(&builder, scan)?;
        let groups = Groups { file: Arc::new(self.file.clone()), metadata: footer.metadata().clone(), indices: groups };
        let batch_rows = if scan.batch_rows == 0 { BATCH_ROWS } else { scan.batch_rows };
        let batch_rows = batch_rows.min(groups.num_rows());
        let columns = builder.parquet_schema();
        let open = |mask: ProjectionMask, selection: Option<RowSelection>| {
            let levels = parquet_to_arrow_field_levels(columns, mask, Some(footer.schema().fields()))?;
            ParquetRecordBatchReader::try_new_with_row_groups(&levels, &groups, batch_rows, selection)
        };
        for (field, predicate) in &predicates {
            if selection.as_ref().is_some_and(|rows| !rows.selects_any()) {
                break;
            }
            let tested = open(ProjectionMask::roots(columns, [*field]), selection.clone())?;
            let passed = tested.map(|batch| Ok(pruning::evaluate(batch?.column(0), predicate)));
            let passed = RowSelection::from_filters(&passed.collect::<parquet::errors::Result<Vec<_>>>()?);
            selection = Some(selection.map_or_else(|| passed.clone(), |rows| rows.and_then(&passed)));
        }
        let mask = match &scan.columns {
            Some(names) => {
                let wanted = self.schema().fields().iter().enumerate().filter(|(_, f)| names.iter().any(|n| n == f.name()));
                ProjectionMask::roots(columns, wanted.map(|(i, _)| i))
            }
            None => ProjectionMask::all(),
        };
        open(mask, selection)
    }

    fn error(&self) -> impl Fn(&dyn std::fmt::Display) -> ReadError + use<> {
        let (block, table) = (self.block.meta.id, self.meta.name.clone());
        move |cause| ReadError { block, table: table.clone(), cause: cause.to_string() }
    }
}

/// Parquet's view of a file of the tier.
#[derive(Clone)]
pub(super) struct TableFile {
    file: Arc<dyn ReadFile>,
    length: u64,
}

impl TableFile {
    pub fn new(file: Arc<dyn ReadFile>, length: u64) -> TableFile {
        TableFile { file, length }
    }
}

impl Length for TableFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for TableFile {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(BufReader::new(From { file: self.clone(), position: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// A position in a file.
pub(super) struct From {
    file: TableFile,
    position: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.length.saturating_sub(self.position);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.file.file.read_exact_at(&mut buffer[..count], self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}
