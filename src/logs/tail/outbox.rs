use super::{Missed, MissedLog};
use crate::logs::logql::eval::FoundEntry;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Entries in a frame at most (contracts/loki.md 1.12).
pub const FRAME_MAX: usize = 100;
/// Bytes of entries in a frame, unless one entry alone has more.
const FRAME_MAX_BYTES: usize = 1 << 20;
/// Entries that wait to be sent: ten frames, and far more where they are held back on purpose.
const WAITING_MAX: usize = 10 * FRAME_MAX;
const HELD_MAX: usize = 10_000;
const WAITING_MAX_BYTES: usize = 8 << 20;

/// Between a tail's pipeline and its client: entries in order of time, each held back for `delay` after it came, so that
/// older ones that come later still stand before it.
pub struct Outbox {
    delay: Duration,
    waiting: Mutex<Waiting>,
    missed: Arc<MissedLog>,
    /// Something was added, or room was made.
    added: Notify,
    taken: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By time, then in the order in which they came, with the moment from which they may be sent.
    entries: BTreeMap<(i64, u64), (Instant, FoundEntry)>,
    next: u64,
    bytes: usize,
    is_closed: bool,
}

/// What is to be sent now.
#[derive(Debug, Default, PartialEq)]
pub struct Due {
    pub entries: Vec<FoundEntry>,
    pub missed: Missed,
}

fn bytes_of(entry: &FoundEntry) -> usize {
    let labels: usize = entry.labels.iter().map(|(n, v, _)| n.len() + v.len() + 56).sum();
    entry.line.len() + labels + 96
}

impl Outbox {
    pub fn new(delay: Duration, missed: Arc<MissedLog>) -> Outbox {
        Outbox { delay, waiting: Mutex::default(), missed, added: Notify::new(), taken: Notify::new() }
    }

    /// `false`, and nothing is taken in, if there is no room.
    fn try_add(&self, entry: &mut Option<FoundEntry>) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(bytes) = entry.as_ref().map(bytes_of) else { return true };
        if !waiting.has_room(bytes, self.delay) {
            return false;
        }
        if let Some(entry) = entry.take() {
            let key = (entry.ts, waiting.next);
            waiting.next += 1;
            waiting.bytes += bytes;
            waiting.entries.insert(key, (Instant::now() + self.delay, entry));
        }
        true
    }

    /// Adds entries, waiting at most until `patience` for the client to make room. What finds no room is missed. Returns
    /// whether all found room.
    pub async fn add(&self, entries: Vec<FoundEntry>, patience: Instant) -> bool {
        let mut all = true;
        for entry in entries {
            let mut entry = Some(entry);
            while !self.try_add(&mut entry) {
                let taken = self.taken.notified();
                if self.try_add(&mut entry) {
                    break;
                }
                self.added.notify_one();
                if tokio::time::timeout_at(patience, taken).await.is_err() {
                    break;
                }
            }
            if let Some(entry) = entry {
                all = false;
                let labels = entry.labels.iter().map(|(n, v, _)| (n.as_str(), v.as_str()));
                self.missed.add(entry.ts, &crate::model::Labels::from_sorted(labels));
            }
        }
        self.added.notify_one();
        all
    }

    /// Waits until the client has made room.
    pub async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            if self.waiting.lock().has_room(0, self.delay) {
                return;
            }
            taken.await;
        }
    }

    /// Nothing more will be added: [`Outbox::due`] ends when everything is sent.
    pub fn close(&self) {
        self.waiting.lock().is_closed = true;
        self.added.notify_one();
    }

    /// The next frame; `None` after the last one. Nothing is lost if this is dropped while it waits.
    pub async fn due(&self) -> Option<Due> {
        loop {
            let added = self.added.notified();
            let until = {
                let mut waiting = self.waiting.lock();
                let now = Instant::now();
                let entries = waiting.take(now);
                let missed = self.missed.take();
                if !entries.is_empty() || missed.count > 0 {
                    drop(waiting);
                    self.taken.notify_one();
                    return Some(Due { entries, missed });
                }
                if waiting.is_closed && waiting.entries.is_empty() {
                    return None;
                }
                waiting.entries.values().map(|(due, _)| *due).min()
            };
            match until {
                Some(until) => drop(tokio::time::timeout_at(until, added).await),
                None => added.await,
            }
        }
    }
}

