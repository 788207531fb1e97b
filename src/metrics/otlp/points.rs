//! Data points of every type as samples (contracts/prometheus.md 3.5).

use super::labels::{ResourceLabels, add_attributes};
use super::name::{Shape, metric_name, unit_text};
use super::request::Number;
use super::{TranslationConfig, decode};
use crate::ingest::Room;
use crate::metrics::builder::RowsBuilder;
use crate::metrics::histogram::{Buckets, CUSTOM_SCHEMA, Histogram, SCHEMA_MAX, SCHEMA_MIN};
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, MetricType, SeriesKey, Value};
use crate::metrics::{METRIC_NAME, STALE_NAN};
use crate::model::number::plain_float;
use crate::model::time::MILLI;
use crate::model::{Attribute, Labels, LabelsBuilder, Reason, SpanId, TraceId};
use crate::storage::Refusals;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{exemplar, number_data_point};
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// What the values of a point say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Temporality {
    Cumulative,
    /// What was added since the point before: the head makes sums of it, where the series' newest sample is known.
    Delta,
    Unspecified,
}

impl Temporality {
    fn of(number: i32) -> Temporality {
        match otlp::AggregationTemporality::try_from(number) {
            Ok(otlp::AggregationTemporality::Cumulative) => Temporality::Cumulative,
            Ok(otlp::AggregationTemporality::Delta) => Temporality::Delta,
            _ => Temporality::Unspecified,
        }
    }
}

const NO_RECORDED_VALUE: u32 = otlp::DataPointFlags::NoRecordedValueMask as u32;
/// Width of the zero bucket of exponential histograms, which OTLP leaves to the receiver.
const ZERO_THRESHOLD: f64 = 1e-128;

/// Nanoseconds to milliseconds, truncated.
pub(super) fn millis(nanos: u64) -> i64 {
    i64::try_from(nanos / MILLI.unsigned_abs()).unwrap_or(i64::MAX)
}

/// One request on its way to rows.
pub(super) struct Translation<'a> {
    pub(super) config: &'a TranslationConfig,
    /// Times that can be stored, milliseconds: what was made up or goes along with a data point keeps to them, too.
    times: RangeInclusive<i64>,
    pub(super) rows: RowsBuilder<'a>,
    /// The first and the last of these times that points of the resource at hand have.
    pub(super) covered: Option<(i64, i64)>,
}

/// What the data points of one metric share.
pub(super) struct Family<'a> {
    /// The name of the series, or why there is none.
    name: Result<String, String>,
    original: &'a str,
    metadata: Arc<Metadata>,
    resource: &'a ResourceLabels,
    scope: &'a [(String, String)],
    config: &'a TranslationConfig,
    temporality: Temporality,
    is_sum: bool,
}

/// What the samples of one data point share.
struct Point {
    item: u32,
    labels: LabelsBuilder,
    times: (i64, i64),
    stale: bool,
    delta: bool,
}

impl Point {
    fn value(&self, value: f64) -> Value {
        Value::Float(if self.stale { f64::from_bits(STALE_NAN) } else { value })
    }
}

