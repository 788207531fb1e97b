//! A head as blocks: sorted by stream and time, without duplicates, split by day (decisions 16, 21). Rows are put into columns
//! piece by piece, as they are written.

use super::Chunk;
use crate::logs::rows::Lines;
use crate::logs::schema::{self, Binary, LogsBuilder, Slot, StreamRow, dense_keys, streams_batch};
use crate::logs::source::Run;
use crate::model::{Labels, time};
use crate::storage::{BlockDraft, Portion, TableDraft, TableOptions};
use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Blocks of one day each that one cut writes at most; the rest goes into one mixed block.
const DAYS_MAX: usize = 32;
/// Rows that are in columns at a time.
const BATCH_ROWS: usize = 8_192;

/// Streams of one service stand together, because they are read together.
pub fn sort_key(labels: &Labels) -> (&str, &str, &Labels) {
    let namespace = ["service_namespace", "k8s_namespace_name", "namespace"].into_iter().find_map(|n| labels.get(n));
    (labels.value("service_name"), namespace.unwrap_or(""), labels)
}

/// A run, by the position of its chunk and its own there.
type Place = (u32, u32);

/// A row: its time, and the position of its chunk and its own there, which grow with acceptance.
type RowRef = (i64, u32, u32);

/// What a cut writes.
struct Sources {
    chunks: Vec<Arc<Chunk>>,
    /// The runs of all chunks, in the order in which they are written; those of one stream in order of acceptance.
    places: Vec<Place>,
}

pub fn drafts(chunks: Vec<Arc<Chunk>>) -> impl Iterator<Item = Result<BlockDraft, ArrowError>> {
    let mut runs: Vec<((&str, &str, &Labels), Place)> = Vec::new();
    for (chunk, number) in chunks.iter().zip(0..) {
        runs.extend(chunk.runs().iter().zip(0..).map(|(run, at)| (sort_key(&run.labels), (number, at))));
    }
    runs.sort_unstable();
    let places = runs.into_iter().map(|(_, place)| place).collect();
    let sources = Arc::new(Sources { chunks, places });
    sources.days().into_iter().map(move |(days, mixed)| draft(&sources, days, mixed))
}

impl Sources {
    fn run(&self, (chunk, at): Place) -> &Run {
        &self.chunks[chunk as usize].runs()[at as usize]
    }

    /// The runs of the stream that comes at `from`.
    fn stream(&self, from: usize) -> &[Place] {
        let rest = &self.places[from..];
        let Some(first) = rest.first() else { return rest };
        let labels = &self.run(*first).labels;
        &rest[..rest.iter().position(|place| self.run(*place).labels != *labels).unwrap_or(rest.len())]
    }

    /// The days to write a block for, newest last, and whether it holds several.
    fn days(&self) -> Vec<(RangeInclusive<i64>, bool)> {
        let mut days = BTreeSet::new();
        for chunk in &self.chunks {
            for run in chunk.runs() {
                let (first, last) = (time::day_of(run.min_ts), time::day_of(run.max_ts));
                if last - first <= 1 {
                    days.extend([first, last]);
                } else {
                    days.extend(run.rows.clone().map(|row| time::day_of(chunk.lines().ts(row as usize))));
                }
            }
        }
        let days: Vec<i64> = days.into_iter().collect();
        let (old, young) = days.split_at(days.len().saturating_sub(DAYS_MAX));
        let mixed = old.first().zip(old.last()).map(|(first, last)| (*first..=*last, true));
        mixed.into_iter().chain(young.iter().map(|day| (*day..=*day, false))).collect()
    }

    /// The rows of a stream on these days, sorted and without duplicates.
    fn rows(&self, stream: &[Place], days: &RangeInclusive<i64>) -> Vec<RowRef> {
        let mut rows: Vec<RowRef> = Vec::new();
        for place in stream {
            let run = self.run(*place);
            let (first, last) = (time::day_of(run.min_ts), time::day_of(run.max_ts));
            let lines = self.chunks[place.0 as usize].lines();
            let all = run.rows.clone().map(|row| (lines.ts(row as usize), place.0, row as u32));
            if days.contains(&first) && days.contains(&last) {
                rows.extend(all);
            } else if first <= *days.end() && last >= *days.start() {
                rows.extend(all.filter(|(ts, ..)| days.contains(&time::day_of(*ts))));
            }
        }
        rows.sort_by_key(|(ts, ..)| *ts);
        self.drop_duplicates(&mut rows);
        rows
    }

