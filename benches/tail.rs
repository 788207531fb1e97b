//! Tails while lines come in as fast as they are taken: how long after its push a line reaches a client that reads, and what
//! clients cost ingest that read everything, or nothing at all. `cargo bench --bench tail`.

#[path = "loki/server.rs"]
mod server;

use futures_util::StreamExt;
use monocle::runtime::{Clock, SystemClock};
use server::{Result, Server, ask};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

const LINES: u64 = 500;
const CONNECTIONS: usize = 4;
const LOAD: Duration = Duration::from_secs(8);
/// Between two marked lines.
const MARK_EVERY: Duration = Duration::from_millis(50);

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemClock.now())?)
}

fn load(first: u64) -> Result<String> {
    let mut out = format!(r#"{{"streams":[{{"stream":{{"job":"load","pod":"p{}"}},"values":["#, first / LINES % 16);
    let now = now()?;
    for n in first..first + LINES {
        let comma = if n > first { "," } else { "" };
        let (path, took) = (n % 977, n % 1_013);
        let _ = write!(out, r#"{comma}["{}","level=info msg=\"request {n} served\" path=/items/{path} took={took}ms"]"#, now + n - first);
    }
    out.push_str("]}]}");
    Ok(out)
}

/// Pushes until the time is over; lines that were taken.
fn push_all(address: &str, next: &AtomicU64, until: Instant) -> Result<u64> {
    let mut taken = 0;
    while Instant::now() < until {
        let body = load(next.fetch_add(LINES, Ordering::Relaxed))?;
        match ask(address, "POST", "/loki/api/v1/push", body.as_bytes())?.status {
            204 => taken += LINES,
            429 | 503 => std::thread::sleep(Duration::from_millis(10)),
            status => return Err(format!("push: {status}").into()),
        }
    }
    Ok(taken)
}

/// Pushes a marked line now and then; each holds the time at which its push began.
fn push_marks(address: &str, until: Instant) -> Result<u64> {
    let mut marks = 0;
    while Instant::now() < until {
        let now = now()?;
        let body = format!(r#"{{"streams":[{{"stream":{{"job":"marks"}},"values":[["{now}","marked {now}"]]}}]}}"#);
        marks += u64::from(ask(address, "POST", "/loki/api/v1/push", body.as_bytes())?.status == 204);
        std::thread::sleep(MARK_EVERY);
    }
    Ok(marks)
}

/// What a client has seen.
#[derive(Default)]
struct Seen {
    entries: u64,
    missed: u64,
    /// From push to receipt, of marked lines.
    latencies: Vec<Duration>,
}

async fn follow(url: String, end: Arc<AtomicBool>) -> Result<Seen> {
    let (mut client, _) = connect_async(url).await?;
    let mut seen = Seen::default();
    while !end.load(Ordering::Relaxed) {
        let Ok(Some(message)) = tokio::time::timeout(Duration::from_millis(100), client.next()).await else { continue };
        let Message::Text(text) = message? else { continue };
        let received = now()?;
        seen.entries += text.matches(r#"{"stream":"#).count() as u64;
        seen.missed += text.matches(r#"{"timestamp":"#).count() as u64;
        for (at, _) in text.match_indices("\"marked ") {
            let pushed: u64 = text[at + 8..].split('"').next().unwrap_or_default().parse()?;
            seen.latencies.push(Duration::from_nanos(received.saturating_sub(pushed)));
        }
    }
    Ok(seen)
}

/// Which clients follow while the load comes in.
struct Case {
    name: &'static str,
    reading: &'static [&'static str],
    silent: usize,
}

const MARKED: &str = r#"{job=~".+"} |= "marked""#;
const ALL: &str = r#"{job=~".+"}"#;
const CASES: [Case; 5] = [
    Case { name: "no tail", reading: &[], silent: 0 },
    Case { name: "one that reads marked lines", reading: &[MARKED], silent: 0 },
    Case { name: "one that reads marked lines, four that read nothing", reading: &[MARKED], silent: 4 },
    Case { name: "one that reads all, one marked lines", reading: &[MARKED, ALL], silent: 0 },
    Case { name: "no tail again", reading: &[], silent: 0 },
];

fn measure(case: &Case, runtime: &tokio::runtime::Runtime, out: &mut impl Write) -> Result<()> {
    let home = tempfile::tempdir()?;
    let server = Server::start(&home.path().join("data"))?;
    let url = |query: &str| {
        let query: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        format!("ws://{}/loki/api/v1/tail?query={query}", server.loki)
    };
    let end = Arc::new(AtomicBool::new(false));
    let reading: Vec<_> = case.reading.iter().map(|query| runtime.spawn(follow(url(query), end.clone()))).collect();
    let silent = (0..case.silent).map(|_| runtime.block_on(connect_async(url(ALL)))).collect::<std::result::Result<Vec<_>, _>>()?;
    std::thread::sleep(Duration::from_millis(300));
    server.forget_peak()?;
    let (next, until, cpu) = (AtomicU64::new(0), Instant::now() + LOAD, server.cpu()?);
    let (taken, marks) = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(|| push_all(&server.loki, &next, until))).collect();
        let marks = scope.spawn(|| push_marks(&server.loki, until)).join().unwrap_or_else(|_| Err("panicked".into()))?;
        let taken = loads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("panicked".into()))).sum::<Result<u64>>()?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((taken, marks))
    })?;
    let cpu = (server.cpu()? - cpu).as_secs_f64();
    let peak = server.memory()?.1;
    std::thread::sleep(Duration::from_millis(500));
    end.store(true, Ordering::Relaxed);
    let mut seen = Vec::new();
    for client in reading {
        seen.push(runtime.block_on(client)??);
    }
    drop(silent);
    let metrics = String::from_utf8(ask(&server.prometheus, "GET", "/metrics", b"")?.body)?;
    let missed = metrics.lines().find_map(|l| l.strip_prefix("monocle_tail_missed_entries_total ")).unwrap_or("-").to_owned();
    let mut latencies = seen.first().map(|s| s.latencies.clone()).unwrap_or_default();
    latencies.sort_unstable();
    let ms = |share: f64| {
        let at = ((latencies.len().max(1) - 1) as f64 * share) as usize;
        latencies.get(at).map_or("-".to_owned(), |d| format!("{:.1}", d.as_secs_f64() * 1e3))
    };
    let read = seen.get(1).map_or("-".to_owned(), |s| format!("{} ({} named as missed)", s.entries, s.missed));
    writeln!(
        out,
        "| {} | {:.0} | {:.2} | {peak} | {} of {marks} | {} | {} | {} | {read} | {missed} |",
        case.name,
        taken as f64 / LOAD.as_secs_f64(),
        cpu / taken as f64 * 1e6,
        latencies.len(),
        ms(0.5),
        ms(0.99),
        ms(1.0),
    )?;
    Ok(())
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| tails | lines/s taken | server CPU-s per million | RSS peak MB | marked lines seen | p50 ms | p99 ms | worst ms | read by the one that reads all | missed, by /metrics |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    CASES.iter().try_for_each(|case| measure(case, &runtime, &mut out))
}
