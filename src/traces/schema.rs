//! The tables of a block of traces (decisions 18, 19). Rows of `spans` are sorted by trace id, start and span id, so that
//! a trace is one run of rows; `traces` has a row a trace that says where its runs begin, in `events` and `links` too.
//!
//! Attributes are columns of their own where that pays (see [`super::columns::Plan`]) and otherwise stand in the rest map
//! of their scope. `service.name` of the resource, when it is a string, is always the column `service_name`.

use crate::storage::TableOptions;
use arrow_schema::{DataType, Field, Fields, TimeUnit};
use parquet_field_id::with_id;
use std::sync::Arc;

pub const SPANS: &str = "spans";
pub const TRACES: &str = "traces";
pub const EVENTS: &str = "events";
pub const LINKS: &str = "links";

pub const SERVICE_NAME_KEY: &str = "service.name";

/// Whose attributes a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeScope {
    Span,
    Resource,
    Instrumentation,
    Event,
    Link,
}

impl AttributeScope {
    /// What column names begin with, before the dot.
    pub const fn prefix(self) -> &'static str {
        match self {
            AttributeScope::Span => "span",
            AttributeScope::Resource => "res",
            AttributeScope::Instrumentation => "scope",
            AttributeScope::Event => "event",
            AttributeScope::Link => "link",
        }
    }

    /// The map of the attributes that have no column.
    pub const fn rest(self) -> &'static str {
        match self {
            AttributeScope::Span => "span_rest",
            AttributeScope::Resource => "res_rest",
            AttributeScope::Instrumentation => "scope_rest",
            AttributeScope::Event => "event_rest",
            AttributeScope::Link => "link_rest",
        }
    }
}

/// The types that can have a column; all others stand in the rest map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ColumnType {
    String,
    Int,
    Double,
    Bool,
}

impl ColumnType {
    pub const ALL: [ColumnType; 4] = [ColumnType::String, ColumnType::Int, ColumnType::Double, ColumnType::Bool];

    pub const fn suffix(self) -> &'static str {
        match self {
            ColumnType::String => "",
            ColumnType::Int => ":int",
            ColumnType::Double => ":double",
            ColumnType::Bool => ":bool",
        }
    }

    pub fn data_type(self) -> DataType {
        match self {
            ColumnType::String => DataType::Utf8,
            ColumnType::Int => DataType::Int64,
            ColumnType::Double => DataType::Float64,
            ColumnType::Bool => DataType::Boolean,
        }
    }

    /// Of texts with a dictionary, too.
    fn of(data_type: &DataType) -> Option<ColumnType> {
        let of_values = match data_type {
            DataType::Dictionary(_, values) => values,
            other => other,
        };
        ColumnType::ALL.into_iter().find(|t| t.data_type() == *of_values)
    }
}

/// `span.http.route`, `res.process.pid:int`.
pub fn column_name(scope: AttributeScope, key: &str, column_type: ColumnType) -> String {
    format!("{}.{key}{}", scope.prefix(), column_type.suffix())
}

/// The key and type of an attribute column of the scope; `None` for any other column.
pub fn parse_column(scope: AttributeScope, field: &Field) -> Option<(&str, ColumnType)> {
    let rest = field.name().strip_prefix(scope.prefix())?.strip_prefix('.')?;
    let column_type = ColumnType::of(field.data_type())?;
    Some((rest.strip_suffix(column_type.suffix())?, column_type))
}

/// Whether a string attribute may have a column: not if its column would have the name of another type's.
pub fn may_have_column(key: &str, column_type: ColumnType) -> bool {
    column_type != ColumnType::String || !ColumnType::ALL[1..].iter().any(|t| key.ends_with(t.suffix()))
}

pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// The entries of a rest map: key, and value as typed JSON.
pub fn rest_entries() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)])
}

fn rest(scope: AttributeScope, id: i32) -> Field {
    let entries = Field::new("entries", DataType::Struct(rest_entries()), false);
    with_id(Field::new(scope.rest(), DataType::Map(Arc::new(entries), false), false), id)
}

fn fixed(id: i32, name: &str, data_type: DataType) -> Field {
    with_id(Field::new(name, data_type, false), id)
}

fn nullable(id: i32, name: &str, data_type: DataType) -> Field {
    with_id(Field::new(name, data_type, true), id)
}

/// The fixed columns of `spans`, in file order; attribute columns follow. Numbers are never used again for another
/// column.
pub fn span_fields() -> Vec<Field> {
    vec![
        fixed(1, "trace_id", DataType::FixedSizeBinary(16)),
        fixed(2, "span_id", DataType::FixedSizeBinary(8)),
        nullable(3, "parent_span_id", DataType::FixedSizeBinary(8)),
        fixed(4, "nested_left", DataType::Int32),
        fixed(5, "nested_right", DataType::Int32),
        fixed(6, "nested_parent", DataType::Int32),
        fixed(7, "child_count", DataType::Int32),
        fixed(8, "name", DataType::Utf8),
        fixed(9, "kind", DataType::Int32),
        fixed(10, "status_code", DataType::Int32),
        fixed(11, "status_message", DataType::Utf8),
        nullable(12, "service_name", DataType::Utf8),
        fixed(13, "start", timestamp()),
        fixed(14, "duration_ns", DataType::Int64),
        fixed(15, "trace_state", DataType::Utf8),
        fixed(16, "flags", DataType::Int64),
        fixed(17, "dropped_attributes_count", DataType::Int64),
        fixed(18, "dropped_events_count", DataType::Int64),
        fixed(19, "dropped_links_count", DataType::Int64),
        fixed(20, "scope_name", DataType::Utf8),
        fixed(21, "scope_version", DataType::Utf8),
        fixed(22, "scope_schema_url", DataType::Utf8),
        fixed(23, "scope_dropped_attributes_count", DataType::Int64),
        fixed(24, "res_schema_url", DataType::Utf8),
        fixed(25, "res_dropped_attributes_count", DataType::Int64),
        rest(AttributeScope::Span, 26),
        rest(AttributeScope::Resource, 27),
        rest(AttributeScope::Instrumentation, 28),
    ]
}

