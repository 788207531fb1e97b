//! The pages of a chunk.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, EncodingMask, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnChunkMetaDataBuilder, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::cell::RefCell;
use std::rc::Rc;
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

/// The finished pages of a chunk.
pub(super) struct Pages {
    zstd: Rc<Zstd>,
    /// Without a dictionary, a chunk whose first page hardly shrinks is left as it is: ids, say.
    is_compressed: bool,
    sink: TrackedWrite<Vec<u8>>,
    /// Data pages by their encodings, in order.
    stats: Vec<PageEncodingStats>,
    offsets: OffsetIndexBuilder,
    pub rows: u64,
    /// Of all pages, with headers.
    uncompressed: usize,
    compressed: usize,
    /// Room for the page that is made now.
    pub page: Vec<u8>,
}

/// A page that keeps more than so many of a hundred bytes is not worth compressing.
const KEPT_PERCENT: usize = 95;

/// The context of one table: it takes longer to make one than to compress a page.
pub(super) struct Zstd {
    level: ZstdLevel,
    context: RefCell<Compressor<'static>>,
}

impl Zstd {
    pub fn new(level: ZstdLevel) -> Result<Zstd> {
        Ok(Zstd { level, context: RefCell::new(Compressor::new(level.compression_level())?) })
    }

    fn compress(&self, bytes: &[u8]) -> Result<Bytes> {
        let mut out = Vec::with_capacity(compress_bound(bytes.len()));
        self.context.borrow_mut().compress_to_buffer(bytes, &mut out)?;
        // Not the room for what does not shrink.
        Ok(Bytes::copy_from_slice(&out))
    }
}

impl Pages {
    pub fn new(zstd: &Rc<Zstd>) -> Pages {
        Pages {
            zstd: zstd.clone(),
            is_compressed: true,
            sink: TrackedWrite::new(Vec::new()),
            stats: Vec::new(),
            offsets: OffsetIndexBuilder::new(),
            rows: 0,
            uncompressed: 0,
            compressed: 0,
            page: Vec::new(),
        }
    }

    pub fn memory(&self) -> usize {
        self.compressed + self.page.capacity()
    }

    pub fn has_coded(&self) -> bool {
        self.stats.iter().any(|s| s.encoding == Encoding::RLE_DICTIONARY)
    }

    /// Ends the page whose bytes are in `page`.
    pub fn end(&mut self, encoding: Encoding, rows: usize) -> Result<()> {
        let mut bytes = Bytes::new();
        if self.is_compressed {
            bytes = self.zstd.compress(&self.page)?;
            let hardly_shrinks = bytes.len() * 100 > self.page.len() * KEPT_PERCENT;
            self.is_compressed = !(hardly_shrinks && self.stats.is_empty() && encoding != Encoding::RLE_DICTIONARY);
        }
        if !self.is_compressed {
            bytes = Bytes::copy_from_slice(&self.page);
        }
        let page = Page::DataPage {
            buf: bytes,
            num_values: u32::try_from(rows).unwrap_or(u32::MAX),
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = SerializedPageWriter::new(&mut self.sink).write_page(CompressedPage::new(page, self.page.len()))?;
        match self.stats.last_mut() {
            Some(last) if last.encoding == encoding => last.count += 1,
            _ => self.stats.push(PageEncodingStats { page_type: PageType::DATA_PAGE, encoding, count: 1 }),
        }
        let size = i32::try_from(written.compressed_size).map_err(|e| ParquetError::General(e.to_string()))?;
        self.offsets.append_row_count(i64::try_from(rows).unwrap_or(i64::MAX));
        self.offsets.append_offset_and_size(written.offset.cast_signed(), size);
        self.rows += rows as u64;
        self.count(&written);
        Ok(())
    }

    fn count(&mut self, written: &PageWriteSpec) {
        self.uncompressed += written.uncompressed_size;
        self.compressed += written.compressed_size;
    }

    /// All bytes, how many of them the dictionary takes in front, and what is known of them.
    pub fn finish(
        mut self,
        column: &ColumnDescPtr,
        dictionary: Option<(Vec<u8>, usize)>,
    ) -> Result<(Bytes, usize, ColumnChunkMetaDataBuilder, OffsetIndexMetaData)> {
        let mut all = TrackedWrite::new(Vec::new());
        if let Some((plain, count)) = dictionary {
            let page = Page::DictionaryPage {
                buf: self.zstd.compress(&plain)?,
                num_values: u32::try_from(count).unwrap_or(u32::MAX),
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let written = SerializedPageWriter::new(&mut all).write_page(CompressedPage::new(page, plain.len()))?;
            self.count(&written);
            self.stats.insert(0, PageEncodingStats { page_type: PageType::DICTIONARY_PAGE, encoding: Encoding::PLAIN, count: 1 });
        }
        let mut bytes = all.into_inner()?;
        let dictionary_bytes = bytes.len();
        bytes.extend_from_slice(&self.sink.into_inner()?);
        let encodings = EncodingMask::new_from_encodings(self.stats.iter().map(|s| &s.encoding).chain([&Encoding::RLE]));
        let codec = if self.is_compressed { Compression::ZSTD(self.zstd.level) } else { Compression::UNCOMPRESSED };
        let metadata = ColumnChunkMetaData::builder(column.clone())
            .set_compression(codec)
            .set_encodings_mask(encodings)
            .set_page_encoding_stats(self.stats)
            .set_total_compressed_size(i64::try_from(self.compressed).unwrap_or(i64::MAX))
            .set_total_uncompressed_size(i64::try_from(self.uncompressed).unwrap_or(i64::MAX))
            .set_num_values(self.rows.cast_signed())
            .set_data_page_offset(0);
        Ok((bytes.into(), dictionary_bytes, metadata, self.offsets.build()))
    }
}
