use crate::metrics::rows::{EXEMPLAR_BYTES, Exemplar, HistogramSample, Metadata, MetricRows, RowExemplar, Value};
use crate::model::Labels;
use crate::storage::HeadStats;
use std::collections::HashMap;
use std::sync::Arc;

/// What one series got in one generation, in order of acceptance. The `_batch` columns hold the number of the batch that
/// brought each item, ascending, which makes any prefix of batches a stable instant.
#[derive(Debug, Clone)]
pub struct SeriesBuffer {
    pub labels: Labels,
    pub id: i64,
    /// Orders series by their creation: nanoseconds since the epoch, no two the same.
    pub created: i64,
    pub metadata: Option<Arc<Metadata>>,
    first_batch: u32,
    pub ts: Vec<i64>,
    pub values: Vec<f64>,
    /// Empty while no sample has a start time.
    pub starts: Vec<i64>,
    batch: Vec<u32>,
    pub histograms: Vec<HistogramSample>,
    histogram_batch: Vec<u32>,
    pub exemplars: Vec<Exemplar>,
    exemplar_batch: Vec<u32>,
}

impl SeriesBuffer {
    /// Without samples.
    pub fn new(labels: Labels, id: i64, created: i64, first_batch: u32) -> SeriesBuffer {
        SeriesBuffer {
            labels,
            id,
            created,
            metadata: None,
            first_batch,
            ts: Vec::new(),
            values: Vec::new(),
            starts: Vec::new(),
            batch: Vec::new(),
            histograms: Vec::new(),
            histogram_batch: Vec::new(),
            exemplars: Vec::new(),
            exemplar_batch: Vec::new(),
        }
    }

    /// A copy of what the first `batches` batches brought; `None` if they did not bring the series.
    pub fn until(&self, batches: u32) -> Option<SeriesBuffer> {
        if self.first_batch >= batches {
            return None;
        }
        let prefix = |batch: &[u32]| batch.partition_point(|b| *b < batches);
        let (floats, histograms) = (prefix(&self.batch), prefix(&self.histogram_batch));
        Some(SeriesBuffer {
            labels: self.labels.clone(),
            id: self.id,
            created: self.created,
            metadata: self.metadata.clone(),
            first_batch: self.first_batch,
            ts: self.ts[..floats].to_vec(),
            values: self.values[..floats].to_vec(),
            starts: self.starts.iter().take(floats).copied().collect(),
            batch: Vec::new(),
            histograms: self.histograms[..histograms].to_vec(),
            histogram_batch: Vec::new(),
            exemplars: self.exemplars[..prefix(&self.exemplar_batch)].to_vec(),
            exemplar_batch: Vec::new(),
        })
    }

    fn push(&mut self, batch: u32, ts: i64, start: i64, value: Value) {
        match value {
            Value::Float(value) => {
                if start != 0 && self.starts.is_empty() {
                    self.starts = vec![0; self.ts.len()];
                }
                if start != 0 || !self.starts.is_empty() {
                    self.starts.push(start);
                }
                self.ts.push(ts);
                self.values.push(value);
                self.batch.push(batch);
            }
            Value::Histogram(histogram) => {
                self.histograms.push(HistogramSample { ts, start, histogram });
                self.histogram_batch.push(batch);
            }
        }
    }
}

/// All series of a generation, by their reference in the registry.
#[derive(Default)]
pub struct Buffers {
    series: HashMap<u32, SeriesBuffer>,
    batches: u32,
    rows: u64,
    bytes: u64,
}

/// What a series costs before its first sample, estimated.
const SERIES_BYTES: usize = 400;

impl Buffers {
    /// Appends one request's rows as one batch. `references` gives what the registry says of each series of
    /// `rows`: its reference, and when it was created.
    /// Returns those that are new here.
    pub fn append(&mut self, references: &[Option<(u32, i64)>], rows: MetricRows) -> Vec<u32> {
        let mut new = Vec::new();
        let batch = self.batches;
        self.rows += rows.samples.len() as u64;
        for sample in rows.samples {
            self.bytes += sample.bytes() as u64;
            let named = &rows.series[sample.series as usize];
            let Some((reference, created)) = references[sample.series as usize] else { continue };
            let buffer = self.series.entry(reference).or_insert_with(|| {
                self.bytes += (SERIES_BYTES + named.labels.heap_bytes()) as u64;
                new.push(reference);
                SeriesBuffer::new(named.labels.clone(), named.id, created, batch)
            });
            if named.metadata.is_some() && buffer.metadata != named.metadata {
                buffer.metadata.clone_from(&named.metadata);
            }
            buffer.push(batch, sample.ts, sample.start, sample.value);
        }
        for RowExemplar { series, exemplar, .. } in rows.exemplars {
            let Some((reference, created)) = references[series as usize] else { continue };
            // The samples of its series may all be in earlier generations.
            let named = &rows.series[series as usize];
            let buffer = self.series.entry(reference).or_insert_with(|| {
                self.bytes += (SERIES_BYTES + named.labels.heap_bytes()) as u64;
                new.push(reference);
                SeriesBuffer { metadata: named.metadata.clone(), ..SeriesBuffer::new(named.labels.clone(), named.id, created, batch) }
            });
            self.bytes += EXEMPLAR_BYTES as u64;
            buffer.exemplars.push(exemplar);
            buffer.exemplar_batch.push(batch);
        }
        self.batches += 1;
        new
    }

    pub fn batches(&self) -> u32 {
        self.batches
    }

    pub fn get(&self, reference: u32) -> Option<&SeriesBuffer> {
        self.series.get(&reference)
    }

    pub fn references(&self) -> impl Iterator<Item = u32> {
        self.series.keys().copied()
    }

    pub fn stats(&self) -> HeadStats {
        HeadStats { rows: self.rows, bytes: self.bytes }
    }
}
