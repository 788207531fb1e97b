//! What the other protocols share: a span with a bag of tags becomes OTLP's. Source: the OpenTelemetry specification,
//! "Mapping to non-OTLP formats" and its pages on Zipkin and Jaeger, read backwards.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

pub fn pair(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

pub fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

/// Microseconds since the epoch as OTLP's nanoseconds. What is out of range becomes a time that is refused later.
pub fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1_000)
}

/// Removes the first pair of the key, and gives its value.
fn take(tags: &mut Vec<KeyValue>, key: &str) -> Option<Value> {
    let at = tags.iter().position(|tag| tag.key == key)?;
    tags.remove(at).value.and_then(|v| v.value)
}

fn take_text(tags: &mut Vec<KeyValue>, key: &str) -> Option<String> {
    match take(tags, key)? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// `Span.SpanKind` of its word, of either case.
pub fn kind_of(word: &str) -> i32 {
    let words = ["internal", "server", "client", "producer", "consumer"];
    words.iter().position(|w| word.eq_ignore_ascii_case(w)).map_or(0, |at| at as i32 + 1)
}

/// What tags say of status, kind, scope and trace state goes to its field; the others become attributes.
pub fn finish(mut span: Span, mut tags: Vec<KeyValue>) -> (InstrumentationScope, Span) {
    if let Some(kind) = take_text(&mut tags, "span.kind") {
        span.kind = if span.kind == 0 { kind_of(&kind) } else { span.kind };
    }
    let mut status = Status::default();
    if let Some(code) = take_text(&mut tags, "otel.status_code") {
        status.code = match code.as_str() {
            "OK" => 1,
            "ERROR" => 2,
            _ => 0,
        };
    }
    if let Some(message) = take_text(&mut tags, "otel.status_description") {
        status.message = message;
    }
    let error = tags.iter().position(|tag| tag.key == "error");
    let said = error.and_then(|at| tags[at].value.as_ref()?.value.clone());
    let (is_error, message) = match said {
        None | Some(Value::BoolValue(false)) => (false, None),
        Some(Value::StringValue(text)) if text.eq_ignore_ascii_case("false") => (false, None),
        Some(Value::StringValue(text)) if !text.is_empty() && !text.eq_ignore_ascii_case("true") => (true, Some(text)),
        Some(_) => (true, None),
    };
    if is_error && status.code != 1 {
        status.code = 2;
        match message {
            Some(message) if status.message.is_empty() => status.message = message,
            // It says no more than the status does.
            _ => drop(error.map(|at| tags.remove(at))),
        }
    }
    span.status = Some(status);
    if let Some(state) = take_text(&mut tags, "w3c.tracestate") {
        span.trace_state = state;
    }
    let mut either = |new: &str, old: &str| {
        let (new, old) = (take_text(&mut tags, new), take_text(&mut tags, old));
        new.or(old).unwrap_or_default()
    };
    let name = either("otel.scope.name", "otel.library.name");
    let version = either("otel.scope.version", "otel.library.version");
    span.attributes = tags;
    (InstrumentationScope { name, version, ..InstrumentationScope::default() }, span)
}

/// Spans in their order, those that follow each other with equal resource and scope together.
#[derive(Default)]
pub struct Collected(Vec<ResourceSpans>);

impl Collected {
    pub fn push(&mut self, resource: &[KeyValue], (scope, span): (InstrumentationScope, Span)) {
        if self.0.last().and_then(|r| r.resource.as_ref()).is_none_or(|r| r.attributes != resource) {
            let resource = Resource { attributes: resource.to_vec(), ..Resource::default() };
            self.0.push(ResourceSpans { resource: Some(resource), ..ResourceSpans::default() });
        }
        let Some(last) = self.0.last_mut() else { return };
        match last.scope_spans.last_mut().filter(|s| s.scope.as_ref() == Some(&scope)) {
            Some(of_scope) => of_scope.spans.push(span),
            None => last.scope_spans.push(ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }),
        }
    }

    pub fn request(self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest { resource_spans: self.0 }
    }
}
