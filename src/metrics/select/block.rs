//! Samples of one block.

use super::cache::{Piece, SampleCache};
use super::erase::{Eraser, Hidden};
use super::series::{End, Ends, SeriesRow, SeriesTable};
use crate::metrics::head::Newest;
use crate::metrics::histogram::{Buckets, Histogram, ResetHint};
use crate::metrics::promql::{Interval, Run, SeriesData};
use crate::metrics::rows::{HistogramSample, Value};
use crate::metrics::{decimal, schema};
use crate::model::{Labels, Matcher};
use crate::query::{Context, QueryError, fold};
use crate::storage::Scan;
use crate::storage::block::{Block, ReadError};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, TimestampMillisecondArray};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Matching series of the block, each with its samples in the interval in order of time.
pub(super) fn read_samples(
    block: &Arc<Block>,
    erasers: &[Eraser],
    (matchers, interval): (&[Matcher], Interval),
    context: &Context,
    cache: &SampleCache,
) -> Result<Vec<SeriesData>, QueryError> {
    context.check()?;
    let table = SeriesTable::of(block)?;
    let rows: Vec<&SeriesRow> = table.select(matchers).filter(|r| interval.overlaps(r.min_ts, r.max_ts)).collect();
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut series: Vec<SeriesData> = rows.iter().map(|r| SeriesData { created: r.created, ..SeriesData::new(r.labels.clone()) }).collect();
    let groups: Vec<Range<usize>> = groups(&rows);
    for groups in groups.chunks(PIECES_AT_ONCE) {
        let pieces = pieces(block, &table, &rows, groups, context, cache)?;
        for (group, piece) in groups.iter().zip(pieces) {
            let (rows, series) = (&rows[group.clone()], &mut series[group.clone()]);
            match piece {
                Some(piece) => share(&piece, rows, interval, series),
                None => read_floats(block, rows, interval, context, series)?,
            }
            context.reserve(series.iter().map(SeriesData::bytes).sum())?;
        }
    }
    let ranges: Vec<Range<u64>> = rows.iter().map(|r| r.hist_rows.clone()).collect();
    read_ranges(block, schema::HIST, &[], &ranges, |batch, at, into| {
        context.check()?;
        for row in at {
            if let Some(sample) = histogram(batch, row).filter(|h| interval.contains(h.ts)) {
                context.reserve(sample.histogram.heap_bytes() as u64)?;
                series[into].histograms.push(sample);
            }
        }
        Ok(())
    })?;
    for data in &mut series {
        let hidden = Hidden::of(erasers, &data.labels);
        if !hidden.is_empty() {
            data.retain(|ts| !hidden.hides(ts));
        }
    }
    Ok(series)
}

/// Pieces that are held at once while they are read.
const PIECES_AT_ONCE: usize = 16;

/// Neighbouring rows of one piece, and those that are in none.
fn groups(rows: &[&SeriesRow]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut from = 0;
    while from < rows.len() {
        let to = from + rows[from..].iter().take_while(|r| r.piece == rows[from].piece).count();
        groups.push(from..to);
        from = to;
    }
    groups
}

/// The piece of each group; those that are not in the cache are decoded side by side.
fn pieces(
    block: &Arc<Block>,
    table: &SeriesTable,
    rows: &[&SeriesRow],
    groups: &[Range<usize>],
    context: &Context,
    cache: &SampleCache,
) -> Result<Vec<Option<Arc<Piece>>>, QueryError> {
    context.check()?;
    let rows_of = |group: &Range<usize>| rows[group.start].piece.and_then(|p| table.pieces.get(p as usize));
    let key = |rows: &Range<u64>| (block.meta().id, rows.start);
    let mut found: Vec<Option<Arc<Piece>>> = groups.iter().map(|g| cache.get(key(rows_of(g)?))).collect();
    let missing: Vec<(usize, &Range<u64>)> =
        groups.iter().enumerate().filter(|(at, _)| found[*at].is_none()).filter_map(|(at, g)| Some((at, rows_of(g)?))).collect();
    let read = |read: &mut Vec<(usize, Arc<Piece>)>, (at, rows): &(usize, &Range<u64>)| {
        let piece = Arc::new(read_piece(block, rows)?);
        cache.insert(key(rows), piece.clone());
        read.push((*at, piece));
        Ok(())
    };
    for (at, piece) in fold(context, &missing, Vec::new, read)?.into_iter().flatten() {
        found[at] = Some(piece);
    }
    Ok(found)
}