/// Whether the column is computed from the others, and no part of the span.
pub fn is_structural(column: &str) -> bool {
    ["nested_left", "nested_right", "nested_parent", "child_count"].contains(&column)
}

pub fn event_fields() -> Vec<Field> {
    vec![
        fixed(100, "trace_id", DataType::FixedSizeBinary(16)),
        fixed(101, "span_row", DataType::Int64),
        fixed(102, "time", timestamp()),
        fixed(103, "name", DataType::Utf8),
        fixed(104, "dropped_attributes_count", DataType::Int64),
        rest(AttributeScope::Event, 105),
    ]
}

pub fn link_fields() -> Vec<Field> {
    vec![
        fixed(200, "trace_id", DataType::FixedSizeBinary(16)),
        fixed(201, "span_row", DataType::Int64),
        fixed(202, "linked_trace_id", DataType::Binary),
        fixed(203, "linked_span_id", DataType::Binary),
        fixed(204, "trace_state", DataType::Utf8),
        fixed(205, "dropped_attributes_count", DataType::Int64),
        fixed(206, "flags", DataType::Int64),
        rest(AttributeScope::Link, 207),
    ]
}

/// The element of `traces.services`.
pub fn service_fields() -> Fields {
    Fields::from(vec![
        Field::new("service", DataType::Utf8, false),
        Field::new("spans", DataType::Int64, false),
        Field::new("errors", DataType::Int64, false),
    ])
}

pub fn trace_fields() -> Vec<Field> {
    let service = Field::new("element", DataType::Struct(service_fields()), false);
    vec![
        fixed(300, "trace_id", DataType::FixedSizeBinary(16)),
        fixed(301, "start", timestamp()),
        fixed(302, "end", timestamp()),
        nullable(303, "root_service", DataType::Utf8),
        nullable(304, "root_name", DataType::Utf8),
        fixed(305, "services", DataType::List(Arc::new(service))),
        fixed(306, "first_row", DataType::Int64),
        fixed(307, "row_count", DataType::Int64),
        fixed(308, "first_event", DataType::Int64),
        fixed(309, "event_count", DataType::Int64),
        fixed(310, "first_link", DataType::Int64),
        fixed(311, "link_count", DataType::Int64),
    ]
}

/// Rows in a row group of spans: large enough for dictionaries to pay, small enough to hold one in memory.
const SPAN_GROUP_ROWS: usize = 128 << 10;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// `distinct` are columns of texts that hardly repeat.
pub fn span_options(distinct: impl IntoIterator<Item = String>) -> TableOptions {
    TableOptions {
        bloom: distinct.into_iter().collect(),
        sorted_by: vec!["trace_id", "start", "span_id"],
        plain: names(&["span_id", "parent_span_id"]),
        delta: names(&["nested_left", "nested_right", "nested_parent", "start", "duration_ns"]),
        without_statistics: names(&["span_id", "parent_span_id"]),
        row_group_rows: SPAN_GROUP_ROWS,
        ..TableOptions::default()
    }
}

pub fn event_options() -> TableOptions {
    TableOptions {
        sorted_by: vec!["span_row"],
        delta: names(&["span_row", "time"]),
        row_group_rows: SPAN_GROUP_ROWS,
        ..TableOptions::default()
    }
}

pub fn link_options() -> TableOptions {
    TableOptions {
        sorted_by: vec!["span_row"],
        plain: names(&["linked_trace_id", "linked_span_id"]),
        delta: names(&["span_row"]),
        row_group_rows: SPAN_GROUP_ROWS,
        ..TableOptions::default()
    }
}

pub fn trace_options() -> TableOptions {
    TableOptions {
        sorted_by: vec!["trace_id"],
        plain: names(&["trace_id"]),
        delta: names(&["start", "end", "first_row", "first_event", "first_link"]),
        bloom: names(&["trace_id"]),
        row_group_rows: SPAN_GROUP_ROWS,
        ..TableOptions::default()
    }
}

mod parquet_field_id {
    use arrow_schema::Field;

    /// The key by which Arrow hands a column's number to Parquet.
    const KEY: &str = "PARQUET:field_id";

    pub fn with_id(field: Field, id: i32) -> Field {
        field.with_metadata([(KEY.to_owned(), id.to_string())].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_name_tells_its_key_and_type() {
        for (key, column_type) in [("http.route", ColumnType::String), ("a:b", ColumnType::Bool), ("pid", ColumnType::Int)] {
            let name = column_name(AttributeScope::Resource, key, column_type);
            let field = Field::new(&name, column_type.data_type(), true);
            assert_eq!(parse_column(AttributeScope::Resource, &field), Some((key, column_type)));
            assert_eq!(parse_column(AttributeScope::Span, &field), None);
        }
        assert!(!may_have_column("a:int", ColumnType::String) && may_have_column("a:int", ColumnType::Int));
        let rest = &span_fields()[25];
        assert_eq!(parse_column(AttributeScope::Span, rest), None);
    }

    #[test]
    fn numbers_of_fixed_columns_are_unique_and_below_those_the_catalog_gives() {
        let mut ids: Vec<i32> = [span_fields(), event_fields(), link_fields(), trace_fields()]
            .concat()
            .iter()
            .map(|f| f.metadata()["PARQUET:field_id"].parse().unwrap())
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert!(ids.iter().all(|id| (1..1000).contains(id)));
    }
}
