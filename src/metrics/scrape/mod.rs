//! Scraping: targets are asked in turn for what they expose, and it becomes samples through the door that everyone uses.
//! Behaviour is that of Prometheus's scrape loop.
//!
//! - A target's time within its interval follows from its labels, so that many do not come at once, and it keeps that time
//!   across restarts. Samples have that time when the scrape began no later than a hundredth of the interval after it.
//! - What a scrape does not have any more gets a staleness marker; so does everything when it fails. A stop of monocle writes
//!   none: the next start goes on.
//! - Bounds: the body of a scrape ([`config::Limits`]), the memory of all scrapes under way together, and the labels of a
//!   series.

mod board;
pub mod config;
mod exposition;
mod fetch;
#[cfg(test)]
mod fetch_tests;
mod fields;
mod output;
mod relabel;
mod session;
mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use board::{Board, Health, Listed, Watched};
pub use config::Config;

use super::writer::Writer;
use crate::model::time::MILLI;
use crate::runtime::{Budget, Clock, Shutdown};
use crate::telemetry::{ScrapeMetrics, Telemetry};
use exposition::{Form, accept, form};
use fetch::{Fetched, Fetcher};
use output::{Output, Report};
use session::{Counts, Session};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often it is looked whether the store takes writes.
const READY_CHECK: Duration = Duration::from_millis(100);

/// A start later than this after its time counts as the time itself, whatever the interval.
const TOLERANCE_MAX: Duration = Duration::from_millis(10);

/// The content type of monocle's own exposition.
const OWN_FORM: &str = "application/openmetrics-text";

/// Scrapes for as long as the process runs.
pub struct Scraper {
    board: Arc<Board>,
    writer: Writer,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    budget: Arc<Budget>,
}

/// Where an exposition comes from.
enum Source {
    Http(Arc<Fetcher>),
    /// Without a network between.
    Own(Box<Telemetry>),
}

impl Scraper {
    /// At most `memory_bytes` of answers are held at a time, by all scrapes together.
    pub fn new(config: Config, writer: Writer, clock: Arc<dyn Clock>, telemetry: Telemetry, memory_bytes: u64) -> Scraper {
        Scraper { board: Arc::new(Board::new(config)), writer, clock, telemetry, budget: Budget::new(memory_bytes) }
    }

    /// What is scraped, and how it went.
    pub fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Until shutdown. A scrape that is under way then is given up, but what one has got is still written.
    pub async fn run(self, shutdown: Shutdown) {
        while !self.writer.is_ready() {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(READY_CHECK) => {}
            }
        }
        let mut loops = JoinSet::new();
        let mut targets = 0;
        let mut clients = HashMap::new();
        for watched in self.board.active() {
            let source = match self.source(watched, &mut clients) {
                Ok(source) => source,
                Err(error) => {
                    tracing::error!(job = watched.target.job.name, %error, "a target cannot be scraped");
                    watched.report(self.clock.now(), Duration::ZERO, Some(error));
                    continue;
                }
            };
            targets += 1;
            let scrape = Scrape {
                session: Session::new(watched.families.clone()),
                watched: watched.clone(),
                source,
                writer: self.writer.clone(),
                clock: self.clock.clone(),
                telemetry: self.telemetry.scrape.clone(),
            };
            loops.spawn(scrape.run(shutdown.clone()));
        }
        self.telemetry.scrape.targets(targets);
        while loops.join_next().await.is_some() {}
    }

    /// `clients` are those of the jobs so far, by name: targets of a job share one, and the certificates that it believes.
    fn source(&self, watched: &Watched, clients: &mut HashMap<String, Result<Arc<Fetcher>, String>>) -> Result<Source, String> {
        if watched.is_own {
            return Ok(Source::Own(Box::new(self.telemetry.clone())));
        }
        let job = &watched.target.job;
        let client = || {
            let accepted = accept(&job.exposition.protocols, job.exposition.escaping);
            Fetcher::new(&job.client, &accepted, job.limits.body_bytes, self.budget.clone()).map(Arc::new)
        };
        clients.entry(job.name.clone()).or_insert_with(client).clone().map(Source::Http)
    }
}

/// One target's loop.
struct Scrape {
    watched: Arc<Watched>,
    source: Source,
    session: Session,
    writer: Writer,
    clock: Arc<dyn Clock>,
    telemetry: ScrapeMetrics,
}

