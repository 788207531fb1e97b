//! What queries see, and the only ways in which it changes: a seal, and a commit to the catalog.

use super::Store;
use crate::model::TenantId;
use crate::storage::block::{Block, BlockId};
use crate::storage::catalog::{CatalogEdit, TombstoneEdit};
use crate::storage::head::Generation;
use crate::storage::maintenance::MaintenanceError;
use crate::storage::{Spec, Tombstone};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What queries see: swapped as a whole (invariant 2).
pub(super) struct Published<S: Spec> {
    /// Oldest first; the last one is open.
    pub generations: Vec<Arc<Generation<S>>>,
    pub blocks: HashMap<TenantId, Arc<Vec<Arc<Block>>>>,
    /// The active ones, oldest first.
    pub tombstones: HashMap<TenantId, Arc<Vec<Arc<Tombstone>>>>,
}

impl<S: Spec> Clone for Published<S> {
    fn clone(&self) -> Self {
        Published { generations: self.generations.clone(), blocks: self.blocks.clone(), tombstones: self.tombstones.clone() }
    }
}

/// Blocks are in the order in which their rows were accepted.
pub(super) fn place(block: &Arc<Block>) -> (BlockId, BlockId) {
    (block.meta().through(), block.meta().id)
}

fn bury(tombstones: &mut HashMap<TenantId, Arc<Vec<Arc<Tombstone>>>>, edit: &TombstoneEdit) {
    match edit {
        TombstoneEdit::Add(tombstone) => {
            Arc::make_mut(tombstones.entry(tombstone.tenant.clone()).or_default()).push(Arc::new(tombstone.clone()));
        }
        TombstoneEdit::Cancel(id) | TombstoneEdit::Processed(id) => {
            for list in tombstones.values_mut().filter(|list| list.iter().any(|t| t.id == *id)) {
                Arc::make_mut(list).retain(|t| t.id != *id);
            }
        }
    }
}

impl<S: Spec> Store<S> {
    /// Opens a new generation for appends, and returns the sealed ones, oldest first, each with the LSN at which it
    /// ends. Segment and generation change together, under the lock that hands out LSNs.
    pub(in crate::storage) fn seal(&self) -> Vec<(Arc<Generation<S>>, u64)> {
        // Before the other locks, as `append` takes it: `close` waits for all readers and keeps new ones out meanwhile.
        let lane = self.lane.read();
        let next_lsn = self.next_lsn.lock();
        let mut published = self.published.write();
        let mut next = Published::clone(&published);
        if next.generations.last().is_some_and(|g| g.opened_at() != 0) {
            next.generations.push(Arc::new(Generation::new(*next_lsn)));
            if let Some(lane) = &*lane {
                lane.rotate();
            }
        }
        let ends: Vec<u64> = next.generations.iter().skip(1).map(|g| g.from).collect();
        let sealed = next.generations.iter().cloned().zip(ends).collect();
        *published = Arc::new(next);
        sealed
    }

    /// After a commit: a failed one before it has left nothing in the catalog, so that its files can go.
    fn settle_limbo(&self) {
        let limbo = std::mem::take(&mut *self.limbo.lock());
        if limbo.is_empty() {
            return;
        }
        match self.catalog.blocks(self.signal) {
            Ok(listed) => {
                let listed: HashSet<BlockId> = listed.iter().map(|m| m.id).collect();
                self.discard(&limbo.into_iter().filter(|m| !listed.contains(&m.id)).collect::<Vec<_>>());
            }
            Err(error) => {
                tracing::warn!(%error, "files of a failed commit stay until the next one");
                self.limbo.lock().extend(limbo);
            }
        }
    }

    /// Commits and publishes: the new blocks appear and the sealed generation disappears in one step.
    pub(in crate::storage) fn publish(&self, edit: &CatalogEdit, cut: Option<&Arc<Generation<S>>>) -> Result<(), MaintenanceError> {
        if let Err(error) = self.catalog.commit(edit) {
            self.limbo.lock().extend(edit.add.iter().cloned());
            return Err(error.into());
        }
        self.settle_limbo();
        let mut published = self.published.write();
        let mut next = Published::clone(&published);
        if let Some(cut) = cut {
            next.generations.retain(|g| !Arc::ptr_eq(g, cut));
        }
        let mut changed: Vec<TenantId> = edit.add.iter().map(|m| m.tenant.clone()).collect();
        for meta in &edit.add {
            let block = Arc::new(Block::new(meta.clone(), self.tier.clone()));
            let blocks = next.blocks.entry(meta.tenant.clone()).or_default();
            let blocks = Arc::make_mut(blocks);
            blocks.push(block);
            blocks.sort_by_key(place);
        }
        for (tenant, blocks) in &mut next.blocks {
            if blocks.iter().any(|b| edit.remove.contains(&b.meta().id)) {
                changed.push(tenant.clone());
                Arc::make_mut(blocks).retain(|b| {
                    let gone = edit.remove.contains(&b.meta().id);
                    if gone {
                        b.mark_obsolete();
                        self.leaving.lock().push(Arc::downgrade(b));
                    }
                    !gone
                });
            }
        }
        for tombstone in &edit.tombstones {
            bury(&mut next.tombstones, tombstone);
        }
        let next = Arc::new(next);
        let before = std::mem::replace(&mut *published, next.clone());
        drop(published);
        // Outside the lock, since the last to let go of an obsolete block deletes its files.
        drop(before);
        for tenant in changed {
            self.spec.published(&tenant, next.blocks.get(&tenant).map_or(&[][..], |b| b));
        }
        if let (Some((_, floor)), Some(lane)) = (edit.floor, &*self.lane.read()) {
            lane.recycle(floor);
        }
        Ok(())
    }
}
