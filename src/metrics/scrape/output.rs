//! What one scrape writes: bodies of remote write 2.0.

use super::config::Job;
use super::session::Counts;
use super::target::Target;
use crate::metrics::remote_write::{SeriesWrite, WriteBody};
use crate::metrics::rows::{Exemplar, HistogramSample, Metadata, Value};
use crate::metrics::{METRIC_NAME, STALE_NAN};
use crate::model::Labels;
use std::time::Duration;

/// A body is not made much larger than this.
const BODY_MAX_BYTES: usize = 4 << 20;

#[derive(Default)]
pub struct Output {
    pub bodies: Vec<WriteBody>,
}

impl Output {
    fn write(&mut self, labels: &Labels, write: SeriesWrite<'_>) {
        if self.bodies.last().is_none_or(|body| body.bytes() > BODY_MAX_BYTES) {
            self.bodies.push(WriteBody::default());
        }
        if let Some(body) = self.bodies.last_mut() {
            body.series(labels, write);
        }
    }

    /// At `ts`, with a start time, in milliseconds; a start of 0 is unknown.
    pub fn sample(&mut self, labels: &Labels, (ts, start): (i64, i64), value: &Value, exemplars: &[Exemplar], metadata: Option<&Metadata>) {
        let common = SeriesWrite { metadata, exemplars, ..SeriesWrite::default() };
        match value {
            Value::Float(value) => self.write(labels, SeriesWrite { floats: &[(ts, start, *value)], ..common }),
            Value::Histogram(histogram) => {
                let sample = [HistogramSample { ts, start, histogram: histogram.clone() }];
                self.write(labels, SeriesWrite { histograms: &sample, ..common });
            }
        }
    }

    /// A staleness marker, so that queries see at once that the series ended.
    pub fn end(&mut self, labels: &Labels, now: i64) {
        self.write(labels, SeriesWrite { floats: &[(now, 0, f64::from_bits(STALE_NAN))], ..SeriesWrite::default() });
    }

    /// The series about the scrape itself.
    pub fn report(&mut self, target: &Target, now: i64, report: &Report) {
        for (name, value) in report.samples(&target.job, target.timeout) {
            let labels = target.labels.to_builder().set(METRIC_NAME, name).build();
            self.sample(&labels, (now, 0), &Value::Float(value), &[], None);
        }
    }
}

/// How a scrape went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    pub up: bool,
    pub took: Duration,
    pub counts: Counts,
    pub body_bytes: i64,
}

impl Report {
    fn samples(&self, job: &Job, timeout: Duration) -> Vec<(&'static str, f64)> {
        let counts = self.counts;
        let mut samples = vec![
            ("up", f64::from(u8::from(self.up))),
            ("scrape_duration_seconds", self.took.as_secs_f64()),
            ("scrape_samples_scraped", counts.scraped as f64),
            ("scrape_samples_post_metric_relabeling", counts.kept as f64),
            ("scrape_series_added", counts.added as f64),
        ];
        if job.extra_metrics {
            samples.push(("scrape_timeout_seconds", timeout.as_secs_f64()));
            samples.push(("scrape_sample_limit", job.limits.samples as f64));
            samples.push(("scrape_body_size_bytes", self.body_bytes as f64));
        }
        samples
    }
}
