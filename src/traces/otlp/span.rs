//! One span from the bytes of its message.

use crate::ingest::{Message, WireError, read_attribute};
use crate::model::{AttributeRef, AttributeValue, Reason, SpanId, TraceId, ValueRef};
use crate::traces::span_ref::{EventRef, LinkRef, ResourceRef, ScopeRef, SpanRef};
use std::fmt;
use std::rc::Rc;

/// Why a span cannot be stored; lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    TraceId(usize),
    SpanId(usize),
    Start(u64),
}

impl Refused {
    pub fn reason(self) -> Reason {
        match self {
            Refused::TraceId(_) => Reason::InvalidTraceId,
            Refused::SpanId(_) => Reason::InvalidSpanId,
            Refused::Start(_) => Reason::InvalidTime,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::TraceId(length) => write!(f, "trace ids must be 128 bit, received {} bits", length * 8),
            Refused::SpanId(length) => write!(f, "span ids must be 64 bit and not all zero, received {} bits", length * 8),
            Refused::Start(start) => write!(f, "start time {start} is out of range"),
        }
    }
}

/// A span of this resource and scope. The outer error is one of the bytes, the inner one of what they say.
pub fn read_span<'a>(
    message: Message<'a>,
    resource: &Rc<ResourceRef<'a>>,
    scope: &Rc<ScopeRef<'a>>,
) -> Result<Result<SpanRef<'a>, Refused>, WireError> {
    let mut read = read_as_sent(message, resource, scope)?;
    if let Ok(span) = &mut read {
        in_order(&mut span.attributes);
    }
    Ok(read)
}

/// As [`read_span`], with the attributes of the span itself in the order in which they came.
pub fn read_as_sent<'a>(
    message: Message<'a>,
    resource: &Rc<ResourceRef<'a>>,
    scope: &Rc<ScopeRef<'a>>,
) -> Result<Result<SpanRef<'a>, Refused>, WireError> {
    let mut span = blank(resource, scope);
    let read = fill(&mut span, message)?;
    Ok(read.map(|()| span))
}

/// A span without anything.
pub fn blank<'a>(resource: &Rc<ResourceRef<'a>>, scope: &Rc<ScopeRef<'a>>) -> SpanRef<'a> {
    SpanRef {
        trace_id: TraceId::default(),
        span_id: SpanId::default(),
        parent_span_id: None,
        name: "",
        kind: 0,
        status_code: 0,
        status_message: "",
        start: 0,
        duration: 0,
        trace_state: "",
        flags: 0,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: Vec::new(),
        dropped_events_count: 0,
        links: Vec::new(),
        dropped_links_count: 0,
        resource: resource.clone(),
        scope: scope.clone(),
    }
}

/// As [`read_span`], in place of what `span` was but for its resource and scope, and with its attributes in the order in which
/// they came.
pub fn read_again<'a>(span: &mut SpanRef<'a>, message: Message<'a>) -> Result<Result<(), Refused>, WireError> {
    let (mut attributes, mut events, mut links) =
        (std::mem::take(&mut span.attributes), std::mem::take(&mut span.events), std::mem::take(&mut span.links));
    attributes.clear();
    events.clear();
    links.clear();
    *span = SpanRef { attributes, events, links, ..blank(&span.resource, &span.scope) };
    fill(span, message)
}

fn fill<'a>(span: &mut SpanRef<'a>, mut message: Message<'a>) -> Result<Result<(), Refused>, WireError> {
    let (mut trace_id, mut span_id, mut parent): (&[u8], &[u8], &[u8]) = (&[], &[], &[]);
    let (mut start, mut end) = (0, 0);
    while let Some(field) = message.field()? {
        match field.tag {
            1 => trace_id = field.bytes()?,
            2 => span_id = field.bytes()?,
            3 => span.trace_state = field.text()?,
            4 => parent = field.bytes()?,
            5 => span.name = field.text()?,
            6 => span.kind = field.int32()?,
            7 => start = field.fixed64()?,
            8 => end = field.fixed64()?,
            9 => push(&mut span.attributes, read_attribute(field.message()?)?),
            10 => span.dropped_attributes_count = field.uint32()?,
            11 => span.events.push(event(field.message()?)?),
            12 => span.dropped_events_count = field.uint32()?,
            13 => span.links.push(link(field.message()?)?),
            14 => span.dropped_links_count = field.uint32()?,
            15 => status(span, field.message()?)?,
            16 => span.flags = field.fixed32()?,
            _ => field.unknown()?,
        }
    }
    Ok(identify(span, (trace_id, span_id, parent), (start, end)))
}

