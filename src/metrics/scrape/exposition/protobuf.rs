//! Messages `io.prometheus.client.MetricFamily`, each after its length. Field numbers: `io/prometheus/client/metrics.proto`.

use super::labels::{NORMAL_NAN, Pairs};
use super::{Exposed, Histograms, Item, Malformed, Point, Series, normal_float};
use crate::ingest::{self, Field, WireError, zigzag};
use crate::metrics::METRIC_NAME;
use crate::metrics::histogram::ResetHint;
use crate::metrics::remote_write::histogram::{Count, Message, histogram, span};
use crate::metrics::rows::{MetricType, Value};
use crate::model::Labels;
use std::sync::Arc;

impl From<WireError> for Malformed {
    fn from(error: WireError) -> Malformed {
        Malformed(format!("cannot decode protobuf: {error}"))
    }
}

pub(super) fn read<E: From<Malformed>>(body: &[u8], wanted: Histograms, take: &mut dyn FnMut(Item<'_>) -> Result<(), E>) -> Result<(), E> {
    let mut rest = body;
    while !rest.is_empty() {
        let (message, after) = ingest::Message::delimited(rest).map_err(Malformed::from)?;
        let family = Family::read(message)?;
        take(Item::Type(family.name.into(), family.kind))?;
        take(Item::Help(family.name.into(), family.help.into()))?;
        if !family.unit.is_empty() {
            take(Item::Unit(family.name.into(), family.unit.into()))?;
        }
        for metric in &family.metrics {
            for point in Metric::read(*metric)?.points(&family, wanted)? {
                take(Item::Point(point))?;
            }
        }
        rest = after;
    }
    Ok(())
}

/// A family, whose metrics are read when their turn comes.
#[derive(Default)]
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: &'a str,
    kind: MetricType,
    metrics: Vec<ingest::Message<'a>>,
}

fn text(field: Field<'_>) -> Result<&str, Malformed> {
    std::str::from_utf8(field.bytes()?).map_err(|_| Malformed("a text is not UTF-8".to_owned()))
}

