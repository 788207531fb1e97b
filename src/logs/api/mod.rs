//! Loki's HTTP API (contracts/loki.md 1 and 2), and OTLP's own routes for logs.

mod answer;
mod deletes;
mod detected;
mod distinct;
mod index;
mod labels;
mod legacy;
mod otlp;
mod params;
mod patterns;
mod push;
mod query;
mod small;
mod tail;
mod written;

use super::patterns::Patterns;
use super::spec::LogsSpec;
use super::sql::LogTables;
use super::tail::Tails;
use crate::ingest::Door;
use crate::model::Failure;
use crate::query::sql::Tables;
use crate::query::{Context, Pool, QueryError};
use crate::runtime::Clock;
use crate::storage::View;
use crate::telemetry::QueryMetrics;
use crate::web::{Params, Tenancy, http_status, note, noting, own_pages_only, text_response, with_warnings};
use axum::Router;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{any, get, post};
use http::StatusCode;
use std::sync::Arc;
use std::time::Instant;

/// What the handlers work with.
#[derive(Clone)]
pub struct Api {
    door: Arc<Door<LogsSpec>>,
    pool: Pool,
    tenancy: Tenancy,
    clock: Arc<dyn Clock>,
    telemetry: QueryMetrics,
    tails: Arc<Tails>,
    patterns: Arc<Patterns>,
}

impl Api {
    /// What SQL may ask.
    pub fn tables(&self) -> Arc<dyn Tables> {
        Arc::new(LogTables(self.door.store().clone()))
    }

    /// From now on what `door` accepts is followed, so there is one for a process.
    pub fn new(door: Arc<Door<LogsSpec>>, pool: Pool, tenancy: Tenancy, clock: Arc<dyn Clock>, telemetry: QueryMetrics) -> Api {
        let tails = Tails::new(telemetry.clone());
        door.observe(tails.clone());
        let patterns = Arc::new(Patterns::start());
        door.observe(patterns.clone());
        Api { door, pool, tenancy, clock, telemetry, tails, patterns }
    }

    fn config(&self) -> &super::Config {
        self.door.store().spec().config()
    }

    /// Runs `work` on the query pool over the tenant's data as it is now, and makes its answer or its failure a response.
    async fn answer<W>(&self, params: &Params, work: W) -> Response
    where
        W: FnOnce(&View<LogsSpec>, &Context) -> Result<Response, QueryError> + Send + 'static,
    {
        let started = Instant::now();
        let (result, notes) = noting(self.run(params, work)).await;
        let outcome = match &result {
            Ok(_) => "ok",
            Err(Refused::Query(error)) => answer::outcome(error),
            Err(Refused::Tenant(_)) => "tenant",
        };
        self.telemetry.answered("loki", outcome, started.elapsed());
        match result {
            Ok(response) => with_warnings(response, notes).await,
            Err(refused) => refusal(&refused),
        }
    }

    async fn run<W>(&self, params: &Params, work: W) -> Result<Response, Refused>
    where
        W: FnOnce(&View<LogsSpec>, &Context) -> Result<Response, QueryError> + Send + 'static,
    {
        let tenant = self.tenancy.tenant(&params.headers).map_err(Refused::Tenant)?;
        if !self.door.store().is_ready() {
            return Err(Refused::Query(QueryError::NotReady));
        }
        let context = self.pool.context(tenant.clone());
        let (store, ctx) = (self.door.store().clone(), context.clone());
        let work = move || {
            let view = store.view(&tenant);
            let response = work(&view, &ctx)?;
            Ok((response, view.missing.warning()))
        };
        let (response, warning) = self.pool.run(&context, work).await.map_err(Refused::Query)?;
        warning.into_iter().for_each(note);
        Ok(response)
    }
}

enum Refused {
    Tenant(Failure),
    Query(QueryError),
}

fn refusal(refused: &Refused) -> Response {
    match refused {
        Refused::Query(error) => answer::failure(error),
        Refused::Tenant(failure) => text_response(http_status(failure.kind), format!("{}\n", failure.message)),
    }
}