fn identify(span: &mut SpanRef<'_>, (trace_id, span_id, parent): (&[u8], &[u8], &[u8]), (start, end): (u64, u64)) -> Result<(), Refused> {
    span.trace_id = TraceId::from_slice(trace_id).filter(|id| !id.is_zero()).ok_or(Refused::TraceId(trace_id.len()))?;
    span.span_id = SpanId::from_slice(span_id).filter(|id| !id.is_zero()).ok_or(Refused::SpanId(span_id.len()))?;
    span.parent_span_id = match parent {
        [] => None,
        id => Some(SpanId::from_slice(id).ok_or(Refused::SpanId(id.len()))?).filter(|id| !id.is_zero()),
    };
    span.start = i64::try_from(start).map_err(|_| Refused::Start(start))?;
    span.duration = end.cast_signed().wrapping_sub(span.start);
    Ok(())
}

/// Attributes that most spans have at most: room for them is made at once.
const ATTRIBUTES: usize = 8;

fn push<'a>(attributes: &mut Vec<AttributeRef<'a>>, attribute: AttributeRef<'a>) {
    if attributes.is_empty() {
        attributes.reserve(ATTRIBUTES);
    }
    attributes.push(attribute);
}

/// Equal keys keep their order.
fn in_order(attributes: &mut [AttributeRef<'_>]) {
    attributes.sort_by(|a, b| a.key.cmp(b.key));
}

fn event(mut message: Message<'_>) -> Result<EventRef<'_>, WireError> {
    let mut event = EventRef::default();
    while let Some(field) = message.field()? {
        match field.tag {
            1 => event.time_unix_nano = field.fixed64()?,
            2 => event.name = field.text()?,
            3 => event.attributes.push(read_attribute(field.message()?)?),
            4 => event.dropped_attributes_count = field.uint32()?,
            _ => field.unknown()?,
        }
    }
    in_order(&mut event.attributes);
    Ok(event)
}

fn link(mut message: Message<'_>) -> Result<LinkRef<'_>, WireError> {
    let mut link = LinkRef::default();
    while let Some(field) = message.field()? {
        match field.tag {
            1 => link.trace_id = field.bytes()?,
            2 => link.span_id = field.bytes()?,
            3 => link.trace_state = field.text()?,
            4 => link.attributes.push(read_attribute(field.message()?)?),
            5 => link.dropped_attributes_count = field.uint32()?,
            6 => link.flags = field.fixed32()?,
            _ => field.unknown()?,
        }
    }
    in_order(&mut link.attributes);
    Ok(link)
}

fn status<'a>(span: &mut SpanRef<'a>, mut message: Message<'a>) -> Result<(), WireError> {
    while let Some(field) = message.field()? {
        match field.tag {
            2 => span.status_message = field.text()?,
            3 => span.status_code = field.int32()?,
            _ => field.unknown()?,
        }
    }
    Ok(())
}

/// Whether a value has at most `max` bytes.
pub fn fits(value: &ValueRef<'_>, max: usize) -> bool {
    match value {
        ValueRef::String(text) => text.len() <= max,
        ValueRef::Bytes(bytes) => bytes.len() <= max,
        ValueRef::Nested(value) => size(value) <= max,
        ValueRef::Empty | ValueRef::Bool(_) | ValueRef::Int(_) | ValueRef::Double(_) => SCALAR <= max,
    }
}

const SCALAR: usize = 8;

fn size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::String(s) => s.len(),
        AttributeValue::Bytes(b) => b.len(),
        AttributeValue::Array(values) => values.iter().map(|v| SCALAR + size(v)).sum(),
        AttributeValue::Map(pairs) => pairs.iter().map(|p| p.key.len() + SCALAR + size(&p.value)).sum(),
        AttributeValue::Empty | AttributeValue::Bool(_) | AttributeValue::Int(_) | AttributeValue::Double(_) => SCALAR,
    }
}
