use super::ServeError;
use crate::config::Config;
use crate::derive::Deriver;
use crate::forward::Forwarder;
use crate::ingest::{Door, Limits};
use crate::metrics::Writer;
use crate::metrics::scrape::Scraper;
use crate::model::Signal;
use crate::query::Pool;
use crate::query::sql::Tables;
use crate::runtime::{Budget, Memory, Shrink, Shutdown, World, hostname, working_directory};
use crate::storage::catalog::Catalog;
use crate::storage::maintenance::{self, CompactConfig, DiskRoom, Holder, MaintenanceConfig, MaintenanceError, OnDisk};
use crate::storage::tier::{self, Tier, UploadError};
use crate::storage::wal::LaneConfig;
use crate::storage::{Spec, Store, StoreConfig, StoreStatus};
use crate::telemetry::Telemetry;
use crate::web::tapped;
use crate::{logs, metrics, traces};
use axum::Router;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// One signal, ready to be served.
pub(super) struct Room {
    pub query: Router,
    pub otlp: Router,
    pub engine: Arc<dyn Engine>,
}

/// All signals, and what lies across.
pub(super) struct Built {
    pub rooms: Arc<[Room]>,
    /// Doors of protocols that are on listeners of their own.
    pub receivers: Router,
    pub deriver: Option<Deriver>,
    pub scraper: Option<Scraper>,
    /// What SQL may ask.
    pub tables: Vec<Arc<dyn Tables>>,
}

/// What the server does with a store, whatever its signal.
pub(super) trait Engine: Send + Sync {
    fn recover(&self) -> io::Result<()>;
    fn is_ready(&self) -> bool;
    fn flush(&self) -> Result<(), MaintenanceError>;
    fn compact(&self) -> Result<(), MaintenanceError>;
    fn status(&self) -> StoreStatus;
    /// Bytes that a cut would free, about.
    fn head_bytes(&self) -> u64;
    /// What the disk budget sees of it.
    fn on_disk(&self) -> Arc<dyn Holder>;
    fn close(&self) -> Result<(), MaintenanceError>;
    fn maintain(self: Arc<Self>, shutdown: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Moves blocks to the bucket and out of it, until shutdown.
    fn upload(self: Arc<Self>, shutdown: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>>;
    /// Uploads what the last cut has made.
    fn upload_rest(&self, shutdown: &Shutdown) -> Result<(), UploadError>;
}

struct Running<S: Spec> {
    store: Arc<Store<S>>,
    maintenance: MaintenanceConfig,
    turn: maintenance::Turn,
}

impl<S: Spec> Engine for Running<S> {
    fn recover(&self) -> io::Result<()> {
        self.store.recover()
    }

    fn is_ready(&self) -> bool {
        self.store.is_ready()
    }

    fn flush(&self) -> Result<(), MaintenanceError> {
        self.store.cut()
    }

    fn compact(&self) -> Result<(), MaintenanceError> {
        let _alone = self.turn.blocking_lock();
        self.store.compact(&self.maintenance.compact)
    }

    fn status(&self) -> StoreStatus {
        self.store.status()
    }

    fn head_bytes(&self) -> u64 {
        self.store.head_stats().bytes
    }

    fn on_disk(&self) -> Arc<dyn Holder> {
        Arc::new(OnDisk { store: self.store.clone(), retention: self.maintenance.retention })
    }

    fn close(&self) -> Result<(), MaintenanceError> {
        self.store.close()
    }

    fn maintain(self: Arc<Self>, shutdown: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(maintenance::run(self.store.clone(), self.maintenance, self.turn.clone(), shutdown))
    }

    fn upload(self: Arc<Self>, shutdown: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tier::run(self.store.clone(), shutdown))
    }

    fn upload_rest(&self, shutdown: &Shutdown) -> Result<(), UploadError> {
        self.store.upload_rest(shutdown)
    }
}

/// What every room is built from.
struct Parts<'a> {
    config: &'a Config,
    world: &'a World,
    tier: &'a Tier,
    catalog: &'a Arc<Catalog>,
    telemetry: &'a Telemetry,
    forwarder: &'a Forwarder,
    memory: &'a Arc<Memory>,
    /// Memory for requests on their way in.
    requests: Arc<Budget>,
    disk: &'a Arc<DiskRoom>,
    turn: maintenance::Turn,
}

