//! One disk budget over all signals, blocks, logs and caches alike. The oldest blocks go before the budget is used up; where
//! that does not help, writes are refused before they reach a log.
//!
//! What is used is measured, not estimated: every file but the catalog's is written through a [`MeteredDisk`]. In sixteenths
//! of the budget (a part is at most 1 GiB): blocks and logs may take all but three parts; one of the three is for a merge,
//! one and a half for what logs and cuts write until blocks have gone, and half a part only cuts may use, which give back more than they
//! take.

use super::MaintenanceError;
use crate::model::Signal;
use crate::runtime::{Disk, MeteredDisk, Shutdown, World};
use crate::storage::block::BlockId;
use crate::storage::catalog::CatalogEdit;
use crate::storage::layout::Layout;
use crate::storage::{Spec, Store};
use crate::telemetry::ProcessMetrics;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A block whose files are on this disk.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldBlock {
    pub signal: Signal,
    pub id: BlockId,
    pub bytes: u64,
    /// How much of its retention it has used (decisions 22).
    pub used_up: f64,
    /// A bucket has it, too: it goes before what is nowhere else.
    pub is_elsewhere: bool,
}

/// Who has blocks on the disk, and can let go of them.
pub trait Holder: Send + Sync {
    fn signal(&self) -> Signal;

    fn held(&self) -> Vec<HeldBlock>;

    /// Bytes of blocks that are let go of, whose files stay until the last query that reads them ends.
    fn leaving_bytes(&self) -> u64;

    /// Frees the disk of these blocks.
    fn let_go(&self, blocks: &[BlockId]) -> Result<(), MaintenanceError>;
}

/// Blocks that go, so that at least `excess` bytes are freed.
fn plan(mut held: Vec<HeldBlock>, excess: u64) -> Vec<HeldBlock> {
    held.sort_by(|a, b| b.is_elsewhere.cmp(&a.is_elsewhere).then(b.used_up.total_cmp(&a.used_up)).then(a.id.cmp(&b.id)));
    let mut freed = 0u64;
    let go = held.into_iter().take_while(|block| {
        let more = freed < excess;
        freed += block.bytes;
        more
    });
    go.collect()
}

const PARTS: u64 = 16;

/// Parts that blocks leave to work in progress.
const KEPT_FREE: u64 = 3;

const PART_MAX_BYTES: u64 = 1 << 30;

/// Of the file system, at least so much stays free, less where the budget is small.
const RESERVE_MAX_BYTES: u64 = 64 << 20;

const TICK: Duration = Duration::from_millis(250);

/// The disk that all stores share.
pub struct DiskRoom {
    disk: Arc<MeteredDisk>,
    layout: Layout,
    /// `--disk`, in bytes.
    wanted: u64,
    /// As much of it as the file system has room for.
    max: AtomicU64,
    /// The catalog is SQLite's, and its files are not metered; what they took when the rest was measured is.
    catalog_bytes: AtomicU64,
    catalog_bytes_at_open: u64,
    /// Frames on their way to a log.
    queued: AtomicU64,
    /// Less than the reserve is left of the file system, whoever uses it.
    volume_full: AtomicBool,
    /// What was last said in the log.
    refuses: AtomicBool,
}

/// Room for a frame that is on its way to a log; given back when the frame is in it.
pub struct Claim {
    room: Arc<DiskRoom>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.room.queued.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn catalog_bytes(disk: &dyn Disk, layout: &Layout) -> io::Result<u64> {
    layout.catalog_files().iter().map(|file| disk.bytes(file)).sum()
}

impl DiskRoom {
    /// The budget of the data directory, and the world through which it must be written from now on.
    pub fn open(world: &World, layout: &Layout, wanted: u64) -> io::Result<(World, Arc<DiskRoom>)> {
        let catalog_bytes_at_open = catalog_bytes(world.disk.as_ref(), layout)?;
        let disk = Arc::new(MeteredDisk::over(world.disk.clone(), layout.root())?);
        // What is stored fits, whatever others have put on the file system meanwhile.
        let stored = disk.used() / (PARTS - KEPT_FREE) * PARTS;
        let room = DiskRoom {
            disk: disk.clone(),
            layout: layout.clone(),
            wanted,
            max: AtomicU64::new(stored.min(wanted)),
            catalog_bytes: AtomicU64::new(catalog_bytes_at_open),
            catalog_bytes_at_open,
            queued: AtomicU64::new(0),
            volume_full: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
        };
        room.look()?;
        Ok((World { disk, ..world.clone() }, Arc::new(room)))
    }

