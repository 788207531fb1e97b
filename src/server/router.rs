use super::listener::Kind;
use super::rooms::Room;
use super::{admin, page};
use crate::runtime::Budget;
use crate::telemetry::Telemetry;
use crate::web::{Origins, SlowQueries, hold_bodies, note_slow_queries, share_with, text_response};
use axum::Router;
use axum::middleware::from_fn_with_state;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// The routers of all listeners: one for OTLP, and one and the same for every query API.
pub(super) struct Routers {
    otlp: Router,
    query: Router,
    receivers: Router,
    health: Router,
}

impl Routers {
    pub fn of(&self, kind: Kind) -> Router {
        match kind {
            Kind::OtlpGrpc | Kind::OtlpHttp => self.otlp.clone(),
            Kind::Prometheus | Kind::Loki | Kind::Tempo | Kind::Web => self.query.clone(),
            Kind::Zipkin | Kind::JaegerHttp | Kind::JaegerGrpc => self.receivers.clone(),
            Kind::OtelHealth => self.health.clone(),
        }
    }
}

pub(super) fn build(
    rooms: &Arc<[Room]>,
    (sql, receivers): (Router, Router),
    bodies: &Arc<Budget>,
    telemetry: &Telemetry,
    admin_allowed: bool,
    status: Router,
    (slow, cors): (SlowQueries, Option<Origins>),
) -> Routers {
    let merged = |pick: fn(&Room) -> Router| rooms.iter().map(pick).fold(Router::new(), Router::merge);
    let held = || from_fn_with_state(bodies.clone(), hold_bodies);
    let apis = merged(|room| room.query.clone()).layer(held());
    let apis = match cors {
        Some(origins) => apis.layer(from_fn_with_state(origins, share_with)),
        None => apis,
    };
    // OTLP/HTTP is taken on these ports as well: the page sends its sample to where it came from.
    let otlp = merged(|room| room.otlp.clone()).layer(held());
    let query = apis
        .clone()
        // Mimir's clients use this prefix.
        .nest("/prometheus", apis)
        .merge(sql.layer(held()))
        .layer(from_fn_with_state(slow, note_slow_queries))
        .merge(otlp.clone())
        .merge(admin::routes(rooms.clone(), telemetry.clone(), admin_allowed))
        .merge(status)
        .merge(page::routes())
        .fallback(not_found)
        .layer(CompressionLayer::new());
    let otlp = otlp.merge(admin::health_routes(rooms.clone())).fallback(not_otlp).layer(browser_sdks());
    let receivers = receivers.layer(held()).fallback(not_found);
    Routers { otlp, query, receivers, health: admin::collector_health_routes(rooms.clone()).fallback(not_found) }
}

/// Browsers that send OTLP/HTTP, from any http:// origin, as otel-lgtm's collector allows.
fn browser_sdks() -> CorsLayer {
    let origin = AllowOrigin::predicate(|origin: &HeaderValue, _: &http::request::Parts| origin.as_bytes().starts_with(b"http://"));
    CorsLayer::new().allow_origin(origin).allow_methods(AllowMethods::mirror_request()).allow_headers(AllowHeaders::mirror_request())
}

/// On the ports of OTLP, whoever is lost is a sender, most likely with a wrong path or the wrong port.
async fn not_otlp(uri: http::Uri) -> axum::response::Response {
    let text = format!(
        "404: nothing is taken at {:?} here. This port takes OTLP: POST /v1/metrics, /v1/logs and /v1/traces, or gRPC. The APIs of Prometheus, Loki and \
         Tempo, remote write and Loki's push are on the other ports (9090, 3100 and 3200 unless configured otherwise).\n",
        uri.path()
    );
    text_response(StatusCode::NOT_FOUND, text)
}

async fn not_found() -> axum::response::Response {
    text_response(StatusCode::NOT_FOUND, "404 page not found\n")
}
