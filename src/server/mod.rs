//! Builds the parts in order, and stops them in reverse.

mod admin;
mod advice;
mod bucket;
mod connections;
mod directory;
mod listener;
mod memory;
mod page;
mod rooms;
mod router;
mod sql;
mod status;

use crate::config::{Config, Endpoint};
use crate::forward::Forwarder;
use crate::model::time::SECOND;
use crate::query::sql::Sql;
use crate::query::{Pool, PoolConfig};
use crate::runtime::{Budget, Memory, Purpose, Shrink, Tasks, World, cores};
use crate::storage::block::KeptParts;
use crate::storage::catalog::{Catalog, CatalogError};
use crate::storage::layout::Layout;
use crate::storage::maintenance::{CollectError, DiskRoom, collect_orphans};
use crate::storage::tier::{self, BucketError, OwnerError, UploadError};
use crate::telemetry::Telemetry;
use crate::web::SlowQueries;
pub use advice::warnings;
pub use directory::{DirectoryError, lock_directory};
use listener::{BindErrors, Bound, Kind};
use rooms::{Built, Room};
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bind(#[from] BindErrors),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Collect(#[from] CollectError),
    #[error("some blocks of this data directory are only in {0}: start with --s3 {0}")]
    BucketNeeded(String),
    #[error("--s3: {0}{advice}", advice = bucket::what_to_do(.0))]
    Bucket(#[from] BucketError),
    #[error("--s3: {0}{advice}", advice = bucket::what_to_do_about(.0))]
    Owner(#[from] OwnerError),
    #[error("--s3: {0}")]
    Upload(#[from] UploadError),
    #[error("{0}")]
    Forward(String),
    #[error("{0}")]
    Recovery(String),
    #[error("not everything was flushed in time; the write-ahead log has it")]
    Unflushed,
}

/// Requests that are under way when a stop is asked for may take this long.
const DRAIN: Duration = Duration::from_secs(10);

/// The flush at stop may take this long, so that a stop takes less than the 30 seconds that supervisors grant.
const FLUSH: Duration = Duration::from_secs(15);

/// A whole stop: what is left of it after the flush goes to the upload of the last blocks.
const STOP_MAX: Duration = Duration::from_secs(28);

/// The last derived samples, and what is still to be forwarded, may take this long.
const LAST_COLLECTION: Duration = Duration::from_secs(3);

/// The part of the memory in which requests of one signal may wait to be forwarded.
const FORWARD_QUEUE_SHARE: u64 = 32;

/// Queries that may wait for a slot of the CPU pool.
const QUERIES_WAITING_MAX: usize = 200;

/// Tenths of the memory that requests may take on their way in, and what queries may hold.
const REQUESTS_TENTHS: u64 = 3;
const QUERIES_TENTHS: u64 = 3;

/// The part of the memory that bodies may take while they are read.
const BODIES_SHARE: u64 = 8;

/// The part of the memory that footers and other decoded parts of blocks may take.
const KEPT_SHARE: u64 = 16;

/// Serves until SIGTERM or SIGINT, then flushes everything.
pub async fn serve(config: Config) -> Result<(), ServeError> {
    let started = Instant::now();
    let world = World::real();
    let layout = Layout::new(&config.data);
    let _lock = directory::open(&world, &layout)?;
    for warning in advice::warnings(&config, &world) {
        tracing::warn!("{warning}");
    }
    if world.disk.exists(&layout.addresses()) {
        // Those of a process that is gone.
        world.disk.remove_file(&layout.addresses())?;
    }
    let (world, disk) = DiskRoom::open(&world, &layout, config.disk_bytes)?;
    let telemetry = Telemetry::default();
    telemetry.process.started(world.clock.now() / SECOND);
    telemetry.memory.budget(config.memory_bytes);
    let catalog = Arc::new(Catalog::open(&world, &layout)?);
    let tasks = Tasks::default();
    let tier = bucket::open(&config, disk.max(), &world, &layout, &catalog, &telemetry, &tasks.shutdown).await?;
    let tier = tier.keeping(config.memory_bytes / KEPT_SHARE);
    let memory = Memory::new(config.memory_bytes);
    let kept: Weak<dyn Shrink> = Arc::<KeptParts>::downgrade(tier.kept());
    memory.may_shrink(kept);
    // Forms of queries are bodies, too: what is left to them is there for these.
    let bodies = Budget::share(&memory, Purpose::Query, config.memory_bytes / BODIES_SHARE);
    let requests = Budget::share(&memory, Purpose::Write, config.memory_bytes * REQUESTS_TENTHS / 10);
    collect_orphans(&world, &layout, &catalog)?;
    let pool = Pool::new(PoolConfig {
        parallel: cores().saturating_sub(1).max(1),
        waiting_max: QUERIES_WAITING_MAX,
        timeout: config.query_timeout,
        memory_max_bytes: config.memory_bytes * QUERIES_TENTHS / 10,
    });
    let pool = pool.within(&memory);
    let bound = listener::bind(&config.listeners).await?;
    let own: Vec<_> = bound.iter().map(|b| b.address).collect();
    let queue = config.memory_bytes / FORWARD_QUEUE_SHARE;
    let forwarder = Forwarder::new(config.forward.clone(), &own, world.clock.clone(), &telemetry.forward, queue).await;
    let forwarder = forwarder.map_err(ServeError::Forward)?;
    let (places, shared, watched) = ((&disk, &tier), (&memory, &requests), (&telemetry, &forwarder));
    let Built { rooms, receivers, deriver, scraper, tables } = rooms::build(&config, &world, places, &catalog, &pool, shared, watched)?;
    write_addresses(&world, &layout, &bound)?;
    let slow = SlowQueries::new(world.clock.clone());
    let reporter = status::Reporter::new(&config, rooms.clone(), &telemetry, &bound, &world.clock, slow.clone());
    let sql = sql::Api { sql: Sql::new(pool, tables), tenancy: config.tenancy, telemetry: telemetry.query.clone() };
    let shared = (slow, config.cors.clone());
    let doors = (sql::routes(sql), receivers);
    let routers = router::build(&rooms, doors, &bodies, &telemetry, admin_allowed(&config), status::routes(reporter), shared);
    let addresses: Vec<(Kind, SocketAddr)> = bound.iter().map(|b| (b.kind, b.address)).collect();
    for bound in bound {
        let router = routers.of(bound.kind);
        tasks.spawn("listener", listener::serve(bound, router, tasks.shutdown.clone(), DRAIN));
    }
    let recovery = tokio::spawn(recover(rooms.clone(), started, first_steps(&addresses, &config.data)));
    for room in rooms.iter() {
        tasks.spawn("maintenance", room.engine.clone().maintain(tasks.shutdown.clone()));
        tasks.spawn("upload", room.engine.clone().upload(tasks.shutdown.clone()));
    }
    let on_disk = rooms.iter().map(|room| room.engine.on_disk()).collect();
    tasks.spawn("disk", disk.run(on_disk, telemetry.process.clone(), tasks.shutdown.clone()));
    let (watched, uses, shutdown) = (rooms.clone(), telemetry.memory.clone(), tasks.shutdown.clone());
    tasks.spawn_blocking("memory", move || memory::keep(&memory, &watched, &uses, &shutdown));
    tasks.spawn("bucket", tier::keep(tier.clone(), catalog.clone(), tasks.shutdown.clone()));
    if let Some(scraper) = scraper {
        tasks.spawn("scrape", scraper.run(tasks.shutdown.clone()));
    }
    // Stopped after the listeners, so that what they still took is counted, too.
    let derived = Tasks::default();
    derived.spawn("forward", forwarder.run(derived.shutdown.clone()));
    if let Some(deriver) = deriver {
        derived.spawn("derive", deriver.run(derived.shutdown.clone()));
    }
    let outcome = tokio::select! {
        reason = stop_requested() => reason.map_err(ServeError::from),
        error = failed(recovery) => Err(ServeError::Recovery(error)),
    };
    tracing::info!("stopping");
    let stopping = Instant::now();
    tasks.stop(DRAIN + Duration::from_secs(2)).await;
    derived.stop(LAST_COLLECTION).await;
    let closed = close(rooms.clone(), FLUSH).await;
    if tier.has_bucket() {
        bucket::close(rooms, tier, catalog, STOP_MAX.saturating_sub(stopping.elapsed())).await;
    }
    outcome.and(closed)
}

/// Replays all lanes at once, then says so.
async fn recover(rooms: Arc<[Room]>, started: Instant, first_steps: String) -> Result<(), String> {
    let lanes: Vec<_> = rooms
        .iter()
        .map(|room| {
            let engine = room.engine.clone();
            tokio::task::spawn_blocking(move || engine.recover())
        })
        .collect();
    for lane in lanes {
        lane.await.map_err(|e| e.to_string())?.map_err(|e| format!("cannot recover the write-ahead log: {e}"))?;
    }
    tracing::info!(took_ms = started.elapsed().as_millis() as u64, "ready: {first_steps}");
    // Test containers of otel-lgtm wait for exactly this line on standard output. At a terminal it would only puzzle people.
    let line = "The OpenTelemetry collector and the Grafana LGTM stack are up and running.\n";
    let mut out = io::stdout();
    if !out.is_terminal() {
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
    Ok(())
}

/// Where to look and to send, for whoever has just started it.
fn first_steps(addresses: &[(Kind, SocketAddr)], data: &Path) -> String {
    let url = |wanted: Kind| {
        let found = addresses.iter().find(|(kind, _)| *kind == wanted)?;
        let host =
            if found.1.ip().is_unspecified() || found.1.ip().is_loopback() { "localhost".to_owned() } else { found.1.ip().to_string() };
        Some(format!("http://{host}:{}", found.1.port()))
    };
    let page = [Kind::Web, Kind::Prometheus, Kind::Loki, Kind::Tempo].into_iter().find_map(url);
    let page = page.map_or_else(|| "no page".to_owned(), |url| format!("a page is at {url}"));
    match url(Kind::OtlpHttp) {
        Some(otlp) => format!("{page}, OTLP goes to {otlp}, data is in {}", data.display()),
        None => format!("{page}, data is in {}", data.display()),
    }
}

/// Resolves only if recovery failed.
async fn failed(recovery: tokio::task::JoinHandle<Result<(), String>>) -> String {
    match recovery.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    }
}

async fn stop_requested() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Cuts all heads, so that the next start replays nothing. What takes longer than `limit` is left to the write-ahead log.
async fn close(rooms: Arc<[Room]>, limit: Duration) -> Result<(), ServeError> {
    tokio::time::timeout(limit, close_all(rooms)).await.unwrap_or(Err(ServeError::Unflushed))
}

async fn close_all(rooms: Arc<[Room]>) -> Result<(), ServeError> {
    let closing: Vec<_> = rooms
        .iter()
        .map(|room| {
            let engine = room.engine.clone();
            tokio::task::spawn_blocking(move || engine.close())
        })
        .collect();
    let mut all = true;
    for task in closing {
        match task.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                all = false;
                tracing::error!(%error, "cannot flush at stop; the write-ahead log keeps the data");
            }
            Err(error) => {
                all = false;
                tracing::error!(%error, "flush at stop failed");
            }
        }
    }
    if all { Ok(()) } else { Err(ServeError::Unflushed) }
}

/// Admin endpoints change things, so unless it is said otherwise only this machine reaches them.
fn admin_allowed(config: &Config) -> bool {
    let l = &config.listeners;
    let routers = [&l.prometheus, &l.loki, &l.tempo, &l.web];
    config.admin.unwrap_or_else(|| routers.into_iter().flatten().all(Endpoint::is_loopback))
}

fn write_addresses(world: &World, layout: &Layout, bound: &[Bound]) -> io::Result<()> {
    let addresses: serde_json::Map<String, serde_json::Value> =
        bound.iter().map(|b| (b.kind.name().to_owned(), b.address.to_string().into())).collect();
    let temporary = layout.addresses().with_extension("new");
    if world.disk.exists(&temporary) {
        world.disk.remove_file(&temporary)?;
    }
    let mut file = world.disk.create(&temporary)?;
    file.write_all(serde_json::Value::Object(addresses).to_string().as_bytes())?;
    world.disk.rename(&temporary, &layout.addresses())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Signal;
    use crate::runtime::Shutdown;
    use crate::storage::block::BlockId;
    use crate::storage::maintenance::{HeldBlock, Holder, MaintenanceError};
    use crate::storage::{HeadStats, StoreStatus};
    use std::pin::Pin;
    use std::sync::mpsc;

    /// Its flush lasts until the test lets go of the other end.
    struct Stuck(parking_lot::Mutex<mpsc::Receiver<()>>);

    struct Nothing;

    impl Holder for Nothing {
        fn signal(&self) -> Signal {
            Signal::Logs
        }

        fn held(&self) -> Vec<HeldBlock> {
            Vec::new()
        }

        fn leaving_bytes(&self) -> u64 {
            0
        }

        fn let_go(&self, _: &[BlockId]) -> Result<(), MaintenanceError> {
            Ok(())
        }
    }

    impl rooms::Engine for Stuck {
        fn recover(&self) -> io::Result<()> {
            Ok(())
        }

        fn is_ready(&self) -> bool {
            true
        }

        fn flush(&self) -> Result<(), MaintenanceError> {
            Ok(())
        }

        fn compact(&self) -> Result<(), MaintenanceError> {
            Ok(())
        }

        fn head_bytes(&self) -> u64 {
            0
        }

        fn status(&self) -> StoreStatus {
            StoreStatus { signal: Signal::Logs, wal_bytes: 0, head: HeadStats::default(), blocks: Vec::new() }
        }

        fn on_disk(&self) -> Arc<dyn Holder> {
            Arc::new(Nothing)
        }

        fn close(&self) -> Result<(), MaintenanceError> {
            let _ = self.0.lock().recv();
            Ok(())
        }

        fn maintain(self: Arc<Self>, _: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }

        fn upload(self: Arc<Self>, _: Shutdown) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::ready(()))
        }

        fn upload_rest(&self, _: &Shutdown) -> Result<(), UploadError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_flush_that_does_not_end_does_not_hold_up_the_stop() {
        let (let_go, held) = mpsc::channel();
        let room = Room { query: axum::Router::new(), otlp: axum::Router::new(), engine: Arc::new(Stuck(parking_lot::Mutex::new(held))) };
        let closed = close([room].into(), Duration::from_millis(50)).await;
        assert!(matches!(closed, Err(ServeError::Unflushed)));
        drop(let_go);
    }
}
