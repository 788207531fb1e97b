//! Pairs of spans that are one call between two services (contracts/tempo.md 6.2).

use super::label_text;
use super::span_metrics::seconds;
use crate::model::time::SECOND;
use crate::model::{SpanId, TraceId};
use crate::traces::span::{STATUS_ERROR, Span, attribute};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// Halves that wait for their other half, of one tenant. Further ones are dropped and counted.
const WAITING_MAX: usize = 10_000;

/// How long a half waits, nanoseconds.
const WAIT: i64 = 10 * SECOND;

/// What stands for the caller of a root span that does not name its own.
const USER: &str = "user";

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

/// Attributes that name an uninstrumented peer, in order.
const PEER: [&str; 4] = ["peer.service", "db.name", "db.system", "db.system.name"];

/// Attributes that make a client's span a call of a database, in order.
const DATABASE: [&str; 4] = ["db.namespace", "db.name", "db.system", "db.system.name"];

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    pub client: String,
    pub server: String,
    /// Empty for a call between two services that both sent spans.
    pub connection: &'static str,
    pub failed: bool,
    pub client_seconds: f64,
    pub server_seconds: f64,
    pub trace_id: TraceId,
}

struct Half {
    came: i64,
    is_client: bool,
    service: String,
    seconds: f64,
    failed: bool,
    messaging: bool,
    /// A peer without spans of its own, of a client.
    peer: Option<String>,
}

/// What became of a span.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Edge(Edge),
    /// It waits for its other half, or is no part of a call.
    Nothing,
    /// There is no room for it to wait.
    Full,
}

type Key = (TraceId, SpanId);

/// One tenant's halves.
#[derive(Default)]
pub struct Edges {
    waiting: HashMap<Key, Half>,
    /// When each key came, oldest first. Those that found their other half are still listed, until their time is over.
    order: VecDeque<(i64, Key)>,
}

/// The first of `names`, looked up in the resource and then in the span, that has a value.
fn first_of(span: &Span, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let value = attribute(&span.resource.attributes, name).or_else(|| attribute(&span.attributes, name))?.to_text();
        (!value.is_empty()).then(|| label_text(&value).to_owned())
    })
}

/// The name of the database that a client called; `None` if it is no such call.
fn database(span: &Span) -> Option<String> {
    let name = first_of(span, &DATABASE)?;
    let address = || {
        let address = first_of(span, &["network.peer.address"])?;
        Some(first_of(span, &["network.peer.port"]).map_or_else(|| address.clone(), |port| format!("{address}:{port}")))
    };
    Some(first_of(span, &["peer.service", "server.address"]).or_else(address).unwrap_or(name))
}

impl Edges {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn see(&mut self, span: &Span, now: i64) -> Seen {
        let is_client = match span.kind {
            CLIENT | PRODUCER => true,
            SERVER | CONSUMER => false,
            _ => return Seen::Nothing,
        };
        let Some(service) = span.resource.service_name().filter(|name| !name.is_empty()) else { return Seen::Nothing };
        let half = Half {
            came: now,
            is_client,
            service: label_text(service).to_owned(),
            seconds: seconds(span),
            failed: span.status_code == STATUS_ERROR,
            messaging: matches!(span.kind, PRODUCER | CONSUMER),
            peer: None,
        };
        if span.kind == CLIENT
            && let Some(server) = database(span)
        {
            return Seen::Edge(alone(half, server, "database", span.trace_id));
        }
        let key = match (is_client, span.parent_span_id) {
            (true, _) => (span.trace_id, span.span_id),
            (false, Some(parent)) => (span.trace_id, parent),
            // Nobody can be its other half.
            (false, None) if span.kind == SERVER => {
                let client = first_of(span, &PEER).unwrap_or_else(|| USER.to_owned());
                return Seen::Edge(alone(half, client, "virtual_node", span.trace_id));
            }
            (false, None) => return Seen::Nothing,
        };
        if self.waiting.get(&key).is_some_and(|other| other.is_client != is_client)
            && let Some(other) = self.waiting.remove(&key)
        {
            let (client, server) = if is_client { (half, other) } else { (other, half) };
            return Seen::Edge(pair(client, server, span.trace_id));
        }
        if self.waiting.len() >= WAITING_MAX {
            return Seen::Full;
        }
        let half = Half { peer: if span.kind == CLIENT { first_of(span, &PEER) } else { None }, ..half };
        // Several servers may have one client: the first of them has its place.
        if let Entry::Vacant(place) = self.waiting.entry(key) {
            place.insert(half);
            self.order.push_back((now, key));
        }
        Seen::Nothing
    }

    /// Calls of peers that sent no span in time, and how many halves were given up without one.
    pub fn expire(&mut self, now: i64) -> (Vec<Edge>, u64) {
        let mut edges = Vec::new();
        let mut unpaired = 0;
        while let Some((_, key)) = self.order.front().filter(|(came, _)| now.saturating_sub(*came) >= WAIT) {
            let key = *key;
            self.order.pop_front();
            // Under the same key another half may have begun to wait since.
            if self.waiting.get(&key).is_none_or(|half| now.saturating_sub(half.came) < WAIT) {
                continue;
            }
            let Some(mut half) = self.waiting.remove(&key) else { continue };
            match half.peer.take() {
                Some(peer) => edges.push(alone(half, peer, "virtual_node", key.0)),
                None => unpaired += 1,
            }
        }
        (edges, unpaired)
    }
}

fn pair(client: Half, server: Half, trace_id: TraceId) -> Edge {
    Edge {
        connection: if client.messaging || server.messaging { "messaging_system" } else { "" },
        failed: client.failed || server.failed,
        client_seconds: client.seconds,
        server_seconds: server.seconds,
        client: client.service,
        server: server.service,
        trace_id,
    }
}

/// A call of which one side sends no spans: its time is that of the other.
fn alone(half: Half, peer: String, connection: &'static str, trace_id: TraceId) -> Edge {
    let (client, server) = if half.is_client { (half.service, peer) } else { (peer, half.service) };
    Edge { client, server, connection, failed: half.failed, client_seconds: half.seconds, server_seconds: half.seconds, trace_id }
}
