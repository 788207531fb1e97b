//! Deletes of series (contracts/prometheus.md 1.11).

use super::error::ApiError;
use super::{Api, params};
use crate::model::time::MILLI;
use crate::storage::Delete;
use crate::storage::maintenance::{CompactConfig, DeleteError, Turn};
use crate::web::{Params, is_own_page};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// How rows that deletes hide are taken out of the files.
#[derive(Clone)]
pub struct Purge {
    pub compact: CompactConfig,
    pub turn: Turn,
}

/// `None` where the admin API is off: its paths then say so.
pub fn routes(purge: Option<Purge>) -> Router<Api> {
    let Some(purge) = purge else {
        let off = || post(disabled).put(disabled);
        return Router::new()
            .route("/api/v1/admin/tsdb/delete_series", off())
            .route("/api/v1/admin/tsdb/clean_tombstones", off())
            .route("/api/v1/admin/tsdb/snapshot", off());
    };
    Router::new()
        .route("/api/v1/admin/tsdb/delete_series", post(delete_series).put(delete_series))
        .route("/api/v1/admin/tsdb/clean_tombstones", post(clean_tombstones).put(clean_tombstones))
        .route("/api/v1/admin/tsdb/snapshot", post(snapshot).put(snapshot))
        .layer(Extension(purge))
}

async fn disabled() -> Response {
    ApiError::Unavailable("admin APIs disabled".to_owned()).into_response()
}

/// Its answer names a directory with blocks of Prometheus's TSDB, of which there are none here.
async fn snapshot() -> Response {
    let message =
        "snapshots are not supported: blocks are Parquet files that never change; after POST /-/flush the blocks directory has everything";
    ApiError::Unavailable(message.to_owned()).into_response()
}

fn own_pages_only(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = || ApiError::Unavailable("admin APIs disabled for pages of another origin".to_owned());
    is_own_page(headers).then_some(()).ok_or_else(refused)
}

async fn delete_series(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        own_pages_only(&params.headers)?;
        if params.all("match[]").next().is_none() {
            return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
        }
        let from = params::optional_time(&params, "start", i64::MIN)?;
        let to = params::optional_time(&params, "end", i64::MAX)?;
        params::any_selectors(&params)?;
        let tenant = api.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let deletes: Vec<Delete> = params
            .all("match[]")
            .filter(|_| from <= to)
            .map(|selector| Delete {
                selector: selector.to_owned(),
                min_time: from.saturating_mul(MILLI),
                max_time: to.saturating_mul(MILLI),
                cancel_within: Duration::ZERO,
            })
            .collect();
        let store = api.door.store().clone();
        let run = move || deletes.into_iter().try_for_each(|delete| store.delete(&tenant, delete).map(drop));
        done(tokio::task::spawn_blocking(run).await)
    };
    api.answer(work).await
}

async fn clean_tombstones(State(api): State<Api>, Extension(purge): Extension<Purge>, headers: HeaderMap) -> Response {
    let work = async {
        own_pages_only(&headers)?;
        let store = api.door.store().clone();
        if !store.is_ready() {
            return Err(ApiError::NotReady);
        }
        let run = move || {
            let _alone = purge.turn.blocking_lock();
            store.compact(&purge.compact).map_err(DeleteError::Failed)
        };
        done(tokio::task::spawn_blocking(run).await)
    };
    api.answer(work).await
}

fn done(result: Result<Result<(), DeleteError>, tokio::task::JoinError>) -> Result<Response, ApiError> {
    match result {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(Err(DeleteError::NotReady)) => Err(ApiError::NotReady),
        Ok(Err(error @ DeleteError::TooMany)) => Err(ApiError::Unavailable(error.to_string())),
        Ok(Err(error)) => Err(ApiError::Internal(error.to_string())),
        Err(error) => Err(ApiError::Internal(error.to_string())),
    }
}
