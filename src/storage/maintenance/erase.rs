//! Deletes: a tombstone is written, hides rows, and ends when compaction has taken them out of all blocks.

use super::MaintenanceError;
use crate::model::TenantId;
use crate::runtime::{Behind, World};
use crate::storage::block::BlockId;
use crate::storage::catalog::{CatalogEdit, CatalogError, TombstoneEdit};
use crate::storage::layout::Layout;
use crate::storage::{Delete, Spec, Store, Tombstone, TombstoneState};
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;

/// Deletes of one tenant and signal that hide rows at the same time: every query of a block tests them.
const ACTIVE_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    #[error("starting: replay of the write-ahead log is not finished")]
    NotReady,
    #[error("too many deletes are under way: at most {ACTIVE_MAX}")]
    TooMany,
    #[error("could not find delete request with given id")]
    Unknown,
    #[error("deletion of request which is in process or already processed is not allowed")]
    Processed,
    #[error(transparent)]
    Failed(#[from] MaintenanceError),
}

impl From<CatalogError> for DeleteError {
    fn from(error: CatalogError) -> DeleteError {
        DeleteError::Failed(error.into())
    }
}

impl<S: Spec> Store<S> {
    /// Hides what was accepted before and satisfies the selector. Durable and in the next View when this returns. Blocks:
    /// it cuts the head first, so that everything older than the delete has its place before it in the order of blocks.
    pub fn delete(&self, tenant: &TenantId, delete: Delete) -> Result<Arc<Tombstone>, DeleteError> {
        if !self.is_ready() {
            return Err(DeleteError::NotReady);
        }
        let alone = self.cut_lock();
        if self.view(tenant).tombstones().len() >= ACTIVE_MAX {
            return Err(DeleteError::TooMany);
        }
        self.cut_under(&alone, Behind::Nobody)?;
        let tombstone = Tombstone::new(self.next_block_id(), tenant.clone(), self.signal_of(), delete, self.world().clock.now());
        let path = self.layout().tombstone(tenant, tombstone.id);
        let edit = CatalogEdit { tombstones: vec![TombstoneEdit::Add(tombstone.clone())], ..CatalogEdit::default() };
        let done = write(self.world(), self.layout(), &tombstone).map_err(MaintenanceError::from).and_then(|()| self.publish(&edit, None));
        if let Err(error) = done {
            // What is left would be collected at the next start.
            let _ = self.world().disk.remove_file(&path);
            return Err(error.into());
        }
        if let Err(error) = self.tier().sync_tombstones(self.catalog()) {
            tracing::warn!(%error, "a delete is not in the bucket yet");
        }
        tracing::info!(signal = %self.signal_of(), %tenant, id = %tombstone.id, selector = tombstone.selector, "delete accepted");
        Ok(Arc::new(tombstone))
    }

    /// Takes a delete back. Not possible when its time for that is over, unless `force`d: then what compaction has not
    /// purged comes back.
    pub fn cancel_delete(&self, tenant: &TenantId, id: BlockId, force: bool) -> Result<(), DeleteError> {
        let _alone = self.cut_lock();
        let known = self.catalog().tombstones_of(self.signal_of(), tenant)?;
        let Some((tombstone, state)) = known.into_iter().find(|(t, _)| t.id == id) else { return Err(DeleteError::Unknown) };
        let is_open = self.world().clock.now() < tombstone.purge_after;
        if state == TombstoneState::Processed || !(is_open || force) {
            return Err(DeleteError::Processed);
        }
        let edit = CatalogEdit { tombstones: vec![TombstoneEdit::Cancel(id)], ..CatalogEdit::default() };
        self.publish(&edit, None)?;
        self.forget(&tombstone);
        Ok(())
    }

    /// The deletes of a tenant, oldest first; of the processed ones the newest thousand.
    pub fn deletes(&self, tenant: &TenantId) -> Result<Vec<(Tombstone, TombstoneState)>, CatalogError> {
        self.catalog().tombstones_of(self.signal_of(), tenant)
    }

    fn forget(&self, tombstone: &Tombstone) {
        let path = self.layout().tombstone(&tombstone.tenant, tombstone.id);
        if let Err(error) = self.world().disk.remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a tombstone that is no longer needed is left behind until the next start");
        }
    }

    /// Ends the tombstones that hit nothing any more.
    pub(in crate::storage) fn settle_tombstones(&self) -> Result<(), MaintenanceError> {
        let now = self.world().clock.now();
        for tombstone in self.active_tombstones().iter().filter(|t| t.purge_after <= now) {
            let view = self.view(&tombstone.tenant);
            if !view.missing.is_empty() || view.blocks.iter().any(|b| tombstone.hits(b.meta()) && self.spec().may_erase(tombstone, b)) {
                continue;
            }
            let edit = CatalogEdit { tombstones: vec![TombstoneEdit::Processed(tombstone.id)], ..CatalogEdit::default() };
            self.publish(&edit, None)?;
            self.forget(tombstone);
            tracing::info!(signal = %self.signal_of(), id = %tombstone.id, "delete processed");
        }
        Ok(())
    }
}

/// Makes the record durable under its name.
fn write(world: &World, layout: &Layout, tombstone: &Tombstone) -> io::Result<()> {
    let path = layout.tombstone(&tombstone.tenant, tombstone.id);
    let parent = path.parent().unwrap_or(&path);
    world.create_dir_durable(layout.root(), parent)?;
    let mut file = world.disk.create(&path)?;
    file.write_all(&serde_json::to_vec(tombstone)?)?;
    file.sync()?;
    world.disk.sync_dir(parent)
}

/// At start: the files are those of the active tombstones, neither more nor less.
pub(super) fn restore(world: &World, layout: &Layout, active: &[Tombstone]) -> io::Result<()> {
    let mut wanted = HashSet::new();
    for tombstone in active {
        let path = layout.tombstone(&tombstone.tenant, tombstone.id);
        let whole = serde_json::to_vec(tombstone)?;
        if world.disk.exists(&path) && world.disk.read(&path)? != whole {
            world.disk.remove_file(&path)?;
        }
        if !world.disk.exists(&path) {
            write(world, layout, tombstone)?;
        }
        wanted.insert(path);
    }
    let root = layout.tombstones();
    for tenant in world.disk.list(&root)? {
        for name in world.disk.list(&root.join(&tenant))? {
            let path = root.join(&tenant).join(name);
            if !wanted.contains(&path) {
                tracing::warn!(path = %path.display(), "a tombstone that no catalog entry lists is removed");
                world.disk.remove_file(&path)?;
            }
        }
    }
    Ok(())
}
