//! The HTTP API of Prometheus, and the doors of remote write and OTLP. Source: contracts/prometheus.md 1, 2 and 3.1.

mod admin;
mod cardinality;
mod cors;
#[cfg(test)]
mod delta_tests;
#[cfg(test)]
mod endpoint_tests;
mod error;
mod exemplars;
mod features;
mod federate;
mod json;
mod labels;
mod metadata;
mod otlp;
mod params;
mod query;
mod read;
mod result;
mod rules;
#[cfg(test)]
mod sources_tests;
mod status;
mod targets;
mod tenant;
#[cfg(test)]
mod tests;
mod text;
mod tsdb;
mod write;
#[cfg(test)]
mod write_tests;

pub use admin::Purge;
pub use status::About;

use super::scrape::Board;
use super::select::Querier;
use super::spec::MetricsSpec;
use super::sql::MetricTables;
use super::writer::Writer;
use crate::ingest::Door;
use crate::query::sql::Tables;
use crate::query::{Pool, QueryError};
use crate::runtime::Clock;
use crate::telemetry::QueryMetrics;
use crate::web::{Params, Tenancy, note, noting, with_warnings};
use axum::Router;
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use error::ApiError;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    door: Arc<Door<MetricsSpec>>,
    pool: Pool,
    tenancy: Tenancy,
    clock: Arc<dyn Clock>,
    telemetry: QueryMetrics,
    scraping: Arc<Board>,
    about: Arc<About>,
}

impl Api {
    /// What SQL may ask.
    pub fn tables(&self) -> Arc<dyn Tables> {
        Arc::new(MetricTables(self.door.store().clone()))
    }

    /// Tells of the process.
    pub fn about(self, about: About) -> Api {
        Api { about: Arc::new(about), ..self }
    }

    /// Tells of what is scraped.
    pub fn scraping(self, scraping: Arc<Board>) -> Api {
        Api { scraping, ..self }
    }

    pub fn new(door: Arc<Door<MetricsSpec>>, pool: Pool, tenancy: Tenancy, clock: Arc<dyn Clock>, telemetry: QueryMetrics) -> Api {
        Api { door, pool, tenancy, clock, telemetry, scraping: Arc::default(), about: Arc::default() }
    }

    /// What writes through this API's door.
    pub fn writer(&self) -> Writer {
        Writer::new(self.door.clone())
    }

    /// Runs `work` on the query pool over one View of the tenant that the request names.
    async fn read<T, W>(&self, params: &Params, timeout: Option<Duration>, work: W) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: FnOnce(&Querier) -> Result<T, QueryError> + Send + 'static,
    {
        let tenant = self.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let store = self.door.store().clone();
        if !store.is_ready() {
            return Err(ApiError::NotReady);
        }
        let mut context = self.pool.context(tenant.clone());
        if let Some(timeout) = timeout {
            context = context.shortened(timeout);
        }
        let inner = context.clone();
        let run = move || {
            let view = store.view(&tenant);
            let missing = view.missing.clone();
            let found = work(&Querier::new(view, inner, store.spec().samples().clone()))?;
            Ok((found, missing.warning()))
        };
        let (found, warning) = self.pool.run(&context, run).await?;
        warning.into_iter().for_each(note);
        Ok(found)
    }

    /// Counts a query and turns its outcome into a response.
    async fn answer<F: Future<Output = Result<Response, ApiError>>>(&self, work: F) -> Response {
        self.counted(work).await.unwrap_or_else(ApiError::into_response)
    }

    /// As [`Api::answer`], with errors as plain text.
    async fn answer_text<F: Future<Output = Result<Response, ApiError>>>(&self, work: F) -> Response {
        self.counted(work).await.unwrap_or_else(ApiError::into_text_response)
    }

    async fn counted<F: Future<Output = Result<Response, ApiError>>>(&self, work: F) -> Result<Response, ApiError> {
        let started = Instant::now();
        let (result, notes) = noting(work).await;
        let outcome = result.as_ref().map_or_else(ApiError::outcome, |_| "ok");
        self.telemetry.answered("prometheus", outcome, started.elapsed());
        match result {
            Ok(response) => Ok(with_warnings(response, notes).await),
            Err(error) => Err(error),
        }
    }
}

/// Everything of the query port: Prometheus's API and the OTLP paths that Prometheus and Mimir have.
pub fn query_routes(api: Api) -> Router {
    Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/query_exemplars", get(exemplars::exemplars).post(exemplars::exemplars))
        .route("/api/v1/format_query", get(text::format_query).post(text::format_query))
        .route("/api/v1/parse_query", get(text::parse_query).post(text::parse_query))
        .route("/api/v1/labels", get(labels::names).post(labels::names))
        .route("/api/v1/label/{name}/values", get(labels::values))
        .route("/api/v1/series", get(labels::series).post(labels::series))
        .route("/api/v1/metadata", get(metadata::metadata))
        .route("/api/v1/write", post(write::write))
        .route("/api/v1/push", post(write::write))
        .route("/api/v1/read", post(read::read))
        .route("/api/v1/cardinality/label_names", get(cardinality::label_names).post(cardinality::label_names))
        .route("/api/v1/cardinality/label_values", get(cardinality::label_values).post(cardinality::label_values))
        .route("/api/v1/cardinality/active_series", get(cardinality::active_series).post(cardinality::active_series))
        .route(
            "/api/v1/cardinality/active_native_histogram_metrics",
            get(cardinality::active_histograms).post(cardinality::active_histograms),
        )
        .route("/api/v1/user_stats", get(tenant::stats))
        .route("/api/v1/user_limits", get(tenant::limits))
        .route("/federate", get(federate::federate))
        .merge(status::routes())
        .merge(rules::routes())
        .merge(targets::routes())
        .route("/api/v1/otlp/v1/metrics", post(otlp::export))
        .route("/otlp/v1/metrics", post(otlp::export))
        .route_layer(from_fn(cors::answer_options))
        .with_state(api)
}

/// What an operator may do; without `purge`, the answer that it is off.
pub fn admin_routes(api: Api, purge: Option<Purge>) -> Router {
    admin::routes(purge).with_state(api)
}

/// The OTLP receivers' own paths, HTTP and gRPC.
pub fn otlp_routes(api: Api) -> Router {
    Router::new()
        .route("/v1/metrics", post(otlp::export))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post(otlp::export))
        .with_state(api)
}