    /// Of rows of one stream with equal time, line and metadata the first accepted stays. `rows` is sorted.
    fn drop_duplicates(&self, rows: &mut Vec<RowRef>) {
        if rows.windows(2).all(|pair| pair[0].0 != pair[1].0) {
            return;
        }
        let mut group: Vec<u128> = Vec::new();
        let mut first: Option<RowRef> = None;
        let print = |(_, chunk, row): RowRef| self.chunks[chunk as usize].lines().fingerprint(row as usize);
        rows.retain(|row| {
            let Some(of_group) = first.filter(|f| f.0 == row.0) else {
                group.clear();
                first = Some(*row);
                return true;
            };
            if group.is_empty() {
                group.push(print(of_group));
            }
            let fingerprint = print(*row);
            let new = !group.contains(&fingerprint);
            group.push(fingerprint);
            new
        });
    }
}

fn draft(sources: &Arc<Sources>, days: RangeInclusive<i64>, mixed: bool) -> Result<BlockDraft, ArrowError> {
    let (dense, with_observed) = columns_of(sources, &days);
    let mut builder = LogsBuilder::new(0, &dense);
    let schema = builder.finish(with_observed)?.schema();
    let slots = sources.chunks.iter().map(|chunk| Slots::of(chunk, &builder)).collect();
    let day = *days.end();
    let pieces = Pieces {
        sources: sources.clone(),
        days,
        with_observed,
        builder,
        slots,
        next: 0,
        rows: Vec::new().into_iter(),
        runs: Vec::new(),
        is_done: false,
    };
    Ok(BlockDraft {
        day,
        mixed,
        min_time: i64::MAX,
        max_time: i64::MIN,
        items: 0,
        tables: vec![logs_table(schema, Vec::new())],
        more: Some(Box::new(pieces)),
    })
}

/// The keys with columns of their own among the rows of these days, and whether there is a column of observed times.
fn columns_of(sources: &Sources, days: &RangeInclusive<i64>) -> (Vec<String>, bool) {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    let (mut rows, mut with_observed) = (0, false);
    for chunk in &sources.chunks {
        let lines = chunk.lines();
        let mut of_names = vec![0u64; lines.names().len()];
        let mut of_shared = vec![0u64; lines.shared_sets().len()];
        let special: Vec<bool> = lines.names().iter().map(|name| schema::may_be_binary(name)).collect();
        for row in 0..lines.len() {
            if !days.contains(&time::day_of(lines.ts(row))) {
                continue;
            }
            rows += 1;
            for (name, value) in lines.own_pairs(row) {
                let at = name as usize;
                match special[at].then(|| Binary::of(&lines.names()[at], value)).flatten() {
                    Some(binary) => with_observed |= matches!(binary, Binary::Observed(_)),
                    None => of_names[at] += 1,
                }
            }
            if let Some(shared) = lines.shared_of(row) {
                of_shared[shared] += 1;
            }
        }
        for (name, count) in lines.names().iter().zip(of_names) {
            *counts.entry(name).or_default() += count;
        }
        for (pairs, count) in lines.shared_sets().iter().zip(of_shared).filter(|(_, count)| *count > 0) {
            for (name, value) in pairs.iter() {
                match Binary::of(name, value) {
                    Some(binary) => with_observed |= matches!(binary, Binary::Observed(_)),
                    None => *counts.entry(name).or_default() += count,
                }
            }
        }
    }
    (dense_keys(counts.into_iter(), rows), with_observed)
}

/// Where the metadata of a chunk goes: by the numbers of its names, and of its shared pairs.
struct Slots {
    names: Vec<Slot>,
    shared: Vec<Vec<Slot>>,
}

impl Slots {
    fn of(chunk: &Chunk, builder: &LogsBuilder) -> Slots {
        let lines = chunk.lines();
        Slots {
            names: lines.names().iter().map(|name| builder.slot(name)).collect(),
            shared: lines.shared_sets().iter().map(|pairs| pairs.iter().map(|(name, _)| builder.slot(name)).collect()).collect(),
        }
    }
}

/// The rows of a block, some [`BATCH_ROWS`] at a time, and its streams behind them.
struct Pieces {
    sources: Arc<Sources>,
    days: RangeInclusive<i64>,
    with_observed: bool,
    builder: LogsBuilder,
    slots: Vec<Slots>,
    /// The place that comes next, and what is left of the stream before it.
    next: usize,
    rows: std::vec::IntoIter<RowRef>,
    runs: Vec<Run>,
    is_done: bool,
}

