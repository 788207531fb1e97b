//! The rule by which blocks of metrics become one: series by name and labels, each with its samples by time; of samples of
//! one series and time, the earlier accepted stays. Series are read side by side, and of each a few thousand samples at a
//! time.

use super::METRIC_NAME;
use super::head::SeriesBuffer;
use super::head::tables::{self, LabelCounts, SeriesEntry};
use super::promql::{Interval, SeriesData};
use super::rows::{Exemplar, Metadata};
use super::schema;
use super::select::block::{SampleColumns, histogram};
use super::select::exemplars::exemplar;
use super::select::series::{SeriesRow, decode};
use super::select::{Eraser, Hidden};
use crate::model::Labels;
use crate::model::time::MILLI;
use crate::storage::block::{Block, BlockWriter};
use crate::storage::{Merge, MergeError, Merged, RowStream, TableOptions};
use arrow_schema::ArrowError;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Samples of one series and input that are decoded at a time; histograms are larger.
const SAMPLES_STEP: usize = 4_096;
const HISTOGRAMS_STEP: usize = 256;

/// What is written at a time: samples, a histogram counting as many; and rows of `series`.
const PENDING_SAMPLES: usize = 64 << 10;
const HISTOGRAM_WEIGHT: usize = 32;
const PENDING_SERIES: usize = 8 << 10;

/// One input: its tables are all in order of series.
struct Cursor<'a> {
    series: RowStream<'a>,
    queue: VecDeque<SeriesRow>,
    known: HashSet<Arc<Metadata>>,
    samples: RowStream<'a>,
    hist: RowStream<'a>,
    exemplars: RowStream<'a>,
    exemplar_queue: VecDeque<(i64, Exemplar)>,
    erasers: Vec<Eraser>,
}

fn damaged(table: &str) -> MergeError {
    MergeError::Arrow(ArrowError::SchemaError(format!("table {table} has another shape")))
}

impl Cursor<'_> {
    fn open<'a>(block: &Arc<Block>, erasers: Vec<Eraser>) -> Result<Cursor<'a>, MergeError> {
        Ok(Cursor {
            series: RowStream::open(block, schema::SERIES)?,
            queue: VecDeque::new(),
            known: HashSet::new(),
            samples: RowStream::open(block, schema::SAMPLES)?,
            hist: RowStream::open(block, schema::HIST)?,
            exemplars: RowStream::open(block, schema::EXEMPLARS)?,
            exemplar_queue: VecDeque::new(),
            erasers,
        })
    }

    /// Its next series.
    fn peek(&mut self) -> Result<Option<&SeriesRow>, MergeError> {
        while self.queue.is_empty() {
            let Some(batch) = self.series.take(usize::MAX)? else { return Ok(None) };
            let mut rows = Vec::with_capacity(batch.num_rows());
            self.known.clear();
            decode(&batch, &mut self.known, &mut rows);
            if rows.len() < batch.num_rows() {
                return Err(damaged(schema::SERIES));
            }
            self.queue.extend(rows);
        }
        Ok(self.queue.front())
    }

    fn exemplars_of(&mut self, id: i64) -> Result<Vec<Exemplar>, MergeError> {
        let mut found = Vec::new();
        loop {
            while let Some((_, exemplar)) = self.exemplar_queue.pop_front_if(|(of, _)| *of == id) {
                found.push(exemplar);
            }
            if !self.exemplar_queue.is_empty() {
                return Ok(found);
            }
            let Some(batch) = self.exemplars.take(usize::MAX)? else { return Ok(found) };
            let rows = (0..batch.num_rows()).map(|row| exemplar(&batch, row).ok_or_else(|| damaged(schema::EXEMPLARS)));
            self.exemplar_queue = rows.collect::<Result<_, _>>()?;
        }
    }
}

/// One input's share in the series at hand.
struct Share {
    cursor: usize,
    hidden: Hidden,
    floats_left: u64,
    histograms_left: u64,
    /// What is decoded and not merged yet.
    loaded: SeriesData,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Float,
    Histogram,
}

