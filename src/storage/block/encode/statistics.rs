//! Smallest and largest values of pages and chunks, as a reader uses them to pass over what it does not want.

use parquet::basic::{BoundaryOrder, Type};
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::Result;
use parquet::file::metadata::ColumnIndexBuilder;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::schema::types::ColumnDescPtr;

/// Longer ones are cut.
const BYTES_MAX: usize = 64;

/// Those of one column are all of one kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bound {
    Integer(i64),
    Bytes(Vec<u8>),
}

/// Of each page: smallest and largest unless it has only nulls, and how many nulls.
#[derive(Default)]
pub(super) struct PageBounds(Vec<(Option<(Bound, Bound)>, usize)>);

impl PageBounds {
    pub fn push(&mut self, bounds: Option<(Bound, Bound)>, nulls: usize) {
        self.0.push((bounds, nulls));
    }

    fn each(&self) -> impl Iterator<Item = &(Bound, Bound)> {
        self.0.iter().filter_map(|(bounds, _)| bounds.as_ref())
    }

    /// Of the whole chunk.
    pub fn of_all(&self, column: &ColumnDescPtr) -> Statistics {
        let (min, max) = (self.each().map(|b| &b.0).min(), self.each().map(|b| &b.1).max());
        let nulls = Some(self.0.iter().map(|(_, nulls)| *nulls as u64).sum());
        let integer = |bound: Option<&Bound>| match bound {
            Some(Bound::Integer(n)) => Some(*n),
            _ => None,
        };
        let bytes = |bound: Option<&Bound>, cut: fn(&[u8]) -> (Vec<u8>, bool)| match bound {
            Some(Bound::Bytes(bytes)) => Some(cut(bytes)),
            _ => None,
        };
        let (low, high) = (bytes(min, below), bytes(max, above));
        let exact = [&low, &high].map(|bound| bound.as_ref().is_none_or(|(_, is_exact)| *is_exact));
        let (low, high) = (low.map(|b| b.0), high.map(|b| b.0));
        match column.physical_type() {
            Type::INT32 => Statistics::int32(integer(min).map(|n| n as i32), integer(max).map(|n| n as i32), None, nulls, false),
            Type::INT64 => Statistics::int64(integer(min), integer(max), None, nulls, false),
            Type::FIXED_LEN_BYTE_ARRAY => {
                let value = |bytes: Vec<u8>| FixedLenByteArray::from(bytes);
                let statistics = ValueStatistics::new(low.map(value), high.map(value), None, nulls, false);
                Statistics::FixedLenByteArray(statistics.with_min_is_exact(exact[0]).with_max_is_exact(exact[1]))
            }
            _ => {
                let statistics = ValueStatistics::new(low.map(ByteArray::from), high.map(ByteArray::from), None, nulls, false);
                Statistics::ByteArray(statistics.with_min_is_exact(exact[0]).with_max_is_exact(exact[1]))
            }
        }
    }

    /// Of each page; `None` where there is no page.
    pub fn index(&self, column: &ColumnDescPtr) -> Result<Option<ColumnIndexMetaData>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut index = ColumnIndexBuilder::new(column.physical_type());
        let is_wide = column.physical_type() == Type::INT64;
        let bytes = |bound: &Bound, cut: fn(&[u8]) -> (Vec<u8>, bool)| match bound {
            Bound::Integer(n) if is_wide => n.to_le_bytes().to_vec(),
            Bound::Integer(n) => (*n as i32).to_le_bytes().to_vec(),
            Bound::Bytes(bytes) => cut(bytes).0,
        };
        for (bounds, nulls) in &self.0 {
            let nulls = i64::try_from(*nulls).unwrap_or(i64::MAX);
            match bounds {
                Some((min, max)) => index.append(false, bytes(min, below), bytes(max, above), nulls),
                None => index.append(true, Vec::new(), Vec::new(), nulls),
            }
        }
        let pages: Vec<_> = self.each().collect();
        let order = if pages.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1) {
            BoundaryOrder::ASCENDING
        } else if pages.is_sorted_by(|a, b| a.0 >= b.0 && a.1 >= b.1) {
            BoundaryOrder::DESCENDING
        } else {
            BoundaryOrder::UNORDERED
        };
        index.set_boundary_order(order);
        index.build().map(Some)
    }
}

/// The longest start of a text, or of bytes that are none, with at most [`BYTES_MAX`] bytes.
fn start(bytes: &[u8]) -> &[u8] {
    let end = match std::str::from_utf8(bytes) {
        Ok(text) => text.floor_char_boundary(BYTES_MAX),
        Err(_) => BYTES_MAX,
    };
    &bytes[..end]
}

/// What is not larger, and whether it is the same.
fn below(bytes: &[u8]) -> (Vec<u8>, bool) {
    if bytes.len() <= BYTES_MAX { (bytes.to_vec(), true) } else { (start(bytes).to_vec(), false) }
}

/// What is not smaller, and whether it is the same.
fn above(bytes: &[u8]) -> (Vec<u8>, bool) {
    if bytes.len() <= BYTES_MAX {
        return (bytes.to_vec(), true);
    }
    let start = start(bytes);
    let next = match std::str::from_utf8(start) {
        Ok(text) => next_text(text),
        Err(_) => next_bytes(start),
    };
    next.map_or_else(|| (bytes.to_vec(), true), |next| (next, false))
}

/// The next text that is not longer: its last character that can be raised without taking more bytes is.
fn next_text(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        let next = char::from_u32(u32::from(last) + 1).filter(|next| next.len_utf8() == last.len_utf8())?;
        let mut out = text[..at].to_owned();
        out.push(next);
        Some(out.into_bytes())
    })
}

fn next_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|b| *b < u8::MAX)?;
    let mut out = bytes[..=last].to_vec();
    out[last] += 1;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_cut_stays_a_bound(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "\\PC{0,100}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                let ((low, low_is_exact), (high, high_is_exact)) = (below(bytes), above(bytes));
                prop_assert!(low.as_slice() <= bytes && bytes <= high.as_slice());
                prop_assert_eq!((low_is_exact, high_is_exact), (low == bytes, high == bytes));
            }
            prop_assert!(std::str::from_utf8(&below(text.as_bytes()).0).is_ok() && std::str::from_utf8(&above(text.as_bytes()).0).is_ok());
        }
    }

    #[test]
    fn what_cannot_be_raised_stays() {
        assert_eq!(above(&[0xff; 70]), (vec![0xff; 70], true));
        let highest = "\u{10ffff}".repeat(20);
        assert_eq!(above(highest.as_bytes()), (highest.into_bytes(), true));
    }
}
