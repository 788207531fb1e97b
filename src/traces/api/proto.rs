//! Spans back in OTLP's messages. On the wire every span has a status, every `ScopeSpans` a scope and every
//! `ResourceSpans` a resource, empty ones too, because Grafana's plugin takes them for granted (contracts/tempo.md 0).

use crate::model::{Attribute, AttributeValue};
use crate::traces::span::{Resource, Scope, Span};
use crate::traces::trace::Trace;
use crate::traces::traceql::eval::Value as Found;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource as OtlpResource;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;

/// `tempopb.Trace`, which is OTLP's `TracesData`.
#[derive(Clone, PartialEq, Message)]
pub struct TraceMessage {
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<otlp::ResourceSpans>,
}

/// `tempopb.TraceByIDResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    pub trace: Option<TraceMessage>,
    #[prost(message, optional, tag = "2")]
    pub metrics: Option<TraceByIdMetrics>,
    /// 0 complete, 1 partial.
    #[prost(int32, tag = "3")]
    pub status: i32,
    #[prost(string, tag = "4")]
    pub message: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct TraceByIdMetrics {
    #[prost(uint64, tag = "1")]
    pub inspected_bytes: u64,
}

/// The spans of one resource, by scope.
type OfResource<'a> = (&'a Resource, Vec<(&'a Scope, Vec<&'a Span>)>);

/// Spans grouped by equal resource and equal scope, in order of their first span; inside, in order of start.
pub fn message(trace: &Trace) -> TraceMessage {
    let mut groups: Vec<OfResource<'_>> = Vec::new();
    for span in &trace.spans {
        let at = groups.iter().position(|(r, _)| **r == *span.resource).unwrap_or_else(|| {
            groups.push((&span.resource, Vec::new()));
            groups.len() - 1
        });
        let scopes = &mut groups[at].1;
        match scopes.iter_mut().find(|(s, _)| **s == *span.scope) {
            Some((_, spans)) => spans.push(span),
            None => scopes.push((&span.scope, vec![span])),
        }
    }
    TraceMessage { resource_spans: groups.into_iter().map(|(resource, scopes)| resource_spans(resource, scopes)).collect() }
}

fn resource_spans(resource: &Resource, scopes: Vec<(&Scope, Vec<&Span>)>) -> otlp::ResourceSpans {
    let message = OtlpResource {
        attributes: attributes(&resource.attributes),
        dropped_attributes_count: resource.dropped_attributes_count,
        ..OtlpResource::default()
    };
    let scope_spans = scopes.into_iter().map(|(scope, spans)| otlp::ScopeSpans {
        scope: Some(InstrumentationScope {
            name: scope.name.clone(),
            version: scope.version.clone(),
            attributes: attributes(&scope.attributes),
            dropped_attributes_count: scope.dropped_attributes_count,
        }),
        spans: spans.into_iter().map(span_message).collect(),
        schema_url: scope.schema_url.clone(),
    });
    otlp::ResourceSpans { resource: Some(message), scope_spans: scope_spans.collect(), schema_url: resource.schema_url.clone() }
}

fn span_message(span: &Span) -> otlp::Span {
    otlp::Span {
        trace_id: span.trace_id.0.to_vec(),
        span_id: span.span_id.0.to_vec(),
        trace_state: span.trace_state.clone(),
        parent_span_id: span.parent_span_id.map_or_else(Vec::new, |id| id.0.to_vec()),
        flags: span.flags,
        name: span.name.clone(),
        kind: span.kind,
        start_time_unix_nano: span.start.cast_unsigned(),
        end_time_unix_nano: span.end_unix_nano(),
        attributes: attributes(&span.attributes),
        dropped_attributes_count: span.dropped_attributes_count,
        events: span
            .events
            .iter()
            .map(|event| otlp::span::Event {
                time_unix_nano: event.time_unix_nano,
                name: event.name.clone(),
                attributes: attributes(&event.attributes),
                dropped_attributes_count: event.dropped_attributes_count,
            })
            .collect(),
        dropped_events_count: span.dropped_events_count,
        links: span
            .links
            .iter()
            .map(|link| otlp::span::Link {
                trace_id: link.trace_id.clone(),
                span_id: link.span_id.clone(),
                trace_state: link.trace_state.clone(),
                attributes: attributes(&link.attributes),
                dropped_attributes_count: link.dropped_attributes_count,
                flags: link.flags,
            })
            .collect(),
        dropped_links_count: span.dropped_links_count,
        status: Some(otlp::Status { message: span.status_message.clone(), code: span.status_code }),
    }
}

fn attributes(attributes: &[Attribute]) -> Vec<KeyValue> {
    attributes.iter().map(key_value).collect()
}

fn key_value(attribute: &Attribute) -> KeyValue {
    KeyValue { key: attribute.key.clone(), value: Some(any_value(&attribute.value)), ..KeyValue::default() }
}