impl<'a> Translation<'a> {
    pub(super) fn new(config: &'a TranslationConfig, times: RangeInclusive<i64>, room: Option<&'a Room>) -> Translation<'a> {
        Translation { config, times, rows: RowsBuilder::within(room), covered: None }
    }

    pub(super) fn finish(self) -> (MetricRows, Refusals) {
        self.rows.finish()
    }

    /// A point of the resource has this time, milliseconds.
    pub(super) fn cover(&mut self, ts: i64) {
        if self.times.contains(&ts) {
            self.covered = Some(self.covered.map_or((ts, ts), |(low, high)| (low.min(ts), high.max(ts))));
        }
    }

    /// The resource of a decoded request: what the reader of the bytes is compared with.
    #[cfg(test)]
    pub(super) fn resource(&mut self, message: otlp::ResourceMetrics, info_step: i64) {
        let attributes: Vec<Attribute> =
            message.resource.map(|r| r.attributes).unwrap_or_default().into_iter().map(decode::attribute).collect();
        let resource = ResourceLabels::new(&attributes, self.config);
        self.covered = None;
        for metrics in message.scope_metrics {
            let scope = metrics.scope.unwrap_or_default();
            let own: Vec<Attribute> = scope.attributes.into_iter().map(decode::attribute).collect();
            let scope_labels = self.scope_labels(&scope.name, &scope.version, &own, &metrics.schema_url);
            for metric in metrics.metrics {
                self.cover_points_of(&metric);
                self.metric(metric, &resource, &scope_labels);
            }
        }
        if let Some(range) = self.covered.take() {
            super::target_info::add(&mut self.rows, &attributes, &resource, range, info_step, self.config);
        }
    }

    pub(super) fn cover_points_of(&mut self, metric: &otlp::Metric) {
        point_times(metric).for_each(|nanos| self.cover(millis(nanos)));
    }

    /// `attributes` are those of the scope.
    pub(super) fn scope_labels(&self, name: &str, version: &str, attributes: &[Attribute], schema_url: &str) -> Vec<(String, String)> {
        if !self.config.promote_scope_metadata || name.is_empty() {
            return Vec::new();
        }
        let mut labels = LabelsBuilder::default();
        for attribute in attributes {
            let named = Attribute::new(format!("otel_scope_{}", attribute.key), attribute.value.clone());
            // A scope attribute without a usable name is left out.
            let _ = add_attributes(&mut labels, &[named], self.config);
        }
        labels.set("otel_scope_name", name);
        labels.set("otel_scope_version", version);
        labels.set("otel_scope_schema_url", schema_url);
        labels.build().iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    /// The family of a gauge, or of a sum with its temporality and whether it only grows.
    pub(super) fn number_family<'b>(
        &self,
        (name, unit, description): (&'b str, &str, &str),
        sum: Option<(i32, bool)>,
        resource: &'b ResourceLabels,
        scope: &'b [(String, String)],
    ) -> Family<'b>
    where
        'a: 'b,
    {
        let (shape, kind) = match sum {
            None => (Shape::Gauge, MetricType::Gauge),
            Some((_, true)) => (Shape::MonotonicSum, MetricType::Counter),
            Some((_, false)) => (Shape::Other, MetricType::Gauge),
        };
        let temporality = sum.map_or(Temporality::Cumulative, |(temporality, _)| Temporality::of(temporality));
        let translated = metric_name(name, unit, shape, self.config.strategy);
        let metadata =
            Metadata { family: translated.clone().unwrap_or_default(), kind, unit: unit_text(unit), help: description.to_owned() };
        Family {
            name: translated,
            original: name,
            metadata: Arc::new(metadata),
            resource,
            scope,
            config: self.config,
            temporality,
            is_sum: sum.is_some(),
        }
    }

    /// A point with the labels and the key of its series, or why it has none.
    pub(super) fn number(&mut self, family: &Family<'_>, number: Number, series: Result<(&Labels, SeriesKey), String>) {
        let Some(item) = self.item(family, family.temporality) else { return };
        let (labels, key) = match series {
            Ok(series) => series,
            Err(message) => return self.refuse_labels(item, family, &message),
        };
        let start = if family.is_sum { millis(number.start) } else { 0 };
        let value = if number.flags & NO_RECORDED_VALUE != 0 { f64::from_bits(STALE_NAN) } else { number.value };
        let series = self.rows.known_series(labels, key, Some(&family.metadata));
        let times = (millis(number.time), start);
        if family.temporality == Temporality::Delta {
            self.rows.delta(series, item, times, Value::Float(value));
        } else {
            self.rows.sample(series, item, times, Value::Float(value));
        }
        if family.is_sum {
            for exemplar in in_order(number.exemplars) {
                self.exemplar(series, item, exemplar);
            }
        }
    }

    /// Numbers the item; `None` if it is refused.
    fn item(&mut self, family: &Family<'_>, temporality: Temporality) -> Option<u32> {
        let item = self.rows.next_item();
        if let Err(message) = &family.name {
            self.rows.refuse(item, Reason::InvalidName, || message.clone());
            return None;
        }
        if temporality == Temporality::Unspecified {
            self.rows.refuse(item, Reason::InvalidTemporality, || {
                format!("invalid temporality and type combination for metric {:?}: it must be cumulative or delta", family.original)
            });
            return None;
        }
        Some(item)
    }

    fn refuse_labels(&mut self, item: u32, family: &Family<'_>, message: &str) {
        self.rows.refuse(item, Reason::InvalidLabel, || format!("{message} in metric {:?}", family.original));
    }

    pub(super) fn metric(&mut self, metric: otlp::Metric, resource: &ResourceLabels, scope: &[(String, String)]) {
        let Some(data) = metric.data else { return };
        let (shape, kind) = match &data {
            Data::Gauge(_) => (Shape::Gauge, MetricType::Gauge),
            Data::Sum(sum) if sum.is_monotonic => (Shape::MonotonicSum, MetricType::Counter),
            Data::Sum(_) => (Shape::Other, MetricType::Gauge),
            Data::Histogram(_) | Data::ExponentialHistogram(_) => (Shape::Other, MetricType::Histogram),
            Data::Summary(_) => (Shape::Other, MetricType::Summary),
        };
        let name = metric_name(&metric.name, &metric.unit, shape, self.config.strategy);
        let unit = unit_text(&metric.unit);
        let family_name = name.clone().unwrap_or_default();
        let metadata = Arc::new(Metadata { family: family_name, kind, unit, help: metric.description });
        let (temporality, is_sum) = (Temporality::Cumulative, false);
        let family = Family { name, original: &metric.name, metadata, resource, scope, config: self.config, temporality, is_sum };
        match data {
            Data::Gauge(gauge) => self.numbers(&family, gauge.data_points, Temporality::Cumulative, false),
            Data::Sum(sum) => self.numbers(&family, sum.data_points, Temporality::of(sum.aggregation_temporality), true),
            Data::Histogram(h) => self.histograms(&family, h.data_points, Temporality::of(h.aggregation_temporality)),
            Data::ExponentialHistogram(h) => self.exponential(&family, h.data_points, Temporality::of(h.aggregation_temporality)),
            Data::Summary(summary) => self.summaries(&family, summary.data_points),
        }
    }

    /// Numbers the point and makes its labels; `None` if it is refused.
    fn point(
        &mut self,
        family: &Family<'_>,
        attributes: Vec<KeyValue>,
        nanos: (u64, u64),
        flags: u32,
        temporality: Temporality,
    ) -> Option<Point> {
        let item = self.item(family, temporality)?;
        let attributes: Vec<Attribute> = attributes.into_iter().map(decode::attribute).collect();
        match family.labels(&attributes) {
            Ok(labels) => {
                let times = (millis(nanos.0), millis(nanos.1));
                let delta = temporality == Temporality::Delta;
                Some(Point { item, labels, times, stale: flags & NO_RECORDED_VALUE != 0, delta })
            }
            Err(message) => {
                self.refuse_labels(item, family, &message);
                None
            }
        }
    }

    /// Adds the sample of a series of the family and returns its position. Does nothing once the room is full: the labels of a
    /// request that is refused need not be made.
    fn float(&mut self, family: &Family<'_>, point: &Point, suffix: &str, extra: Option<(&str, &str)>, value: f64) -> u32 {
        if self.rows.is_full() {
            return u32::MAX;
        }
        let series = self.rows.series(family.series_labels(&point.labels, suffix, extra), Some(&family.metadata));
        self.sample(series, point, point.value(value));
        series
    }

    fn sample(&mut self, series: u32, point: &Point, value: Value) {
        if point.delta {
            self.rows.delta(series, point.item, point.times, value);
        } else {
            self.rows.sample(series, point.item, point.times, value);
        }
    }

    fn numbers(&mut self, family: &Family<'_>, points: Vec<otlp::NumberDataPoint>, temporality: Temporality, is_sum: bool) {
        for data in points {
            let start = if is_sum { data.start_time_unix_nano } else { 0 };
            let Some(point) = self.point(family, data.attributes, (data.time_unix_nano, start), data.flags, temporality) else { continue };
            let value = match data.value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                Some(number_data_point::Value::AsInt(value)) => value as f64,
                None => 0.0,
            };
            let series = self.float(family, &point, "", None, value);
            if is_sum {
                self.exemplars(series, point.item, data.exemplars);
            }
        }
    }

    fn summaries(&mut self, family: &Family<'_>, points: Vec<otlp::SummaryDataPoint>) {
        for data in points {
            let nanos = (data.time_unix_nano, data.start_time_unix_nano);
            let Some(point) = self.point(family, data.attributes, nanos, data.flags, Temporality::Cumulative) else { continue };
            self.float(family, &point, "_sum", None, data.sum);
            self.float(family, &point, "_count", None, data.count as f64);
            for quantile in data.quantile_values {
                self.float(family, &point, "", Some(("quantile", &plain_float(quantile.quantile))), quantile.value);
            }
        }
    }

    fn histograms(&mut self, family: &Family<'_>, points: Vec<otlp::HistogramDataPoint>, temporality: Temporality) {
        for data in points {
            let nanos = (data.time_unix_nano, data.start_time_unix_nano);
            let attributes = data.attributes.clone();
            let Some(point) = self.point(family, attributes, nanos, data.flags, temporality) else { continue };
            if self.config.convert_histograms_to_nhcb {
                self.custom_histogram(family, &point, data);
            } else {
                self.classic_histogram(family, &point, data);
            }
        }
    }

    fn classic_histogram(&mut self, family: &Family<'_>, point: &Point, data: otlp::HistogramDataPoint) {
        if let Some(sum) = data.sum {
            self.float(family, point, "_sum", None, sum);
        }
        self.float(family, point, "_count", None, data.count as f64);
        let mut cumulative = 0u64;
        let mut buckets = Vec::with_capacity(data.explicit_bounds.len() + 1);
        for (bound, count) in data.explicit_bounds.iter().zip(&data.bucket_counts) {
            cumulative = cumulative.saturating_add(*count);
            let series = self.float(family, point, "_bucket", Some(("le", &plain_float(*bound))), cumulative as f64);
            buckets.push((*bound, series));
        }
        let last = self.float(family, point, "_bucket", Some(("le", "+Inf")), data.count as f64);
        for exemplar in in_order(data.exemplars.into_iter().map(exemplar).collect()) {
            let bucket = buckets.iter().find(|(bound, _)| exemplar.value <= *bound).map_or(last, |b| b.1);
            self.exemplar(bucket, point.item, exemplar);
        }
    }

    fn custom_histogram(&mut self, family: &Family<'_>, point: &Point, data: otlp::HistogramDataPoint) {
        let counts = data.bucket_counts.iter().enumerate().filter(|(_, n)| **n > 0);
        let positive: Buckets = counts.map(|(at, n)| (i32::try_from(at).unwrap_or(i32::MAX), *n as f64)).collect();
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count: data.count as f64,
            sum: data.sum.unwrap_or(0.0),
            positive,
            custom: data.explicit_bounds.into(),
            ..Histogram::default()
        };
        self.native(family, point, histogram, data.exemplars);
    }

    fn exponential(&mut self, family: &Family<'_>, points: Vec<otlp::ExponentialHistogramDataPoint>, temporality: Temporality) {
        for mut data in points {
            let nanos = (data.time_unix_nano, data.start_time_unix_nano);
            let attributes = std::mem::take(&mut data.attributes);
            let Some(point) = self.point(family, attributes, nanos, data.flags, temporality) else { continue };
            if let Some(message) = unfit(&data).filter(|_| !point.stale) {
                self.rows.refuse(point.item, Reason::InvalidHistogram, || format!("{message} in metric {:?}", family.original));
                continue;
            }
            let buckets = |side: Option<otlp::exponential_histogram_data_point::Buckets>| -> Buckets {
                let side = side.unwrap_or_default();
                let counts = side.bucket_counts.iter().enumerate().filter(|(_, n)| **n > 0);
                let index = |at: usize| side.offset.saturating_add(i32::try_from(at).unwrap_or(i32::MAX)).saturating_add(1);
                counts.map(|(at, n)| (index(at), *n as f64)).collect()
            };
            let mut histogram = Histogram {
                schema: data.scale,
                zero_threshold: ZERO_THRESHOLD,
                zero_count: data.zero_count as f64,
                count: data.count as f64,
                sum: data.sum.unwrap_or(0.0),
                positive: buckets(data.positive),
                negative: buckets(data.negative),
                ..Histogram::default()
            };
            if data.scale > SCHEMA_MAX {
                histogram.reduce(SCHEMA_MAX);
            }
            self.native(family, &point, histogram, data.exemplars);
        }
    }

    fn native(&mut self, family: &Family<'_>, point: &Point, histogram: Histogram, exemplars: Vec<otlp::Exemplar>) {
        let stale = f64::from_bits(STALE_NAN);
        let histogram = if point.stale { Histogram { sum: stale, count: stale, ..Histogram::default() } } else { histogram };
        let series = self.rows.series(family.series_labels(&point.labels, "", None), Some(&family.metadata));
        self.sample(series, point, Value::Histogram(Arc::new(histogram)));
        self.exemplars(series, point.item, exemplars);
    }

    fn exemplars(&mut self, series: u32, item: u32, exemplars: Vec<otlp::Exemplar>) {
        for exemplar in in_order(exemplars.into_iter().map(exemplar).collect()) {
            self.exemplar(series, item, exemplar);
        }
    }

    /// An exemplar without a time (0), or with one at which no sample would be taken, is dropped: it would make a block of
    /// its own for its day.
    fn exemplar(&mut self, series: u32, item: u32, exemplar: Exemplar) {
        if exemplar.ts != 0 && self.times.contains(&exemplar.ts) {
            self.rows.exemplar(series, Some(item), exemplar);
        }
    }
}

