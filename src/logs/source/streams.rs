use super::unreadable;
use crate::logs::schema;
use crate::model::{Labels, MatchOp, Matcher, TimeRange};
use crate::query::QueryError;
use crate::storage::block::{Block, Kept, ReadError, Table};
use crate::storage::{Predicate, Scan, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, Int64Array, MapArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::DataType;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The rows of one stream in one chunk or block: they stand together.
#[derive(Debug, Clone)]
pub struct Run {
    pub labels: Labels,
    pub id: i64,
    pub rows: Range<u64>,
    /// Times of the oldest and newest entry, both inclusive.
    pub min_ts: i64,
    pub max_ts: i64,
    /// Bytes of the lines.
    pub bytes: u64,
}

impl Run {
    /// One more row at the end.
    pub fn extend(&mut self, ts: i64, line_bytes: usize) {
        self.rows.end += 1;
        self.min_ts = self.min_ts.min(ts);
        self.max_ts = self.max_ts.max(ts);
        self.bytes += line_bytes as u64;
    }

    /// Takes over bounds and bytes, not rows.
    pub fn absorb(&mut self, other: &Run) {
        self.min_ts = self.min_ts.min(other.min_ts);
        self.max_ts = self.max_ts.max(other.max_ts);
        self.bytes += other.bytes;
    }

    /// Memory that it takes, its labels included, which it may share.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Run>() + self.labels.heap_bytes()
    }
}

/// Streams of a block that are kept decoded, a few MB; a table with more of them is read anew by whoever asks, a batch at a
/// time, so that memory does not depend on how many streams there are.
const KEPT_MAX: u64 = 16_384;

/// A block's `streams`, decoded.
pub struct StreamTable {
    runs: Vec<Run>,
    by_id: HashMap<i64, u32>,
}

impl StreamTable {
    pub fn labels_of(&self, id: i64) -> Option<&Labels> {
        self.by_id.get(&id).and_then(|at| self.runs.get(*at as usize)).map(|r| &r.labels)
    }
}

impl Kept for StreamTable {
    fn bytes(&self) -> u64 {
        let runs = self.runs.iter().map(Run::heap_bytes).sum::<usize>();
        (runs + self.by_id.len() * 2 * size_of::<(i64, u32)>()) as u64
    }
}

/// Read once and kept for a while; `None` if it is too large for that.
pub fn kept_streams(block: &Arc<Block>) -> Result<Option<Arc<StreamTable>>, ReadError> {
    if block.meta().table(schema::STREAMS).is_some_and(|t| t.rows > KEPT_MAX) {
        return Ok(None);
    }
    let table = block.derived("logs.streams", || {
        let mut runs = Vec::new();
        if let Some(table) = block.table(schema::STREAMS)? {
            for batch in table.scan(&Scan::default())? {
                decode_streams(&batch?, &mut runs);
            }
        }
        let by_id = runs.iter().zip(0..).map(|(r, at)| (r.id, at)).collect();
        Ok(StreamTable { runs, by_id })
    });
    table.map(Some)
}

pub fn matches(labels: &Labels, matchers: &[Matcher]) -> bool {
    matchers.iter().all(|m| m.matches(labels.value(&m.name)))
}

/// Calls `visit` for the streams of a block that satisfy all matchers and have an entry between their own bounds in `range`,
/// in the order of the block.
pub fn each_stream(
    block: &Arc<Block>,
    range: TimeRange,
    matchers: &[Matcher],
    mut visit: impl FnMut(&Run) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let in_time = |r: &&Run| range.overlaps(r.min_ts, r.max_ts);
    if let Some(table) = kept_streams(block).map_err(|e| unreadable(&e))? {
        return table.runs.iter().filter(in_time).filter(|r| matches(&r.labels, matchers)).try_for_each(visit);
    }
    let Some(table) = block.table(schema::STREAMS).map_err(|e| unreadable(&e))? else { return Ok(()) };
    for batch in table.scan(&narrowed(&table, block, range, matchers)).map_err(|e| unreadable(&e))? {
        let batch = batch.map_err(|e| unreadable(&e))?;
        let Some(columns) = StreamColumns::of(&batch) else { continue };
        let mut tests: Vec<Test<'_>> = matchers.iter().map(|m| Test::new(m, &columns)).collect();
        for row in 0..batch.num_rows() {
            if range.overlaps(columns.min.value(row), columns.max.value(row)) && tests.iter_mut().all(|t| t.holds(row)) {
                visit(&columns.run(row))?;
            }
        }
    }
    Ok(())
}

/// A scan of the streams that leaves out what statistics rule out.
fn narrowed(table: &Table, block: &Block, range: TimeRange, matchers: &[Matcher]) -> Scan {
    let mut scan = Scan::default();
    for matcher in matchers.iter().filter(|m| m.op == MatchOp::Equal && !m.value.is_empty()) {
        // A label has either a column, and then all of its values are there, or none.
        let column = format!("{}{}", schema::LABEL_PREFIX, matcher.name);
        if table.has_column(&column) {
            scan = scan.with(Predicate::OneOf { column, values: vec![Value::Text(matcher.value.clone())] });
        }
    }
    if block.meta().max_time >= range.end {
        scan = scan.with(Predicate::Between { column: schema::MIN_TS.into(), min: i64::MIN, max: range.end.saturating_sub(1) });
    }
    if block.meta().min_time < range.start {
        scan = scan.with(Predicate::Between { column: schema::MAX_TS.into(), min: range.start, max: i64::MAX });
    }
    scan
}

