use super::ServeError;
use crate::config::Config;
use crate::ingest::{Door, Limits};
use crate::query::Pool;
use crate::runtime::{Budget, Shutdown, World};
use crate::storage::catalog::Catalog;
use crate::storage::maintenance::{self, MaintenanceConfig, MaintenanceError};
use crate::storage::tier::{self, Tier, UploadError};
use crate::storage::wal::LaneConfig;
use crate::storage::{Spec, Store, StoreConfig};
use crate::telemetry::Telemetry;
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

/// What the server does with a store, whatever its signal.
pub(super) trait Engine: Send + Sync {
    fn recover(&self) -> io::Result<()>;
    fn is_ready(&self) -> bool;
    fn flush(&self) -> Result<(), MaintenanceError>;
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

    fn close(&self) -> Result<(), MaintenanceError> {
        self.store.close()
    }

    fn maintain(self: Arc<Self>, shutdown: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(maintenance::run(self.store.clone(), self.maintenance, shutdown))
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
    /// Memory for requests on their way in.
    requests: Arc<Budget>,
}

impl Parts<'_> {
    /// The store and door of one signal, and the routes that `routes` makes of them.
    fn room<S: Spec>(
        &self,
        spec: S,
        retention: Option<Duration>,
        routes: impl FnOnce(Arc<Door<S>>) -> (Router, Router),
    ) -> Result<Room, ServeError> {
        let lane = LaneConfig { sync: self.config.wal_sync, size_max_bytes: (self.config.disk_bytes / 16).min(WAL_MAX_BYTES) };
        // Three signals share the three tenths of memory that heads may take.
        let store_config = StoreConfig { lane, head_max_bytes: self.config.memory_bytes / 10 };
        let store = Store::open(spec, self.tier.clone(), self.catalog.clone(), store_config, self.telemetry.store.clone())?;
        let store = Arc::new(store);
        let door =
            Door::new(store.clone(), self.world.clock.clone(), self.telemetry.ingest.clone(), Limits::default(), self.requests.clone());
        let (query, otlp) = routes(Arc::new(door));
        let maintenance = MaintenanceConfig { cut_after: self.config.cut_after, retention };
        Ok(Room { query, otlp, engine: Arc::new(Running { store, maintenance }) })
    }
}

/// Un-checkpointed WAL of one lane (decisions 15).
const WAL_MAX_BYTES: u64 = 256 << 20;

pub(super) fn build(
    config: &Config,
    world: &World,
    tier: &Tier,
    catalog: &Arc<Catalog>,
    pool: &Pool,
    telemetry: &Telemetry,
) -> Result<Vec<Room>, ServeError> {
    let parts = Parts { config, world, tier, catalog, telemetry, requests: Budget::new(config.memory_bytes * 3 / 10) };
    let clock = || world.clock.clone();
    let metrics = metrics::Config { retention: config.retention_metrics, ..metrics::Config::default() };
    let metrics = parts.room(metrics::MetricsSpec::new(metrics, clock()), config.retention_metrics, |door| {
        let api = metrics::api::Api::new(door, pool.clone(), config.tenancy, clock(), telemetry.query.clone());
        (metrics::api::query_routes(api.clone()), metrics::api::otlp_routes(api))
    })?;
    let logs = logs::Config { retention: config.retention_logs, ..logs::Config::default() };
    let logs = parts.room(logs::LogsSpec::new(logs, clock()), config.retention_logs, |door| {
        let api = logs::api::Api::new(door, pool.clone(), config.tenancy, clock(), telemetry.query.clone());
        (logs::api::query_routes(api.clone()), logs::api::otlp_routes(api))
    })?;
    let traces = traces::Config { retention: config.retention_traces };
    let traces = parts.room(traces::TracesSpec::new(traces, clock()), config.retention_traces, |door| {
        let api = traces::api::Api::new(door, pool.clone(), config.tenancy, clock(), telemetry.query.clone());
        (traces::api::query_routes(api.clone()), traces::api::otlp_routes(api))
    })?;
    Ok(vec![metrics, logs, traces])
}