impl Iterator for Pieces {
    type Item = Result<Portion, ArrowError>;

    fn next(&mut self) -> Option<Result<Portion, ArrowError>> {
        if self.is_done {
            return None;
        }
        let piece = self.piece();
        self.is_done |= piece.is_err();
        Some(piece)
    }
}

impl Pieces {
    fn piece(&mut self) -> Result<Portion, ArrowError> {
        let sources = self.sources.clone();
        let mut portion = Portion { min_time: i64::MAX, max_time: i64::MIN, items: 0, tables: Vec::new() };
        while portion.items < BATCH_ROWS as u64 {
            let Some(row) = self.rows.next() else {
                if self.begin_stream(&sources) {
                    continue;
                }
                self.is_done = true;
                break;
            };
            let Some(run) = self.runs.last_mut() else { break };
            let lines = sources.chunks[row.1 as usize].lines();
            append(&mut self.builder, &self.slots[row.1 as usize], (lines, row.2 as usize), run.id)?;
            run.extend(row.0, lines.line(row.2 as usize).len());
            portion.min_time = portion.min_time.min(row.0);
            portion.max_time = portion.max_time.max(row.0);
            portion.items += 1;
        }
        let batch = self.builder.finish(self.with_observed)?;
        portion.tables.push(logs_table(batch.schema(), vec![batch]));
        if self.is_done {
            portion.tables.push(streams_table(&self.runs)?);
        }
        Ok(portion)
    }

    /// `false` after the last stream.
    fn begin_stream(&mut self, sources: &Sources) -> bool {
        loop {
            let stream = sources.stream(self.next);
            let Some(first) = stream.first() else { return false };
            self.next += stream.len();
            let rows = sources.rows(stream, &self.days);
            if rows.is_empty() {
                continue;
            }
            let at = self.runs.last().map_or(0, |r| r.rows.end);
            self.runs.push(Run { rows: at..at, min_ts: i64::MAX, max_ts: i64::MIN, bytes: 0, ..sources.run(*first).clone() });
            self.rows = rows.into_iter();
            return true;
        }
    }
}

fn append(builder: &mut LogsBuilder, slots: &Slots, (lines, row): (&Lines, usize), id: i64) -> Result<(), ArrowError> {
    builder.begin(id, lines.ts(row), lines.line(row));
    for (name, value) in lines.own_pairs(row) {
        builder.set(slots.names[name as usize], &lines.names()[name as usize], value);
    }
    if let Some(shared) = lines.shared_of(row) {
        for ((name, value), slot) in lines.shared_sets()[shared].iter().zip(&slots.shared[shared]) {
            builder.set(*slot, name, value);
        }
    }
    builder.end()
}

fn logs_table(schema: SchemaRef, batches: Vec<RecordBatch>) -> TableDraft {
    TableDraft { name: schema::LOGS, schema, batches, options: logs_options() }
}

/// Labels with columns of their own: of `streams` streams, each occurs so often.
pub fn dense_labels<'a>(counts: impl Iterator<Item = (&'a str, u64)>, streams: u64) -> Vec<String> {
    dense_keys(counts, streams)
}

/// How `logs` is written.
pub fn logs_options() -> TableOptions {
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    TableOptions {
        // The order of streams is that of their services, so no column but the file's own order says it.
        sorted_by: Vec::new(),
        plain: own(&[schema::LINE]),
        delta: own(&[schema::TS, schema::OBSERVED_TS]),
        split: Vec::new(),
        bloom: own(&[schema::TRACE_ID]),
        without_statistics: own(&[schema::LINE]),
        page_rows: 0,
        row_group_rows: 0,
    }
}

fn streams_table(runs: &[Run]) -> Result<TableDraft, ArrowError> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for (name, _) in runs.iter().flat_map(|r| r.labels.iter()) {
        *counts.entry(name).or_default() += 1;
    }
    let dense = dense_labels(counts.into_iter(), runs.len() as u64);
    let rows: Vec<StreamRow<'_>> = runs.iter().map(StreamRow::of).collect();
    let batch = streams_batch(&rows, &dense)?;
    Ok(TableDraft { name: schema::STREAMS, schema: batch.schema(), batches: vec![batch], options: TableOptions::default() })
}
