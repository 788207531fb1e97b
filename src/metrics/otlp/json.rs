//! OTLP/JSON (proto3 JSON with hex ids) as messages. opentelemetry-proto's own serde forms drop a data point without a
//! word when one of its doubles is `"NaN"` or `"Infinity"`, so this reads the JSON itself: 64-bit integers as strings or
//! numbers, enums as numbers or names, unknown fields ignored, absent and null alike.

use base64::Engine as _;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;

type Result<T> = std::result::Result<T, String>;

/// serde_json refuses JSON that is nested deeper than 128 levels.
pub(super) fn decode(body: &[u8]) -> Result<ExportMetricsServiceRequest> {
    let value: Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if !value.is_object() {
        return Err("the request is not a JSON object".to_owned());
    }
    Ok(ExportMetricsServiceRequest { resource_metrics: list(&value, "resourceMetrics", resource_metrics)? })
}

fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|v| !v.is_null())
}

fn wrong<T>(name: &str, value: &Value) -> Result<T> {
    let text: String = value.to_string().chars().take(60).collect();
    Err(format!("field {name}: unexpected value {text}"))
}

fn list<T>(value: &Value, name: &str, item: impl Fn(&Value) -> Result<T>) -> Result<Vec<T>> {
    match field(value, name) {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) => items.iter().map(item).collect(),
        Some(other) => wrong(name, other),
    }
}

fn message<T>(value: &Value, name: &str, read: impl Fn(&Value) -> Result<T>) -> Result<Option<T>> {
    match field(value, name) {
        None => Ok(None),
        Some(inner @ Value::Object(_)) => read(inner).map(Some),
        Some(other) => wrong(name, other),
    }
}

fn text(value: &Value, name: &str) -> Result<String> {
    match field(value, name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => wrong(name, other),
    }
}

fn flag(value: &Value, name: &str) -> Result<bool> {
    match field(value, name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => wrong(name, other),
    }
}

fn float_of(name: &str, value: &Value) -> Result<f64> {
    match value {
        Value::Number(number) => number.as_f64().map_or_else(|| wrong(name, value), Ok),
        Value::String(text) => match text.as_str() {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_or_else(|_| wrong(name, value), Ok),
        },
        other => wrong(name, other),
    }
}

fn optional_float(value: &Value, name: &str) -> Result<Option<f64>> {
    field(value, name).map(|v| float_of(name, v)).transpose()
}

fn unsigned_of(name: &str, value: &Value) -> Result<u64> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    parsed.map_or_else(|| wrong(name, value), Ok)
}

fn unsigned(value: &Value, name: &str) -> Result<u64> {
    field(value, name).map_or(Ok(0), |v| unsigned_of(name, v))
}

fn signed_of(name: &str, value: &Value) -> Result<i64> {
    let parsed = match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    parsed.map_or_else(|| wrong(name, value), Ok)
}

fn small(value: &Value, name: &str) -> Result<i32> {
    let number = field(value, name).map_or(Ok(0), |v| signed_of(name, v))?;
    i32::try_from(number).map_err(|_| format!("field {name}: {number} is out of range"))
}

fn flags(value: &Value) -> Result<u32> {
    let number = unsigned(value, "flags")?;
    u32::try_from(number).map_err(|_| format!("field flags: {number} is out of range"))
}

fn hex(value: &Value, name: &str) -> Result<Vec<u8>> {
    let text = text(value, name)?;
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect();
    bytes.ok_or_else(|| format!("field {name}: {text:?} is not hexadecimal"))
}

fn attributes(value: &Value, name: &str) -> Result<Vec<KeyValue>> {
    list(value, name, |pair| {
        Ok(KeyValue { key: text(pair, "key")?, value: message(pair, "value", any_value)?, ..KeyValue::default() })
    })
}

