//! `/-/status`: what it holds and how it is, for the page and for people.

use super::listener::Bound;
use super::rooms::Room;
use crate::config::Config;
use crate::model::Signal;
use crate::model::time::{DAY, format_rfc3339};
use crate::runtime::Clock;
use crate::storage::StoreStatus;
use crate::telemetry::{IngestMetrics, Telemetry};
use crate::web::{SlowQueries, SlowQuery, json_response};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const MILLISECOND: i64 = 1_000_000;

#[derive(Serialize)]
struct Status {
    version: &'static str,
    ready: bool,
    /// Milliseconds since the epoch.
    started_at: i64,
    memory_budget_bytes: u64,
    disk_budget_bytes: u64,
    /// As in `s3://bucket/prefix`; `null` without one.
    bucket: Option<String>,
    listeners: BTreeMap<&'static str, String>,
    signals: Vec<SignalStatus>,
    slow_queries: Vec<Slow>,
}

#[derive(Serialize)]
struct SignalStatus {
    signal: &'static str,
    /// `null` is for ever.
    retention_seconds: Option<u64>,
    /// Since the start, as the counters of `/metrics`.
    acknowledged_items: u64,
    received_bytes: u64,
    refused: Vec<Refused>,
    wal_bytes: u64,
    head: Head,
    blocks: Vec<Blocks>,
}

#[derive(Serialize)]
struct Refused {
    reason: &'static str,
    items: u64,
}

#[derive(Serialize)]
struct Head {
    items: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Blocks {
    tenant: String,
    level: u8,
    /// UTC, as in `2026-03-10`.
    day: String,
    blocks: u64,
    bytes: u64,
    items: u64,
}

#[derive(Serialize)]
struct Slow {
    /// `prometheus`, `loki`, `tempo` or `sql`.
    api: &'static str,
    query: String,
    took_ms: u64,
    /// Milliseconds since the epoch.
    at: i64,
    outcome: String,
}

/// What does not change while the process runs, and where to find what does.
#[derive(Clone)]
pub(super) struct Reporter {
    rooms: Arc<[Room]>,
    ingest: IngestMetrics,
    slow: SlowQueries,
    facts: Arc<Facts>,
}

struct Facts {
    started_at: i64,
    memory_budget_bytes: u64,
    disk_budget_bytes: u64,
    bucket: Option<String>,
    listeners: BTreeMap<&'static str, String>,
    retention: [(Signal, Option<Duration>); 3],
}

impl Reporter {
    pub fn new(
        config: &Config,
        rooms: Arc<[Room]>,
        telemetry: &Telemetry,
        bound: &[Bound],
        clock: &Arc<dyn Clock>,
        slow: SlowQueries,
    ) -> Reporter {
        let retention =
            [(Signal::Metrics, config.retention_metrics), (Signal::Logs, config.retention_logs), (Signal::Traces, config.retention_traces)];
        let facts = Facts {
            started_at: clock.now() / MILLISECOND,
            memory_budget_bytes: config.memory_bytes,
            disk_budget_bytes: config.disk_bytes,
            bucket: config.bucket.as_ref().map(|bucket| bucket.url()),
            listeners: bound.iter().map(|b| (b.kind.name(), b.address.to_string())).collect(),
            retention,
        };
        Reporter { rooms, ingest: telemetry.ingest.clone(), slow, facts: Arc::new(facts) }
    }

    fn signal(&self, status: StoreStatus) -> SignalStatus {
        let signal = status.signal;
        let retention = self.facts.retention.iter().find(|(of, _)| *of == signal).and_then(|(_, kept)| *kept);
        SignalStatus {
            signal: signal.as_str(),
            retention_seconds: retention.map(|kept| kept.as_secs()),
            acknowledged_items: self.ingest.acknowledged_so_far(signal),
            received_bytes: self.ingest.received_so_far(signal),
            refused: self.ingest.refused_so_far(signal).into_iter().map(|(reason, items)| Refused { reason, items }).collect(),
            wal_bytes: status.wal_bytes,
            head: Head { items: status.head.rows, bytes: status.head.bytes },
            blocks: status
                .blocks
                .into_iter()
                .map(|b| Blocks {
                    tenant: b.tenant.to_string(),
                    level: b.level,
                    day: format_rfc3339(b.day.saturating_mul(DAY)).chars().take("2026-03-10".len()).collect(),
                    blocks: b.blocks,
                    bytes: b.bytes,
                    items: b.items,
                })
                .collect(),
        }
    }

    fn report(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            ready: self.rooms.iter().all(|room| room.engine.is_ready()),
            started_at: self.facts.started_at,
            memory_budget_bytes: self.facts.memory_budget_bytes,
            disk_budget_bytes: self.facts.disk_budget_bytes,
            bucket: self.facts.bucket.clone(),
            listeners: self.facts.listeners.clone(),
            signals: self.rooms.iter().map(|room| self.signal(room.engine.status())).collect(),
            slow_queries: self.slow.list().into_iter().map(slow).collect(),
        }
    }
}

fn slow(query: SlowQuery) -> Slow {
    let api = match query.path.as_str() {
        "/sql" => "sql",
        path if path.starts_with("/loki/") => "loki",
        path if path.starts_with("/api/v1/") || path.starts_with("/prometheus/") => "prometheus",
        _ => "tempo",
    };
    let outcome = if query.status < 400 { "ok".to_owned() } else { query.status.to_string() };
    Slow { api, query: query.query, took_ms: query.took.as_millis() as u64, at: query.at / MILLISECOND, outcome }
}

pub(super) fn routes(reporter: Reporter) -> Router {
    Router::new().route("/-/status", get(status)).with_state(reporter)
}

async fn status(State(reporter): State<Reporter>) -> Response {
    match serde_json::to_string(&reporter.report()) {
        Ok(body) => json_response(StatusCode::OK, body),
        Err(error) => json_response(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
