//! Remote write over HTTP (contracts/prometheus.md 2.1 to 2.3).

use super::Api;
use crate::ingest::Outcome;
use crate::metrics::remote_write::Written;
use crate::model::{Failure, FailureKind};
use crate::web::{http_status, read_body, text_response};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

const MEDIA_TYPE: &str = "application/x-protobuf";

/// The message that the content type names; absent means 1.0.
fn version(content_type: &str) -> Result<Version, Failure> {
    let unsupported = |message: String| Failure::new(FailureKind::UnsupportedMedia, message);
    let mut parts = content_type.split(';').map(str::trim);
    let media = parts.next().unwrap_or("");
    if media.is_empty() {
        return Ok(Version::One);
    }
    if !media.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Err(unsupported(format!("expected {MEDIA_TYPE} as the first (media) part, got {content_type} content-type")));
    }
    let mut version = Version::One;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        if name.trim().eq_ignore_ascii_case("proto") {
            version = match value.trim().trim_matches('"') {
                "prometheus.WriteRequest" => Version::One,
                "io.prometheus.write.v2.Request" => Version::Two,
                other => return Err(unsupported(format!("got unsupported proto {other} in the content type"))),
            };
        }
    }
    Ok(version)
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("").trim()
}

/// Before the body is read: it is a snappy block whether the header says so or says nothing.
fn check_encoding(headers: &HeaderMap) -> Result<(), Failure> {
    match text(headers, header::CONTENT_ENCODING) {
        "" => Ok(()),
        name if name.eq_ignore_ascii_case("snappy") => Ok(()),
        other => Err(Failure::new(
            FailureKind::UnsupportedMedia,
            format!("{other} encoding (compression) is not accepted by this server; only snappy is acceptable"),
        )),
    }
}

pub async fn write(State(api): State<Api>, request: Request) -> Response {
    let version = match version(text(request.headers(), header::CONTENT_TYPE)) {
        Ok(version) => version,
        Err(failure) => return failed(&failure),
    };
    let (outcome, written) = accept(&api, request, version).await;
    let mut response = match outcome {
        Ok(outcome) if outcome.refusals.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(outcome) => text_response(StatusCode::BAD_REQUEST, refused(&outcome)),
        Err(failure) => failed(&failure),
    };
    if version == Version::Two {
        let counts = [("samples", written.samples), ("histograms", written.histograms), ("exemplars", written.exemplars)];
        for (kind, count) in counts {
            let name = HeaderName::try_from(format!("x-prometheus-remote-write-{kind}-written"));
            if let Ok(name) = name {
                response.headers_mut().insert(name, HeaderValue::from(count));
            }
        }
    }
    response
}

async fn accept(api: &Api, request: Request, version: Version) -> (Result<Outcome, Failure>, Written) {
    let (parts, body) = request.into_parts();
    let read = async {
        check_encoding(&parts.headers)?;
        let tenant = api.tenancy.tenant(&parts.headers)?;
        Ok((tenant, read_body(body, api.door.limits().wire_max_bytes).await?))
    };
    match (read.await, version) {
        (Ok((tenant, body)), Version::One) => (api.writer().version_1(tenant, body).await, Written::default()),
        (Ok((tenant, body)), Version::Two) => api.writer().version_2(tenant, body).await,
        (Err(failure), _) => (Err(failure), Written::default()),
    }
}

/// One line a fault; how many there were, if not all are told.
fn refused(outcome: &Outcome) -> String {
    let messages = outcome.refusals.messages();
    let mut text = messages.join("\n");
    text.push('\n');
    let told: u64 = outcome.refusals.reasons().map(|(_, count, _)| count).sum();
    if told > messages.len() as u64 && messages.len() > 1 {
        text.push_str(&format!("{told} items were refused\n"));
    }
    text
}

fn failed(failure: &Failure) -> Response {
    // A Prometheus drops what was answered with 429, unless it was told otherwise.
    let kind = if failure.kind == FailureKind::RateLimited { FailureKind::Unavailable } else { failure.kind };
    let mut response = text_response(http_status(kind), format!("{}\n", failure.message));
    if let Some(delay) = failure.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (given, want) in [
            ("", Some(Version::One)),
            ("application/x-protobuf", Some(Version::One)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(Version::One)),
            ("application/x-protobuf; proto=io.prometheus.write.v2.Request", Some(Version::Two)),
            ("application/x-protobuf;charset=utf-8;proto=io.prometheus.write.v2.Request", Some(Version::Two)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/json", None),
            ("image/png", None),
        ] {
            assert_eq!(version(given).ok(), want, "{given}");
        }
    }
}
