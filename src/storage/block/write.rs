use super::fields::numbered;
use super::{BlockId, BlockMeta, ChunkSums, FOOTER_KEY, FieldIds, TableMeta, WalRange};
use crate::model::{Signal, TenantId};
use crate::runtime::{World, WriteFile};
use crate::storage::layout::Layout;
use crate::storage::{BlockDraft, TableDraft, TableOptions};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::Path;

const PAGE_ROWS: usize = 8_192;
const ROW_GROUP_ROWS: usize = 1 << 20;
const PAGE_BYTES: usize = 1 << 20;

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

/// Writes a level-0 block and makes it durable under its final name. It does not exist until the catalog lists it
/// (invariant 3); a crash before that leaves a directory that start-up collects. A failure leaves nothing.
pub fn write_block(
    world: &World,
    layout: &Layout,
    ids: &dyn FieldIds,
    (id, tenant, signal, wal): (BlockId, &TenantId, Signal, WalRange),
    draft: BlockDraft,
) -> Result<BlockMeta, WriteError> {
    let now = world.clock.now();
    let mut meta = BlockMeta {
        format: BlockMeta::FORMAT,
        id,
        tenant: tenant.clone(),
        signal,
        level: 0,
        day: draft.day,
        mixed: draft.mixed,
        min_time: draft.min_time,
        max_time: draft.max_time,
        items: draft.items,
        parents: Vec::new(),
        through: None,
        purged: None,
        wal: Some(wal),
        created_at: now,
        tables: Vec::new(),
    };
    let written = write_files(world, layout, ids, &mut meta, draft.tables);
    if written.is_err() {
        for directory in [layout.temporary(id), layout.block(&meta)] {
            // What is not there need not go; what cannot go is collected at the next start.
            let _ = world.disk.remove_dir_all(&directory);
        }
    }
    written.map(|()| meta)
}

fn write_files(
    world: &World,
    layout: &Layout,
    ids: &dyn FieldIds,
    meta: &mut BlockMeta,
    tables: Vec<TableDraft>,
) -> Result<(), WriteError> {
    let temporary = layout.temporary(meta.id);
    world.disk.create_dir_all(&temporary)?;
    let facts = serde_json::to_string(meta)?;
    for table in tables {
        let written = write_table(world, &temporary, ids, table, &facts)?;
        meta.tables.push(written);
    }
    let mut file = world.disk.create(&temporary.join(Layout::META))?;
    file.write_all(&serde_json::to_vec_pretty(meta)?)?;
    file.sync()?;
    world.disk.sync_dir(&temporary)?;
    let home = layout.block(meta);
    let parent = home.parent().unwrap_or(&home);
    world.create_dir_durable(layout.root(), parent)?;
    world.disk.rename(&temporary, &home)?;
    world.disk.sync_dir(parent)?;
    Ok(())
}

fn write_table(world: &World, directory: &Path, ids: &dyn FieldIds, table: TableDraft, facts: &str) -> Result<TableMeta, WriteError> {
    let schema = numbered(table.name, &table.schema, ids)?;
    let file = world.disk.create(&directory.join(Layout::table_file(table.name)))?;
    let properties = properties(&schema, &table.options, facts)?;
    let mut writer = ArrowWriter::try_new(
        HashingFile { file, hash: Sha256::new(), chunks: ChunkSums::default(), bytes: 0 },
        schema.clone(),
        Some(properties),
    )?;
    let mut rows = 0;
    for batch in table.batches {
        rows += batch.num_rows() as u64;
        // The columns are the same; only the numbers in the metadata of the schema are new.
        writer.write(&arrow_array::RecordBatch::try_new(schema.clone(), retyped(&schema, &batch)?)?)?;
    }
    let mut file = writer.into_inner()?;
    file.file.sync()?;
    let sha256 = file.hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    Ok(TableMeta { name: table.name.to_owned(), rows, bytes: file.bytes, sha256, chunks: file.chunks.finish() })
}

/// Nested columns carry their fields, with metadata, in their type; give them the numbered type.
fn retyped(schema: &SchemaRef, batch: &arrow_array::RecordBatch) -> Result<Vec<arrow_array::ArrayRef>, arrow_schema::ArrowError> {
    let retype = |(column, field): (&arrow_array::ArrayRef, &arrow_schema::FieldRef)| {
        if column.data_type() == field.data_type() || !field.data_type().is_nested() {
            return Ok(column.clone());
        }
        relabel(column.to_data(), field.data_type()).map(arrow_array::make_array)
    };
    batch.columns().iter().zip(schema.fields()).map(retype).collect()
}

fn relabel(data: arrow_data::ArrayData, data_type: &arrow_schema::DataType) -> Result<arrow_data::ArrayData, arrow_schema::ArrowError> {
    use arrow_schema::DataType;
    let inner: Vec<&DataType> = match data_type {
        DataType::List(f) | DataType::Map(f, _) => vec![f.data_type()],
        DataType::Struct(fields) => fields.iter().map(|f| f.data_type()).collect(),
        _ => Vec::new(),
    };
    let mut children = Vec::with_capacity(inner.len());
    for (child, child_type) in data.child_data().iter().zip(inner) {
        children.push(relabel(child.clone(), child_type)?);
    }
    data.into_builder().data_type(data_type.clone()).child_data(children).build()
}

fn properties(schema: &SchemaRef, options: &TableOptions, facts: &str) -> Result<WriterProperties, WriteError> {
    let or = |n: usize, default: usize| if n == 0 { default } else { n };
    let page_rows = or(options.page_rows, PAGE_ROWS);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(or(options.row_group_rows, ROW_GROUP_ROWS)))
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows.min(1024))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(64))
        .set_created_by(concat!("monocle ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![KeyValue::new(FOOTER_KEY.to_owned(), facts.to_owned())]))
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
    Ok(builder.build())
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