    /// Bytes that may be used.
    pub fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// A sixteenth of the budget, at most 1 GiB: what one merge may take.
    pub fn part(&self) -> u64 {
        (self.max() / PARTS).min(PART_MAX_BYTES)
    }

    /// Bytes that all files of the data directory take.
    pub fn used(&self) -> u64 {
        (self.disk.used() + self.catalog_bytes.load(Ordering::Relaxed)).saturating_sub(self.catalog_bytes_at_open)
    }

    /// Whether a file of this size may be added, by a merge say.
    pub fn has_room(&self, bytes: u64) -> bool {
        !self.volume_full.load(Ordering::Relaxed) && self.used().saturating_add(bytes) <= self.max() - self.part() / 2
    }

    /// Room for a frame; `None` if there is none now.
    pub fn claim(self: &Arc<Self>, bytes: u64) -> Option<Claim> {
        let queued = self.queued.fetch_add(bytes, Ordering::Relaxed);
        let claim = Claim { room: self.clone(), bytes };
        self.has_room(queued.saturating_add(bytes)).then_some(claim)
    }

    #[cfg(test)]
    pub fn disk(&self) -> &MeteredDisk {
        &self.disk
    }

    /// Looks at the file system and at what is not metered.
    fn look(&self) -> io::Result<()> {
        self.catalog_bytes.store(catalog_bytes(self.disk.as_ref(), &self.layout)?, Ordering::Relaxed);
        let space = self.disk.space(self.layout.root())?;
        let reserve = RESERVE_MAX_BYTES.min(self.wanted.min(space.total_bytes) / PARTS);
        // Never less than before: what others take must not make us delete what is stored.
        let possible = self.used().saturating_add(space.free_bytes.saturating_sub(reserve)).min(self.wanted);
        self.max.fetch_max(possible, Ordering::Relaxed);
        self.volume_full.store(space.free_bytes < reserve, Ordering::Relaxed);
        Ok(())
    }

    /// Lets the oldest blocks go until the rest has room.
    pub fn enforce(&self, holders: &[Arc<dyn Holder>]) -> Result<(), MaintenanceError> {
        // What the catalog writes about those that go needs room, too.
        let result = self.let_excess_go(holders).and_then(|any| if any { self.let_excess_go(holders) } else { Ok(any) });
        self.tell();
        result.map(|_| ())
    }

    /// Whether there was any.
    fn let_excess_go(&self, holders: &[Arc<dyn Holder>]) -> Result<bool, MaintenanceError> {
        self.look()?;
        // A merge's output is not counted: its inputs go when it is done.
        let passing = self.disk.bytes(&self.layout.temporary_root())? + holders.iter().map(|h| h.leaving_bytes()).sum::<u64>();
        let kept = self.used().saturating_sub(passing);
        let excess = kept.saturating_sub(self.max() - KEPT_FREE * self.part());
        let mut result = Ok(());
        if excess > 0 {
            let go = plan(holders.iter().flat_map(|h| h.held()).collect(), excess);
            for holder in holders {
                let own: Vec<BlockId> = go.iter().filter(|b| b.signal == holder.signal()).map(|b| b.id).collect();
                if !own.is_empty() {
                    tracing::info!(signal = %holder.signal(), blocks = own.len(), "the disk budget is used up: the oldest blocks go");
                    result = result.and(holder.let_go(&own));
                }
            }
        }
        result.map(|()| excess > 0)
    }

