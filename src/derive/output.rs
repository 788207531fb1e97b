//! Counters as series: when each began, what it is written as, and how it ends.

use super::histogram::Histogram;
use crate::metrics::remote_write::{SeriesWrite, WriteBody};
use crate::metrics::{Exemplar, METRIC_NAME, Metadata, MetricType, STALE_NAN};
use crate::model::Labels;
use crate::model::time::{MILLI, SECOND};

/// A group of series without a new observation for so long ends, nanoseconds.
pub const IDLE_MAX: i64 = 15 * 60 * SECOND;

/// The life of series that begin together.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// Their start time and the time of their first sample, 0; fixed by the first collection. Milliseconds.
    start: Option<i64>,
    /// The first sample was written.
    announced: bool,
    /// Latest observation, nanoseconds.
    pub touched: i64,
    /// The first sample may not be before this, milliseconds.
    floor: i64,
}

impl Life {
    /// `floor`, milliseconds, is behind the last sample that an earlier life of the same series has.
    pub fn new(touched: i64, floor: i64) -> Life {
        Life { start: None, announced: false, touched, floor }
    }

    pub fn floor(&self) -> i64 {
        self.floor
    }

    pub fn is_idle(&self, now: i64) -> bool {
        now.saturating_sub(self.touched) > IDLE_MAX
    }

    /// What was written has arrived.
    pub fn confirm(&mut self) {
        self.announced |= self.start.is_some();
    }

    /// One second before the minute of the first collection began, so that `rate` sees the first increment.
    fn begin(&mut self, now_ms: i64) -> i64 {
        let minute = now_ms.div_euclid(60_000) * 60_000;
        *self.start.get_or_insert((minute - 1_000).max(self.floor).min(now_ms - 1))
    }
}

/// Bodies that one collection writes for one tenant.
pub struct Output {
    pub bodies: Vec<WriteBody>,
    /// Of the collection, milliseconds.
    pub now_ms: i64,
    pub series: usize,
}

/// A body is not made much larger than this.
const BODY_MAX_BYTES: usize = 4 << 20;

/// A metric's name and what is said of it.
pub struct Family {
    pub name: &'static str,
    pub kind: MetricType,
    pub help: &'static str,
}

impl Family {
    fn metadata(&self) -> Metadata {
        Metadata { family: self.name.to_owned(), kind: self.kind, unit: String::new(), help: self.help.to_owned() }
    }
}

type Pairs<'a> = [(&'a str, &'a str)];

impl Output {
    /// A collection at `now`, nanoseconds.
    pub fn new(now: i64) -> Output {
        Output { bodies: Vec::new(), now_ms: now / MILLI, series: 0 }
    }

    fn write(&mut self, labels: &Labels, write: SeriesWrite<'_>) {
        if self.bodies.last().is_none_or(|b| b.bytes() > BODY_MAX_BYTES) {
            self.bodies.push(WriteBody::default());
        }
        self.series += 1;
        if let Some(body) = self.bodies.last_mut() {
            body.series(labels, write);
        }
    }

    fn value(&mut self, labels: &Labels, metadata: &Metadata, life: &mut Life, value: f64, zero_first: bool, exemplars: &[Exemplar]) {
        let start = life.begin(self.now_ms);
        let samples = [(start, start, 0.0), (self.now_ms, start, value)];
        let floats = if zero_first && !life.announced { &samples[..] } else { &samples[1..] };
        self.write(labels, SeriesWrite { metadata: Some(metadata), floats, exemplars, ..SeriesWrite::default() });
    }

    pub fn counter(&mut self, family: &Family, pairs: &Pairs<'_>, life: &mut Life, value: u64) {
        let labels = named(family.name, pairs, None);
        self.value(&labels, &family.metadata(), life, value as f64, true, &[]);
    }

    pub fn histogram(&mut self, family: &Family, pairs: &Pairs<'_>, life: &mut Life, histogram: &mut Histogram) {
        let metadata = family.metadata();
        let bucket = format!("{}_bucket", family.name);
        let latest = histogram.take_latest();
        for ((le, count), latest) in histogram.cumulative().zip(latest) {
            let exemplar = latest.map(|(trace_id, value)| {
                let id = trace_id.to_hex();
                // Grafana's links go by the name of the label, and both names are in use.
                let labels = Labels::from_pairs([("traceID", &id), ("trace_id", &id)]);
                Exemplar { ts: self.now_ms, value, labels }
            });
            self.value(&named(&bucket, pairs, Some(le)), &metadata, life, count as f64, true, exemplar.as_slice());
        }
        self.value(&named(&format!("{}_sum", family.name), pairs, None), &metadata, life, histogram.sum, false, &[]);
        self.value(&named(&format!("{}_count", family.name), pairs, None), &metadata, life, histogram.count() as f64, true, &[]);
    }

    fn end(&mut self, labels: &Labels) {
        let marker = [(self.now_ms, 0, f64::from_bits(STALE_NAN))];
        self.write(labels, SeriesWrite { floats: &marker, ..SeriesWrite::default() });
    }

    /// Staleness markers, so that queries see at once that the series ended.
    pub fn end_counter(&mut self, family: &Family, pairs: &Pairs<'_>) {
        self.end(&named(family.name, pairs, None));
    }

    pub fn end_histogram(&mut self, family: &Family, pairs: &Pairs<'_>, histogram: &Histogram) {
        for (le, _) in histogram.cumulative() {
            self.end(&named(&format!("{}_bucket", family.name), pairs, Some(le)));
        }
        for suffix in ["sum", "count"] {
            self.end(&named(&format!("{}_{suffix}", family.name), pairs, None));
        }
    }
}

/// Empty values drop out.
fn named(name: &str, pairs: &Pairs<'_>, le: Option<&str>) -> Labels {
    let extra = [(METRIC_NAME, name), ("le", le.unwrap_or_default())];
    Labels::from_pairs(pairs.iter().copied().chain(extra))
}
