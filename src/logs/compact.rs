//! The rule by which blocks of logs become one: streams in the order of [`sort_key`], each with its lines by time; of equal
//! lines with equal metadata, of one stream and time, the earlier accepted stays. Rows are copied column by column, in runs.

use super::erase::Eraser;
use super::head::{dense_labels, logs_options, sort_key};
use super::schema::{self, LogsBuilder, StreamRow, dense_keys, streams_batch};
use super::source::{Columns, Run, decode_streams};
use crate::model::Labels;
use crate::storage::block::{Block, BlockWriter, relabel};
use crate::storage::{Merge, MergeError, Merged, RowStream, Scan, TableOptions};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow_data::transform::MutableArrayData;
use arrow_schema::{ArrowError, SchemaRef};
use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

/// Rows and bytes that are put together at a time.
const BATCH_ROWS: usize = 16_384;
const BATCH_BYTES: usize = 16 << 20;

/// Rows of `streams` that are written at a time.
const PENDING_STREAMS: usize = 8 << 10;

/// One part in so many of the rows is looked at to choose columns.
const SAMPLE: u64 = 16;
const SAMPLE_ROWS: u64 = 4_096;

/// One input: both of its tables are in order of streams.
struct Cursor<'a> {
    streams: RowStream<'a>,
    queue: VecDeque<Run>,
    rows: RowStream<'a>,
    erasers: Vec<Eraser>,
}

impl Cursor<'_> {
    fn peek(&mut self) -> Result<Option<&Run>, MergeError> {
        while self.queue.is_empty() {
            let Some(batch) = self.streams.take(usize::MAX)? else { return Ok(None) };
            let mut runs = Vec::with_capacity(batch.num_rows());
            decode_streams(&batch, &mut runs);
            if runs.len() < batch.num_rows() {
                return Err(MergeError::Arrow(ArrowError::SchemaError("table streams has another shape".into())));
            }
            self.queue.extend(runs);
        }
        Ok(self.queue.front())
    }
}

/// One input's share in the stream at hand.
struct Share {
    cursor: usize,
    left: u64,
    /// Rows that are read and not merged yet.
    loaded: Option<Loaded>,
}

struct Loaded {
    columns: Columns,
    batch: RecordBatch,
    /// The next row.
    at: usize,
}

impl Loaded {
    fn is_done(&self) -> bool {
        self.at == self.batch.num_rows()
    }

    fn last_time(&self) -> i64 {
        self.columns.ts(self.batch.num_rows() - 1)
    }
}

pub fn merge(merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
    let Merge { inputs, times, pace } = merge;
    let blocks: Vec<&Arc<Block>> = inputs.iter().map(|i| &i.block).collect();
    let shape = Shape::choose(&blocks)?;
    let mut cursors = Vec::with_capacity(inputs.len());
    for input in &inputs {
        cursors.push(Cursor {
            streams: RowStream::open(&input.block, schema::STREAMS)?,
            queue: VecDeque::new(),
            rows: RowStream::mapped(&input.block, schema::LOGS, |batch| Ok(shape.fit(batch)?))?,
            erasers: input.tombstones.iter().cloned().map(Eraser::new).collect(),
        });
    }
    let mut output = Output::new(out, &shape)?;
    while let Some(labels) = smallest(&mut cursors)? {
        pace.step()?;
        let mut shares = Vec::new();
        for (index, cursor) in cursors.iter_mut().enumerate() {
            if let Some(run) = cursor.queue.pop_front_if(|run| run.labels == labels) {
                shares.push(Share { cursor: index, left: run.rows.end - run.rows.start, loaded: None });
            }
        }
        output.begin(labels.clone());
        let mut same_time = SameTime::default();
        while merge_piece(&mut cursors, &mut shares, &labels, (&times, &mut same_time), &mut output)? {
            pace.step()?;
        }
        output.end()?;
    }
    output.finish()
}

