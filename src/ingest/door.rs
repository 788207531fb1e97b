use super::admission::{DECODING_MAX, Gate};
use super::{AllLimits, Buffers, Encoding, Limits, Observer, Plain, Room};
use crate::model::{Failure, FailureKind, Signal, TenantId};
use crate::runtime::{Budget, Clock};
use crate::storage::{Admitted, AppendError, Batch, Notice, Payload, Refusals, Rows, Spec, Store, Watch};
use crate::telemetry::IngestMetrics;
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What became of a request.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Items that are durable and visible now.
    pub accepted: u64,
    pub refusals: Refusals,
}

/// Where write requests of one signal enter.
pub struct Door<S: Spec> {
    store: Arc<Store<S>>,
    clock: Arc<dyn Clock>,
    metrics: IngestMetrics,
    limits: Limits,
    gate: Gate,
    /// Memory for requests between their receipt and the head, shared by all doors.
    memory: Arc<Budget>,
    /// Requests that are being decoded, whoever sent them: their number bounds the memory of decoding (invariant 7). Further
    /// ones wait, and their bodies are bounded by the memory for requests.
    decoding: Arc<Semaphore>,
    buffers: Arc<Buffers>,
    observers: RwLock<Arc<[Arc<dyn Observer<S>>]>>,
    signal: Signal,
}

/// While a body is translated, its rows are taken to need so many times its decompressed bytes at first.
const ROWS_SHARE: usize = 2;

impl<S: Spec> Door<S> {
    pub fn new(store: Arc<Store<S>>, clock: Arc<dyn Clock>, metrics: IngestMetrics, limits: Limits, memory: Arc<Budget>) -> Door<S> {
        let signal = store.spec().signal();
        let decoding = Arc::new(Semaphore::new(DECODING_MAX));
        let gate = Gate::new(Arc::default(), clock.clone(), memory.clone());
        let observers = RwLock::new(Arc::new([]) as Arc<[_]>);
        Door { store, clock, metrics, limits, gate, memory, decoding, buffers: Arc::default(), observers, signal }
    }

    /// The same, with bounds for what each tenant may send.
    pub fn limited(self, limits: Arc<AllLimits>) -> Door<S> {
        Door { gate: Gate::new(limits, self.clock.clone(), self.memory.clone()), ..self }
    }

    /// `observer` sees all that is accepted from now on.
    pub fn observe(&self, observer: Arc<dyn Observer<S>>) {
        let mut observers = self.observers.write();
        *observers = observers.iter().cloned().chain([observer]).collect();
    }

