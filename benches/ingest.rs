//! What taking in costs: items per CPU second from a request's bytes through decoding, admission and the WAL to the head, and
//! what cutting and merging cost, in CPU time and in bytes an item. `cargo bench --bench ingest`.
//!
//! A head is cut twice, and the two blocks are merged.
//!
//! Requests are made once, before anything is measured. CPU time is this process's, user and system, all threads.

#[path = "measure/cpu.rs"]
mod cpu;
#[path = "measure/disk.rs"]
mod disk;
#[path = "ingest/opened.rs"]
mod opened;
#[path = "ingest/requests.rs"]
mod requests;

use axum::Router;
use bytes::Bytes;
use cpu::cpu_time;
use disk::size;
use monocle::ingest::Door;
use monocle::model::TenantId;
use monocle::query::{Pool, PoolConfig};
use monocle::runtime::{Clock, ManualClock};
use monocle::storage::Spec;
use monocle::storage::maintenance::CompactConfig;
use monocle::telemetry::Telemetry;
use monocle::web::Tenancy;
use monocle::{logs, metrics, traces};
use opened::{CONNECTIONS, Opened, PLENTY_BYTES, send};
use requests::{HISTOGRAMS, LINES, POINTS, Requests, SERIES, SPANS};
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The clock of the benchmark, in nanoseconds: 2026-03-10 12:00 UTC. Everything is sent at times before it.
const NOW: u64 = 1_773_144_000_000_000_000;

#[derive(Default)]
struct Row {
    signal: &'static str,
    items: u64,
    wire_bytes: usize,
    cpu: Duration,
    wall: Duration,
    cut_cpu: Duration,
    block_bytes: u64,
    compact_cpu: Duration,
    compact_bytes: u64,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW as i64));
    let telemetry = Telemetry::default();
    let pool = Pool::new(PoolConfig { parallel: 1, waiting_max: 1, timeout: Duration::from_secs(60), memory_max_bytes: PLENTY_BYTES });
    let parts = Parts { runtime: &runtime, clock: clock.clone(), telemetry: &telemetry };
    let query = telemetry.query.clone();

    let metrics_spec = || metrics::MetricsSpec::new(metrics::Config::default(), clock.clone());
    let of_metrics =
        |door| metrics::api::otlp_routes(metrics::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone()));
    let rows = [
        parts.measure(requests::traces(400, NOW), traces::TracesSpec::new(traces::Config::default(), clock.clone()), |door| {
            traces::api::otlp_routes(traces::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone()))
        })?,
        parts.measure(requests::logs(800, NOW), logs::LogsSpec::new(logs::Config::default(), clock.clone()), |door| {
            logs::api::otlp_routes(logs::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone()))
        })?,
        parts.measure(requests::metrics(1_000, NOW, 8), metrics_spec(), of_metrics)?,
        parts.measure(requests::histograms(1_000, NOW, 8), metrics_spec(), of_metrics)?,
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
        let Opened { store, door, layout, .. } = &Opened::new(spec, &self.clock, self.telemetry)?;
        let router = routes(door.clone());

        let (wire_bytes, items) = (requests.bodies.iter().map(Bytes::len).sum(), requests.items);
        let mut row = Row { signal: requests.signal, items, wire_bytes, ..Row::default() };
        let mut first = requests.bodies;
        let second = first.split_off(first.len() / 2);
        for bodies in [first, second] {
            let (wall, before) = (Instant::now(), cpu_time("self")?);
            self.runtime.block_on(send(&router, requests.path, bodies))?;
            row.wall += wall.elapsed();
            row.cpu += cpu_time("self")? - before;
            let before = cpu_time("self")?;
            store.cut()?;
            row.cut_cpu += cpu_time("self")? - before;
        }
        row.block_bytes = size(&layout.blocks())?;
        let before = cpu_time("self")?;
        store.compact(&CompactConfig { bytes_max: PLENTY_BYTES, inputs_max: 8 })?;
        row.compact_cpu = cpu_time("self")? - before;
        row.compact_bytes = store.view(&TenantId::default_tenant()).blocks.iter().map(|block| block.meta().bytes()).sum();
        Ok(row)
    }
}

fn print(rows: &[Row]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "requests of {SPANS} spans, {LINES} log records, {POINTS} points or {HISTOGRAMS} histograms of {SERIES} series, {CONNECTIONS} at a time\n"
    )?;
    writeln!(
        out,
        "| signal | items | wire B/item | items per CPU-s | CPU-s per million | wall s | cut CPU-s per million | block B/item | \
         merge CPU-s per million | B/item then |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        let items = row.items as f64;
        let million = items / 1e6;
        writeln!(
            out,
            "| {} | {} | {:.1} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.2} | {:.1} |",
            row.signal,
            row.items,
            row.wire_bytes as f64 / items,
            items / row.cpu.as_secs_f64(),
            row.cpu.as_secs_f64() / million,
            row.wall.as_secs_f64(),
            row.cut_cpu.as_secs_f64() / million,
            row.block_bytes as f64 / items,
            row.compact_cpu.as_secs_f64() / million,
            row.compact_bytes as f64 / items,
        )?;
    }
    Ok(())
}
