//! The way of a batch into the log: room, admission, a number, a place in the queue.

use super::Store;
use crate::model::TenantId;
use crate::storage::wal::{Commit, FRAME_MAX_BYTES, Frame, LaneRefusal, NotCommitted};
use crate::storage::{Admitted, Head, Refusals, Rows, Spec};
use std::time::{Duration, Instant};

/// An append that waits for a cut looks so often whether the process stops.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The write was not stored. It may succeed later, unless it is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("starting: replay of the write-ahead log is not finished")]
    NotReady,
    #[error("the write-ahead log is full; a cut is under way")]
    WalFull,
    #[error("memory for unflushed data is used up; a cut is under way")]
    HeadFull,
    #[error("the disk is full, or the disk budget is used up; try again later")]
    DiskFull,
    #[error("the request takes more than {FRAME_MAX_BYTES} bytes of the write-ahead log")]
    TooLarge,
    #[error("shutting down")]
    Stopping,
}

impl From<LaneRefusal> for AppendError {
    fn from(why: LaneRefusal) -> AppendError {
        match why {
            LaneRefusal::Full => AppendError::WalFull,
            LaneRefusal::NoRoom => AppendError::DiskFull,
        }
    }
}

impl From<NotCommitted> for AppendError {
    fn from(why: NotCommitted) -> AppendError {
        match why {
            NotCommitted::Stopped => AppendError::Stopping,
            NotCommitted::NoRoom => AppendError::DiskFull,
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Appended {
    pub accepted: u64,
    pub refusals: Refusals,
}

/// An append that is queued for the next group commit.
pub struct Ticket {
    commit: Option<Commit>,
    appended: Appended,
}

impl Ticket {
    /// Waits until the rows are durable and visible. They become so even if nobody waits, and when this says that the disk
    /// is full they may do so later: who sends them again gets them once.
    pub async fn durable(self) -> Result<Appended, AppendError> {
        if let Some(commit) = self.commit {
            commit.durable().await?;
        }
        Ok(self.appended)
    }
}

/// In the last quarter of a head only those may append who have no more of it than all may have: who fills it does not stand
/// in the way of others.
fn is_even_share(own: u64, max: u64, tenants: u64) -> bool {
    own <= max / tenants.max(1)
}

impl<S: Spec> Store<S> {
    /// Admits, numbers and queues a batch. Blocks for as long as other appends are being admitted, and perhaps to read
    /// blocks, so call it from a thread that may block. Nothing is stored if this fails.
    pub fn append(&self, admitted: Admitted<S>) -> Result<Ticket, AppendError> {
        let Admitted { mut batch, watch, memory } = admitted;
        self.wait_for_room(&batch.tenant)?;
        // Held until the frame is queued, so that `close` can wait for appends that are under way.
        let lane = self.lane.read();
        let lane = lane.as_ref().filter(|_| self.is_ready()).ok_or(AppendError::NotReady)?;
        lane.check_room()?;
        let frame_bytes = Frame::bytes_at_most(batch.rows.len() + batch.refusals.skipped(), batch.payload.body.len());
        if frame_bytes > FRAME_MAX_BYTES {
            return Err(AppendError::TooLarge);
        }
        let claim = match self.room.get() {
            Some(room) => Some(room.claim(frame_bytes as u64).ok_or(AppendError::DiskFull)?),
            None => None,
        };
        let published = self.published.read().clone();
        let now = self.world.clock.now();
        if !batch.rows.is_empty() {
            let blocks = published.blocks.get(&batch.tenant).map_or(&[][..], |b| b);
            // Ingest never waits for a bucket: what is only there is old.
            let here =
                self.tier.has_bucket().then(|| blocks.iter().filter(|b| self.tier.is_local(b.meta().id)).cloned().collect::<Vec<_>>());
            self.open_generation().head(&self.spec, &batch.tenant, now).prepare(&batch.rows, here.as_deref().unwrap_or(blocks));
        }
        let mut next_lsn = self.next_lsn.lock();
        let generation = self.open_generation();
        let offered = !batch.rows.is_empty();
        if offered {
            generation.head(&self.spec, &batch.tenant, now).admit(&mut batch.rows, &mut batch.refusals);
        }
        let accepted = batch.rows.len() as u64;
        if batch.rows.is_empty() {
            // Rows that admission found to be there already may be queued and not durable yet.
            let commit = offered.then(|| lane.barrier());
            return Ok(Ticket { commit, appended: Appended { accepted, refusals: batch.refusals } });
        }
        let lsn = *next_lsn;
        *next_lsn += 1;
        let head = generation.head(&self.spec, &batch.tenant, now);
        let frame = Frame {
            lsn,
            received_at: batch.payload.received_at,
            kind: batch.payload.kind,
            encoding: batch.payload.encoding,
            tenant: batch.tenant.clone(),
            refused: batch.refusals.indexes(),
            body: batch.payload.body,
        };
        generation.enter();
        let (tenant, rows) = (batch.tenant, batch.rows);
        let apply = Box::new(move || {
            let notice = watch.and_then(|watch| watch(&tenant, &rows));
            drop(claim);
            head.apply(rows);
            drop(memory);
            generation.leave();
            if let Some(notice) = notice {
                notice();
            }
        });
        let commit = lane.enqueue(frame, apply);
        Ok(Ticket { commit: Some(commit), appended: Appended { accepted, refusals: batch.refusals } })
    }

    /// Waits while head or log is full, and asks for a cut early enough that there is hardly ever need to.
    fn wait_for_room(&self, tenant: &TenantId) -> Result<(), AppendError> {
        let deadline = Instant::now() + self.patience.get().copied().unwrap_or_default();
        loop {
            if !self.is_ready() {
                return Err(AppendError::NotReady);
            }
            let head = self.head_stats().bytes;
            let is_wal_full = self.lane.read().as_ref().is_some_and(|lane| lane.check_room() == Err(LaneRefusal::Full));
            if is_wal_full || head >= self.config.head_max_bytes / 2 {
                self.cut_wanted.notify_one();
            }
            let refusal = match (is_wal_full, !self.has_room(head, tenant)) {
                (true, _) => AppendError::WalFull,
                (_, true) => AppendError::HeadFull,
                _ => return Ok(()),
            };
            if self.room.get().is_some_and(|room| !room.has_room(0)) {
                // Its frame would be refused even then.
                return Err(AppendError::DiskFull);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(refusal);
            }
            let (lock, was_cut) = &self.was_cut;
            was_cut.wait_for(&mut lock.lock(), left.min(LOOK_EVERY));
        }
    }

    fn has_room(&self, head: u64, tenant: &TenantId) -> bool {
        let max = self.config.head_max_bytes;
        if head <= max / 4 * 3 || head > max {
            return head <= max;
        }
        let generations = self.published.read().generations.clone();
        let own = generations.iter().filter_map(|g| g.existing(tenant)).map(|h| h.stats().bytes).sum();
        let tenants = generations.iter().map(|g| g.tenants()).max().unwrap_or(0);
        is_even_share(own, max, tenants as u64)
    }
}