    fn watch(&self) -> Option<Watch<S>> {
        let observers = self.observers.read().clone();
        if observers.is_empty() {
            return None;
        }
        Some(Box::new(move |tenant, rows| {
            let notices: Vec<Notice> = observers.iter().filter_map(|o| o.accepted(tenant, rows)).collect();
            if notices.is_empty() { None } else { Some(Box::new(move || notices.into_iter().for_each(|notice| notice()))) }
        }))
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn store(&self) -> &Arc<Store<S>> {
        &self.store
    }

    /// Decompresses, translates, admits and appends one request, and returns when it is durable and visible.
    ///
    /// `translate` gets the decompressed body and the time of receipt, runs on a blocking thread, and must give the
    /// same rows for the same bytes and time whenever it is called, because replay calls it again through
    /// [`Spec::replay`]. It fails only for a body of which nothing can be stored, and as soon as the body's room is full.
    pub async fn accept<T>(&self, tenant: TenantId, kind: u8, encoding: Encoding, body: Bytes, translate: T) -> Result<Outcome, Failure>
    where
        T: FnOnce(Plain<'_>, i64) -> Result<(S::Rows, Refusals), Failure> + Send + 'static,
    {
        self.metrics.received(self.signal, body.len());
        let result = self.accept_uncounted(tenant, kind, encoding, body, translate).await;
        match &result {
            Ok(outcome) => {
                self.metrics.acknowledged(self.signal, outcome.accepted);
                for (reason, count, _) in outcome.refusals.reasons() {
                    self.metrics.refused(self.signal, reason, count);
                }
                for (reason, count) in outcome.refusals.unsaid() {
                    self.metrics.refused(self.signal, reason, count);
                }
            }
            Err(failure) => self.metrics.refused(self.signal, reason_of(failure), 1),
        }
        result
    }

    async fn accept_uncounted<T>(
        &self,
        tenant: TenantId,
        kind: u8,
        encoding: Encoding,
        body: Bytes,
        translate: T,
    ) -> Result<Outcome, Failure>
    where
        T: FnOnce(Plain<'_>, i64) -> Result<(S::Rows, Refusals), Failure> + Send + 'static,
    {
        // What does not fit into the whole budget will not fit later, either.
        let budget = usize::try_from(self.memory.max()).unwrap_or(usize::MAX);
        let decoded_max = self.limits.decoded_max_bytes.min(budget / (1 + ROWS_SHARE));
        let wire_max = self.limits.wire_max_bytes.min(budget);
        if body.len() > wire_max {
            return Err(Failure::new(FailureKind::TooLarge, format!("request body is larger than {wire_max} bytes")));
        }
        let entered = self.gate.enter(&tenant, body.len() as u64)?;
        // Before the wait for a permit, since the body is in memory meanwhile.
        let mut reserved = self.memory.clone().reserve(body.len() as u64).ok_or_else(no_memory)?;
        let permits = (permit(entered.decoding()).await?, permit(self.decoding.clone()).await?);
        let (store, max, received_at, watch) = (self.store.clone(), decoded_max, self.clock.now(), self.watch());
        let buffers = self.buffers.clone();
        let work = move || {
            let _permits = permits;
            let decoded = encoding.decode_pooled(&body, max, &buffers, |bytes| reserved.grow(bytes as u64).ok_or_else(no_memory))?;
            entered.charge(decoded.len(), received_at);
            reserved.grow((ROWS_SHARE * decoded.len()) as u64).ok_or_else(no_memory)?;
            let room = Room::new(reserved, (ROWS_SHARE * decoded.len()) as u64);
            let translated = translate(Plain::new(&decoded, Some(&room)), received_at);
            let (mut reserved, allocated) = room.close()?;
            let (rows, refusals) = translated?;
            // What was decompressed goes; the body stays until it is in the log, and the rows until they are in the head.
            drop(decoded);
            reserved.shrink_to(body.len() as u64 + allocated.max(rows.bytes() as u64));
            let payload = Payload { kind, encoding: encoding as u8, received_at, body };
            let batch = Batch { tenant, payload, rows, refusals };
            let ticket = store.append(Admitted::new(batch).watched_by(watch).holding(reserved)).map_err(failure_of)?;
            Ok((ticket, entered))
        };
        let (ticket, _entered) =
            tokio::task::spawn_blocking(work).await.map_err(|e| Failure::internal(format!("request handler failed: {e}")))??;
        let appended = ticket.durable().await.map_err(failure_of)?;
        Ok(Outcome { accepted: appended.accepted, refusals: appended.refusals })
    }
}

async fn permit(of: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Failure> {
    of.acquire_owned().await.map_err(|_| Failure::unavailable("shutting down"))
}

fn no_memory() -> Failure {
    Failure::unavailable("memory for requests is used up").because("memory")
}

fn failure_of(error: AppendError) -> Failure {
    let unavailable = Failure::unavailable(error.to_string());
    match error {
        AppendError::TooLarge => Failure::new(FailureKind::TooLarge, error.to_string()),
        AppendError::DiskFull => Failure { retry_after: Some(DISK_RETRY), ..unavailable.because("disk_full") },
        AppendError::HeadFull => unavailable.because("memory"),
        AppendError::WalFull => unavailable.because("wal_full"),
        AppendError::NotReady | AppendError::Stopping => unavailable.because("not_ready"),
    }
}

/// Room on the disk takes its time.
const DISK_RETRY: Duration = Duration::from_secs(5);

fn reason_of(failure: &Failure) -> &'static str {
    if let Some(reason) = failure.reason {
        return reason;
    }
    match failure.kind {
        FailureKind::Invalid => "invalid",
        FailureKind::Unauthenticated => "unauthenticated",
        FailureKind::NotFound => "not_found",
        FailureKind::TooLarge => "too_large",
        FailureKind::UnsupportedMedia => "unsupported_media",
        FailureKind::RateLimited => "rate_limited",
        FailureKind::Unavailable => "unavailable",
        FailureKind::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::SystemClock;
    use crate::storage::tests::word_store;
    use crate::telemetry::Telemetry;

    #[tokio::test]
    async fn bodies_that_wait_to_be_decoded_are_bounded_by_memory() {
        const BODY: usize = 10;
        let dir = tempfile::tempdir().unwrap();
        // Those that are decoded have their rows, too.
        let full = ((DECODING_MAX * (1 + ROWS_SHARE) + 1) * BODY) as u64;
        let memory = Budget::new(full);
        let store = word_store(dir.path());
        let door = Arc::new(Door::new(store, Arc::new(SystemClock), Telemetry::default().ingest, Limits::default(), memory));
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(parking_lot::Mutex::new(held));
        let mut sent = 0;
        let mut send = || {
            let (door, held) = (door.clone(), held.clone());
            sent += 1;
            let tenant = TenantId::parse(&format!("tenant-{sent}")).unwrap();
            tokio::spawn(async move {
                let translate = move |_: Plain<'_>, _| {
                    let _ = held.lock().recv();
                    Err(Failure::invalid("translated"))
                };
                door.accept(tenant, 1, Encoding::Identity, Bytes::from_static(&[0; BODY]), translate).await.map(|_| ())
            })
        };
        let kept: Vec<_> = (0..=DECODING_MAX).map(|_| send()).collect();
        while door.memory.used() < full {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(send().await.unwrap().unwrap_err().kind, FailureKind::Unavailable);
        drop(let_go);
        for request in kept {
            assert_eq!(request.await.unwrap().unwrap_err().kind, FailureKind::Invalid);
        }
        assert_eq!(door.memory.used(), 0);
    }
}
