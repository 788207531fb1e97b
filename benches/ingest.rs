//! What taking in costs: items per CPU second from a request's bytes through decoding, admission and the WAL to the head, and
//! bytes an item in the blocks that a cut makes. `cargo bench --bench ingest`.
//!
//! Requests are made once, before anything is measured. CPU time is this process's, user and system, all threads.

#[path = "measure/cpu.rs"]
mod cpu;
#[path = "measure/disk.rs"]
mod disk;
#[path = "ingest/requests.rs"]
mod requests;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cpu::cpu_time;
use disk::size;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{Request, StatusCode};
use monocle::ingest::{Door, Limits};
use monocle::query::{Pool, PoolConfig};
use monocle::runtime::{Budget, Clock, ManualClock, OsDisk, World};
use monocle::storage::catalog::Catalog;
use monocle::storage::layout::Layout;
use monocle::storage::tier::Tier;
use monocle::storage::wal::{LaneConfig, SyncMode};
use monocle::storage::{Spec, Store, StoreConfig};
use monocle::telemetry::Telemetry;
use monocle::web::Tenancy;
use monocle::{logs, metrics, traces};
use requests::{LINES, POINTS, Requests, SPANS};
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Requests that are under way at the same time, as of a few exporters.
const CONNECTIONS: usize = 4;

/// The clock of the benchmark, in nanoseconds: 2026-03-10 12:00 UTC. Everything is sent at times before it.
const NOW: u64 = 1_773_144_000_000_000_000;

/// More than anything here needs: no cut is due while it is measured.
const PLENTY_BYTES: u64 = 8 << 30;

struct Row {
    signal: &'static str,
    items: u64,
    wire_bytes: usize,
    cpu: Duration,
    wall: Duration,
    cut_cpu: Duration,
    block_bytes: u64,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW as i64));
    let telemetry = Telemetry::default();
    let pool = Pool::new(PoolConfig { parallel: 1, waiting_max: 1, timeout: Duration::from_secs(60), memory_max_bytes: PLENTY_BYTES });
    let parts = Parts { runtime: &runtime, clock: clock.clone(), telemetry: &telemetry };
    let query = telemetry.query.clone();

    let rows = [
        parts.measure(requests::traces(400, NOW), traces::TracesSpec::new(traces::Config::default(), clock.clone()), |door| {
            traces::api::otlp_routes(traces::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone()))
        })?,
        parts.measure(requests::logs(800, NOW), logs::LogsSpec::new(logs::Config::default(), clock.clone()), |door| {
            logs::api::otlp_routes(logs::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone()))
        })?,
        parts.measure(requests::metrics(1_000, NOW, 8), metrics::MetricsSpec::new(metrics::Config::default(), clock.clone()), |door| {
            metrics::api::otlp_routes(metrics::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone()))
        })?,
    ];
    print(&rows)
}

struct Parts<'a> {
    runtime: &'a tokio::runtime::Runtime,
    clock: Arc<dyn Clock>,
    telemetry: &'a Telemetry,
}

impl Parts<'_> {
    fn measure<S: Spec>(&self, requests: Requests, spec: S, routes: impl FnOnce(Arc<Door<S>>) -> Router) -> Result<Row> {
        let home = tempfile::tempdir()?;
        let world = World { clock: self.clock.clone(), disk: Arc::new(OsDisk) };
        let layout = Layout::new(home.path());
        let catalog = Arc::new(Catalog::open(&world, &layout)?);
        world.disk.create_dir_all(&layout.temporary_root())?;
        let lane = LaneConfig { sync: SyncMode::Group, size_max_bytes: PLENTY_BYTES };
        let config = StoreConfig { lane, head_max_bytes: PLENTY_BYTES };
        let store = Arc::new(Store::open(spec, Tier::new(world, layout.clone()), catalog, config, self.telemetry.store.clone())?);
        store.recover()?;
        let door =
            Door::new(store.clone(), self.clock.clone(), self.telemetry.ingest.clone(), Limits::default(), Budget::new(PLENTY_BYTES));
        let router = routes(Arc::new(door));

        let (wire_bytes, items) = (requests.bodies.iter().map(Bytes::len).sum(), requests.items);
        let (wall, before) = (Instant::now(), cpu_time("self")?);
        self.runtime.block_on(send(&router, requests.path, requests.bodies))?;
        let (wall, cpu) = (wall.elapsed(), cpu_time("self")? - before);
        let before = cpu_time("self")?;
        store.cut()?;
        let cut_cpu = cpu_time("self")? - before;
        Ok(Row { signal: requests.signal, items, wire_bytes, cpu, wall, cut_cpu, block_bytes: size(&layout.blocks())? })
    }
}

async fn send(router: &Router, path: &'static str, bodies: Vec<Bytes>) -> Result<()> {
    let one = |body: Bytes| async move {
        let request = Request::post(path).header("content-type", "application/x-protobuf").body(Body::from(body))?;
        let response = router.clone().oneshot(request).await?;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
        // A full success is an empty message; anything in it is a refusal.
        if status == StatusCode::OK && body.is_empty() { Ok(()) } else { Err(format!("{path}: {status} {body:?}").into()) }
    };
    stream::iter(bodies).map(one).buffer_unordered(CONNECTIONS).try_collect().await
}

fn print(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "requests of {SPANS} spans, {LINES} log records or {POINTS} points, {CONNECTIONS} at a time\n")?;
    writeln!(
        out,
        "| signal | items | wire B/item | items per CPU-s | CPU-s per million | wall s | cut CPU-s per million | block B/item |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        let items = row.items as f64;
        let million = items / 1e6;
        writeln!(
            out,
            "| {} | {} | {:.1} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} |",
            row.signal,
            row.items,
            row.wire_bytes as f64 / items,
            items / row.cpu.as_secs_f64(),
            row.cpu.as_secs_f64() / million,
            row.wall.as_secs_f64(),
            row.cut_cpu.as_secs_f64() / million,
            row.block_bytes as f64 / items,
        )?;
    }
    Ok(())
}
