//! Jaeger's batches, as Thrift (binary protocol) or protobuf. Source: jaegertracing/jaeger-idl `thrift/jaeger.thrift` and
//! `proto/api_v2/model.proto`, `collector.proto`.

mod protobuf;
mod thrift;

pub use protobuf::protobuf;
pub use thrift::thrift;

use super::foreign::{finish, text};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

/// One span of either form.
#[derive(Default)]
struct JaegerSpan {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    /// Empty, or of zeros, if there is none.
    parent_id: Vec<u8>,
    name: String,
    references: Vec<Reference>,
    /// Nanoseconds since the epoch.
    start: u64,
    duration: u64,
    tags: Vec<KeyValue>,
    logs: Vec<Log>,
}

#[derive(Default)]
struct Reference {
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    follows_from: bool,
}

#[derive(Default)]
struct Log {
    time: u64,
    fields: Vec<KeyValue>,
}

fn resource(service: &str, tags: Vec<KeyValue>) -> Vec<KeyValue> {
    let name = std::iter::once(service).filter(|name| !name.is_empty()).map(|name| text("service.name", name));
    name.chain(tags).collect()
}

/// What tells the two kinds of links apart.
const REFERENCE: &str = "opentracing.ref_type";

impl JaegerSpan {
    fn into_otlp(mut self) -> (InstrumentationScope, Span) {
        if self.parent_id.iter().all(|b| *b == 0) {
            let parent = self.references.iter().position(|r| !r.follows_from && r.trace_id == self.trace_id);
            self.parent_id = parent.map_or_else(Vec::new, |at| self.references.remove(at).span_id);
        } else {
            // The reference that says the same again.
            self.references.retain(|r| r.follows_from || r.span_id != self.parent_id || r.trace_id != self.trace_id);
        }
        let link = |reference: Reference| Link {
            trace_id: reference.trace_id,
            span_id: reference.span_id,
            attributes: vec![text(REFERENCE, if reference.follows_from { "follows_from" } else { "child_of" })],
            ..Link::default()
        };
        let span = Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_span_id: self.parent_id,
            name: self.name,
            start_time_unix_nano: self.start,
            end_time_unix_nano: self.start.saturating_add(self.duration),
            events: self.logs.into_iter().map(event).collect(),
            links: self.references.into_iter().map(link).collect(),
            status: Some(Status::default()),
            ..Span::default()
        };
        finish(span, self.tags)
    }
}

/// Its name is the field `event`, or else `message`.
fn event(mut log: Log) -> Event {
    let named = |key: &str| {
        log.fields.iter().position(|f| f.key == key && matches!(&f.value, Some(v) if matches!(v.value, Some(Value::StringValue(_)))))
    };
    let name = named("event").or_else(|| named("message")).map(|at| log.fields.remove(at));
    let name = match name.and_then(|field| field.value?.value) {
        Some(Value::StringValue(name)) => name,
        _ => String::new(),
    };
    Event { time_unix_nano: log.time, name, attributes: log.fields, ..Event::default() }
}