impl<'a> Family<'a> {
    fn read(mut message: ingest::Message<'a>) -> Result<Family<'a>, Malformed> {
        // The type that is 0 is not written.
        let mut family = Family { kind: MetricType::Counter, ..Family::default() };
        while let Some(field) = message.field()? {
            match field.tag {
                1 => family.name = text(field)?,
                2 => family.help = text(field)?,
                3 => {
                    family.kind = match field.varint()? {
                        0 => MetricType::Counter,
                        1 => MetricType::Gauge,
                        2 => MetricType::Summary,
                        3 => MetricType::Unknown,
                        4 => MetricType::Histogram,
                        5 => MetricType::GaugeHistogram,
                        other => return Err(Malformed(format!("unknown metric type {other} of {:?}", family.name))),
                    }
                }
                4 => family.metrics.push(field.message()?),
                5 => family.unit = text(field)?,
                _ => field.unknown()?,
            }
        }
        if family.name.is_empty() {
            return Err(Malformed("a metric family has no name".to_owned()));
        }
        Ok(family)
    }
}

/// One metric: labels, a time, and what it measured.
#[derive(Default)]
struct Metric<'a> {
    labels: Vec<(&'a str, &'a str)>,
    ts: Option<i64>,
    measured: Option<(u32, ingest::Message<'a>)>,
}

const GAUGE: u32 = 2;
const COUNTER: u32 = 3;
const SUMMARY: u32 = 4;
const UNTYPED: u32 = 5;
const HISTOGRAM: u32 = 7;

impl<'a> Metric<'a> {
    fn read(mut message: ingest::Message<'a>) -> Result<Metric<'a>, Malformed> {
        let mut metric = Metric::default();
        while let Some(field) = message.field()? {
            match field.tag {
                1 => metric.labels.push(pair(field)?),
                6 => metric.ts = Some(field.int64()?).filter(|ts| *ts != 0),
                GAUGE | COUNTER | SUMMARY | UNTYPED | HISTOGRAM => metric.measured = Some((field.tag, field.message()?)),
                _ => field.unknown()?,
            }
        }
        Ok(metric)
    }

    /// The series of this metric with a suffix to its name, and perhaps one label more.
    fn series(&self, family: &'a Family<'_>, suffix: &str, extra: Option<(&'static str, String)>) -> Series<'a> {
        let mut pairs: Pairs<'a> = Vec::with_capacity(self.labels.len() + 2);
        if suffix.is_empty() {
            pairs.push((METRIC_NAME.into(), family.name.into()));
        } else {
            pairs.push((METRIC_NAME.into(), format!("{}{suffix}", family.name).into()));
        }
        pairs.extend(self.labels.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        pairs.extend(extra.map(|(name, value)| (name.into(), value.into())));
        // No text begins like this, so that it differs from the key of any text.
        let mut key = String::new();
        for (name, value) in &pairs {
            key.extend(["\0", name, "\0", value]);
        }
        Series::Pairs(key, pairs)
    }

    fn points(&self, family: &'a Family<'_>, wanted: Histograms) -> Result<Vec<Point<'a>>, Malformed> {
        let Some((kind, message)) = self.measured else { return Ok(Vec::new()) };
        match kind {
            SUMMARY => self.summary(family, message),
            HISTOGRAM => self.histogram(family, HistogramMessage::read(message)?, wanted),
            _ => {
                let (value, exemplar, start) = simple(message)?;
                Ok(vec![self.point(self.series(family, "", None), value, start, exemplar)])
            }
        }
    }

    fn point(&self, series: Series<'a>, value: f64, start: i64, exemplar: Option<Exposed>) -> Point<'a> {
        let value = Value::Float(if value.is_nan() { f64::from_bits(NORMAL_NAN) } else { value });
        Point { series, ts: self.ts, start, value, exemplars: exemplar.into_iter().collect() }
    }

    fn summary(&self, family: &'a Family<'_>, mut message: ingest::Message<'_>) -> Result<Vec<Point<'a>>, Malformed> {
        let (mut count, mut sum, mut quantiles, mut start) = (0.0, 0.0, Vec::new(), 0);
        while let Some(field) = message.field()? {
            match field.tag {
                1 => count = field.varint()? as f64,
                2 => sum = field.double()?,
                3 => quantiles.push(quantile(field)?),
                4 => start = time(field)?.unwrap_or(0),
                _ => field.unknown()?,
            }
        }
        let parts = [("_count", count), ("_sum", sum)];
        let mut points = Vec::from(parts.map(|(suffix, value)| self.point(self.series(family, suffix, None), value, start, None)));
        points.extend(quantiles.into_iter().map(|(quantile, value)| {
            let series = self.series(family, "", Some(("quantile", normal_float(quantile))));
            self.point(series, value, start, None)
        }));
        Ok(points)
    }

    fn histogram(&self, family: &'a Family<'_>, read: HistogramMessage, wanted: Histograms) -> Result<Vec<Point<'a>>, Malformed> {
        let mut points = Vec::new();
        let native = wanted.native && read.is_native;
        if !native || wanted.always_classic && !read.buckets.is_empty() {
            self.classic(family, &read, &mut points);
        }
        if native {
            points.push(self.native(family, read)?);
        }
        Ok(points)
    }

    fn classic(&self, family: &'a Family<'_>, read: &HistogramMessage, points: &mut Vec<Point<'a>>) {
        let count = read.whole.count.to_float();
        for (suffix, value) in [("_count", count), ("_sum", read.whole.sum)] {
            points.push(self.point(self.series(family, suffix, None), value, read.start, None));
        }
        let mut bucket = |bound, count, exemplar| {
            let series = self.series(family, "_bucket", Some(("le", normal_float(bound))));
            points.push(self.point(series, count, read.start, exemplar));
        };
        read.buckets.iter().for_each(|b| bucket(b.bound, b.count, b.exemplar.clone()));
        if !read.buckets.iter().any(|b| b.bound == f64::INFINITY) {
            bucket(f64::INFINITY, count, None);
        }
    }

    fn native(&self, family: &'a Family<'_>, read: HistogramMessage) -> Result<Point<'a>, Malformed> {
        let mut whole = read.whole;
        if family.kind == MetricType::GaugeHistogram {
            whole.hint = ResetHint::Gauge;
        }
        let checked = histogram(whole).map_err(|cause| Malformed(format!("{:?}: {cause}", family.name)))?;
        let of_buckets = || read.buckets.into_iter().filter_map(|bucket| bucket.exemplar).collect();
        let mut exemplars = if read.exemplars.is_empty() { of_buckets() } else { read.exemplars };
        // One without a time of its own would be new with every scrape, and there are many.
        exemplars.retain(|exemplar| exemplar.ts.is_some());
        exemplars.sort_by(|a, b| a.ts.cmp(&b.ts).then(a.value.total_cmp(&b.value)));
        let value = Value::Histogram(Arc::new(checked));
        Ok(Point { series: self.series(family, "", None), ts: self.ts, start: read.start, value, exemplars })
    }
}

/// Counter, gauge and untyped: value, exemplar and start time are alike in all that have them.
fn simple(mut message: ingest::Message<'_>) -> Result<(f64, Option<Exposed>, i64), Malformed> {
    let (mut value, mut found, mut start) = (0.0, None, 0);
    while let Some(field) = message.field()? {
        match field.tag {
            1 => value = field.double()?,
            2 => found = Some(exemplar(field)?),
            3 => start = time(field)?.unwrap_or(0),
            _ => field.unknown()?,
        }
    }
    Ok((value, found, start))
}

struct Bucket {
    bound: f64,
    count: f64,
    exemplar: Option<Exposed>,
}

#[derive(Default)]
struct HistogramMessage {
    whole: Message,
    buckets: Vec<Bucket>,
    exemplars: Vec<Exposed>,
    /// Milliseconds; 0 is unknown.
    start: i64,
    is_native: bool,
}

impl HistogramMessage {
    fn read(mut message: ingest::Message<'_>) -> Result<HistogramMessage, Malformed> {
        let mut read = HistogramMessage::default();
        let whole = &mut read.whole;
        let (mut count, mut zero) = (None, None);
        while let Some(field) = message.field()? {
            match field.tag {
                1 => count = count.or(Some(Count::Integer(field.varint()?))),
                2 => whole.sum = field.double()?,
                3 => read.buckets.push(bucket(field)?),
                4 => count = float_count(field)?.or(count),
                5 => whole.schema = field.sint32()?,
                6 => whole.zero_threshold = field.double()?,
                7 => zero = zero.or(Some(Count::Integer(field.varint()?))),
                8 => zero = float_count(field)?.or(zero),
                9 => whole.negative.spans.push(span(field)?),
                10 => field.each_varint(|n| whole.negative.deltas.push(zigzag(n)))?,
                11 => field.each_double(|n| whole.negative.counts.push(n))?,
                12 => whole.positive.spans.push(span(field)?),
                13 => field.each_varint(|n| whole.positive.deltas.push(zigzag(n)))?,
                14 => field.each_double(|n| whole.positive.counts.push(n))?,
                15 => read.start = time(field)?.unwrap_or(0),
                16 => read.exemplars.push(exemplar(field)?),
                _ => field.unknown()?,
            }
        }
        whole.count = count.unwrap_or_default();
        whole.zero_count = zero.unwrap_or_default();
        let has_spans = !whole.positive.spans.is_empty() || !whole.negative.spans.is_empty();
        read.is_native = has_spans || whole.zero_threshold > 0.0 || whole.zero_count.to_float() > 0.0;
        for side in [&mut whole.positive, &mut whole.negative] {
            // A span that is empty says that a histogram without observations is a native one.
            side.spans.retain(|(offset, length)| *length > 0 || *offset != 0);
        }
        Ok(read)
    }
}

/// A float's count, where it has one: it is 0 in a histogram of integers.
fn float_count(field: Field<'_>) -> Result<Option<Count>, Malformed> {
    Ok(Some(field.double()?).filter(|count| *count > 0.0).map(Count::Float))
}

fn bucket(field: Field<'_>) -> Result<Bucket, Malformed> {
    let mut bucket = Bucket { bound: 0.0, count: 0.0, exemplar: None };
    let mut message = field.message()?;
    while let Some(field) = message.field()? {
        match field.tag {
            1 => bucket.count = field.varint()? as f64,
            2 => bucket.bound = field.double()?,
            3 => bucket.exemplar = Some(exemplar(field)?),
            4 => bucket.count = Some(field.double()?).filter(|count| *count > 0.0).unwrap_or(bucket.count),
            _ => field.unknown()?,
        }
    }
    Ok(bucket)
}

fn pair(field: Field<'_>) -> Result<(&str, &str), Malformed> {
    let (mut name, mut value) = ("", "");
    let mut message = field.message()?;
    while let Some(field) = message.field()? {
        match field.tag {
            1 => name = text(field)?,
            2 => value = text(field)?,
            _ => field.unknown()?,
        }
    }
    Ok((name, value))
}

fn quantile(field: Field<'_>) -> Result<(f64, f64), Malformed> {
    let (mut quantile, mut value) = (0.0, 0.0);
    let mut message = field.message()?;
    while let Some(field) = message.field()? {
        match field.tag {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => field.unknown()?,
        }
    }
    Ok((quantile, value))
}

/// `google.protobuf.Timestamp`, as milliseconds; `None` where they do not fit.
fn time(field: Field<'_>) -> Result<Option<i64>, Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut message = field.message()?;
    while let Some(field) = message.field()? {
        match field.tag {
            1 => seconds = field.int64()?,
            2 => nanos = field.int64()?,
            _ => field.unknown()?,
        }
    }
    Ok(seconds.checked_mul(1000).and_then(|ms| ms.checked_add(nanos / 1_000_000)))
}

fn exemplar(field: Field<'_>) -> Result<Exposed, Malformed> {
    let (mut labels, mut value, mut ts) = (Vec::new(), 0.0, None);
    let mut message = field.message()?;
    while let Some(field) = message.field()? {
        match field.tag {
            1 => labels.push(pair(field)?),
            2 => value = field.double()?,
            3 => ts = time(field)?,
            _ => field.unknown()?,
        }
    }
    Ok(Exposed { labels: Labels::from_pairs(labels), value, ts })
}
