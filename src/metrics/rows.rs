use super::histogram::Histogram;
use crate::model::Labels;
use crate::storage::Rows;
use std::sync::Arc;

/// What a metric is, in the words of `/api/v1/metadata`. The numbers are those of remote write (contracts/prometheus.md 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum MetricType {
    #[default]
    Unknown = 0,
    Counter = 1,
    Gauge = 2,
    Histogram = 3,
    GaugeHistogram = 4,
    Summary = 5,
    Info = 6,
    StateSet = 7,
}

impl MetricType {
    pub const ALL: [MetricType; 8] = {
        use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
        [Unknown, Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet]
    };

    pub const fn as_str(self) -> &'static str {
        match self {
            MetricType::Unknown => "unknown",
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
        }
    }

    pub fn parse(word: &str) -> MetricType {
        MetricType::ALL.into_iter().find(|t| t.as_str() == word).unwrap_or_default()
    }

    /// From its number in remote write; one that is not known is `unknown`.
    pub fn from_number(number: i32) -> MetricType {
        MetricType::ALL.into_iter().find(|t| *t as i32 == number).unwrap_or_default()
    }

    /// The family that a series of this type and name belongs to: without the suffix that tells the parts of a histogram or
    /// a summary apart.
    pub fn family_of(self, name: &str) -> &str {
        let suffixes: &[&str] = match self {
            MetricType::Histogram => &["_bucket", "_sum", "_count"],
            MetricType::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            MetricType::Summary => &["_sum", "_count"],
            _ => &[],
        };
        suffixes.iter().find_map(|suffix| name.strip_suffix(suffix)).filter(|family| !family.is_empty()).unwrap_or(name)
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

/// What tells label sets apart: the two hashes of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesKey {
    /// [`Labels::stable_id`]
    pub id: i64,
    /// [`Labels::second_hash`]
    pub second: u64,
}

impl SeriesKey {
    pub fn of(labels: &Labels) -> SeriesKey {
        SeriesKey { id: labels.stable_id(), second: labels.second_hash() }
    }
}

/// A series that a request names, once.
#[derive(Debug, Clone)]
pub struct RowSeries {
    pub labels: Labels,
    pub key: SeriesKey,
    /// Its reference in the registry, where admission saw it: it is looked at before the id is searched for.
    pub reference: Option<u32>,
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
    /// The value is what was added since `start`: the head makes the sum of it.
    pub delta: bool,
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

impl Exemplar {
    /// Characters of all label names and values at most (contracts/prometheus.md 2.4).
    const LABELS_MAX: usize = 128;

    /// The bytes that so many characters have at most.
    pub const BYTES_MAX: usize = 4 * Exemplar::LABELS_MAX;

    /// Whether an exemplar may have these labels.
    pub fn takes(labels: &Labels) -> bool {
        labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum::<usize>() <= Exemplar::LABELS_MAX
    }
}

/// An exemplar of one request.
#[derive(Debug, Clone)]
pub struct RowExemplar {
    /// Position in [`MetricRows::series`].
    pub series: u32,
    pub item: u32,
    /// The data point that it came with, and is refused with.
    pub of: Option<u32>,
    pub exemplar: Exemplar,
}

/// One request's samples. Those of one item (a data point) follow each other.
#[derive(Debug, Default)]
pub struct MetricRows {
    pub series: Vec<RowSeries>,
    pub samples: Vec<Sample>,
    pub exemplars: Vec<RowExemplar>,
    /// Families that were described apart from their series.
    pub families: Vec<Arc<Metadata>>,
    /// Items from this number on are refused without telling the sender: `target_info` samples that translation made up,
    /// and exemplars where the protocol is silent about them.
    pub unsaid_from: Option<u32>,
    /// Nothing is stored if any item is refused (remote write 1.0).
    pub all_or_nothing: bool,
}

impl MetricRows {
    /// Drops the items in the sorted list `refused`.
    pub fn drop_items(&mut self, refused: &[u32]) {
        if !refused.is_empty() {
            let keep = |item: u32| refused.binary_search(&item).is_err();
            self.samples.retain(|s| keep(s.item));
            self.exemplars.retain(|e| keep(e.item) && e.of.is_none_or(keep));
        }
    }

    /// Whether the sender is told when this item is refused.
    pub fn is_told(&self, item: u32) -> bool {
        self.unsaid_from.is_none_or(|from| item < from)
    }

    pub fn clear(&mut self) {
        self.samples.clear();
        self.exemplars.clear();
        self.families.clear();
    }
}

impl Rows for MetricRows {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn is_empty(&self) -> bool {
        self.samples.is_empty() && self.exemplars.is_empty() && self.families.is_empty()
    }

    fn bytes(&self) -> usize {
        let series: usize = self.series.iter().map(|s| s.labels.heap_bytes()).sum();
        series + self.samples.iter().map(Sample::bytes).sum::<usize>() + EXEMPLAR_BYTES * self.exemplars.len()
    }
}
