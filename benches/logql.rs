//! What LogQL reads: raw bytes of lines a CPU second for filters and parsers over blocks, and queries that should read next to
//! nothing. `cargo bench --bench logql`.
//!
//! `MONOCLE_BENCH_BYTES` lines are made (1 GiB by default) and cut into blocks as a running server cuts them. With
//! `MONOCLE_BENCH_DATA` they stay in that directory and are used again. With `MONOCLE_BENCH_MERGE` the blocks are merged first,
//! so that there is a token index. CPU time is this process's, all threads.

#[path = "measure/cpu.rs"]
mod cpu;
#[path = "logql/data.rs"]
mod data;
#[path = "measure/disk.rs"]
mod disk;

use cpu::cpu_time;
use data::{HOURS, Requests, START};
use disk::size;
use monocle::logs::logql::ast::Expr;
use monocle::logs::logql::eval::{Direction, Engine, LogQuery, Stats, Steps, run_log, run_metric};
use monocle::logs::logql::parse;
use monocle::logs::{Config, LogsSpec};
use monocle::model::{TenantId, TimeRange};
use monocle::query::Context;
use monocle::runtime::{Clock, ManualClock, OsDisk, World};
use monocle::storage::catalog::Catalog;
use monocle::storage::layout::Layout;
use monocle::storage::maintenance::CompactConfig;
use monocle::storage::tier::Tier;
use monocle::storage::wal::{LaneConfig, SyncMode};
use monocle::storage::{Admitted, Batch, Payload, Refusals, Store, StoreConfig, View};
use monocle::telemetry::Telemetry;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PLENTY_BYTES: u64 = 8 << 30;
/// Raw bytes of lines in a block: about what a full WAL lane leaves behind.
const BLOCK_BYTES: u64 = 128 << 20;

const SECOND: i64 = 1_000_000_000;

