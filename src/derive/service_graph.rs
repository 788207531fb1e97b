//! Calls between services: how many, how many failed, how long (contracts/tempo.md 6.2).

use super::edges::{Edge, Edges};
use super::histogram::{EDGE_BOUNDS, Histogram};
use super::output::{Family, Life, Output};
use crate::metrics::MetricType;
use std::collections::HashMap;

const TOTAL: Family = Family { name: "traces_service_graph_request_total", kind: MetricType::Counter, help: "Calls between two services" };
const FAILED: Family =
    Family { name: "traces_service_graph_request_failed_total", kind: MetricType::Counter, help: "Failed calls between two services" };
const SERVER: Family = Family {
    name: "traces_service_graph_request_server_seconds",
    kind: MetricType::Histogram,
    help: "Seconds of calls between two services, as the server saw them",
};
const CLIENT: Family = Family {
    name: "traces_service_graph_request_client_seconds",
    kind: MetricType::Histogram,
    help: "Seconds of calls between two services, as the client saw them",
};

/// Series of one pair of services.
pub const SERIES: usize = 2 + 2 * Histogram::series(&EDGE_BOUNDS);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    client: String,
    server: String,
    connection: &'static str,
}

impl Key {
    fn pairs(&self) -> [(&str, &str); 3] {
        [("client", &self.client), ("server", &self.server), ("connection_type", self.connection)]
    }
}

struct Entry {
    total: u64,
    /// From the first failure on, which is when its series begins.
    failed: Option<(Life, u64)>,
    server: Histogram,
    client: Histogram,
    life: Life,
}

/// One tenant's graph, and the halves of calls that it waits for.
#[derive(Default)]
pub struct ServiceGraph {
    pub edges: Edges,
    entries: HashMap<Key, Entry>,
    /// As in [`super::span_metrics::SpanMetrics`].
    ended: HashMap<Key, i64>,
}

impl ServiceGraph {
    /// Series now.
    pub fn series(&self) -> usize {
        self.entries.len() * SERIES
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.ended.is_empty() && self.edges.is_empty()
    }

    /// Counts a call, unless it needs new series and there is no `room` for them: then it returns false.
    pub fn count(&mut self, edge: Edge, now: i64, floor: i64, room: bool) -> bool {
        let key = Key { client: edge.client, server: edge.server, connection: edge.connection };
        if !self.entries.contains_key(&key) {
            if !room {
                return false;
            }
            let floor = self.ended.remove(&key).map_or(floor, |ended| floor.max(ended + 1));
            let histogram = || Histogram::new(&EDGE_BOUNDS);
            let entry = Entry { total: 0, failed: None, server: histogram(), client: histogram(), life: Life::new(now, floor) };
            self.entries.insert(key.clone(), entry);
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.total += 1;
            if edge.failed {
                entry.failed.get_or_insert_with(|| (Life::new(now, entry.life.floor()), 0)).1 += 1;
            }
            entry.server.observe(edge.server_seconds, edge.trace_id);
            entry.client.observe(edge.client_seconds, edge.trace_id);
            entry.life.touched = now;
        }
        true
    }

    /// Writes every series, and ends those that are idle.
    pub fn collect(&mut self, now: i64, out: &mut Output) {
        let ended = &mut self.ended;
        ended.retain(|_, at| out.now_ms - *at < 120_000);
        self.entries.retain(|key, entry| {
            let pairs = key.pairs();
            if entry.life.is_idle(now) {
                out.end_counter(&TOTAL, &pairs);
                if entry.failed.is_some() {
                    out.end_counter(&FAILED, &pairs);
                }
                out.end_histogram(&SERVER, &pairs, &entry.server);
                out.end_histogram(&CLIENT, &pairs, &entry.client);
                ended.insert(key.clone(), out.now_ms);
                return false;
            }
            out.counter(&TOTAL, &pairs, &mut entry.life, entry.total);
            if let Some((life, failed)) = &mut entry.failed {
                out.counter(&FAILED, &pairs, life, *failed);
            }
            out.histogram(&SERVER, &pairs, &mut entry.life, &mut entry.server);
            out.histogram(&CLIENT, &pairs, &mut entry.life, &mut entry.client);
            true
        });
    }

    pub fn confirm(&mut self) {
        for entry in self.entries.values_mut() {
            entry.life.confirm();
            if let Some((life, _)) = &mut entry.failed {
                life.confirm();
            }
        }
    }
}
