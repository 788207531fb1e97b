//! What very many label values cost: pushes of one stream each, then every endpoint that looks at labels, and queries, over
//! the head, over blocks as cut, over merged ones and after a restart. `cargo bench --bench cardinality`.
//!
//! `MONOCLE_BENCH_STREAMS` streams are pushed (a million by default), each with one line, and each line with a value of
//! structured metadata of its own; with `MONOCLE_BENCH_METADATA` all lines are in 1,000 streams, and only the metadata has very
//! many values.

#[path = "loki/server.rs"]
mod server;

use monocle::runtime::{Clock, SystemClock};
use server::{Answer, Result, Server, ask};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const STREAMS_A_REQUEST: u64 = 1_000;
const CONNECTIONS: usize = 4;
fn request_id(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17)
}

/// The `pod` of a line: a bijection that spreads the numbers, so that values come in no order.
fn pod(n: u64) -> u64 {
    let n = if std::env::var_os("MONOCLE_BENCH_METADATA").is_some() { n % 1_000 } else { n };
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn body(first: u64, now: u64) -> String {
    let mut out = String::from(r#"{"streams":["#);
    for n in first..first + STREAMS_A_REQUEST {
        let comma = if n > first { "," } else { "" };
        let _ = write!(
            out,
            r#"{comma}{{"stream":{{"job":"app","namespace":"team-{}","pod":"pod-{:016x}"}},"values":[["{}","level=info msg=\"request {n} served\" path=/api/v1/items/{} duration={}ms bytes={}",{{"request_id":"{:016x}"}}]]}}"#,
            n % 20,
            pod(n),
            now - n * 1_000,
            n % 977,
            n % 1_013,
            n % 65_521,
            request_id(n),
        );
    }
    out.push_str("]}");
    out
}

fn push(server: &Server, streams: u64, now: u64) -> Result<()> {
    let next = AtomicU64::new(0);
    let work = || -> Result<u64> {
        let mut later = 0;
        loop {
            let first = next.fetch_add(STREAMS_A_REQUEST, Ordering::Relaxed);
            if first >= streams {
                return Ok(later);
            }
            let body = body(first, now);
            loop {
                match ask(&server.loki, "POST", "/loki/api/v1/push", body.as_bytes())? {
                    Answer { status: 204, .. } => break,
                    Answer { status: 429 | 503, .. } => {
                        later += 1;
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    Answer { status, body } => return Err(format!("push: {status} {}", String::from_utf8_lossy(&body)).into()),
                }
            }
        }
    };
    let (started, before) = (Instant::now(), server.cpu()?);
    let later = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a sender panicked".into()))).sum::<Result<u64>>()
    })?;
    let ((resident, peak), cpu) = (server.memory()?, server.cpu()? - before);
    let seconds = started.elapsed().as_secs_f64();
    writeln!(
        std::io::stdout().lock(),
        "pushed {streams} streams in {seconds:.1} s, {:.1} CPU-s, {:.0} streams/s, told to come again {later} times; RSS {resident} MB, peak {peak} MB",
        cpu.as_secs_f64(),
        streams as f64 / seconds,
    )?;
    Ok(())
}

/// What is asked: a name, a path and its parameters.
fn questions(streams: u64, now: u64) -> Vec<(&'static str, String)> {
    let (pod, id) = (pod(streams / 2), request_id(streams / 2));
    let range = format!("&start={}&end={}", now - 3_600_000_000_000, now + 1_000_000_000);
    let encoded = |query: &str| -> String { query.bytes().map(|b| format!("%{b:02X}")).collect() };
    let path = |path: &str, query: &str| format!("/loki/api/v1/{path}query={}{range}", encoded(query));
    vec![
        ("labels", path("labels?", "")),
        ("label/pod/values", path("label/pod/values?", "")),
        ("label/pod/values of a namespace", path("label/pod/values?", r#"{namespace="team-7"}"#)),
        ("series", format!("/loki/api/v1/series?{range}")),
        ("series of one pod", format!("/loki/api/v1/series?match={}{range}", encoded(&format!(r#"{{pod="pod-{pod:016x}"}}"#)))),
        ("index/stats", path("index/stats?", r#"{job="app"}"#)),
        ("index/volume by namespace", path("index/volume?targetLabels=namespace&", r#"{job="app"}"#)),
        ("index/volume by pod", path("index/volume?targetLabels=pod&", r#"{job="app"}"#)),
        ("index/volume_range", path("index/volume_range?step=15&", r#"{namespace=~".+"}"#)),
        ("detected_labels", path("detected_labels?", "")),
        ("detected_fields", path("detected_fields?", r#"{job="app"}"#)),
        ("patterns", path("patterns?", r#"{job="app"}"#)),
        ("query_range, one pod", path("query_range?", &format!(r#"{{pod="pod-{pod:016x}"}}"#))),
        ("query_range, one request_id", path("query_range?", &format!(r#"{{job="app"}} | request_id="{id:016x}""#))),
        ("query_range, a text that is not there", path("query_range?", r#"{job="app"} |= "out of memory""#)),
        ("query_range, a text of one line", path("query_range?", &format!(r#"{{job="app"}} |= "request {} served""#, streams / 3))),
        ("query_range, newest 100 of all", path("query_range?", r#"{job="app"}"#)),
        ("sum(count_over_time)", path("query_range?step=60&", r#"sum(count_over_time({job="app"}[1m]))"#)),
        ("sum by (namespace)", path("query_range?step=60&", r#"sum by (namespace) (count_over_time({job="app"}[1m]))"#)),
        ("topk by pod", path("query_range?step=60&", r#"topk(5, sum by (pod) (count_over_time({job="app"}[1m])))"#)),
        ("count_over_time of all", path("query_range?step=60&", r#"count_over_time({pod=~".+"}[1m])"#)),
    ]
}

fn measure(server: &Server, state: &str, streams: u64, now: u64) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{state}: RSS {} MB\n", server.memory()?.0)?;
    writeln!(out, "| | status | answer kB | warning | wall ms | CPU ms | RSS peak MB |\n|---|---|---|---|---|---|---|")?;
    for (name, path) in questions(streams, now) {
        server.forget_peak()?;
        let (before, started) = (server.cpu()?, Instant::now());
        let answer = ask(&server.loki, "GET", &path, b"")?;
        let (wall, cpu) = (started.elapsed().as_millis(), (server.cpu()? - before).as_millis());
        let text = String::from_utf8_lossy(&answer.body);
        let start = &text[..text.len().min(200)];
        let said = if answer.status != 200 {
            start.trim()
        } else if start.contains("\"warnings\"") {
            "yes"
        } else {
            ""
        };
        let (status, kb, peak) = (answer.status, answer.body.len() as f64 / 1e3, server.memory()?.1);
        writeln!(out, "| {name} | {status} | {kb:.1} | {said} | {wall} | {cpu} | {peak} |")?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let streams: u64 = std::env::var("MONOCLE_BENCH_STREAMS").ok().map_or(Ok(1_000_000), |n| n.parse())?;
    let home = tempfile::tempdir()?;
    let data: PathBuf = home.path().join("data");
    let now = u64::try_from(SystemClock.now())?;
    let server = Server::start(&data)?;
    push(&server, streams, now)?;
    measure(&server, "as pushed", streams, now)?;
    for (path, state) in [("/-/flush", "blocks as cut"), ("/-/compact", "merged")] {
        server.forget_peak()?;
        let (before, started) = (server.cpu()?, Instant::now());
        let status = ask(&server.prometheus, "POST", path, b"")?.status;
        let cpu = (server.cpu()? - before).as_secs_f64();
        let (wall, peak) = (started.elapsed().as_secs_f64(), server.memory()?.1);
        writeln!(std::io::stdout().lock(), "\nPOST {path}: {status}, {wall:.1} s, {cpu:.1} CPU-s, peak {peak} MB")?;
        measure(&server, state, streams, now)?;
    }
    drop(server);
    let started = Instant::now();
    let server = Server::start(&data)?;
    writeln!(std::io::stdout().lock(), "\nready {:.2} s after a kill", started.elapsed().as_secs_f64())?;
    measure(&server, "after a restart", streams, now)
}