fn any_value(value: &AttributeValue) -> AnyValue {
    use any_value::Value;
    let value = match value {
        AttributeValue::Empty => None,
        AttributeValue::String(s) => Some(Value::StringValue(s.clone())),
        AttributeValue::Bool(b) => Some(Value::BoolValue(*b)),
        AttributeValue::Int(n) => Some(Value::IntValue(*n)),
        AttributeValue::Double(d) => Some(Value::DoubleValue(*d)),
        AttributeValue::Bytes(b) => Some(Value::BytesValue(b.clone())),
        AttributeValue::Array(values) => Some(Value::ArrayValue(ArrayValue { values: values.iter().map(any_value).collect() })),
        AttributeValue::Map(pairs) => Some(Value::KvlistValue(KeyValueList { values: pairs.iter().map(key_value).collect() })),
    };
    AnyValue { value }
}

/// A value of TraceQL, in the forms of `json::found_value`.
fn found_value(value: &Found<'_>) -> AnyValue {
    use any_value::Value;
    let value = match value {
        Found::Int(n) => Value::IntValue(*n),
        Found::Float(f) if f.is_finite() => Value::DoubleValue(*f),
        Found::Bool(b) => Value::BoolValue(*b),
        Found::Array(values) => Value::ArrayValue(ArrayValue { values: values.iter().map(found_value).collect() }),
        Found::Nil | Found::Float(_) | Found::String(_) | Found::Duration(_) | Found::Status(_) | Found::Kind(_) => {
            Value::StringValue(value.text())
        }
    };
    AnyValue { value: Some(value) }
}

pub fn found_attribute(key: &str, value: &Found<'_>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(found_value(value)), ..KeyValue::default() }
}

/// Why a message is not the whole trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Bytes,
    Spans,
}

/// Bytes of a field with a length, of a number below 16, beyond those of its content: at most.
const FIELD: usize = 6;

/// The first resources, scopes and spans of `message` that fit into `max_bytes` and `max_spans`, and what was too much.
pub fn cut_to_size(mut message: TraceMessage, max_bytes: u64, max_spans: u64) -> (TraceMessage, Option<Cut>) {
    let spans: usize = message.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum();
    let cut = match () {
        () if message.encoded_len() as u64 > max_bytes => Cut::Bytes,
        () if spans as u64 > max_spans => Cut::Spans,
        () => return (message, None),
    };
    let (mut bytes_left, mut spans_left) = (max_bytes, max_spans);
    let mut take = |bytes: usize| {
        let rest = bytes_left.checked_sub((bytes + FIELD) as u64);
        bytes_left = rest.unwrap_or(0);
        rest.is_some()
    };
    for resource in &mut message.resource_spans {
        let own = resource.resource.as_ref().map_or(0, Message::encoded_len) + resource.schema_url.len();
        let mut fits = take(own + 2 * FIELD);
        for scope in &mut resource.scope_spans {
            fits = fits && take(scope.scope.as_ref().map_or(0, Message::encoded_len) + scope.schema_url.len() + 2 * FIELD);
            scope.spans.retain(|span| {
                fits = fits && spans_left > 0 && take(span.encoded_len());
                spans_left -= u64::from(fits);
                fits
            });
        }
        resource.scope_spans.retain(|scope| !scope.spans.is_empty());
    }
    message.resource_spans.retain(|resource| !resource.scope_spans.is_empty());
    (message, Some(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_cut_to_what_fits() {
        let span = |n: usize| otlp::Span { name: "x".repeat(n), ..otlp::Span::default() };
        let scope_spans = |spans| vec![otlp::ScopeSpans { spans, ..otlp::ScopeSpans::default() }];
        let of = |spans| otlp::ResourceSpans { scope_spans: scope_spans(spans), ..otlp::ResourceSpans::default() };
        let whole = TraceMessage { resource_spans: vec![of(vec![span(1000), span(2000)]), of(vec![span(100), span(20)])] };
        let names = |message: &TraceMessage| -> Vec<usize> {
            message.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans).map(|s| s.name.len()).collect()
        };
        assert_eq!(cut_to_size(whole.clone(), 10_000, 4), (whole.clone(), None));
        for max in 0..3200 {
            let (part, cut) = cut_to_size(whole.clone(), max, 4);
            assert!(part.encoded_len() as u64 <= max || cut.is_none(), "{max}");
            assert!(names(&whole).starts_with(&names(&part)));
        }
        let (part, cut) = cut_to_size(whole.clone(), 3100, 4);
        assert_eq!((names(&part), cut), (vec![1000, 2000], Some(Cut::Bytes)));
        let (part, cut) = cut_to_size(whole, 10_000, 3);
        assert_eq!((names(&part), cut), (vec![1000, 2000, 100], Some(Cut::Spans)));
    }
}
