//! What Prometheus tells of itself, and lists that are empty here (contracts/prometheus.md 1.6, 1.8, 1.11).

use super::error::ApiError;
use super::json::success;
use super::{Api, features, tsdb};
use crate::model::time::{format_prometheus_duration, format_rfc3339};
use crate::runtime::cores;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{any, get};

/// The release whose behaviour this is (decisions 26).
const VERSION: &str = "3.14.0";

/// The process, as far as clients ask for it.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Nanoseconds since the epoch.
    pub started_at: i64,
    pub hostname: String,
    pub working_directory: String,
    pub memory_bytes: u64,
    /// Whether the admin API is on.
    pub admin: bool,
}

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

/// Paths of Prometheus that are not served.
const UNSERVED: [&str; 3] = ["/api/v1/admin/tsdb/{what}", "/api/v1/scrape_pools/config", "/api/v1/targets/relabel_steps"];

pub fn routes() -> Router<Api> {
    let mut router = Router::new()
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/tsdb", get(tsdb::tsdb))
        .route("/api/v1/features", get(features::features))
        .route("/api/v1/search/{what}", get(search).post(search));
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

async fn search() -> Response {
    ApiError::Unavailable("search API disabled".to_owned()).into_response()
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
    let started = format_rfc3339(api.about.started_at);
    let retention = api.door.store().spec().config().retention;
    let retention = retention.map_or_else(String::new, |r| format_prometheus_duration(i64::try_from(r.as_nanos()).unwrap_or(i64::MAX)));
    let tasks = tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks());
    // What only Go has is told as Go tells it when nothing is set.
    let data = serde_json::json!({
        "startTime": started,
        "CWD": api.about.working_directory,
        "hostname": api.about.hostname,
        "serverTime": format_rfc3339(api.clock.now()),
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "corruptionCount": 0,
        "goroutineCount": tasks,
        "GOMAXPROCS": cores(),
        "GOMEMLIMIT": api.about.memory_bytes,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": retention,
    });
    success(&data.to_string(), &[], &[])
}