impl Parts<'_> {
    fn compact(&self) -> CompactConfig {
        CompactConfig {
            bytes_max: self.disk.part(),
            inputs_max: usize::try_from(self.config.memory_bytes / MERGE_INPUT_BYTES).unwrap_or(usize::MAX).clamp(4, 24),
        }
    }

    /// Lets a cache shrink when memory is short, for as long as it lives.
    fn may_shrink<C: Shrink + 'static>(&self, cache: &Arc<C>) {
        let cache = Arc::downgrade(cache);
        self.memory.may_shrink(cache);
    }

    /// The store and door of one signal, and the routes that `routes` makes of them.
    fn room<S: Spec>(
        &self,
        spec: S,
        retention: Option<Duration>,
        routes: impl FnOnce(Arc<Door<S>>) -> (Router, Router),
    ) -> Result<(Room, Arc<Door<S>>), ServeError> {
        let lane = LaneConfig { sync: self.config.wal_sync, size_max_bytes: self.disk.part().min(WAL_MAX_BYTES) };
        let head_max_bytes = (self.config.memory_bytes / HEAD_SHARE).min(head_most_bytes(spec.signal()));
        let store_config = StoreConfig { lane, head_max_bytes };
        let store = Store::open(spec, self.tier.clone(), self.catalog.clone(), store_config, self.telemetry.store.clone())?;
        let store = Arc::new(store);
        store.keep_within(self.disk.clone());
        store.wait_for_cuts(CUT_PATIENCE);
        let door =
            Door::new(store.clone(), self.world.clock.clone(), self.telemetry.ingest.clone(), Limits::default(), self.requests.clone());
        let door = Arc::new(door.limited(self.config.tenants.clone()));
        let (query, otlp) = routes(door.clone());
        let (query, otlp) = match self.forwarder.lane(door.store().spec().signal()) {
            Some(lane) => {
                let other = lane.clone();
                (tapped(query, move |export| other.offer(export)), tapped(otlp, move |export| lane.offer(export)))
            }
            None => (query, otlp),
        };
        let maintenance = MaintenanceConfig { cut_after: self.config.cut_after, retention, compact: self.compact() };
        Ok((Room { query, otlp, engine: Arc::new(Running { store, maintenance, turn: self.turn.clone() }) }, door))
    }
}

/// The part of the memory that the heads of one signal may take: half of it before they are cut.
const HEAD_SHARE: u64 = 10;

/// Larger heads of lines and spans cost memory and save little: at two thirds of the size a load of all signals takes 8 % more
/// CPU and 58 MiB less at its peak. The head of metrics is mostly series, which stay from cut to cut.
fn head_most_bytes(signal: Signal) -> u64 {
    match signal {
        Signal::Metrics => u64::MAX,
        Signal::Logs | Signal::Traces => 48 << 20,
    }
}

/// A write that finds the head full waits so long for a cut: less than senders wait for an answer.
const CUT_PATIENCE: Duration = Duration::from_secs(4);

/// Memory for which one merge may take one more block: a tenth of it is what a block needs.
const MERGE_INPUT_BYTES: u64 = 64 << 20;

/// Un-checkpointed WAL of one lane (decisions 15).
const WAL_MAX_BYTES: u64 = 256 << 20;

/// The parts of the memory for decoded samples of blocks, and for what is known of series by their bytes.
const SAMPLES_SHARE: u64 = 16;
const SERIES_SHARE: u64 = 16;
const SERIES_MAX_BYTES: usize = 64 << 20;

/// The part of the memory that answers of targets may take.
const SCRAPE_SHARE: u64 = 8;

/// The part of the memory in which accepted spans may wait to be counted.
const DERIVE_QUEUE_SHARE: u64 = 32;

