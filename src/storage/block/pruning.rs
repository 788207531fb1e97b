//! Which parts of a table a scan need not read: row groups by statistics and bloom filters, pages by the page index,
//! rows by their values.

use super::pages::Pages;
use super::read::TableFile;
use crate::storage::{Predicate, Scan, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMillisecondType, TimestampNanosecondType};
use arrow_array::{Array, BooleanArray};
use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{Page, PageReader};
use parquet::errors::Result;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::Statistics;
use std::ops::Range;
use std::sync::Arc;

type Builder = ParquetRecordBatchReaderBuilder<TableFile>;

/// What of a table a scan has to look at.
pub(super) struct Plan {
    pub groups: Vec<usize>,
    /// Rows of these groups; `None` is all.
    pub selection: Option<RowSelection>,
    /// What a row must satisfy: columns by their index, each with its test.
    pub predicates: Vec<(usize, Predicate)>,
}

pub(super) fn plan(builder: &Builder, scan: &Scan) -> Result<Plan> {
    let predicates = known(builder, scan);
    let groups = surviving_groups(builder, &predicates)?;
    let ranges = match (&scan.rows, surviving_pages(builder, &groups, &predicates)) {
        (Some(asked), Some(pages)) => Some(intersect(asked, &pages)),
        (asked, pages) => asked.clone().or(pages),
    };
    let selection = ranges.map(|ranges| select(builder, &groups, &ranges));
    Ok(Plan { groups, selection, predicates })
}

/// Predicates whose column the table has, with the column's index.
fn known(builder: &Builder, scan: &Scan) -> Vec<(usize, Predicate)> {
    let index = |p: &Predicate| builder.schema().index_of(p.column()).ok().map(|i| (i, p.clone()));
    scan.predicates.iter().filter_map(index).collect()
}

fn surviving_groups(builder: &Builder, predicates: &[(usize, Predicate)]) -> Result<Vec<usize>> {
    let mut groups = Vec::new();
    for (index, group) in builder.metadata().row_groups().iter().enumerate() {
        let mut survives = true;
        for (field, predicate) in predicates {
            let Some(leaf) = leaf_of(builder, *field) else { continue };
            survives &= statistics_allow(group, leaf, predicate) && bloom_allows(builder, index, leaf, predicate)?;
        }
        if survives {
            groups.push(index);
        }
    }
    Ok(groups)
}

/// Whether the group may have a row that satisfies the predicate; true for a column that the table does not have.
pub(super) fn group_allows(builder: &Builder, group: usize, predicate: &Predicate) -> Result<bool> {
    let Ok(field) = builder.schema().index_of(predicate.column()) else { return Ok(true) };
    let (Some(leaf), Some(rows)) = (leaf_of(builder, field), builder.metadata().row_groups().get(group)) else { return Ok(true) };
    Ok(statistics_allow(rows, leaf, predicate) && bloom_allows(builder, group, leaf, predicate)?)
}

/// Whether all values of the column's leaves are null, or, in a column that has no nulls, zero or empty: where there may be
/// nulls, a zero is something else than nothing.
pub(super) fn is_blank(group: &RowGroupMetaData, column: &str) -> bool {
    let mut leaves = group.columns().iter().filter(|c| c.column_path().parts().first().is_some_and(|name| name == column));
    leaves.all(|leaf| {
        let Some(statistics) = leaf.statistics() else { return false };
        let all_null = statistics.null_count_opt().is_some_and(|nulls| i64::try_from(nulls).is_ok_and(|n| n == leaf.num_values()));
        let zero = match statistics {
            Statistics::Int32(s) => s.min_opt() == Some(&0) && s.max_opt() == Some(&0),
            Statistics::Int64(s) => s.min_opt() == Some(&0) && s.max_opt() == Some(&0),
            Statistics::ByteArray(s) => {
                s.max_opt().is_some_and(|max| max.data().is_empty()) && s.min_opt().is_some_and(|min| min.data().is_empty())
            }
            _ => false,
        };
        all_null || (zero && leaf.column_descr().max_def_level() == 0)
    })
}

/// Distinct texts of a leaf that are read at most; a dictionary is far smaller than this.
const DICTIONARY_MAX_BYTES: i64 = 64 << 20;

/// The texts of the dictionary of a leaf, if all pages of the group refer to it.
pub(super) fn distinct(file: &TableFile, metadata: &ParquetMetaData, group: usize, path: &str) -> Result<Option<Vec<String>>> {
    let Some(rows) = metadata.row_groups().get(group) else { return Ok(None) };
    let parts: Vec<&str> = path.split('/').collect();
    let Some(chunk) = rows.columns().iter().find(|c| c.column_path().parts().iter().eq(parts.iter())) else { return Ok(None) };
    let all_coded = chunk.page_encoding_stats_mask().is_some_and(|mask| mask.is_only(Encoding::RLE_DICTIONARY));
    if !all_coded || chunk.column_type() != Type::BYTE_ARRAY || chunk.uncompressed_size() > DICTIONARY_MAX_BYTES {
        return Ok(None);
    }
    let total = usize::try_from(rows.num_rows()).unwrap_or(0);
    let mut pages = Pages::new(Arc::new(file.clone()), chunk, total, None)?;
    let Some(Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN | Encoding::PLAIN_DICTIONARY, .. }) =
        pages.get_next_page()?
    else {
        return Ok(None);
    };
    Ok(plain_texts(&buf, num_values as usize))
}