pub fn merge(merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
    let Merge { inputs, times, pace } = merge;
    let times = Interval { from: times.start().div_euclid(MILLI), to: times.end().div_euclid(MILLI) };
    let mut counts = LabelCounts::default();
    let mut cursors = Vec::with_capacity(inputs.len());
    let mut with_start = false;
    for input in &inputs {
        let erasers = || input.tombstones.iter().map(|t| Eraser::new(t)).collect();
        let mut first = Cursor::open(&input.block, erasers())?;
        while first.peek()?.is_some() {
            first.queue.drain(..).for_each(|row| counts.add(&row.labels));
        }
        cursors.push(Cursor::open(&input.block, erasers())?);
        with_start |= input.block.table(schema::SAMPLES)?.is_some_and(|t| t.has_column("start_ts"));
    }
    let mut output = Output::new(out, counts.dense(), with_start);
    while let Some(labels) = smallest(&mut cursors)? {
        pace.step()?;
        let mut shares = Vec::new();
        let mut series = SeriesBuffer::new(labels.clone(), 0, 0);
        let mut exemplars = Vec::new();
        for (index, cursor) in cursors.iter_mut().enumerate() {
            let Some(row) = cursor.queue.pop_front_if(|row| row.labels == labels) else { continue };
            let hidden = Hidden::of(&cursor.erasers, &labels);
            series.id = row.id;
            series.created = if series.created == 0 { row.created } else { series.created.min(row.created) };
            series.metadata = row.metadata.or(series.metadata);
            let own = cursor.exemplars_of(row.id)?;
            exemplars.extend(own.into_iter().filter(|e| times.contains(e.ts) && !hidden.hides(e.ts)));
            shares.push(Share {
                cursor: index,
                hidden,
                floats_left: row.rows.end - row.rows.start,
                histograms_left: row.hist_rows.end - row.hist_rows.start,
                loaded: SeriesData::new(labels.clone()),
            });
        }
        output.begin(series);
        for kind in [Kind::Float, Kind::Histogram] {
            while let Some(data) = next_piece(&mut cursors, &mut shares, kind, times)? {
                output.samples(data)?;
                pace.step()?;
            }
        }
        exemplars.sort_by_key(|e| e.ts);
        exemplars.dedup();
        output.end(exemplars)?;
    }
    output.finish()
}

fn key(labels: &Labels) -> (&str, &Labels) {
    (labels.value(METRIC_NAME), labels)
}