impl Scrape {
    async fn run(mut self, shutdown: Shutdown) {
        let interval = i64::try_from(self.watched.target.interval.as_nanos()).unwrap_or(i64::MAX);
        let offset = self.watched.target.offset();
        loop {
            let now = self.clock.now();
            let due = next_due(now, interval, offset);
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(Duration::from_nanos(due.abs_diff(now))) => {}
            }
            let at = aligned(self.clock.now(), due, interval);
            let started = Instant::now();
            let fetched = tokio::select! {
                () = shutdown.requested() => return,
                fetched = self.fetch() => fetched,
            };
            self = match self.take(at, started, fetched).await {
                Some(scrape) => scrape,
                None => return,
            };
        }
    }

    async fn fetch(&self) -> Result<Fetched, String> {
        match &self.source {
            Source::Http(fetcher) => fetcher.fetch(&self.watched.target).await,
            Source::Own(telemetry) => Ok(Fetched::own(telemetry.expose(), OWN_FORM)),
        }
    }

    /// Stores what came at `at`, nanoseconds. `None` after a panic, which has been logged.
    async fn take(mut self, at: i64, started: Instant, fetched: Result<Fetched, String>) -> Option<Scrape> {
        // Parsing takes its time, which the I/O threads do not have.
        let work = move || {
            let (output, report, error) = self.digest(at, started, fetched);
            (self, output, report, error)
        };
        let done = tokio::task::spawn_blocking(work).await;
        let (scrape, output, report, error) =
            done.inspect_err(|error| tracing::error!(%error, "a target is scraped no more: its loop panicked")).ok()?;
        let target = &scrape.watched.target;
        if let Some(error) = &error {
            tracing::debug!(job = target.job.name, url = target.url.as_str(), error, "scrape failed");
        }
        scrape.telemetry.scraped(if report.up { "ok" } else { "failed" }, report.counts.kept);
        scrape.watched.report(at, report.took, error);
        scrape.store(output).await;
        Some(scrape)
    }

    fn digest(&mut self, at: i64, started: Instant, fetched: Result<Fetched, String>) -> (Output, Report, Option<String>) {
        let target = &self.watched.target;
        let now = at.div_euclid(MILLI);
        let mut output = Output::default();
        let mut counts = Counts::default();
        let mut body_bytes = -1;
        let taken = fetched.and_then(|fetched| {
            body_bytes = i64::try_from(fetched.body.len()).unwrap_or(i64::MAX);
            let form: Form = form(fetched.content_type.as_deref(), target.job.exposition.fallback)?;
            let (counted, read) = self.session.take(target, form, &fetched.body, now, &mut output);
            counts = counted;
            read.map_err(|rejected| rejected.to_string())
        });
        let error = taken.err();
        if error.is_some() {
            output = Output::default();
            self.session.end_all(now, &mut output);
        }
        let report = Report { up: error.is_none(), took: started.elapsed(), counts, body_bytes };
        output.report(target, now, &report);
        (output, report, error)
    }

    async fn store(&self, output: Output) {
        let target = &self.watched.target;
        for body in output.bodies {
            match self.writer.write(target.job.tenant.clone(), body).await {
                Ok(outcome) if outcome.refusals.is_empty() => {}
                Ok(outcome) => {
                    self.telemetry.dropped("refused_sample", outcome.refusals.len() as u64);
                    let (refused, reason) = (outcome.refusals.len(), outcome.refusals.message());
                    tracing::warn!(job = target.job.name, url = target.url.as_str(), refused, reason, "scraped samples were refused");
                }
                Err(error) => {
                    self.telemetry.dropped("failed_write", 1);
                    tracing::warn!(job = target.job.name, url = target.url.as_str(), %error, "scraped samples were not written");
                }
            }
        }
    }
}

/// The next time that is `offset` after a multiple of `interval`, later than `now`. Nanoseconds.
fn next_due(now: i64, interval: i64, offset: i64) -> i64 {
    let since = now.saturating_sub(offset).rem_euclid(interval);
    now.saturating_add(interval - since)
}

/// The time of a scrape that began at `now` and was due at `due`: exact intervals take less room and draw straighter lines.
fn aligned(now: i64, due: i64, interval: i64) -> i64 {
    let tolerance = (interval / 100).min(TOLERANCE_MAX.as_nanos() as i64);
    if now.abs_diff(due) <= tolerance.unsigned_abs() { due } else { now }
}
