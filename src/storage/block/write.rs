use super::encode::{PAGE_BYTES, TableWriter};
use super::fields::numbered;
use super::{BlockId, BlockMeta, ChunkSums, FOOTER_KEY, FieldIds, TableMeta, WalRange};
use crate::model::{Signal, TenantId};
use crate::runtime::{World, WriteFile};
use crate::storage::layout::Layout;
use crate::storage::{BlockDraft, Portion, TableDraft, TableOptions};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::basic::{Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use std::io::{self, Write};

const PAGE_ROWS: usize = 8_192;
const ROW_GROUP_ROWS: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("write block: {0}")]
    Io(#[from] io::Error),
    #[error("encode block: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("encode block: {0}")]
    Arrow(#[from] arrow_schema::ArrowError),
    #[error("encode block: {0}")]
    Json(#[from] serde_json::Error),
}

/// What is known of a block once all of its rows are written.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The UTC day it is filed under, counted from the epoch.
    pub day: i64,
    /// Holds older days too.
    pub mixed: bool,
    /// Times of the oldest and newest row, nanoseconds, both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    /// Items, not table rows: samples, lines, spans.
    pub items: u64,
}

/// Writes a level-0 block and makes it durable under its final name. It does not exist until the catalog lists it
/// (invariant 3); a crash before that leaves a directory that start-up collects. A failure leaves nothing.
pub fn write_block(
    world: &World,
    layout: &Layout,
    ids: &dyn FieldIds,
    (id, tenant, signal, wal): (BlockId, &TenantId, Signal, WalRange),
    draft: BlockDraft,
) -> Result<BlockMeta, WriteError> {
    let mut meta = BlockMeta::new(id, tenant, signal, world.clock.now());
    meta.wal = Some(wal);
    let mut writer = BlockWriter::create(world, layout, ids, meta)?;
    let BlockDraft { day, mixed, min_time, max_time, items, tables, more } = draft;
    writer.write_tables(tables)?;
    let mut facts = Facts { day, mixed, min_time, max_time, items };
    for portion in more.into_iter().flatten() {
        let Portion { min_time, max_time, items, tables } = portion?;
        writer.write_tables(tables)?;
        facts.min_time = facts.min_time.min(min_time);
        facts.max_time = facts.max_time.max(max_time);
        facts.items += items;
    }
    writer.finish(facts)
}

/// A block under construction, in a directory of its own below `tmp`. Rows go to its tables as they come; of each table one
/// row group is in memory, and all of these together are bounded. Dropped before it is finished, it leaves nothing.
pub struct BlockWriter<'a> {
    world: &'a World,
    layout: &'a Layout,
    ids: &'a dyn FieldIds,
    meta: BlockMeta,
    tables: Vec<OpenTable>,
    sidecars: Vec<Box<dyn Sidecar>>,
    /// Bytes of memory that the row groups in progress may take together.
    held_max: usize,
    finished: bool,
}

/// A table that is made of the rows of another one as they are written: an index, say.
pub trait Sidecar {
    fn table(&self) -> SidecarTable;

    /// Told of the next rows of `table`; gives rows of its own that are complete, so that it need not hold them.
    fn rows(&mut self, table: &str, batch: &RecordBatch) -> Result<Vec<RecordBatch>, WriteError>;

    /// Its last rows, when all others are written.
    fn finish(&mut self) -> Result<Option<RecordBatch>, WriteError>;
}

/// What a sidecar writes. A sidecar without rows has no file.
pub struct SidecarTable {
    pub name: &'static str,
    pub schema: SchemaRef,
    pub options: TableOptions,
}

struct OpenTable {
    name: &'static str,
    schema: SchemaRef,
    writer: TableWriter<HashingFile>,
    rows: u64,
}

/// Row groups are not larger than this in memory, whatever their rows.
const ROW_GROUP_BYTES: usize = 64 << 20;

