//! Requests by prost's messages: what the reader of the bytes is compared with.

use super::labels::{ResourceLabels, add_attributes};
use super::point::{ExponentialPoint, HistogramPoint, NumberPoint, Part, PointSeries, Side, SummaryPoint, Taken};
use super::points::{Family, Kind, Translation, exemplar_of, millis};
use super::target_info;
use crate::metrics::builder::RowsBuilder;
use crate::metrics::rows::{Exemplar, SeriesKey};
use crate::model::{Attribute, AttributeValue, LabelsBuilder};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{self as otlp, exemplar, exponential_histogram_data_point, number_data_point};

fn attribute(pair: KeyValue) -> Attribute {
    Attribute::new(pair.key, value(pair.value))
}

fn attributes(pairs: Vec<KeyValue>) -> Vec<Attribute> {
    pairs.into_iter().map(attribute).collect()
}

/// prost bounds the depth of nesting, so the recursion here is bounded, too.
fn value(any: Option<AnyValue>) -> AttributeValue {
    match any.and_then(|a| a.value) {
        None => AttributeValue::Empty,
        Some(Value::StringValue(text)) => AttributeValue::String(text),
        Some(Value::BoolValue(flag)) => AttributeValue::Bool(flag),
        Some(Value::IntValue(integer)) => AttributeValue::Int(integer),
        Some(Value::DoubleValue(float)) => AttributeValue::Double(float),
        Some(Value::BytesValue(bytes)) => AttributeValue::Bytes(bytes),
        Some(Value::ArrayValue(array)) => AttributeValue::Array(array.values.into_iter().map(|v| value(Some(v))).collect()),
        Some(Value::KvlistValue(list)) => AttributeValue::Map(list.values.into_iter().map(attribute).collect()),
        Some(Value::StringValueStrindex(_)) => AttributeValue::Empty,
    }
}

/// The series of a point, of which nothing was known before.
struct NewSeries(LabelsBuilder);

impl NewSeries {
    fn of(pairs: Vec<KeyValue>, translation: &Translation<'_>) -> Result<NewSeries, String> {
        let mut labels = LabelsBuilder::default();
        add_attributes(&mut labels, &attributes(pairs), translation.config).map(|()| NewSeries(labels))
    }
}

impl PointSeries for NewSeries {
    fn position(&mut self, part: Part, family: &Family<'_>, rows: &mut RowsBuilder<'_>) -> u32 {
        rows.series(family.series_labels(&self.0, part), Some(family.metadata()))
    }
}

pub fn resource(translation: &mut Translation<'_>, message: otlp::ResourceMetrics, info_step: i64) {
    let own = attributes(message.resource.map(|r| r.attributes).unwrap_or_default());
    let labels = ResourceLabels::new(&own, translation.config);
    translation.covered = None;
    for metrics in message.scope_metrics {
        let scope = metrics.scope.unwrap_or_default();
        let scope_labels = translation.scope_labels(&scope.name, &scope.version, &attributes(scope.attributes), &metrics.schema_url);
        for message in metrics.metrics {
            metric(translation, message, &labels, &scope_labels);
        }
    }
    if let Some(range) = translation.covered.take() {
        target_info::add(&mut translation.rows, &own, &labels, range, info_step, translation.config);
    }
}

fn metric(translation: &mut Translation<'_>, message: otlp::Metric, resource: &ResourceLabels, scope: &[(String, String)]) {
    let Some(data) = message.data else { return };
    let kind = match &data {
        Data::Gauge(_) => Kind::Gauge,
        Data::Sum(sum) => Kind::Sum { temporality: sum.aggregation_temporality, is_monotonic: sum.is_monotonic },
        Data::Histogram(histogram) => Kind::Histogram { temporality: histogram.aggregation_temporality },
        Data::ExponentialHistogram(histogram) => Kind::Exponential { temporality: histogram.aggregation_temporality },
        Data::Summary(_) => Kind::Summary,
    };
    let family = translation.family((&message.name, &message.unit, &message.description), kind, resource, scope);
    match data {
        Data::Gauge(gauge) => gauge.data_points.into_iter().for_each(|point| number(translation, &family, point)),
        Data::Sum(sum) => sum.data_points.into_iter().for_each(|point| number(translation, &family, point)),
        Data::Histogram(h) => h.data_points.into_iter().for_each(|point| histogram(translation, &family, point)),
        Data::ExponentialHistogram(h) => h.data_points.into_iter().for_each(|point| exponential(translation, &family, point)),
        Data::Summary(summary) => summary.data_points.into_iter().for_each(|point| self::summary(translation, &family, point)),
    }
}