/// The first series, in order, of all inputs.
fn smallest(cursors: &mut [Cursor<'_>]) -> Result<Option<Labels>, MergeError> {
    let mut smallest: Option<Labels> = None;
    for cursor in cursors {
        if let Some(row) = cursor.peek()?
            && smallest.as_ref().is_none_or(|s| key(&row.labels) < key(s))
        {
            smallest = Some(row.labels.clone());
        }
    }
    Ok(smallest)
}

/// The next samples of the series at hand: from each input all up to a time that every input has been read to.
fn next_piece(cursors: &mut [Cursor<'_>], shares: &mut [Share], kind: Kind, times: Interval) -> Result<Option<SeriesData>, MergeError> {
    let mut bound: Option<i64> = None;
    for share in shares.iter_mut() {
        let left = |share: &Share| if kind == Kind::Float { share.floats_left } else { share.histograms_left };
        while share.loaded.is_empty() && left(share) > 0 {
            load(&mut cursors[share.cursor], share, kind, times)?;
        }
        if left(share) > 0 {
            bound = match (bound, share.loaded.last_time()) {
                (Some(bound), Some(last)) => Some(bound.min(last)),
                (bound, last) => bound.or(last),
            };
        }
    }
    let mut piece: Option<SeriesData> = None;
    for share in shares.iter_mut().filter(|s| !s.loaded.is_empty()) {
        let part = share.loaded.split_until(bound.unwrap_or(i64::MAX));
        match &mut piece {
            Some(piece) => piece.append_later(part),
            None => piece = Some(part),
        }
    }
    Ok(piece)
}

fn load(cursor: &mut Cursor<'_>, share: &mut Share, kind: Kind, times: Interval) -> Result<(), MergeError> {
    let (stream, left, step, table) = match kind {
        Kind::Float => (&mut cursor.samples, &mut share.floats_left, SAMPLES_STEP, schema::SAMPLES),
        Kind::Histogram => (&mut cursor.hist, &mut share.histograms_left, HISTOGRAMS_STEP, schema::HIST),
    };
    let max = step.min(usize::try_from(*left).unwrap_or(step));
    let batch = stream.take(max)?.ok_or_else(|| damaged(table))?;
    *left -= batch.num_rows() as u64;
    match kind {
        Kind::Float => SampleColumns::of(&batch).ok_or_else(|| damaged(table))?.copy(0..batch.num_rows(), times, &mut share.loaded),
        Kind::Histogram => {
            for row in 0..batch.num_rows() {
                let sample = histogram(&batch, row).ok_or_else(|| damaged(table))?;
                if times.contains(sample.ts) {
                    share.loaded.histograms.push(sample);
                }
            }
        }
    }
    if !share.hidden.is_empty() {
        share.loaded.retain(|ts| !share.hidden.hides(ts));
    }
    Ok(())
}

/// The tables of the new block.
struct Output<'o, 'w> {
    out: &'o mut BlockWriter<'w>,
    dense: Vec<String>,
    with_start: bool,
    /// Parts of series that are not written yet.
    pending: Vec<SeriesBuffer>,
    weight: usize,
    entries: Vec<SeriesEntry>,
    current: Option<(SeriesBuffer, SeriesEntry)>,
    /// Rows of `samples` and `hist` so far.
    rows: (i64, i64),
    min_ts: i64,
    max_ts: i64,
    has_rows: bool,
}

impl<'o, 'w> Output<'o, 'w> {
    fn new(out: &'o mut BlockWriter<'w>, dense: Vec<String>, with_start: bool) -> Output<'o, 'w> {
        Output {
            out,
            dense,
            with_start,
            pending: Vec::new(),
            weight: 0,
            entries: Vec::new(),
            current: None,
            rows: (0, 0),
            min_ts: i64::MAX,
            max_ts: i64::MIN,
            has_rows: false,
        }
    }

    fn begin(&mut self, series: SeriesBuffer) {
        let entry = SeriesEntry {
            labels: series.labels.clone(),
            id: series.id,
            created: series.created,
            metadata: series.metadata.clone(),
            rows: (self.rows.0, 0),
            hist_rows: (self.rows.1, 0),
            min_ts: i64::MAX,
            max_ts: i64::MIN,
        };
        self.current = Some((series, entry));
    }

    fn samples(&mut self, data: SeriesData) -> Result<(), MergeError> {
        let Some((series, entry)) = &mut self.current else { return Ok(()) };
        let (floats, histograms) = (data.ts.len(), data.histograms.len());
        let mut times = data.ts.iter().copied().chain(data.histograms.iter().map(|h| h.ts));
        entry.min_ts = times.clone().min().map_or(entry.min_ts, |t| t.min(entry.min_ts));
        entry.max_ts = times.by_ref().max().map_or(entry.max_ts, |t| t.max(entry.max_ts));
        entry.rows.1 += floats as i64;
        entry.hist_rows.1 += histograms as i64;
        self.rows = (self.rows.0 + floats as i64, self.rows.1 + histograms as i64);
        let mut part = SeriesBuffer::new(series.labels.clone(), series.id, series.created);
        part.histograms = data.histograms;
        (part.ts, part.values, part.starts) = (data.ts.into_vec(), data.values.into_vec(), data.starts.into_vec());
        self.weight += floats + histograms * HISTOGRAM_WEIGHT;
        self.pending.push(part);
        if self.weight >= PENDING_SAMPLES { self.flush() } else { Ok(()) }
    }

    fn end(&mut self, exemplars: Vec<Exemplar>) -> Result<(), MergeError> {
        let Some((mut series, mut entry)) = self.current.take() else { return Ok(()) };
        for exemplar in &exemplars {
            (entry.min_ts, entry.max_ts) = (entry.min_ts.min(exemplar.ts), entry.max_ts.max(exemplar.ts));
        }
        if entry.rows.1 == 0 && entry.hist_rows.1 == 0 && exemplars.is_empty() {
            return Ok(());
        }
        self.has_rows = true;
        (self.min_ts, self.max_ts) = (self.min_ts.min(entry.min_ts), self.max_ts.max(entry.max_ts));
        if !exemplars.is_empty() {
            self.weight += exemplars.len() * HISTOGRAM_WEIGHT;
            series.exemplars = exemplars;
            self.pending.push(series);
        }
        self.entries.push(entry);
        if self.entries.len() >= PENDING_SERIES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), MergeError> {
        let parts = std::mem::take(&mut self.pending);
        self.weight = 0;
        if parts.iter().any(|p| !p.ts.is_empty()) {
            let batch = tables::samples(&parts, self.with_start)?;
            self.write(schema::SAMPLES, &batch, &schema::samples_options())?;
        }
        if parts.iter().any(|p| !p.histograms.is_empty()) {
            self.write(schema::HIST, &tables::hist(&parts)?, &schema::hist_options())?;
        }
        if parts.iter().any(|p| !p.exemplars.is_empty()) {
            self.write(schema::EXEMPLARS, &tables::exemplars(&parts)?, &schema::exemplars_options())?;
        }
        let entries = std::mem::take(&mut self.entries);
        if !entries.is_empty() {
            self.write(schema::SERIES, &tables::series(&entries, &self.dense)?, &schema::series_options())?;
        }
        Ok(())
    }

    fn write(&mut self, name: &'static str, batch: &arrow_array::RecordBatch, options: &TableOptions) -> Result<(), MergeError> {
        if !self.out.is_open(name) {
            self.out.open(name, &batch.schema(), options)?;
        }
        Ok(self.out.write(name, batch)?)
    }

    fn finish(mut self) -> Result<Option<Merged>, MergeError> {
        self.flush()?;
        let nanos = |ms: i64| ms.saturating_mul(MILLI);
        let items = (self.rows.0 + self.rows.1).cast_unsigned();
        let merged = Merged { min_time: nanos(self.min_ts), max_time: nanos(self.max_ts).saturating_add(MILLI - 1), items };
        Ok(self.has_rows.then_some(merged))
    }
}