impl<'a> BlockWriter<'a> {
    /// `meta` says all but the facts and tables.
    pub fn create(world: &'a World, layout: &'a Layout, ids: &'a dyn FieldIds, meta: BlockMeta) -> Result<BlockWriter<'a>, WriteError> {
        let writer =
            BlockWriter { world, layout, ids, meta, tables: Vec::new(), sidecars: Vec::new(), held_max: ROW_GROUP_BYTES, finished: false };
        world.disk.create_dir_all(&layout.temporary(writer.meta.id))?;
        Ok(writer)
    }

    /// The row groups in progress take at most so many bytes, if that is less than they would: then the largest is ended.
    pub fn holding(&mut self, bytes: u64) {
        self.held_max = usize::try_from(bytes).unwrap_or(usize::MAX).min(ROW_GROUP_BYTES);
    }

    /// Lets `sidecar` see the rows that are written from now on.
    pub fn attach(&mut self, sidecar: Box<dyn Sidecar>) {
        self.sidecars.push(sidecar);
    }

    /// Begins a table. Its file exists even if no row follows.
    pub fn open(&mut self, name: &'static str, schema: &SchemaRef, options: &TableOptions) -> Result<(), WriteError> {
        let schema = numbered(name, schema, self.ids)?;
        let file = self.world.disk.create(&self.layout.temporary(self.meta.id).join(Layout::table_file(name)))?;
        let zstd = ZSTD_LEVELS.get(usize::from(self.meta.level)).copied().unwrap_or(3);
        let file = HashingFile { file, hash: Sha256::new(), chunks: ChunkSums::default(), bytes: 0 };
        let writer = TableWriter::new(file, &schema, properties(&schema, options), ZstdLevel::try_new(zstd)?)?;
        self.tables.push(OpenTable { name, schema, writer, rows: 0 });
        Ok(())
    }

    fn write_tables(&mut self, tables: Vec<TableDraft>) -> Result<(), WriteError> {
        for TableDraft { name, schema, batches, options } in tables {
            if !self.is_open(name) {
                self.open(name, &schema, &options)?;
            }
            batches.iter().try_for_each(|batch| self.write(name, batch))?;
        }
        Ok(())
    }

    pub fn is_open(&self, name: &str) -> bool {
        self.tables.iter().any(|t| t.name == name)
    }

    /// Compaction depth of the block: what is derived from rows may be worth it only when they stay for long.
    pub fn level(&self) -> u8 {
        self.meta.level
    }

    /// Appends rows to a table that was opened with this schema; texts may come with a dictionary, by keys of 32 bits.
    pub fn write(&mut self, name: &'static str, batch: &RecordBatch) -> Result<(), WriteError> {
        let unknown = || WriteError::Arrow(arrow_schema::ArrowError::SchemaError(format!("table {name} was not opened")));
        let table = self.tables.iter_mut().find(|t| t.name == name).ok_or_else(unknown)?;
        table.writer.write(&retyped(&table.schema, batch)?, batch.num_rows())?;
        table.rows += batch.num_rows() as u64;
        if self.tables.iter().map(|t| t.writer.memory_size()).sum::<usize>() > self.held_max
            && let Some(largest) = self.tables.iter_mut().max_by_key(|t| t.writer.memory_size())
        {
            largest.writer.end_group()?;
        }
        let mut sidecars = std::mem::take(&mut self.sidecars);
        let written = sidecars.iter_mut().try_for_each(|sidecar| {
            let rows = sidecar.rows(name, batch)?;
            rows.iter().try_for_each(|rows| self.write_sidecar(sidecar.as_ref(), rows))
        });
        self.sidecars = sidecars;
        written
    }

    fn write_sidecar(&mut self, sidecar: &dyn Sidecar, rows: &RecordBatch) -> Result<(), WriteError> {
        let SidecarTable { name, schema, options } = sidecar.table();
        if !self.is_open(name) {
            self.open(name, &schema, &options)?;
        }
        // Here no sidecar is attached, so this goes no deeper.
        self.write(name, rows)
    }

    /// Makes the block durable under its final name.
    pub fn finish(mut self, facts: Facts) -> Result<BlockMeta, WriteError> {
        for mut sidecar in std::mem::take(&mut self.sidecars) {
            if let Some(rows) = sidecar.finish()? {
                self.write_sidecar(sidecar.as_ref(), &rows)?;
            }
        }
        let Facts { day, mixed, min_time, max_time, items } = facts;
        self.meta = BlockMeta { day, mixed, min_time, max_time, items, ..self.meta.clone() };
        let text = serde_json::to_string(&self.meta)?;
        for mut table in std::mem::take(&mut self.tables) {
            table.writer.append_key_value_metadata(KeyValue::new(FOOTER_KEY.to_owned(), text.clone()));
            let mut file = table.writer.into_inner()?;
            file.file.sync()?;
            let sha256 = file.hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
            let (name, rows, bytes, chunks) = (table.name.to_owned(), table.rows, file.bytes, file.chunks.finish());
            self.meta.tables.push(TableMeta { name, rows, bytes, sha256, chunks });
        }
        let temporary = self.layout.temporary(self.meta.id);
        let mut file = self.world.disk.create(&temporary.join(Layout::META))?;
        file.write_all(&serde_json::to_vec_pretty(&self.meta)?)?;
        file.sync()?;
        self.world.disk.sync_dir(&temporary)?;
        let home = self.layout.block(&self.meta);
        let parent = home.parent().unwrap_or(&home);
        self.world.create_dir_durable(self.layout.root(), parent)?;
        self.world.disk.rename(&temporary, &home)?;
        self.world.disk.sync_dir(parent)?;
        self.finished = true;
        Ok(self.meta.clone())
    }
}

impl Drop for BlockWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.tables.clear();
            for directory in [self.layout.temporary(self.meta.id), self.layout.block(&self.meta)] {
                // What is not there need not go; what cannot go is collected at the next start.
                let _ = self.world.disk.remove_dir_all(&directory);
            }
        }
    }
}

