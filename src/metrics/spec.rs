use super::compact;
use super::head::{MetricsHead, Registry};
use super::otlp::{self, SeriesCache, TranslationConfig};
use super::rows::{Metadata, MetricRows};
use super::select::SampleCache;
use super::{remote_write, schema, select};
use crate::ingest::{AllLimits, Encoding, Limits, Plain};
use crate::model::{Failure, Signal, TenantId};
use crate::runtime::Clock;
use crate::storage::block::{Block, BlockWriter};
use crate::storage::wal::Frame;
use crate::storage::{Merge, MergeError, Merged, Refusals, ReplayError, Spec, Tombstone};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The knobs of the metrics room.
#[derive(Debug, Clone)]
pub struct Config {
    /// Samples older than this are refused; `None` takes any age.
    pub retention: Option<Duration>,
    /// How far before the newest sample of its series a sample may lie.
    pub out_of_order_window: Duration,
    /// How far ahead of the clock a sample may lie.
    pub future_max: Duration,
    /// How OTLP metrics become series.
    pub translation: TranslationConfig,
    /// How far back an instant selector looks for a sample.
    pub lookback: Duration,
    /// Bytes of decoded samples of blocks that are kept for the next queries.
    pub sample_cache_bytes: u64,
    /// Bytes of what is known of series by the bytes that name them.
    pub series_cache_bytes: usize,
    /// Samples one query may hold.
    pub query_samples_max: u64,
    /// What tenants may do.
    pub limits: Arc<AllLimits>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            retention: Some(Duration::from_secs(395 * 86_400)),
            out_of_order_window: Duration::from_secs(600),
            future_max: Duration::from_secs(600),
            translation: TranslationConfig::default(),
            lookback: Duration::from_secs(300),
            sample_cache_bytes: 64 << 20,
            series_cache_bytes: 64 << 20,
            query_samples_max: 50_000_000,
            limits: Arc::default(),
        }
    }
}

/// What the body of a WAL frame is. The numbers are stored, so they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    OtlpProtobuf = 1,
    OtlpJson = 2,
    RemoteWrite1 = 3,
    RemoteWrite2 = 4,
}

impl FrameKind {
    fn from_stored(number: u8) -> Option<FrameKind> {
        use FrameKind::{OtlpJson, OtlpProtobuf, RemoteWrite1, RemoteWrite2};
        [OtlpProtobuf, OtlpJson, RemoteWrite1, RemoteWrite2].into_iter().find(|k| *k as u8 == number)
    }
}

/// Translates one decompressed body. The same for the same bytes, time of receipt and configuration whenever it is called,
/// because replay calls it again. Fails only for a body that cannot be decoded.
pub fn translate(
    kind: FrameKind,
    body: Plain<'_>,
    received_at: i64,
    config: &Config,
    cache: &SeriesCache,
) -> Result<(MetricRows, Refusals), Failure> {
    match kind {
        FrameKind::OtlpProtobuf => otlp::translate(otlp::Kind::Protobuf, body, received_at, config, cache),
        FrameKind::OtlpJson => otlp::translate(otlp::Kind::Json, body, received_at, config, cache),
        FrameKind::RemoteWrite1 => remote_write::translate_1(body),
        FrameKind::RemoteWrite2 => remote_write::translate_2(body).map(|(rows, refusals, _)| (rows, refusals)),
    }
}

/// What storage is told of metrics. Holds the registries of series, which outlive heads.
pub struct MetricsSpec {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    registries: Mutex<HashMap<TenantId, Arc<Registry>>>,
    known: Arc<SeriesCache>,
    samples: Arc<SampleCache>,
}

impl MetricsSpec {
    pub fn new(config: Config, clock: Arc<dyn Clock>) -> MetricsSpec {
        let samples = Arc::new(SampleCache::new(config.sample_cache_bytes));
        let known = Arc::new(SeriesCache::new(config.series_cache_bytes));
        MetricsSpec { config: Arc::new(config), clock, registries: Mutex::default(), known, samples }
    }

    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Decoded samples of blocks, of all tenants.
    pub fn samples(&self) -> &Arc<SampleCache> {
        &self.samples
    }

    /// Series by the bytes that name them, for translation.
    pub fn known_series(&self) -> &Arc<SeriesCache> {
        &self.known
    }

    /// Families that were described apart from their series, in no order.
    pub fn families(&self, tenant: &TenantId) -> Vec<Arc<Metadata>> {
        self.registries.lock().get(tenant).map_or_else(Vec::new, |registry| registry.families())
    }

    fn registry(&self, tenant: &TenantId) -> Arc<Registry> {
        let new = || Arc::new(Registry::bounded(self.config.limits.of(tenant).series));
        self.registries.lock().entry(tenant.clone()).or_insert_with(new).clone()
    }
}

impl Spec for MetricsSpec {
    type Rows = MetricRows;
    type Head = MetricsHead;

    fn signal(&self) -> Signal {
        Signal::Metrics
    }

    fn new_head(&self, tenant: &TenantId) -> MetricsHead {
        MetricsHead::new(self.registry(tenant), self.config.clone(), self.clock.clone())
    }

    fn replay(&self, frame: &Frame) -> Result<MetricRows, ReplayError> {
        let encoding = Encoding::from_stored(frame.encoding).ok_or_else(|| ReplayError(format!("unknown encoding {}", frame.encoding)))?;
        let kind = FrameKind::from_stored(frame.kind).ok_or_else(|| ReplayError(format!("unknown kind {}", frame.kind)))?;
        let max = Limits::default().decoded_max_bytes;
        let body = encoding.decode(&frame.body, max).map_err(|e| ReplayError(e.to_string()))?;
        let (mut rows, _) =
            translate(kind, (&body).into(), frame.received_at, &self.config, &self.known).map_err(|e| ReplayError(e.to_string()))?;
        rows.drop_items(&frame.refused);
        Ok(rows)
    }

    fn window(&self) -> Duration {
        Duration::from_secs(2 * 3600)
    }

    fn time_columns(&self) -> &'static [(&'static str, &'static str)] {
        &[(schema::SAMPLES, "ts"), (schema::HIST, "ts"), (schema::EXEMPLARS, "ts")]
    }

    fn merge(&self, merge: Merge<'_>, out: &mut BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
        compact::merge(merge, out)
    }

    fn may_erase(&self, tombstone: &Tombstone, block: &Arc<Block>) -> bool {
        select::may_erase(tombstone, block)
    }

    fn published(&self, tenant: &TenantId, _: &[Arc<Block>]) {
        let registry = self.registries.lock().get(tenant).cloned();
        if let Some(registry) = registry {
            registry.forget_idle(self.clock.now());
        }
    }
}
