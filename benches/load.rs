//! What an OTLP endpoint costs under load, seen from outside: `cargo bench --bench load -- --traces N --logs N --metrics N`.
//!
//! Requests are made once, before anything is measured, and sent over several connections. Without `--url` it starts the
//! built monocle on an empty directory, a fresh one for each signal unless they are sent `--together`. With `--url` it sends
//! to whatever answers there; `--pid` and `--data` say what to measure.
//!
//! `--series N --turnover PERCENT` keeps so many series active, and replaces some of them all the time.
//!
//! `--soak MINUTES --flag=--memory=512MiB --flag=--disk=2GiB` sends everything at once as fast as it is taken, asks meanwhile,
//! and counts at the end: it fails when anything that was acknowledged is missing, or a budget was not kept.

#[path = "load/connection.rs"]
mod connection;
#[path = "measure/cpu.rs"]
mod cpu;
#[path = "measure/disk.rs"]
mod disk;
#[path = "measure/memory.rs"]
mod memory;
#[path = "load/process.rs"]
mod process;
#[path = "ingest/requests.rs"]
mod requests;
#[path = "load/send.rs"]
mod send;
#[path = "load/series.rs"]
mod series;
#[path = "load/soak.rs"]
mod soak;
#[path = "load/template.rs"]
mod template;
#[path = "load/watch.rs"]
mod watch;

use clap::{Parser, ValueEnum};
use monocle::runtime::{Clock, SystemClock};
use process::{Target, Usage};
use requests::{LINES, POINTS, Requests, SPANS};
use send::{Paced, Sender, Sent};
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// OTLP over which protocol.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Transport {
    Http,
    Grpc,
}

/// Sends made-up telemetry to an OTLP endpoint and says what it cost.
#[derive(Parser)]
struct Arguments {
    /// Spans to send.
    #[arg(long, default_value_t = 0)]
    traces: u64,
    /// Log records to send.
    #[arg(long, default_value_t = 0)]
    logs: u64,
    /// Samples to send.
    #[arg(long, default_value_t = 0)]
    metrics: u64,
    /// Sources of metrics, with 1,000 series each.
    #[arg(long, default_value_t = 8)]
    pods: u64,
    #[arg(long, value_enum, default_value = "http")]
    transport: Transport,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Items a second and signal, instead of as many as are taken: one number for all, or one for each that is sent, in the order
    /// of traces, logs and metrics. Times of answer then count from when a request was due.
    #[arg(long, value_delimiter = ',')]
    rate: Vec<f64>,
    /// All signals at once instead of one after the other.
    #[arg(long)]
    together: bool,
    /// Send to this base URL instead of a monocle of its own.
    #[arg(long)]
    url: Option<String>,
    /// Processes behind `--url` whose CPU and memory are measured.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// The directory behind `--url` whose size is measured.
    #[arg(long)]
    data: Option<PathBuf>,
    /// POST this when all is sent and the server is idle, and measure until it is idle again.
    #[arg(long)]
    after: Option<String>,
    /// Send all signals for so many minutes, and count at the end what is there.
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["url", "rate"])]
    soak: Option<f64>,
    /// Keep so many series active, instead of all else.
    #[arg(long, value_name = "N", conflicts_with_all = ["url", "rate", "soak"])]
    series: Option<u64>,
    /// With `--series`: percent of them that give way to new ones after each round.
    #[arg(long, default_value_t = 0.0)]
    turnover: f64,
    /// With `--series`: samples of each.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// With `--series`: as remote write 2.0 instead of OTLP/HTTP.
    #[arg(long)]
    remote_write: bool,
    /// With `--series`: the cores that the server may use, as `taskset -c` takes them.
    #[arg(long)]
    cores: Option<String>,
    /// A flag of the monocle that is started, such as `--flag=--memory=512MiB`; may be repeated.
    #[arg(long = "flag", allow_hyphen_values = true)]
    flags: Vec<String>,
    /// What cargo gives to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Some(minutes) = arguments.soak {
        return soak::run(&runtime, arguments.transport, arguments.connections, minutes, &arguments.flags);
    }
    if let Some(series) = arguments.series {
        let Arguments { turnover, rounds, connections, remote_write, ref cores, .. } = arguments;
        let load = series::Load { series, turnover, rounds, connections, remote_write, cores: cores.clone() };
        return load.run(&runtime, &arguments.flags);
    }
    let now = u64::try_from(SystemClock.now())?;
    let made = [
        (arguments.traces.div_ceil(SPANS), requests::traces as fn(u64, u64) -> Requests),
        (arguments.logs.div_ceil(LINES), requests::logs),
    ];
    let mut all: Vec<Requests> = made.into_iter().filter(|(count, _)| *count > 0).map(|(count, make)| make(count, now)).collect();
    if arguments.metrics > 0 {
        all.push(requests::metrics(arguments.metrics.div_ceil(POINTS), now, arguments.pods));
    }
    if all.is_empty() {
        return Err("nothing to send: give --traces, --logs or --metrics".into());
    }
    print_head()?;
    let rates = match arguments.rate[..] {
        [] => vec![None; all.len()],
        [rate] => vec![Some(rate); all.len()],
        ref rates if rates.len() == all.len() => rates.iter().copied().map(Some).collect(),
        _ => return Err("--rate has one number, or one for each signal that is sent".into()),
    };
    let all: Vec<Paced> = all.into_iter().zip(rates).collect();
    let batches: Vec<Vec<Paced>> = if arguments.together { vec![all] } else { all.into_iter().map(|one| vec![one]).collect() };
    for batch in batches {
        measure(&arguments, &runtime, batch)?;
    }
    Ok(())
}

