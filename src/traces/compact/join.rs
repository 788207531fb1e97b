//! One column of runs of rows of several.

use super::by_columns::Run;
use arrow_array::builder::NullBufferBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, DictionaryArray, FixedSizeBinaryArray, Int32Array, PrimitiveArray, make_array, new_null_array};
use arrow_data::transform::{Capacities, MutableArrayData};
use arrow_schema::{ArrowError, DataType, TimeUnit};
use arrow_select::concat::concat;
use arrow_select::take::take;
use std::sync::Arc;

/// The columns are of this type, or, where that is text, have dictionaries; `runs` are `count` rows of them.
pub(super) fn join(columns: &[ArrayRef], data_type: &DataType, runs: &[Run], count: usize) -> Result<ArrayRef, ArrowError> {
    match data_type {
        DataType::Int32 => Ok(primitives::<Int32Type>(columns, runs, count)),
        DataType::Int64 => Ok(primitives::<Int64Type>(columns, runs, count)),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let times = primitives::<TimestampNanosecondType>(columns, runs, count);
            let times = times.as_primitive::<TimestampNanosecondType>().clone();
            Ok(Arc::new(times.with_timezone_opt(zone.clone())))
        }
        DataType::FixedSizeBinary(size) => ids(columns, *size, runs, count),
        DataType::Utf8 => texts(columns, runs, count),
        _ => others(columns, runs, count),
    }
}

/// Which of the rows have a value; `None` if all do.
macro_rules! nulls {
    ($columns:expr, $runs:expr, $count:expr) => {{
        let columns = &$columns;
        let mut valid = NullBufferBuilder::new($count);
        for (of, rows) in $runs {
            match columns[*of].nulls() {
                Some(nulls) => rows.clone().for_each(|row| valid.append(nulls.is_valid(row))),
                None => valid.append_n_non_nulls(rows.len()),
            }
        }
        valid.finish()
    }};
}

fn primitives<T: ArrowPrimitiveType>(columns: &[ArrayRef], runs: &[Run], count: usize) -> ArrayRef {
    let mut values = Vec::with_capacity(count);
    for (of, rows) in runs {
        values.extend_from_slice(&columns[*of].as_primitive::<T>().values()[rows.clone()]);
    }
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls!(columns, runs, count)))
}

fn ids(columns: &[ArrayRef], size: i32, runs: &[Run], count: usize) -> Result<ArrayRef, ArrowError> {
    let columns: Vec<&FixedSizeBinaryArray> = columns.iter().map(|c| c.as_fixed_size_binary()).collect();
    let mut bytes = Vec::with_capacity(count * usize::try_from(size).unwrap_or_default());
    for (of, rows) in runs {
        rows.clone().for_each(|row| bytes.extend_from_slice(columns[*of].value(row)));
    }
    Ok(Arc::new(FixedSizeBinaryArray::try_new(size, bytes.into(), nulls!(columns, runs, count))?))
}

/// Keys of the dictionaries of all, one behind the other: no text is looked at.
fn texts(columns: &[ArrayRef], runs: &[Run], count: usize) -> Result<ArrayRef, ArrowError> {
    let keyed: Option<Vec<&DictionaryArray<Int32Type>>> = columns.iter().map(|c| c.as_dictionary_opt()).collect();
    let Some(keyed) = keyed else {
        let plain = |column: &ArrayRef| match column.as_any_dictionary_opt() {
            Some(dictionary) => take(dictionary.values(), dictionary.keys(), None),
            None => Ok(column.clone()),
        };
        return others(&columns.iter().map(plain).collect::<Result<Vec<_>, _>>()?, runs, count);
    };
    let mut is_used = vec![false; keyed.len()];
    runs.iter().for_each(|(of, _)| is_used[*of] = true);
    // Batches that follow each other in a file often have the same dictionary.
    let (mut dictionaries, mut bases): (Vec<&ArrayRef>, Vec<usize>) = (Vec::new(), Vec::with_capacity(keyed.len()));
    let mut base = 0;
    for (column, is_used) in keyed.iter().zip(is_used) {
        let known = dictionaries.last().is_some_and(|last| Arc::ptr_eq(last, column.values()));
        if is_used && !known {
            base = dictionaries.iter().map(|d| d.len()).sum();
            dictionaries.push(column.values());
        }
        bases.push(base);
    }
    let mut keys: Vec<i32> = Vec::with_capacity(count);
    for (of, rows) in runs {
        let base = i32::try_from(bases[*of]).map_err(|e| ArrowError::ComputeError(e.to_string()))?;
        // The key of a row without a text says nothing.
        keys.extend(keyed[*of].keys().values()[rows.clone()].iter().map(|key| key.wrapping_add(base)));
    }
    let all = match dictionaries.as_slice() {
        [one] => (*one).clone(),
        [] => new_null_array(&DataType::Utf8, 0),
        several => concat(&several.iter().map(|d| d.as_ref()).collect::<Vec<_>>())?,
    };
    let keys = Int32Array::new(keys.into(), nulls!(keyed, runs, count));
    Ok(Arc::new(DictionaryArray::try_new(keys, all)?))
}

fn others(columns: &[ArrayRef], runs: &[Run], count: usize) -> Result<ArrayRef, ArrowError> {
    let text_bytes =
        |column: &ArrayRef| column.as_string_opt::<i32>().map(|c| (c.value_offsets()[c.len()] - c.value_offsets()[0]) as usize);
    let capacity = match columns.iter().map(text_bytes).sum::<Option<usize>>() {
        Some(bytes) => Capacities::Binary(count, Some(bytes)),
        None => Capacities::Array(count),
    };
    let data: Vec<_> = columns.iter().map(|column| column.to_data()).collect();
    let mut joined = MutableArrayData::with_capacities(data.iter().collect(), false, capacity);
    runs.iter().try_for_each(|(of, rows)| joined.try_extend(*of, rows.start, rows.end))?;
    Ok(make_array(joined.freeze()))
}
