//! Queries that stay: each tail gets copies of the entries of its streams as they come in (contracts/loki.md 1.12).
//!
//! Ingest hands copies over within a bound of bytes for each tail and never waits for one; what does not fit is missed,
//! and the client is told. Pipelines run behind that, off the way in.

mod outbox;

pub use outbox::{Due, FRAME_MAX, Outbox};

use super::head::{Chunk, Snapshot};
use super::logql::ast::LogExpr;
use super::logql::eval::{Direction, Engine, FoundEntry, LogQuery, Stats, run_log};
use super::rows::{LogRows, StreamRows};
use super::source::matches;
use super::spec::LogsSpec;
use crate::ingest::Observer;
use crate::model::{Labels, Matcher, TenantId, TimeRange};
use crate::query::{Context, QueryError};
use crate::runtime::{Budget, Reservation};
use crate::storage::{Notice, Rows as _, View};
use crate::telemetry::QueryMetrics;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Bytes of entries that wait for the pipeline of one tail.
const WAITING_MAX_BYTES: u64 = 8 << 20;
/// Requests whose entries wait for the pipeline of one tail.
const WAITING_MAX: usize = 1_024;
/// Missed entries that are named to a client at a time; further ones are only counted.
const NAMED_MAX: usize = 1_000;

/// Entries that a tail should have had and has not.
#[derive(Debug, Default, PartialEq)]
pub struct Missed {
    /// Time and labels of the first ones.
    pub named: Vec<(i64, Labels)>,
    pub count: u64,
}

impl Missed {
    fn add(&mut self, ts: i64, labels: &Labels) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push((ts, labels.clone()));
        }
    }

    /// The lines of a stream behind the first `after` ones.
    fn add_all(&mut self, rows: &LogRows, stream: &StreamRows, after: usize) {
        let room = NAMED_MAX - self.named.len();
        let entries = rows.of_stream(stream).skip(after);
        self.count += entries.len() as u64;
        self.named.extend(entries.take(room).map(|e| (e.ts(), stream.labels.clone())));
    }

    fn absorb(&mut self, other: Missed) {
        self.count += other.count;
        let room = NAMED_MAX - self.named.len();
        self.named.extend(other.named.into_iter().take(room));
    }
}

/// What a tail has missed and its client was not told yet.
pub struct MissedLog {
    missed: Mutex<Missed>,
    telemetry: QueryMetrics,
}

impl MissedLog {
    fn new(telemetry: QueryMetrics) -> Arc<MissedLog> {
        Arc::new(MissedLog { missed: Mutex::default(), telemetry })
    }

    pub fn add(&self, ts: i64, labels: &Labels) {
        self.missed.lock().add(ts, labels);
        self.telemetry.tail_missed(1);
    }

    fn absorb(&self, other: Missed) {
        if other.count > 0 {
            self.telemetry.tail_missed(other.count);
            self.missed.lock().absorb(other);
        }
    }

    pub fn take(&self) -> Missed {
        std::mem::take(&mut self.missed.lock())
    }
}

/// Entries of one request on their way to one tail.
pub struct Arrival {
    rows: LogRows,
    pub applied_at: Instant,
    _room: Reservation,
}

/// What ingest sees of a tail.
struct Follower {
    id: u64,
    tenant: TenantId,
    matchers: Vec<Matcher>,
    room: Arc<Budget>,
    sender: mpsc::Sender<Arrival>,
    missed: Arc<MissedLog>,
}

impl Follower {
    /// Copies what matches and fits.
    fn copy(&self, rows: &LogRows) -> Option<(LogRows, Reservation)> {
        let mut room = self.room.clone().reserve(0)?;
        let mut counts: Vec<(usize, usize)> = Vec::new();
        let mut missed = Missed::default();
        let streams = rows.streams().iter().enumerate().filter(|(_, s)| matches(&s.labels, &self.matchers));
        for (at, stream) in streams {
            let fits = rows.of_stream(stream).take_while(|entry| room.grow(entry.bytes() as u64).is_some()).count();
            if fits < stream.rows.len() {
                // Nor will the others fit: who takes nothing costs next to nothing.
                missed.add_all(rows, stream, fits);
            }
            if fits > 0 {
                counts.push((at, fits));
            }
        }
        self.missed.absorb(missed);
        (!counts.is_empty()).then(|| (rows.first_of(&counts), room))
    }

    fn deliver(&self, arrival: Arrival) {
        // A closed channel is a tail that is about to be taken off the list.
        if let Err(mpsc::error::TrySendError::Full(arrival)) = self.sender.try_send(arrival) {
            let mut missed = Missed::default();
            for stream in arrival.rows.streams() {
                missed.add_all(&arrival.rows, stream, 0);
            }
            self.missed.absorb(missed);
        }
    }
}

