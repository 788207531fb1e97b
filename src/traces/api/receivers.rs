//! Doors for senders that do not speak OTLP: Zipkin (9411) and Jaeger (14268, 14250); contracts/tempo.md 3.

use super::Api;
use crate::ingest::{Encoding, Outcome};
use crate::model::{Failure, FailureKind};
use crate::traces::otlp::Kind;
use crate::web::{OtlpRequest, http_status, read_body, text_response};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::{HeaderMap, StatusCode, header};

/// Zipkin over HTTP, Jaeger over HTTP and gRPC.
pub fn receiver_routes(api: Api) -> Router {
    Router::new()
        .route("/api/v2/spans", post(zipkin))
        .route("/api/traces", post(jaeger))
        .route("/jaeger.api_v2.CollectorService/PostSpans", post(jaeger_grpc))
        .with_state(api)
}

fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    text.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

async fn store(api: &Api, request: Request, kind: Kind) -> Result<Outcome, Failure> {
    let (parts, body) = request.into_parts();
    let tenant = api.tenancy.tenant(&parts.headers)?;
    let encoding = parts.headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    let encoding = Encoding::parse(encoding)?;
    let body = read_body(body, api.door.limits().wire_max_bytes).await?;
    api.accept(tenant, kind, encoding, body).await
}

/// 202 without a body. These protocols cannot say that a part was refused; if all of it was, it is a bad request.
fn accepted(stored: Result<Outcome, Failure>, describe: impl Fn(&Failure) -> String) -> Response {
    let stored = stored.and_then(|outcome| {
        if outcome.accepted == 0 && !outcome.refusals.is_empty() { Err(Failure::invalid(outcome.refusals.message())) } else { Ok(outcome) }
    });
    match stored {
        Ok(_) => text_response(StatusCode::ACCEPTED, ""),
        Err(failure) => {
            let mut response = text_response(http_status(failure.kind), describe(&failure));
            if let Some(delay) = failure.retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, delay.as_secs().max(1).into());
            }
            response
        }
    }
}

async fn zipkin(State(api): State<Api>, request: Request) -> Response {
    let kind = match media_type(request.headers()).as_str() {
        "application/x-protobuf" | "application/protobuf" => Kind::ZipkinProtobuf,
        _ => Kind::ZipkinJson,
    };
    accepted(store(&api, request, kind).await, |failure| failure.message.clone())
}

async fn jaeger(State(api): State<Api>, request: Request) -> Response {
    let media = media_type(request.headers());
    if !matches!(media.as_str(), "application/x-thrift" | "application/vnd.apache.thrift.binary") {
        return text_response(StatusCode::BAD_REQUEST, format!("Unsupported content type: {media}"));
    }
    accepted(store(&api, request, Kind::JaegerThrift).await, |failure| match failure.kind {
        FailureKind::Internal => format!("Cannot submit Jaeger batch: {failure}"),
        _ => failure.message.clone(),
    })
}

/// `PostSpans`, whose answer is an empty message, as that of an export is.
async fn jaeger_grpc(State(api): State<Api>, request: Request) -> Response {
    let request = match OtlpRequest::read(request, api.door.limits().wire_max_bytes).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let respond = request.responder();
    let stored = async {
        let tenant = api.tenancy.tenant(&request.headers)?;
        let encoding = Encoding::parse(request.encoding.as_deref())?;
        let outcome = api.accept(tenant, Kind::JaegerProtobuf, encoding, request.body).await?;
        if outcome.accepted == 0 && !outcome.refusals.is_empty() {
            return Err(Failure::invalid(outcome.refusals.message()));
        }
        Ok(None)
    };
    respond(stored.await)
}