/// The columns of a batch of `streams`.
struct StreamColumns<'a> {
    ids: &'a Int64Array,
    starts: &'a Int64Array,
    counts: &'a Int64Array,
    bytes: &'a Int64Array,
    min: &'a TimestampNanosecondArray,
    max: &'a TimestampNanosecondArray,
    /// Labels with columns of their own, by name.
    dense: Vec<(&'a str, &'a StringArray)>,
    rest: Option<Rest<'a>>,
}

/// The labels without columns of their own.
struct Rest<'a> {
    map: &'a MapArray,
    names: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> Rest<'a> {
    fn of(row: usize, rest: &Rest<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
        let (names, values) = (rest.names, rest.values);
        let offsets = rest.map.value_offsets();
        (offsets[row] as usize..offsets[row + 1] as usize).map(move |at| (names.value(at), values.value(at)))
    }
}

impl<'a> StreamColumns<'a> {
    /// `None` if the columns are not those of the schema: such a file was not written by us.
    fn of(batch: &'a RecordBatch) -> Option<StreamColumns<'a>> {
        let column = |name: &str, data_type: &DataType| batch.column_by_name(name).filter(|c| c.data_type() == data_type);
        let number = |name: &str| column(name, &DataType::Int64).map(|c| c.as_primitive::<Int64Type>());
        let time = |name: &str| column(name, &schema::timestamp_type()).map(|c| c.as_primitive::<TimestampNanosecondType>());
        let named = batch.schema_ref().fields().iter().zip(batch.columns());
        let texts = named.filter(|(_, c)| *c.data_type() == DataType::Utf8);
        let label = texts.filter_map(|(f, c)| f.name().strip_prefix(schema::LABEL_PREFIX).map(|n| (n, c.as_string::<i32>())));
        let mut dense: Vec<(&str, &StringArray)> = label.collect();
        dense.sort_unstable_by_key(|(name, _)| *name);
        let rest = batch.column_by_name(schema::LABEL_REST).and_then(|c| c.as_map_opt());
        let rest = rest.and_then(|map| Some(Rest { map, names: map.keys().as_string_opt()?, values: map.values().as_string_opt()? }));
        Some(StreamColumns {
            ids: number(schema::STREAM_ID)?,
            starts: number(schema::ROW_START)?,
            counts: number(schema::ROW_COUNT)?,
            bytes: number(schema::BYTES)?,
            min: time(schema::MIN_TS)?,
            max: time(schema::MAX_TS)?,
            dense,
            rest,
        })
    }

    fn labels(&self, row: usize) -> Labels {
        let dense = self.dense.iter().filter(|(_, c)| c.is_valid(row)).map(|(n, c)| (*n, c.value(row)));
        let mut rest = self.rest.iter().flat_map(|rest| Rest::of(row, rest)).peekable();
        if rest.peek().is_none() {
            return Labels::from_sorted(dense);
        }
        Labels::from_pairs(dense.chain(rest))
    }

    fn run(&self, row: usize) -> Run {
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        let start = unsigned(self.starts.value(row));
        Run {
            labels: self.labels(row),
            id: self.ids.value(row),
            rows: start..start.saturating_add(unsigned(self.counts.value(row))),
            min_ts: self.min.value(row),
            max_ts: self.max.value(row),
            bytes: unsigned(self.bytes.value(row)),
        }
    }
}

/// A matcher over the rows of a batch, which are sorted: neighbours mostly have the same value.
struct Test<'a> {
    matcher: &'a Matcher,
    column: Option<&'a StringArray>,
    rest: Option<&'a Rest<'a>>,
    last: Option<(&'a str, bool)>,
}

impl<'a> Test<'a> {
    fn new(matcher: &'a Matcher, columns: &'a StreamColumns<'a>) -> Test<'a> {
        let column = columns.dense.iter().find(|(n, _)| *n == matcher.name).map(|(_, c)| *c);
        Test { matcher, column, rest: columns.rest.as_ref().filter(|_| column.is_none()), last: None }
    }

    fn holds(&mut self, row: usize) -> bool {
        let in_rest = || self.rest.and_then(|rest| Rest::of(row, rest).find(|(n, _)| *n == self.matcher.name)).map(|(_, v)| v);
        let value = match self.column {
            Some(column) if column.is_valid(row) => column.value(row),
            Some(_) => "",
            None => in_rest().unwrap_or(""),
        };
        match self.last {
            Some((last, held)) if last == value => held,
            _ => {
                let holds = self.matcher.matches(value);
                self.last = Some((value, holds));
                holds
            }
        }
    }
}

/// Rows of a batch whose columns are not those of the schema are left out.
pub fn decode_streams(batch: &RecordBatch, runs: &mut Vec<Run>) {
    if let Some(columns) = StreamColumns::of(batch) {
        runs.extend((0..batch.num_rows()).map(|row| columns.run(row)));
    }
}
