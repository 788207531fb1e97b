//! Record batches become a Parquet file.
//!
//! Flat columns of integers, texts and bytes are encoded here; the `parquet` crate encodes all others, and writes the headers
//! of pages and the footer. Its own writer hashes and compares each row's value, allocates for each value of a fixed length,
//! and makes two contexts of zstd for each column. Here a value that is the same as the one before costs a comparison, a run
//! of them about nothing, and a key of a dictionary array a look into a table.

mod codes;
mod column;
mod delta;
mod integers;
mod pages;
mod statistics;
#[cfg(test)]
mod tests;
mod texts;

use arrow_array::ArrayRef;
use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use column::FlatColumn;
use pages::Zstd;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

/// From so many bytes on, a dictionary takes no more values, and a page of plain texts ends.
const DICTIONARY_MAX_BYTES: usize = 1 << 20;
pub(super) const PAGE_BYTES: usize = 1 << 20;

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As places in a dictionary, until that is full; then plain.
    Dictionary,
    Plain,
    Delta,
}

impl Form {
    /// `None` for another encoding.
    fn of(properties: &WriterProperties, path: &ColumnPath) -> Option<Form> {
        match (properties.dictionary_enabled(path), properties.encoding(path)) {
            (true, _) => Some(Form::Dictionary),
            (false, None | Some(Encoding::PLAIN)) => Some(Form::Plain),
            (false, Some(Encoding::DELTA_BINARY_PACKED)) => Some(Form::Delta),
            (false, Some(_)) => None,
        }
    }
}

/// Writes the rows of one table.
pub(super) struct TableWriter<W: Write + Send> {
    file: SerializedFileWriter<W>,
    fields: Vec<TableField>,
    zstd: Rc<Zstd>,
    /// Makes writers for the columns that are not flat, in their order.
    others: Option<ArrowRowGroupWriterFactory>,
    rows_max: usize,
    group: Option<Group>,
}

struct TableField {
    field: FieldRef,
    /// Its leaves in the file.
    leaves: Vec<ColumnDescPtr>,
    is_flat: bool,
}

/// The row group in progress.
struct Group {
    columns: Vec<FieldColumn>,
    rows: usize,
}

enum FieldColumn {
    Flat(Box<FlatColumn>),
    Other(Vec<ArrowColumnWriter>),
}

impl<W: Write + Send> TableWriter<W> {
    /// Every column is compressed with this level. Of the texts in `schema`, each batch may have dictionaries instead.
    pub fn new(to: W, schema: &SchemaRef, properties: WriterPropertiesBuilder, level: ZstdLevel) -> Result<TableWriter<W>> {
        let properties = properties.set_compression(Compression::ZSTD(level)).build();
        let zstd = Rc::new(Zstd::new(level)?);
        let rows_max = properties.max_row_group_row_count().unwrap_or(usize::MAX);
        // It puts the schema into the footer, and knows the types of columns.
        let (file, _) = ArrowWriter::try_new(to, schema.clone(), Some(properties.clone()))?.into_serialized_writer()?;
        let columns = file.schema_descr();
        let mut fields = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let leaves: Vec<ColumnDescPtr> = (0..columns.num_columns())
                .filter(|leaf| columns.get_column_root_idx(*leaf) == index)
                .map(|leaf| columns.column(leaf))
                .collect();
            let is_flat = match leaves.as_slice() {
                [leaf] => FlatColumn::new(leaf, field.data_type(), &properties, &zstd)?.is_some(),
                _ => false,
            };
            fields.push(TableField { field: field.clone(), leaves, is_flat });
        }
        let others: Vec<FieldRef> = fields.iter().filter(|f| !f.is_flat).map(|f| f.field.clone()).collect();
        let factory = |fields: Vec<FieldRef>| {
            let writer = ArrowWriter::try_new(io::sink(), Arc::new(Schema::new(fields)), Some(properties))?;
            Ok::<_, ParquetError>(writer.into_serialized_writer()?.1)
        };
        let others = if others.is_empty() { None } else { Some(factory(others)?) };
        Ok(TableWriter { file, fields, zstd, others, rows_max, group: None })
    }

    /// The columns are those of the schema, in its order; `rows` are those of each.
    pub fn write(&mut self, columns: &[ArrayRef], rows: usize) -> Result<()> {
        if columns.len() != self.fields.len() || columns.iter().any(|c| c.len() != rows) {
            return Err(ParquetError::General("a batch has other columns than its table".to_owned()));
        }
        let mut at = 0;
        while at < rows {
            let mut group = match self.group.take() {
                Some(group) => group,
                None => Group { columns: self.open()?, rows: 0 },
            };
            let now = (rows - at).min(self.rows_max - group.rows);
            for ((array, column), field) in columns.iter().zip(&mut group.columns).zip(&self.fields) {
                column.append(&field.field, &if now == rows { array.clone() } else { array.slice(at, now) })?;
            }
            group.rows += now;
            at += now;
            let is_full = group.rows >= self.rows_max;
            self.group = Some(group);
            if is_full {
                self.end_group()?;
            }
        }
        Ok(())
    }

    /// The columns of another row group.
    fn open(&self) -> Result<Vec<FieldColumn>> {
        let number = self.file.flushed_row_groups().len();
        let mut others = self.others.as_ref().map(|f| f.create_column_writers(number)).transpose()?.into_iter().flatten();
        let column = |TableField { field, leaves, is_flat }: &TableField| match leaves.as_slice() {
            [leaf] if *is_flat => {
                let column = FlatColumn::new(leaf, field.data_type(), self.file.properties(), &self.zstd)?;
                let missing = || ParquetError::General(format!("column {} is not flat", field.name()));
                Ok(FieldColumn::Flat(Box::new(column.ok_or_else(missing)?)))
            }
            leaves => Ok(FieldColumn::Other(others.by_ref().take(leaves.len()).collect())),
        };
        self.fields.iter().map(column).collect()
    }

    /// Bytes that the row group in progress takes in memory, about.
    pub fn memory_size(&self) -> usize {
        self.group.iter().flat_map(|group| &group.columns).map(FieldColumn::memory).sum()
    }

    /// Writes the row group in progress.
    pub fn end_group(&mut self) -> Result<()> {
        let Some(group) = self.group.take() else { return Ok(()) };
        let mut to = self.file.next_row_group()?;
        for column in group.columns {
            match column {
                FieldColumn::Flat(column) => {
                    let (bytes, close) = column.close()?;
                    to.append_column(&bytes, close)?;
                }
                FieldColumn::Other(leaves) => {
                    for leaf in leaves {
                        leaf.close()?.append_to_row_group(&mut to)?;
                    }
                }
            }
        }
        to.close()?;
        Ok(())
    }

    pub fn append_key_value_metadata(&mut self, pair: KeyValue) {
        self.file.append_key_value_metadata(pair);
    }

    /// Writes all that is left, and the footer.
    pub fn into_inner(mut self) -> Result<W> {
        self.end_group()?;
        self.file.into_inner()
    }
}

impl FieldColumn {
    fn append(&mut self, field: &Field, array: &ArrayRef) -> Result<()> {
        match self {
            FieldColumn::Flat(column) => column.append(array),
            FieldColumn::Other(leaves) => {
                let computed = compute_leaves(field, array)?;
                leaves.iter_mut().zip(&computed).try_for_each(|(writer, leaf)| writer.write(leaf))
            }
        }
    }

    fn memory(&self) -> usize {
        match self {
            FieldColumn::Flat(column) => column.memory(),
            FieldColumn::Other(leaves) => leaves.iter().map(ArrowColumnWriter::memory_size).sum(),
        }
    }
}