/// A query, and what it is there to show.
const QUERIES: [(&str, &str); 16] = [
    ("literal, no match", r#"{env="production"} |= "no such thing anywhere""#),
    ("literal, no match, count", r#"sum(count_over_time({env="production"} |= "no such thing anywhere" [5m]))"#),
    ("regexp with a literal, no match", r#"{env="production"} |~ "user=\\w+ .*fatal port \\d+""#),
    ("regexp with a literal, some match", r#"sum(count_over_time({env="production"} |~ "job \\d+ failed: .*deadlock" [5m]))"#),
    ("case-insensitive literal, no match", r#"{env="production"} |~ "(?i)out of memory""#),
    ("pattern, no match", r#"{env="production"} |> "<_> panicked at <_>""#),
    ("json and a number, log query", r#"{service_name=~"frontend|cart|search"} | json | status >= 500"#),
    ("json and a number, count", r#"sum by (path) (count_over_time({service_name=~"frontend|cart|search"} | json | status >= 500 [5m]))"#),
    ("logfmt, rate by level", r#"sum by (level) (rate({service_name=~"checkout|payment|loki"} | logfmt [5m]))"#),
    ("unwrap, quantile", r#"quantile_over_time(0.99, {service_name="frontend"} | json | unwrap duration_ms [5m]) by (pod)"#),
    ("by level, no line read", r#"sum by (detected_level) (count_over_time({env="production"} [5m]))"#),
    ("newest 100", r#"{env="production"}"#),
    ("needle of an id", r#"{env="production"} |= "4f2a7c19d03b88e1""#),
    ("word that is not there", r#"{env="production"} |= "panicked""#),
    ("part of a word that is not there", r#"sum(count_over_time({env="production"} |= "segfaul" [5m]))"#),
    ("trace id in metadata", r#"{env="production"} | trace_id = "4f2a7c19d03b88e14f2a7c19d03b88e1""#),
];

fn main() -> Result<()> {
    let bytes = std::env::var("MONOCLE_BENCH_BYTES").ok().map_or(Ok(1 << 30), |n| n.parse())?;
    let kept = std::env::var_os("MONOCLE_BENCH_DATA").map(PathBuf::from);
    let temporary = tempfile::tempdir()?;
    let home = kept.as_deref().unwrap_or(temporary.path());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(START + HOURS * 3_600 * SECOND));
    let store = open(home, &clock)?;
    let tenant = TenantId::default_tenant();
    if store.view(&tenant).blocks.is_empty() {
        fill(&store, &tenant, bytes)?;
    }
    let merge = std::env::var_os("MONOCLE_BENCH_MERGE").is_some();
    if merge && store.view(&tenant).blocks.iter().any(|b| b.meta().level == 0) {
        let (started, before) = (Instant::now(), cpu_time("self")?);
        store.compact(&CompactConfig { bytes_max: PLENTY_BYTES, inputs_max: 24 })?;
        let (cpu, took) = ((cpu_time("self")? - before).as_secs_f64(), started.elapsed().as_secs_f64());
        writeln!(std::io::stdout().lock(), "merged in {cpu:.1} CPU-s, {took:.1} s")?;
    }
    let view = store.view(&tenant);
    let mut out = std::io::stdout().lock();
    for name in ["logs", "tokens"] {
        let tables = view.blocks.iter().filter_map(|b| b.meta().table(name));
        let (rows, bytes) = tables.fold((0, 0), |(rows, bytes), t| (rows + t.rows, bytes + t.bytes));
        writeln!(out, "table {name}: {rows} rows, {:.1} MB", bytes as f64 / 1e6)?;
    }
    writeln!(out, "{} blocks, {:.1} MB in {}\n", view.blocks.len(), size(&Layout::new(home).blocks())? as f64 / 1e6, home.display())?;
    writeln!(out, "| query | | kept | lines read | MB of lines read | CPU ms | wall ms | MB/s of raw lines a CPU-s |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    let only = std::env::var("MONOCLE_BENCH_ONLY").unwrap_or_default();
    for (name, query) in QUERIES.iter().filter(|(name, _)| name.contains(&only)) {
        measure(&mut out, &view, name, query)?;
    }
    Ok(())
}

fn open(home: &Path, clock: &Arc<dyn Clock>) -> Result<Store<LogsSpec>> {
    let world = World { clock: clock.clone(), disk: Arc::new(OsDisk) };
    let layout = Layout::new(home);
    world.disk.create_dir_all(home)?;
    let catalog = Arc::new(Catalog::open(&world, &layout)?);
    world.disk.create_dir_all(&layout.temporary_root())?;
    let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: PLENTY_BYTES };
    let config = StoreConfig { lane, head_max_bytes: PLENTY_BYTES };
    let store = Store::open(
        LogsSpec::new(Config::default(), clock.clone()),
        Tier::new(world, layout),
        catalog,
        config,
        Telemetry::default().store,
    )?;
    store.recover()?;
    Ok(store)
}

/// Rows go in as after translation; the WAL's frames stay empty.
fn fill(store: &Store<LogsSpec>, tenant: &TenantId, bytes: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut requests = Requests::of(bytes);
    let (mut cut, started, before) = (0, Instant::now(), cpu_time("self")?);
    while let Some(rows) = requests.next() {
        let payload = Payload { kind: 3, encoding: 0, received_at: START, body: bytes::Bytes::new() };
        let batch = Batch { tenant: tenant.clone(), payload, rows, refusals: Refusals::default() };
        runtime.block_on(store.append(Admitted::new(batch))?.durable())?;
        if requests.raw_bytes - cut > BLOCK_BYTES {
            store.cut()?;
            cut = requests.raw_bytes;
        }
    }
    store.cut()?;
    writeln!(
        std::io::stdout().lock(),
        "made {:.1} MB of lines in {:.1} CPU-s, {:.1} s",
        requests.raw_bytes as f64 / 1e6,
        (cpu_time("self")? - before).as_secs_f64(),
        started.elapsed().as_secs_f64()
    )?;
    Ok(())
}

/// Repeats the query until a second of CPU time is used, since the clock of CPU time is coarse.
fn measure(out: &mut impl Write, view: &View<LogsSpec>, name: &str, query: &str) -> Result<()> {
    let end = START + HOURS * 3_600 * SECOND;
    let expr = parse(query)?;
    let (mut runs, started, before) = (0u32, Instant::now(), cpu_time("self")?);
    let mut stats = Stats::default();
    while runs == 0 || cpu_time("self")? - before < Duration::from_secs(1) && started.elapsed() < Duration::from_secs(5) {
        let ctx = Context::new(TenantId::default_tenant(), Duration::from_secs(600), PLENTY_BYTES);
        let engine = Engine { view, ctx: &ctx, now: end };
        stats = Stats::default();
        match &expr {
            Expr::Log(log) => {
                let asked = LogQuery { range: TimeRange::new(START, end), direction: Direction::Backward, limit: 100, interval: 0 };
                run_log(&engine, log, &asked, &mut stats)?;
            }
            Expr::Metric(metric) => {
                let steps = Steps { start: START + 300 * SECOND, end, step: 300 * SECOND, instant: false };
                run_metric(&engine, metric, &steps, &mut stats)?;
            }
        }
        runs += 1;
    }
    let (cpu, wall) = ((cpu_time("self")? - before) / runs, started.elapsed() / runs);
    writeln!(
        out,
        "| {name} | `{query}` | {} | {} | {:.1} | {:.1} | {:.1} | {:.0} |",
        stats.kept,
        stats.lines,
        stats.bytes as f64 / 1e6,
        cpu.as_secs_f64() * 1e3,
        wall.as_secs_f64() * 1e3,
        stats.bytes as f64 / 1e6 / cpu.as_secs_f64().max(1e-9),
    )?;
    Ok(())
}
