//! One signal on its way to one place: the queue, and those that empty it.

use super::Target;
use super::call::{Caller, Tried};
use super::packed::pack;
use crate::ingest::{Fed, Feed, feed};
use crate::model::Signal;
use crate::runtime::{Clock, Shutdown, random_u128};
use crate::telemetry::ForwardMetrics;
use crate::web::Export;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore};

/// The first wait before another try; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A request that was not taken for so long is dropped.
const TRIED_FOR_MAX: Duration = Duration::from_secs(300);

/// What an item takes in the queue besides its body.
const ITEM_BYTES: u64 = 256;

/// Drops are told at most so often.
const SAID_EVERY: i64 = 30_000_000_000;

/// The way in: what is offered is queued, or dropped and counted.
#[derive(Clone)]
pub struct Lane {
    feed: Feed<Export>,
    shared: Arc<Shared>,
}

/// The way out.
pub(super) struct Sender {
    fed: Mutex<Fed<Export>>,
    caller: Caller,
    /// Bodies that have to be changed take turns.
    turn: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    /// The value of `Via` for what goes from here.
    name: String,
    metrics: ForwardMetrics,
    clock: Arc<dyn Clock>,
    failing: AtomicBool,
    /// When a drop was told the last time, nanoseconds since the epoch.
    said: AtomicI64,
}

pub(super) fn new(
    target: Target,
    name: &str,
    clock: Arc<dyn Clock>,
    metrics: ForwardMetrics,
    queue_max_bytes: u64,
    turn: Arc<Semaphore>,
) -> Result<(Lane, Sender), String> {
    let caller = Caller::new(target.clone(), name, clock.clone())?;
    let (feed, fed) = feed(queue_max_bytes);
    let (failing, said) = (AtomicBool::new(false), AtomicI64::new(i64::MIN));
    let shared = Arc::new(Shared { target, name: name.to_owned(), metrics, clock, failing, said });
    Ok((Lane { feed, shared: shared.clone() }, Sender { fed: Mutex::new(fed), caller, turn, shared }))
}

impl Lane {
    pub fn offer(&self, export: Export) {
        let via = export.via.as_ref().and_then(|via| via.to_str().ok()).unwrap_or_default();
        if via.contains(&self.shared.name) {
            self.shared.drop_one("loop", "it has been forwarded from here before: the target sends it back");
            return;
        }
        let bytes = export.body.len() as u64 + ITEM_BYTES;
        if !self.feed.offer(export, bytes) {
            self.shared.drop_one("queue_full", "the queue is full");
        }
    }
}

impl Shared {
    fn signal(&self) -> Signal {
        self.target.signal
    }

    fn drop_one(&self, reason: &'static str, because: &str) {
        self.metrics.dropped(self.signal(), reason);
        let now = self.clock.now();
        let said = self.said.load(Ordering::Relaxed);
        let is_due = now >= said.saturating_add(SAID_EVERY);
        if is_due && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (signal, to) = (self.signal(), self.target.place());
            tracing::warn!(%signal, %to, because, "a request is not forwarded; monocle_forward_dropped_total counts them");
        }
    }

    fn failed(&self, because: &str) {
        if !self.failing.swap(true, Ordering::Relaxed) {
            let (signal, to) = (self.signal(), self.target.place());
            tracing::warn!(%signal, %to, because, "forwarding fails; requests wait in memory and are tried again");
        }
    }

    fn sent(&self, bytes: u64) {
        self.metrics.sent(self.signal(), bytes);
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(signal = %self.signal(), to = %self.target.place(), "forwarding works again");
        }
    }
}

impl Sender {
    pub async fn work(self: Arc<Sender>, shutdown: Shutdown) {
        loop {
            let next = async { self.fed.lock().await.next().await };
            let (export, _room) = tokio::select! {
                biased;
                () = shutdown.requested() => match self.fed.lock().await.try_next() {
                    Some(item) => item,
                    None => return,
                },
                item = next => match item {
                    Some(item) => item,
                    None => return,
                },
            };
            self.deliver(&export, &shutdown).await;
        }
    }

    async fn deliver(&self, export: &Export, shutdown: &Shutdown) {
        let started = Instant::now();
        let mut wait = WAIT_FIRST;
        let packed = match pack(&self.shared.target, export, &self.turn).await {
            Ok(packed) => packed,
            Err(why) => return self.shared.drop_one("refused", &why),
        };
        loop {
            let (why, asked) = match self.caller.call(&packed).await {
                Tried::Sent => return self.shared.sent(packed.body.len() as u64),
                Tried::Refused(why) => return self.shared.drop_one("refused", &why),
                Tried::Later(why, asked) => (why, asked),
            };
            self.shared.failed(&why);
            // At random within the upper half, so that those who failed together do not come again together.
            let jitter = (random_u128() % 1_000) as f64 / 2_000.0;
            let pause = asked.unwrap_or_else(|| wait.mul_f64(0.5 + jitter));
            if shutdown.is_requested() {
                return self.shared.drop_one("stopping", "monocle stops");
            }
            if started.elapsed() + pause > TRIED_FOR_MAX {
                return self.shared.drop_one("gave_up", &why);
            }
            self.shared.metrics.retried(self.shared.signal());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => {}
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}
