//! What maintenance does to a store; queries and ingest have no part in it.

use super::{Store, StoreConfig};
use crate::model::Signal;
use crate::runtime::{World, random_u128};
use crate::storage::block::{Block, BlockId, BlockMeta};
use crate::storage::catalog::Catalog;
use crate::storage::layout::Layout;
use crate::storage::maintenance::DiskRoom;
use crate::storage::tier::Tier;
use crate::storage::wal::{Lane, LaneRefusal};
use crate::storage::{HeadStats, Spec, Tombstone};
use crate::telemetry::StoreMetrics;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

impl<S: Spec> Store<S> {
    pub(in crate::storage) fn signal_of(&self) -> Signal {
        self.signal
    }

    pub(in crate::storage) fn world(&self) -> &World {
        &self.world
    }

    pub(in crate::storage) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(in crate::storage) fn tier(&self) -> &Tier {
        &self.tier
    }

    /// Those of the newest View, of all tenants, each tenant's in the order of acceptance.
    pub(in crate::storage) fn live_blocks(&self) -> Vec<Arc<Block>> {
        let published = self.published.read().clone();
        published.blocks.values().flat_map(|b| b.iter().cloned()).collect()
    }

    pub(in crate::storage) fn is_live(&self, meta: &BlockMeta) -> bool {
        let published = self.published.read().clone();
        published.blocks.get(&meta.tenant).is_some_and(|blocks| blocks.iter().any(|b| b.meta().id == meta.id))
    }

    pub(in crate::storage) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(in crate::storage) fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    pub(in crate::storage) fn config(&self) -> &StoreConfig {
        &self.config
    }

    pub(in crate::storage) fn cut_lock(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.cutting.lock()
    }

    pub(in crate::storage) fn merging_lock(&self) -> parking_lot::MutexGuard<'_, HashSet<BlockId>> {
        self.merging.lock()
    }

    pub(in crate::storage) fn removal_lock(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.removing.lock()
    }

    pub(in crate::storage) fn room(&self) -> Option<&Arc<DiskRoom>> {
        self.room.get()
    }

    /// Bytes here of blocks that go when the last View lets go.
    pub(in crate::storage) fn leaving_bytes(&self) -> u64 {
        let mut leaving = self.leaving.lock();
        leaving.retain(|block| block.strong_count() > 0);
        let held = leaving.iter().filter_map(Weak::upgrade).filter(|block| self.tier.is_local(block.meta().id));
        held.map(|block| block.meta().bytes()).sum()
    }

    pub(in crate::storage) fn stop_merging(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(in crate::storage) fn stopping(&self) -> Arc<AtomicBool> {
        self.stopping.clone()
    }

    /// Deletes the files of blocks that were written and that nothing lists.
    pub(in crate::storage) fn discard(&self, written: &[BlockMeta]) {
        for meta in written {
            if let Err(error) = self.tier.remove(meta) {
                tracing::warn!(block = %meta.id, %error, "files of a block that is not needed are left behind until the next start");
            }
        }
    }

    /// Returns when a head is so full that it should be cut at once.
    pub(in crate::storage) async fn cut_is_wanted(&self) {
        self.cut_wanted.notified().await;
    }

    /// Lets appends go on that waited.
    pub(in crate::storage) fn tell_cut(&self) {
        self.was_cut.1.notify_all();
    }

    /// Of all tenants.
    pub fn head_stats(&self) -> HeadStats {
        let published = self.published.read().clone();
        published
            .generations
            .iter()
            .map(|g| g.stats())
            .fold(HeadStats::default(), |a, b| HeadStats { rows: a.rows + b.rows, bytes: a.bytes + b.bytes })
    }

    /// Frames that were taken wait for room on the disk.
    pub(in crate::storage) fn is_stalled(&self) -> bool {
        self.lane.read().as_ref().is_some_and(|lane| lane.check_room() == Err(LaneRefusal::NoRoom))
    }

    pub(in crate::storage) fn wal_bytes(&self) -> u64 {
        self.lane.read().as_ref().map_or(0, Lane::size)
    }

    /// When the oldest unflushed rows came; `None` if there are none.
    pub(in crate::storage) fn oldest_unflushed(&self) -> Option<i64> {
        self.published.read().generations.iter().map(|g| g.opened_at()).find(|t| *t != 0)
    }

    /// Newer than the ids of all blocks and tombstones, even if the clock was set back: their order is the order of their cuts.
    pub(in crate::storage) fn next_block_id(&self) -> BlockId {
        let published = self.published.read().clone();
        let blocks = published.blocks.values().flat_map(|b| b.iter()).map(|b| b.meta().id.max(b.meta().through()));
        let newest = blocks.chain(published.tombstones.values().flat_map(|t| t.iter()).map(|t| t.id)).max();
        BlockId::after(newest, self.world.clock.now(), random_u128())
    }

    /// Number of live blocks, and their bytes.
    pub(in crate::storage) fn block_totals(&self) -> (u64, u64) {
        let published = self.published.read().clone();
        published.blocks.values().flat_map(|b| b.iter()).fold((0, 0), |(count, bytes), b| (count + 1, bytes + b.meta().bytes()))
    }

    /// Of all tenants.
    pub(in crate::storage) fn active_tombstones(&self) -> Vec<Arc<Tombstone>> {
        let published = self.published.read().clone();
        published.tombstones.values().flat_map(|t| t.iter().cloned()).collect()
    }

    pub(in crate::storage) fn block_metas(&self) -> Vec<BlockMeta> {
        self.live_blocks().iter().map(|b| b.meta().clone()).collect()
    }
}