/// The first stream, in order, of all inputs.
fn smallest(cursors: &mut [Cursor<'_>]) -> Result<Option<Labels>, MergeError> {
    let mut smallest: Option<Labels> = None;
    for cursor in cursors {
        if let Some(run) = cursor.peek()?
            && smallest.as_ref().is_none_or(|s| sort_key(&run.labels) < sort_key(s))
        {
            smallest = Some(run.labels.clone());
        }
    }
    Ok(smallest)
}

/// Merges, of each input, the rows up to a time that every input was read to. `false` when the stream has ended.
fn merge_piece(
    cursors: &mut [Cursor<'_>],
    shares: &mut [Share],
    labels: &Labels,
    (times, same_time): (&RangeInclusive<i64>, &mut SameTime),
    output: &mut Output<'_, '_>,
) -> Result<bool, MergeError> {
    let mut bound = i64::MAX;
    for share in shares.iter_mut() {
        while share.loaded.as_ref().is_none_or(Loaded::is_done) && share.left > 0 {
            let max = usize::try_from(share.left).unwrap_or(usize::MAX);
            let missing = || MergeError::Arrow(ArrowError::SchemaError("table logs has too few rows".into()));
            let batch = cursors[share.cursor].rows.take(max)?.ok_or_else(missing)?;
            share.left -= batch.num_rows() as u64;
            share.loaded = Some(Loaded { columns: Columns::read(&batch)?, batch, at: 0 });
        }
        if let Some(loaded) = share.loaded.as_ref().filter(|_| share.left > 0) {
            bound = bound.min(loaded.last_time());
        }
    }
    let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
    loop {
        let next = |s: &Share| s.loaded.as_ref().filter(|l| !l.is_done()).map(|l| l.columns.ts(l.at));
        // Of equal times that of the earlier input.
        let Some((ts, index)) = shares.iter().enumerate().filter_map(|(i, s)| Some((next(s)?, i))).min() else { break };
        if ts > bound {
            break;
        }
        let others = shares.iter().enumerate().filter(|(i, _)| *i != index).filter_map(|(i, s)| Some((next(s)?, i))).min();
        let share = &mut shares[index];
        let Some(loaded) = &mut share.loaded else { break };
        let erasers = &cursors[share.cursor].erasers;
        while !loaded.is_done() {
            let row = loaded.at;
            let time = loaded.columns.ts(row);
            // Up to where another input has the next row.
            if time > bound || others.is_some_and(|o| (time, index) > o) {
                break;
            }
            loaded.at += 1;
            // An input that is read to the bound may have further rows of that time.
            let alone = time < bound && others.is_none_or(|(o, _)| time < o) && same_time.ts != Some(time);
            let hidden = !times.contains(&time) || erasers.iter().any(|e| e.hides(labels, &loaded.columns, row));
            if hidden || (!alone && !same_time.is_first(time, index, &loaded.columns, row)) {
                continue;
            }
            match runs.last_mut() {
                Some((of, rows)) if *of == index && rows.end == row => rows.end += 1,
                _ => runs.push((index, row..row + 1)),
            }
        }
    }
    let mut any = false;
    for (index, rows) in runs {
        if let Some(loaded) = &shares[index].loaded {
            output.rows(&loaded.batch, &loaded.columns, rows);
            any = true;
        }
    }
    output.flush_if_large()?;
    let more = |s: &Share| s.left > 0 || s.loaded.as_ref().is_some_and(|l| !l.is_done());
    Ok(any || shares.iter().any(more))
}

/// The rows of one time, from all inputs.
#[derive(Default)]
struct SameTime {
    ts: Option<i64>,
    /// The input of each, too: an input has no copies inside.
    seen: Vec<(usize, u128)>,
}

impl SameTime {
    fn is_first(&mut self, ts: i64, input: usize, columns: &Columns, row: usize) -> bool {
        if self.ts != Some(ts) {
            self.ts = Some(ts);
            self.seen.clear();
        }
        let print = columns.fingerprint(row);
        let first = !self.seen.iter().any(|(of, p)| *of != input && *p == print);
        self.seen.push((input, print));
        first
    }
}

/// The columns of the new block.
struct Shape {
    dense: Vec<String>,
    with_observed: bool,
    dense_labels: Vec<String>,
    schema: SchemaRef,
}

impl Shape {
    fn choose(blocks: &[&Arc<Block>]) -> Result<Shape, MergeError> {
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut rows = 0;
        let mut with_observed = false;
        let mut labels: HashMap<String, u64> = HashMap::new();
        let mut streams = 0;
        for block in blocks {
            let Some(table) = block.table(schema::LOGS)? else { continue };
            with_observed |= table.has_column(schema::OBSERVED_TS);
            let of_metadata = |n: &&String| n.starts_with(schema::METADATA_PREFIX) || *n == schema::METADATA_REST;
            let columns: Vec<String> = table.schema().fields().iter().map(|f| f.name()).filter(of_metadata).cloned().collect();
            let ranges = (0..table.rows()).step_by((SAMPLE * SAMPLE_ROWS) as usize).map(|r| r..(r + SAMPLE_ROWS).min(table.rows()));
            let scan = Scan::columns(columns).rows(ranges.collect());
            for batch in table.scan(&scan)? {
                let batch = batch?;
                rows += batch.num_rows() as u64;
                count_keys(&batch, &mut counts);
            }
            let mut table = RowStream::open(block, schema::STREAMS)?;
            while let Some(batch) = table.take(usize::MAX)? {
                let mut runs = Vec::new();
                decode_streams(&batch, &mut runs);
                streams += runs.len() as u64;
                for (name, _) in runs.iter().flat_map(|r| r.labels.iter()) {
                    *labels.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        let dense = dense_keys(counts.iter().map(|(k, n)| (k.as_str(), *n)), rows);
        let dense_labels = dense_labels(labels.iter().map(|(k, n)| (k.as_str(), *n)), streams);
        let schema = LogsBuilder::new(0, &dense).finish(with_observed)?.schema();
        Ok(Shape { dense, with_observed, dense_labels, schema })
    }

    /// The batch with the columns of the new block. Where no value moves between a column and the map, columns are shared.
    fn fit(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let schema = batch.schema();
        let own = schema.fields().iter().filter_map(|f| f.name().strip_prefix(schema::METADATA_PREFIX));
        let moves = |key: &str| self.dense.iter().all(|d| d != key);
        let dense: HashSet<&str> = self.dense.iter().map(String::as_str).collect();
        let keys = batch.column_by_name(schema::METADATA_REST).and_then(|c| c.as_map_opt()).map(|m| m.keys().clone());
        let in_rest = keys.as_ref().and_then(|k| k.as_string_opt::<i32>());
        let comes = in_rest.is_some_and(|keys| keys.iter().flatten().any(|k| dense.contains(k)));
        if comes || own.into_iter().any(moves) {
            return self.rebuild(&batch);
        }
        let column = |field: &arrow_schema::FieldRef| -> ArrayRef {
            let found = batch.column_by_name(field.name()).cloned();
            found.unwrap_or_else(|| new_null_array(field.data_type(), batch.num_rows()))
        };
        let columns: Vec<ArrayRef> = self.schema.fields().iter().map(column).collect();
        // Files number the fields of a map; here they are as the builder makes them.
        let columns = columns.into_iter().zip(self.schema.fields()).map(|(c, f)| relabel(&c, f.data_type()));
        RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_, _>>()?)
    }

    fn rebuild(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = Columns::read(batch)?;
        let mut builder = LogsBuilder::new(batch.num_rows(), &self.dense);
        for row in 0..columns.len() {
            let metadata = columns.metadata(row);
            let pairs = metadata.iter().map(|(n, v)| (*n, &**v));
            builder.append(columns.stream_id(row), columns.ts(row), columns.line(row), pairs)?;
        }
        builder.finish(self.with_observed)
    }
}

fn count_keys(batch: &RecordBatch, counts: &mut HashMap<String, u64>) {
    let mut add = |key: &str, n: u64| match counts.get_mut(key) {
        Some(count) => *count += n,
        None => {
            counts.insert(key.to_owned(), n);
        }
    };
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if let Some(key) = field.name().strip_prefix(schema::METADATA_PREFIX) {
            add(key, (column.len() - column.null_count()) as u64);
        } else if let Some(map) = column.as_map_opt() {
            // A sliced map still has the keys of all its rows.
            let offsets = map.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[map.len()] as usize);
            if let Some(keys) = map.keys().as_string_opt::<i32>() {
                (from..to).for_each(|at| add(keys.value(at), 1));
            }
        }
    }
}

/// The tables of the new block.
struct Output<'o, 'w> {
    out: &'o mut BlockWriter<'w>,
    shape: &'o Shape,
    /// Rows that are not written yet: batches, and which of their rows.
    batches: Vec<RecordBatch>,
    runs: Vec<(usize, Range<usize>)>,
    pending_rows: usize,
    current: Option<Run>,
    next_row: u64,
    streams: Vec<Run>,
    merged: Merged,
}

impl<'o, 'w> Output<'o, 'w> {
    fn new(out: &'o mut BlockWriter<'w>, shape: &'o Shape) -> Result<Output<'o, 'w>, MergeError> {
        out.open(schema::LOGS, &shape.schema, &logs_options())?;
        let merged = Merged { min_time: i64::MAX, max_time: i64::MIN, items: 0 };
        Ok(Output {
            out,
            shape,
            batches: Vec::new(),
            runs: Vec::new(),
            pending_rows: 0,
            current: None,
            next_row: 0,
            streams: Vec::new(),
            merged,
        })
    }

    fn begin(&mut self, labels: Labels) {
        let id = labels.stable_id();
        let rows = self.next_row..self.next_row;
        self.current = Some(Run { labels, id, rows, min_ts: i64::MAX, max_ts: i64::MIN, bytes: 0 });
    }

    fn rows(&mut self, batch: &RecordBatch, columns: &Columns, rows: Range<usize>) {
        let Some(run) = &mut self.current else { return };
        rows.clone().for_each(|row| run.extend(columns.ts(row), columns.line(row).len()));
        self.pending_rows += rows.len();
        // Neighbouring runs are mostly of one batch.
        let known = self.batches.iter().rposition(|b| Arc::ptr_eq(b.column(0), batch.column(0)));
        let index = known.unwrap_or_else(|| {
            self.batches.push(batch.clone());
            self.batches.len() - 1
        });
        self.runs.push((index, rows));
    }

    fn end(&mut self) -> Result<(), MergeError> {
        let Some(run) = self.current.take().filter(|r| !r.rows.is_empty()) else { return Ok(()) };
        self.next_row = run.rows.end;
        self.merged.min_time = self.merged.min_time.min(run.min_ts);
        self.merged.max_time = self.merged.max_time.max(run.max_ts);
        self.streams.push(run);
        if self.streams.len() >= PENDING_STREAMS { self.write_streams() } else { Ok(()) }
    }

    fn flush_if_large(&mut self) -> Result<(), MergeError> {
        let bytes = || self.batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>();
        if self.pending_rows >= BATCH_ROWS || self.batches.len() > 64 || (self.batches.len() > 8 && bytes() > BATCH_BYTES) {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MergeError> {
        let (batches, runs) = (std::mem::take(&mut self.batches), std::mem::take(&mut self.runs));
        if self.pending_rows == 0 {
            return Ok(());
        }
        let mut columns = Vec::with_capacity(self.shape.schema.fields().len());
        for column in 0..self.shape.schema.fields().len() {
            let data: Vec<_> = batches.iter().map(|b| b.column(column).to_data()).collect();
            let mut joined = MutableArrayData::new(data.iter().collect(), false, self.pending_rows);
            runs.iter().try_for_each(|(of, rows)| joined.try_extend(*of, rows.start, rows.end))?;
            columns.push(arrow_array::make_array(joined.freeze()));
        }
        let batch = RecordBatch::try_new(self.shape.schema.clone(), columns)?;
        self.merged.items += self.pending_rows as u64;
        self.pending_rows = 0;
        Ok(self.out.write(schema::LOGS, &batch)?)
    }

    fn write_streams(&mut self) -> Result<(), MergeError> {
        let runs = std::mem::take(&mut self.streams);
        let rows: Vec<StreamRow<'_>> = runs.iter().map(StreamRow::of).collect();
        let batch = streams_batch(&rows, &self.shape.dense_labels)?;
        if !self.out.is_open(schema::STREAMS) {
            self.out.open(schema::STREAMS, &batch.schema(), &TableOptions::default())?;
        }
        Ok(self.out.write(schema::STREAMS, &batch)?)
    }

    fn finish(mut self) -> Result<Option<Merged>, MergeError> {
        self.flush()?;
        if self.merged.items == 0 {
            return Ok(None);
        }
        self.write_streams()?;
        Ok(Some(self.merged))
    }
}