fn number(translation: &mut Translation<'_>, family: &Family<'_>, point: otlp::NumberDataPoint) {
    translation.cover(millis(point.time_unix_nano));
    let value = match point.value {
        Some(number_data_point::Value::AsDouble(value)) => value,
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    let taken = Taken { time: point.time_unix_nano, start: point.start_time_unix_nano, flags: point.flags };
    let labels = NewSeries::of(point.attributes, translation).map(|series| family.series_labels(&series.0, Part::Itself));
    let series = labels.as_ref().map(|labels| (labels, SeriesKey::of(labels))).map_err(String::clone);
    translation.number(family, &mut NumberPoint { taken, value, exemplars: exemplars(point.exemplars) }, series);
}

fn histogram(translation: &mut Translation<'_>, family: &Family<'_>, point: otlp::HistogramDataPoint) {
    translation.cover(millis(point.time_unix_nano));
    let mut data = HistogramPoint {
        taken: Taken { time: point.time_unix_nano, start: point.start_time_unix_nano, flags: point.flags },
        count: point.count,
        sum: point.sum,
        bounds: point.explicit_bounds,
        counts: point.bucket_counts,
        exemplars: exemplars(point.exemplars),
    };
    let series = NewSeries::of(point.attributes, translation);
    translation.histogram(family, &mut data, series);
}

fn exponential(translation: &mut Translation<'_>, family: &Family<'_>, point: otlp::ExponentialHistogramDataPoint) {
    translation.cover(millis(point.time_unix_nano));
    let side = |side: Option<exponential_histogram_data_point::Buckets>| {
        side.map_or_else(Side::default, |side| Side { offset: side.offset, counts: side.bucket_counts })
    };
    let mut data = ExponentialPoint {
        taken: Taken { time: point.time_unix_nano, start: point.start_time_unix_nano, flags: point.flags },
        count: point.count,
        sum: point.sum,
        scale: point.scale,
        zero_count: point.zero_count,
        positive: side(point.positive),
        negative: side(point.negative),
        exemplars: exemplars(point.exemplars),
    };
    let series = NewSeries::of(point.attributes, translation);
    translation.exponential(family, &mut data, series);
}

fn summary(translation: &mut Translation<'_>, family: &Family<'_>, point: otlp::SummaryDataPoint) {
    translation.cover(millis(point.time_unix_nano));
    let data = SummaryPoint {
        taken: Taken { time: point.time_unix_nano, start: point.start_time_unix_nano, flags: point.flags },
        count: point.count,
        sum: point.sum,
        quantiles: point.quantile_values.into_iter().map(|q| (q.quantile, q.value)).collect(),
    };
    let series = NewSeries::of(point.attributes, translation);
    translation.summary(family, &data, series);
}

fn exemplars(messages: Vec<otlp::Exemplar>) -> Vec<Exemplar> {
    messages.into_iter().map(exemplar).collect()
}

fn exemplar(message: otlp::Exemplar) -> Exemplar {
    let value = match message.value {
        Some(exemplar::Value::AsDouble(value)) => value,
        Some(exemplar::Value::AsInt(value)) => value as f64,
        None => 0.0,
    };
    let own = attributes(message.filtered_attributes);
    exemplar_of(millis(message.time_unix_nano), value, (&message.trace_id, &message.span_id), &own)
}