/// Gives series their samples within the interval: shared with the piece if they are most of it, else copied, so that a query
/// holds at most twice what it accounts for.
fn share(piece: &Piece, rows: &[&SeriesRow], interval: Interval, series: &mut [SeriesData]) {
    let part = |row: &SeriesRow| {
        let positions = piece.positions(&row.rows);
        let times = &piece.ts[positions.clone()];
        let within = |passes: &dyn Fn(i64) -> bool| positions.start + times.partition_point(|t| passes(*t));
        within(&|t| t < interval.from)..within(&|t| t <= interval.to)
    };
    let parts: Vec<Range<usize>> = rows.iter().map(|row| part(row)).collect();
    let copied = 2 * parts.iter().map(Range::len).sum::<usize>() < piece.ts.len();
    for (data, part) in series.iter_mut().zip(parts) {
        data.ts = Run::shared(piece.ts.clone(), part.clone());
        data.values = Run::shared(piece.values.clone(), part.clone());
        data.starts = piece.starts(part);
        if copied {
            data.unshare();
        }
    }
}

fn read_piece(block: &Arc<Block>, rows: &Range<u64>) -> Result<Piece, QueryError> {
    let mut data = SeriesData::new(Labels::empty());
    read_ranges(block, schema::SAMPLES, &SAMPLE_COLUMNS, std::slice::from_ref(rows), |batch, at, _| {
        let Some(columns) = SampleColumns::of(batch) else { return Ok(()) };
        columns.copy_all(at, &mut data);
        Ok(())
    })?;
    Ok(Piece::new(rows.start, data))
}

/// Floats of series that are in no piece.
fn read_floats(
    block: &Arc<Block>,
    rows: &[&SeriesRow],
    interval: Interval,
    context: &Context,
    series: &mut [SeriesData],
) -> Result<(), QueryError> {
    let ranges: Vec<Range<u64>> = rows.iter().map(|r| r.rows.clone()).collect();
    read_ranges(block, schema::SAMPLES, &SAMPLE_COLUMNS, &ranges, |batch, at, into| {
        context.check()?;
        let Some(columns) = SampleColumns::of(batch) else { return Ok(()) };
        columns.copy(at, interval, &mut series[into]);
        Ok(())
    })
}

/// What [`SampleColumns`] reads.
const SAMPLE_COLUMNS: [&str; 5] = ["ts", "value_i64", "value_div", "value_f64", "start_ts"];

/// Reads ascending row ranges of a table and calls `take` with pieces of batches and the number of the range they belong
/// to. No column names reads all columns.
fn read_ranges(
    block: &Arc<Block>,
    table: &str,
    columns: &[&str],
    ranges: &[Range<u64>],
    mut take: impl FnMut(&RecordBatch, Range<usize>, usize) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let wanted: Vec<Range<u64>> = merged(ranges);
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(table) = block.table(table)? else { return Ok(()) };
    let scan = if columns.is_empty() { Scan::default() } else { Scan::columns(columns.iter().copied()) };
    let mut lengths = ranges.iter().map(|r| r.end - r.start).enumerate().filter(|(_, n)| *n > 0);
    let (mut into, mut left) = lengths.next().unwrap_or((0, 0));
    for batch in table.scan(&scan.rows(wanted))? {
        let batch = batch?;
        let mut at = 0;
        while at < batch.num_rows() {
            let length = (batch.num_rows() - at).min(usize::try_from(left).unwrap_or(usize::MAX));
            if length == 0 {
                return Ok(());
            }
            take(&batch, at..at + length, into)?;
            at += length;
            left -= length as u64;
            if left == 0 {
                (into, left) = lengths.next().unwrap_or((into, 0));
            }
        }
    }
    Ok(())
}

/// Ascending ranges with neighbours joined.
fn merged(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges.iter().filter(|r| !r.is_empty()) {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range.clone()),
        }
    }
    merged
}

pub struct SampleColumns<'a> {
    ts: &'a TimestampMillisecondArray,
    integers: &'a Int64Array,
    divisors: &'a Float64Array,
    floats: &'a Float64Array,
    starts: Option<&'a TimestampMillisecondArray>,
}

