use super::chunked::{Chunked, Positions};
use super::floats::{Float, Floats};
use crate::metrics::promql::Interval;
use crate::metrics::rows::{EXEMPLAR_BYTES, Exemplar, HistogramSample, Metadata, MetricRows, RowExemplar, Value};
use crate::model::Labels;
use crate::storage::HeadStats;
use std::collections::HashSet;
use std::sync::Arc;

/// What one series got in one generation, in order of acceptance.
#[derive(Debug, Clone)]
pub struct SeriesBuffer {
    pub labels: Labels,
    pub id: i64,
    /// Orders series by their creation: nanoseconds since the epoch, no two the same.
    pub created: i64,
    pub metadata: Option<Arc<Metadata>>,
    pub ts: Vec<i64>,
    pub values: Vec<f64>,
    /// Empty while no sample has a start time.
    pub starts: Vec<i64>,
    pub histograms: Vec<HistogramSample>,
    pub exemplars: Vec<Exemplar>,
}

impl SeriesBuffer {
    /// Without samples.
    pub fn new(labels: Labels, id: i64, created: i64) -> SeriesBuffer {
        SeriesBuffer {
            labels,
            id,
            created,
            metadata: None,
            ts: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
        }
    }
}

/// What few series have.
#[derive(Debug, Default)]
struct Rest {
    histograms: Vec<HistogramSample>,
    exemplars: Vec<Exemplar>,
    /// The batch that brought each of them, ascending.
    histogram_batch: Vec<u32>,
    exemplar_batch: Vec<u32>,
}

/// What one series got, in order of acceptance. Each item has the number of the batch that brought it, which makes any
/// prefix of batches a stable instant.
#[derive(Debug)]
pub struct Stored {
    pub reference: u32,
    pub created: i64,
    pub metadata: Option<Arc<Metadata>>,
    floats: Floats,
    rest: Option<Box<Rest>>,
}

fn prefix(batch: &[u32], batches: u32) -> usize {
    batch.partition_point(|b| *b < batches)
}

impl Stored {
    fn new(reference: u32, created: i64) -> Stored {
        Stored { reference, created, metadata: None, floats: Floats::default(), rest: None }
    }

    /// A copy of what the first `batches` batches brought of the times within the interval; `None` if that is nothing.
    pub fn until(&self, batches: u32, interval: Interval, (id, labels): (i64, Labels)) -> Option<SeriesBuffer> {
        let mut copy = SeriesBuffer { metadata: self.metadata.clone(), ..SeriesBuffer::new(labels, id, self.created) };
        self.copy_floats(batches, interval, &mut copy);
        if let Some(rest) = &self.rest {
            let histograms = rest.histograms[..prefix(&rest.histogram_batch, batches)].iter();
            copy.histograms.extend(histograms.filter(|h| interval.contains(h.ts)).cloned());
            let exemplars = rest.exemplars[..prefix(&rest.exemplar_batch, batches)].iter();
            copy.exemplars.extend(exemplars.filter(|e| interval.contains(e.ts)).cloned());
        }
        (!copy.ts.is_empty() || !copy.histograms.is_empty() || !copy.exemplars.is_empty()).then_some(copy)
    }

    /// Floats of the first batches, from the newest; none of those left out at the end can be within the interval.
    fn floats(&self, batches: u32, interval: Interval) -> impl Iterator<Item = Float> {
        let in_order = self.floats.is_in_order();
        let seen = self.floats.backwards().skip_while(move |f| f.batch >= batches);
        seen.take_while(move |f| !in_order || f.ts >= interval.from).filter(move |f| interval.contains(f.ts))
    }

    fn copy_floats(&self, batches: u32, interval: Interval, copy: &mut SeriesBuffer) {
        let room = if interval == Interval::ALL { self.floats.len() } else { 0 };
        (copy.ts, copy.values) = (Vec::with_capacity(room), Vec::with_capacity(room));
        for float in self.floats(batches, interval) {
            if float.start != 0 && copy.starts.is_empty() {
                copy.starts = vec![0; copy.ts.len()];
            }
            if float.start != 0 || !copy.starts.is_empty() {
                copy.starts.push(float.start);
            }
            copy.ts.push(float.ts);
            copy.values.push(float.value);
        }
        copy.ts.reverse();
        copy.values.reverse();
        copy.starts.reverse();
    }

    /// Whether the first `batches` batches brought a sample with a time within the interval, or anything if it is all time.
    pub fn has_any(&self, batches: u32, interval: Interval) -> bool {
        let rest = || {
            self.rest.as_ref().is_some_and(|r| {
                let histograms = &r.histograms[..prefix(&r.histogram_batch, batches)];
                histograms.iter().any(|h| interval.contains(h.ts)) || interval == Interval::ALL && prefix(&r.exemplar_batch, batches) > 0
            })
        };
        self.floats(batches, interval).next().is_some() || rest()
    }

    /// Exemplars that the first `batches` batches brought.
    pub fn exemplars(&self, batches: u32) -> &[Exemplar] {
        self.rest.as_ref().map_or(&[], |r| &r.exemplars[..prefix(&r.exemplar_batch, batches)])
    }