fn any_value(value: &Value) -> Result<AnyValue> {
    use any_value::Value as Any;
    let Some(fields) = value.as_object() else { return wrong("value", value) };
    for (name, inner) in fields.iter().filter(|(_, v)| !v.is_null()) {
        let found = match (name.as_str(), inner) {
            ("stringValue", Value::String(text)) => Any::StringValue(text.clone()),
            ("boolValue", Value::Bool(flag)) => Any::BoolValue(*flag),
            ("intValue", _) => Any::IntValue(signed_of(name, inner)?),
            ("doubleValue", _) => Any::DoubleValue(float_of(name, inner)?),
            ("arrayValue", _) => Any::ArrayValue(ArrayValue { values: list(inner, "values", any_value)? }),
            ("kvlistValue", _) => Any::KvlistValue(KeyValueList { values: attributes(inner, "values")? }),
            ("bytesValue", Value::String(text)) => Any::BytesValue(base64_bytes(text)?),
            ("stringValue" | "boolValue" | "bytesValue", other) => return wrong(name, other),
            _ => continue,
        };
        return Ok(AnyValue { value: Some(found) });
    }
    Ok(AnyValue { value: None })
}

/// Standard or URL-safe alphabet, with or without padding: a reader of proto3 JSON takes all of them.
fn base64_bytes(text: &str) -> Result<Vec<u8>> {
    use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    let bare = text.trim_end_matches('=');
    STANDARD_NO_PAD.decode(bare).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).map_err(|e| format!("field bytesValue: {e}"))
}

fn resource_metrics(value: &Value) -> Result<otlp::ResourceMetrics> {
    let resource = |r: &Value| Ok(Resource { attributes: attributes(r, "attributes")?, ..Resource::default() });
    Ok(otlp::ResourceMetrics {
        resource: message(value, "resource", resource)?,
        scope_metrics: list(value, "scopeMetrics", scope_metrics)?,
        schema_url: text(value, "schemaUrl")?,
    })
}

fn scope_metrics(value: &Value) -> Result<otlp::ScopeMetrics> {
    let scope = |s: &Value| {
        Ok(InstrumentationScope {
            name: text(s, "name")?,
            version: text(s, "version")?,
            attributes: attributes(s, "attributes")?,
            ..InstrumentationScope::default()
        })
    };
    Ok(otlp::ScopeMetrics {
        scope: message(value, "scope", scope)?,
        metrics: list(value, "metrics", metric)?,
        schema_url: text(value, "schemaUrl")?,
    })
}

fn metric(value: &Value) -> Result<otlp::Metric> {
    use otlp::metric::Data;
    let data = if let Some(data) = message(value, "gauge", gauge)? {
        Some(Data::Gauge(data))
    } else if let Some(data) = message(value, "sum", sum)? {
        Some(Data::Sum(data))
    } else if let Some(data) = message(value, "histogram", histogram)? {
        Some(Data::Histogram(data))
    } else if let Some(data) = message(value, "exponentialHistogram", exponential_histogram)? {
        Some(Data::ExponentialHistogram(data))
    } else {
        message(value, "summary", summary)?.map(Data::Summary)
    };
    Ok(otlp::Metric {
        name: text(value, "name")?,
        description: text(value, "description")?,
        unit: text(value, "unit")?,
        data,
        ..otlp::Metric::default()
    })
}

fn temporality(value: &Value) -> Result<i32> {
    match field(value, "aggregationTemporality") {
        Some(Value::String(name)) => match otlp::AggregationTemporality::from_str_name(name) {
            Some(known) => Ok(known as i32),
            None => small(value, "aggregationTemporality"),
        },
        _ => small(value, "aggregationTemporality"),
    }
}

fn gauge(value: &Value) -> Result<otlp::Gauge> {
    Ok(otlp::Gauge { data_points: list(value, "dataPoints", number_point)? })
}

fn sum(value: &Value) -> Result<otlp::Sum> {
    Ok(otlp::Sum {
        data_points: list(value, "dataPoints", number_point)?,
        aggregation_temporality: temporality(value)?,
        is_monotonic: flag(value, "isMonotonic")?,
    })
}

fn histogram(value: &Value) -> Result<otlp::Histogram> {
    Ok(otlp::Histogram { data_points: list(value, "dataPoints", histogram_point)?, aggregation_temporality: temporality(value)? })
}

fn exponential_histogram(value: &Value) -> Result<otlp::ExponentialHistogram> {
    Ok(otlp::ExponentialHistogram {
        data_points: list(value, "dataPoints", exponential_point)?,
        aggregation_temporality: temporality(value)?,
    })
}

fn summary(value: &Value) -> Result<otlp::Summary> {
    Ok(otlp::Summary { data_points: list(value, "dataPoints", summary_point)? })
}

