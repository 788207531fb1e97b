//! Accepted spans, counted: which of them count, tenant by tenant, within one bound on series.

use super::Config;
use super::edges::Seen;
use super::output::Output;
use super::recent::Recent;
use super::service_graph::{self, ServiceGraph};
use super::span_metrics::{self, Dimensions, SpanMetrics};
use crate::model::TenantId;
use crate::model::time::{MILLI, SECOND};
use crate::telemetry::DeriveMetrics;
use crate::traces::span::Span;
use crate::traces::{Chunk, encoded_len};
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64;

/// Spans that ended farther from now than this, before or after, are not counted, nanoseconds.
const NEAR: i64 = 30 * SECOND;

/// Tenants with counters at the same time.
const TENANTS_MAX: usize = 1_000;

struct Tenant {
    spans: SpanMetrics,
    graph: ServiceGraph,
    /// No series begins before this, milliseconds: where the process before us may have left samples, it is our own begin.
    floor: i64,
}

/// All counters. One thread at a time uses it.
pub struct Intake {
    dimensions: Dimensions,
    series_max: usize,
    tenants: HashMap<TenantId, Tenant>,
    /// Tenants with samples from before this process, and when it began, milliseconds.
    known: Vec<TenantId>,
    began: i64,
    recent: Recent,
    telemetry: DeriveMetrics,
    series: usize,
}

impl Intake {
    /// `known` tenants had metrics before `began`, nanoseconds.
    pub fn new(config: &Config, known: Vec<TenantId>, began: i64, telemetry: DeriveMetrics) -> Intake {
        Intake {
            dimensions: Dimensions::new(config.dimensions.clone()),
            series_max: config.series_max,
            tenants: HashMap::new(),
            known,
            began: began / MILLI,
            recent: Recent::default(),
            telemetry,
            series: 0,
        }
    }

    /// Spans that were accepted at `now`, nanoseconds.
    pub fn take(&mut self, tenant_id: &TenantId, spans: &Chunk, now: i64) {
        // Most of what is far from now need not be decoded.
        let near = spans.spans_that_end(now.saturating_sub(NEAR)..=now.saturating_add(NEAR));
        self.telemetry.dropped("far_from_now", (spans.rows().len() - near.len()) as u64);
        self.count(tenant_id, &near, now);
    }

    /// Counts spans that ended near `now`.
    fn count(&mut self, tenant_id: &TenantId, spans: &[Span], now: i64) {
        if !self.tenants.contains_key(tenant_id) {
            if self.tenants.len() >= TENANTS_MAX {
                self.telemetry.dropped("tenants", spans.len() as u64);
                return;
            }
            let floor = if self.known.contains(tenant_id) { self.began } else { i64::MIN };
            let tenant = Tenant { spans: SpanMetrics::default(), graph: ServiceGraph::default(), floor };
            self.tenants.insert(tenant_id.clone(), tenant);
        }
        let Some(tenant) = self.tenants.get_mut(tenant_id) else { return };
        let salt = xxh3_64(tenant_id.as_str().as_bytes());
        let (mut again, mut no_room, mut full) = (0, 0, 0);
        for span in spans {
            if !self.recent.insert(identity(span, salt), now) {
                again += 1;
                continue;
            }
            let before = tenant.spans.series();
            let room = self.series + span_metrics::SERIES <= self.series_max;
            if !tenant.spans.count(span, encoded_len(span) as u64, &self.dimensions, now, tenant.floor, room) {
                no_room += 1;
            }
            self.series += tenant.spans.series() - before;
            match tenant.graph.edges.see(span, now) {
                Seen::Nothing => {}
                Seen::Full => full += 1,
                Seen::Edge(edge) => {
                    let before = tenant.graph.series();
                    let room = self.series + service_graph::SERIES <= self.series_max;
                    no_room += u64::from(!tenant.graph.count(edge, now, tenant.floor, room));
                    self.series += tenant.graph.series() - before;
                }
            }
        }
        self.telemetry.spans(spans.len() as u64 - again);
        for (reason, count) in [("duplicate", again), ("series_limit", no_room), ("edges_full", full)] {
            self.telemetry.dropped(reason, count);
        }
    }

    /// Gives up waiting for what does not come.
    pub fn expire(&mut self, now: i64) {
        for tenant in self.tenants.values_mut() {
            let (edges, unpaired) = tenant.graph.edges.expire(now);
            let mut no_room = 0;
            for edge in edges {
                let before = tenant.graph.series();
                let room = self.series + service_graph::SERIES <= self.series_max;
                no_room += u64::from(!tenant.graph.count(edge, now, tenant.floor, room));
                self.series += tenant.graph.series() - before;
            }
            self.telemetry.dropped("unpaired_edge", unpaired);
            self.telemetry.dropped("series_limit", no_room);
        }
        self.recent.forget_old(now);
    }

    /// What each tenant's counters are now.
    pub fn collect(&mut self, now: i64) -> Vec<(TenantId, Output)> {
        let mut collected = Vec::new();
        let mut series = 0;
        for (id, tenant) in &mut self.tenants {
            let mut out = Output::new(now);
            tenant.spans.collect(&self.dimensions, now, &mut out);
            tenant.graph.collect(now, &mut out);
            series += tenant.spans.series() + tenant.graph.series();
            if !out.bodies.is_empty() {
                collected.push((id.clone(), out));
            }
        }
        self.series = series;
        self.telemetry.series(series as u64);
        self.tenants.retain(|_, tenant| !tenant.spans.is_empty() || !tenant.graph.is_empty());
        collected
    }

    /// All that was collected for the tenant is stored.
    pub fn confirm(&mut self, tenant: &TenantId) {
        if let Some(tenant) = self.tenants.get_mut(tenant) {
            tenant.spans.confirm();
            tenant.graph.confirm();
        }
    }
}

/// What makes two spans the same span (decisions 16), and the tenant's `salt`.
fn identity(span: &Span, salt: u64) -> u64 {
    let mut bytes = [0; 16 + 8 + 4 + 8];
    bytes[..16].copy_from_slice(&span.trace_id.0);
    bytes[16..24].copy_from_slice(&span.span_id.0);
    bytes[24..28].copy_from_slice(&span.kind.to_le_bytes());
    bytes[28..].copy_from_slice(&salt.to_le_bytes());
    xxh3_64(&bytes)
}
