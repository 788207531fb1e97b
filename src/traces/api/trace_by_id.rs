//! One trace by its id (contracts/tempo.md 1.3).

use super::error::ApiError;
use super::proto::{Cut, TraceByIdMetrics, TraceByIdResponse, TraceMessage, cut_to_size, message};
use super::subset::{self, Subset};
use super::{Api, ids, json, time};
use crate::query::{Context, QueryError};
use crate::storage::Delete;
use crate::storage::maintenance::DeleteError;
use crate::traces::columns::Projection;
use crate::traces::source::Sources;
use crate::web::{Params, as_partial, json_response, noting};
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use prost::Message;
use std::time::Duration;

fn wants_protobuf(params: &Params) -> bool {
    let accepted = params.headers.get_all(header::ACCEPT).iter();
    accepted.filter_map(|v| v.to_str().ok()).any(|v| v.contains("application/protobuf"))
}

fn protobuf(message: &impl Message) -> Response {
    let mut response = Response::new(message.encode_to_vec().into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    response
}

/// A trace, and whether spans were left out as `q` asked.
type Lookup = dyn FnOnce(&Context, &Sources) -> Result<(TraceMessage, bool), QueryError> + Send;

/// An empty message if there is no such trace.
fn lookup(id: &str, params: &Params, subset: Option<Subset>) -> Result<Box<Lookup>, ApiError> {
    let trace_id = ids::parse_trace_id(id)?;
    let hint = time::lookup_hint(params)?;
    if let Some(mode) = params.non_empty("mode")
        && !matches!(mode, "all" | "ingesters" | "blocks" | "external")
    {
        return Err(ApiError::bad_request(format!("invalid value for mode {mode}")));
    }
    Ok(Box::new(move |ctx, sources| {
        let Some(found) = sources.find(ctx, trace_id, hint)? else { return Ok(Default::default()) };
        let Some(trace) = sources.load(ctx, &[found], &Projection::all())?.into_iter().next() else { return Ok(Default::default()) };
        let (trace, filtered) = match &subset {
            Some(subset) => subset.of(trace)?,
            None => (trace, false),
        };
        Ok((message(&trace.with_unique_ids()), filtered))
    }))
}

pub async fn v1(State(api): State<Api>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let work = lookup(&id, &params, None)?;
    let as_protobuf = wants_protobuf(&params);
    let max = api.door.store().spec().limits().trace_max_bytes;
    let answer = move |(trace, _): (TraceMessage, bool)| {
        if trace.resource_spans.is_empty() {
            return json_response(StatusCode::NOT_FOUND, "");
        }
        if trace.encoded_len() as u64 > max {
            let message = format!("trace exceeds max size (max bytes: {max})");
            return crate::web::text_response(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
        if as_protobuf {
            return protobuf(&trace);
        }
        let batches: Vec<_> = trace.resource_spans.iter().map(json::resource_spans).collect();
        json_response(StatusCode::OK, serde_json::json!({ "batches": batches }).to_string())
    };
    api.query("tempo_trace", &params, work).await.map(answer)
}

pub async fn v2(State(api): State<Api>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let work = lookup(&id, &params, Subset::parse(&params)?)?;
    let as_protobuf = wants_protobuf(&params);
    let limits = *api.door.store().spec().limits();
    let answer = move |(trace, filtered): (TraceMessage, bool)| {
        let inspected = trace.encoded_len() as u64;
        let (trace, cut) = cut_to_size(trace, limits.trace_max_bytes, limits.trace_max_spans);
        let cut = cut.map(|cut| match cut {
            Cut::Bytes => format!("Trace exceeds maximum size of {} bytes, a partial trace is returned", limits.trace_max_bytes),
            Cut::Spans => format!("Trace exceeds maximum size of {} spans, a partial trace is returned", limits.trace_max_spans),
        });
        let messages: Vec<String> = cut.into_iter().chain(filtered.then(|| subset::MESSAGE.to_owned())).collect();
        let (complete, message) = (messages.is_empty(), messages.join("; "));
        if as_protobuf {
            return protobuf(&TraceByIdResponse {
                trace: Some(trace),
                metrics: Some(TraceByIdMetrics { inspected_bytes: inspected }),
                status: i32::from(!complete),
                message,
            });
        }
        let spans = trace.resource_spans.iter().map(json::resource_spans).collect();
        let metrics = json::Object::default().long("inspectedBytes", inspected).build();
        let body = json::Object::default()
            .with("trace", json::Object::default().list("resourceSpans", spans).build())
            .with("metrics", metrics)
            .text("status", if complete { "" } else { "PARTIAL" })
            .text("message", &message);
        json_response(StatusCode::OK, body.build().to_string())
    };
    let (found, notes) = noting(api.query("tempo_trace", &params, work)).await;
    Ok(as_partial(answer(found?), notes).await)
}

/// Removes what is stored of a trace; spans that come later are kept.
pub async fn delete(State(api): State<Api>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let trace_id = ids::parse_trace_id(&id)?;
    let tenant = api.tenancy.tenant(&params.headers)?;
    let store = api.door.store().clone();
    let asked = Delete { selector: trace_id.to_hex(), min_time: i64::MIN, max_time: i64::MAX, cancel_within: Duration::ZERO };
    let done = tokio::task::spawn_blocking(move || store.delete(&tenant, asked)).await;
    match done.map_err(|e| ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, message: e.to_string() })? {
        Ok(_) => Ok(json_response(StatusCode::NO_CONTENT, "")),
        Err(error @ (DeleteError::NotReady | DeleteError::TooMany)) => {
            Err(ApiError { status: StatusCode::SERVICE_UNAVAILABLE, message: error.to_string() })
        }
        Err(error) => Err(ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, message: error.to_string() }),
    }
}
