//! Deletes of log lines by selector and time (contracts/loki.md 1.15).

use super::answer::{push_seconds, push_string};
use super::{Api, Refused, refusal};
use crate::logs::logql::parse_delete;
use crate::model::time::{self, SECOND};
use crate::storage::block::BlockId;
use crate::storage::maintenance::DeleteError;
use crate::storage::{Delete, Tombstone, TombstoneState};
use crate::web::{Params, Tenancy, json_response, text_response};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode};
use std::time::Duration;

/// Under this the id of a new delete is answered.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-delete-request-id");

/// How Loki calls the one tenant there is when requests name none (contracts/loki.md 1.1).
const ONLY_USER: &str = "fake";

/// Who may not delete is told what Loki says where deletes are off.
pub async fn off() -> Response {
    text_response(StatusCode::BAD_REQUEST, "Retention is not enabled\n")
}

pub async fn create(State(api): State<Api>, params: Params) -> Response {
    let tenant = match api.tenancy.tenant(&params.headers) {
        Ok(tenant) => tenant,
        Err(failure) => return refusal(&Refused::Tenant(failure)),
    };
    let delete = match asked(&params, api.clock.now(), api.config().delete_cancel_within) {
        Ok(delete) => delete,
        Err(message) => return failed(StatusCode::BAD_REQUEST, message),
    };
    let store = api.door.store().clone();
    let done = tokio::task::spawn_blocking(move || store.delete(&tenant, delete)).await;
    match done {
        Ok(Ok(tombstone)) => {
            let mut response = nothing();
            if let Ok(id) = HeaderValue::try_from(tombstone.id.to_string()) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            response
        }
        Ok(Err(error)) => refused(&error),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

pub async fn list(State(api): State<Api>, params: Params) -> Response {
    let tenant = match api.tenancy.tenant(&params.headers) {
        Ok(tenant) => tenant,
        Err(failure) => return refusal(&Refused::Tenant(failure)),
    };
    let store = api.door.store().clone();
    match tokio::task::spawn_blocking(move || store.deletes(&tenant)).await {
        Ok(Ok(deletes)) => json_response(StatusCode::OK, written(&deletes, api.tenancy)),
        Ok(Err(error)) => refused(&error.into()),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

pub async fn cancel(State(api): State<Api>, params: Params) -> Response {
    let tenant = match api.tenancy.tenant(&params.headers) {
        Ok(tenant) => tenant,
        Err(failure) => return refusal(&Refused::Tenant(failure)),
    };
    let Some(id) = BlockId::parse(params.get("request_id").unwrap_or("")) else { return refused(&DeleteError::Unknown) };
    let force = params.get("force") == Some("true");
    let store = api.door.store().clone();
    match tokio::task::spawn_blocking(move || store.cancel_delete(&tenant, id, force)).await {
        Ok(Ok(())) => nothing(),
        Ok(Err(error)) => refused(&error),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

/// What the parameters ask for, checked in Loki's order.
fn asked(params: &Params, now: i64, cancel_within: Duration) -> Result<Delete, &'static str> {
    let query = params.non_empty("query").ok_or("query not set")?;
    if parse_delete(query).is_err() {
        return Err("invalid query expression");
    }
    let start = params.non_empty("start").ok_or("start time not set")?;
    let start = parse_time(start).ok_or("invalid start time: require unix seconds or RFC3339 format")?;
    let end = match params.non_empty("end") {
        Some(text) => parse_time(text).ok_or("invalid end time: require unix seconds or RFC3339 format")?,
        None => now,
    };
    if end > now {
        return Err("deletes in the future are not allowed");
    }
    if start >= end {
        return Err("start time can't be greater than or equal to end time");
    }
    // Loki works through a delete in steps of it; here one pass does it all.
    if let Some(text) = params.non_empty("max_interval")
        && time::parse_go_duration(text).is_none_or(|interval| interval <= 0)
    {
        return Err("invalid max_interval: valid time units are 's', 'm', 'h'");
    }
    Ok(Delete { selector: query.to_owned(), min_time: start, max_time: end, cancel_within })
}

/// Ten digits of seconds, or RFC 3339.
fn parse_time(text: &str) -> Option<i64> {
    if text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(SECOND);
    }
    time::parse_rfc3339(text)
}

/// Oldest first, as they come.
fn written(deletes: &[(Tombstone, TombstoneState)], tenancy: Tenancy) -> String {
    let mut out = String::from("[");
    for (i, (delete, state)) in deletes.iter().enumerate() {
        out.push_str(if i > 0 { r#",{"request_id":"# } else { r#"{"request_id":"# });
        push_string(&mut out, &delete.id.to_string());
        for (name, at) in [("start_time", delete.min_time), ("end_time", delete.max_time)] {
            push_time(&mut out, name, at);
        }
        out.push_str(r#","query":"#);
        push_string(&mut out, &delete.selector);
        let status = match state {
            TombstoneState::Active => "received",
            TombstoneState::Processed => "processed",
        };
        out.push_str(r#","status":"#);
        push_string(&mut out, status);
        push_time(&mut out, "created_at", delete.created_at);
        out.push_str(r#","user_id":"#);
        push_string(&mut out, if tenancy == Tenancy::Off { ONLY_USER } else { delete.tenant.as_str() });
        out.push('}');
    }
    out.push_str("]\n");
    out
}

fn push_time(out: &mut String, name: &str, at: i64) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    push_seconds(out, at);
}

fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn failed(status: StatusCode, message: impl std::fmt::Display) -> Response {
    text_response(status, format!("{message}\n"))
}

fn refused(error: &DeleteError) -> Response {
    let status = match error {
        DeleteError::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        DeleteError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        DeleteError::Unknown => StatusCode::NOT_FOUND,
        DeleteError::Processed => StatusCode::BAD_REQUEST,
        DeleteError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    failed(status, error)
}
