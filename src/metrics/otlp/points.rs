//! Data points of every type as samples (contracts/prometheus.md 3.5).

use super::TranslationConfig;
use super::labels::{ResourceLabels, add_attributes};
use super::name::{Shape, metric_name, unit_text};
use super::point::{ExponentialPoint, HistogramPoint, NumberPoint, Part, PointSeries, Side, SummaryPoint, Taken};
use crate::ingest::Plain;
use crate::metrics::builder::RowsBuilder;
use crate::metrics::histogram::{Buckets, CUSTOM_SCHEMA, Histogram, SCHEMA_MAX, SCHEMA_MIN};
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, MetricType, SeriesKey, Value};
use crate::metrics::{METRIC_NAME, STALE_NAN};
use crate::model::time::MILLI;
use crate::model::{Attribute, Labels, LabelsBuilder, Reason, SpanId, TraceId};
use crate::storage::Refusals;
use opentelemetry_proto::tonic::metrics::v1 as otlp;
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

/// What decides how the data points of a metric become samples. Temporalities are the numbers of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Sum { temporality: i32, is_monotonic: bool },
    Histogram { temporality: i32 },
    Exponential { temporality: i32 },
    Summary,
}

/// What the samples of one data point share.
struct Point {
    item: u32,
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
    pub(super) fn new(config: &'a TranslationConfig, times: RangeInclusive<i64>, body: Plain<'a>) -> Translation<'a> {
        Translation { config, times, rows: RowsBuilder::new(body), covered: None }
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

    pub(super) fn family<'b>(
        &self,
        (name, unit, description): (&'b str, &str, &str),
        kind: Kind,
        resource: &'b ResourceLabels,
        scope: &'b [(String, String)],
    ) -> Family<'b>
    where
        'a: 'b,
    {
        let cumulative = Temporality::Cumulative;
        let (shape, metric_type, temporality) = match kind {
            Kind::Gauge => (Shape::Gauge, MetricType::Gauge, cumulative),
            Kind::Sum { temporality, is_monotonic: true } => (Shape::MonotonicSum, MetricType::Counter, Temporality::of(temporality)),
            Kind::Sum { temporality, .. } => (Shape::Other, MetricType::Gauge, Temporality::of(temporality)),
            Kind::Histogram { temporality } | Kind::Exponential { temporality } => {
                (Shape::Other, MetricType::Histogram, Temporality::of(temporality))
            }
            Kind::Summary => (Shape::Other, MetricType::Summary, cumulative),
        };
        let translated = metric_name(name, unit, shape, self.config.strategy);
        let metadata = Metadata {
            family: translated.clone().unwrap_or_default(),
            kind: metric_type,
            unit: unit_text(unit),
            help: description.to_owned(),
        };
        Family {
            name: translated,
            original: name,
            metadata: Arc::new(metadata),
            resource,
            scope,
            config: self.config,
            temporality,
            is_sum: matches!(kind, Kind::Sum { .. }),
        }
    }

    /// A point with the labels and the key of its series, or why it has none.
    pub(super) fn number(&mut self, family: &Family<'_>, number: &mut NumberPoint, series: Result<(&Labels, SeriesKey), String>) {
        let Some(item) = self.item(family) else { return };
        let (labels, key) = match series {
            Ok(series) => series,
            Err(message) => return self.refuse_labels(item, family, &message),
        };
        let start = if family.is_sum { millis(number.taken.start) } else { 0 };
        let value = if number.taken.flags & NO_RECORDED_VALUE != 0 { f64::from_bits(STALE_NAN) } else { number.value };
        let series = self.rows.known_series(labels, key, Some(&family.metadata));
        let times = (millis(number.taken.time), start);
        if family.temporality == Temporality::Delta {
            self.rows.delta(series, item, times, Value::Float(value));
        } else {
            self.rows.sample(series, item, times, Value::Float(value));
        }
        if family.is_sum {
            for exemplar in in_order(std::mem::take(&mut number.exemplars)) {
                self.exemplar(series, item, exemplar);
            }
        }
    }

