//! From the write-ahead log to a store that takes and answers.

use super::Store;
use crate::model::number::format_size;
use crate::model::time::format_rfc3339;
use crate::runtime::Pace;
use crate::storage::wal::{self, Lane};
use crate::storage::{Head, Rows, Spec};
use std::io;
use std::sync::atomic::Ordering;

/// Received so far in the future, something stored says that a clock is wrong, nanoseconds.
const CLOCK_TOLERANCE: i64 = 60_000_000_000;

impl<S: Spec> Store<S> {
    /// Replays the lane into the head and opens the store. Blocks; takes about as long as the ingest of what the lane
    /// holds.
    pub fn recover(&self) -> io::Result<()> {
        // A cut would take the generation away while rows are still being applied to it.
        let _no_cut_meanwhile = self.cut_lock();
        let generation = self.open_generation();
        let published = self.published.read().clone();
        let mut rows = 0u64;
        let mut newest = self.live_blocks().iter().map(|block| block.meta().created_at).max().unwrap_or(i64::MIN);
        let (mut pace, mut done) = (Pace::default(), 0u64);
        let wal_bytes = self.world.disk.bytes(&self.layout.wal(self.signal))?;
        let report = wal::replay(&self.world, &self.layout, self.signal, generation.from, |frame| {
            done += frame.body.len() as u64;
            newest = newest.max(frame.received_at);
            if let Some(rate) = pace.due(done, wal_bytes) {
                let (read, of) = (format_size(done), format_size(wal_bytes));
                let (items_a_second, seconds_left) = ((rate.per_second * rows as f64 / done.max(1) as f64) as u64, rate.left.as_secs());
                tracing::info!(signal = %self.signal, read, of, items = rows, items_a_second, seconds_left, "replaying the write-ahead log");
            }
            match self.spec.replay(&frame) {
                Ok(mut batch) => {
                    rows += batch.len() as u64;
                    let head = generation.head(&self.spec, &frame.tenant, self.world.clock.now());
                    head.replayed(&mut batch, published.blocks.get(&frame.tenant).map_or(&[][..], |b| b));
                    head.apply(batch);
                    true
                }
                Err(error) => {
                    tracing::error!(signal = %self.signal, lsn = frame.lsn, %error, "a frame of the write-ahead log is of no use");
                    false
                }
            }
        })?;
        self.compare_clock(newest);
        if report.frames > 0 {
            // So that a cut comes, even if all of them were of no use, and replay need not read them again.
            generation.open(self.world.clock.now());
        }
        self.metrics.wal_damaged(self.signal, report.damaged);
        if report.frames > 0 || report.damaged > 0 || report.torn_bytes > 0 {
            tracing::info!(signal = %self.signal, frames = report.frames, rows, damaged = report.damaged, torn_bytes = report.torn_bytes, "write-ahead log replayed");
        }
        let lane = Lane::start(
            self.world.clone(),
            self.layout.clone(),
            self.signal,
            self.config.lane,
            report.segments,
            report.next,
            self.metrics.clone(),
        )?;
        *self.next_lsn.lock() = report.next;
        *self.lane.write() = Some(lane);
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// Data that was received in the future means that the clock was wrong then, or is now.
    fn compare_clock(&self, newest: i64) {
        let now = self.world.clock.now();
        if newest > now.saturating_add(CLOCK_TOLERANCE) {
            let (now, newest, signal) = (format_rfc3339(now), format_rfc3339(newest), self.signal);
            tracing::warn!(%signal, now, newest, "the clock of this machine is behind what is stored already: queries of the last hours and retention go wrong until it is right (check `date` and the time service)");
        }
    }
}
