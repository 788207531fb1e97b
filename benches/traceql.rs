//! What questions cost: TraceQL over 10 million spans in blocks, as HTTP requests to the API's router.
//! `cargo bench --bench traceql`; `MONOCLE_BENCH_DIR` names a directory that keeps the data from run to run (about 1 GB), and
//! `MONOCLE_BENCH_SPANS` how many spans there are.
//!
//! CPU time is this process's, user and system, all threads; on two idle cores a query that runs on both takes half of it.
//! Cold means that the store was just opened: nothing is parsed or decoded yet, but the files may be in the page cache.

#[path = "measure/cpu.rs"]
mod cpu;
#[path = "traceql/shop.rs"]
mod shop;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use cpu::cpu_time;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use monocle::ingest::{Door, Limits};
use monocle::query::{Pool, PoolConfig};
use monocle::runtime::{Budget, Clock, ManualClock, OsDisk, World};
use monocle::storage::catalog::Catalog;
use monocle::storage::layout::Layout;
use monocle::storage::tier::Tier;
use monocle::storage::wal::{LaneConfig, SyncMode};
use monocle::storage::{Store, StoreConfig};
use monocle::telemetry::Telemetry;
use monocle::traces::api::{Api, otlp_routes, query_routes};
use monocle::traces::{Config, TracesSpec};
use monocle::web::Tenancy;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SPANS: u64 = 10_000_000;

/// Spans of one block.
const CUT_SPANS: u64 = 1_000_000;

/// More than anything here needs: no cut is due by itself.
const PLENTY_BYTES: u64 = 8 << 30;

/// Runs of each question; the figures are of the middle one.
const RUNS: usize = 5;

struct House {
    store: Arc<Store<TracesSpec>>,
    api: Api,
}

fn open(home: &Path) -> Result<House> {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(shop::NOW.cast_signed()));
    let world = World { clock: clock.clone(), disk: Arc::new(OsDisk) };
    let layout = Layout::new(home);
    let catalog = Arc::new(Catalog::open(&world, &layout)?);
    world.disk.create_dir_all(&layout.temporary_root())?;
    let telemetry = Telemetry::default();
    let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: PLENTY_BYTES };
    let config = StoreConfig { lane, head_max_bytes: PLENTY_BYTES };
    let spec = TracesSpec::new(Config::default(), clock.clone());
    let store = Arc::new(Store::open(spec, Tier::new(world, layout), catalog, config, telemetry.store.clone())?);
    store.recover()?;
    let door = Door::new(store.clone(), clock.clone(), telemetry.ingest.clone(), Limits::default(), Budget::new(PLENTY_BYTES));
    let pool = PoolConfig { parallel: 1, waiting_max: 1, timeout: Duration::from_secs(600), memory_max_bytes: 512 << 20 };
    let api = Api::new(Arc::new(door), Pool::new(pool), Tenancy::Off, clock, telemetry.query.clone());
    Ok(House { store, api })
}

async fn fill(house: &House, traces: u64) -> Result<()> {
    let router = otlp_routes(house.api.clone());
    let mut since_cut = 0;
    for (spans, body) in shop::requests(traces) {
        let request = Request::post("/v1/traces").header("content-type", "application/x-protobuf").body(Body::from(body))?;
        let response = router.clone().oneshot(request).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("export: {}", response.status()).into());
        }
        since_cut += spans;
        if since_cut >= CUT_SPANS {
            since_cut = 0;
            house.store.cut()?;
        }
    }
    Ok(house.store.cut()?)
}

struct Question {
    name: &'static str,
    path: String,
    /// What the answer must have, or the run fails.
    expect: String,
}

