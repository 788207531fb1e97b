use super::rooms::{Engine, Room};
use crate::storage::maintenance::MaintenanceError;
use crate::telemetry::Telemetry;
use crate::web::{own_pages_only, text_response};
use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;

type Rooms = Arc<[Room]>;

/// Health for those who ask on an OTLP port, and for the Collector's health port.
pub(super) fn health_routes(rooms: Rooms) -> Router {
    Router::new().route("/ready", get(ready)).with_state(rooms)
}

/// The Collector's own health check asks at the root of its port, that of otel-lgtm at `/ready`.
pub(super) fn collector_health_routes(rooms: Rooms) -> Router {
    health_routes(rooms.clone()).merge(Router::new().route("/", get(ready)).with_state(rooms))
}

/// Health in the forms of Prometheus, Loki and Tempo, our own metrics, and what an operator may do.
pub(super) fn routes(rooms: Rooms, telemetry: Telemetry, admin_allowed: bool) -> Router {
    let admin = if admin_allowed {
        Router::new().route("/-/flush", post(flush)).route("/-/compact", post(compact))
    } else {
        Router::new().route("/-/flush", post(forbidden)).route("/-/compact", post(forbidden))
    };
    let metrics = get(move |headers: HeaderMap| async move {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok());
        if accepted.into_iter().any(|accepted| accepted.contains("application/openmetrics-text")) {
            ([(header::CONTENT_TYPE, OPENMETRICS)], telemetry.expose())
        } else {
            ([(header::CONTENT_TYPE, PLAIN)], telemetry.expose_plain())
        }
    });
    Router::new()
        .route("/ready", get(ready))
        .route("/-/ready", get(prometheus_ready))
        .route("/-/healthy", get(|| async { "Prometheus Server is Healthy.\n" }))
        .route("/-/reload", post(no_lifecycle).put(no_lifecycle))
        .route("/-/quit", post(no_lifecycle).put(no_lifecycle))
        .merge(admin.layer(from_fn(own_pages_only)))
        .with_state(rooms)
        .route("/metrics", metrics)
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

fn all_ready(rooms: &Rooms) -> bool {
    rooms.iter().all(|room| room.engine.is_ready())
}

async fn ready(State(rooms): State<Rooms>) -> Response {
    if all_ready(&rooms) {
        text_response(StatusCode::OK, "ready\n")
    } else {
        text_response(StatusCode::SERVICE_UNAVAILABLE, "starting: replay of the write-ahead log is not finished\n")
    }
}

async fn prometheus_ready(State(rooms): State<Rooms>) -> Response {
    if all_ready(&rooms) {
        text_response(StatusCode::OK, "Prometheus Server is Ready.\n")
    } else {
        text_response(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable")
    }
}

async fn flush(State(rooms): State<Rooms>) -> Response {
    of_all(&rooms, |engine| engine.flush()).await
}

async fn compact(State(rooms): State<Rooms>) -> Response {
    of_all(&rooms, |engine| engine.compact()).await
}

async fn of_all(rooms: &Rooms, work: fn(&dyn Engine) -> Result<(), MaintenanceError>) -> Response {
    let works: Vec<_> = rooms
        .iter()
        .map(|room| {
            let engine = room.engine.clone();
            tokio::task::spawn_blocking(move || work(&*engine))
        })
        .collect();
    for work in works {
        let failure = match work.await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        return text_response(StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n"));
    }
    StatusCode::NO_CONTENT.into_response()
}

/// As Prometheus answers unless it is told otherwise: what is in the configuration is read at the start.
async fn no_lifecycle() -> Response {
    text_response(StatusCode::FORBIDDEN, "Lifecycle API is not enabled.")
}

async fn forbidden() -> Response {
    text_response(StatusCode::FORBIDDEN, "admin endpoints are off on this address; start monocle with --admin\n")
}
