//! `rules` and `alerts` (contracts/prometheus.md 1.7): there are none, and what cannot be asked is refused all the same.

use super::error::ApiError;
use super::{Api, params};
use crate::web::{Params, json_response};
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;

pub fn routes() -> Router<Api> {
    Router::new().route("/api/v1/rules", get(rules)).route("/api/v1/alerts", get(|| async { none("alerts") }))
}

async fn rules(params: Params) -> Response {
    match check(&params) {
        Ok(()) => none("groups"),
        Err(error) => error.into_response(),
    }
}

/// The text that both rulers' clients take for an empty list (decisions 25).
fn none(list: &str) -> Response {
    let body = format!(r#"{{"status":"success","data":{{"{list}":[]}},"errorType":"","error":""}}"#);
    json_response(StatusCode::OK, body)
}

fn check(params: &Params) -> Result<(), ApiError> {
    params::selectors(params)?;
    if let Some(kind) = params.non_empty("type").map(str::to_lowercase).filter(|kind| kind != "alert" && kind != "record") {
        return Err(ApiError::parameter("type", format!("not supported value {kind:?}")));
    }
    if let Some(Err(cause)) = params.non_empty("exclude_alerts").map(params::boolean) {
        return Err(ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {cause}")));
    }
    let token = params.non_empty("group_next_token");
    let Some(said) = params.non_empty("group_limit") else {
        let missing = || ApiError::parameter("group_next_token", "group_limit needs to be present in order to paginate over the groups");
        return token.map_or(Ok(()), |_| Err(missing()));
    };
    match params::integer(said) {
        Err(cause) => return Err(ApiError::parameter("group_limit", format!("group_limit needs to be a valid number: {cause}"))),
        Ok(limit) if limit <= 0 => return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
        Ok(_) => {}
    }
    // A token names a group, and there is none.
    match token {
        Some(token) => {
            Err(ApiError::parameter("group_next_token", format!("invalid group_next_token '{token}'. were rule groups changed?")))
        }
        None => Ok(()),
    }
}
