//! `GET /api/search` (contracts/tempo.md 1.4).

use super::error::ApiError;
use super::json::{Object, found_attribute};
use super::legacy::Legacy;
use super::{Api, time};
use crate::traces::find::{Bounds, FoundSet, FoundSpan, FoundTrace, Search, checked};
use crate::traces::traceql::Inspected;
use crate::traces::traceql::eval::trimmed;
use crate::web::{Params, json_response};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Map, Value, json};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 262_144;
const SPANS_DEFAULT: usize = 3;
const SPANS_MAX: usize = 100;

/// TraceQL longer than this is refused.
const QUERY_MAX_BYTES: usize = 128 << 10;

/// What stands for the service of a root that has not come.
const NO_ROOT: &str = "<root span not yet received>";

pub fn check_size(query: &str) -> Result<(), ApiError> {
    if query.len() <= QUERY_MAX_BYTES {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "TraceQL expression exceeds the configured maximum size of {QUERY_MAX_BYTES} bytes, reduce the query expression size or contact your system administrator"
    )))
}

fn limit(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.non_empty("limit") else { return Ok(LIMIT_DEFAULT) };
    match text.parse::<usize>() {
        Ok(limit) if limit > LIMIT_MAX => Err(ApiError::bad_request(format!("limit {limit} exceeds max limit {LIMIT_MAX}"))),
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err(ApiError::bad_request("invalid limit: must be a positive number")),
    }
}

fn spans_per_set(params: &Params) -> Result<usize, ApiError> {
    let Some(text) = params.non_empty("spss") else { return Ok(SPANS_DEFAULT) };
    match text.parse::<usize>() {
        Ok(0) => Ok(SPANS_DEFAULT),
        Ok(spans) if spans > SPANS_MAX => Err(ApiError::bad_request(format!("spans per span set exceeds {SPANS_MAX}. received {spans}"))),
        Ok(spans) => Ok(spans),
        Err(_) => Err(ApiError::bad_request(format!("invalid spss: cannot parse {text:?} as a number"))),
    }
}

pub async fn search(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    found(&api, &params).await.map(answer)
}

/// The traces of a search, newest first.
pub async fn found(api: &Api, params: &Params) -> Result<(Vec<FoundTrace>, Inspected), ApiError> {
    let query = params.non_empty("q");
    if query.is_some() && params.non_empty("tags").is_some() {
        return Err(ApiError::bad_request("invalid request: can't specify tags and q in the same query"));
    }
    let range = time::search_range(params, api.clock.now())?;
    let bounds = Bounds { range, limit: limit(params)?, spans_per_set: spans_per_set(params)? };
    let Some(text) = query else {
        let legacy = Legacy::parse(params)?;
        return api.query("tempo_search", params, move |ctx, sources| legacy.run(ctx, sources, bounds)).await;
    };
    check_size(text)?;
    let query = checked(text).map_err(|e| ApiError::bad_request(format!("invalid TraceQL query: {e}")))?;
    let search = Search::new(&query).ok_or_else(|| ApiError::bad_request("invalid TraceQL query: not a query for spans"))?;
    api.query("tempo_search", params, move |ctx, sources| search.run(ctx, sources, bounds)).await
}

fn answer((found, inspected): (Vec<FoundTrace>, Inspected)) -> Response {
    let traces: Vec<Value> = found.iter().map(trace).collect();
    json_response(StatusCode::OK, json!({ "traces": traces, "metrics": metrics(inspected) }).to_string())
}

/// Only what the plugin's strict decoder knows (contracts/tempo.md 0).
pub fn metrics(inspected: Inspected) -> Value {
    Object::default()
        .number("inspectedTraces", inspected.traces)
        .number("completedJobs", 1)
        .number("totalJobs", 1)
        .long("inspectedSpans", inspected.spans)
        .build()
}

/// Service and name of the root.
pub fn root_of(found: &FoundTrace) -> (&str, &str) {
    found.root.as_ref().map_or((NO_ROOT, ""), |(service, name)| (service, name))
}

fn trace(found: &FoundTrace) -> Value {
    let (service, name) = root_of(found);
    let sets: Vec<Value> = found.sets.iter().map(set).collect();
    let mut out = Object::default()
        .with("traceID", trimmed(found.trace_id.to_hex()))
        .text("rootServiceName", service)
        .text("rootTraceName", name)
        .long("startTimeUnixNano", found.start.cast_unsigned())
        .number("durationMs", u64::try_from(found.duration / crate::model::time::MILLI).unwrap_or(0));
    if let Some(first) = sets.first() {
        out = out.with("spanSet", first.clone());
    }
    let mut services = Map::new();
    for (service, counts) in &found.services {
        let stats = Object::default().number("spanCount", counts.spans).number("errorCount", counts.errors);
        services.insert(service.clone(), stats.build());
    }
    out = out.list("spanSets", sets);
    if services.is_empty() { out.build() } else { out.with("serviceStats", services).build() }
}

fn set(found: &FoundSet) -> Value {
    Object::default()
        .list("spans", found.spans.iter().map(span).collect())
        .number("matched", found.matched as u64)
        .list("attributes", found.attributes.iter().map(|(key, value)| found_attribute(key, value)).collect())
        .build()
}

fn span(found: &FoundSpan) -> Value {
    Object::default()
        .with("spanID", found.span_id.to_hex())
        .text("name", found.name.as_deref().unwrap_or_default())
        .long("startTimeUnixNano", found.start.cast_unsigned())
        .long("durationNanos", found.duration.cast_unsigned())
        .list("attributes", found.attributes.iter().map(|(key, value)| found_attribute(key, value)).collect())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_a_search() {
        let params = |name: &str, value: &str| Params::from_pairs([(name, value)]);
        assert_eq!(limit(&params("limit", "")).unwrap(), LIMIT_DEFAULT);
        assert_eq!(limit(&params("limit", "0")).unwrap_err().message, "invalid limit: must be a positive number");
        assert_eq!(limit(&params("limit", "262145")).unwrap_err().message, "limit 262145 exceeds max limit 262144");
        assert_eq!(spans_per_set(&params("spss", "0")).unwrap(), 3);
        assert_eq!(spans_per_set(&params("spss", "101")).unwrap_err().message, "spans per span set exceeds 100. received 101");
    }

    #[test]
    fn a_trace_without_root_or_duration_omits_both() {
        let found = FoundTrace {
            trace_id: crate::model::TraceId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 1]),
            root: None,
            start: 5,
            duration: 999_999,
            services: Default::default(),
            sets: Vec::new(),
        };
        assert_eq!(trace(&found), json!({ "traceID": "a01", "rootServiceName": NO_ROOT, "startTimeUnixNano": "5" }));
    }
}
