use super::lane::{Job, LaneConfig, NotCommitted, Pending, Shared, SyncMode};
use super::segment::Segment;
use crate::model::Signal;
use crate::runtime::{World, is_full};
use crate::storage::layout::Layout;
use crate::telemetry::StoreMetrics;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a write is tried again while the disk is full.
const ROOM_EVERY: Duration = Duration::from_millis(100);

/// With [`SyncMode::Os`], what was written is synced at most so much later.
const OS_SYNC_AFTER: Duration = Duration::from_secs(1);

/// The thread of a lane.
pub(super) struct Committer {
    shared: Arc<Shared>,
    world: World,
    layout: Layout,
    signal: Signal,
    config: LaneConfig,
    segment: Option<Segment>,
    /// LSN of the next frame to write.
    next: u64,
    metrics: StoreMetrics,
    unsynced_since: Option<Instant>,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        (world, layout, signal): (World, Layout, Signal),
        config: LaneConfig,
        next: u64,
        metrics: StoreMetrics,
    ) -> Committer {
        Committer { shared, world, layout, signal, config, segment: None, next, metrics, unsynced_since: None }
    }

    pub fn run(mut self) {
        loop {
            let (jobs, stopping) = self.take();
            if let Err(error) = self.commit(jobs) {
                // The state of the page cache is unknown after a failed write or sync, so nothing later may be
                // acknowledged; what was acknowledged is on disk and will be replayed.
                tracing::error!(signal = %self.signal, %error, "cannot write the write-ahead log, giving up");
                std::process::abort();
            }
            let mut queue = self.shared.queue.lock();
            if stopping && queue.jobs.is_empty() {
                queue.ended = true;
                return;
            }
        }
    }

    fn take(&self) -> (VecDeque<Job>, bool) {
        let mut queue = self.shared.queue.lock();
        while queue.jobs.is_empty() && !queue.stopping {
            match self.unsynced_since {
                Some(since) if self.config.sync == SyncMode::Os => {
                    if self.shared.wake.wait_until(&mut queue, since + OS_SYNC_AFTER).timed_out() {
                        break;
                    }
                }
                _ => self.shared.wake.wait(&mut queue),
            }
        }
        queue.bytes = 0;
        (std::mem::take(&mut queue.jobs), queue.stopping)
    }

    /// Writes all jobs, syncs once, and only then applies and answers. While the disk is full it waits; what was not synced
    /// by then is taken out of the log, and written again.
    fn commit(&mut self, mut jobs: VecDeque<Job>) -> io::Result<()> {
        loop {
            let started = Instant::now();
            let (durable, result) = self.attempt(&jobs);
            let bytes = jobs.iter().take(durable).map(job_bytes).sum();
            if bytes > 0 {
                self.metrics.wal_written(self.signal, bytes, started.elapsed());
            }
            jobs.drain(..durable).for_each(finish);
            match result {
                Ok(()) => {
                    self.shared.queue.lock().stalled = false;
                    return Ok(());
                }
                Err(error) if is_full(&error) => {
                    tracing::warn!(signal = %self.signal, %error, "the disk is full: the write-ahead log waits for room");
                    self.take_back()?;
                    if !self.wait_for_room(&mut jobs) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How many of the jobs, from the first on, are done for good, and why it is not all of them.
    fn attempt(&mut self, jobs: &VecDeque<Job>) -> (usize, io::Result<()>) {
        let mut durable = 0;
        for (at, job) in jobs.iter().enumerate() {
            let kept = match job {
                Job::Append(pending) => self.write(pending, at),
                Job::Barrier(_) => Ok(durable),
                Job::Rotate => self.close_segment().map(|()| at + 1),
                Job::Recycle(floor, _) => {
                    self.recycle(*floor);
                    Ok(durable)
                }
            };
            match kept {
                Ok(kept) => durable = durable.max(kept),
                Err(error) => return (durable, Err(error)),
            }
        }
        match self.sync_if_due() {
            Ok(()) => (jobs.len(), Ok(())),
            Err(error) => (durable, Err(error)),
        }
    }

    /// Writes the frame of job number `at`. Returns how many jobs are done for good by that.
    fn write(&mut self, pending: &Pending, at: usize) -> io::Result<usize> {
        let segment_max = self.config.size_max_bytes / 4;
        let is_closed = self.segment.as_ref().is_some_and(|s| s.bytes > segment_max);
        if is_closed {
            self.close_segment()?;
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => self.segment.insert(Segment::create(&self.world, &self.layout, self.signal, pending.frame.lsn)?),
        };
        segment.append(&pending.head, &pending.frame)?;
        self.next = pending.frame.lsn + 1;
        self.unsynced_since.get_or_insert_with(Instant::now);
        self.shared.written.lock().open_bytes = segment.bytes;
        if self.config.sync != SyncMode::Group {
            segment.keep(self.next);
            return Ok(at + 1);
        }
        Ok(if is_closed { at } else { 0 })
    }

    /// What is in it is synced from now on.
    fn close_segment(&mut self) -> io::Result<()> {
        let Some(segment) = &mut self.segment else { return Ok(()) };
        if self.config.sync != SyncMode::None {
            segment.sync()?;
        }
        debug_assert!(segment.first < self.next, "a segment is created for its first frame");
        segment.keep(self.next);
        self.unsynced_since = None;
        self.end_segment();
        Ok(())
    }

    /// Later frames go to a new segment.
    fn end_segment(&mut self) {
        let Some(segment) = self.segment.take() else { return };
        let (bytes, next) = segment.kept;
        let mut written = self.shared.written.lock();
        written.open_bytes = 0;
        written.closed.push_back((segment.path, next, bytes));
    }

    /// Takes what does not count out of the log: after a failed sync nobody knows how much of it is on the disk.
    fn take_back(&mut self) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let (bytes, next) = segment.kept;
        self.next = next;
        self.unsynced_since = None;
        if bytes > 0 {
            // Where this fails, replay ends the segment where the next one begins.
            match self.world.disk.truncate(&segment.path, bytes) {
                Err(error) if !is_full(&error) => return Err(error),
                _ => self.end_segment(),
            }
            return Ok(());
        }
        // Nothing of it counts, and the next one has its name, and replaces it where it cannot be removed now.
        let path = segment.path.clone();
        self.segment = None;
        self.shared.written.lock().open_bytes = 0;
        match self.world.disk.remove_file(&path) {
            Err(error) if !is_full(&error) && error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Tells everyone who waits, and returns when another attempt may succeed. `false` if the lane is to stop: what was not
    /// written was not acknowledged.
    fn wait_for_room(&self, jobs: &mut VecDeque<Job>) -> bool {
        let tell = |jobs: &mut VecDeque<Job>| {
            jobs.iter_mut().filter_map(Job::waiter).for_each(|waiter| waiter.tell(Err(NotCommitted::NoRoom)));
        };
        let mut queue = self.shared.queue.lock();
        queue.stalled = true;
        tell(jobs);
        let until = Instant::now() + ROOM_EVERY;
        loop {
            tell(&mut queue.jobs);
            if queue.stopping || self.shared.wake.wait_until(&mut queue, until).timed_out() {
                break;
            }
        }
        !queue.stopping
    }

    fn recycle(&self, floor: u64) {
        let mut written = self.shared.written.lock();
        while let Some((path, end, _)) = written.closed.front()
            && *end <= floor
        {
            if let Err(error) = self.world.disk.remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                // Harmless: replay skips what is below the floor, and the next start deletes it.
                tracing::warn!(signal = %self.signal, %error, "a segment that is no longer needed is left behind");
                return;
            }
            written.closed.pop_front();
        }
    }

    fn sync_if_due(&mut self) -> io::Result<()> {
        let due = match (self.config.sync, self.unsynced_since) {
            (SyncMode::None, _) | (_, None) => false,
            (SyncMode::Group, Some(_)) => true,
            (SyncMode::Os, Some(since)) => since.elapsed() >= OS_SYNC_AFTER,
        };
        if due && let Some(segment) = &mut self.segment {
            match segment.sync() {
                Ok(()) => segment.keep(self.next),
                // Written frames count in this mode, and survive the process; the machine's death was not promised.
                Err(error) if self.config.sync == SyncMode::Os && is_full(&error) => {
                    tracing::warn!(signal = %self.signal, %error, "the disk is full: the write-ahead log is not synced");
                }
                Err(error) => return Err(error),
            }
        }
        if due {
            self.unsynced_since = None;
        }
        Ok(())
    }
}

fn job_bytes(job: &Job) -> u64 {
    match job {
        Job::Append(pending) => (pending.head.len() + pending.frame.body.len()) as u64,
        Job::Barrier(_) | Job::Rotate | Job::Recycle(..) => 0,
    }
}

fn finish(job: Job) {
    match job {
        Job::Append(mut pending) => {
            (pending.apply)();
            pending.done.tell(Ok(()));
        }
        Job::Barrier(mut done) => done.tell(Ok(())),
        Job::Rotate => {}
        Job::Recycle(_, done) => {
            // Who asked may have gone.
            let _ = done.send(());
        }
    }
}
