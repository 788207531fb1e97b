//! Patterns of log lines (contracts/loki.md 1.10), learned from what comes in, off the way in: ingest hands over a
//! sample within a bound of lines and bytes, and a thread of its own learns from it. What is known is in memory only:
//! about three hours, and nothing of before the start.

mod drain;
mod tokenize;

use super::level::DETECTED_LEVEL;
use super::rows::{LogRows, StreamRows};
use super::source::matches;
use super::spec::LogsSpec;
use crate::ingest::Observer;
use crate::model::{Labels, Matcher, TenantId, TimeRange};
use crate::runtime::{Budget, Reservation};
use crate::storage::{Notice, Rows as _};
use drain::{BUCKET, Drain};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Lines a second that are learned from; of faster ones a sample, each of which counts for those that were left out.
const LINES_PER_SECOND: f64 = 2_000.0;
/// Lines that may come at once before there is a sample only.
const LINES_AT_ONCE: f64 = 20_000.0;
/// Lines that wait to be learned from.
const WAITING_MAX_BYTES: u64 = 8 << 20;
/// What is known of all streams together.
const KNOWN_MAX_BYTES: usize = 32 << 20;
/// Streams, each once for every level.
const DRAINS_MAX: usize = 5_000;
/// A stream of which nothing came for this long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3 * 3600);
/// Rarer patterns are not shown, and not more of them.
const SHOWN_MIN: u64 = 30;
const SHOWN_MAX: usize = 300;

/// A sampled line.
struct Line {
    ts: i64,
    level: Arc<str>,
    text: String,
    /// Lines for which it stands.
    weight: u64,
}

struct Sample {
    tenant: TenantId,
    lines: Vec<(Labels, Vec<Line>)>,
    _room: Reservation,
}

/// A pattern with its lines over time.
#[derive(Debug, PartialEq)]
pub struct Found {
    pub pattern: String,
    pub level: String,
    /// Start of each step in seconds, and lines in it; ascending.
    pub samples: Vec<(i64, u64)>,
}

pub struct Patterns {
    sender: Sender<Sample>,
    room: Arc<Budget>,
    allowance: Mutex<Allowance>,
    known: Arc<Mutex<Known>>,
}

/// How many lines may be taken now.
struct Allowance {
    lines: f64,
    at: Instant,
}

#[derive(PartialEq, Eq, Hash, Clone)]
struct Key {
    tenant: TenantId,
    labels: Labels,
    level: Arc<str>,
}

#[derive(Default)]
struct Known {
    drains: HashMap<Key, (Drain, Instant)>,
    bytes: usize,
}

impl Patterns {
    /// Starts the thread that learns; it ends when this is dropped.
    pub fn start() -> Patterns {
        let (sender, samples) = channel();
        let known = Arc::<Mutex<Known>>::default();
        let learned = known.clone();
        let spawned = std::thread::Builder::new().name("patterns".into()).spawn(move || learn(&samples, &learned));
        if let Err(error) = spawned {
            tracing::error!(%error, "no patterns are learned from log lines");
        }
        let allowance = Mutex::new(Allowance { lines: LINES_AT_ONCE, at: Instant::now() });
        Patterns { sender, room: Budget::new(WAITING_MAX_BYTES), allowance, known }
    }

    /// The most frequent patterns of the streams that satisfy all matchers, counted in steps of `step` nanoseconds, but
    /// not less than ten seconds.
    pub fn find(&self, tenant: &TenantId, matchers: &[Matcher], range: TimeRange, step: i64) -> Vec<Found> {
        let step = step.max(BUCKET);
        let mut found: BTreeMap<(String, Arc<str>), BTreeMap<i64, u64>> = BTreeMap::new();
        let known = self.known.lock();
        for (key, (drain, _)) in &known.drains {
            if key.tenant != *tenant || !matches(&key.labels, matchers) {
                continue;
            }
            for (pattern, counts) in drain.patterns() {
                let steps = found.entry((pattern, key.level.clone())).or_default();
                for (ts, count) in counts.filter(|(ts, _)| range.contains(*ts)) {
                    *steps.entry(ts.div_euclid(step) * step / crate::model::time::SECOND).or_default() += count;
                }
            }
        }
        drop(known);
        let total = |steps: &BTreeMap<i64, u64>| steps.values().sum::<u64>();
        let mut frequent: Vec<_> = found.into_iter().map(|(key, steps)| (total(&steps), key, steps)).filter(|f| f.0 >= SHOWN_MIN).collect();
        frequent.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let shown = frequent.into_iter().take(SHOWN_MAX);
        shown
            .map(|(_, (pattern, level), steps)| Found { pattern, level: level.to_string(), samples: steps.into_iter().collect() })
            .collect()
    }

