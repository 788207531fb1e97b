//! A flat column of one row group, from rows to the pages of its chunk.

use super::Form;
use super::codes::Codes;
use super::integers::Integers;
use super::pages::{Pages, Zstd};
use super::statistics::{Bound, PageBounds};
use super::texts::{Texts, UNKNOWN};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Int32Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow_array::{Array, ArrayRef, FixedSizeBinaryArray, StringArray};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use parquet::basic::Type;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::{BloomFilterProperties, EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnDescPtr;
use std::ops::Range;
use std::rc::Rc;

/// A column whose values are not nested, of integers, texts or bytes of one length.
pub(super) struct FlatColumn {
    column: ColumnDescPtr,
    values: Values,
    /// For each row of the page whether it has a value, where it may have none.
    levels: Option<Codes>,
    rows: usize,
    nulls: usize,
    /// Rows of a page at most.
    rows_max: usize,
    bounds: Option<PageBounds>,
    bloom_errors: f64,
    pages: Pages,
}

enum Values {
    Integers(Integers),
    Texts(Texts),
}

/// The rows of a batch.
enum Source<'a> {
    Narrow(&'a [i32]),
    Wide(&'a [i64]),
    Texts(&'a StringArray),
    Fixed(&'a FixedSizeBinaryArray),
    Keys { keys: &'a [i32], texts: &'a StringArray, codes: Vec<u32> },
}

impl<'a> Source<'a> {
    fn of(column: &'a dyn Array) -> Option<Source<'a>> {
        Some(match column.data_type() {
            DataType::Int32 => Source::Narrow(column.as_primitive::<Int32Type>().values()),
            DataType::Int64 => Source::Wide(column.as_primitive::<Int64Type>().values()),
            DataType::Timestamp(TimeUnit::Second, _) => Source::Wide(column.as_primitive::<TimestampSecondType>().values()),
            DataType::Timestamp(TimeUnit::Millisecond, _) => Source::Wide(column.as_primitive::<TimestampMillisecondType>().values()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Source::Wide(column.as_primitive::<TimestampMicrosecondType>().values()),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Source::Wide(column.as_primitive::<TimestampNanosecondType>().values()),
            DataType::Utf8 => Source::Texts(column.as_string()),
            DataType::FixedSizeBinary(_) => Source::Fixed(column.as_fixed_size_binary()),
            DataType::Dictionary(..) => {
                let dictionary = column.as_dictionary_opt::<Int32Type>()?;
                let texts = dictionary.values().as_string_opt::<i32>()?;
                Source::Keys { keys: dictionary.keys().values(), texts, codes: vec![UNKNOWN; texts.len()] }
            }
            _ => return None,
        })
    }
}

impl FlatColumn {
    /// `None` for a column that is not flat, or has properties that no flat column has.
    pub fn new(column: &ColumnDescPtr, data_type: &DataType, properties: &WriterProperties, zstd: &Rc<Zstd>) -> Result<Option<FlatColumn>> {
        let path = column.path();
        let (form, bloom) = (Form::of(properties, path), properties.bloom_filter_properties(path));
        let statistics = properties.statistics_enabled(path) != EnabledStatistics::None;
        let Some(form) = form.filter(|_| column.max_rep_level() == 0 && column.max_def_level() <= 1) else { return Ok(None) };
        let filter = |bloom: Option<&BloomFilterProperties>| bloom.map(|b| Sbbf::new_with_ndv_fpp(b.ndv(), b.fpp())).transpose();
        let values = match (column.physical_type(), data_type, form) {
            (Type::INT32, DataType::Int32, _) if bloom.is_none() => Values::Integers(Integers::new(false, form)),
            (Type::INT64, DataType::Int64 | DataType::Timestamp(..), _) if bloom.is_none() => Values::Integers(Integers::new(true, form)),
            (Type::BYTE_ARRAY, DataType::Utf8, Form::Dictionary | Form::Plain) => {
                Values::Texts(Texts::new(false, form, statistics, filter(bloom)?))
            }
            // The format's first version has no dictionary of these.
            (Type::FIXED_LEN_BYTE_ARRAY, DataType::FixedSizeBinary(_), Form::Dictionary | Form::Plain) => {
                Values::Texts(Texts::new(true, Form::Plain, statistics, filter(bloom)?))
            }
            _ => return Ok(None),
        };
        Ok(Some(FlatColumn {
            column: column.clone(),
            values,
            levels: (column.max_def_level() > 0).then(Codes::default),
            rows: 0,
            nulls: 0,
            rows_max: properties.data_page_row_count_limit(),
            bounds: statistics.then(PageBounds::default),
            bloom_errors: bloom.map_or(0.0, |b| b.fpp()),
            pages: Pages::new(zstd),
        }))
    }

    /// Fails for an array of another type, or with nulls where there may be none.
    pub fn append(&mut self, array: &ArrayRef) -> Result<()> {
        let wrong = |what: &str| ParquetError::General(format!("column {}: {what}", self.column.path()));
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some() && self.levels.is_none() {
            return Err(wrong("a value is missing"));
        }
        let mut source = Source::of(array.as_ref()).ok_or_else(|| wrong("unexpected type"))?;
        let fits = match (&self.values, &source) {
            (Values::Integers(integers), Source::Narrow(_)) => !integers.is_wide(),
            (Values::Integers(integers), Source::Wide(_)) => integers.is_wide(),
            (Values::Texts(texts), Source::Texts(_) | Source::Keys { .. }) => !texts.is_fixed(),
            (Values::Texts(texts), Source::Fixed(own)) => texts.is_fixed() && own.value_length() == self.column.type_length(),
            _ => false,
        };
        if !fits {
            return Err(wrong("another type"));
        }
        let Some(nulls) = nulls else { return self.append_values(&mut source, 0..array.len()) };
        let mut at = 0;
        for (from, to) in nulls.valid_slices() {
            self.append_nulls(from - at)?;
            self.append_values(&mut source, from..to)?;
            at = to;
        }
        self.append_nulls(array.len() - at)
    }

    fn append_nulls(&mut self, mut count: usize) -> Result<()> {
        while count > 0 {
            let now = count.min(self.rows_max - self.rows);
            if let Some(levels) = &mut self.levels {
                levels.run(0, now);
            }
            self.rows += now;
            self.nulls += now;
            count -= now;
            self.end_page_if_full()?;
        }
        Ok(())
    }

    fn append_values(&mut self, source: &mut Source<'_>, rows: Range<usize>) -> Result<()> {
        let mut at = rows.start;
        while at < rows.end {
            let now = at..rows.end.min(at + self.rows_max - self.rows);
            let taken = match (&mut self.values, &mut *source) {
                (Values::Integers(own), Source::Narrow(values)) => own.take(&values[now]),
                (Values::Integers(own), Source::Wide(values)) => own.take(&values[now]),
                (Values::Texts(own), Source::Texts(texts)) => own.take(texts, now),
                (Values::Texts(own), Source::Fixed(texts)) => own.take_fixed(texts, now),
                (Values::Texts(own), Source::Keys { keys, texts, codes }) => own.take_keys(keys, texts, codes, now),
                // Ruled out by `append`.
                _ => now.len(),
            };
            if let Some(levels) = &mut self.levels {
                levels.run(1, taken);
            }
            self.rows += taken;
            at += taken;
            self.end_page_if_full()?;
        }
        Ok(())
    }

    fn end_page_if_full(&mut self) -> Result<()> {
        let is_full = match &self.values {
            Values::Integers(integers) => integers.is_full(),
            Values::Texts(texts) => texts.is_full(),
        };
        if self.rows >= self.rows_max || is_full { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let bounds = match &mut self.values {
            Values::Integers(integers) => integers.take_bounds().map(|(min, max)| (Bound::Integer(min), Bound::Integer(max))),
            Values::Texts(texts) => texts.take_bounds().map(|(min, max)| (Bound::Bytes(min), Bound::Bytes(max))),
        };
        if let Some(all) = &mut self.bounds {
            all.push(bounds, self.nulls);
        }
        let mut page = std::mem::take(&mut self.pages.page);
        page.clear();
        if let Some(levels) = &mut self.levels {
            page.extend_from_slice(&[0; 4]);
            levels.write(1, &mut page);
            let length = u32::try_from(page.len() - 4).unwrap_or(u32::MAX);
            page[..4].copy_from_slice(&length.to_le_bytes());
            levels.clear();
        }
        let encoding = match &mut self.values {
            Values::Integers(integers) => integers.write_page(&mut page),
            Values::Texts(texts) => texts.write_page(&mut page),
        };
        self.pages.page = page;
        self.pages.end(encoding, std::mem::take(&mut self.rows))?;
        self.nulls = 0;
        Ok(())
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let values = match &self.values {
            Values::Integers(integers) => integers.memory(),
            Values::Texts(texts) => texts.memory(),
        };
        values + self.levels.as_ref().map_or(0, Codes::memory) + self.pages.memory()
    }

    /// The chunk's bytes, and what the footer says of them.
    pub fn close(mut self) -> Result<(Bytes, ColumnCloseResult)> {
        self.end_page()?;
        let dictionary = match &mut self.values {
            _ if !self.pages.has_coded() => None,
            Values::Integers(integers) => Some(integers.dictionary()),
            Values::Texts(texts) => Some(texts.dictionary()),
        };
        let bloom_filter = match &mut self.values {
            Values::Integers(_) => None,
            Values::Texts(texts) => texts.take_bloom(self.bloom_errors),
        };
        let rows = self.pages.rows;
        let (bytes, dictionary_bytes, metadata, offset_index) = self.pages.finish(&self.column, dictionary)?;
        let (mut metadata, mut column_index) = (metadata, None);
        if let Some(bounds) = self.bounds {
            metadata = metadata.set_statistics(bounds.of_all(&self.column));
            column_index = bounds.index(&self.column)?;
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows,
            metadata: metadata.build()?,
            bloom_filter,
            column_index,
            offset_index: Some(offset_index),
        };
        Ok((bytes, close.update_dictionary_location(dictionary_bytes)?))
    }
}
