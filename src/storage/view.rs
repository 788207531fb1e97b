use super::block::Block;
use super::{Head, Spec, Tombstone};
use crate::model::{TenantId, TimeRange};
use std::sync::Arc;

/// One immutable instant of a tenant's head and blocks: all that a query may see (invariant 5). A row is in one of the
/// heads or in exactly one block (invariant 2). Blocks stay on disk while a View holds them.
pub struct View<S: Spec> {
    pub tenant: TenantId,
    /// Oldest generation first; a row in an earlier one was accepted before every row of a later one.
    pub heads: Vec<<S::Head as Head>::Snapshot>,
    /// In the order in which their rows were accepted.
    pub blocks: Vec<Arc<Block>>,
    /// Deletes whose rows may still be in blocks, oldest first. What is in a head was accepted after all of them.
    pub tombstones: Arc<Vec<Arc<Tombstone>>>,
}

impl<S: Spec> View<S> {
    /// Blocks with a row that may lie in `range`.
    pub fn blocks_in(&self, range: TimeRange) -> impl Iterator<Item = &Arc<Block>> {
        self.blocks.iter().filter(move |b| range.overlaps(b.meta().min_time, b.meta().max_time))
    }

    pub fn tombstones(&self) -> &[Arc<Tombstone>] {
        &self.tombstones
    }

    /// The deletes that may hide rows of the block: whoever reads it leaves out what they select.
    pub fn tombstones_of(&self, block: &Block) -> Vec<Arc<Tombstone>> {
        self.tombstones.iter().filter(|t| t.hits(block.meta())).cloned().collect()
    }
}
