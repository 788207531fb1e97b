use super::MaintenanceError;
use crate::storage::block::{BlockId, BlockMeta};
use crate::storage::catalog::CatalogEdit;
use crate::storage::{Spec, Store};
use std::time::Duration;

/// Blocks whose newest row is older than the retention.
fn plan(blocks: &[BlockMeta], now: i64, retention: Duration) -> Vec<BlockId> {
    let oldest = now.saturating_sub(i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX));
    blocks.iter().filter(|b| b.max_time < oldest).map(|b| b.id).collect()
}

impl<S: Spec> Store<S> {
    pub(in crate::storage) fn expire(&self, retention: Option<Duration>) -> Result<(), MaintenanceError> {
        let Some(retention) = retention else { return Ok(()) };
        let _until_committed = self.removal_lock();
        let remove = plan(&self.block_metas(), self.world().clock.now(), retention);
        if remove.is_empty() {
            return Ok(());
        }
        tracing::info!(signal = %self.signal_of(), blocks = remove.len(), "blocks beyond retention are removed");
        self.publish(&CatalogEdit { remove, ..CatalogEdit::default() }, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Signal, TenantId};

    fn block(max_time: i64) -> BlockMeta {
        BlockMeta { max_time, ..BlockMeta::new(BlockId::new(max_time, 1), &TenantId::default_tenant(), Signal::Logs, 0) }
    }

    #[test]
    fn a_block_goes_when_its_newest_row_is_too_old() {
        let hour = Duration::from_secs(3600);
        let blocks = [block(99_000_000), block(100_000_000)];
        let now = 100_000_000 + i64::try_from(hour.as_nanos()).unwrap();
        assert_eq!(plan(&blocks, now, hour), [blocks[0].id]);
        assert!(plan(&blocks, i64::MIN, hour).is_empty());
    }
}
