//! How many bytes a span has as protobuf, without encoding it.

use crate::model::{Attribute, AttributeValue};
use crate::traces::span::{Event, Link, Span};

/// Bytes of the `Span` message, with a status: SDKs send one always.
pub fn encoded_len(span: &Span) -> usize {
    let status = text(&span.status_message) + number(i64::from(span.status_code).cast_unsigned());
    let ids =
        delimited(span.trace_id.0.len()) + delimited(span.span_id.0.len()) + span.parent_span_id.map_or(0, |id| delimited(id.0.len()));
    let times = fixed64(span.start.cast_unsigned()) + fixed64(span.end_unix_nano());
    let dropped = [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count];
    let flags = if span.flags == 0 { 0 } else { 2 + 4 };
    ids + times
        + flags
        + text(&span.trace_state)
        + text(&span.name)
        + number(i64::from(span.kind).cast_unsigned())
        + attributes(&span.attributes)
        + dropped.into_iter().map(|n| number(n.into())).sum::<usize>()
        + span.events.iter().map(|e| delimited(event(e))).sum::<usize>()
        + span.links.iter().map(|l| delimited(link(l))).sum::<usize>()
        + delimited(status)
}

fn event(event: &Event) -> usize {
    fixed64(event.time_unix_nano) + text(&event.name) + attributes(&event.attributes) + number(event.dropped_attributes_count.into())
}

fn link(link: &Link) -> usize {
    let ids: usize = [&link.trace_id, &link.span_id].into_iter().filter(|id| !id.is_empty()).map(|id| delimited(id.len())).sum();
    let flags = if link.flags == 0 { 0 } else { 1 + 4 };
    ids + flags + text(&link.trace_state) + attributes(&link.attributes) + number(link.dropped_attributes_count.into())
}

fn varint(n: u64) -> usize {
    (n | 1).ilog2() as usize / 7 + 1
}

/// A field of a number below 16 with a length and that many bytes.
fn delimited(length: usize) -> usize {
    1 + varint(length as u64) + length
}

fn text(text: &str) -> usize {
    if text.is_empty() { 0 } else { delimited(text.len()) }
}

fn number(n: u64) -> usize {
    if n == 0 { 0 } else { 1 + varint(n) }
}

fn fixed64(n: u64) -> usize {
    if n == 0 { 0 } else { 9 }
}

fn attributes(attributes: &[Attribute]) -> usize {
    attributes.iter().map(|a| delimited(pair(a))).sum()
}

fn pair(attribute: &Attribute) -> usize {
    text(&attribute.key) + delimited(value(&attribute.value))
}

fn value(any: &AttributeValue) -> usize {
    match any {
        AttributeValue::Empty => 0,
        AttributeValue::String(s) => delimited(s.len()),
        AttributeValue::Bool(_) => 2,
        AttributeValue::Int(n) => 1 + varint(n.cast_unsigned()),
        AttributeValue::Double(_) => 9,
        AttributeValue::Bytes(b) => delimited(b.len()),
        AttributeValue::Array(values) => delimited(values.iter().map(|v| delimited(value(v))).sum()),
        AttributeValue::Map(pairs) => delimited(pairs.iter().map(|p| delimited(pair(p))).sum()),
    }
}
