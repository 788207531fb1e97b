//! What questions in SQL cost over merged blocks of all three signals: rows a CPU second, and bytes read of files.
//! `cargo bench --bench sql`.
//!
//! Each is asked twice; what is printed is of the second time, when indexes are in the caches.

#[path = "measure/cpu.rs"]
mod cpu;
#[path = "ingest/opened.rs"]
mod opened;
#[path = "ingest/requests.rs"]
mod requests;

use axum::Router;
use cpu::cpu_time;
use monocle::ingest::Door;
use monocle::model::TenantId;
use monocle::query::sql::{Format, Parameters, Question, Sql, Tables};
use monocle::query::{Pool, PoolConfig};
use monocle::runtime::{Clock, ManualClock};
use monocle::storage::Spec;
use monocle::storage::maintenance::CompactConfig;
use monocle::telemetry::Telemetry;
use monocle::web::Tenancy;
use monocle::{logs, metrics, traces};
use opened::{Opened, PLENTY_BYTES, send};
use requests::Requests;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The clock of the benchmark, in nanoseconds: 2026-03-10 12:00 UTC. Everything is sent at times before it.
const NOW: u64 = 1_773_144_000_000_000_000;

/// Tables that are read, and what is asked.
const QUESTIONS: [(&str, &str); 11] = [
    ("spans", "select count(*) from spans"),
    ("spans", r#"select "res.service.name", count(*) from spans group by 1 order by 2 desc"#),
    ("spans", "select service_name, name, approx_percentile_cont(duration_ns / 1e6, 0.95) from spans where kind = 'server' group by 1, 2"),
    ("spans", r#"select "span.http.route", count(*) filter (where "span.http.response.status_code:int" >= 500) from spans group by 1"#),
    ("spans", "select attributes['http.route'], count(*) from spans group by 1"),
    ("spans", r#"select count(*) from spans where "span.user.id" = 'user-17'"#),
    ("spans", "select count(*) from events"),
    ("traces", "select root_service, count(*), max(duration_ns) from traces where errors > 0 group by 1"),
    ("logs", "select date_bin(interval '1 minute', ts), count(*) from logs group by 1"),
    ("logs", "select labels['service_name'], count(*) from logs where line like '%timeout%' group by 1"),
    ("metrics", r#"select name, "label.job", avg(value) from metrics group by 1, 2"#),
];

struct House {
    runtime: Runtime,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    pool: Pool,
}

impl House {
    /// Sends all requests and merges what they leave. `routes` gives the routes and tables of the room.
    fn fill<S: Spec>(
        &self,
        requests: Requests,
        spec: S,
        routes: impl FnOnce(Arc<Door<S>>) -> (Router, Arc<dyn Tables>),
    ) -> Result<(Opened<S>, Arc<dyn Tables>)> {
        let opened = Opened::new(spec, &self.clock, &self.telemetry)?;
        let (router, tables) = routes(opened.door.clone());
        self.runtime.block_on(send(&router, requests.path, requests.bodies))?;
        opened.store.compact(&CompactConfig { bytes_max: PLENTY_BYTES, inputs_max: 8 })?;
        Ok((opened, tables))
    }

    /// Bytes of the answer.
    fn ask(&self, sql: &Arc<Sql>, text: &str) -> Result<u64> {
        let question = Question { text: text.to_owned(), parameters: Parameters::None, format: Format::Csv };
        self.runtime.block_on(async {
            let (to, mut chunks) = mpsc::channel(4);
            let answer = tokio::spawn(sql.clone().answer(sql.context(TenantId::default_tenant()), question, to));
            let mut bytes = 0;
            while let Some(chunk) = chunks.recv().await {
                bytes += chunk.bytes.len() as u64;
            }
            answer.await?.map_err(|error| format!("{text}: {error}"))?;
            Ok(bytes)
        })
    }
}

/// Bytes that this process has read of files, cached by the system or not.
fn bytes_read() -> Result<u64> {
    let told = std::fs::read_to_string("/proc/self/io")?;
    let line = told.lines().find_map(|line| line.strip_prefix("rchar: ")).ok_or("no rchar in /proc/self/io")?;
    Ok(line.parse()?)
}

fn main() -> Result<()> {
    let house = House {
        runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        clock: Arc::new(ManualClock::at(NOW as i64)),
        telemetry: Telemetry::default(),
        pool: Pool::new(PoolConfig { parallel: 1, waiting_max: 1, timeout: Duration::from_secs(60), memory_max_bytes: PLENTY_BYTES }),
    };
    let (clock, pool, query) = (&house.clock, &house.pool, &house.telemetry.query);
    let spans = requests::traces(800, NOW);
    let lines = requests::logs(800, NOW);
    let samples = requests::metrics(1_000, NOW, 8);
    let rows = [("spans", spans.items), ("logs", lines.items), ("metrics", samples.items), ("traces", spans.items / 8)];
    let of_traces = house.fill(spans, traces::TracesSpec::new(traces::Config::default(), clock.clone()), |door| {
        let api = traces::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone());
        (traces::api::otlp_routes(api.clone()), api.tables())
    })?;
    let of_logs = house.fill(lines, logs::LogsSpec::new(logs::Config::default(), clock.clone()), |door| {
        let api = logs::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone());
        (logs::api::otlp_routes(api.clone()), api.tables())
    })?;
    let of_metrics = house.fill(samples, metrics::MetricsSpec::new(metrics::Config::default(), clock.clone()), |door| {
        let api = metrics::api::Api::new(door, pool.clone(), Tenancy::Off, clock.clone(), query.clone());
        (metrics::api::otlp_routes(api.clone()), api.tables())
    })?;
    let sql = Sql::new(pool.clone(), vec![of_metrics.1.clone(), of_logs.1.clone(), of_traces.1.clone()]);

    let mut out = std::io::stdout().lock();
    writeln!(out, "| statement | rows | CPU ms | wall ms | rows a CPU second | read MB | answer B |\n|---|---|---|---|---|---|---|")?;
    for (table, text) in QUESTIONS {
        house.ask(&sql, text)?;
        let (started, cpu, read) = (Instant::now(), cpu_time("self")?, bytes_read()?);
        let answer = house.ask(&sql, text)?;
        let (wall, cpu, read) = (started.elapsed(), cpu_time("self")? - cpu, bytes_read()? - read);
        let count = rows.iter().find(|(name, _)| *name == table).map_or(0, |(_, count)| *count);
        writeln!(
            out,
            "| `{text}` | {count} | {:.0} | {:.0} | {:.1} million | {:.1} | {answer} |",
            cpu.as_secs_f64() * 1e3,
            wall.as_secs_f64() * 1e3,
            count as f64 / cpu.as_secs_f64().max(0.01) / 1e6,
            read as f64 / 1e6,
        )?;
    }
    Ok(())
}