    /// Whether the start time of any float is known.
    pub fn has_start(&self) -> bool {
        self.floats.has_start()
    }

    /// Floats, and what else takes the room of many of them.
    pub fn weight(&self) -> usize {
        self.floats.len() + self.rest.as_ref().map_or(0, |r| HISTOGRAM_WEIGHT * (r.histograms.len() + r.exemplars.len()))
    }

    /// Times of all samples and exemplars.
    pub fn times(&self) -> impl Iterator<Item = i64> {
        let rest = self.rest.iter().flat_map(|r| r.histograms.iter().map(|h| h.ts).chain(r.exemplars.iter().map(|e| e.ts)));
        self.floats.backwards().map(|f| f.ts).chain(rest)
    }

    fn push(&mut self, batch: u32, ts: i64, start: i64, value: Value) {
        match value {
            Value::Float(value) => self.floats.push(Float { ts, start, value, batch }),
            Value::Histogram(histogram) => {
                let rest = self.rest.get_or_insert_default();
                rest.histograms.push(HistogramSample { ts, start, histogram });
                rest.histogram_batch.push(batch);
            }
        }
    }
}

/// All series of a generation.
#[derive(Default)]
pub struct Buffers {
    series: Chunked<Stored>,
    /// By their references in the registry.
    positions: Positions,
    /// Each once, whatever number of requests repeats it.
    metadata: HashSet<Arc<Metadata>>,
    batches: u32,
    rows: u64,
    bytes: u64,
}

/// Floats that take about as much as a histogram.
const HISTOGRAM_WEIGHT: usize = 32;

/// What a series costs here and in the registry before its first sample, estimated.
const SERIES_BYTES: usize = 300;

fn known(all: &mut HashSet<Arc<Metadata>>, metadata: &Arc<Metadata>) -> Arc<Metadata> {
    if let Some(known) = all.get(metadata) {
        return known.clone();
    }
    all.insert(metadata.clone());
    metadata.clone()
}

/// The metadata that came last in a request, and the same as it is kept: a family's series follow each other, and share
/// theirs.
#[derive(Default)]
struct Described(Option<(Arc<Metadata>, Arc<Metadata>)>);

impl Described {
    fn put(&mut self, metadata: &Arc<Metadata>, all: &mut HashSet<Arc<Metadata>>, to: &mut Option<Arc<Metadata>>) {
        let (_, kept) = match &self.0 {
            Some(last) if Arc::ptr_eq(&last.0, metadata) => last,
            _ => {
                let kept = known(all, metadata);
                self.0.insert((metadata.clone(), kept))
            }
        };
        if to.as_ref().is_none_or(|now| !Arc::ptr_eq(now, kept)) {
            *to = Some(kept.clone());
        }
    }
}

impl Buffers {
    /// Appends one request's rows as one batch. `references` gives what the registry says of each series of
    /// `rows`: its reference, and when it was created.
    /// Returns those that are new here.
    pub fn append(&mut self, references: &[Option<(u32, i64)>], rows: MetricRows) -> Vec<u32> {
        let (mut new, mut described) = (Vec::new(), Described::default());
        let batch = self.batches;
        self.rows += rows.samples.len() as u64;
        for sample in rows.samples {
            self.bytes += sample.bytes() as u64;
            let named = &rows.series[sample.series as usize];
            let Some(series) = references[sample.series as usize] else { continue };
            let position = self.position(series, &mut new);
            let Some(stored) = self.series.get_mut(position) else { continue };
            if let Some(metadata) = &named.metadata {
                described.put(metadata, &mut self.metadata, &mut stored.metadata);
            }
            stored.push(batch, sample.ts, sample.start, sample.value);
        }
        for RowExemplar { series, exemplar, .. } in rows.exemplars {
            // The samples of its series may all be in earlier generations.
            let Some(known_series) = references[series as usize] else { continue };
            let position = self.position(known_series, &mut new);
            let Some(stored) = self.series.get_mut(position) else { continue };
            if stored.metadata.is_none() {
                stored.metadata = rows.series[series as usize].metadata.as_ref().map(|m| known(&mut self.metadata, m));
            }
            let rest = stored.rest.get_or_insert_default();
            rest.exemplars.push(exemplar);
            rest.exemplar_batch.push(batch);
            self.bytes += EXEMPLAR_BYTES as u64;
        }
        self.batches += 1;
        new
    }

    fn position(&mut self, (reference, created): (u32, i64), new: &mut Vec<u32>) -> u32 {
        self.positions.get(reference).unwrap_or_else(|| {
            let position = self.series.push(Stored::new(reference, created));
            self.positions.set(reference, position);
            self.bytes += SERIES_BYTES as u64;
            new.push(reference);
            position
        })
    }

    pub fn batches(&self) -> u32 {
        self.batches
    }

    pub fn get(&self, reference: u32) -> Option<&Stored> {
        self.series.get(self.positions.get(reference)?)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Stored> {
        self.series.iter()
    }

    pub fn stats(&self) -> HeadStats {
        HeadStats { rows: self.rows, bytes: self.bytes }
    }
}
