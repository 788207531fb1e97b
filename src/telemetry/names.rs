use crate::model::Signal;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BySignal {
    signal: &'static str,
}

impl From<Signal> for BySignal {
    fn from(signal: Signal) -> BySignal {
        BySignal { signal: signal.as_str() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByReason {
    signal: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByApi {
    api: &'static str,
    outcome: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 18))
}

type SecondsBySignal = Family<BySignal, Histogram, fn() -> Histogram>;
type SecondsByApi = Family<ByApi, Histogram, fn() -> Histogram>;

/// The way in, by signal: what came, what was refused and why, what was acknowledged.
#[derive(Clone)]
pub struct IngestMetrics {
    requests: Family<BySignal, Counter>,
    received_bytes: Family<BySignal, Counter>,
    acknowledged: Family<BySignal, Counter>,
    refused: Family<ByReason, Counter>,
    /// What `refused` has counters for, since a family cannot be listed.
    reasons: Arc<Mutex<BTreeSet<(&'static str, &'static str)>>>,
}

impl IngestMetrics {
    pub(super) fn register(registry: &mut Registry) -> IngestMetrics {
        let m = IngestMetrics {
            requests: Family::default(),
            received_bytes: Family::default(),
            acknowledged: Family::default(),
            refused: Family::default(),
            reasons: Arc::default(),
        };
        registry.register("ingest_requests", "Write requests received", m.requests.clone());
        registry.register_with_unit("ingest_received", "Bytes of write requests on the wire", Unit::Bytes, m.received_bytes.clone());
        registry.register(
            "ingest_acknowledged_items",
            "Samples, lines or spans that are durable and were acknowledged",
            m.acknowledged.clone(),
        );
        registry.register(
            "ingest_refused_items",
            "Samples, lines or spans (or, before decoding, requests) that were refused",
            m.refused.clone(),
        );
        m
    }

    pub fn received(&self, signal: Signal, bytes: usize) {
        self.requests.get_or_create(&signal.into()).inc();
        self.received_bytes.get_or_create(&signal.into()).inc_by(bytes as u64);
    }

    pub fn acknowledged(&self, signal: Signal, items: u64) {
        self.acknowledged.get_or_create(&signal.into()).inc_by(items);
    }

    pub fn refused(&self, signal: Signal, reason: &'static str, items: u64) {
        self.refused.get_or_create(&ByReason { signal: signal.as_str(), reason }).inc_by(items);
        self.reasons.lock().insert((signal.as_str(), reason));
    }

    pub fn acknowledged_so_far(&self, signal: Signal) -> u64 {
        self.acknowledged.get_or_create(&signal.into()).get()
    }

    pub fn received_so_far(&self, signal: Signal) -> u64 {
        self.received_bytes.get_or_create(&signal.into()).get()
    }

    /// Reasons and how many items each has refused, by reason.
    pub fn refused_so_far(&self, signal: Signal) -> Vec<(&'static str, u64)> {
        let reasons = self.reasons.lock().clone();
        let of_signal = reasons.into_iter().filter(|(of, _)| *of == signal.as_str());
        of_signal.map(|(signal, reason)| (reason, self.refused.get_or_create(&ByReason { signal, reason }).get())).collect()
    }
}

/// The engine, by signal.
#[derive(Clone)]
pub struct StoreMetrics {
    wal_written_bytes: Family<BySignal, Counter>,
    wal_bytes: Family<BySignal, Gauge>,
    wal_sync_seconds: SecondsBySignal,
    wal_damaged_frames: Family<BySignal, Counter>,
    head_bytes: Family<BySignal, Gauge>,
    head_items: Family<BySignal, Gauge>,
    block_bytes: Family<BySignal, Gauge>,
    blocks: Family<BySignal, Gauge>,
    cut_seconds: SecondsBySignal,
    compact_seconds: SecondsBySignal,
    compacted_blocks: Family<BySignal, Counter>,
    maintenance_failures: Family<BySignal, Counter>,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> StoreMetrics {
        let m = StoreMetrics {
            wal_written_bytes: Family::default(),
            wal_bytes: Family::default(),
            wal_sync_seconds: Family::new_with_constructor(seconds),
            wal_damaged_frames: Family::default(),
            head_bytes: Family::default(),
            head_items: Family::default(),
            block_bytes: Family::default(),
            blocks: Family::default(),
            cut_seconds: Family::new_with_constructor(seconds),
            compact_seconds: Family::new_with_constructor(seconds),
            compacted_blocks: Family::default(),
            maintenance_failures: Family::default(),
        };
        registry.register_with_unit("wal_written", "Bytes appended to the WAL", Unit::Bytes, m.wal_written_bytes.clone());
        registry.register_with_unit("wal_size", "Bytes of WAL that no block covers yet", Unit::Bytes, m.wal_bytes.clone());
        registry.register_with_unit("wal_sync", "Time of one group commit's fdatasync", Unit::Seconds, m.wal_sync_seconds.clone());
        registry.register("wal_damaged_frames", "Frames that replay set aside", m.wal_damaged_frames.clone());
        registry.register_with_unit("head_size", "Estimated bytes in the head", Unit::Bytes, m.head_bytes.clone());
        registry.register("head_items", "Samples, lines or spans in the head", m.head_items.clone());
        registry.register_with_unit("block_size", "Bytes in blocks", Unit::Bytes, m.block_bytes.clone());
        registry.register("blocks", "Live blocks", m.blocks.clone());
        registry.register_with_unit("cut", "Time to cut a head into blocks", Unit::Seconds, m.cut_seconds.clone());
        registry.register_with_unit("compact", "Time of one merge of blocks, rests included", Unit::Seconds, m.compact_seconds.clone());
        registry.register("compacted_blocks", "Blocks that were merged into others", m.compacted_blocks.clone());
        registry.register(
            "maintenance_failures",
            "Cuts, expiries and collections that failed and will be tried again",
            m.maintenance_failures.clone(),
        );
        m
    }

    pub fn wal_written(&self, signal: Signal, bytes: u64, sync: Duration) {
        self.wal_written_bytes.get_or_create(&signal.into()).inc_by(bytes);
        self.wal_sync_seconds.get_or_create(&signal.into()).observe(sync.as_secs_f64());
    }

    pub fn wal_size(&self, signal: Signal, bytes: u64) {
        self.wal_bytes.get_or_create(&signal.into()).set(gauge(bytes));
    }

    pub fn wal_damaged(&self, signal: Signal, frames: u64) {
        self.wal_damaged_frames.get_or_create(&signal.into()).inc_by(frames);
    }

    pub fn head(&self, signal: Signal, items: u64, bytes: u64) {
        self.head_items.get_or_create(&signal.into()).set(gauge(items));
        self.head_bytes.get_or_create(&signal.into()).set(gauge(bytes));
    }

    pub fn blocks(&self, signal: Signal, count: u64, bytes: u64) {
        self.blocks.get_or_create(&signal.into()).set(gauge(count));
        self.block_bytes.get_or_create(&signal.into()).set(gauge(bytes));
    }

    pub fn cut(&self, signal: Signal, took: Duration) {
        self.cut_seconds.get_or_create(&signal.into()).observe(took.as_secs_f64());
    }

    pub fn compacted(&self, signal: Signal, inputs: u64, took: Duration) {
        self.compact_seconds.get_or_create(&signal.into()).observe(took.as_secs_f64());
        self.compacted_blocks.get_or_create(&signal.into()).inc_by(inputs);
    }

    pub fn maintenance_failed(&self, signal: Signal) {
        self.maintenance_failures.get_or_create(&signal.into()).inc();
    }
}

/// The bucket: what goes there, what is read from it, and whether it answers.
#[derive(Clone)]
pub struct BucketMetrics {
    up: Gauge,
    owned: Gauge,
    uploaded_bytes: Family<BySignal, Counter>,
    uploaded_blocks: Family<BySignal, Counter>,
    upload_failures: Family<BySignal, Counter>,
    removed_blocks: Family<BySignal, Counter>,
    waiting: Family<BySignal, Gauge>,
    fetched_bytes: Counter,
    fetches: Counter,
    cache_hits: Counter,
}

impl BucketMetrics {
    pub(super) fn register(registry: &mut Registry) -> BucketMetrics {
        let m = BucketMetrics {
            up: Gauge::default(),
            owned: Gauge::default(),
            uploaded_bytes: Family::default(),
            uploaded_blocks: Family::default(),
            upload_failures: Family::default(),
            removed_blocks: Family::default(),
            waiting: Family::default(),
            fetched_bytes: Counter::default(),
            fetches: Counter::default(),
            cache_hits: Counter::default(),
        };
        registry.register("bucket_up", "1 while the bucket answers", m.up.clone());
        registry.register("bucket_owned", "1 while the bucket's prefix is this data directory's", m.owned.clone());
        registry.register_with_unit("bucket_uploaded", "Bytes of blocks sent to the bucket", Unit::Bytes, m.uploaded_bytes.clone());
        registry.register("bucket_uploaded_blocks", "Blocks that were uploaded and verified", m.uploaded_blocks.clone());
        registry.register("bucket_upload_failures", "Uploads that failed and will be tried again", m.upload_failures.clone());
        registry.register("bucket_removed_blocks", "Obsolete blocks removed from the bucket", m.removed_blocks.clone());
        registry.register("bucket_waiting_blocks", "Live blocks that the bucket does not have yet", m.waiting.clone());
        registry.register_with_unit("bucket_fetched", "Bytes read from the bucket for queries", Unit::Bytes, m.fetched_bytes.clone());
        registry.register("bucket_fetches", "Requests that read from the bucket for queries", m.fetches.clone());
        registry.register("bucket_cache_hits", "Reads of remote files that the local cache answered", m.cache_hits.clone());
        m
    }

    pub fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }

    pub fn owned(&self, owned: bool) {
        self.owned.set(i64::from(owned));
    }

    pub fn uploaded(&self, signal: Signal, bytes: u64) {
        self.uploaded_bytes.get_or_create(&signal.into()).inc_by(bytes);
        self.uploaded_blocks.get_or_create(&signal.into()).inc();
    }

    pub fn upload_failed(&self, signal: Signal) {
        self.upload_failures.get_or_create(&signal.into()).inc();
    }

    pub fn removed(&self, signal: Signal) {
        self.removed_blocks.get_or_create(&signal.into()).inc();
    }

    pub fn waiting(&self, signal: Signal, blocks: u64) {
        self.waiting.get_or_create(&signal.into()).set(gauge(blocks));
    }

    pub fn fetched(&self, bytes: u64) {
        self.fetched_bytes.inc_by(bytes);
        self.fetches.inc();
    }

    pub fn cache_hit(&self) {
        self.cache_hits.inc();
    }
}

fn gauge(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The way out, by API.
#[derive(Clone)]
pub struct QueryMetrics {
    seconds: SecondsByApi,
    tails: Gauge,
    tail_missed: Counter,
}

impl QueryMetrics {
    pub(super) fn register(registry: &mut Registry) -> QueryMetrics {
        let m = QueryMetrics { seconds: Family::new_with_constructor(seconds), tails: Gauge::default(), tail_missed: Counter::default() };
        registry.register_with_unit("query_duration", "Time to answer a query", Unit::Seconds, m.seconds.clone());
        registry.register("tails", "Clients that follow log lines as they come in", m.tails.clone());
        registry.register("tail_missed_entries", "Log lines that clients too slow for them were told they missed", m.tail_missed.clone());
        m
    }

    pub fn tails(&self, count: usize) {
        self.tails.set(gauge(count as u64));
    }

    pub fn tail_missed(&self, entries: u64) {
        self.tail_missed.inc_by(entries);
    }

    /// `outcome` is `ok` or the kind of the failure.
    pub fn answered(&self, api: &'static str, outcome: &'static str, took: Duration) {
        self.seconds.get_or_create(&ByApi { api, outcome }).observe(took.as_secs_f64());
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByCause {
    reason: &'static str,
}

/// Metrics derived from spans.
#[derive(Clone)]
pub struct DeriveMetrics {
    spans: Counter,
    series: Gauge,
    dropped: Family<ByCause, Counter>,
}

impl DeriveMetrics {
    pub(super) fn register(registry: &mut Registry) -> DeriveMetrics {
        let m = DeriveMetrics { spans: Counter::default(), series: Gauge::default(), dropped: Family::default() };
        registry.register("derive_spans", "Spans that count in span metrics and in the service graph", m.spans.clone());
        registry.register("derive_series", "Series of span metrics and of the service graph", m.series.clone());
        registry.register(
            "derive_dropped",
            "Spans, halves of calls and samples that derived metrics go without, by reason",
            m.dropped.clone(),
        );
        m
    }

    pub fn spans(&self, count: u64) {
        self.spans.inc_by(count);
    }

    pub fn series(&self, count: u64) {
        self.series.set(gauge(count));
    }

    pub fn dropped(&self, reason: &'static str, count: u64) {
        if count > 0 {
            self.dropped.get_or_create(&ByCause { reason }).inc_by(count);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByOutcome {
    outcome: &'static str,
}

/// What monocle scrapes from others.
#[derive(Clone)]
pub struct ScrapeMetrics {
    targets: Gauge,
    scrapes: Family<ByOutcome, Counter>,
    samples: Counter,
    dropped: Family<ByCause, Counter>,
}

impl ScrapeMetrics {
    pub(super) fn register(registry: &mut Registry) -> ScrapeMetrics {
        let m = ScrapeMetrics {
            targets: Gauge::default(),
            scrapes: Family::default(),
            samples: Counter::default(),
            dropped: Family::default(),
        };
        registry.register("scrape_targets", "Targets that are scraped", m.targets.clone());
        registry.register("scrapes", "Scrapes, by how they ended", m.scrapes.clone());
        registry.register("scraped_samples", "Samples of scrapes that are left by relabelling", m.samples.clone());
        registry.register(
            "scrape_dropped",
            "Scraped samples that were refused, and bodies that were not written, by reason",
            m.dropped.clone(),
        );
        m
    }

    pub fn targets(&self, count: u64) {
        self.targets.set(gauge(count));
    }

    pub fn scraped(&self, outcome: &'static str, samples: u64) {
        self.scrapes.get_or_create(&ByOutcome { outcome }).inc();
        self.samples.inc_by(samples);
    }

    pub fn dropped(&self, reason: &'static str, count: u64) {
        self.dropped.get_or_create(&ByCause { reason }).inc_by(count);
    }
}

/// What is sent on to others.
#[derive(Clone)]
pub struct ForwardMetrics {
    requests: Family<BySignal, Counter>,
    bytes: Family<BySignal, Counter>,
    retries: Family<BySignal, Counter>,
    dropped: Family<ByReason, Counter>,
}

impl ForwardMetrics {
    pub(super) fn register(registry: &mut Registry) -> ForwardMetrics {
        let m = ForwardMetrics {
            requests: Family::default(),
            bytes: Family::default(),
            retries: Family::default(),
            dropped: Family::default(),
        };
        registry.register("forward_requests", "Requests that were sent on and taken", m.requests.clone());
        registry.register_with_unit("forward_sent", "Bytes of requests that were sent on and taken", Unit::Bytes, m.bytes.clone());
        registry.register("forward_retries", "Times that a request was sent on again", m.retries.clone());
        registry.register("forward_dropped", "Requests that were not sent on, by reason", m.dropped.clone());
        m
    }

    pub fn sent(&self, signal: Signal, bytes: u64) {
        self.requests.get_or_create(&signal.into()).inc();
        self.bytes.get_or_create(&signal.into()).inc_by(bytes);
    }

    pub fn retried(&self, signal: Signal) {
        self.retries.get_or_create(&signal.into()).inc();
    }

    pub fn dropped(&self, signal: Signal, reason: &'static str) {
        self.dropped.get_or_create(&ByReason { signal: signal.as_str(), reason }).inc();
    }
}