/// Why a data point makes no native histogram (contracts/prometheus.md 2.4, 3.5); `None` if it does.
fn unfit(data: &otlp::ExponentialHistogramDataPoint) -> Option<String> {
    if data.scale < SCHEMA_MIN {
        return Some(format!("cannot convert exponential to native histogram. Scale must be >= -4, was {}", data.scale));
    }
    let mut counted = data.zero_count;
    for side in [&data.positive, &data.negative].into_iter().flatten() {
        let length = i64::try_from(side.bucket_counts.len()).unwrap_or(i64::MAX);
        if length.saturating_add(side.offset.into()) >= i32::MAX.into() {
            return Some(format!("buckets from offset {} on have no index of 32 bits", side.offset));
        }
        counted = side.bucket_counts.iter().fold(counted, |sum, count| sum.saturating_add(*count));
    }
    // Observations of NaN are counted but lie in no bucket.
    let fits = if data.sum.is_some_and(f64::is_nan) { counted <= data.count } else { counted == data.count };
    (!fits).then(|| format!("the buckets hold {counted} observations, but the count is {}", data.count))
}

impl Family<'_> {
    pub(super) fn has_name(&self) -> bool {
        self.name.is_ok()
    }

    /// What a data point itself says.
    pub(super) fn labels(&self, attributes: &[Attribute]) -> Result<LabelsBuilder, String> {
        let mut labels = LabelsBuilder::default();
        add_attributes(&mut labels, attributes, self.config)?;
        Ok(labels)
    }

    /// The labels of a point's series, with those that the resource and the scope give to all. Nothing is copied before all
    /// is known: a histogram has many series, and a source may have a million.
    pub(super) fn series_labels(&self, point: &LabelsBuilder, suffix: &str, extra: Option<(&str, &str)>) -> Labels {
        // A point exists only if the family has a name.
        let name = self.name.as_deref().unwrap_or_default();
        let name = if suffix.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(format!("{name}{suffix}")) };
        // The later ones replace the earlier ones.
        let scope = self.scope.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let all = self.resource.promoted().chain(point.iter()).chain(self.resource.identity()).chain(scope);
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(32);
        for (name, value) in all.chain([(METRIC_NAME, &*name)]).chain(extra) {
            match pairs.binary_search_by(|(known, _)| (*known).cmp(name)) {
                Ok(at) => pairs[at].1 = value,
                Err(at) => pairs.insert(at, (name, value)),
            }
        }
        Labels::from_sorted(pairs)
    }
}

