//! The cells of a row, each from the span that it is about.

use super::specs::{EVENT_ATTRIBUTES, LINK_ATTRIBUTES, RESOURCE_ATTRIBUTES, SCOPE_ATTRIBUTES, SPAN_ATTRIBUTES, SPECS};
use crate::model::{AttributeRef, SpanId, TraceId, ValueRef};
use crate::query::sql::{Cell, ColumnType, Family};
use crate::traces::columns::Projection;
use crate::traces::schema::{AttributeScope, SERVICE_NAME_KEY};
use crate::traces::span_ref::{EventRef, LinkRef, SpanRef};
use crate::traces::trace::TraceRow;
use crate::traces::traceql::ast::{KIND_WORDS, STATUS_WORDS};
use std::borrow::Cow;
use std::fmt::Write as _;

const SCOPES: [(Family, AttributeScope); 5] = [
    (SPAN_ATTRIBUTES, AttributeScope::Span),
    (RESOURCE_ATTRIBUTES, AttributeScope::Resource),
    (SCOPE_ATTRIBUTES, AttributeScope::Instrumentation),
    (EVENT_ATTRIBUTES, AttributeScope::Event),
    (LINK_ATTRIBUTES, AttributeScope::Link),
];

/// Attributes of one scope: all of them, or one.
pub enum Attributes<'a> {
    All(AttributeScope),
    One(AttributeScope, &'a str, ColumnType),
}

impl<'a> Attributes<'a> {
    /// Of a column of the table; `None` if it holds no attributes.
    fn of(table: &str, name: &'a str) -> Option<Attributes<'a>> {
        let families = SPECS.iter().find(|spec| spec.name == table)?.families;
        families.iter().find_map(|family| {
            let scope = SCOPES.iter().find(|(own, _)| own.prefix == family.prefix)?.1;
            if family.map == name {
                return Some(Attributes::All(scope));
            }
            family.parse(name).map(|(key, kind)| Attributes::One(scope, key, kind))
        })
    }

    fn scope(&self) -> AttributeScope {
        match self {
            Attributes::All(scope) | Attributes::One(scope, ..) => *scope,
        }
    }

    fn add_to(&self, projection: &mut Projection) {
        match self {
            Attributes::All(scope) => projection.add_all_attributes(*scope),
            Attributes::One(scope, key, _) => projection.add_attribute(*scope, key),
        }
    }

    fn cell<'b>(&self, attributes: &'b [AttributeRef<'b>]) -> Cell<'b> {
        match self {
            Attributes::All(_) => {
                let mut pairs: Vec<(Cow<'b, str>, Cow<'b, str>)> = Vec::with_capacity(attributes.len());
                // The first value of a key counts.
                for attribute in attributes {
                    if pairs.last().is_none_or(|(key, _)| key != attribute.key) {
                        pairs.push((attribute.key.into(), attribute.value.to_text()));
                    }
                }
                Cell::Map(pairs)
            }
            Attributes::One(_, key, kind) => {
                attributes.iter().find(|a| a.key == *key).map_or(Cell::Null, |attribute| typed(&attribute.value, *kind))
            }
        }
    }
}

fn typed<'a>(value: &'a ValueRef<'a>, kind: ColumnType) -> Cell<'a> {
    let scalar = match value {
        ValueRef::Nested(nested) => ValueRef::from(&**nested),
        other => other.clone(),
    };
    match (kind, scalar) {
        (ColumnType::Text, _) => Cell::text(value.to_text()),
        (ColumnType::Int, ValueRef::Int(n)) => Cell::Int(n),
        (ColumnType::Double, ValueRef::Double(d)) => Cell::Double(d),
        (ColumnType::Bool, ValueRef::Bool(b)) => Cell::Bool(b),
        _ => Cell::Null,
    }
}

/// The column of `spans` in a block by which rows with one of these values are found, if no value of another type has the
/// same text.
pub fn stored_as(column: &str, values: &[String]) -> Option<String> {
    let service = format!("{}{SERVICE_NAME_KEY}", RESOURCE_ATTRIBUTES.prefix);
    match column {
        "name" | "service_name" => Some(column.to_owned()),
        _ if !values.iter().all(|value| is_only_a_string(value)) => None,
        other if other == service => Some("service_name".to_owned()),
        other => SCOPES[..3].iter().any(|(family, _)| other.starts_with(family.prefix)).then(|| other.to_owned()),
    }
}

/// Whether the text is neither a number's, nor a boolean's, nor that of bytes, an array or a map.
fn is_only_a_string(text: &str) -> bool {
    let is_base64 = text.len().is_multiple_of(4) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    let is_number = text.parse::<f64>().is_ok() || ["Infinity", "-Infinity", "NaN"].contains(&text);
    !(text.is_empty() || is_base64 || is_number || text.starts_with(['[', '{']) || ["true", "false", "null"].contains(&text))
}

fn word(words: &'static [&'static str], number: i32) -> Cell<'static> {
    match usize::try_from(number).ok().and_then(|at| words.get(at)) {
        Some(word) => Cell::text(*word),
        None => Cell::text(number.to_string()),
    }
}

