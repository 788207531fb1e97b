//! Writes in Loki's own protocols (contracts/loki.md 2.1, 2.5).

use super::Api;
use crate::ingest::{Encoding, Outcome, Plain};
use crate::logs::push::NO_STREAMS;
use crate::logs::spec::FrameKind;
use crate::model::{Failure, FailureKind, Reason};
use crate::storage::{Refusals, Rows as _};
use crate::web::{Export, OtlpFormat, Tap, http_status, read_body, rpc_status, text_response};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

/// The messages of what was refused: equal kinds are counted.
fn refused(refusals: &Refusals) -> String {
    let message = |(_, count, first): (&'static str, u64, &str)| {
        if count > 1 { format!("{count} errors like: {first}") } else { first.to_owned() }
    };
    refusals.reasons().map(message).collect::<Vec<_>>().join("; ")
}

/// Clients send again what was answered with 429, so it must not be said of what is stored.
fn status_of_refused(outcome: &Outcome) -> StatusCode {
    let may_succeed_later = outcome.accepted == 0 && !outcome.refusals.are_other_than(Reason::TooManyStreams);
    if may_succeed_later { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::BAD_REQUEST }
}

fn status_of(failure: &Failure) -> StatusCode {
    if failure.message == NO_STREAMS { StatusCode::UNPROCESSABLE_ENTITY } else { http_status(failure.kind) }
}

pub async fn push(State(api): State<Api>, request: Request) -> Response {
    push_as(&api, request, FrameKind::PushJson).await
}

/// `/api/prom/push`, where JSON has another form.
pub async fn legacy_push(State(api): State<Api>, request: Request) -> Response {
    push_as(&api, request, FrameKind::PushLegacyJson).await
}

async fn push_as(api: &Api, request: Request, json: FrameKind) -> Response {
    match accept_push(api, request, json).await {
        Ok(outcome) if outcome.refusals.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(outcome) => text_response(status_of_refused(&outcome), format!("{}\n", refused(&outcome.refusals))),
        Err(failure) => {
            let mut response = text_response(status_of(&failure), format!("{}\n", failure.message));
            if let Some(delay) = failure.retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
            }
            response
        }
    }
}

async fn accept_push(api: &Api, request: Request, json: FrameKind) -> Result<Outcome, Failure> {
    let (parts, body) = request.into_parts();
    let tenant = api.tenancy.tenant(&parts.headers)?;
    let media = text(&parts.headers, "content-type").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if !media.contains('/') {
        return Err(Failure::invalid("mime: no media type"));
    }
    let kind = if media == "application/json" { json } else { FrameKind::PushProtobuf };
    let encoding = match text(&parts.headers, "content-encoding") {
        // The snappy block is part of the protobuf form, not a content encoding.
        "snappy" if kind == FrameKind::PushProtobuf => Encoding::Identity,
        name => Encoding::parse(Some(name)).map_err(|_| Failure::invalid(format!("Content-Encoding {name:?} not supported")))?,
    };
    let body = read_body(body, api.door.limits().wire_max_bytes).await?;
    let translator = api.door.store().spec().translator().clone();
    let translate = move |body: Plain<'_>, received_at: i64| translator.live(kind, body, received_at);
    api.door.accept(tenant, kind as u8, encoding, body, translate).await
}

const NO_RECORDS: &str = "error at least one valid stream is required for ingestion";

/// A failure's body is a `google.rpc.Status`, of which Loki sets the message only.
pub async fn otlp(State(api): State<Api>, request: Request) -> Response {
    let failed = |status: StatusCode, message: String| {
        let mut response = Response::new(Body::from(rpc_status(message)));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        response
    };
    match accept_otlp(&api, request).await {
        Ok(outcome) if outcome.refusals.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(outcome) => failed(status_of_refused(&outcome), refused(&outcome.refusals)),
        // Collectors retry 503 and drop what was answered with 500.
        Err(failure) if failure.kind == FailureKind::Internal => failed(StatusCode::SERVICE_UNAVAILABLE, failure.message),
        Err(failure) => failed(status_of(&failure), failure.message),
    }
}

async fn accept_otlp(api: &Api, request: Request) -> Result<Outcome, Failure> {
    let (parts, body) = request.into_parts();
    let tenant = api.tenancy.tenant(&parts.headers)?;
    let (kind, format) = match text(&parts.headers, "content-type") {
        "application/x-protobuf" => (FrameKind::OtlpProtobuf, OtlpFormat::Protobuf),
        "application/json" => (FrameKind::OtlpJson, OtlpFormat::Json),
        other => return Err(Failure::invalid(format!("content type: {other} is not supported"))),
    };
    let encoding = match text(&parts.headers, "content-encoding") {
        name @ ("" | "gzip" | "zstd" | "deflate") => Encoding::parse(Some(name))?,
        "lz4" => Encoding::Lz4,
        other => {
            return Err(Failure::invalid(format!("unsupported content encoding {other}: only gzip, lz4 and zstd are supported")));
        }
    };
    let body = read_body(body, api.door.limits().wire_max_bytes).await?;
    let name = Some(text(&parts.headers, "content-encoding").to_owned()).filter(|name| !name.is_empty());
    let export = Export { format, encoding: name, via: parts.headers.get(header::VIA).cloned(), body: body.clone() };
    let translator = api.door.store().spec().translator().clone();
    let translate = move |body: Plain<'_>, received_at: i64| {
        let (rows, refusals) = translator.live(kind, body, received_at)?;
        if rows.is_empty() && refusals.is_empty() {
            return Err(Failure::invalid(NO_RECORDS));
        }
        Ok((rows, refusals))
    };
    let outcome = api.door.accept(tenant, kind as u8, encoding, body, translate).await?;
    if let Some(tap) = Tap::of(&parts.extensions).filter(|_| outcome.accepted > 0) {
        tap.accepted(export);
    }
    Ok(outcome)
}