/// The tails of all tenants.
pub struct Tails {
    state: RwLock<State>,
    telemetry: QueryMetrics,
}

#[derive(Default)]
struct State {
    followers: Vec<Arc<Follower>>,
    next_id: u64,
}

/// There are as many tails as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("max concurrent tail requests limit exceeded, count > limit ({} > {max})", .max + 1)]
pub struct TooManyTails {
    max: usize,
}

impl Tails {
    pub fn new(telemetry: QueryMetrics) -> Arc<Tails> {
        Arc::new(Tails { state: RwLock::default(), telemetry })
    }

    /// A new tail, of which a tenant may have `max`.
    pub fn follow(self: &Arc<Tails>, tenant: &TenantId, matchers: &[Matcher], max: usize) -> Result<Tail, TooManyTails> {
        let mut state = self.state.write();
        if state.followers.iter().filter(|f| f.tenant == *tenant).count() >= max {
            return Err(TooManyTails { max });
        }
        let (sender, arrivals) = mpsc::channel(WAITING_MAX);
        let id = state.next_id;
        state.next_id += 1;
        let missed = MissedLog::new(self.telemetry.clone());
        let room = Budget::new(WAITING_MAX_BYTES);
        let follower = Follower { id, tenant: tenant.clone(), matchers: matchers.to_vec(), room, sender, missed: missed.clone() };
        state.followers.push(Arc::new(follower));
        self.telemetry.tails(state.followers.len());
        Ok(Tail { id, arrivals, missed, seen: Seen::default(), tails: self.clone() })
    }
}

impl Observer<LogsSpec> for Tails {
    fn accepted(&self, tenant: &TenantId, rows: &LogRows) -> Option<Notice> {
        let followers: Vec<Arc<Follower>> = self.state.read().followers.iter().filter(|f| f.tenant == *tenant).cloned().collect();
        let copies: Vec<_> = followers.into_iter().filter_map(|f| f.copy(rows).map(|copy| (f, copy))).collect();
        if copies.is_empty() {
            return None;
        }
        Some(Box::new(move || {
            for (follower, (rows, room)) in copies {
                follower.deliver(Arrival { rows, applied_at: Instant::now(), _room: room });
            }
        }))
    }
}

/// One tail: from its start on it misses nothing but what [`Tail::missed`] tells.
pub struct Tail {
    id: u64,
    arrivals: mpsc::Receiver<Arrival>,
    missed: Arc<MissedLog>,
    seen: Seen,
    tails: Arc<Tails>,
}

impl Tail {
    pub async fn arrival(&mut self) -> Option<Arrival> {
        self.arrivals.recv().await
    }

    pub fn missed(&self) -> Arc<MissedLog> {
        self.missed.clone()
    }

    /// Leaves out of `arrival` exact duplicates of what came shortly before, which a query would not show twice either.
    pub fn sift(&mut self, arrival: &mut Arrival) {
        let seen = &mut self.seen;
        arrival.rows.retain(|entry| {
            seen.is_new(|hash| {
                hash.update(&entry.labels.stable_id().to_le_bytes());
                hash.update(&entry.ts().to_le_bytes());
                hash.update(entry.line().as_bytes());
                for (name, value) in entry.metadata() {
                    hash.update(&[0xff]);
                    hash.update(name.as_bytes());
                    hash.update(&[0xff]);
                    hash.update(value.as_bytes());
                }
            })
        });
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut state = self.tails.state.write();
        state.followers.retain(|f| f.id != self.id);
        self.tails.telemetry.tails(state.followers.len());
    }
}

/// Hashes of entries that came lately.
#[derive(Default)]
struct Seen {
    order: VecDeque<u128>,
    set: HashSet<u128>,
}

const SEEN_MAX: usize = 8_192;

impl Seen {
    fn is_new(&mut self, fill: impl FnOnce(&mut xxhash_rust::xxh3::Xxh3)) -> bool {
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        fill(&mut hash);
        let hash = hash.digest128();
        if !self.set.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
        true
    }
}

/// What a query would answer if there were only the entries of `arrival`, oldest first. CPU work.
pub fn filter(arrival: Arrival, log: &LogExpr, ctx: &Context, now: i64) -> Result<Vec<FoundEntry>, QueryError> {
    let limit = arrival.rows.len();
    let chunk = Chunk::new(arrival.rows);
    let view = View::<LogsSpec>::of_heads(ctx.tenant.clone(), vec![Snapshot { chunks: vec![Arc::new(chunk)] }]);
    let query = LogQuery { range: TimeRange::new(i64::MIN, i64::MAX), direction: Direction::Forward, limit, interval: 0 };
    run_log(&Engine { view: &view, ctx, now }, log, &query, &mut Stats::default())
}

#[cfg(test)]
mod tests;
