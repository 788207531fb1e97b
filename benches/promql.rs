//! What metrics cost to ask and to hold: a rate over a day of a thousand series in blocks, a selection by pattern among
//! a million series in the head, and the memory that they take there. `cargo bench --bench promql [SERIES]`.
//!
//! Queries go through the HTTP handlers, on a pool of one thread; the times are the least of several runs with warm caches.

#[path = "measure/memory.rs"]
mod memory;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use monocle::ingest::{Door, Limits};
use monocle::metrics::MetricsSpec;
use monocle::metrics::api::{Api, otlp_routes, query_routes};
use monocle::query::{Pool, PoolConfig};
use monocle::runtime::{Budget, ManualClock, OsDisk, World};
use monocle::storage::catalog::Catalog;
use monocle::storage::layout::Layout;
use monocle::storage::tier::Tier;
use monocle::storage::wal::{LaneConfig, SyncMode};
use monocle::storage::{Store, StoreConfig};
use monocle::telemetry::Telemetry;
use monocle::web::Tenancy;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use prost::Message;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Seconds: the beginning of a UTC day, so that its samples make one block.
const DAY_START: u64 = 1_772_928_000;
const DAY: u64 = 86_400;
const PLENTY_BYTES: u64 = 16 << 30;
const RUNS: usize = 7;
/// What a query may hold: less than all values of the widest question take together.
const QUERY_BYTES: u64 = 1 << 30;
const WIDE_SERIES: u64 = 20_000;

struct Server {
    _home: tempfile::TempDir,
    store: Arc<Store<MetricsSpec>>,
    router: Router,
}

impl Server {
    fn new() -> Result<Server> {
        let home = tempfile::tempdir()?;
        let clock = Arc::new(ManualClock::at(((DAY_START + DAY) * 1_000_000_000).cast_signed()));
        let world = World { clock: clock.clone(), disk: Arc::new(OsDisk) };
        let layout = Layout::new(home.path());
        let catalog = Arc::new(Catalog::open(&world, &layout)?);
        world.disk.create_dir_all(&layout.temporary_root())?;
        let telemetry = Telemetry::default();
        let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: PLENTY_BYTES };
        let config = StoreConfig { lane, head_max_bytes: PLENTY_BYTES };
        let spec_config = monocle::metrics::Config { sample_cache_bytes: 256 << 20, ..monocle::metrics::Config::default() };
        let spec = MetricsSpec::new(spec_config, clock.clone());
        let store = Arc::new(Store::open(spec, Tier::new(world, layout), catalog, config, telemetry.store.clone())?);
        store.recover()?;
        let door = Door::new(store.clone(), clock.clone(), telemetry.ingest.clone(), Limits::default(), Budget::new(PLENTY_BYTES));
        let pool = PoolConfig { parallel: 1, waiting_max: 1, timeout: Duration::from_secs(120), memory_max_bytes: QUERY_BYTES };
        let api = Api::new(Arc::new(door), Pool::new(pool), Tenancy::Off, clock, telemetry.query.clone());
        Ok(Server { _home: home, store, router: query_routes(api.clone()).merge(otlp_routes(api)) })
    }

    async fn send(&self, metrics: Vec<Metric>) -> Result<()> {
        let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        let request = Request::post("/v1/metrics").header("content-type", "application/x-protobuf").body(Body::from(body))?;
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
        if status == StatusCode::OK && body.is_empty() { Ok(()) } else { Err(format!("{status} {body:?}").into()) }
    }

    async fn ask(&self, path: &str) -> Result<Bytes> {
        let response = self.router.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 30).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(format!("{path}: {status} {body:?}").into()) }
    }

    /// The least of several runs, and the length of the answer.
    async fn time(&self, path: &str) -> Result<(Duration, usize)> {
        let mut best = (Duration::MAX, 0);
        for _ in 0..RUNS {
            let started = Instant::now();
            let length = self.ask(path).await?.len();
            best = best.min((started.elapsed(), length));
        }
        Ok(best)
    }
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }), ..KeyValue::default() }
}

fn counter(name: String, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum { data_points, aggregation_temporality: 2, is_monotonic: true };
    Metric { name, data: Some(Data::Sum(sum)), ..Metric::default() }
}

fn point(attributes: Vec<KeyValue>, second: u64, value: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        time_unix_nano: second * 1_000_000_000,
        value: Some(Value::AsInt(value.cast_signed())),
        ..NumberDataPoint::default()
    }
}

/// A thousand counters, a day of samples every 15 seconds, some resets.
async fn day_in_a_block(server: &Server) -> Result<()> {
    const BATCH: u64 = 20;
    for batch in 0..DAY / 15 / BATCH {
        let mut points = Vec::new();
        for series in 0..1_000 {
            for n in batch * BATCH..(batch + 1) * BATCH {
                let attributes = vec![text("i", series.to_string()), text("x", (series % 10).to_string())];
                points.push(point(attributes, DAY_START + n * 15, (n % 1_999) * (series + 7)));
            }
        }
        server.send(vec![counter("m".to_owned(), points)]).await?;
    }
    server.store.cut()?;
    Ok(())
}