pub(super) fn build(
    config: &Config,
    world: &World,
    (disk, tier): (&Arc<DiskRoom>, &Tier),
    catalog: &Arc<Catalog>,
    pool: &Pool,
    (memory, requests): (&Arc<Memory>, &Arc<Budget>),
    (telemetry, forwarder): (&Telemetry, &Forwarder),
) -> Result<Built, ServeError> {
    let parts = Parts {
        config,
        world,
        tier,
        catalog,
        telemetry,
        forwarder,
        memory,
        requests: requests.clone(),
        disk,
        turn: maintenance::Turn::default(),
    };
    let clock = || world.clock.clone();
    let metrics = metrics::Config {
        retention: config.retention_metrics,
        sample_cache_bytes: config.memory_bytes / SAMPLES_SHARE,
        series_cache_bytes: usize::try_from(config.memory_bytes / SERIES_SHARE).unwrap_or(usize::MAX).min(SERIES_MAX_BYTES),
        limits: config.tenants.clone(),
        ..metrics::Config::default()
    };
    let mut scraper = None;
    let mut tables: Vec<Arc<dyn Tables>> = Vec::new();
    let metrics = metrics::MetricsSpec::new(metrics, clock());
    parts.may_shrink(metrics.samples());
    parts.may_shrink(metrics.known_series());
    let (metrics, metrics_door) = parts.room(metrics, config.retention_metrics, |door| {
        let share = config.memory_bytes / SCRAPE_SHARE;
        let scraping = Scraper::new(config.scrape.clone(), Writer::new(door.clone()), clock(), telemetry.clone(), share);
        let api = metrics::api::Api::new(door, pool.clone(), config.tenancy, clock(), telemetry.query.clone());
        let about = metrics::api::About {
            started_at: world.clock.now(),
            hostname: hostname(),
            working_directory: working_directory(),
            memory_bytes: config.memory_bytes,
            admin: super::admin_allowed(config),
        };
        let api = api.scraping(scraping.board()).about(about);
        tables.push(api.tables());
        scraper = (!config.scrape.is_empty()).then_some(scraping);
        let purge = super::admin_allowed(config).then(|| metrics::api::Purge { compact: parts.compact(), turn: parts.turn.clone() });
        let query = metrics::api::query_routes(api.clone()).merge(metrics::api::admin_routes(api.clone(), purge));
        (query, metrics::api::otlp_routes(api))
    })?;
    let logs = logs::Config {
        retention: config.retention_logs,
        tails_max: config.tails_max,
        delete_cancel_within: config.delete_cancel_within,
        limits: config.tenants.clone(),
        ..logs::Config::default()
    };
    let logs = logs::LogsSpec::new(logs, clock());
    parts.may_shrink(logs.known_groups());
    let (logs, _) = parts.room(logs, config.retention_logs, |door| {
        let api = logs::api::Api::new(door, pool.clone(), config.tenancy, clock(), telemetry.query.clone());
        tables.push(api.tables());
        let query = logs::api::query_routes(api.clone()).merge(logs::api::admin_routes(api.clone(), super::admin_allowed(config)));
        (query, logs::api::otlp_routes(api))
    })?;
    let traces = traces::Config { retention: config.retention_traces, limits: config.traces };
    let mut receivers = Router::new();
    let (traces, traces_door) = parts.room(traces::TracesSpec::new(traces, clock()), config.retention_traces, |door| {
        let api = traces::api::Api::new(door, pool.clone(), config.tenancy, clock(), telemetry.query.clone());
        tables.push(api.tables());
        parts.may_shrink(api.cache());
        receivers = traces::api::receiver_routes(api.clone());
        let query = traces::api::query_routes(api.clone());
        let query = if super::admin_allowed(config) { query.merge(traces::api::admin_routes(api.clone())) } else { query };
        (query, traces::api::otlp_routes(api))
    })?;
    let deriver = config.derive.enabled.then(|| {
        let queue = config.memory_bytes / DERIVE_QUEUE_SHARE;
        Deriver::new(config.derive.clone(), &traces_door, metrics_door, clock(), telemetry.derive.clone(), queue)
    });
    Ok(Built { rooms: [metrics, logs, traces].into(), receivers, deriver, scraper, tables })
}
