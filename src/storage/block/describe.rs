//! What a block's file says of itself, without its rows.

use super::FOOTER_KEY;
use super::read::TableFile;
use crate::runtime::ReadFile;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};

/// A table by its footer.
#[derive(Debug)]
pub struct Description {
    /// The block's facts, as JSON; they were written before the files were, so they list no tables.
    pub facts: Option<String>,
    pub rows: u64,
    pub row_groups: usize,
    pub columns: Vec<ColumnDescription>,
    /// Field ids by path: `table/column[/child]`.
    pub field_ids: BTreeMap<String, i32>,
}

/// A leaf column.
#[derive(Debug)]
pub struct ColumnDescription {
    pub path: String,
    pub physical_type: String,
    /// Bytes in all row groups, compressed and not.
    pub compressed: u64,
    pub uncompressed: u64,
    pub has_bloom_filter: bool,
}

/// Reads the footer of the table `name`, whose file has `length` bytes.
pub fn describe(name: &str, file: Arc<dyn ReadFile>, length: u64) -> Result<Description, ParquetError> {
    let footer = ArrowReaderMetadata::load(&TableFile::new(file, length), ArrowReaderOptions::new())?;
    let metadata = footer.metadata();
    let pairs = metadata.file_metadata().key_value_metadata();
    let facts = pairs.and_then(|pairs| pairs.iter().find(|pair| pair.key == FOOTER_KEY)).and_then(|pair| pair.value.clone());
    let mut columns: Vec<ColumnDescription> = Vec::new();
    for group in metadata.row_groups() {
        for (at, column) in group.columns().iter().enumerate() {
            if columns.len() <= at {
                columns.push(ColumnDescription {
                    path: column.column_path().parts().join("/"),
                    physical_type: column.column_type().to_string(),
                    compressed: 0,
                    uncompressed: 0,
                    has_bloom_filter: false,
                });
            }
            columns[at].compressed += column.compressed_size().unsigned_abs();
            columns[at].uncompressed += column.uncompressed_size().unsigned_abs();
            columns[at].has_bloom_filter |= column.bloom_filter_offset().is_some();
        }
    }
    let mut field_ids = BTreeMap::new();
    for field in footer.schema().fields() {
        number(&format!("{name}/{}", field.name()), field, &mut field_ids);
    }
    let rows = metadata.file_metadata().num_rows().unsigned_abs();
    Ok(Description { facts, rows, row_groups: metadata.num_row_groups(), columns, field_ids })
}

fn number(path: &str, field: &FieldRef, ids: &mut BTreeMap<String, i32>) {
    if let Some(id) = field.metadata().get(PARQUET_FIELD_ID_META_KEY).and_then(|id| id.parse().ok()) {
        ids.insert(path.to_owned(), id);
    }
    let mut inner = |f: &FieldRef| number(&format!("{path}/{}", f.name()), f, ids);
    match field.data_type() {
        DataType::List(f) | DataType::Map(f, _) => inner(f),
        DataType::Struct(fields) => fields.iter().for_each(inner),
        _ => {}
    }
}
