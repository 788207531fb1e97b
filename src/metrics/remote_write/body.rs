//! Bodies of remote write 2.0, as monocle's own writers make them (decisions 13).

use crate::metrics::histogram::{Buckets, Histogram, ResetHint, runs};
use crate::metrics::rows::{Exemplar, HistogramSample, Metadata};
use crate::model::Labels;
use bytes::Bytes;
use std::collections::HashMap;

/// A request under way: series are added, then [`WriteBody::finish`] gives its bytes.
#[derive(Debug, Default)]
pub struct WriteBody {
    symbols: HashMap<String, u64>,
    /// Symbols in the order of their numbers, from 1: number 0 is the empty string.
    table: Vec<u8>,
    series: Vec<u8>,
    count: usize,
}

/// What one series gets. Times in milliseconds since the epoch; a start time of 0 is unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct SeriesWrite<'a> {
    pub metadata: Option<&'a Metadata>,
    /// (time, start time, value), in order of time.
    pub floats: &'a [(i64, i64, f64)],
    pub histograms: &'a [HistogramSample],
    pub exemplars: &'a [Exemplar],
}

impl WriteBody {
    /// `labels` hold the metric's name; a series needs a float or a histogram.
    pub fn series(&mut self, labels: &Labels, write: SeriesWrite<'_>) {
        let mut message = Vec::new();
        let references = self.references(labels);
        push_bytes(&mut message, 1, &references);
        for (ts, start, value) in write.floats {
            let mut sample = Vec::with_capacity(24);
            push_double(&mut sample, 1, *value);
            push_varint_field(&mut sample, 2, ts.cast_unsigned());
            push_varint_field(&mut sample, 3, start.cast_unsigned());
            push_bytes(&mut message, 2, &sample);
        }
        for sample in write.histograms {
            push_bytes(&mut message, 3, &histogram(sample));
        }
        for exemplar in write.exemplars {
            let mut bytes = Vec::new();
            let references = self.references(&exemplar.labels);
            push_bytes(&mut bytes, 1, &references);
            push_double(&mut bytes, 2, exemplar.value);
            push_varint_field(&mut bytes, 3, exemplar.ts.cast_unsigned());
            push_bytes(&mut message, 4, &bytes);
        }
        if let Some(metadata) = write.metadata {
            let mut bytes = Vec::new();
            push_varint_field(&mut bytes, 1, metadata.kind as u64);
            push_varint_field(&mut bytes, 3, self.symbol(&metadata.help));
            push_varint_field(&mut bytes, 4, self.symbol(&metadata.unit));
            push_bytes(&mut message, 5, &bytes);
        }
        push_bytes(&mut self.series, 5, &message);
        self.count += 1;
    }

    /// Series that were added.
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the body as it is now, uncompressed.
    pub fn bytes(&self) -> usize {
        self.table.len() + self.series.len() + 2
    }

    /// The message, uncompressed.
    pub fn finish(self) -> Bytes {
        let mut body = Vec::with_capacity(self.bytes());
        push_bytes(&mut body, 4, b"");
        body.extend_from_slice(&self.table);
        body.extend_from_slice(&self.series);
        body.into()
    }

    fn symbol(&mut self, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        if let Some(number) = self.symbols.get(text) {
            return *number;
        }
        let number = self.symbols.len() as u64 + 1;
        push_bytes(&mut self.table, 4, text.as_bytes());
        self.symbols.insert(text.to_owned(), number);
        number
    }

    fn references(&mut self, labels: &Labels) -> Vec<u8> {
        let mut references = Vec::new();
        for (name, value) in labels.iter() {
            push_varint(&mut references, self.symbol(name));
            push_varint(&mut references, self.symbol(value));
        }
        references
    }
}

pub(in crate::metrics) fn histogram(sample: &HistogramSample) -> Vec<u8> {
    let h: &Histogram = &sample.histogram;
    let mut out = Vec::new();
    push_double(&mut out, 2, h.count);
    push_double(&mut out, 3, h.sum);
    push_varint_field(&mut out, 4, zigzag(h.schema.into()));
    push_double(&mut out, 5, h.zero_threshold);
    push_double(&mut out, 7, h.zero_count);
    push_buckets(&mut out, (8, 10), &h.negative);
    push_buckets(&mut out, (11, 13), &h.positive);
    let hint = match h.hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    push_varint_field(&mut out, 14, hint);
    push_varint_field(&mut out, 15, sample.ts.cast_unsigned());
    push_doubles(&mut out, 16, h.custom.iter().copied());
    push_varint_field(&mut out, 17, sample.start.cast_unsigned());
    out
}

fn push_buckets(out: &mut Vec<u8>, (span_field, count_field): (u64, u64), buckets: &Buckets) {
    let indexes: Vec<i32> = buckets.iter().map(|(index, _)| *index).collect();
    for (gap, length) in runs(&indexes) {
        let mut span = Vec::new();
        push_varint_field(&mut span, 1, zigzag(gap));
        push_varint_field(&mut span, 2, length as u64);
        push_bytes(out, span_field, &span);
    }
    push_doubles(out, count_field, buckets.iter().map(|(_, count)| *count));
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

pub(in crate::metrics) fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Zero is what an absent field means.
pub(in crate::metrics) fn push_varint_field(out: &mut Vec<u8>, field: u64, number: u64) {
    if number != 0 {
        push_varint(out, field << 3);
        push_varint(out, number);
    }
}

pub(in crate::metrics) fn push_double(out: &mut Vec<u8>, field: u64, number: f64) {
    push_varint(out, field << 3 | 1);
    out.extend_from_slice(&number.to_bits().to_le_bytes());
}

fn push_doubles(out: &mut Vec<u8>, field: u64, numbers: impl Iterator<Item = f64>) {
    let packed: Vec<u8> = numbers.flat_map(|n| n.to_bits().to_le_bytes()).collect();
    if !packed.is_empty() {
        push_bytes(out, field, &packed);
    }
}

pub(in crate::metrics) fn push_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    push_varint(out, field << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