fn number_point(value: &Value) -> Result<otlp::NumberDataPoint> {
    use otlp::number_data_point::Value as Number;
    let number = match (optional_float(value, "asDouble")?, field(value, "asInt")) {
        (Some(float), _) => Some(Number::AsDouble(float)),
        (None, Some(integer)) => Some(Number::AsInt(signed_of("asInt", integer)?)),
        (None, None) => None,
    };
    Ok(otlp::NumberDataPoint {
        attributes: attributes(value, "attributes")?,
        start_time_unix_nano: unsigned(value, "startTimeUnixNano")?,
        time_unix_nano: unsigned(value, "timeUnixNano")?,
        exemplars: list(value, "exemplars", exemplar)?,
        flags: flags(value)?,
        value: number,
    })
}

fn histogram_point(value: &Value) -> Result<otlp::HistogramDataPoint> {
    Ok(otlp::HistogramDataPoint {
        attributes: attributes(value, "attributes")?,
        start_time_unix_nano: unsigned(value, "startTimeUnixNano")?,
        time_unix_nano: unsigned(value, "timeUnixNano")?,
        count: unsigned(value, "count")?,
        sum: optional_float(value, "sum")?,
        bucket_counts: list(value, "bucketCounts", |v| unsigned_of("bucketCounts", v))?,
        explicit_bounds: list(value, "explicitBounds", |v| float_of("explicitBounds", v))?,
        exemplars: list(value, "exemplars", exemplar)?,
        flags: flags(value)?,
        min: optional_float(value, "min")?,
        max: optional_float(value, "max")?,
    })
}

fn exponential_point(value: &Value) -> Result<otlp::ExponentialHistogramDataPoint> {
    let buckets = |b: &Value| {
        Ok(otlp::exponential_histogram_data_point::Buckets {
            offset: small(b, "offset")?,
            bucket_counts: list(b, "bucketCounts", |v| unsigned_of("bucketCounts", v))?,
        })
    };
    Ok(otlp::ExponentialHistogramDataPoint {
        attributes: attributes(value, "attributes")?,
        start_time_unix_nano: unsigned(value, "startTimeUnixNano")?,
        time_unix_nano: unsigned(value, "timeUnixNano")?,
        count: unsigned(value, "count")?,
        sum: optional_float(value, "sum")?,
        scale: small(value, "scale")?,
        zero_count: unsigned(value, "zeroCount")?,
        positive: message(value, "positive", buckets)?,
        negative: message(value, "negative", buckets)?,
        flags: flags(value)?,
        exemplars: list(value, "exemplars", exemplar)?,
        min: optional_float(value, "min")?,
        max: optional_float(value, "max")?,
        zero_threshold: optional_float(value, "zeroThreshold")?.unwrap_or(0.0),
    })
}

fn summary_point(value: &Value) -> Result<otlp::SummaryDataPoint> {
    let quantile = |q: &Value| {
        Ok(otlp::summary_data_point::ValueAtQuantile {
            quantile: optional_float(q, "quantile")?.unwrap_or(0.0),
            value: optional_float(q, "value")?.unwrap_or(0.0),
        })
    };
    Ok(otlp::SummaryDataPoint {
        attributes: attributes(value, "attributes")?,
        start_time_unix_nano: unsigned(value, "startTimeUnixNano")?,
        time_unix_nano: unsigned(value, "timeUnixNano")?,
        count: unsigned(value, "count")?,
        sum: optional_float(value, "sum")?.unwrap_or(0.0),
        quantile_values: list(value, "quantileValues", quantile)?,
        flags: flags(value)?,
    })
}

fn exemplar(value: &Value) -> Result<otlp::Exemplar> {
    use otlp::exemplar::Value as Number;
    let number = match (optional_float(value, "asDouble")?, field(value, "asInt")) {
        (Some(float), _) => Some(Number::AsDouble(float)),
        (None, Some(integer)) => Some(Number::AsInt(signed_of("asInt", integer)?)),
        (None, None) => None,
    };
    Ok(otlp::Exemplar {
        filtered_attributes: attributes(value, "filteredAttributes")?,
        time_unix_nano: unsigned(value, "timeUnixNano")?,
        span_id: hex(value, "spanId")?,
        trace_id: hex(value, "traceId")?,
        value: number,
    })
}
