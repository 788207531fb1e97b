//! The same translation on prost's messages: what the reader of the bytes is compared with.

use crate::model::{Attribute, AttributeValue, Reason, SpanId, TraceId};
use crate::storage::Refusals;
use crate::traces::span::{Event, Link, Resource, Scope, Span};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use std::sync::Arc;

/// The spans of a request that can be stored, each with its position among all spans of the request, and the others.
#[derive(Debug, Default)]
pub struct Translated {
    pub spans: Vec<(u32, Span)>,
    pub refusals: Refusals,
}

/// Positions count every span in the order in which it stands in the request. A span with an attribute value of more than
/// `value_max` bytes is refused.
pub fn translate(request: ExportTraceServiceRequest, value_max: usize) -> Translated {
    let mut out = Translated::default();
    let mut index = 0;
    for resource_spans in request.resource_spans {
        let resource = resource_spans.resource.unwrap_or_default();
        let resource = Arc::new(Resource {
            attributes: attributes(resource.attributes),
            dropped_attributes_count: resource.dropped_attributes_count,
            schema_url: resource_spans.schema_url,
        });
        let fits = |attributes: &[Attribute]| attributes.iter().all(|a| size(&a.value) <= value_max);
        let resource_fits = fits(&resource.attributes);
        for scope_spans in resource_spans.scope_spans {
            let scope = Arc::new(scope(scope_spans.scope.unwrap_or_default(), scope_spans.schema_url));
            let scope_fits = fits(&scope.attributes);
            for span in scope_spans.spans {
                match translate_span(span, &resource, &scope) {
                    Ok(span) if resource_fits && scope_fits && lists(&span).all(fits) => out.spans.push((index, span)),
                    Ok(_) => {
                        out.refusals.refuse(index, Reason::TooLarge, || format!("attribute values may have at most {value_max} bytes"));
                    }
                    Err((reason, message)) => out.refusals.refuse(index, reason, || message),
                }
                index = index.saturating_add(1);
            }
        }
    }
    out
}

fn scope(scope: InstrumentationScope, schema_url: String) -> Scope {
    Scope {
        name: scope.name,
        version: scope.version,
        attributes: attributes(scope.attributes),
        dropped_attributes_count: scope.dropped_attributes_count,
        schema_url,
    }
}

type Refused = (Reason, String);

fn translate_span(span: OtlpSpan, resource: &Arc<Resource>, scope: &Arc<Scope>) -> Result<Span, Refused> {
    let bad_span_id =
        |id: &[u8]| (Reason::InvalidSpanId, format!("span ids must be 64 bit and not all zero, received {} bits", id.len() * 8));
    let trace_id = TraceId::from_slice(&span.trace_id)
        .filter(|id| !id.is_zero())
        .ok_or_else(|| (Reason::InvalidTraceId, format!("trace ids must be 128 bit, received {} bits", span.trace_id.len() * 8)))?;
    let span_id = SpanId::from_slice(&span.span_id).filter(|id| !id.is_zero()).ok_or_else(|| bad_span_id(&span.span_id))?;
    let parent_span_id = match &span.parent_span_id[..] {
        [] => None,
        id => Some(SpanId::from_slice(id).ok_or_else(|| bad_span_id(id))?).filter(|id| !id.is_zero()),
    };
    let start = i64::try_from(span.start_time_unix_nano)
        .map_err(|_| (Reason::InvalidTime, format!("start time {} is out of range", span.start_time_unix_nano)))?;
    let status = span.status.unwrap_or_default();
    Ok(Span {
        trace_id,
        span_id,
        parent_span_id,
        name: span.name,
        kind: span.kind,
        status_code: status.code,
        status_message: status.message,
        start,
        duration: span.end_time_unix_nano.cast_signed().wrapping_sub(start),
        trace_state: span.trace_state,
        flags: span.flags,
        attributes: attributes(span.attributes),
        dropped_attributes_count: span.dropped_attributes_count,
        events: span
            .events
            .into_iter()
            .map(|event| Event {
                time_unix_nano: event.time_unix_nano,
                name: event.name,
                attributes: attributes(event.attributes),
                dropped_attributes_count: event.dropped_attributes_count,
            })
            .collect(),
        dropped_events_count: span.dropped_events_count,
        links: span
            .links
            .into_iter()
            .map(|link| Link {
                trace_id: link.trace_id,
                span_id: link.span_id,
                trace_state: link.trace_state,
                attributes: attributes(link.attributes),
                dropped_attributes_count: link.dropped_attributes_count,
                flags: link.flags,
            })
            .collect(),
        dropped_links_count: span.dropped_links_count,
        resource: resource.clone(),
        scope: scope.clone(),
    })
}

/// In order of key, which is how columns give them back; equal keys keep their order.
fn attributes(pairs: Vec<KeyValue>) -> Vec<Attribute> {
    let mut attributes: Vec<Attribute> = pairs.into_iter().map(attribute).collect();
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}

fn attribute(pair: KeyValue) -> Attribute {
    Attribute { key: pair.key, value: value(pair.value) }
}

/// Recursion is bounded by the decoders: 100 messages in protobuf, 128 levels in JSON.
fn value(value_: Option<AnyValue>) -> AttributeValue {
    match value_.and_then(|v| v.value) {
        None => AttributeValue::Empty,
        Some(Value::StringValue(s)) => AttributeValue::String(s),
        Some(Value::BoolValue(b)) => AttributeValue::Bool(b),
        Some(Value::IntValue(n)) => AttributeValue::Int(n),
        Some(Value::DoubleValue(d)) => AttributeValue::Double(d),
        Some(Value::BytesValue(b)) => AttributeValue::Bytes(b),
        Some(Value::ArrayValue(a)) => AttributeValue::Array(a.values.into_iter().map(|v| value(Some(v))).collect()),
        Some(Value::KvlistValue(m)) => AttributeValue::Map(m.values.into_iter().map(attribute).collect()),
        // A reference into a profile's string table has no meaning in a trace.
        Some(_) => AttributeValue::Empty,
    }
}

/// All attributes of the span itself.
fn lists(span: &Span) -> impl Iterator<Item = &[Attribute]> {
    let events = span.events.iter().map(|e| &e.attributes[..]);
    let links = span.links.iter().map(|l| &l.attributes[..]);
    std::iter::once(&span.attributes[..]).chain(events).chain(links)
}

fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::String(s) => s.len(),
        AttributeValue::Bytes(b) => b.len(),
        AttributeValue::Array(values) => values.iter().map(|v| 8 + size(v)).sum(),
        AttributeValue::Map(pairs) => pairs.iter().map(|p| p.key.len() + 8 + size(&p.value)).sum(),
        AttributeValue::Empty | AttributeValue::Bool(_) | AttributeValue::Int(_) | AttributeValue::Double(_) => 8,
    }
}
