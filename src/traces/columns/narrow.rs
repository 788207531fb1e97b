//! What a projection leaves of spans that are not read from columns.

use super::projection::Projection;
use crate::model::{Attribute, AttributeRef};
use crate::traces::head::Group;
use crate::traces::schema::{AttributeScope, SERVICE_NAME_KEY};
use crate::traces::span::{Event, Link, Resource, Scope, Span};
use crate::traces::span_ref::{EventRef, LinkRef, SpanRef};

fn attributes(projection: &Projection, scope: AttributeScope, attributes: Vec<AttributeRef<'_>>) -> Vec<Attribute> {
    let keys = projection.keys(scope);
    attributes.into_iter().filter(|a| keys.contains(a.key)).map(Attribute::from).collect()
}

impl SpanRef<'_> {
    /// With the fields that are read; the group is that already.
    pub fn projected(self, projection: &Projection, group: Group) -> Span {
        let reads = |column: &str| projection.reads(column);
        let text = |column: &str, text: &str| if reads(column) { text.to_owned() } else { String::new() };
        let count = |column: &str, count: u32| if reads(column) { count } else { 0 };
        Span {
            trace_id: self.trace_id,
            span_id: if reads("span_id") { self.span_id } else { Default::default() },
            parent_span_id: self.parent_span_id.filter(|_| reads("parent_span_id")),
            name: text("name", self.name),
            kind: if reads("kind") { self.kind } else { 0 },
            status_code: if reads("status_code") { self.status_code } else { 0 },
            status_message: text("status_message", self.status_message),
            start: if reads("start") { self.start } else { 0 },
            duration: if reads("duration_ns") { self.duration } else { 0 },
            trace_state: text("trace_state", self.trace_state),
            flags: count("flags", self.flags),
            attributes: attributes(projection, AttributeScope::Span, self.attributes),
            dropped_attributes_count: count("dropped_attributes_count", self.dropped_attributes_count),
            events: if projection.events { self.events.into_iter().map(|e| event(e, projection)).collect() } else { Vec::new() },
            dropped_events_count: count("dropped_events_count", self.dropped_events_count),
            links: if projection.links { self.links.into_iter().map(|l| link(l, projection)).collect() } else { Vec::new() },
            dropped_links_count: count("dropped_links_count", self.dropped_links_count),
            resource: group.resource,
            scope: group.scope,
        }
    }
}

fn event(event: EventRef<'_>, projection: &Projection) -> Event {
    Event {
        time_unix_nano: event.time_unix_nano,
        name: event.name.to_owned(),
        attributes: attributes(projection, AttributeScope::Event, event.attributes),
        dropped_attributes_count: event.dropped_attributes_count,
    }
}

fn link(link: LinkRef<'_>, projection: &Projection) -> Link {
    Link {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        trace_state: link.trace_state.to_owned(),
        attributes: attributes(projection, AttributeScope::Link, link.attributes),
        dropped_attributes_count: link.dropped_attributes_count,
        flags: link.flags,
    }
}

impl Resource {
    /// With the fields that are read.
    pub fn projected(&self, projection: &Projection) -> Resource {
        let keys = projection.keys(AttributeScope::Resource);
        // A service name that is a text has a column of its own.
        let has_own_column = |a: &Attribute| a.key == SERVICE_NAME_KEY && self.service_name().is_some();
        let keeps = |a: &&Attribute| keys.contains(&a.key) || has_own_column(a) && projection.reads("service_name");
        let dropped = if projection.reads("res_dropped_attributes_count") { self.dropped_attributes_count } else { 0 };
        let schema_url = if projection.reads("res_schema_url") { self.schema_url.clone() } else { String::new() };
        Resource { attributes: self.attributes.iter().filter(keeps).cloned().collect(), dropped_attributes_count: dropped, schema_url }
    }
}

impl Scope {
    /// With the fields that are read.
    pub fn projected(&self, projection: &Projection) -> Scope {
        let keys = projection.keys(AttributeScope::Instrumentation);
        let text = |column: &str, text: &str| if projection.reads(column) { text.to_owned() } else { String::new() };
        Scope {
            name: text("scope_name", &self.name),
            version: text("scope_version", &self.version),
            attributes: self.attributes.iter().filter(|a| keys.contains(&a.key)).cloned().collect(),
            dropped_attributes_count: if projection.reads("scope_dropped_attributes_count") { self.dropped_attributes_count } else { 0 },
            schema_url: text("scope_schema_url", &self.schema_url),
        }
    }
}