impl<'a> SampleColumns<'a> {
    pub fn of(batch: &'a RecordBatch) -> Option<SampleColumns<'a>> {
        let column = |name: &str| batch.column_by_name(name);
        Some(SampleColumns {
            ts: column("ts")?.as_primitive_opt()?,
            integers: column("value_i64")?.as_primitive_opt::<Int64Type>()?,
            divisors: column("value_div")?.as_primitive_opt::<Float64Type>()?,
            floats: column("value_f64")?.as_primitive_opt::<Float64Type>()?,
            starts: column("start_ts").and_then(|c| c.as_primitive_opt::<TimestampMillisecondType>()),
        })
    }

    fn value(&self, row: usize) -> f64 {
        if self.integers.is_valid(row) {
            decimal::decode(self.integers.value(row), self.divisors.value(row))
        } else {
            self.floats.value(row)
        }
    }

    /// 0 if unknown.
    fn start(&self, row: usize) -> i64 {
        self.starts.filter(|s| s.is_valid(row)).map_or(0, |s| s.value(row))
    }

    /// Appends the rows whose times lie in the interval; they are sorted.
    pub fn copy(&self, rows: Range<usize>, interval: Interval, into: &mut SeriesData) {
        let times = &self.ts.values()[rows.clone()];
        let from = rows.start + times.partition_point(|t| *t < interval.from);
        let to = rows.start + times.partition_point(|t| *t <= interval.to);
        self.copy_all(from..to, into);
    }

    fn copy_all(&self, rows: Range<usize>, into: &mut SeriesData) {
        into.ts.extend(self.ts.values()[rows.clone()].iter().copied());
        into.values.extend(rows.clone().map(|row| self.value(row)));
        if let Some(starts) = self.starts {
            into.starts.extend(rows.map(|row| if starts.is_valid(row) { starts.value(row) } else { 0 }));
        }
    }
}

fn hint_of(number: i32) -> ResetHint {
    match number {
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    }
}

/// A row of `hist`.
pub fn histogram(batch: &RecordBatch, row: usize) -> Option<HistogramSample> {
    let column = |name: &str| batch.column_by_name(name);
    let time = |name: &str| {
        let times = column(name)?.as_primitive_opt::<TimestampMillisecondType>()?;
        times.is_valid(row).then(|| times.value(row))
    };
    let int = |name: &str| Some(column(name)?.as_primitive_opt::<Int32Type>()?.value(row));
    let float = |name: &str| Some(column(name)?.as_primitive_opt::<Float64Type>()?.value(row));
    let list = |name: &str| -> Option<ArrayRef> { Some(column(name)?.as_list_opt::<i32>()?.value(row)) };
    let floats = |name: &str| -> Option<Vec<f64>> { Some(list(name)?.as_primitive_opt::<Float64Type>()?.values().to_vec()) };
    let buckets = |indexes: &str, counts: &str| -> Option<Buckets> {
        let indexes = list(indexes)?;
        let indexes = indexes.as_primitive_opt::<Int32Type>()?.values().to_vec();
        Some(indexes.into_iter().zip(floats(counts)?).collect())
    };
    let histogram = Histogram {
        hint: hint_of(int("reset_hint")?),
        schema: int("schema")?,
        zero_threshold: float("zero_threshold")?,
        zero_count: float("zero_count")?,
        count: float("count")?,
        sum: float("sum")?,
        positive: buckets("positive_index", "positive_count")?,
        negative: buckets("negative_index", "negative_count")?,
        custom: floats("custom_values")?.into(),
    };
    Some(HistogramSample { ts: time("ts")?, start: time("start_ts").unwrap_or(0), histogram: Arc::new(histogram) })
}

/// The newest sample in this block of each of the series with these ids, and perhaps its newest float or histogram, too.
pub fn block_newest(block: &Arc<Block>, ids: &HashSet<i64>) -> Result<Vec<(i64, Newest)>, ReadError> {
    let ends = Ends::of(block)?;
    let found: Vec<End> = ids.iter().filter_map(|id| ends.get(*id)).collect();
    let mut newest: Vec<(i64, Newest)> = Vec::new();
    let error = |e: QueryError| ReadError { block: block.meta().id, table: schema::SAMPLES.to_owned(), cause: e.to_string() };
    let (of, ranges) = last_rows(&found, |end| end.row);
    let floats = read_ranges(block, schema::SAMPLES, &SAMPLE_COLUMNS, &ranges, |batch, at, into| {
        if let Some(columns) = SampleColumns::of(batch) {
            let (ts, start) = (columns.ts.value(at.start), columns.start(at.start));
            newest.push((of[into], Newest { ts, start, value: Value::Float(columns.value(at.start)) }));
        }
        Ok(())
    });
    floats.map_err(error)?;
    let (of, ranges) = last_rows(&found, |end| end.hist_row);
    let histograms = read_ranges(block, schema::HIST, &[], &ranges, |batch, at, into| {
        if let Some(sample) = histogram(batch, at.start) {
            newest.push((of[into], Newest { ts: sample.ts, start: sample.start, value: Value::Histogram(sample.histogram) }));
        }
        Ok(())
    });
    histograms.map_err(error)?;
    Ok(newest)
}

/// Ids of the series that have a last row, in the order of these rows, and the rows.
fn last_rows(ends: &[End], row: impl Fn(&End) -> Option<u64>) -> (Vec<i64>, Vec<Range<u64>>) {
    let mut rows: Vec<(u64, i64)> = ends.iter().filter_map(|end| Some((row(end)?, end.id))).collect();
    rows.sort_unstable();
    rows.into_iter().map(|(row, id)| (id, row..row + 1)).unzip()
}
