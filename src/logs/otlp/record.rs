use crate::ingest::{Message, WireError, merge_value, read_attribute};
use crate::logs::names;
use crate::logs::rows::{Keys, RowsBuilder, flatten};
use crate::model::{AttributeRef, AttributeValue, SpanId, TraceId, ValueRef, json_text};
use std::borrow::Cow;
use std::fmt::Write as _;

/// A `LogRecord`.
pub struct Record<'a> {
    time: u64,
    observed_time: u64,
    severity_number: i32,
    severity_text: &'a str,
    body: ValueRef<'a>,
    attributes: Vec<AttributeRef<'a>>,
    dropped_attributes_count: u32,
    flags: u32,
    trace_id: &'a [u8],
    span_id: &'a [u8],
    event_name: &'a str,
}

impl<'a> Record<'a> {
    pub fn read(mut message: Message<'a>) -> Result<Record<'a>, WireError> {
        let mut record = Record {
            time: 0,
            observed_time: 0,
            severity_number: 0,
            severity_text: "",
            body: ValueRef::Empty,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            flags: 0,
            trace_id: &[],
            span_id: &[],
            event_name: "",
        };
        while let Some(field) = message.field()? {
            match field.tag {
                1 => record.time = field.fixed64()?,
                2 => record.severity_number = field.int32()?,
                3 => record.severity_text = field.text()?,
                5 => merge_value(&mut record.body, field.message()?)?,
                6 => record.attributes.push(read_attribute(field.message()?)?),
                7 => record.dropped_attributes_count = field.uint32()?,
                8 => record.flags = field.fixed32()?,
                9 => record.trace_id = field.bytes()?,
                10 => record.span_id = field.bytes()?,
                11 => record.observed_time = field.fixed64()?,
                12 => record.event_name = field.text()?,
                _ => field.unknown()?,
            }
        }
        Ok(record)
    }

    /// Event time, else observed time, else the time of receipt. `None` if it is beyond what 64 bits hold.
    pub fn timestamp(&self, received_at: i64) -> Option<i64> {
        match [self.time, self.observed_time].into_iter().find(|t| *t != 0) {
            Some(t) => i64::try_from(t).ok(),
            None => Some(received_at),
        }
    }

    /// A map as a body is JSON text with its keys sorted.
    pub fn line(&self) -> Cow<'_, str> {
        match &self.body {
            ValueRef::Nested(value) if matches!(&**value, AttributeValue::Map(_)) => Cow::Owned(json_text(value)),
            body => body.to_text(),
        }
    }

    /// `text` is kept for its memory.
    pub fn set_metadata(&self, rows: &mut RowsBuilder, keys: &mut Keys<'a>, text: &mut String) {
        for attribute in &self.attributes {
            if self.event_name.is_empty() || attribute.key != "event_name" {
                set_attribute(attribute, rows, keys);
            }
        }
        let mut set = |name: &'static str, value: &str| {
            if let Some(name) = keys.number(name, rows) {
                rows.set(name, value);
            }
        };
        if self.time != 0 && self.observed_time != 0 {
            set("observed_timestamp", written(text, self.observed_time));
        }
        if self.severity_number != 0 {
            set("severity_number", written(text, self.severity_number));
        }
        if !self.severity_text.is_empty() {
            set("severity_text", self.severity_text);
        }
        if self.dropped_attributes_count != 0 {
            set("dropped_attributes_count", written(text, self.dropped_attributes_count));
        }
        if self.flags != 0 {
            set("flags", written(text, self.flags));
        }
        if let Some(id) = TraceId::from_slice(self.trace_id).filter(|id| !id.is_zero()) {
            set("trace_id", written(text, id));
        }
        if let Some(id) = SpanId::from_slice(self.span_id).filter(|id| !id.is_zero()) {
            set("span_id", written(text, id));
        }
        if !self.event_name.is_empty() {
            set("event_name", self.event_name);
        }
    }
}

fn written(text: &mut String, value: impl std::fmt::Display) -> &str {
    text.clear();
    // Writing to a string does not fail.
    let _ = write!(text, "{value}");
    text
}

fn set_attribute<'a>(attribute: &AttributeRef<'a>, rows: &mut RowsBuilder, keys: &mut Keys<'a>) {
    match &attribute.value {
        ValueRef::Nested(value) if matches!(&**value, AttributeValue::Map(_)) => {
            flatten(attribute.key, value, &mut |key, value| {
                // A name of which nothing remains has no pair.
                if let Some(name) = names::normalise(key) {
                    let name = rows.name(&name);
                    rows.set(name, &value.to_text());
                }
                !rows.has_too_many()
            });
        }
        value => {
            if rows.has_too_many() {
                return;
            }
            if let Some(name) = keys.number(attribute.key, rows) {
                rows.set(name, &value.to_text());
            }
        }
    }
}
