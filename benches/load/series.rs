//! Many active series, some of which are replaced all the time, as pods are that come and go:
//! `cargo bench --bench load -- --series 1000000 --turnover 2 --rounds 10 [--remote-write] [--cores 0]`.
//!
//! A pod reports its 1,000 series in one request, every pod once a round, and rounds are 15 seconds apart in the times that
//! are sent. After each round `--turnover` percent of the pods give way to new ones, so that 2 is 480 percent an hour of those
//! times. Requests are made while others are under way, and several are kept ready.

use crate::connection::{Connection, Export, Outcome};
use crate::process::{Target, Usage};
use crate::requests::{POINTS, report, report_series};
use crate::watch::Watch;
use crate::{Result, Transport};
use bytes::Bytes;
use monocle::metrics::remote_write::{SeriesWrite, WriteBody};
use monocle::model::Labels;
use monocle::runtime::{Clock, SystemClock};
use std::io::Write;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep};

const SECOND: u64 = 1_000_000_000;
const ROUND: u64 = 15 * SECOND;

/// Requests that are ready at most.
const READY: usize = 16;

/// How long a refused request waits before it is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub struct Load {
    pub series: u64,
    /// Percent of the pods that a round replaces.
    pub turnover: f64,
    pub rounds: u64,
    pub connections: usize,
    pub remote_write: bool,
    /// As `taskset -c` takes them.
    pub cores: Option<String>,
}

/// What became of a round.
#[derive(Default)]
struct Round {
    took: Vec<Duration>,
    retried: u64,
}

impl Load {
    pub fn run(&self, runtime: &tokio::runtime::Runtime, flags: &[String]) -> Result<()> {
        let target = Target::start_on(self.cores.as_deref(), Transport::Http, flags)?;
        let url = if self.remote_write { target.listener("prometheus").ok_or("no listener")? } else { target.url.clone() };
        let pods = self.series.div_ceil(POINTS).max(1);
        let replaced = (pods as f64 * self.turnover / 100.0).round() as u64;
        let last = u64::try_from(SystemClock.now())?;
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "| round | new series | samples/s | p50 ms | p99 ms | worst ms | retried | CPU s per million | RSS MiB | peak MiB |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        let (pid, data) = target.own().ok_or("no server")?;
        let before = target.usage()?;
        for round in 0..self.rounds {
            // The oldest go.
            let first = round * replaced;
            let time = last - (self.rounds - round) * ROUND;
            let (start, cpu, watch) = (Instant::now(), target.usage()?.cpu, Watch::start(pid, data.clone()));
            let mut done = runtime.block_on(self.round(&url, (first, first + pods), round, time))?;
            let (wall, usage, seen) = (start.elapsed(), target.usage()?, watch.end()?);
            done.took.sort_unstable();
            let new = if round == 0 { pods } else { replaced };
            print(&mut out, (round, new * POINTS, pods * POINTS), &done, (wall, usage.cpu - cpu), &usage, seen.resident_peak)?;
        }
        let idle = target.usage_when_idle()?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            out,
            "{} series: resident {:.0} MiB before, {:.0} when idle, {:.0} at most; {:.0} B a series when idle; CPU {:.2} s in all",
            pods * POINTS,
            mebibytes(before.resident),
            mebibytes(idle.resident),
            mebibytes(idle.resident_peak),
            idle.resident.saturating_sub(before.resident) as f64 / (pods * POINTS) as f64,
            (idle.cpu - before.cpu).as_secs_f64(),
        )?;
        Ok(())
    }

    /// Reports of the pods `from..to`, over all connections.
    async fn round(&self, url: &str, (from, to): (u64, u64), round: u64, time: u64) -> Result<Round> {
        let export = Export::to(if self.remote_write { "/api/v1/write" } else { "/v1/metrics" })?;
        let (ready, bodies) = mpsc::channel::<Bytes>(READY);
        let remote_write = self.remote_write;
        let maker = tokio::task::spawn_blocking(move || -> Result<()> {
            for pod in from..to {
                let body = if remote_write { written(pod, round, time)? } else { report(pod, round, time, time - 86_400 * SECOND) };
                ready.blocking_send(body)?;
            }
            Ok(())
        });
        let bodies = std::sync::Arc::new(Mutex::new(bodies));
        let mut tasks = Vec::new();
        for _ in 0..self.connections {
            let (bodies, url) = (bodies.clone(), url.parse()?);
            tasks.push(tokio::spawn(async move {
                let mut connection = Connection::open(&url, Transport::Http).await?;
                let mut done = Round::default();
                loop {
                    let next = bodies.lock().await.recv().await;
                    let Some(body) = next else { return Result::Ok(done) };
                    let due = Instant::now();
                    loop {
                        match connection.export(export, &body).await? {
                            Outcome::Later(_) => {
                                done.retried += 1;
                                sleep(RETRY_AFTER).await;
                            }
                            Outcome::PartlyRefused => return Err("samples were refused".into()),
                            Outcome::Taken => break,
                        }
                    }
                    done.took.push(due.elapsed());
                }
            }));
        }
        let mut all = Round::default();
        for task in tasks {
            let mut done = task.await??;
            all.took.append(&mut done.took);
            all.retried += done.retried;
        }
        maker.await??;
        Ok(all)
    }
}

/// The same series as [`report`] sends, as remote write 2.0 in a snappy block.
fn written(pod: u64, round: u64, time: u64) -> Result<Bytes> {
    let mut body = WriteBody::default();
    let ts = i64::try_from(time / 1_000_000)?;
    for (labels, value) in report_series(pod, round) {
        let floats = [(ts, 0, value)];
        body.series(&Labels::from_pairs(labels), SeriesWrite { floats: &floats, ..SeriesWrite::default() });
    }
    Ok(snap::raw::Encoder::new().compress_vec(&body.finish())?.into())
}

fn print(
    out: &mut impl Write,
    (round, new, samples): (u64, u64, u64),
    done: &Round,
    (wall, cpu): (Duration, Duration),
    usage: &Usage,
    peak: u64,
) -> Result<()> {
    let milliseconds = |share: f64| {
        let last = done.took.len().saturating_sub(1);
        done.took.get((last as f64 * share).round() as usize).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    };
    writeln!(
        out,
        "| {round} | {new} | {:.0} | {:.1} | {:.1} | {:.1} | {} | {:.2} | {} | {} |",
        samples as f64 / wall.as_secs_f64(),
        milliseconds(0.5),
        milliseconds(0.99),
        milliseconds(1.0),
        done.retried,
        cpu.as_secs_f64() * 1e6 / samples as f64,
        usage.resident >> 20,
        peak >> 20,
    )?;
    Ok(())
}
