use super::histogram::Histogram;
use crate::model::Labels;
use crate::storage::Rows;
use std::sync::Arc;

/// What a metric is, in the words of `/api/v1/metadata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum MetricType {
    #[default]
    Unknown,
    Counter,
    Gauge,
    Histogram,
    Summary,
}

impl MetricType {
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::Summary => "summary",
        }
    }

    pub fn parse(word: &str) -> MetricType {
        use MetricType::{Counter, Gauge, Histogram, Summary, Unknown};
        [Counter, Gauge, Histogram, Summary].into_iter().find(|t| t.as_str() == word).unwrap_or(Unknown)
    }
}

/// Of a metric family, shared by its series.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Metadata {
    /// Name of the family: that of its series without `_bucket`, `_sum`, `_count`.
    pub family: String,
    pub kind: MetricType,
    pub unit: String,
    pub help: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Value {
    /// Equal to the bit, as duplicates must be.
    pub fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
            // A histogram that is stale has a NaN sum, which `==` calls different from itself.
            (Value::Histogram(a), Value::Histogram(b)) => {
                a == b || a.sum.to_bits() == b.sum.to_bits() && a.count == b.count && a.positive == b.positive
            }
            _ => false,
        }
    }
}

/// A series that a request names, once.
#[derive(Debug, Clone)]
pub struct RowSeries {
    pub labels: Labels,
    pub id: i64,
    pub metadata: Option<Arc<Metadata>>,
}

/// One sample. Times in milliseconds since the epoch; `start` 0 is unknown.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Position in [`MetricRows::series`].
    pub series: u32,
    pub item: u32,
    pub ts: i64,
    pub start: i64,
    pub value: Value,
}

/// One native histogram at one time; `start` 0 is unknown. Milliseconds since the epoch.
#[derive(Debug, Clone)]
pub struct HistogramSample {
    pub ts: i64,
    pub start: i64,
    pub histogram: Arc<Histogram>,
}

impl Sample {
    /// What it takes in a head, estimated.
    pub fn bytes(&self) -> usize {
        match &self.value {
            Value::Float(_) => 28,
            Value::Histogram(h) => 28 + h.heap_bytes(),
        }
    }
}

/// What an exemplar takes in a head, estimated.
pub const EXEMPLAR_BYTES: usize = 200;

#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Milliseconds since the epoch.
    pub ts: i64,
    pub value: f64,
    pub labels: Labels,
}

/// Samples that were made up for a request (`target_info`) belong to no item: they are never refused by themselves.
pub const NO_ITEM: u32 = u32::MAX;

/// One request's samples. Those of one item (a data point) follow each other.
#[derive(Debug, Default)]
pub struct MetricRows {
    pub series: Vec<RowSeries>,
    pub samples: Vec<Sample>,
    /// (position in `series`, item, exemplar).
    pub exemplars: Vec<(u32, u32, Exemplar)>,
}

impl MetricRows {
    /// Drops the items in the sorted list `refused`.
    pub fn drop_items(&mut self, refused: &[u32]) {
        if !refused.is_empty() {
            self.samples.retain(|s| refused.binary_search(&s.item).is_err());
            self.exemplars.retain(|e| refused.binary_search(&e.1).is_err());
        }
    }
}

impl Rows for MetricRows {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn bytes(&self) -> usize {
        let series: usize = self.series.iter().map(|s| s.labels.heap_bytes()).sum();
        series + self.samples.iter().map(Sample::bytes).sum::<usize>() + EXEMPLAR_BYTES * self.exemplars.len()
    }
}
