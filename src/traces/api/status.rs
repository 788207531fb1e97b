use crate::web::{json_response, text_response};
use axum::response::Response;
use http::StatusCode;

/// What clients that gate features by Tempo's version are told (decisions 26).
const TEMPO_VERSION: &str = "2.9.0";

pub async fn echo() -> Response {
    text_response(StatusCode::OK, "echo\n")
}

/// What runs, as text (contracts/tempo.md 1.7).
pub async fn version() -> Response {
    text_response(StatusCode::OK, format!("monocle, version {}, as Tempo {TEMPO_VERSION}\n", env!("CARGO_PKG_VERSION")))
}

pub async fn usage_stats() -> Response {
    text_response(StatusCode::OK, "usage-stats is not enabled\n")
}

pub async fn build_info() -> Response {
    let info = serde_json::json!({
        "version": TEMPO_VERSION,
        "revision": "",
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    json_response(StatusCode::OK, info.to_string())
}