fn questions(traces: u64) -> Vec<Question> {
    let times = format!("start={}&end={}", shop::NOW / 1_000_000_000 - shop::HOURS * 3600, shop::NOW / 1_000_000_000);
    let encode = |query: &str| form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>();
    let order = shop::some_order(traces);
    let hex: String = shop::trace_id(order).iter().map(|b| format!("{b:02x}")).collect();
    let trimmed = hex.trim_start_matches('0').to_owned();
    let search = |name, query: &str, limit: u64, expect: &str| Question {
        name,
        path: format!("/api/search?q={}&{times}&limit={limit}", encode(query)),
        expect: expect.to_owned(),
    };
    let range = |name, query: &str, expect: &str| Question {
        name,
        path: format!("/api/metrics/query_range?q={}&{times}&step=60s", encode(query)),
        expect: expect.to_owned(),
    };
    let order_id = shop::order_id(order);
    let values = |name, tag: &str, query: &str, expect: &str| Question {
        name,
        path: format!("/api/v2/search/tag/{tag}/values?q={}&{times}&limit=5000", encode(query)),
        expect: expect.to_owned(),
    };
    vec![
        Question { name: "trace by id", path: format!("/api/v2/traces/{hex}"), expect: order_id.clone() },
        search("equality, one span has it", &format!("{{ span.app.order.id = \"{order_id}\" }}"), 20, &trimmed),
        search("equality, no span has it", "{ span.app.order.id = \"order-x\" }", 20, "\"traces\":[]"),
        search("unscoped equality, no span has it", "{ .user.id = \"user-x\" }", 20, "\"traces\":[]"),
        search("status code, newest 20", "{ span.http.response.status_code >= 500 }", 20, "http.response.status_code"),
        search("status code, over everything", "{ span.http.response.status_code >= 504 }", 20, "\"traces\":[]"),
        range("status code, counted", "{ span.http.response.status_code >= 500 } | count_over_time()", "count_over_time"),
        search("structural, newest 20", "{ resource.service.name = \"frontend\" } >> { status = error }", 20, "spanSets"),
        search("structural, over everything", "{ resource.service.name = \"payment\" } >> { status = error }", 20, "\"traces\":[]"),
        range("structural, counted", "{ resource.service.name = \"frontend\" } >> { status = error } | rate()", "rate"),
        range("rate by service", "{} | rate() by (resource.service.name)", "inventory"),
        range("roots, Drilldown", "{ nestedSetParent < 0 } | quantile_over_time(duration, 0.9) by (resource.service.name)", "frontend"),
        range("by two attributes", "{ kind = server } | rate() by (span.http.route, span.http.response.status_code)", "http.route"),
        search("everything, newest 20", "{}", 20, "spanSets"),
        values("values of a tag", "span.http.route", "", "/"),
        values("values of a tag, of one service", "span.http.route", "{ resource.service.name = \"frontend\" }", "/"),
        values("values of a rich tag", "span.user.id", "", "user-"),
        search("regex", "{ span.user.id =~ \"user-77.1\" && duration > 50ms }", 20, "user.id"),
        search("events", "{ event.exception.type = \"NoSuchException\" }", 20, "\"traces\":[]"),
    ]
}

async fn ask(router: &Router, question: &Question) -> Result<Bytes> {
    let response = router.clone().oneshot(Request::get(&question.path).body(Body::empty())?).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let text = String::from_utf8_lossy(&body);
    if status != StatusCode::OK || !text.contains(&question.expect) {
        return Err(format!("{}: {status} {}", question.name, text.chars().take(400).collect::<String>()).into());
    }
    Ok(body)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() -> Result<()> {
    let spans = std::env::var("MONOCLE_BENCH_SPANS").ok().and_then(|n| n.parse().ok()).unwrap_or(SPANS);
    let traces = spans / shop::SPANS_OF_TRACE;
    let kept = std::env::var_os("MONOCLE_BENCH_DIR").map(PathBuf::from);
    let temporary = tempfile::tempdir()?;
    let home = kept.unwrap_or_else(|| temporary.path().to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    if !home.join("filled").exists() {
        let house = open(&home)?;
        runtime.block_on(fill(&house, traces))?;
        house.store.close()?;
        std::fs::write(home.join("filled"), spans.to_string())?;
    }
    let only = std::env::var("MONOCLE_BENCH_ONLY").unwrap_or_default();
    writeln!(
        out,
        "{spans} spans\n\n| question | cold wall ms | wall ms | CPU ms | CPU / 2 ms | answer bytes |\n|---|---|---|---|---|---|"
    )?;
    for question in questions(traces).iter().filter(|q| q.name.contains(&only)) {
        let house = open(&home)?;
        let router = query_routes(house.api.clone());
        let started = Instant::now();
        runtime.block_on(ask(&router, question))?;
        let cold = started.elapsed();
        let before = cpu_time("self")?;
        let mut walls = Vec::new();
        let mut bytes = 0;
        for _ in 0..RUNS {
            let started = Instant::now();
            bytes = runtime.block_on(ask(&router, question))?.len();
            walls.push(started.elapsed());
        }
        let cpu = (cpu_time("self")? - before) / RUNS as u32;
        walls.sort();
        let name = question.name;
        writeln!(
            out,
            "| {name} | {:.1} | {:.1} | {:.0} | {:.0} | {bytes} |",
            millis(cold),
            millis(walls[RUNS / 2]),
            millis(cpu),
            millis(cpu) / 2.0
        )?;
        house.store.close()?;
    }
    Ok(())
}
