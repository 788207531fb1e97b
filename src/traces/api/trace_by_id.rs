//! One trace by its id (contracts/tempo.md 1.3).

use super::error::ApiError;
use super::proto::{TraceByIdMetrics, TraceByIdResponse, TraceMessage, cut_to_size, message};
use super::subset::{self, Subset};
use super::{Api, ids, json, time};
use crate::query::{Context, QueryError};
use crate::traces::columns::Projection;
use crate::traces::source::Sources;
use crate::web::{Params, json_response};
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use prost::Message;

/// Larger traces are refused by v1 and cut by v2.
const TRACE_MAX_BYTES: usize = 5_000_000;

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
    let answer = move |(trace, _): (TraceMessage, bool)| {
        if trace.resource_spans.is_empty() {
            return json_response(StatusCode::NOT_FOUND, "");
        }
        if trace.encoded_len() > TRACE_MAX_BYTES {
            let message = format!("trace exceeds max size (max bytes: {TRACE_MAX_BYTES})");
            return crate::web::text_response(StatusCode::UNPROCESSABLE_ENTITY, message);
        }
        if as_protobuf {
            return protobuf(&trace);
        }
        let batches: Vec<_> = trace.resource_spans.iter().map(json::resource_spans).collect();
        json_response(StatusCode::OK, serde_json::json!({ "batches": batches }).to_string())
    };
    api.query("tempo_trace", &params, work, answer).await
}

pub async fn v2(State(api): State<Api>, Path(id): Path<String>, params: Params) -> Result<Response, ApiError> {
    let work = lookup(&id, &params, Subset::parse(&params)?)?;
    let as_protobuf = wants_protobuf(&params);
    let answer = move |(trace, filtered): (TraceMessage, bool)| {
        let inspected = trace.encoded_len() as u64;
        let (trace, complete) = cut_to_size(trace, TRACE_MAX_BYTES);
        let mut messages = Vec::new();
        if !complete {
            messages.push(format!("Trace exceeds maximum size of {TRACE_MAX_BYTES} bytes, a partial trace is returned"));
        }
        if filtered {
            messages.push(subset::MESSAGE.to_owned());
        }
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
    api.query("tempo_trace", &params, work, answer).await
}
