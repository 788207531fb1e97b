use super::block::Block;
use super::{Head, Spec, Tombstone};
use crate::model::{TenantId, TimeRange};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// Blocks that cannot be read at present.
    pub missing: Arc<Missing>,
}

/// Blocks that only a bucket has while it does not answer: answers go without them, and say so.
#[derive(Debug, Default)]
pub struct Missing {
    /// Of each block the times of its oldest and newest row, both inclusive.
    blocks: Vec<(i64, i64)>,
    /// How many of them somebody asked for.
    asked: AtomicUsize,
}

impl Missing {
    pub fn new(blocks: Vec<(i64, i64)>) -> Missing {
        Missing { blocks, asked: AtomicUsize::new(0) }
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// To be called for every range in which a query looks for blocks.
    pub fn note(&self, range: TimeRange) {
        let count = self.blocks.iter().filter(|(min, max)| range.overlaps(*min, *max)).count();
        self.asked.fetch_max(count, Ordering::Relaxed);
    }

    /// What to tell the user, if the answer goes without something.
    pub fn warning(&self) -> Option<String> {
        let count = self.asked.load(Ordering::Relaxed);
        let blocks = if count == 1 { "block" } else { "blocks" };
        (count > 0).then(|| format!("the bucket does not answer: {count} {blocks} of older data could not be read, the result is partial"))
    }
}

impl<S: Spec> Clone for View<S>
where
    <S::Head as Head>::Snapshot: Clone,
{
    /// The same instant.
    fn clone(&self) -> View<S> {
        View {
            tenant: self.tenant.clone(),
            heads: self.heads.clone(),
            blocks: self.blocks.clone(),
            tombstones: self.tombstones.clone(),
            missing: self.missing.clone(),
        }
    }
}

impl<S: Spec> View<S> {
    /// Nothing but heads.
    pub fn of_heads(tenant: TenantId, heads: Vec<<S::Head as Head>::Snapshot>) -> View<S> {
        View { tenant, heads, blocks: Vec::new(), tombstones: Arc::default(), missing: Arc::default() }
    }

    /// Blocks with a row that may lie in `range`.
    pub fn blocks_in(&self, range: TimeRange) -> impl Iterator<Item = &Arc<Block>> {
        self.missing.note(range);
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
