//! The files of a metrics block: `samples`, `series`, `hist`, `exemplars` (decisions 18). All are sorted by metric name,
//! labels, and time. Values are signed integers and floats without private codecs, so that any Parquet reader gets
//! `coalesce(value_i64 / value_div, value_f64)`.

use crate::storage::TableOptions;
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

pub const SAMPLES: &str = "samples";
pub const SERIES: &str = "series";
pub const HIST: &str = "hist";
pub const EXEMPLARS: &str = "exemplars";

/// Prefix of the columns of `series` that hold one label each.
pub const LABEL_PREFIX: &str = "label.";
/// A label gets a column of its own when at least one series in this many has it.
pub const DENSE_SHARE: usize = 20;
/// Label columns of a block at most; further labels go to the rest map.
pub const DENSE_MAX: usize = 100;

const FIELD_ID: &str = "PARQUET:field_id";

fn field(name: &str, id: i32, data_type: DataType, nullable: bool) -> Field {
    Field::new(name, data_type, nullable).with_metadata(HashMap::from([(FIELD_ID.to_owned(), id.to_string())]))
}

pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// `samples`; `start_ts` only when some sample has one.
pub fn samples(with_start: bool) -> SchemaRef {
    let mut fields = vec![
        field("series_id", 1, DataType::Int64, false),
        field("ts", 2, timestamp(), false),
        field("value_i64", 3, DataType::Int64, true),
        field("value_div", 4, DataType::Float64, true),
        field("value_f64", 5, DataType::Float64, true),
    ];
    if with_start {
        fields.push(field("start_ts", 6, timestamp(), true));
    }
    Arc::new(Schema::new(fields))
}

pub fn samples_options() -> TableOptions {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    TableOptions {
        delta: names(&["ts", "value_i64", "start_ts"]),
        split: names(&["value_f64"]),
        without_statistics: names(&["value_i64", "value_div", "value_f64"]),
        ..TableOptions::default()
    }
}

/// Keys and values of a map column, with field numbers from `id`.
fn string_map(name: &str, id: i32) -> Field {
    let entries = Fields::from(vec![field("keys", id + 1, DataType::Utf8, false), field("values", id + 2, DataType::Utf8, true)]);
    // The builder of maps makes this field itself, without a number: the catalog hands one out.
    let entry = Field::new("entries", DataType::Struct(entries), false);
    field(name, id, DataType::Map(Arc::new(entry), false), false)
}

/// `series`: one row a series with the rows of `samples` and `hist` that are its own. `created` orders series by their
/// creation: nanoseconds since the epoch.
pub fn series(dense_labels: &[String]) -> SchemaRef {
    let mut fields = vec![
        field("series_id", 20, DataType::Int64, false),
        field("row_start", 21, DataType::Int64, false),
        field("row_count", 22, DataType::Int64, false),
        field("hist_start", 23, DataType::Int64, false),
        field("hist_count", 24, DataType::Int64, false),
        field("created", 34, DataType::Int64, false),
        field("min_ts", 25, timestamp(), false),
        field("max_ts", 26, timestamp(), false),
        field("family", 27, DataType::Utf8, true),
        field("type", 28, DataType::Utf8, true),
        field("unit", 29, DataType::Utf8, true),
        field("help", 30, DataType::Utf8, true),
    ];
    fields.extend(dense_labels.iter().map(|l| Field::new(format!("{LABEL_PREFIX}{l}"), DataType::Utf8, true)));
    fields.push(string_map("labels_rest", 31));
    Arc::new(Schema::new(fields))
}

pub fn series_options() -> TableOptions {
    TableOptions { delta: vec!["created".to_owned()], ..TableOptions::default() }
}

pub fn list_item(id: i32, data_type: DataType) -> FieldRef {
    Arc::new(field("element", id, data_type, false))
}

/// `hist`: one row a native histogram. Buckets are lists of indexes and of absolute counts.
pub fn hist() -> SchemaRef {
    let list = |name: &str, id: i32, data_type: DataType| field(name, id, DataType::List(list_item(id + 1, data_type)), false);
    Arc::new(Schema::new(vec![
        field("series_id", 40, DataType::Int64, false),
        field("ts", 41, timestamp(), false),
        field("start_ts", 42, timestamp(), true),
        field("reset_hint", 43, DataType::Int32, false),
        field("schema", 44, DataType::Int32, false),
        field("zero_threshold", 45, DataType::Float64, false),
        field("zero_count", 46, DataType::Float64, false),
        field("count", 47, DataType::Float64, false),
        field("sum", 48, DataType::Float64, false),
        list("positive_index", 50, DataType::Int32),
        list("positive_count", 52, DataType::Float64),
        list("negative_index", 54, DataType::Int32),
        list("negative_count", 56, DataType::Float64),
        list("custom_values", 58, DataType::Float64),
    ]))
}

pub fn hist_options() -> TableOptions {
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    TableOptions {
        delta: names(&["ts", "start_ts", "positive_index/list/element", "negative_index/list/element"]),
        split: names(&["sum", "count", "positive_count/list/element", "negative_count/list/element"]),
        without_statistics: names(&["sum", "count", "positive_count/list/element", "negative_count/list/element"]),
        ..TableOptions::default()
    }
}

pub fn exemplars() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field("series_id", 70, DataType::Int64, false),
        field("ts", 71, timestamp(), false),
        field("value", 72, DataType::Float64, false),
        field("trace_id", 73, DataType::FixedSizeBinary(16), true),
        field("span_id", 74, DataType::FixedSizeBinary(8), true),
        string_map("labels", 75),
    ]))
}

pub fn exemplars_options() -> TableOptions {
    TableOptions { plain: vec!["trace_id".to_owned(), "span_id".to_owned()], ..TableOptions::default() }
}