/// Twenty thousand counters, a day of samples every five minutes.
async fn wide_day_in_a_block(server: &Server) -> Result<()> {
    for n in 0..DAY / 300 {
        let one = |series: u64| point(vec![text("i", series.to_string())], DAY_START + n * 300, n * (series + 7));
        for from in (0..WIDE_SERIES).step_by(5_000) {
            server.send(vec![counter("w".to_owned(), (from..from + 5_000).map(one).collect())]).await?;
        }
    }
    server.store.cut()?;
    Ok(())
}

/// Series of a thousand names in the head, two samples each.
async fn many_series(server: &Server, count: u64) -> Result<()> {
    for second in [DAY_START + DAY - 30, DAY_START + DAY - 15] {
        for from in (0..count).step_by(5_000) {
            let one = |n: u64| {
                let attributes = vec![
                    text("service.pod", format!("checkout-7d9f2c-{:05}", n / 100)),
                    text("http.route", format!("/api/v1/orders/{}", n % 100)),
                    text("http.method", ["GET", "POST"][(n % 2) as usize].to_owned()),
                    text("region", "eu-central-1".to_owned()),
                ];
                counter(format!("shop_requests_{:03}", n / 1_000 % 1_000), vec![point(attributes, second, n)])
            };
            server.send((from..(from + 5_000).min(count)).map(one).collect()).await?;
        }
    }
    Ok(())
}

fn encoded(query: &str) -> String {
    percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn main() -> Result<()> {
    let count: u64 = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    runtime.block_on(async {
        let empty = memory::resident("self")?.now;
        let server = Server::new()?;
        many_series(&server, count).await?;
        tokio::time::sleep(Duration::from_secs(12)).await;
        let memory::Resident { now, peak } = memory::resident("self")?;
        let held = now - empty;
        writeln!(
            out,
            "| head of {count} series, two samples each | {} MB, {} at most | {} B a series |",
            held >> 20,
            (peak - empty) >> 20,
            held / count
        )?;
        for pattern in ["shop_requests_01.+", "shop_requests_(001|500)_total", ".+requests_9.+"] {
            let end = DAY_START + DAY;
            let query = encoded(&format!("count({{__name__=~\"{pattern}\"}})"));
            let (took, _) = server.time(&format!("/api/v1/query?query={query}&time={end}")).await?;
            writeln!(out, "| count({{__name__=~\"{pattern}\"}}) in the head | {:.1} ms |", took.as_secs_f64() * 1e3)?;
        }
        drop(server);
        let server = Server::new()?;
        day_in_a_block(&server).await?;
        for query in [
            "sum by (x) (rate(m_total[5m]))",
            "sum by (x) (m_total)",
            "max_over_time(m_total{i=\"7\"}[1h])",
            "sum(max_over_time(m_total{x=\"7\"}[1d]))",
            "sum(quantile_over_time(0.9, m_total{x=\"7\"}[6h]))",
            "sum(changes(m_total{x=\"7\"}[1d]))",
            "m_total",
        ] {
            let text = encoded(query);
            let path = format!("/api/v1/query_range?query={text}&start={DAY_START}&end={}&step=60", DAY_START + DAY - 1);
            let started = Instant::now();
            server.ask(&path).await?;
            let cold = started.elapsed();
            let (warm, length) = server.time(&path).await?;
            let (cold, warm) = (cold.as_secs_f64() * 1e3, warm.as_secs_f64() * 1e3);
            writeln!(out, "| {query} over a day in blocks | {cold:.1} ms first, {warm:.1} ms warm | {length} B |")?;
        }
        drop(server);
        let server = Server::new()?;
        wide_day_in_a_block(&server).await?;
        for query in ["sum(rate(w_total[15m]))", "topk(5, rate(w_total[15m]))", "rate(w_total[15m])"] {
            let path = format!("/api/v1/query_range?query={}&start={DAY_START}&end={}&step=8", encoded(query), DAY_START + DAY - 1);
            let started = Instant::now();
            let answer = server.ask(&path).await.map_or_else(|e| e.to_string(), |body| format!("{} B", body.len()));
            let (took, resident) = (started.elapsed().as_secs_f64(), memory::resident("self")?.now >> 20);
            let answer: String = answer.chars().rev().take(150).collect::<Vec<_>>().into_iter().rev().collect();
            writeln!(out, "| {query} of {WIDE_SERIES} series at 10,800 steps | {took:.1} s, {resident} MB resident | {answer} |")?;
        }
        Ok(())
    })
}