/// A reservoir gives its exemplars in any order, and a series takes them in order of time.
fn in_order(mut exemplars: Vec<Exemplar>) -> Vec<Exemplar> {
    exemplars.sort_by(|a, b| a.ts.cmp(&b.ts).then(a.value.total_cmp(&b.value)));
    exemplars
}

fn exemplar(message: otlp::Exemplar) -> Exemplar {
    let value = match message.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    let attributes: Vec<Attribute> = message.filtered_attributes.into_iter().map(decode::attribute).collect();
    exemplar_of(millis(message.time_unix_nano), value, (&message.trace_id, &message.span_id), &attributes)
}

/// Without its attributes if they are too long.
pub(super) fn exemplar_of(ts: i64, value: f64, (trace_id, span_id): (&[u8], &[u8]), attributes: &[Attribute]) -> Exemplar {
    let mut ids = LabelsBuilder::default();
    if let Some(trace) = TraceId::from_slice(trace_id).filter(|id| !id.is_zero()) {
        ids.set("trace_id", &trace.to_hex());
    }
    if let Some(span) = SpanId::from_slice(span_id).filter(|id| !id.is_zero()) {
        ids.set("span_id", &span.to_hex());
    }
    let mut all = ids.clone();
    for attribute in attributes {
        all.set(&attribute.key, &attribute.value.to_text());
    }
    let all = all.build();
    let labels = if Exemplar::takes(&all) { all } else { ids.build() };
    Exemplar { ts, value, labels }
}

/// Times of all points, nanoseconds.
fn point_times(metric: &otlp::Metric) -> Box<dyn Iterator<Item = u64> + '_> {
    match &metric.data {
        None => Box::new(std::iter::empty()),
        Some(Data::Gauge(d)) => Box::new(d.data_points.iter().map(|p| p.time_unix_nano)),
        Some(Data::Sum(d)) => Box::new(d.data_points.iter().map(|p| p.time_unix_nano)),
        Some(Data::Histogram(d)) => Box::new(d.data_points.iter().map(|p| p.time_unix_nano)),
        Some(Data::ExponentialHistogram(d)) => Box::new(d.data_points.iter().map(|p| p.time_unix_nano)),
        Some(Data::Summary(d)) => Box::new(d.data_points.iter().map(|p| p.time_unix_nano)),
    }
}