/// Everything of the query port, writes in Loki's own protocols included.
pub fn query_routes(api: Api) -> Router {
    Router::new()
        .route("/loki/api/v1/push", post(push::push))
        .route("/otlp/v1/logs", post(push::otlp))
        .route("/loki/api/v1/query", get(query::instant).post(query::instant))
        .route("/loki/api/v1/query_range", get(query::range).post(query::range))
        .route("/loki/api/v1/labels", get(labels::names).post(labels::names))
        .route("/loki/api/v1/label", get(labels::names).post(labels::names))
        .route("/loki/api/v1/label/{name}/values", get(labels::values).post(labels::values))
        .route("/loki/api/v1/series", get(labels::series).post(labels::series))
        .route("/loki/api/v1/index/stats", get(index::stats).post(index::stats))
        .route("/loki/api/v1/index/volume", get(index::volume).post(index::volume))
        .route("/loki/api/v1/index/volume_range", get(index::volume_range).post(index::volume_range))
        .route("/loki/api/v1/index/shards", get(index::shards).post(index::shards))
        .route("/loki/api/v1/detected_labels", get(detected::labels).post(detected::labels))
        .route("/loki/api/v1/detected_fields", get(detected::fields).post(detected::fields))
        .route("/loki/api/v1/detected_field/{name}/values", get(detected::values).post(detected::values))
        .route("/loki/api/v1/drilldown-limits", get(small::drilldown_limits).post(small::drilldown_limits))
        .route("/loki/api/v1/status/buildinfo", get(small::buildinfo))
        .route("/loki/api/v1/patterns", get(patterns::patterns).post(patterns::patterns))
        .route("/loki/api/v1/tail", get(tail::tail))
        .route("/api/prom/tail", get(tail::legacy_tail))
        .route("/api/prom/push", post(push::legacy_push))
        .route("/api/prom/query", get(legacy::query).post(legacy::query))
        .route("/api/prom/label", get(legacy::names).post(legacy::names))
        .route("/api/prom/label/{name}/values", get(legacy::values).post(legacy::values))
        .route("/api/prom/series", get(labels::series).post(labels::series))
        .route("/api/prom/rules", any(small::rules))
        .route("/api/prom/rules/{*rest}", any(small::rules))
        .route("/loki/api/v1/format_query", get(small::format_query).post(small::format_query))
        .route("/config", get(small::config))
        .route("/config/tenant/v1/limits", get(small::tenant_limits))
        .route("/services", get(small::services))
        .route("/log_level", get(small::log_level).post(small::log_level))
        .route("/flush", post(small::flush))
        .route("/flush/tenant", post(small::flush))
        .merge(small::rings())
        .route("/loki/api/v1/rules", any(small::rules))
        .route("/loki/api/v1/rules/{*rest}", any(small::rules))
        .with_state(api)
}

/// What changes data, for operators; where it is not `allowed`, the answer that says so.
pub fn admin_routes(api: Api, allowed: bool) -> Router {
    let verbs = post(deletes::create).put(deletes::create).get(deletes::list).delete(deletes::cancel);
    Router::new()
        .route("/loki/api/v1/delete", if allowed { verbs } else { any(deletes::off) })
        .layer(from_fn(own_pages_only))
        .with_state(api)
}

/// OTLP over HTTP and gRPC.
pub fn otlp_routes(api: Api) -> Router {
    Router::new()
        .route("/v1/logs", post(otlp::export))
        .route("/opentelemetry.proto.collector.logs.v1.LogsService/Export", post(otlp::export))
        .with_state(api)
}

/// A bad parameter or a request that is against a bound.
fn invalid(message: impl Into<String>) -> QueryError {
    QueryError::Invalid(message.into())
}

fn json(body: String) -> Response {
    let mut response = crate::web::json_response(StatusCode::OK, body);
    let json = http::HeaderValue::from_static("application/json; charset=UTF-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
