//! What Prometheus tells of itself, and lists that are empty here (contracts/prometheus.md 1.6 to 1.8, 1.11).

use super::Api;
use super::error::ApiError;
use super::json::success;
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::{BinaryOp, Interval};
use crate::web::{Params, json_response};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{any, get};
use http::StatusCode;
use std::collections::{BTreeMap, HashMap};

/// The release whose behaviour this is (decisions 26).
const VERSION: &str = "3.14.0";

/// Lists that nothing fills here.
const EMPTY: [(&str, &str); 7] = [
    ("/api/v1/alertmanagers", r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#),
    ("/api/v1/status/tsdb/blocks", r#"{"blocks":[]}"#),
    ("/api/v1/status/config", r#"{"yaml":""}"#),
    ("/api/v1/status/flags", "{}"),
    ("/api/v1/status/walreplay", r#"{"min":0,"max":0,"current":0}"#),
    ("/api/v1/notifications", "[]"),
    ("/api/v1/status/self_metrics", "[]"),
];

/// Paths of Prometheus and Mimir that are not served yet.
const UNSERVED: [&str; 5] = [
    "/api/v1/search/{what}",
    "/api/v1/admin/tsdb/{what}",
    "/api/v1/cardinality/{what}",
    "/api/v1/scrape_pools/config",
    "/api/v1/targets/relabel_steps",
];

pub fn routes() -> Router<Api> {
    let mut router = Router::new()
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/api/v1/features", get(features))
        .route("/api/v1/rules", get(|| no_rules("groups")))
        .route("/api/v1/alerts", get(|| no_rules("alerts")));
    for (path, data) in EMPTY {
        router = router.route(path, get(move || async move { success(data, &[], &[]) }));
    }
    for path in UNSERVED {
        router = router.route(path, any(unserved));
    }
    router
}

async fn unserved(uri: axum::extract::OriginalUri) -> Response {
    ApiError::NotFound(format!("{} is not supported", uri.path())).into_response()
}

/// The text that both rulers' clients take for an empty list (decisions 25).
async fn no_rules(list: &'static str) -> Response {
    let body = format!(r#"{{"status":"success","data":{{"{list}":[]}},"errorType":"","error":""}}"#);
    json_response(StatusCode::OK, body)
}

async fn build_info() -> Response {
    let data = serde_json::json!({
        "version": VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "monocle",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    success(&data.to_string(), &[], &[])
}

async fn runtime_info(State(api): State<Api>) -> Response {
    let now = crate::model::time::format_rfc3339(api.clock.now());
    let retention = api.door.store().spec().config().retention;
    let retention = retention
        .map_or_else(String::new, |r| crate::model::time::format_prometheus_duration(i64::try_from(r.as_nanos()).unwrap_or(i64::MAX)));
    let data = serde_json::json!({
        "startTime": now,
        "CWD": "",
        "hostname": "",
        "serverTime": now,
        "reloadConfigSuccess": true,
        "lastConfigTime": now,
        "corruptionCount": 0,
        "goroutineCount": 0,
        "GOMAXPROCS": 0,
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention,
    });
    success(&data.to_string(), &[], &[])
}

async fn tsdb(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let limit = match params.non_empty("limit") {
            None => 10,
            Some(text) => match text.parse::<usize>() {
                Ok(limit) if limit > 10_000 => return Err(ApiError::BadData("limit must not exceed 10000".to_owned())),
                Ok(limit) if limit > 0 => limit,
                _ => return Err(ApiError::BadData("limit must be a positive number".to_owned())),
            },
        };
        let data = api.read(&params, None, move |querier| {
            let mut counts = Cardinality::default();
            querier.series(&[], Interval::ALL, |labels, _| counts.add(labels))?;
            Ok(counts.json(limit))
        });
        Ok(success(&data.await?.to_string(), &[], &[]))
    };
    api.answer(work).await
}

#[derive(Default)]
struct Cardinality {
    seen: std::collections::HashSet<i64>,
    by_metric: HashMap<String, u64>,
    by_pair: HashMap<(String, String), u64>,
}

impl Cardinality {
    fn add(&mut self, labels: &crate::model::Labels) {
        if !self.seen.insert(labels.stable_id()) {
            return;
        }
        *self.by_metric.entry(labels.value(METRIC_NAME).to_owned()).or_default() += 1;
        for (name, value) in labels.iter() {
            *self.by_pair.entry((name.to_owned(), value.to_owned())).or_default() += 1;
        }
    }

    fn json(self, limit: usize) -> serde_json::Value {
        let mut values: HashMap<&str, (u64, u64)> = HashMap::new();
        for (name, value) in self.by_pair.keys() {
            let entry = values.entry(name).or_default();
            entry.0 += 1;
            entry.1 += (name.len() + value.len()) as u64;
        }
        let top = |items: Vec<(String, u64)>| {
            let mut items = items;
            items.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            items.truncate(limit);
            items.into_iter().map(|(name, value)| serde_json::json!({ "name": name, "value": value })).collect::<Vec<_>>()
        };
        serde_json::json!({
            "headStats": {
                "numSeries": self.seen.len(),
                "numLabelPairs": self.by_pair.len(),
                "chunkCount": self.seen.len(),
                "minTime": 0,
                "maxTime": 0,
            },
            "seriesCountByMetricName": top(self.by_metric.into_iter().collect()),
            "labelValueCountByLabelName": top(values.iter().map(|(n, v)| ((*n).to_owned(), v.0)).collect()),
            "memoryInBytesByLabelName": top(values.iter().map(|(n, v)| ((*n).to_owned(), v.1)).collect()),
            "seriesCountByLabelValuePair": top(self.by_pair.iter().map(|((n, v), c)| (format!("{n}={v}"), *c)).collect()),
        })
    }
}

async fn features() -> Response {
    let on = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), true)).collect::<BTreeMap<String, bool>>();
    let functions: Vec<&str> = crate::metrics::promql::FUNCTIONS.iter().map(|f| f.name).collect();
    let operators: Vec<&str> = BinaryOp::ALL.iter().map(|op| op.as_str()).collect();
    let data = serde_json::json!({
        "api": on(&["remote_write_receiver", "otlp_write_receiver", "label_values_match", "query_warnings", "query_stats", "time_range_series", "time_range_labels"]),
        "promql": on(&["at_modifier", "negative_offset", "per_query_lookback_delta", "subqueries", "duration_expr", "fill", "fill_left", "fill_right"]),
        "promql_functions": on(&functions),
        "promql_operators": on(&operators),
        "otlp_receiver": {},
        "prometheus": {},
        "rules": {},
        "scrape": {},
        "tsdb": {},
        "ui": {},
        "templating_functions": {},
    });
    success(&data.to_string(), &[], &[])
}
