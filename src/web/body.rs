use crate::model::{Failure, FailureKind};
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::{BodyExt, Limited};

/// The whole body of a request, or `TooLarge` as soon as it exceeds `max` bytes.
pub async fn read_body(body: Body, max: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::new(FailureKind::TooLarge, format!("request body is larger than {max} bytes")))
        }
        Err(e) => Err(Failure::invalid(format!("cannot read request body: {e}"))),
    }
}

/// A response with a JSON text that the caller has already written.
pub fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    respond(status, "application/json", body)
}

pub fn text_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = respond(status, "text/plain; charset=utf-8", body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