/// Each is its length in four bytes, little-endian, and its bytes.
fn plain_texts(mut bytes: &[u8], count: usize) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        texts.push(std::str::from_utf8(text).ok()?.to_owned());
        bytes = rest;
    }
    Some(texts)
}

/// The Parquet leaf of a flat top-level column; `None` for nested ones, which have several.
fn leaf_of(builder: &Builder, field: usize) -> Option<usize> {
    let schema = builder.parquet_schema();
    let mut leaves = (0..schema.num_columns()).filter(|leaf| schema.get_column_root_idx(*leaf) == field);
    leaves.next().filter(|_| leaves.next().is_none())
}

/// Smallest and largest value of a row group or a page. Bounds of bytes may be cut short; a cut maximum is rounded up,
/// so that comparisons stay true.
enum Bounds<'a> {
    Int(i64, i64),
    Bytes(&'a [u8], &'a [u8]),
}

impl Bounds<'_> {
    fn allow(&self, predicate: &Predicate) -> bool {
        match (self, predicate) {
            (Bounds::Int(low, high), Predicate::Between { min, max, .. }) => low <= max && high >= min,
            (Bounds::Int(low, high), Predicate::OneOf { values, .. }) => {
                values.iter().any(|v| !matches!(v, Value::Int(n) if n < low || n > high))
            }
            (Bounds::Bytes(low, high), Predicate::OneOf { values, .. }) => {
                values.iter().any(|v| bytes_of(v).is_none_or(|b| *low <= b && b <= *high))
            }
            (Bounds::Bytes(..), Predicate::Between { .. }) => true,
        }
    }
}

fn statistics_allow(group: &RowGroupMetaData, leaf: usize, predicate: &Predicate) -> bool {
    let bounds = match group.column(leaf).statistics() {
        Some(Statistics::Int64(s)) => s.min_opt().zip(s.max_opt()).map(|(low, high)| Bounds::Int(*low, *high)),
        Some(s @ (Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_))) => {
            s.min_bytes_opt().zip(s.max_bytes_opt()).map(|(low, high)| Bounds::Bytes(low, high))
        }
        _ => None,
    };
    bounds.is_none_or(|b| b.allow(predicate))
}

/// Row ranges of the table whose pages may hold rows that satisfy all predicates; `None` if the page index says nothing.
fn surviving_pages(builder: &Builder, groups: &[usize], predicates: &[(usize, Predicate)]) -> Option<Vec<Range<u64>>> {
    let mut surviving: Option<Vec<Range<u64>>> = None;
    for (field, predicate) in predicates {
        let Some(ranges) = leaf_of(builder, *field).and_then(|leaf| pages_of(builder, groups, leaf, predicate)) else { continue };
        surviving = Some(surviving.map_or_else(|| ranges.clone(), |s| intersect(&s, &ranges)));
    }
    surviving
}

fn pages_of(builder: &Builder, groups: &[usize], leaf: usize, predicate: &Predicate) -> Option<Vec<Range<u64>>> {
    let metadata = builder.metadata();
    let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
    let mut ranges = Vec::new();
    let mut start = 0;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let end = start + u64::try_from(group.num_rows()).ok()?;
        if groups.contains(&index) {
            let (column, pages) = (columns.get(index)?.get(leaf)?, offsets.get(index)?.get(leaf)?.page_locations());
            for (page, location) in pages.iter().enumerate() {
                let from = start + u64::try_from(location.first_row_index).ok()?;
                let to = pages.get(page + 1).map_or(Some(end), |next| Some(start + u64::try_from(next.first_row_index).ok()?))?;
                if page_bounds(column, page).is_none_or(|b| b.allow(predicate)) {
                    ranges.push(from..to);
                }
            }
        }
        start = end;
    }
    Some(ranges)
}

fn page_bounds(column: &ColumnIndexMetaData, page: usize) -> Option<Bounds<'_>> {
    match column {
        ColumnIndexMetaData::INT64(c) => Some(Bounds::Int(*c.min_value(page)?, *c.max_value(page)?)),
        ColumnIndexMetaData::BYTE_ARRAY(c) | ColumnIndexMetaData::FIXED_LEN_BYTE_ARRAY(c) => {
            Some(Bounds::Bytes(c.min_value(page)?, c.max_value(page)?))
        }
        _ => None,
    }
}