    /// How many of `offered` lines may be taken.
    fn allow(&self, offered: usize) -> usize {
        let mut allowance = self.allowance.lock();
        let now = Instant::now();
        let earned = now.duration_since(allowance.at).as_secs_f64() * LINES_PER_SECOND;
        *allowance = Allowance { lines: (allowance.lines + earned).min(LINES_AT_ONCE), at: now };
        let taken = (offered as f64).min(allowance.lines.floor());
        allowance.lines -= taken;
        taken as usize
    }
}

impl Observer<LogsSpec> for Patterns {
    fn accepted(&self, tenant: &TenantId, rows: &LogRows) -> Option<Notice> {
        let offered = rows.len();
        let allowed = self.allow(offered);
        if allowed == 0 {
            return None;
        }
        let every = offered.div_ceil(allowed);
        let mut room = self.room.clone().reserve(0)?;
        let mut lines = Vec::new();
        for stream in rows.streams() {
            let taken = sample(rows, stream, every, &mut room);
            if !taken.is_empty() {
                lines.push((stream.labels.clone(), taken));
            }
        }
        // If nobody learns any more, nothing is lost but that.
        let _ = self.sender.send(Sample { tenant: tenant.clone(), lines, _room: room });
        None
    }
}

/// One line out of `every`, as far as there is room.
fn sample(rows: &LogRows, stream: &StreamRows, every: usize, room: &mut Reservation) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut left = stream.rows.len();
    for entry in rows.of_stream(stream).step_by(every) {
        if room.grow(entry.bytes() as u64).is_none() {
            break;
        }
        let level = entry.metadata().find(|(name, _)| *name == DETECTED_LEVEL).map_or_else(|| Arc::from(""), |(_, level)| level.into());
        lines.push(Line { ts: entry.ts(), level, text: entry.line().to_owned(), weight: every.min(left) as u64 });
        left = left.saturating_sub(every);
    }
    lines
}

fn learn(samples: &Receiver<Sample>, known: &Mutex<Known>) {
    while let Ok(sample) = samples.recv() {
        for (labels, lines) in sample.lines {
            let mut known = known.lock();
            for line in lines {
                known.learn(Key { tenant: sample.tenant.clone(), labels: labels.clone(), level: line.level.clone() }, &line);
            }
        }
    }
}

impl Known {
    fn learn(&mut self, key: Key, line: &Line) {
        let now = Instant::now();
        let (drain, used) = self.drains.entry(key).or_insert_with(|| (Drain::new(&line.text), now));
        let before = drain.bytes();
        drain.learn(&line.text, line.ts, line.weight);
        *used = now;
        self.bytes = self.bytes + drain.bytes() - before;
        if self.drains.len() > DRAINS_MAX || self.bytes > KNOWN_MAX_BYTES {
            self.make_room(now);
        }
    }

    /// Forgets the streams that were quiet for longest, a tenth at a time, so that this is seldom.
    fn make_room(&mut self, now: Instant) {
        self.drains.retain(|_, (_, used)| now.duration_since(*used) < FORGET_AFTER);
        while self.drains.len() > 1 && (self.drains.len() > DRAINS_MAX * 9 / 10 || self.drained_bytes() > KNOWN_MAX_BYTES / 10 * 9) {
            let mut uses: Vec<Instant> = self.drains.values().map(|(_, used)| *used).collect();
            uses.sort_unstable();
            let limit = uses[(uses.len() - 1) / 10];
            self.drains.retain(|_, (_, used)| *used > limit);
        }
        self.bytes = self.drained_bytes();
    }

    fn drained_bytes(&self) -> usize {
        self.drains.values().map(|(drain, _)| drain.bytes()).sum()
    }
}

#[cfg(test)]
mod tests;
