//! OTLP/JSON: proto3's JSON mapping, but ids are hex and enums are numbers. Unknown keys are ignored; 64-bit integers
//! may be strings or numbers; `null` is absent. Source: opentelemetry-proto `docs/specification.md`, "JSON Protobuf
//! Encoding".

use crate::model::{Failure, SpanId, TraceId};
use base64::Engine as _;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::{Map, Value};

type Object = Map<String, Value>;
type Parsed<T> = Result<T, String>;

pub fn parse(body: &[u8]) -> Result<ExportLogsServiceRequest, Failure> {
    let value: Value = serde_json::from_slice(body).map_err(|e| Failure::invalid(format!("cannot decode OTLP logs: {e}")))?;
    request(value).map_err(|e| Failure::invalid(format!("cannot decode OTLP logs: {e}")))
}

fn request(value: Value) -> Parsed<ExportLogsServiceRequest> {
    let mut o = object(value, "request")?;
    Ok(ExportLogsServiceRequest { resource_logs: list(&mut o, "resourceLogs", resource_logs)? })
}

fn resource_logs(value: Value) -> Parsed<ResourceLogs> {
    let mut o = object(value, "resourceLogs")?;
    let resource = match take(&mut o, "resource") {
        Some(value) => {
            let mut o = object(value, "resource")?;
            Some(Resource { attributes: list(&mut o, "attributes", key_value)?, ..Resource::default() })
        }
        None => None,
    };
    Ok(ResourceLogs { resource, scope_logs: list(&mut o, "scopeLogs", scope_logs)?, schema_url: text(&mut o, "schemaUrl")? })
}

fn scope_logs(value: Value) -> Parsed<ScopeLogs> {
    let mut o = object(value, "scopeLogs")?;
    let scope = match take(&mut o, "scope") {
        Some(value) => {
            let mut o = object(value, "scope")?;
            Some(InstrumentationScope {
                name: text(&mut o, "name")?,
                version: text(&mut o, "version")?,
                attributes: list(&mut o, "attributes", key_value)?,
                dropped_attributes_count: integer(&mut o, "droppedAttributesCount")?,
            })
        }
        None => None,
    };
    Ok(ScopeLogs { scope, log_records: list(&mut o, "logRecords", log_record)?, schema_url: text(&mut o, "schemaUrl")? })
}

fn log_record(value: Value) -> Parsed<LogRecord> {
    let mut o = object(value, "logRecords")?;
    let id = |o: &mut Object, key: &str, length: usize| -> Parsed<Vec<u8>> {
        let hex = text(o, key)?;
        let bytes = match length {
            16 => TraceId::from_hex(&hex).map(|id| id.0.to_vec()),
            _ => SpanId::from_hex(&hex).map(|id| id.0.to_vec()),
        };
        bytes.or(hex.is_empty().then(Vec::new)).ok_or_else(|| format!("{key} is not {} hex digits", length * 2))
    };
    Ok(LogRecord {
        time_unix_nano: integer(&mut o, "timeUnixNano")?,
        observed_time_unix_nano: integer(&mut o, "observedTimeUnixNano")?,
        severity_number: integer(&mut o, "severityNumber")?,
        severity_text: text(&mut o, "severityText")?,
        body: take(&mut o, "body").map(any_value).transpose()?,
        attributes: list(&mut o, "attributes", key_value)?,
        dropped_attributes_count: integer(&mut o, "droppedAttributesCount")?,
        flags: integer(&mut o, "flags")?,
        trace_id: id(&mut o, "traceId", 16)?,
        span_id: id(&mut o, "spanId", 8)?,
        event_name: text(&mut o, "eventName")?,
    })
}

fn key_value(value: Value) -> Parsed<KeyValue> {
    let mut o = object(value, "attributes")?;
    let key = text(&mut o, "key")?;
    Ok(KeyValue { key, value: take(&mut o, "value").map(any_value).transpose()?, ..KeyValue::default() })
}

fn any_value(value: Value) -> Parsed<AnyValue> {
    let mut o = object(value, "value")?;
    let value = if let Some(v) = take(&mut o, "stringValue") {
        Some(ProtoValue::StringValue(string(v, "stringValue")?))
    } else if let Some(v) = take(&mut o, "boolValue") {
        Some(ProtoValue::BoolValue(v.as_bool().ok_or("boolValue is not a boolean")?))
    } else if o.contains_key("intValue") {
        Some(ProtoValue::IntValue(integer(&mut o, "intValue")?))
    } else if let Some(v) = take(&mut o, "doubleValue") {
        Some(ProtoValue::DoubleValue(double(&v)?))
    } else if let Some(v) = take(&mut o, "bytesValue") {
        let text = string(v, "bytesValue")?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| "bytesValue is not base64")?;
        Some(ProtoValue::BytesValue(bytes))
    } else if let Some(v) = take(&mut o, "arrayValue") {
        let mut o = object(v, "arrayValue")?;
        Some(ProtoValue::ArrayValue(ArrayValue { values: list(&mut o, "values", any_value)? }))
    } else if let Some(v) = take(&mut o, "kvlistValue") {
        let mut o = object(v, "kvlistValue")?;
        Some(ProtoValue::KvlistValue(KeyValueList { values: list(&mut o, "values", key_value)? }))
    } else {
        None
    };
    Ok(AnyValue { value })
}

fn object(value: Value, what: &str) -> Parsed<Object> {
    match value {
        Value::Object(o) => Ok(o),
        _ => Err(format!("{what} is not an object")),
    }
}

fn take(o: &mut Object, key: &str) -> Option<Value> {
    o.get_mut(key).map(Value::take).filter(|v| !v.is_null())
}

fn list<T>(o: &mut Object, key: &str, element: fn(Value) -> Parsed<T>) -> Parsed<Vec<T>> {
    match take(o, key) {
        None => Ok(Vec::new()),
        Some(Value::Array(values)) => values.into_iter().map(element).collect(),
        Some(_) => Err(format!("{key} is not an array")),
    }
}

fn string(value: Value, key: &str) -> Parsed<String> {
    match value {
        Value::String(s) => Ok(s),
        _ => Err(format!("{key} is not a string")),
    }
}

fn text(o: &mut Object, key: &str) -> Parsed<String> {
    take(o, key).map_or(Ok(String::new()), |v| string(v, key))
}

/// An integer as a number or in a string; 0 when absent.
fn integer<T: TryFrom<i128> + Default>(o: &mut Object, key: &str) -> Parsed<T> {
    let number = match take(o, key) {
        None => return Ok(T::default()),
        Some(Value::String(s)) => s.parse::<i128>().ok(),
        Some(Value::Number(n)) => n.as_i64().map(i128::from).or(n.as_u64().map(i128::from)),
        Some(_) => None,
    };
    number.and_then(|n| T::try_from(n).ok()).ok_or_else(|| format!("{key} is not an integer in range"))
}

fn double(value: &Value) -> Parsed<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(s) => match s.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            s => s.parse().ok(),
        },
        _ => None,
    }
    .ok_or_else(|| "doubleValue is not a number".to_owned())
}
