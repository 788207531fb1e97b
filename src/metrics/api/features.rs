//! `features`: what is supported, as clients ask for it by name (contracts/prometheus.md 1.8).

use super::Api;
use super::json::success;
use crate::metrics::promql::{AggregateOp, BinaryOp, FUNCTIONS};
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

const API: [&str; 8] = [
    "remote_write_receiver",
    "otlp_write_receiver",
    "label_values_match",
    "query_warnings",
    "query_stats",
    "time_range_series",
    "time_range_labels",
    "exclude_alerts",
];

const PROMQL: [&str; 21] = [
    "anchored",
    "at_modifier",
    "bool",
    "by",
    "duration_expr",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_right",
    "ignoring",
    "negative_offset",
    "offset",
    "on",
    "per_query_lookback_delta",
    "smoothed",
    "subqueries",
    "without",
    "start",
    "end",
    "step",
];

/// What Prometheus can do, and is not done here.
const NOT_API: [&str; 2] = ["lifecycle", "search"];
const NOT_PROMQL: [&str; 3] = ["per_step_stats", "delayed_name_removal", "type_and_unit_labels"];

fn list<'a>(on: impl IntoIterator<Item = &'a str>, off: &[&str]) -> Map<String, Value> {
    let on = on.into_iter().map(|name| (name.to_owned(), Value::Bool(true)));
    on.chain(off.iter().map(|name| ((*name).to_owned(), Value::Bool(false)))).collect()
}

pub async fn features(State(api): State<Api>) -> Response {
    let mut of_api = list(API, &NOT_API);
    of_api.insert("admin".to_owned(), api.about.admin.into());
    // Matchers and `@` count as operators there.
    let operators = BinaryOp::ALL.iter().map(|op| op.as_str()).chain(AggregateOp::ALL.iter().map(|op| op.as_str()));
    let data = json!({
        "api": of_api,
        "promql": list(PROMQL, &NOT_PROMQL),
        "promql_functions": list(FUNCTIONS.iter().map(|f| f.name), &[]),
        "promql_operators": list(operators.chain(["=~", "!~", "@"]), &[]),
        "otlp_receiver": list(["delta_conversion"], &["native_delta_ingestion"]),
        "prometheus": {},
        "rules": {},
        "scrape": list(["extra_scrape_metrics"], &["type_and_unit_labels"]),
        "tsdb": list(["exemplar_storage", "native_histograms"], &[]),
        "ui": {},
        "templating_functions": {},
    });
    success(&data.to_string(), &[], &[])
}