/// Nested columns carry their fields, with metadata, in their type; give them the numbered type.
fn retyped(schema: &SchemaRef, batch: &RecordBatch) -> Result<Vec<arrow_array::ArrayRef>, arrow_schema::ArrowError> {
    let retype = |(column, field): (&arrow_array::ArrayRef, &arrow_schema::FieldRef)| {
        if field.data_type().is_nested() { relabel(column, field.data_type()) } else { Ok(column.clone()) }
    };
    batch.columns().iter().zip(schema.fields()).map(retype).collect()
}

/// The same values under a type that differs in names and metadata of nested fields only.
pub fn relabel(
    column: &arrow_array::ArrayRef,
    data_type: &arrow_schema::DataType,
) -> Result<arrow_array::ArrayRef, arrow_schema::ArrowError> {
    if column.data_type() == data_type {
        return Ok(column.clone());
    }
    relabeled(column.to_data(), data_type).map(arrow_array::make_array)
}

fn relabeled(data: arrow_data::ArrayData, data_type: &arrow_schema::DataType) -> Result<arrow_data::ArrayData, arrow_schema::ArrowError> {
    use arrow_schema::DataType;
    let inner: Vec<&DataType> = match data_type {
        DataType::List(f) | DataType::Map(f, _) => vec![f.data_type()],
        DataType::Struct(fields) => fields.iter().map(|f| f.data_type()).collect(),
        _ => Vec::new(),
    };
    let mut children = Vec::with_capacity(inner.len());
    for (child, child_type) in data.child_data().iter().zip(inner) {
        children.push(relabeled(child.clone(), child_type)?);
    }
    data.into_builder().data_type(data_type.clone()).child_data(children).build()
}

/// Young blocks are written fast, older ones small.
const ZSTD_LEVELS: [i32; 3] = [1, 3, 3];

fn properties(schema: &SchemaRef, options: &TableOptions) -> WriterPropertiesBuilder {
    let or = |n: usize, default: usize| if n == 0 { default } else { n };
    let page_rows = or(options.page_rows, PAGE_ROWS);
    let mut builder = WriterProperties::builder()
        .set_max_row_group_row_count(Some(or(options.row_group_rows, ROW_GROUP_ROWS)))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(1024))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_created_by(concat!("monocle ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(sorting(schema, options));
    for path in &options.plain {
        builder = builder.set_column_dictionary_enabled(path_of(path), false);
    }
    builder = encoded(builder, &options.delta, Encoding::DELTA_BINARY_PACKED);
    builder = encoded(builder, &options.split, Encoding::BYTE_STREAM_SPLIT);
    for path in &options.bloom {
        builder = builder.set_column_bloom_filter_enabled(path_of(path), true);
    }
    for path in &options.without_statistics {
        builder = builder.set_column_statistics_enabled(path_of(path), EnabledStatistics::None);
    }
    builder
}

/// An encoding other than the default takes effect only without a dictionary.
fn encoded(mut builder: WriterPropertiesBuilder, paths: &[String], encoding: Encoding) -> WriterPropertiesBuilder {
    for path in paths {
        builder = builder.set_column_dictionary_enabled(path_of(path), false).set_column_encoding(path_of(path), encoding);
    }
    builder
}

/// A column's own name may hold dots (`span.http.route`), so it is one part of the path, not several; parts of a nested
/// column are joined by `/`.
fn path_of(name: &str) -> ColumnPath {
    ColumnPath::new(name.split('/').map(str::to_owned).collect())
}

/// Only top-level columns before the first nested one: there the index of a field is the index of its leaf.
fn sorting(schema: &SchemaRef, options: &TableOptions) -> Option<Vec<SortingColumn>> {
    let index = |name: &&str| {
        let at = schema.index_of(name).ok()?;
        let flat = schema.fields()[..=at].iter().all(|f| !f.data_type().is_nested());
        flat.then(|| SortingColumn { column_idx: i32::try_from(at).unwrap_or(i32::MAX), descending: false, nulls_first: true })
    };
    let columns: Option<Vec<_>> = options.sorted_by.iter().map(index).collect();
    columns.filter(|c| !c.is_empty())
}

/// Counts and hashes what passes through.
struct HashingFile {
    file: Box<dyn WriteFile>,
    hash: Sha256,
    chunks: ChunkSums,
    bytes: u64,
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.chunks.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
