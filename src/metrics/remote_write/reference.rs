//! The same translations on prost's messages: what the readers of the bytes are compared with. Texts are bytes, since one
//! that is not UTF-8 is the fault of its series and not of the request.

use super::FloatSample;
use super::histogram::{self, Count, Side};
use super::label_set::label_set;
use crate::metrics::METRIC_NAME;
use crate::metrics::builder::RowsBuilder;
use crate::metrics::histogram::ResetHint;
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, MetricType, Value};
use crate::model::{Labels, Reason};
use crate::storage::Refusals;
use prost::{Message, Oneof};
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<Family>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<LabelledExemplar>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Version 1.0 has no start time, and passes over field 3.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelledExemplar {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Family {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub help: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub unit: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub symbols: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<ReferringSeries>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReferringSeries {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<ReferringExemplar>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<ReferringMetadata>,
    #[prost(int64, tag = "6")]
    pub created_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReferringExemplar {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ReferringMetadata {
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    #[prost(oneof = "WholeCount", tags = "1, 2")]
    pub count: Option<WholeCount>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(oneof = "ZeroCount", tags = "6, 7")]
    pub zero_count: Option<ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum WholeCount {
    #[prost(uint64, tag = "1")]
    Integer(u64),
    #[prost(double, tag = "2")]
    Float(f64),
}

#[derive(Clone, PartialEq, Oneof)]
pub enum ZeroCount {
    #[prost(uint64, tag = "6")]
    Integer(u64),
    #[prost(double, tag = "7")]
    Float(f64),
}

#[derive(Clone, PartialEq, Message)]
pub struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

impl From<Histogram> for histogram::Message {
    fn from(h: Histogram) -> histogram::Message {
        let side = |spans: Vec<BucketSpan>, deltas, counts| Side {
            spans: spans.into_iter().map(|s| (s.offset, s.length)).collect(),
            deltas,
            counts,
        };
        histogram::Message {
            count: match h.count {
                Some(WholeCount::Float(count)) => Count::Float(count),
                Some(WholeCount::Integer(count)) => Count::Integer(count),
                None => Count::Integer(0),
            },
            zero_count: match h.zero_count {
                Some(ZeroCount::Float(count)) => Count::Float(count),
                Some(ZeroCount::Integer(count)) => Count::Integer(count),
                None => Count::Integer(0),
            },
            sum: h.sum,
            schema: h.schema,
            zero_threshold: h.zero_threshold,
            positive: side(h.positive_spans, h.positive_deltas, h.positive_counts),
            negative: side(h.negative_spans, h.negative_deltas, h.negative_counts),
            hint: match h.reset_hint {
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            },
            ts: h.timestamp,
            start: h.start_timestamp,
            custom: h.custom_values,
        }
    }
}

/// `None` where one is not UTF-8.
fn pairs(labels: &[Label]) -> Option<Vec<(&str, &str)>> {
    labels.iter().map(|l| Some((std::str::from_utf8(&l.name).ok()?, std::str::from_utf8(&l.value).ok()?))).collect()
}

fn exemplar(pairs: Option<Vec<(&str, &str)>>, value: f64, ts: i64) -> Option<Exemplar> {
    let labels = pairs.map(Labels::from_pairs).filter(Exemplar::takes)?;
    Some(Exemplar { ts, value, labels })
}

fn add_histogram(rows: &mut RowsBuilder, series: u32, item: u32, sent: Histogram, created: i64) {
    let (ts, start) = (sent.timestamp, sent.start_timestamp);
    let start = if start == 0 { created } else { start };
    match histogram::histogram(sent.into()) {
        Ok(valid) => rows.sample(series, item, (ts, start), Value::Histogram(Arc::new(valid))),
        Err(cause) => rows.refuse(item, Reason::InvalidHistogram, || cause),
    }
}

impl From<&Sample> for FloatSample {
    fn from(s: &Sample) -> FloatSample {
        FloatSample { ts: s.timestamp, start: s.start_timestamp, value: s.value }
    }
}

pub fn translate_1(request: WriteRequest) -> (MetricRows, Refusals) {
    let mut rows = RowsBuilder::default();
    rows.all_or_nothing();
    for sent in request.timeseries {
        let items = rows.next_items(sent.samples.len() + sent.histograms.len());
        let Some(labels) = pairs(&sent.labels).and_then(|mut pairs| label_set(&mut pairs).ok()) else {
            rows.pass_over(items, Reason::InvalidLabel);
            continue;
        };
        let series = rows.series(labels, None);
        let mut items = items;
        for (sample, item) in sent.samples.iter().map(FloatSample::from).zip(&mut items) {
            rows.sample(series, item, (sample.ts, sample.start), Value::Float(sample.value));
        }
        sent.histograms.into_iter().zip(&mut items).for_each(|(h, item)| add_histogram(&mut rows, series, item, h, 0));
        for sent in &sent.exemplars {
            if let Some(exemplar) = exemplar(pairs(&sent.labels), sent.value, sent.timestamp) {
                rows.exemplar(series, None, exemplar);
            }
        }
    }
    for Family { kind, name, help, unit } in request.metadata {
        if let [Ok(family), Ok(help), Ok(unit)] = [name, help, unit].map(String::from_utf8)
            && !family.is_empty()
        {
            rows.family(Metadata { family, kind: MetricType::from_number(kind), unit, help });
        }
    }
    rows.finish()
}

/// `None` for a request whose first symbol is not the empty one; with the rows, what each item is: float, histogram or
/// exemplar.
pub fn translate_2(request: Request) -> Option<(MetricRows, Refusals, [u64; 3])> {
    let symbols: Vec<Option<&str>> = request.symbols.iter().map(|s| std::str::from_utf8(s).ok()).collect();
    if !request.timeseries.is_empty() && symbols.first() != Some(&Some("")) {
        return None;
    }
    // A fault of the references is one of all pairs; a text that is not UTF-8 is one of its own.
    let pairs = |references: &[u32]| -> Option<Option<Vec<(&str, &str)>>> {
        let texts: Vec<Option<&str>> = references.iter().map(|r| symbols.get(*r as usize).copied()).collect::<Option<_>>()?;
        references.len().is_multiple_of(2).then(|| texts.chunks(2).map(|pair| pair[0].zip(pair[1])).collect())
    };
    let (mut rows, mut written) = (RowsBuilder::default(), [0; 3]);
    for sent in request.timeseries {
        let parts = [sent.samples.len(), sent.histograms.len(), sent.exemplars.len()];
        let is_empty = parts[0] + parts[1] == 0;
        let labels = pairs(&sent.labels_refs).flatten().and_then(|mut p| label_set(&mut p).ok()).filter(|_| !is_empty);
        let described = sent.metadata.filter(|m| *m != ReferringMetadata::default());
        let metadata = described.map(|m| {
            let family = MetricType::from_number(m.kind).family_of(labels.as_ref()?.value(METRIC_NAME)).to_owned();
            let text = |reference: u32| symbols.get(reference as usize).copied().flatten().map(str::to_owned);
            Some(Arc::new(Metadata { family, kind: MetricType::from_number(m.kind), unit: text(m.unit_ref)?, help: text(m.help_ref)? }))
        });
        let (Some(labels), false) = (labels, metadata == Some(None)) else {
            let items = rows.next_items(parts.iter().sum::<usize>().max(1));
            rows.refuse_all(items, Reason::InvalidLabel, String::new);
            continue;
        };
        let series = rows.series(labels, metadata.flatten().as_ref());
        let start = |own: i64| if own == 0 { sent.created_timestamp } else { own };
        for sample in sent.samples.iter().map(FloatSample::from) {
            let item = rows.next_item();
            rows.sample(series, item, (sample.ts, start(sample.start)), Value::Float(sample.value));
            written[0] += 1;
        }
        for histogram in sent.histograms {
            let item = rows.next_item();
            written[1] += u64::from(histogram::histogram(histogram.clone().into()).is_ok());
            add_histogram(&mut rows, series, item, histogram, sent.created_timestamp);
        }
        for sent in &sent.exemplars {
            let item = rows.next_item();
            match exemplar(pairs(&sent.labels_refs).flatten(), sent.value, sent.timestamp) {
                Some(exemplar) => {
                    rows.told_exemplar(series, item, exemplar);
                    written[2] += 1;
                }
                None => rows.pass_over(item..item + 1, Reason::InvalidLabel),
            }
        }
    }
    let (rows, refusals) = rows.finish();
    Some((rows, refusals, written))
}
