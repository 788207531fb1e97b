//! One signal on its way to one place: the queue, and those that empty it.
//!
//! Which answers are worth another try, and how long to wait for it: opentelemetry-proto `docs/specification.md`, OTLP/HTTP.

use super::Target;
use crate::ingest::{Fed, Feed, feed};
use crate::model::Signal;
use crate::runtime::{Clock, Shutdown, random_u128};
use crate::telemetry::ForwardMetrics;
use crate::web::{Export, HttpClient, OtlpFormat, cause, http_client};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The first wait before another try; each further one is twice as long.
const WAIT_FIRST: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A request that was not taken for so long is dropped.
const TRIED_FOR_MAX: Duration = Duration::from_secs(300);

/// What an item takes in the queue besides its body.
const ITEM_BYTES: u64 = 256;

/// Of an answer, which is read so that its connection can be used again.
const ANSWER_MAX_BYTES: usize = 64 << 10;

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
    client: HttpClient<Full<Bytes>>,
    headers: HeaderMap,
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
) -> Result<(Lane, Sender), String> {
    let client = http_client(&target.tls).map_err(|e| format!("OTEL_EXPORTER_OTLP_…CERTIFICATE or …KEY: {e}"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("monocle/", env!("CARGO_PKG_VERSION"))));
    headers.extend(target.headers.clone());
    let (feed, fed) = feed(queue_max_bytes);
    let (failing, said) = (AtomicBool::new(false), AtomicI64::new(i64::MIN));
    let shared = Arc::new(Shared { target, name: name.to_owned(), metrics, clock, failing, said });
    Ok((Lane { feed, shared: shared.clone() }, Sender { fed: Mutex::new(fed), client, headers, shared }))
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

/// What came of one try.
enum Tried {
    Sent,
    /// And perhaps when to come again.
    Later(String, Option<Duration>),
    Refused(String),
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
        loop {
            let (why, asked) = match self.try_once(export).await {
                Tried::Sent => return self.shared.sent(export.body.len() as u64),
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

    async fn try_once(&self, export: &Export) -> Tried {
        let request = match self.request(export) {
            Ok(request) => request,
            Err(error) => return Tried::Refused(error.to_string()),
        };
        let work = async {
            let (head, body) = self.client.request(request).await.map_err(|e| cause(&e))?.into_parts();
            let body = Limited::new(body, ANSWER_MAX_BYTES).collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            Ok::<_, String>((head, body))
        };
        let (head, body) = match tokio::time::timeout(self.shared.target.timeout, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Tried::Later(why, None),
            Err(_) => return Tried::Later(format!("no answer in {:?}", self.shared.target.timeout), None),
        };
        match head.status {
            status if status.is_success() => Tried::Sent,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Tried::Later(format!("it answers {}", head.status), retry_after(&head.headers, self.shared.clock.now()))
            }
            status => Tried::Refused(format!("it answers {status}{}", said(&body))),
        }
    }

    fn request(&self, export: &Export) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::post(self.shared.target.url.as_str()).body(Full::new(export.body.clone()))?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        let kind = match export.format {
            OtlpFormat::Protobuf => "application/x-protobuf",
            OtlpFormat::Json => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(encoding) = &export.encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding)?);
        }
        let before = export.via.as_ref().and_then(|via| via.to_str().ok()).map_or_else(String::new, |via| format!("{via}, "));
        headers.insert(header::VIA, HeaderValue::from_str(&format!("{before}1.1 {}", self.shared.name))?);
        Ok(request)
    }
}

/// The beginning of what it says, if it is text.
fn said(body: &Bytes) -> String {
    const SHOWN_MAX: usize = 200;
    match std::str::from_utf8(body) {
        Ok(text) if !text.is_empty() && !text.contains('\0') => format!(": {}", text.chars().take(SHOWN_MAX).collect::<String>()),
        _ => String::new(),
    }
}

/// `Retry-After`: seconds, or a date of HTTP. `now` is in nanoseconds since the epoch.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let said = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = said.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = chrono::DateTime::parse_from_rfc2822(said).ok()?.timestamp_nanos_opt()?;
    Some(Duration::from_nanos(u64::try_from(date.saturating_sub(now)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_is_asked_for_is_kept() {
        let after = |said: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(said))]);
            retry_after(&headers, 1_773_144_000_000_000_000)
        };
        assert_eq!(after("17"), Some(Duration::from_secs(17)));
        assert_eq!(after("Tue, 10 Mar 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Tue, 10 Mar 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((after("soon"), after("-1")), (None, None));
    }

    #[test]
    fn of_an_answer_text_is_shown_and_nothing_else() {
        assert_eq!(said(&Bytes::from_static(b"no such key")), ": no such key");
        assert_eq!(said(&Bytes::from_static(b"\xff\xfe")) + &said(&Bytes::new()), "");
    }
}
