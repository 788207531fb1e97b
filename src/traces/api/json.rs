//! proto3 JSON as Tempo writes it: lowerCamelCase, 64-bit integers as strings, bytes in base64, enums by name, defaults
//! left out.

use crate::traces::traceql::eval::Value as Found;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use serde_json::{Map, Value, json};

/// An object without the fields that have their default.
#[derive(Default)]
pub struct Object(Map<String, Value>);

impl Object {
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Object {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub fn text(self, name: &str, value: &str) -> Object {
        if value.is_empty() { self } else { self.with(name, value) }
    }

    /// A 32-bit integer.
    pub fn number(self, name: &str, value: u64) -> Object {
        if value == 0 { self } else { self.with(name, value) }
    }

    /// A 64-bit integer.
    pub fn long(self, name: &str, value: u64) -> Object {
        if value == 0 { self } else { self.with(name, value.to_string()) }
    }

    pub fn list(self, name: &str, values: Vec<Value>) -> Object {
        if values.is_empty() { self } else { self.with(name, values) }
    }

    fn bytes(self, name: &str, value: &[u8]) -> Object {
        if value.is_empty() { self } else { self.with(name, STANDARD.encode(value)) }
    }

    pub fn build(self) -> Value {
        Value::Object(self.0)
    }
}

pub fn resource_spans(spans: &otlp::ResourceSpans) -> Value {
    let resource = spans.resource.as_ref().map_or_else(
        || json!({}),
        |r| {
            let dropped = u64::from(r.dropped_attributes_count);
            Object::default().list("attributes", attributes(&r.attributes)).number("droppedAttributesCount", dropped).build()
        },
    );
    Object::default()
        .with("resource", resource)
        .list("scopeSpans", spans.scope_spans.iter().map(scope_spans).collect())
        .text("schemaUrl", &spans.schema_url)
        .build()
}

fn scope_spans(spans: &otlp::ScopeSpans) -> Value {
    let scope = spans.scope.as_ref().map_or_else(
        || json!({}),
        |s| {
            Object::default()
                .text("name", &s.name)
                .text("version", &s.version)
                .list("attributes", attributes(&s.attributes))
                .number("droppedAttributesCount", u64::from(s.dropped_attributes_count))
                .build()
        },
    );
    Object::default()
        .with("scope", scope)
        .list("spans", spans.spans.iter().map(span).collect())
        .text("schemaUrl", &spans.schema_url)
        .build()
}

fn span(span: &otlp::Span) -> Value {
    let mut out = Object::default()
        .bytes("traceId", &span.trace_id)
        .bytes("spanId", &span.span_id)
        .text("traceState", &span.trace_state)
        .bytes("parentSpanId", &span.parent_span_id)
        .number("flags", u64::from(span.flags))
        .text("name", &span.name);
    if span.kind != 0 {
        let name = otlp::span::SpanKind::try_from(span.kind).ok().map(|k| Value::from(k.as_str_name()));
        out = out.with("kind", name.unwrap_or_else(|| span.kind.into()));
    }
    let mut status = Object::default();
    if let Some(s) = &span.status {
        status = status.text("message", &s.message);
        if s.code != 0 {
            let name = otlp::status::StatusCode::try_from(s.code).ok().map(|c| Value::from(c.as_str_name()));
            status = status.with("code", name.unwrap_or_else(|| s.code.into()));
        }
    }
    out.long("startTimeUnixNano", span.start_time_unix_nano)
        .long("endTimeUnixNano", span.end_time_unix_nano)
        .list("attributes", attributes(&span.attributes))
        .number("droppedAttributesCount", u64::from(span.dropped_attributes_count))
        .list("events", span.events.iter().map(event).collect())
        .number("droppedEventsCount", u64::from(span.dropped_events_count))
        .list("links", span.links.iter().map(link).collect())
        .number("droppedLinksCount", u64::from(span.dropped_links_count))
        .with("status", status.build())
        .build()
}

fn event(event: &otlp::span::Event) -> Value {
    Object::default()
        .long("timeUnixNano", event.time_unix_nano)
        .text("name", &event.name)
        .list("attributes", attributes(&event.attributes))
        .number("droppedAttributesCount", u64::from(event.dropped_attributes_count))
        .build()
}

fn link(link: &otlp::span::Link) -> Value {
    Object::default()
        .bytes("traceId", &link.trace_id)
        .bytes("spanId", &link.span_id)
        .text("traceState", &link.trace_state)
        .list("attributes", attributes(&link.attributes))
        .number("droppedAttributesCount", u64::from(link.dropped_attributes_count))
        .number("flags", u64::from(link.flags))
        .build()
}

fn attributes(pairs: &[KeyValue]) -> Vec<Value> {
    pairs.iter().map(key_value).collect()
}

fn key_value(pair: &KeyValue) -> Value {
    let value = pair.value.as_ref().map_or_else(|| json!({}), any_value);
    json!({ "key": pair.key, "value": value })
}

/// JSON has no form for NaN and infinities but as words.
fn double(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| Value::from(crate::model::number::json_float(value)), Value::Number)
}

fn any_value(value: &AnyValue) -> Value {
    use any_value::Value as Any;
    match &value.value {
        Some(Any::StringValue(s)) => json!({ "stringValue": s }),
        Some(Any::BoolValue(b)) => json!({ "boolValue": b }),
        Some(Any::IntValue(n)) => json!({ "intValue": n.to_string() }),
        Some(Any::DoubleValue(d)) => json!({ "doubleValue": double(*d) }),
        Some(Any::BytesValue(b)) => json!({ "bytesValue": STANDARD.encode(b) }),
        Some(Any::ArrayValue(a)) => json!({ "arrayValue": { "values": a.values.iter().map(any_value).collect::<Vec<_>>() } }),
        Some(Any::KvlistValue(m)) => json!({ "kvlistValue": { "values": attributes(&m.values) } }),
        Some(_) | None => json!({}),
    }
}

/// A value of TraceQL. One that is not finite has no form here: the plugin cannot re-encode it (contracts/tempo.md 0).
pub fn found_value(value: &Found<'_>) -> Value {
    match value {
        Found::Int(n) => json!({ "intValue": n.to_string() }),
        Found::Float(f) if f.is_finite() => json!({ "doubleValue": f }),
        Found::Bool(b) => json!({ "boolValue": b }),
        Found::Array(values) => json!({ "arrayValue": { "values": values.iter().map(found_value).collect::<Vec<_>>() } }),
        Found::Nil | Found::Float(_) | Found::String(_) | Found::Duration(_) | Found::Status(_) | Found::Kind(_) => {
            json!({ "stringValue": value.text() })
        }
    }
}

pub fn found_attribute(key: &str, value: &Found<'_>) -> Value {
    json!({ "key": key, "value": found_value(value) })
}
