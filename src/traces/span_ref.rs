//! Spans that borrow their texts, from the bytes of a request or the columns of a block: what stands between either and the
//! columns that are written.

use super::span::{Event, Link, Resource, Scope, Span};
use crate::model::{Attribute, AttributeRef, AttributeValue, SpanId, TraceId, ValueRef};
use std::rc::Rc;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResourceRef<'a> {
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
    pub schema_url: &'a str,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScopeRef<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
    pub schema_url: &'a str,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventRef<'a> {
    pub time_unix_nano: u64,
    pub name: &'a str,
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinkRef<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a str,
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
    pub flags: u32,
}

/// The fields of a [`Span`]; attributes of all kinds are in order of key, equal keys in the order in which they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SpanRef<'a> {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub parent_span_id: Option<SpanId>,
    pub name: &'a str,
    pub kind: i32,
    pub status_code: i32,
    pub status_message: &'a str,
    pub start: i64,
    pub duration: i64,
    pub trace_state: &'a str,
    pub flags: u32,
    pub attributes: Vec<AttributeRef<'a>>,
    pub dropped_attributes_count: u32,
    pub events: Vec<EventRef<'a>>,
    pub dropped_events_count: u32,
    pub links: Vec<LinkRef<'a>>,
    pub dropped_links_count: u32,
    pub resource: Rc<ResourceRef<'a>>,
    pub scope: Rc<ScopeRef<'a>>,
}

impl ResourceRef<'_> {
    /// As [`Resource::service_name`].
    pub fn service_name(&self) -> Option<&str> {
        let key = super::schema::SERVICE_NAME_KEY;
        let first = self.attributes.partition_point(|a| a.key < key);
        match self.attributes.get(first).filter(|a| a.key == key)?.value {
            ValueRef::String(name) => Some(name),
            ValueRef::Nested(ref value) => match &**value {
                AttributeValue::String(name) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'a> SpanRef<'a> {
    /// Those of the span itself, of its events and of its links.
    pub fn attributes_of_all(&self) -> impl Iterator<Item = &AttributeRef<'a>> {
        let events = self.events.iter().flat_map(|e| &e.attributes);
        let links = self.links.iter().flat_map(|l| &l.attributes);
        self.attributes.iter().chain(events).chain(links)
    }
}

fn borrowed(attributes: &[Attribute]) -> Vec<AttributeRef<'_>> {
    attributes.iter().map(AttributeRef::from).collect()
}

impl<'a> From<&'a Resource> for ResourceRef<'a> {
    fn from(resource: &'a Resource) -> ResourceRef<'a> {
        ResourceRef {
            attributes: borrowed(&resource.attributes),
            dropped_attributes_count: resource.dropped_attributes_count,
            schema_url: &resource.schema_url,
        }
    }
}

impl<'a> From<&'a Scope> for ScopeRef<'a> {
    fn from(scope: &'a Scope) -> ScopeRef<'a> {
        ScopeRef {
            name: &scope.name,
            version: &scope.version,
            attributes: borrowed(&scope.attributes),
            dropped_attributes_count: scope.dropped_attributes_count,
            schema_url: &scope.schema_url,
        }
    }
}

impl<'a> From<&'a Span> for SpanRef<'a> {
    fn from(span: &'a Span) -> SpanRef<'a> {
        SpanRef {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            name: &span.name,
            kind: span.kind,
            status_code: span.status_code,
            status_message: &span.status_message,
            start: span.start,
            duration: span.duration,
            trace_state: &span.trace_state,
            flags: span.flags,
            attributes: borrowed(&span.attributes),
            dropped_attributes_count: span.dropped_attributes_count,
            events: span.events.iter().map(EventRef::from).collect(),
            dropped_events_count: span.dropped_events_count,
            links: span.links.iter().map(LinkRef::from).collect(),
            dropped_links_count: span.dropped_links_count,
            resource: Rc::new((&*span.resource).into()),
            scope: Rc::new((&*span.scope).into()),
        }
    }
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> EventRef<'a> {
        EventRef {
            time_unix_nano: event.time_unix_nano,
            name: &event.name,
            attributes: borrowed(&event.attributes),
            dropped_attributes_count: event.dropped_attributes_count,
        }
    }
}

impl<'a> From<&'a Link> for LinkRef<'a> {
    fn from(link: &'a Link) -> LinkRef<'a> {
        LinkRef {
            trace_id: &link.trace_id,
            span_id: &link.span_id,
            trace_state: &link.trace_state,
            attributes: borrowed(&link.attributes),
            dropped_attributes_count: link.dropped_attributes_count,
            flags: link.flags,
        }
    }
}

impl From<EventRef<'_>> for Event {
    fn from(event: EventRef<'_>) -> Event {
        Event {
            time_unix_nano: event.time_unix_nano,
            name: event.name.to_owned(),
            attributes: event.attributes.into_iter().map(Attribute::from).collect(),
            dropped_attributes_count: event.dropped_attributes_count,
        }
    }
}

impl From<LinkRef<'_>> for Link {
    fn from(link: LinkRef<'_>) -> Link {
        Link {
            trace_id: link.trace_id.to_vec(),
            span_id: link.span_id.to_vec(),
            trace_state: link.trace_state.to_owned(),
            attributes: link.attributes.into_iter().map(Attribute::from).collect(),
            dropped_attributes_count: link.dropped_attributes_count,
            flags: link.flags,
        }
    }
}

/// What the tree of a trace depends on.
pub trait Node {
    fn trace_id(&self) -> TraceId;
    fn span_id(&self) -> SpanId;
    fn parent_span_id(&self) -> Option<SpanId>;
    fn kind(&self) -> i32;
    fn start(&self) -> i64;
    fn duration(&self) -> i64;
    fn status_code(&self) -> i32;
    fn name(&self) -> &str;
    fn service_name(&self) -> Option<&str>;
    fn attached(&self) -> (usize, usize);

    /// The end for comparisons: never before the start.
    fn end(&self) -> i64 {
        self.start().saturating_add(self.duration().max(0))
    }
}

/// For what has the fields of a span; `service` is how the name of its service is found.
macro_rules! node {
    ($type:ty, $self:ident => $service:expr) => {
        impl Node for $type {
            fn trace_id(&self) -> TraceId {
                self.trace_id
            }
            fn span_id(&self) -> SpanId {
                self.span_id
            }
            fn parent_span_id(&self) -> Option<SpanId> {
                self.parent_span_id
            }
            fn kind(&self) -> i32 {
                self.kind
            }
            fn start(&self) -> i64 {
                self.start
            }
            fn duration(&self) -> i64 {
                self.duration
            }
            fn status_code(&self) -> i32 {
                self.status_code
            }
            fn name(&self) -> &str {
                &self.name
            }
            fn service_name(&$self) -> Option<&str> {
                $service
            }
            fn attached(&self) -> (usize, usize) {
                (self.events.len(), self.links.len())
            }
        }
    };
}
pub(super) use node;
node!(Span, self => self.resource.service_name());
node!(SpanRef<'_>, self => self.resource.service_name());
