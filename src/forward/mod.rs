//! Sends accepted OTLP requests on to another place that takes OTLP over HTTP or gRPC, as they came where it takes that: what
//! the OpenTelemetry Collector of otel-lgtm does where `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Nothing here holds up a request:
//! what does not fit into the queue, or is not taken in time, is dropped and counted. What waits is in memory only, so a crash
//! loses it for the other place; monocle's own copy is durable.

mod call;
mod config;
mod lane;
mod own;
mod packed;

pub use config::{Config, PREFIX, Target};
pub use lane::Lane;

use crate::model::Signal;
use crate::runtime::{Clock, Shutdown, random_u128};
use crate::telemetry::ForwardMetrics;
use lane::Sender;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests of one signal that are under way at the same time.
const UNDER_WAY_MAX: usize = 8;

pub struct Forwarder {
    lanes: Vec<(Signal, Lane)>,
    senders: Vec<Arc<Sender>>,
}

impl Forwarder {
    /// `own` is what the listeners are bound to: a target that is one of them is left out, with a warning. Each signal's queue
    /// takes at most `queue_max_bytes`. Fails for certificates that cannot be read.
    pub async fn new(
        config: Config,
        own: &[SocketAddr],
        clock: Arc<dyn Clock>,
        metrics: &ForwardMetrics,
        queue_max_bytes: u64,
    ) -> Result<Forwarder, String> {
        let name = format!("monocle-{:08x}", random_u128() as u32);
        let turn = Arc::new(Semaphore::new(1));
        let mut forwarder = Forwarder { lanes: Vec::new(), senders: Vec::new() };
        for target in config.targets {
            let (signal, to) = (target.signal, target.place());
            if own::is_own(&target.url, own).await {
                tracing::warn!(%signal, %to, "not forwarded: that is this monocle itself (OTEL_EXPORTER_OTLP_… is set for it; unset it, or --forward off)");
                continue;
            }
            tracing::info!(%signal, %to, over = target.protocol.as_str(), "forwarding what OTLP brings");
            let (lane, sender) = lane::new(target, &name, clock.clone(), metrics.clone(), queue_max_bytes, turn.clone())?;
            forwarder.lanes.push((signal, lane));
            forwarder.senders.push(Arc::new(sender));
        }
        Ok(forwarder)
    }

    /// Where accepted exports of `signal` are to be offered, if they are sent on.
    pub fn lane(&self, signal: Signal) -> Option<Lane> {
        self.lanes.iter().find(|(of, _)| *of == signal).map(|(_, lane)| lane.clone())
    }

    /// Until shutdown, and then until the queues are empty, without trying anything a second time.
    pub async fn run(self, shutdown: Shutdown) {
        let mut workers = tokio::task::JoinSet::new();
        for sender in &self.senders {
            for _ in 0..UNDER_WAY_MAX {
                workers.spawn(sender.clone().work(shutdown.clone()));
            }
        }
        workers.join_all().await;
    }
}