    fn tell(&self) {
        let refuses = !self.has_room(self.queued.load(Ordering::Relaxed));
        if refuses == self.refuses.swap(refuses, Ordering::Relaxed) {
            return;
        }
        let (used, max) = (self.used(), self.max());
        if refuses {
            tracing::warn!(used, max, "there is no room on the disk: writes are refused until there is");
        } else {
            tracing::info!(used, max, "there is room on the disk again");
        }
    }

    /// Runs until shutdown.
    pub async fn run(self: Arc<Self>, holders: Vec<Arc<dyn Holder>>, metrics: ProcessMetrics, shutdown: Shutdown) {
        let holders: Arc<[Arc<dyn Holder>]> = holders.into();
        while super::sleep(&shutdown, TICK).await {
            let (room, holders) = (self.clone(), holders.clone());
            let enforced = tokio::task::spawn_blocking(move || room.enforce(&holders)).await;
            metrics.disk(self.used(), self.max(), self.refuses.load(Ordering::Relaxed));
            let failure = match enforced {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            tracing::error!(error = failure, "the disk budget cannot be kept, will be tried again");
        }
    }
}

/// Where everything is kept, age alone decides: as a part of so much.
const KEPT_FOR: Duration = Duration::from_secs(365 * 86_400);

/// A store, as the disk budget sees it.
pub struct OnDisk<S: Spec> {
    pub store: Arc<Store<S>>,
    pub retention: Option<Duration>,
}

impl<S: Spec> Holder for OnDisk<S> {
    fn signal(&self) -> Signal {
        self.store.signal_of()
    }

    fn held(&self) -> Vec<HeldBlock> {
        let (now, tier) = (self.store.world().clock.now(), self.store.tier());
        let retention = self.retention.unwrap_or(KEPT_FOR).as_nanos() as f64;
        let blocks = self.store.live_blocks();
        let here = blocks.iter().map(|b| b.meta()).filter(|meta| tier.is_local(meta.id));
        here.map(|meta| HeldBlock {
            signal: meta.signal,
            id: meta.id,
            bytes: meta.bytes(),
            used_up: now.saturating_sub(meta.max_time) as f64 / retention,
            is_elsewhere: tier.is_evictable(meta.id),
        })
        .collect()
    }

    fn leaving_bytes(&self) -> u64 {
        self.store.leaving_bytes()
    }

    fn let_go(&self, ids: &[BlockId]) -> Result<(), MaintenanceError> {
        let _until_committed = self.store.removal_lock();
        let mut remove = Vec::new();
        let tier = self.store.tier();
        // One that went from here meanwhile has nothing to give, and its copy in the bucket is bound by retention alone.
        for block in self.store.live_blocks().iter().filter(|b| ids.contains(&b.meta().id) && tier.is_local(b.meta().id)) {
            if !tier.evict(block.meta())? {
                remove.push(block.meta().id);
            }
        }
        if remove.is_empty() {
            return Ok(());
        }
        self.store.publish(&CatalogEdit { remove, ..CatalogEdit::default() }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(signal: Signal, number: i64, bytes: u64, used_up: f64) -> HeldBlock {
        HeldBlock { signal, id: BlockId::new(number * 1_000_000, 0), bytes, used_up, is_elsewhere: false }
    }

    #[test]
    fn what_has_used_most_of_its_own_retention_goes_first_and_no_more_than_needed() {
        let mut held = vec![
            block(Signal::Metrics, 1, 50, 0.4),
            block(Signal::Metrics, 2, 50, 0.1),
            block(Signal::Logs, 3, 30, 0.9),
            block(Signal::Logs, 4, 30, 0.2),
        ];
        let numbers = |held: &[HeldBlock], excess| plan(held.to_vec(), excess).iter().map(|b| b.id.0.timestamp_ms()).collect::<Vec<_>>();
        assert_eq!(numbers(&held, 0), [0; 0]);
        assert_eq!(numbers(&held, 30), [3]);
        assert_eq!(numbers(&held, 31), [3, 1]);
        assert_eq!(numbers(&held, u64::MAX), [3, 1, 4, 2]);
        held[1].is_elsewhere = true;
        assert_eq!(numbers(&held, 51), [2, 3], "what a bucket has goes before what is nowhere else");
    }
}
