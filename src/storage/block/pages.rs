//! Pages of column chunks, decompressed with a context that the thread keeps.
//!
//! The `parquet` crate makes a compressing and a decompressing context of zstd for each column chunk that is opened, and
//! zstd asks the processor for its abilities (CPUID) each time. A virtual machine leaves the guest for every such question:
//! more than half of what a lookup of one trace cost. So its reader is given chunks that say they are not compressed, and
//! the pages it hands out are decompressed here.

use super::read::TableFile;
use bytes::Bytes;
use parquet::arrow::arrow_reader::RowGroups;
use parquet::basic::Compression;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::offset_index::PageLocation;
use parquet::file::serialized_reader::SerializedPageReader;
use std::cell::RefCell;
use std::sync::Arc;
use zstd::bulk::Decompressor;
use zstd::zstd_safe::get_frame_content_size;

/// Row groups of a table, in the order of the file.
pub(super) struct Groups {
    pub file: Arc<TableFile>,
    pub metadata: Arc<ParquetMetaData>,
    pub indices: Vec<usize>,
}

impl RowGroups for Groups {
    fn num_rows(&self) -> usize {
        self.row_groups().map(|group| usize::try_from(group.num_rows()).unwrap_or(0)).sum()
    }

    fn column_chunks(&self, column: usize) -> Result<Box<dyn PageIterator>> {
        let (file, metadata) = (self.file.clone(), self.metadata.clone());
        Ok(Box::new(Chunks { file, metadata, column, indices: self.indices.clone().into_iter() }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.indices.iter().filter_map(|index| self.metadata.row_groups().get(*index)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }
}

/// The chunks of one column in some row groups.
struct Chunks {
    file: Arc<TableFile>,
    metadata: Arc<ParquetMetaData>,
    column: usize,
    indices: std::vec::IntoIter<usize>,
}

impl Chunks {
    fn open(&self, index: usize) -> Result<Box<dyn PageReader>> {
        let missing = || ParquetError::General(format!("no column {} in row group {index}", self.column));
        let group = self.metadata.row_groups().get(index).ok_or_else(missing)?;
        let chunk = group.columns().get(self.column).ok_or_else(missing)?;
        let offsets = self.metadata.offset_index().and_then(|offsets| offsets.get(index)?.get(self.column));
        let locations = offsets.map(|offsets| offsets.page_locations().clone());
        let rows = usize::try_from(group.num_rows()).unwrap_or(0);
        Ok(Box::new(Pages::new(self.file.clone(), chunk, rows, locations)?))
    }
}

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.indices.next()?;
        Some(self.open(index))
    }
}

impl PageIterator for Chunks {}

/// The pages of one column chunk.
pub(super) struct Pages {
    /// Of a chunk compressed with zstd, as if it were not compressed.
    inner: SerializedPageReader<TableFile>,
    is_zstd: bool,
    /// No page of the chunk has more, decompressed.
    max_bytes: u64,
}

impl Pages {
    /// `rows` are those of the row group.
    pub fn new(file: Arc<TableFile>, chunk: &ColumnChunkMetaData, rows: usize, locations: Option<Vec<PageLocation>>) -> Result<Pages> {
        let is_zstd = matches!(chunk.compression(), Compression::ZSTD(_));
        let max_bytes = u64::try_from(chunk.uncompressed_size()).unwrap_or(0);
        let inner = if is_zstd {
            let plain = ColumnChunkMetaData::builder(chunk.column_descr_ptr())
                .set_compression(Compression::UNCOMPRESSED)
                .set_num_values(chunk.num_values())
                .set_total_compressed_size(chunk.compressed_size())
                .set_data_page_offset(chunk.data_page_offset())
                .set_dictionary_page_offset(chunk.dictionary_page_offset())
                .build()?;
            SerializedPageReader::new(file, &plain, rows, locations)?
        } else {
            SerializedPageReader::new(file, chunk, rows, locations)?
        };
        Ok(Pages { inner, is_zstd, max_bytes })
    }

    fn decompressed(&self, page: Page) -> Result<Page> {
        Ok(match page {
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics } => {
                let buf = decompress(&buf, 0, self.max_bytes)?;
                Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
            }
            Page::DictionaryPage { buf, num_values, encoding, is_sorted } => {
                Page::DictionaryPage { buf: decompress(&buf, 0, self.max_bytes)?, num_values, encoding, is_sorted }
            }
            // Levels come first and are never compressed.
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                statistics,
            } => Page::DataPageV2 {
                buf: decompress(&buf, def_levels_byte_len as usize + rep_levels_byte_len as usize, self.max_bytes)?,
                num_values,
                encoding,
                num_nulls,
                num_rows,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                statistics,
            },
            page @ Page::DataPageV2 { .. } => page,
        })
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        match self.inner.get_next_page()? {
            Some(page) if self.is_zstd => Ok(Some(self.decompressed(page)?)),
            page => Ok(page),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

thread_local! {
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The first `plain` bytes as they are and what the zstd frame behind them holds. Nothing is allocated for more than
/// `max_bytes`.
fn decompress(bytes: &Bytes, plain: usize, max_bytes: u64) -> Result<Bytes> {
    let damaged = || ParquetError::General("a page is damaged".to_owned());
    let (levels, frame) = bytes.split_at_checked(plain).ok_or_else(damaged)?;
    if frame.is_empty() {
        return Ok(bytes.clone());
    }
    let length = get_frame_content_size(frame).ok().flatten().filter(|length| *length <= max_bytes).ok_or_else(damaged)?;
    let length = usize::try_from(length).map_err(|_| damaged())?;
    CONTEXT.with_borrow_mut(|context| {
        let context = match context {
            Some(context) => context,
            none => none.insert(Decompressor::new()?),
        };
        if levels.is_empty() {
            return Ok(context.decompress(frame, length)?.into());
        }
        let mut page = Vec::with_capacity(levels.len() + length);
        page.extend_from_slice(levels);
        page.extend_from_slice(&context.decompress(frame, length)?);
        Ok(page.into())
    })
}
