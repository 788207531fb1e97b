//! The task: takes accepted spans from a bounded queue, and writes what was counted at every interval.

use super::Config;
use super::intake::Intake;
use crate::ingest::{Door, Fed, Feed, Observer, feed};
use crate::metrics::{MetricsSpec, Writer};
use crate::model::TenantId;
use crate::runtime::{Clock, Reservation, Shutdown};
use crate::storage::{Notice, Rows, Spec};
use crate::telemetry::DeriveMetrics;
use crate::traces::{Chunk, TracesSpec};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How often halves of calls are looked through, and whether the stores are ready.
const CHECK: Duration = Duration::from_secs(2);

/// Spans of one request, when they were accepted.
struct Accepted {
    tenant: TenantId,
    spans: Arc<Chunk>,
    at: i64,
}

/// Derives metrics from spans for as long as the process runs.
pub struct Deriver {
    config: Config,
    fed: Fed<Accepted>,
    metrics: Arc<Door<MetricsSpec>>,
    writer: Writer,
    clock: Arc<dyn Clock>,
    telemetry: DeriveMetrics,
}

struct Seeing {
    feed: Feed<Accepted>,
    clock: Arc<dyn Clock>,
    telemetry: DeriveMetrics,
}

impl Observer<TracesSpec> for Seeing {
    fn accepted(&self, tenant: &TenantId, rows: &<TracesSpec as Spec>::Rows) -> Option<Notice> {
        let accepted = Accepted { tenant: tenant.clone(), spans: rows.chunk().clone(), at: self.clock.now() };
        if !self.feed.offer(accepted, rows.bytes() as u64) {
            self.telemetry.dropped("queue_full", rows.len() as u64);
        }
        None
    }
}

impl Deriver {
    /// Watches `traces` from now on; at most `queue_bytes` of spans wait.
    pub fn new(
        config: Config,
        traces: &Door<TracesSpec>,
        metrics: Arc<Door<MetricsSpec>>,
        clock: Arc<dyn Clock>,
        telemetry: DeriveMetrics,
        queue_bytes: u64,
    ) -> Deriver {
        let (feed, fed) = feed(queue_bytes);
        traces.observe(Arc::new(Seeing { feed, clock: clock.clone(), telemetry: telemetry.clone() }));
        Deriver { config, fed, writer: Writer::new(metrics.clone()), metrics, clock, telemetry }
    }

    /// Until shutdown; what was accepted by then is counted and written.
    pub async fn run(mut self, shutdown: Shutdown) {
        // Until replay is done nothing can be written, and it is not known who had metrics before.
        while !self.metrics.store().is_ready() {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(CHECK / 20) => {}
            }
        }
        let known = self.metrics.store().tenants();
        let intake = Intake::new(&self.config, known, self.clock.now(), self.telemetry.clone());
        let intake = Arc::new(Mutex::new(intake));
        let now = Instant::now();
        let mut collection = interval_at(now + self.config.interval, self.config.interval);
        let mut check = interval_at(now + CHECK, CHECK);
        collection.set_missed_tick_behavior(MissedTickBehavior::Delay);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                _ = collection.tick() => self.collect(&intake).await,
                _ = check.tick() => intake.lock().expire(self.clock.now()),
                Some((accepted, room)) = self.fed.next() => take(&intake, accepted, room).await,
            }
        }
        while let Some((accepted, room)) = self.fed.try_next() {
            take(&intake, accepted, room).await;
        }
        self.collect(&intake).await;
    }

    async fn collect(&self, intake: &Arc<Mutex<Intake>>) {
        let (now, own) = (self.clock.now(), intake.clone());
        let Ok(collected) = tokio::task::spawn_blocking(move || own.lock().collect(now)).await else { return };
        for (tenant, out) in collected {
            let mut stored = true;
            for body in out.bodies {
                match self.writer.write(tenant.clone(), body).await {
                    Ok(outcome) if outcome.refusals.is_empty() => {}
                    Ok(outcome) => {
                        self.telemetry.dropped("refused_sample", outcome.refusals.len() as u64);
                        tracing::warn!(%tenant, refused = outcome.refusals.len(), reason = outcome.refusals.message(), "derived samples were refused");
                    }
                    Err(error) => {
                        // Counters go on: the next collection has what this one had.
                        stored = false;
                        self.telemetry.dropped("failed_write", 1);
                        tracing::warn!(%tenant, %error, "derived metrics were not written");
                    }
                }
            }
            if stored {
                intake.lock().confirm(&tenant);
            }
        }
    }
}

/// Counts off the I/O threads.
async fn take(intake: &Arc<Mutex<Intake>>, accepted: Accepted, room: Reservation) {
    let own = intake.clone();
    let work = move || {
        own.lock().take(&accepted.tenant, &accepted.spans, accepted.at);
        drop((accepted, room));
    };
    if tokio::task::spawn_blocking(work).await.is_err() {
        tracing::error!("spans were not counted: the deriver panicked");
    }
}