fn hex(bytes: &[u8]) -> Cell<'static> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Cell::text(text)
}

fn trace_id(id: TraceId) -> Cell<'static> {
    Cell::text(id.to_hex())
}

fn span_id(id: SpanId) -> Cell<'static> {
    Cell::text(id.to_hex())
}

/// A column of `spans`.
pub enum SpanColumn<'a> {
    Fixed(&'static str),
    Attributes(Attributes<'a>),
}

impl<'a> SpanColumn<'a> {
    pub fn of(name: &'a str) -> Option<SpanColumn<'a>> {
        if let Some(attributes) = Attributes::of("spans", name) {
            return Some(SpanColumn::Attributes(attributes));
        }
        let spec = SPECS.iter().find(|spec| spec.name == "spans")?;
        spec.columns.iter().find(|(own, _)| *own == name).map(|(own, _)| SpanColumn::Fixed(own))
    }

    pub fn add_to(&self, projection: &mut Projection) {
        match self {
            SpanColumn::Fixed("status") => projection.add_column("status_code"),
            SpanColumn::Fixed(name) => projection.add_column(name),
            SpanColumn::Attributes(attributes) => attributes.add_to(projection),
        }
    }

    pub fn cell<'b>(&self, span: &'b SpanRef<'b>) -> Cell<'b> {
        let count = |n: u32| Cell::Int(i64::from(n));
        match self {
            SpanColumn::Attributes(attributes) => attributes.cell(match attributes.scope() {
                AttributeScope::Resource => &span.resource.attributes,
                AttributeScope::Instrumentation => &span.scope.attributes,
                _ => &span.attributes,
            }),
            SpanColumn::Fixed(name) => match *name {
                "trace_id" => trace_id(span.trace_id),
                "span_id" => span_id(span.span_id),
                "parent_span_id" => span.parent_span_id.map_or(Cell::Null, span_id),
                "service_name" => Cell::text_or_null(span.resource.service_name()),
                "name" => Cell::text(span.name),
                "kind" => word(&KIND_WORDS, span.kind),
                "status" => word(&STATUS_WORDS, span.status_code),
                "status_message" => Cell::text(span.status_message),
                "start" => Cell::Int(span.start),
                "duration_ns" => Cell::Int(span.duration),
                "trace_state" => Cell::text(span.trace_state),
                "flags" => count(span.flags),
                "dropped_attributes_count" => count(span.dropped_attributes_count),
                "dropped_events_count" => count(span.dropped_events_count),
                "dropped_links_count" => count(span.dropped_links_count),
                "scope_name" => Cell::text(span.scope.name),
                "scope_version" => Cell::text(span.scope.version),
                _ => Cell::Null,
            },
        }
    }
}

/// A column of `events` or `links`: what it has of its span, and what is its own.
pub enum AttachedColumn<'a> {
    OfSpan(SpanColumn<'static>),
    Own(&'a str),
    Attributes(Attributes<'a>),
}

impl<'a> AttachedColumn<'a> {
    pub fn of_event(name: &'a str) -> Option<AttachedColumn<'a>> {
        Some(match Attributes::of("events", name) {
            Some(attributes) => AttachedColumn::Attributes(attributes),
            None => AttachedColumn::fixed(name),
        })
    }

    pub fn of_link(name: &'a str) -> Option<AttachedColumn<'a>> {
        Some(match Attributes::of("links", name) {
            Some(attributes) => AttachedColumn::Attributes(attributes),
            None => AttachedColumn::fixed(name),
        })
    }

    fn fixed(name: &'a str) -> AttachedColumn<'a> {
        match name {
            "trace_id" => AttachedColumn::OfSpan(SpanColumn::Fixed("trace_id")),
            "span_id" => AttachedColumn::OfSpan(SpanColumn::Fixed("span_id")),
            "service_name" => AttachedColumn::OfSpan(SpanColumn::Fixed("service_name")),
            "span_name" => AttachedColumn::OfSpan(SpanColumn::Fixed("name")),
            "start" => AttachedColumn::OfSpan(SpanColumn::Fixed("start")),
            own => AttachedColumn::Own(own),
        }
    }

    pub fn add_to(&self, projection: &mut Projection) {
        match self {
            AttachedColumn::OfSpan(column) => column.add_to(projection),
            AttachedColumn::Own(_) => {}
            AttachedColumn::Attributes(attributes) => attributes.add_to(projection),
        }
    }

    pub fn cell_of_event<'b>(&self, span: &'b SpanRef<'b>, event: &'b EventRef<'b>) -> Cell<'b> {
        match self {
            AttachedColumn::OfSpan(column) => column.cell(span),
            AttachedColumn::Attributes(attributes) => attributes.cell(&event.attributes),
            AttachedColumn::Own(name) => match *name {
                "time" => i64::try_from(event.time_unix_nano).map_or(Cell::Null, Cell::Int),
                "name" => Cell::text(event.name),
                "dropped_attributes_count" => Cell::Int(i64::from(event.dropped_attributes_count)),
                _ => Cell::Null,
            },
        }
    }

    pub fn cell_of_link<'b>(&self, span: &'b SpanRef<'b>, link: &'b LinkRef<'b>) -> Cell<'b> {
        match self {
            AttachedColumn::OfSpan(column) => column.cell(span),
            AttachedColumn::Attributes(attributes) => attributes.cell(&link.attributes),
            AttachedColumn::Own(name) => match *name {
                "linked_trace_id" => hex(link.trace_id),
                "linked_span_id" => hex(link.span_id),
                "trace_state" => Cell::text(link.trace_state),
                "flags" => Cell::Int(i64::from(link.flags)),
                "dropped_attributes_count" => Cell::Int(i64::from(link.dropped_attributes_count)),
                _ => Cell::Null,
            },
        }
    }
}

/// A column of `traces`.
#[derive(Debug, Clone, Copy)]
pub struct TraceColumn(&'static str);

impl TraceColumn {
    pub fn of(name: &str) -> Option<TraceColumn> {
        let spec = SPECS.iter().find(|spec| spec.name == "traces")?;
        spec.columns.iter().find(|(own, _)| *own == name).map(|(own, _)| TraceColumn(own))
    }

    /// What a row is made of.
    pub fn add_all_to(projection: &mut Projection) {
        projection.add_columns(&["parent_span_id", "name", "service_name", "status_code", "start", "duration_ns"]);
    }

    pub fn cell(self, trace: &TraceRow) -> Cell<'_> {
        let number = |n: u64| Cell::Int(i64::try_from(n).unwrap_or(i64::MAX));
        let part = &trace.part;
        match self.0 {
            "trace_id" => trace_id(part.trace_id),
            // The table has no name and an empty one alike.
            "root_service" => Cell::text_or_null(trace.root_service.as_deref().filter(|name| !name.is_empty())),
            "root_name" => Cell::text_or_null(trace.root_name.as_deref()),
            "start" => Cell::Int(part.start),
            "duration_ns" => Cell::Int(part.end.saturating_sub(part.start)),
            "spans" => number(part.spans.end - part.spans.start),
            "errors" => number(trace.services.values().map(|counts| counts.errors).sum()),
            "services" => number(trace.services.len() as u64),
            _ => Cell::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AttributeValue;

    #[test]
    fn only_texts_that_are_nothing_else_are_looked_for_in_columns_of_texts() {
        let stored = |column: &str, value: &str| stored_as(column, &[value.to_owned()]);
        assert_eq!(stored("name", "5").as_deref(), Some("name"));
        assert_eq!(stored("res.service.name", "my-shop").as_deref(), Some("service_name"));
        assert_eq!(stored("span.http.route", "/a/{id}").as_deref(), Some("span.http.route"));
        for value in ["5", "-1.5e3", "true", "abcd", "QUJD", "[1]", "{\"a\":1}", "NaN", "Infinity", ""] {
            assert_eq!(stored("span.k", value), None, "{value}");
        }
        assert_eq!(stored("trace_id", "x-y"), None);
    }

    #[test]
    fn columns_of_types_have_values_of_theirs() {
        let nested = ValueRef::Nested(Cow::Owned(AttributeValue::Int(4)));
        assert_eq!(typed(&nested, ColumnType::Int), Cell::Int(4));
        assert_eq!(typed(&ValueRef::Int(4), ColumnType::Text), Cell::text("4"));
        assert_eq!(typed(&ValueRef::String("4"), ColumnType::Int), Cell::Null);
        assert_eq!(typed(&ValueRef::Bool(true), ColumnType::Bool), Cell::Bool(true));
    }
}