/// Sends `batch`, all its signals at once, and prints a line for each and one for the server.
fn measure(arguments: &Arguments, runtime: &tokio::runtime::Runtime, batch: Vec<Paced>) -> Result<()> {
    let target = match &arguments.url {
        Some(url) => Target::running(url, &arguments.pid, arguments.data.clone()),
        None => Target::start(arguments.transport, &arguments.flags)?,
    };
    let after = arguments.after.clone().or_else(|| target.compact_url());
    let before = target.usage()?;
    let sender = Sender { transport: arguments.transport, connections: arguments.connections };
    let items: u64 = batch.iter().map(|(requests, _)| requests.items).sum();
    let sent = runtime.block_on(sender.send(&target.url, batch))?;
    let loaded = target.usage_when_idle()?;
    if let Some(url) = after {
        runtime.block_on(send::post(&url))?;
    }
    let done = target.usage_when_idle()?;
    print(&sent, items, &before, &loaded, &done)
}

fn print_head() -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "| signal | items | wire B/item | wall s | items/s | p50 ms | p99 ms | worst ms | retried | refused |")?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    Ok(())
}

fn print(sent: &[Sent], items: u64, before: &Usage, loaded: &Usage, done: &Usage) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for one in sent {
        let milliseconds = |share: f64| one.quantile(share).as_secs_f64() * 1e3;
        writeln!(
            out,
            "| {} | {} | {:.1} | {:.2} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {} |",
            one.signal,
            one.items,
            one.wire_bytes as f64 / one.items as f64,
            one.wall.as_secs_f64(),
            one.items as f64 / one.wall.as_secs_f64(),
            milliseconds(0.5),
            milliseconds(0.99),
            milliseconds(1.0),
            one.retried,
            one.refused,
        )?;
    }
    let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / items as f64;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    writeln!(
        out,
        "server: CPU {:.2} s until idle, {:.2} s with what came after ({:.2} and {:.2} per million); resident {:.0} MiB before, {:.0} at most, \
         {:.0} when idle; {:.1} MiB on disk ({:.1} B an item)\n",
        (loaded.cpu - before.cpu).as_secs_f64(),
        (done.cpu - before.cpu).as_secs_f64(),
        per_million(loaded.cpu - before.cpu),
        per_million(done.cpu - before.cpu),
        mebibytes(before.resident),
        mebibytes(done.resident_peak),
        mebibytes(done.resident),
        mebibytes(done.disk),
        done.disk as f64 / items as f64,
    )?;
    Ok(())
}