impl Waiting {
    fn has_room(&self, bytes: usize, delay: Duration) -> bool {
        let max = if delay.is_zero() { WAITING_MAX } else { HELD_MAX };
        self.entries.len() < max && (self.bytes + bytes <= WAITING_MAX_BYTES || self.entries.is_empty())
    }

    /// Everything up to the newest entry that is due, in order of time, as far as one frame holds it.
    fn take(&mut self, now: Instant) -> Vec<FoundEntry> {
        let Some(newest) = self.entries.iter().rev().find(|(_, (due, _))| *due <= now).map(|(key, _)| *key) else { return Vec::new() };
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < FRAME_MAX
            && let Some(first) = self.entries.first_entry()
            && *first.key() <= newest
        {
            let size = bytes_of(&first.get().1);
            if !taken.is_empty() && bytes + size > FRAME_MAX_BYTES {
                break;
            }
            bytes += size;
            taken.push(first.remove().1);
        }
        self.bytes -= bytes;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Arc<MissedLog> {
        MissedLog::new(crate::telemetry::Telemetry::default().query)
    }

    fn entry(ts: i64) -> FoundEntry {
        FoundEntry { ts, line: ts.to_string(), labels: vec![] }
    }

    fn times(due: Option<Due>) -> Vec<i64> {
        due.unwrap().entries.iter().map(|e| e.ts).collect()
    }

    #[tokio::test]
    async fn entries_are_held_back_and_put_in_order() {
        let outbox = Outbox::new(Duration::from_millis(200), log());
        let started = Instant::now();
        outbox.add(vec![entry(5), entry(7)], started).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        outbox.add(vec![entry(3), entry(9)], started).await;
        let first = times(outbox.due().await);
        assert!(started.elapsed() >= Duration::from_millis(200));
        outbox.close();
        let rest: Vec<i64> = if first.len() == 4 { Vec::new() } else { times(outbox.due().await) };
        assert_eq!([first, rest].concat(), [3, 5, 7, 9]);
        assert_eq!(outbox.due().await, None);
    }

    #[tokio::test]
    async fn frames_are_bounded_and_what_finds_no_room_is_missed() {
        let outbox = Outbox::new(Duration::ZERO, log());
        let patience = Instant::now() + Duration::from_millis(20);
        assert!(!outbox.add((0..1_005).map(entry).collect(), patience).await);
        let due = outbox.due().await.unwrap();
        assert_eq!((due.entries.len(), due.missed.count, due.missed.named.len()), (100, 5, 5));
        for _ in 0..9 {
            assert_eq!(outbox.due().await.unwrap().entries.len(), 100);
        }
        outbox.close();
        assert_eq!(outbox.due().await, None);
    }

    #[tokio::test]
    async fn a_client_that_reads_makes_room() {
        let outbox = Arc::new(Outbox::new(Duration::ZERO, log()));
        let reader = tokio::spawn({
            let outbox = outbox.clone();
            async move {
                let mut times = Vec::new();
                while let Some(due) = outbox.due().await {
                    assert_eq!(due.missed.count, 0);
                    times.extend(due.entries.iter().map(|e| e.ts));
                }
                times
            }
        });
        assert!(outbox.add((0..5_000).map(entry).collect(), Instant::now() + Duration::from_secs(30)).await);
        outbox.close();
        assert_eq!(reader.await.unwrap(), (0..5_000).collect::<Vec<_>>());
    }
}
