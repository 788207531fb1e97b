use super::frame::Frame;
use super::segment::Segment;
use crate::model::Signal;
use crate::runtime::World;
use crate::storage::layout::Layout;
use crate::telemetry::StoreMetrics;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// When a frame counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// After fdatasync, shared by all frames that wait at the same time.
    #[default]
    Group,
    /// After write(2): survives the death of the process, not of the machine. Synced at most a second later.
    Os,
    /// As `Os`, and never synced.
    None,
}

#[derive(Debug, Clone, Copy)]
pub struct LaneConfig {
    pub sync: SyncMode,
    /// WAL that no block covers, in bytes; beyond it appends are refused until a cut has caught up.
    pub size_max_bytes: u64,
}

/// Frames that wait for the next group commit, in bytes.
const QUEUE_MAX_BYTES: u64 = 64 << 20;

/// The lane has no room at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write-ahead log is full; a cut is under way")]
pub struct LaneFull;

/// Resolves once the frame is durable and its rows are visible.
pub struct Commit(oneshot::Receiver<()>);

impl Commit {
    /// `Err` only if the lane stopped before the frame was durable.
    pub async fn durable(self) -> Result<(), oneshot::error::RecvError> {
        self.0.await
    }
}

struct Pending {
    frame: Frame,
    head: Vec<u8>,
    apply: Box<dyn FnOnce() + Send>,
    done: oneshot::Sender<()>,
}

enum Job {
    Append(Pending),
    /// Writes nothing; answered when all before it is durable.
    Barrier(oneshot::Sender<()>),
    /// Later frames go to a new segment.
    Rotate,
    /// Frames below this LSN are in blocks.
    Recycle(u64, mpsc::Sender<()>),
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    bytes: u64,
    stopping: bool,
    /// The committer is gone: nobody will take further jobs.
    ended: bool,
}

impl Queue {
    /// A job that nobody will take is dropped, so that whoever waits for it learns that.
    fn push(&mut self, job: Job) {
        if !self.ended {
            self.jobs.push_back(job);
        }
    }
}

/// Segments on disk that recycling may delete.
#[derive(Default)]
struct Written {
    /// Closed segments, oldest first: path, LSN after the last frame, bytes.
    closed: VecDeque<(PathBuf, u64, u64)>,
    open_bytes: u64,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    written: Mutex<Written>,
}

/// One signal's log. A thread of its own commits frames in the order in which they were enqueued, and applies their
/// rows in that order, so that replay sees what live ingest saw.
pub struct Lane {
    shared: Arc<Shared>,
    config: LaneConfig,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Lane {
    /// Starts the committer. `old` are the segments that replay left, oldest first, with the LSN after each one's last
    /// frame; `next` is the LSN of the next frame, and its segment must not exist.
    pub fn start(
        world: World,
        layout: Layout,
        signal: Signal,
        config: LaneConfig,
        old: Vec<(PathBuf, u64, u64)>,
        next: u64,
        metrics: StoreMetrics,
    ) -> io::Result<Lane> {
        let written = Written { closed: old.into(), open_bytes: 0 };
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: Condvar::new(), written: Mutex::new(written) });
        let committer =
            Committer { shared: shared.clone(), world, layout, signal, config, segment: None, next, metrics, unsynced_since: None };
        let thread = std::thread::Builder::new().name(format!("wal-{signal}")).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                // Without its committer a lane would let every request wait for ever. Acknowledged rows are on disk.
                std::process::abort();
            }
        })?;
        Ok(Lane { shared, config, thread: Mutex::new(Some(thread)) })
    }

    /// Whether an append would be refused now.
    pub fn check_room(&self) -> Result<(), LaneFull> {
        let full = self.shared.queue.lock().bytes > QUEUE_MAX_BYTES || self.size() > self.config.size_max_bytes;
        if full { Err(LaneFull) } else { Ok(()) }
    }

    /// Bytes on disk that no cut has recycled.
    pub fn size(&self) -> u64 {
        let written = self.shared.written.lock();
        written.open_bytes + written.closed.iter().map(|(_, _, bytes)| bytes).sum::<u64>()
    }

    /// Queues a frame. The caller holds the lock that hands out LSNs, so that queue order is LSN order. `apply` runs on
    /// the committer's thread once the frame is durable.
    pub fn enqueue(&self, frame: Frame, apply: Box<dyn FnOnce() + Send>) -> Commit {
        let head = frame.head_bytes();
        let (done, commit) = oneshot::channel();
        let mut queue = self.shared.queue.lock();
        queue.bytes += (head.len() + frame.body.len()) as u64;
        queue.push(Job::Append(Pending { frame, head, apply, done }));
        drop(queue);
        self.shared.wake.notify_one();
        Commit(commit)
    }

    /// Completes when every frame that was enqueued before is durable and applied.
    pub fn barrier(&self) -> Commit {
        let (done, commit) = oneshot::channel();
        self.shared.queue.lock().push(Job::Barrier(done));
        self.shared.wake.notify_one();
        Commit(commit)
    }

    /// Frames enqueued from now on go to a new segment, so that those before can be recycled. Called under the same
    /// lock as [`Lane::enqueue`].
    pub fn rotate(&self) {
        self.shared.queue.lock().push(Job::Rotate);
        self.shared.wake.notify_one();
    }

    /// Deletes segments all of whose frames are below `floor`, and waits for that; what was queued before is committed
    /// first. The catalog has committed the floor.
    pub fn recycle(&self, floor: u64) {
        let (done, recycled) = mpsc::channel();
        self.shared.queue.lock().push(Job::Recycle(floor, done));
        self.shared.wake.notify_one();
        // An error means that the lane has stopped: the next start deletes what is below the floor.
        let _ = recycled.recv();
    }

    /// Commits what is queued and ends the thread.
    pub fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the committer ends the process.
            let _ = thread.join();
        }
    }
}