    /// Numbers the item; `None` if it is refused.
    fn item(&mut self, family: &Family<'_>) -> Option<u32> {
        let item = self.rows.next_item();
        if let Err(message) = &family.name {
            self.rows.refuse(item, Reason::InvalidName, || message.clone());
            return None;
        }
        if family.temporality == Temporality::Unspecified {
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

    /// Numbers the point; `None` if it is refused.
    fn point<S>(&mut self, family: &Family<'_>, taken: Taken, series: Result<S, String>) -> Option<(Point, S)> {
        let item = self.item(family)?;
        match series {
            Ok(series) => {
                let times = (millis(taken.time), millis(taken.start));
                let delta = family.temporality == Temporality::Delta;
                Some((Point { item, times, stale: taken.flags & NO_RECORDED_VALUE != 0, delta }, series))
            }
            Err(message) => {
                self.refuse_labels(item, family, &message);
                None
            }
        }
    }

    /// Adds the sample of a series of the point and returns its position. Does nothing once the room is full: the labels of a
    /// request that is refused need not be made.
    fn float(&mut self, family: &Family<'_>, point: &Point, series: &mut impl PointSeries, part: Part, value: f64) -> u32 {
        if self.rows.is_full() {
            return u32::MAX;
        }
        let at = series.position(part, family, &mut self.rows);
        self.sample(at, point, point.value(value));
        at
    }

    fn sample(&mut self, series: u32, point: &Point, value: Value) {
        if point.delta {
            self.rows.delta(series, point.item, point.times, value);
        } else {
            self.rows.sample(series, point.item, point.times, value);
        }
    }

    /// A point with its series, or why it has none; as are those of the other types.
    pub(super) fn summary(&mut self, family: &Family<'_>, data: &SummaryPoint, series: Result<impl PointSeries, String>) {
        let Some((point, mut series)) = self.point(family, data.taken, series) else { return };
        self.float(family, &point, &mut series, Part::Sum, data.sum);
        self.float(family, &point, &mut series, Part::Count, data.count as f64);
        for (quantile, value) in &data.quantiles {
            self.float(family, &point, &mut series, Part::Quantile(*quantile), *value);
        }
    }

    pub(super) fn histogram(&mut self, family: &Family<'_>, data: &mut HistogramPoint, series: Result<impl PointSeries, String>) {
        let Some((point, mut series)) = self.point(family, data.taken, series) else { return };
        if self.config.convert_histograms_to_nhcb {
            self.custom_histogram(family, &point, &mut series, data);
        } else {
            self.classic_histogram(family, &point, &mut series, data);
        }
    }

    fn classic_histogram(&mut self, family: &Family<'_>, point: &Point, series: &mut impl PointSeries, data: &mut HistogramPoint) {
        if let Some(sum) = data.sum {
            self.float(family, point, series, Part::Sum, sum);
        }
        self.float(family, point, series, Part::Count, data.count as f64);
        let mut cumulative = 0u64;
        let mut buckets = Vec::new();
        for (bound, count) in data.bounds.iter().zip(&data.counts) {
            cumulative = cumulative.saturating_add(*count);
            let at = self.float(family, point, series, Part::Bucket(*bound), cumulative as f64);
            if !data.exemplars.is_empty() {
                buckets.push((*bound, at));
            }
        }
        let last = self.float(family, point, series, Part::Infinity, data.count as f64);
        for exemplar in in_order(std::mem::take(&mut data.exemplars)) {
            let bucket = buckets.iter().find(|(bound, _)| exemplar.value <= *bound).map_or(last, |b| b.1);
            self.exemplar(bucket, point.item, exemplar);
        }
    }

    fn custom_histogram(&mut self, family: &Family<'_>, point: &Point, series: &mut impl PointSeries, data: &mut HistogramPoint) {
        let counts = data.counts.iter().enumerate().filter(|(_, n)| **n > 0);
        let positive: Buckets = counts.map(|(at, n)| (i32::try_from(at).unwrap_or(i32::MAX), *n as f64)).collect();
        let histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            count: data.count as f64,
            sum: data.sum.unwrap_or(0.0),
            positive,
            custom: data.bounds[..].into(),
            ..Histogram::default()
        };
        self.native(family, point, series, histogram, std::mem::take(&mut data.exemplars));
    }

    pub(super) fn exponential(&mut self, family: &Family<'_>, data: &mut ExponentialPoint, series: Result<impl PointSeries, String>) {
        let Some((point, mut series)) = self.point(family, data.taken, series) else { return };
        if let Some(message) = unfit(data).filter(|_| !point.stale) {
            self.rows.refuse(point.item, Reason::InvalidHistogram, || format!("{message} in metric {:?}", family.original));
            return;
        }
        let buckets = |side: &Side| -> Buckets {
            let counts = side.counts.iter().enumerate().filter(|(_, n)| **n > 0);
            let index = |at: usize| side.offset.saturating_add(i32::try_from(at).unwrap_or(i32::MAX)).saturating_add(1);
            counts.map(|(at, n)| (index(at), *n as f64)).collect()
        };
        let mut histogram = Histogram {
            schema: data.scale,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: data.zero_count as f64,
            count: data.count as f64,
            sum: data.sum.unwrap_or(0.0),
            positive: buckets(&data.positive),
            negative: buckets(&data.negative),
            ..Histogram::default()
        };
        if data.scale > SCHEMA_MAX {
            histogram.reduce(SCHEMA_MAX);
        }
        self.native(family, &point, &mut series, histogram, std::mem::take(&mut data.exemplars));
    }

    fn native(
        &mut self,
        family: &Family<'_>,
        point: &Point,
        series: &mut impl PointSeries,
        histogram: Histogram,
        exemplars: Vec<Exemplar>,
    ) {
        let stale = f64::from_bits(STALE_NAN);
        let histogram = if point.stale { Histogram { sum: stale, count: stale, ..Histogram::default() } } else { histogram };
        let at = series.position(Part::Itself, family, &mut self.rows);
        self.sample(at, point, Value::Histogram(Arc::new(histogram)));
        for exemplar in in_order(exemplars) {
            self.exemplar(at, point.item, exemplar);
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
fn unfit(data: &ExponentialPoint) -> Option<String> {
    if data.scale < SCHEMA_MIN {
        return Some(format!("cannot convert exponential to native histogram. Scale must be >= -4, was {}", data.scale));
    }
    let mut counted = data.zero_count;
    for side in [&data.positive, &data.negative] {
        let length = i64::try_from(side.counts.len()).unwrap_or(i64::MAX);
        if length.saturating_add(side.offset.into()) >= i32::MAX.into() {
            return Some(format!("buckets from offset {} on have no index of 32 bits", side.offset));
        }
        counted = side.counts.iter().fold(counted, |sum, count| sum.saturating_add(*count));
    }
    // Observations of NaN are counted but lie in no bucket.
    let fits = if data.sum.is_some_and(f64::is_nan) { counted <= data.count } else { counted == data.count };
    (!fits).then(|| format!("the buckets hold {counted} observations, but the count is {}", data.count))
}

impl Family<'_> {
    pub(super) fn metadata(&self) -> &Arc<Metadata> {
        &self.metadata
    }

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
    pub(super) fn series_labels(&self, point: &LabelsBuilder, part: Part) -> Labels {
        let (suffix, extra) = (part.suffix(), part.label());
        let extra = extra.as_ref().map(|(name, value)| (*name, value.as_str()));
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
