//! Small endpoints, and clear answers where a feature is off (contracts/loki.md 1.13, 1.14).

use super::{Api, answer};
use crate::logs::logql::{parse, pretty};
use crate::web::{Params, json_response, text_response};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{Method, StatusCode};

/// What Loki version clients are told; Grafana gates features on it.
const VERSION: &str = "3.6.0";

pub async fn buildinfo() -> Response {
    let body = serde_json::json!({
        "version": VERSION, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""
    });
    super::json(body.to_string())
}

pub async fn drilldown_limits(State(api): State<Api>) -> Response {
    let config = api.config();
    let compact = |d: std::time::Duration| crate::model::time::format_prometheus_duration(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
    let body = serde_json::json!({
        "limits": {
            "discover_log_levels": true,
            "discover_service_name": config.discover_service_name,
            "log_level_fields": crate::logs::level::LEVEL_NAMES,
            "max_entries_limit_per_query": config.query_entries_max,
            "max_line_size_truncate": false,
            "max_query_bytes_read": "0B",
            "max_query_length": compact(config.query_length_max),
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": config.query_series_max,
            "metric_aggregation_enabled": false,
            "otlp_config": {},
            "pattern_persistence_enabled": false,
            "query_timeout": "1m",
            "retention_period": config.retention.map_or_else(|| "0s".to_owned(), compact),
            "retention_stream": null,
            "volume_enabled": true,
            "volume_max_series": config.volume_series_max,
        },
        "pattern_ingester_enabled": true,
        "version": VERSION,
    });
    json_response(StatusCode::OK, body.to_string())
}

/// The parts that Loki would list: here they are all in one process.
pub async fn services(State(api): State<Api>) -> Response {
    let state = if api.door.store().is_ready() { "Running" } else { "Starting" };
    let line = |name| format!("{name} => {state}\n");
    let names = ["server", "distributor", "ingester", "store", "querier", "query-frontend", "ruler", "compactor"];
    text_response(StatusCode::OK, names.map(line).concat())
}

/// `limits_config` of a Loki that behaves as this one does, as YAML: numbers and plain words need no quotes.
fn limits(api: &Api, indent: &str) -> String {
    let config = api.config();
    let compact = |d: std::time::Duration| crate::model::time::format_prometheus_duration(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX));
    let values = [
        ("max_label_names_per_series", config.labels_max.to_string()),
        ("max_line_size", format!("{}B", config.line_max_bytes)),
        ("creation_grace_period", compact(config.future_max)),
        ("reject_old_samples", "false".to_owned()),
        ("unordered_writes", "true".to_owned()),
        ("allow_structured_metadata", "true".to_owned()),
        ("max_entries_limit_per_query", config.query_entries_max.to_string()),
        ("max_query_series", config.query_series_max.to_string()),
        ("max_query_length", compact(config.query_length_max)),
        ("max_concurrent_tail_requests", config.tails_max.to_string()),
        ("volume_enabled", "true".to_owned()),
        ("volume_max_series", config.volume_series_max.to_string()),
        ("retention_period", config.retention.map_or_else(|| "0s".to_owned(), compact)),
    ];
    values.iter().map(|(name, value)| format!("{indent}{name}: {value}\n")).collect()
}

pub async fn config(State(api): State<Api>) -> Response {
    let auth = matches!(api.tenancy, crate::web::Tenancy::Header);
    text_response(StatusCode::OK, format!("target: all\nauth_enabled: {auth}\nlimits_config:\n{}", limits(&api, "  ")))
}

pub async fn tenant_limits(State(api): State<Api>) -> Response {
    text_response(StatusCode::OK, limits(&api, ""))
}

/// Pages about the members of a cluster, for scripts that look whether they are there: there is one member.
pub fn rings() -> Router<Api> {
    let pages = ["/ring", "/distributor/ring", "/ingester/ring", "/ruler/ring", "/compactor/ring", "/memberlist"];
    let page = || async { text_response(StatusCode::OK, "one process, no ring\n") };
    pages.into_iter().fold(Router::new(), |router, path| router.route(path, get(page)))
}

/// The level is a knob and stays as it was at the start: to be read, not to be set.
pub async fn log_level(method: Method) -> Response {
    if method == Method::POST {
        return text_response(StatusCode::BAD_REQUEST, "the log level is set at the start: --log\n");
    }
    let level = tracing::level_filters::LevelFilter::current();
    json_response(StatusCode::OK, serde_json::json!({ "message": format!("Current log level is {level}") }).to_string())
}

/// What was acknowledged is durable already; blocks are cut by `/-/flush`, which operators may use.
pub async fn flush() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// There are no rule groups, and none can be made.
pub async fn rules(method: Method) -> Response {
    if method == Method::GET {
        text_response(StatusCode::NOT_FOUND, "no rule groups found\n")
    } else {
        text_response(StatusCode::INTERNAL_SERVER_ERROR, "SetRuleGroup unsupported in rule local store\n")
    }
}

pub async fn format_query(params: Params) -> Response {
    let mut out = String::new();
    match parse(params.get("query").unwrap_or("")) {
        Ok(expr) => {
            out.push_str(r#"{"status":"success","data":"#);
            answer::push_string(&mut out, &pretty(&expr));
            out.push_str("}\n");
            super::json(out)
        }
        Err(error) => {
            out.push_str(r#"{"status":"invalid-query","error":"#);
            answer::push_string(&mut out, &error.to_string());
            out.push_str("}\n");
            json_response(StatusCode::BAD_REQUEST, out)
        }
    }
}