struct Committer {
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
    fn run(mut self) {
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
                    let due = since + Duration::from_secs(1);
                    if self.shared.wake.wait_until(&mut queue, due).timed_out() {
                        break;
                    }
                }
                _ => self.shared.wake.wait(&mut queue),
            }
        }
        queue.bytes = 0;
        (std::mem::take(&mut queue.jobs), queue.stopping)
    }

    /// Writes all jobs, syncs once, and only then applies and answers.
    fn commit(&mut self, jobs: VecDeque<Job>) -> io::Result<()> {
        let mut committed = Vec::with_capacity(jobs.len());
        let mut bytes = 0;
        for job in jobs {
            match job {
                Job::Append(pending) => {
                    bytes += (pending.head.len() + pending.frame.body.len()) as u64;
                    self.write(&pending)?;
                    committed.push((pending.apply, pending.done));
                }
                Job::Barrier(done) => committed.push((Box::new(|| {}), done)),
                Job::Rotate => self.close_segment()?,
                Job::Recycle(floor, done) => {
                    self.recycle(floor);
                    let _ = done.send(());
                }
            }
        }
        let started = Instant::now();
        self.sync_if_due()?;
        if bytes > 0 {
            self.metrics.wal_written(self.signal, bytes, started.elapsed());
        }
        for (apply, done) in committed {
            apply();
            // The requester may have gone away; its rows stay.
            let _ = done.send(());
        }
        Ok(())
    }

    fn write(&mut self, pending: &Pending) -> io::Result<()> {
        let segment_max = self.config.size_max_bytes / 4;
        if self.segment.as_ref().is_some_and(|s| s.bytes > segment_max) {
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
        Ok(())
    }

    fn close_segment(&mut self) -> io::Result<()> {
        let Some(mut segment) = self.segment.take() else { return Ok(()) };
        if self.config.sync != SyncMode::None {
            segment.sync()?;
        }
        debug_assert!(segment.first < self.next, "a segment is created for its first frame");
        let mut written = self.shared.written.lock();
        written.open_bytes = 0;
        written.closed.push_back((segment.path, self.next, segment.bytes));
        Ok(())
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
            (SyncMode::Os, Some(since)) => since.elapsed() >= Duration::from_secs(1),
        };
        if due {
            if let Some(segment) = &mut self.segment {
                segment.sync()?;
            }
            self.unsynced_since = None;
        }
        Ok(())
    }
}
