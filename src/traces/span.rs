use crate::model::{Attribute, AttributeValue, SpanId, TraceId};
use std::sync::Arc;

/// `Span.SpanKind` of OTLP.
pub const KIND_SERVER: i32 = 2;

/// `Status.StatusCode` of OTLP.
pub const STATUS_ERROR: i32 = 2;

/// What sent a span: OTLP's `Resource`, with the schema URL of its `ResourceSpans`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resource {
    pub attributes: Vec<Attribute>,
    pub dropped_attributes_count: u32,
    pub schema_url: String,
}

/// Estimated bytes of attributes in memory.
fn bytes(attributes: &[Attribute]) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::String(text) => text.len(),
        AttributeValue::Bytes(bytes) => bytes.len(),
        AttributeValue::Array(_) | AttributeValue::Map(_) => value.to_text().len(),
        AttributeValue::Empty | AttributeValue::Bool(_) | AttributeValue::Int(_) | AttributeValue::Double(_) => 0,
    };
    attributes.iter().map(|a| size_of::<Attribute>() + a.key.len() + value(&a.value)).sum()
}

impl Resource {
    /// Estimated bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Resource>() + self.schema_url.len() + bytes(&self.attributes)
    }

    /// The attribute `service.name`, when it is a string.
    pub fn service_name(&self) -> Option<&str> {
        match attribute(&self.attributes, "service.name") {
            Some(AttributeValue::String(name)) => Some(name),
            _ => None,
        }
    }
}

/// What made a span: OTLP's `InstrumentationScope`, with the schema URL of its `ScopeSpans`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scope {
    pub name: String,
    pub version: String,
    pub attributes: Vec<Attribute>,
    pub dropped_attributes_count: u32,
    pub schema_url: String,
}

impl Scope {
    /// Estimated bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Scope>() + self.name.len() + self.version.len() + self.schema_url.len() + bytes(&self.attributes)
    }
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Event {
    /// Nanoseconds since the epoch, all 64 bits as they came.
    pub time_unix_nano: u64,
    pub name: String,
    pub attributes: Vec<Attribute>,
    pub dropped_attributes_count: u32,
}

/// Its ids are bytes of any length: a link to something that is no valid id is still the customer's data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Link {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub trace_state: String,
    pub attributes: Vec<Attribute>,
    pub dropped_attributes_count: u32,
    pub flags: u32,
}

/// One span with all that OTLP says of it. Read with a projection, the fields that were not read are empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Span {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// `None` for a root; an id of zero bytes only counts as absent.
    pub parent_span_id: Option<SpanId>,
    pub name: String,
    /// OTLP's number, also one that OTLP does not define yet.
    pub kind: i32,
    /// 0 and an empty message where no status was sent: both mean the same.
    pub status_code: i32,
    pub status_message: String,
    /// Nanoseconds since the epoch; a later one than fits is refused.
    pub start: i64,
    /// End minus start, nanoseconds, wrapped to 64 bits: negative when a sender's clock went back.
    pub duration: i64,
    pub trace_state: String,
    pub flags: u32,
    pub attributes: Vec<Attribute>,
    pub dropped_attributes_count: u32,
    pub events: Vec<Event>,
    pub dropped_events_count: u32,
    pub links: Vec<Link>,
    pub dropped_links_count: u32,
    pub resource: Arc<Resource>,
    pub scope: Arc<Scope>,
}

impl Span {
    /// The end as OTLP had it.
    pub fn end_unix_nano(&self) -> u64 {
        self.start.wrapping_add(self.duration).cast_unsigned()
    }

    /// The end for comparisons: never before the start.
    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.duration.max(0))
    }

    /// What makes two spans of one trace the same span (decisions 16).
    pub fn identity(&self) -> (SpanId, i32) {
        (self.span_id, self.kind)
    }
}

/// The first value of a key. OTLP asks for unique keys but does not refuse others.
pub fn attribute<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a AttributeValue> {
    attributes.iter().find(|a| a.key == key).map(|a| &a.value)
}
