//! The columns of the tables. Names are those of the files where there is one.

use crate::query::sql::{ColumnType, Family, TableSpec};

pub const SPAN_ATTRIBUTES: Family = Family { map: "attributes", prefix: "span.", is_typed: true };
pub const RESOURCE_ATTRIBUTES: Family = Family { map: "resource", prefix: "res.", is_typed: true };
pub const SCOPE_ATTRIBUTES: Family = Family { map: "scope_attributes", prefix: "scope.", is_typed: true };
pub const EVENT_ATTRIBUTES: Family = Family { map: "attributes", prefix: "event.", is_typed: true };
pub const LINK_ATTRIBUTES: Family = Family { map: "attributes", prefix: "link.", is_typed: true };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Spans,
    Events,
    Links,
    Traces,
}

impl Kind {
    pub fn of(table: &str) -> Option<Kind> {
        let kinds = [Kind::Spans, Kind::Events, Kind::Links, Kind::Traces];
        SPECS.iter().zip(kinds).find(|(spec, _)| spec.name == table).map(|(_, kind)| kind)
    }
}

/// In the order of [`Kind`].
pub const SPECS: &[TableSpec] = &[
    TableSpec {
        name: "spans",
        columns: &[
            ("trace_id", ColumnType::Text),
            ("span_id", ColumnType::Text),
            ("parent_span_id", ColumnType::Text),
            ("service_name", ColumnType::Text),
            ("name", ColumnType::Text),
            ("kind", ColumnType::Text),
            ("status", ColumnType::Text),
            ("status_message", ColumnType::Text),
            ("start", ColumnType::Time),
            ("duration_ns", ColumnType::Int),
            ("trace_state", ColumnType::Text),
            ("flags", ColumnType::Int),
            ("dropped_attributes_count", ColumnType::Int),
            ("dropped_events_count", ColumnType::Int),
            ("dropped_links_count", ColumnType::Int),
            ("scope_name", ColumnType::Text),
            ("scope_version", ColumnType::Text),
            ("attributes", ColumnType::Map),
            ("resource", ColumnType::Map),
            ("scope_attributes", ColumnType::Map),
        ],
        time: "start",
        families: &[SPAN_ATTRIBUTES, RESOURCE_ATTRIBUTES, SCOPE_ATTRIBUTES],
    },
    TableSpec {
        name: "events",
        columns: &[
            ("trace_id", ColumnType::Text),
            ("span_id", ColumnType::Text),
            ("service_name", ColumnType::Text),
            ("span_name", ColumnType::Text),
            ("time", ColumnType::Time),
            ("name", ColumnType::Text),
            ("dropped_attributes_count", ColumnType::Int),
            ("attributes", ColumnType::Map),
        ],
        time: "time",
        families: &[EVENT_ATTRIBUTES],
    },
    TableSpec {
        name: "links",
        columns: &[
            ("trace_id", ColumnType::Text),
            ("span_id", ColumnType::Text),
            ("service_name", ColumnType::Text),
            ("span_name", ColumnType::Text),
            ("start", ColumnType::Time),
            ("linked_trace_id", ColumnType::Text),
            ("linked_span_id", ColumnType::Text),
            ("trace_state", ColumnType::Text),
            ("flags", ColumnType::Int),
            ("dropped_attributes_count", ColumnType::Int),
            ("attributes", ColumnType::Map),
        ],
        time: "start",
        families: &[LINK_ATTRIBUTES],
    },
    TableSpec {
        name: "traces",
        columns: &[
            ("trace_id", ColumnType::Text),
            ("root_service", ColumnType::Text),
            ("root_name", ColumnType::Text),
            ("start", ColumnType::Time),
            ("duration_ns", ColumnType::Int),
            ("spans", ColumnType::Int),
            ("errors", ColumnType::Int),
            ("services", ColumnType::Int),
        ],
        time: "start",
        families: &[],
    },
];