/// Of two ascending, disjoint lists of ranges, what is in both.
fn intersect(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut i, mut j) = (0, 0);
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let range = x.start.max(y.start)..x.end.min(y.end);
        if range.start < range.end {
            both.push(range);
        }
        if x.end <= y.end { i += 1 } else { j += 1 }
    }
    both
}

fn bloom_allows(builder: &Builder, group: usize, leaf: usize, predicate: &Predicate) -> Result<bool> {
    let Predicate::OneOf { values, .. } = predicate else { return Ok(true) };
    let Some(filter) = builder.get_row_group_column_bloom_filter(group, leaf)? else { return Ok(true) };
    Ok(values.iter().any(|v| match v {
        Value::Int(n) => filter.check(n),
        Value::Text(_) | Value::Bytes(_) => bytes_of(v).is_none_or(|b| filter.check(b)),
    }))
}

fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Int(_) => None,
        Value::Text(text) => Some(text.as_bytes()),
        Value::Bytes(bytes) => Some(bytes),
    }
}

/// Ranges of the whole table as a selection over the surviving row groups.
fn select(builder: &Builder, groups: &[usize], ranges: &[Range<u64>]) -> RowSelection {
    let mut selectors = Vec::new();
    let mut group_start = 0u64;
    let mut ranges = ranges.iter().peekable();
    for (index, group) in builder.metadata().row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let group_end = group_start + rows;
        if groups.contains(&index) {
            let mut at = group_start;
            while let Some(range) = ranges.peek() {
                let (from, to) = (range.start.clamp(at, group_end), range.end.clamp(at, group_end));
                selectors.push(RowSelector::skip((from - at) as usize));
                selectors.push(RowSelector::select((to - from) as usize));
                at = to;
                if range.end > group_end {
                    break;
                }
                ranges.next();
            }
            selectors.push(RowSelector::skip((group_end - at) as usize));
        } else {
            while ranges.next_if(|r| r.end <= group_end).is_some() {}
        }
        group_start = group_end;
    }
    selectors.into()
}

/// One flag a row; a null row is false. A type that no predicate is meant for keeps every row.
pub(super) fn evaluate(column: &dyn Array, predicate: &Predicate) -> BooleanArray {
    let integers: Option<&[i64]> = match column.data_type() {
        DataType::Int64 => Some(column.as_primitive::<Int64Type>().values()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(column.as_primitive::<TimestampNanosecondType>().values()),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Some(column.as_primitive::<TimestampMillisecondType>().values()),
        _ => None,
    };
    if let Some(integers) = integers {
        let test = |n: i64| match predicate {
            Predicate::Between { min, max, .. } => (*min..=*max).contains(&n),
            Predicate::OneOf { values, .. } => values.contains(&Value::Int(n)),
        };
        return integers.iter().enumerate().map(|(i, n)| Some(column.is_valid(i) && test(*n))).collect();
    }
    let Predicate::OneOf { values, .. } = predicate else { return BooleanArray::from(vec![true; column.len()]) };
    let wanted: Vec<&[u8]> = values.iter().filter_map(bytes_of).collect();
    let test = |i: usize, bytes: &[u8]| Some(column.is_valid(i) && wanted.contains(&bytes));
    match column.data_type() {
        DataType::Utf8 => (0..column.len()).map(|i| test(i, column.as_string::<i32>().value(i).as_bytes())).collect(),
        DataType::FixedSizeBinary(_) => (0..column.len()).map(|i| test(i, column.as_fixed_size_binary().value(i))).collect(),
        DataType::Dictionary(_, inner) if **inner == DataType::Utf8 => {
            let dictionary = column.as_any_dictionary();
            let hits: Vec<bool> =
                dictionary.values().as_string::<i32>().iter().map(|v| v.is_some_and(|v| wanted.contains(&v.as_bytes()))).collect();
            if hits.is_empty() {
                return BooleanArray::from(vec![false; column.len()]);
            }
            let keys = dictionary.normalized_keys();
            keys.iter().enumerate().map(|(i, key)| Some(column.is_valid(i) && hits.get(*key).copied().unwrap_or(false))).collect()
        }
        _ => BooleanArray::from(vec![true; column.len()]),
    }
}

#[cfg(test)]
mod tests {
    use super::intersect;

    #[test]
    fn intersections_of_ranges() {
        let list = |pairs: &[(u64, u64)]| pairs.iter().map(|(from, to)| *from..*to).collect::<Vec<_>>();
        let both = |a: &[(u64, u64)], b: &[(u64, u64)]| intersect(&list(a), &list(b));
        assert_eq!(both(&[(0, 10), (20, 30)], &[(5, 25)]), list(&[(5, 10), (20, 25)]));
        assert_eq!(both(&[(0, 10)], &[(10, 20)]), list(&[]));
        assert_eq!(both(&[(0, 5), (6, 9)], &[(0, 2), (3, 7), (8, 9)]), list(&[(0, 2), (3, 5), (6, 7), (8, 9)]));
    }
}
