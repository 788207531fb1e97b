//! Requests over several connections, and how long their answers took.

use crate::connection::{Connection, Export, Outcome};
use crate::requests::Requests;
use crate::{Result, Transport};
use bytes::Bytes;
use http::Uri;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// How long a refused request waits before it is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub struct Sender {
    pub transport: Transport,
    /// For each signal.
    pub connections: usize,
}

/// One signal's requests, and how many items a second are sent; `None` is as many as are taken.
pub type Paced = (Requests, Option<f64>);

/// What became of one signal's requests.
pub struct Sent {
    pub signal: &'static str,
    pub items: u64,
    pub wire_bytes: usize,
    pub wall: Duration,
    /// Answers that asked to come again later.
    pub retried: usize,
    /// Answers that said that items were refused.
    pub refused: usize,
    /// From the shortest.
    answers: Vec<Duration>,
}

impl Sent {
    /// The time under which `share` of the answers came.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.answers.len().saturating_sub(1);
        self.answers.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// One signal's requests, which its connections take one after the other.
struct Work {
    export: Export,
    bodies: Vec<Bytes>,
    next: AtomicUsize,
    /// Between two requests, when there is a rate.
    pace: Option<Duration>,
    start: Instant,
}

#[derive(Default)]
struct Answers {
    took: Vec<Duration>,
    retried: usize,
    refused: usize,
}

impl Sender {
    /// Sends all signals of `batch` at once. The first answer that neither takes a request nor asks for it later is an error.
    pub async fn send(&self, url: &str, batch: Vec<Paced>) -> Result<Vec<Sent>> {
        let mut signals = Vec::new();
        for (requests, rate) in batch {
            let per_request = requests.items as f64 / requests.bodies.len() as f64;
            let wire_bytes = requests.bodies.iter().map(Bytes::len).sum();
            let work = Arc::new(Work {
                export: Export::to(requests.path)?,
                bodies: requests.bodies,
                next: AtomicUsize::new(0),
                pace: rate.map(|rate| Duration::from_secs_f64(per_request / rate)),
                start: Instant::now(),
            });
            let mut tasks = Vec::new();
            for _ in 0..self.connections {
                tasks.push(tokio::spawn(run(url.parse()?, self.transport, work.clone())));
            }
            signals.push((requests.signal, requests.items, wire_bytes, work.start, tasks));
        }
        let mut all = Vec::new();
        for (signal, items, wire_bytes, start, tasks) in signals {
            let mut sent = Sent { signal, items, wire_bytes, wall: Duration::ZERO, retried: 0, refused: 0, answers: Vec::new() };
            for task in tasks {
                let (ended, answers) = task.await??;
                sent.wall = sent.wall.max(ended - start);
                sent.retried += answers.retried;
                sent.refused += answers.refused;
                sent.answers.extend(answers.took);
            }
            sent.answers.sort_unstable();
            all.push(sent);
        }
        Ok(all)
    }
}

/// One connection until there is no request left; when it ended, and its answers.
async fn run(url: Uri, transport: Transport, work: Arc<Work>) -> Result<(Instant, Answers)> {
    let mut connection = Connection::open(&url, transport).await?;
    let mut answers = Answers::default();
    loop {
        let n = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(body) = work.bodies.get(n) else { return Ok((Instant::now(), answers)) };
        let mut due = Instant::now();
        if let Some(pace) = work.pace {
            due = work.start + pace * u32::try_from(n)?;
            sleep_until(due).await;
        }
        loop {
            match connection.export(work.export, body).await? {
                Outcome::Later(_) => {
                    answers.retried += 1;
                    sleep(RETRY_AFTER).await;
                    continue;
                }
                Outcome::PartlyRefused => answers.refused += 1,
                Outcome::Taken => {}
            }
            answers.took.push(due.elapsed());
            break;
        }
    }
}

/// Any answer but success is an error.
pub async fn post(url: &str) -> Result<()> {
    let uri: Uri = url.parse()?;
    let mut connection = Connection::open(&uri, Transport::Http).await?;
    let answer = connection.ask(http::Method::POST, uri.path()).await?;
    if answer.status.is_success() { Ok(()) } else { Err(format!("POST {url}: {}", answer.status).into()) }
}
