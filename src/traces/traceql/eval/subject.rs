use super::value::Value;
use crate::model::SpanId;
use crate::traces::span::{Span, attribute};
use crate::traces::trace::{Nested, Trace, nested_sets};
use crate::traces::traceql::ast::{Field, Intrinsic, Scope};
use std::borrow::Cow;
use std::cell::OnceCell;

/// A trace with what queries ask of it as a whole.
pub struct TraceFacts<'a> {
    pub trace: &'a Trace,
    root_name: &'a str,
    root_service: &'a str,
    duration: OnceCell<i64>,
    /// Structure is computed only if it is asked for.
    nested: OnceCell<Vec<Nested>>,
}

impl<'a> TraceFacts<'a> {
    pub fn new(trace: &'a Trace) -> TraceFacts<'a> {
        let root = trace.root();
        TraceFacts {
            trace,
            root_name: root.map_or("", |r| &r.name),
            root_service: root.and_then(|r| r.resource.service_name()).unwrap_or(""),
            duration: OnceCell::new(),
            nested: OnceCell::new(),
        }
    }

    pub fn nested(&self) -> &[Nested] {
        self.nested.get_or_init(|| nested_sets(&self.trace.spans))
    }

    fn duration(&self) -> i64 {
        *self.duration.get_or_init(|| self.trace.duration())
    }
}

/// Which event (or link) of the span an expression is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Each comparison looks for one of its own.
    Any,
    /// All comparisons are about this one; `None` if the span has none.
    To(Option<usize>),
}

/// What expressions see of a span, wherever it stands.
pub trait Look<'a>: Copy {
    /// Of several events or links that are not bound, the first one that has a value.
    fn get(&self, field: &Field) -> Value<'a>;

    /// Which event and which link it is about.
    fn bounds(&self) -> (Bound, Bound);

    /// The same span, about another event and link.
    fn bound(self, event: Bound, link: Bound) -> Self;

    /// Numbers of events and links.
    fn counts(&self) -> (usize, usize);
}

/// One span, as expressions see it.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub facts: &'a TraceFacts<'a>,
    pub index: usize,
    pub event: Bound,
    pub link: Bound,
}

impl<'a> Subject<'a> {
    pub fn new(facts: &'a TraceFacts<'a>, index: usize) -> Subject<'a> {
        Subject { facts, index, event: Bound::Any, link: Bound::Any }
    }

    pub fn span(&self) -> &'a Span {
        &self.facts.trace.spans[self.index]
    }

    fn attribute(&self, scope: Scope, name: &str) -> Value<'a> {
        let span = self.span();
        let of = |attributes: &'a [_]| attribute(attributes, name).map_or(Value::Nil, Value::of_attribute);
        match scope {
            Scope::Span => of(&span.attributes),
            Scope::Resource => of(&span.resource.attributes),
            Scope::Instrumentation => of(&span.scope.attributes),
            Scope::Event => self.of_events(|i| of(&span.events[i].attributes)),
            Scope::Link => self.of_links(|i| of(&span.links[i].attributes)),
            Scope::Any => {
                let scopes = [Scope::Span, Scope::Resource, Scope::Event, Scope::Link, Scope::Instrumentation];
                scopes.into_iter().map(|s| self.attribute(s, name)).find(|v| *v != Value::Nil).unwrap_or(Value::Nil)
            }
        }
    }

    fn of_events(&self, get: impl FnMut(usize) -> Value<'a>) -> Value<'a> {
        first(self.event, self.span().events.len(), get)
    }

    fn of_links(&self, get: impl FnMut(usize) -> Value<'a>) -> Value<'a> {
        first(self.link, self.span().links.len(), get)
    }

    fn intrinsic(&self, intrinsic: Intrinsic) -> Value<'a> {
        let span = self.span();
        let text = |s: &'a str| Value::String(Cow::Borrowed(s));
        let owned = |s: String| Value::String(Cow::Owned(s));
        let nested = || self.facts.nested()[self.index];
        match intrinsic {
            Intrinsic::Duration => Value::Duration(span.duration.max(0)),
            Intrinsic::Name => text(&span.name),
            Intrinsic::Status => Value::Status(span.status_code),
            Intrinsic::StatusMessage => text(&span.status_message),
            Intrinsic::Kind => Value::Kind(span.kind),
            Intrinsic::Parent => Value::Nil,
            Intrinsic::RootName => text(self.facts.root_name),
            Intrinsic::RootService => text(self.facts.root_service),
            Intrinsic::TraceDuration => Value::Duration(self.facts.duration()),
            Intrinsic::NestedSetLeft => Value::Int(i64::from(nested().left)),
            Intrinsic::NestedSetRight => Value::Int(i64::from(nested().right)),
            Intrinsic::NestedSetParent => Value::Int(i64::from(nested().parent)),
            Intrinsic::ChildCount => Value::Int(i64::from(nested().child_count)),
            Intrinsic::TraceId => owned(trimmed(self.facts.trace.trace_id.to_hex())),
            Intrinsic::SpanId => owned(span.span_id.to_hex()),
            Intrinsic::ParentId => owned(span.parent_span_id.map_or_else(String::new, SpanId::to_hex)),
            Intrinsic::EventName => self.of_events(|i| text(&span.events[i].name)),
            Intrinsic::EventTimeSinceStart => {
                self.of_events(|i| Value::Duration(span.events[i].time_unix_nano.cast_signed().wrapping_sub(span.start)))
            }
            Intrinsic::LinkTraceId => self.of_links(|i| owned(hex(&span.links[i].trace_id))),
            Intrinsic::LinkSpanId => self.of_links(|i| owned(hex(&span.links[i].span_id))),
            Intrinsic::InstrumentationName => text(&span.scope.name),
            Intrinsic::InstrumentationVersion => text(&span.scope.version),
        }
    }
}

impl<'a> Look<'a> for Subject<'a> {
    fn get(&self, field: &Field) -> Value<'a> {
        match field {
            Field::Attribute { parent: true, .. } => Value::Nil,
            Field::Attribute { scope, name, .. } => self.attribute(*scope, name),
            Field::Intrinsic(intrinsic) => self.intrinsic(*intrinsic),
        }
    }

    fn bounds(&self) -> (Bound, Bound) {
        (self.event, self.link)
    }

    fn bound(self, event: Bound, link: Bound) -> Subject<'a> {
        Subject { event, link, ..self }
    }

    fn counts(&self) -> (usize, usize) {
        let span = self.span();
        (span.events.len(), span.links.len())
    }
}

fn first<'a>(bound: Bound, count: usize, mut get: impl FnMut(usize) -> Value<'a>) -> Value<'a> {
    match bound {
        Bound::To(None) => Value::Nil,
        Bound::To(Some(i)) => get(i),
        Bound::Any => (0..count).map(get).find(|v| *v != Value::Nil).unwrap_or(Value::Nil),
    }
}

/// Trace ids compare and show without leading zeros (contracts/tempo.md 1.2).
pub fn trimmed(hex: String) -> String {
    match hex.trim_start_matches('0') {
        "" => "0".into(),
        rest => rest.to_owned(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
