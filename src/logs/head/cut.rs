//! A head as blocks: sorted by stream and time, without duplicates, split by day (decisions 16, 21).

use super::Chunk;
use crate::logs::schema::{self, LogsBuilder, StreamRow, dense_keys, streams_batch};
use crate::logs::source::Run;
use crate::model::{Labels, time};
use crate::storage::{BlockDraft, TableDraft, TableOptions};
use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Blocks of one day each that one cut writes at most; the rest goes into one mixed block.
const DAYS_MAX: usize = 32;
const BATCH_ROWS: usize = 32_768;

/// Where a row is, in the order in which it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct RowRef {
    stream: u32,
    ts: i64,
    /// Chunk and row grow with acceptance.
    chunk: u32,
    row: u32,
}

/// Streams of one service stand together, because they are read together.
pub fn sort_key(labels: &Labels) -> (&str, &str, &Labels) {
    let namespace = ["service_namespace", "k8s_namespace_name", "namespace"].into_iter().find_map(|n| labels.get(n));
    (labels.value("service_name"), namespace.unwrap_or(""), labels)
}

pub fn drafts<'a>(chunks: Vec<Arc<Chunk>>) -> Box<dyn Iterator<Item = Result<BlockDraft, ArrowError>> + 'a> {
    let mut streams: Vec<Labels> = chunks.iter().flat_map(|c| c.runs().iter().map(|r| r.labels.clone())).collect();
    streams.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
    streams.dedup();
    let mut by_day: BTreeMap<i64, Vec<RowRef>> = BTreeMap::new();
    let index: HashMap<&Labels, u32> = streams.iter().zip(0..).collect();
    for (chunk, number) in chunks.iter().zip(0..) {
        for run in chunk.runs() {
            let stream = index.get(&run.labels).copied().unwrap_or(0);
            for row in run.rows.clone() {
                let row = row as u32;
                let ts = chunk.columns().ts(row as usize);
                by_day.entry(time::day_of(ts)).or_default().push(RowRef { stream, ts, chunk: number, row });
            }
        }
    }
    let mut groups: Vec<(bool, Vec<RowRef>)> = Vec::new();
    while by_day.len() > DAYS_MAX
        && let Some((_, rows)) = by_day.pop_first()
    {
        match groups.first_mut() {
            Some((_, older)) => older.extend(rows),
            None => groups.push((true, rows)),
        }
    }
    groups.extend(by_day.into_values().map(|rows| (false, rows)));
    let drafts = groups.into_iter().map(move |(mixed, mut rows)| {
        rows.sort_unstable();
        drop_duplicates(&mut rows, &chunks);
        draft(&chunks, &streams, &rows, mixed)
    });
    Box::new(drafts)
}

/// Of rows with equal stream, time, line and metadata the first accepted stays. `rows` is sorted.
fn drop_duplicates(rows: &mut Vec<RowRef>, chunks: &[Arc<Chunk>]) {
    let mut group: Vec<u128> = Vec::new();
    let mut last: Option<RowRef> = None;
    let print = |r: &RowRef| chunks[r.chunk as usize].columns().fingerprint(r.row as usize);
    rows.retain(|row| {
        let same = last.is_some_and(|l| (l.stream, l.ts) == (row.stream, row.ts));
        if !same {
            group.clear();
            last = Some(*row);
            return true;
        }
        if group.is_empty()
            && let Some(first) = &last
        {
            group.push(print(first));
        }
        let fingerprint = print(row);
        let new = !group.contains(&fingerprint);
        group.push(fingerprint);
        new
    });
}

fn draft(chunks: &[Arc<Chunk>], streams: &[Labels], rows: &[RowRef], mixed: bool) -> Result<BlockDraft, ArrowError> {
    let columns = |r: &RowRef| chunks[r.chunk as usize].columns();
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut with_observed = false;
    for row in rows {
        columns(row).each_metadata(row.row as usize, |name, value| match schema::Binary::of(name, &value) {
            Some(binary) => with_observed |= matches!(binary, schema::Binary::Observed(_)),
            None => match counts.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    counts.insert(name.to_owned(), 1);
                }
            },
        });
    }
    let dense = dense_keys(counts.iter().map(|(k, n)| (k.as_str(), *n)), rows.len() as u64);
    let mut batches = Vec::new();
    let mut runs: Vec<Run> = Vec::new();
    for slice in rows.chunks(BATCH_ROWS) {
        let mut builder = LogsBuilder::new(slice.len(), &dense);
        for row in slice {
            let labels = &streams[row.stream as usize];
            if runs.last().is_none_or(|r| r.labels != *labels) {
                let next = runs.last().map_or(0, |r| r.rows.end);
                let id = labels.stable_id();
                runs.push(Run { labels: labels.clone(), id, rows: next..next, min_ts: i64::MAX, max_ts: i64::MIN, bytes: 0 });
            }
            let Some(run) = runs.last_mut() else { continue };
            let (columns, at) = (columns(row), row.row as usize);
            let line = columns.line(at);
            let metadata = columns.metadata(at);
            builder.append(run.id, row.ts, line, metadata.iter().map(|(n, v)| (*n, &**v)))?;
            run.extend(row.ts, line.len());
        }
        batches.push(builder.finish(with_observed)?);
    }
    let (min_time, max_time) = runs.iter().fold((i64::MAX, i64::MIN), |(a, b), r| (a.min(r.min_ts), b.max(r.max_ts)));
    let tables = vec![logs_table(batches, &dense, with_observed)?, streams_table(&runs)?];
    Ok(BlockDraft { day: time::day_of(max_time), mixed, min_time, max_time, items: rows.len() as u64, tables, more: None })
}

fn logs_table(batches: Vec<RecordBatch>, dense: &[String], with_observed: bool) -> Result<TableDraft, ArrowError> {
    let schema = match batches.first() {
        Some(batch) => batch.schema(),
        None => LogsBuilder::new(0, dense).finish(with_observed)?.schema(),
    };
    Ok(TableDraft { name: schema::LOGS, schema, batches, options: logs_options() })
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
