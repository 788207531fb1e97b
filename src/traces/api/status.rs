use crate::web::{json_response, text_response};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// What clients that gate features by Tempo's version are told (decisions 26).
const TEMPO_VERSION: &str = "2.9.0";

pub async fn echo() -> Response {
    text_response(StatusCode::OK, "echo\n")
}

/// gRPC streaming of queries is not offered yet: UNIMPLEMENTED, with what to do about it.
pub async fn no_streaming() -> Response {
    let mut response = Response::new(axum::body::Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("12"));
    headers.insert("grpc-message", HeaderValue::from_static("streaming is not supported: switch it off in the data source"));
    response
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
