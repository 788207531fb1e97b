//! Tempo's HTTP API (contracts/tempo.md 1) and the OTLP doors for traces.

mod error;
mod ids;
mod ingest;
mod json;
mod legacy;
mod metrics;
pub mod proto;
mod receivers;
mod search;
mod status;
mod streaming;
mod subset;
mod tags;
mod time;
mod trace_by_id;

use super::cache::Cache;
use super::source::Sources;
use super::spec::TracesSpec;
use super::sql::TraceTables;
use crate::ingest::Door;
use crate::query::sql::Tables;
use crate::query::{Context, Pool, QueryError};
use crate::runtime::Clock;
use crate::telemetry::QueryMetrics;
use crate::web::{Params, Tenancy, note, own_pages_only};
use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{delete, get, post};
use error::ApiError;
pub use receivers::receiver_routes;
use std::sync::Arc;
use std::time::Instant;

#[cfg(test)]
mod tests;

#[derive(Clone)]
pub struct Api {
    door: Arc<Door<TracesSpec>>,
    pool: Pool,
    tenancy: Tenancy,
    clock: Arc<dyn Clock>,
    telemetry: QueryMetrics,
    cache: Arc<Cache>,
}

/// Of the memory of one query, the part that what was decoded of blocks may take from query to query.
const CACHE_SHARE: u64 = 4;

impl Api {
    /// What SQL may ask.
    pub fn tables(&self) -> Arc<dyn Tables> {
        Arc::new(TraceTables { store: self.door.store().clone(), cache: self.cache.clone() })
    }

    pub fn new(door: Arc<Door<TracesSpec>>, pool: Pool, tenancy: Tenancy, clock: Arc<dyn Clock>, telemetry: QueryMetrics) -> Api {
        let cache = Arc::new(Cache::new(pool.memory_max_bytes() / CACHE_SHARE));
        Api { door, pool, tenancy, clock, telemetry, cache }
    }

    /// What was decoded of blocks.
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Runs a query on one instant of the tenant's traces, and counts it.
    async fn query<T: Send + 'static>(
        &self,
        name: &'static str,
        params: &Params,
        work: impl FnOnce(&Context, &Sources) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let started = Instant::now();
        let result = self.run(params, work).await;
        let outcome = if result.is_ok() { "ok" } else { "error" };
        self.telemetry.answered(name, outcome, started.elapsed());
        result
    }

    async fn run<T: Send + 'static>(
        &self,
        params: &Params,
        work: impl FnOnce(&Context, &Sources) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let tenant = self.tenancy.tenant(&params.headers)?;
        if !self.door.store().is_ready() {
            return Err(QueryError::NotReady.into());
        }
        let mut ctx = self.pool.context(tenant.clone());
        if let Some(timeout) = streaming::timeout(&params.headers) {
            ctx = ctx.shortened(timeout);
        }
        let view = self.door.store().view(&tenant);
        let (own, cache) = (ctx.clone(), self.cache.clone());
        let missing = view.missing.clone();
        let found = self.pool.run(&ctx, move || work(&own, &Sources::new(view, cache))).await?;
        missing.warning().into_iter().for_each(note);
        Ok(found)
    }
}

/// Everything that Tempo's query port answers.
pub fn query_routes(api: Api) -> Router {
    Router::new()
        .route("/api/traces/{id}", get(trace_by_id::v1))
        .route("/api/v2/traces/{id}", get(trace_by_id::v2))
        .route("/api/search", get(search::search))
        .route("/api/search/tags", get(tags::names_v1))
        .route("/api/v2/search/tags", get(tags::names_v2))
        .route("/api/search/tag/{name}/values", get(tags::values_v1))
        .route("/api/v2/search/tag/{name}/values", get(tags::values_v2))
        .route("/api/metrics/query_range", get(metrics::query_range))
        .route("/api/metrics/query", get(metrics::query_instant))
        .route("/tempopb.StreamingQuerier/{method}", post(streaming::call))
        .route("/api/echo", get(status::echo))
        .route("/api/status/buildinfo", get(status::build_info))
        .route("/status/version", get(status::version))
        .route("/status/usage-stats", get(status::usage_stats))
        .with_state(api)
}

/// What changes data, for operators.
pub fn admin_routes(api: Api) -> Router {
    Router::new().route("/api/traces/{id}", delete(trace_by_id::delete)).layer(from_fn(own_pages_only)).with_state(api)
}

/// OTLP over HTTP and gRPC.
pub fn otlp_routes(api: Api) -> Router {
    Router::new()
        .route("/v1/traces", post(ingest::export))
        .route("/opentelemetry.proto.collector.trace.v1.TraceService/Export", post(ingest::export))
        .with_state(api)
}
