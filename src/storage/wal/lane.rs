use super::committer::Committer;
use super::frame::Frame;
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

/// Why an append would be refused at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneRefusal {
    /// As much as it may have; a cut is under way.
    Full,
    /// The disk has no room for what is queued.
    NoRoom,
}

/// Why it is not known that a frame is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCommitted {
    /// The lane stopped before.
    Stopped,
    /// The disk is full. The frame is written when there is room, if the process lives until then.
    NoRoom,
}

/// Resolves once the frame is durable and its rows are visible.
pub struct Commit(oneshot::Receiver<Result<(), NotCommitted>>);

impl Commit {
    pub async fn durable(self) -> Result<(), NotCommitted> {
        self.0.await.unwrap_or(Err(NotCommitted::Stopped))
    }
}

/// Who waits for a job. Told once, at the latest when the job is done.
pub(super) struct Waiter(Option<oneshot::Sender<Result<(), NotCommitted>>>);

impl Waiter {
    pub fn tell(&mut self, result: Result<(), NotCommitted>) {
        if let Some(waiter) = self.0.take() {
            // The requester may have gone away; its rows stay.
            let _ = waiter.send(result);
        }
    }
}

pub(super) struct Pending {
    pub frame: Frame,
    pub head: Vec<u8>,
    pub apply: Box<dyn FnOnce() + Send>,
    pub done: Waiter,
}

pub(super) enum Job {
    Append(Pending),
    /// Writes nothing; answered when all before it is durable.
    Barrier(Waiter),
    /// Later frames go to a new segment.
    Rotate,
    /// Frames below this LSN are in blocks.
    Recycle(u64, mpsc::Sender<()>),
}

impl Job {
    pub fn waiter(&mut self) -> Option<&mut Waiter> {
        match self {
            Job::Append(pending) => Some(&mut pending.done),
            Job::Barrier(done) => Some(done),
            Job::Rotate | Job::Recycle(..) => None,
        }
    }
}

#[derive(Default)]
pub(super) struct Queue {
    pub jobs: VecDeque<Job>,
    pub bytes: u64,
    pub stopping: bool,
    /// The committer waits for room on the disk.
    pub stalled: bool,
    /// The committer is gone: nobody will take further jobs.
    pub ended: bool,
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
pub(super) struct Written {
    /// Closed segments, oldest first: path, LSN after the last frame, bytes.
    pub closed: VecDeque<(PathBuf, u64, u64)>,
    pub open_bytes: u64,
}

pub(super) struct Shared {
    pub queue: Mutex<Queue>,
    pub wake: Condvar,
    pub written: Mutex<Written>,
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
        let committer = Committer::new(shared.clone(), (world, layout, signal), config, next, metrics);
        let thread = std::thread::Builder::new().name(format!("wal-{signal}")).spawn(move || {
            if catch_unwind(AssertUnwindSafe(|| committer.run())).is_err() {
                // Without its committer a lane would let every request wait for ever. Acknowledged rows are on disk.
                std::process::abort();
            }
        })?;
        Ok(Lane { shared, config, thread: Mutex::new(Some(thread)) })
    }

    /// Whether an append would be refused now.
    pub fn check_room(&self) -> Result<(), LaneRefusal> {
        let queue = self.shared.queue.lock();
        let (stalled, queued) = (queue.stalled, queue.bytes);
        drop(queue);
        if stalled {
            return Err(LaneRefusal::NoRoom);
        }
        if queued > QUEUE_MAX_BYTES || self.size() > self.config.size_max_bytes { Err(LaneRefusal::Full) } else { Ok(()) }
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
        queue.push(Job::Append(Pending { frame, head, apply, done: Waiter(Some(done)) }));
        drop(queue);
        self.shared.wake.notify_one();
        Commit(commit)
    }

    /// Completes when every frame that was enqueued before is durable and applied.
    pub fn barrier(&self) -> Commit {
        let (done, commit) = oneshot::channel();
        self.shared.queue.lock().push(Job::Barrier(Waiter(Some(done))));
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

    /// Commits what is queued, unless the disk has no room for it, and ends the thread.
    pub fn stop(&self) {
        self.shared.queue.lock().stopping = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            // A panic of the committer ends the process.
            let _ = thread.join();
        }
    }
}
