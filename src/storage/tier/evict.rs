//! With a bucket, blocks here are copies: the oldest go when they take more than their part of the disk.

use super::Tier;
use crate::model::Signal;
use crate::storage::block::BlockMeta;
use crate::storage::catalog::Catalog;
use crate::storage::tier::UploadError;

/// Blocks whose files here go, oldest rows first, until the rest takes at most `max_bytes`; those that the bucket does not
/// have stay, whatever they take.
fn plan(mut local: Vec<(BlockMeta, bool)>, max_bytes: u64) -> Vec<BlockMeta> {
    local.sort_by_key(|(meta, _)| (meta.max_time, meta.id));
    let mut bytes: u64 = local.iter().map(|(meta, _)| meta.bytes()).sum();
    let mut go = Vec::new();
    for (meta, _) in local.into_iter().filter(|(_, is_evictable)| *is_evictable) {
        if bytes <= max_bytes {
            break;
        }
        bytes -= meta.bytes();
        go.push(meta);
    }
    go
}

impl Tier {
    /// Evicts what is too much. Returns the number of blocks.
    pub(super) fn evict_down_to(&self, catalog: &Catalog, max_bytes: u64) -> Result<usize, UploadError> {
        let mut local = Vec::new();
        for signal in Signal::ALL {
            local.extend(catalog.blocks(signal)?.into_iter().filter(|meta| self.is_local(meta.id)).map(|meta| {
                let is_evictable = self.is_evictable(meta.id);
                (meta, is_evictable)
            }));
        }
        let go = plan(local, max_bytes);
        for meta in &go {
            self.evict(meta)?;
        }
        if !go.is_empty() {
            tracing::info!(blocks = go.len(), "copies of blocks that the bucket has are evicted");
        }
        Ok(go.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::block::TableMeta;
    use crate::storage::tests::facts;

    fn block(n: u64, max_time: i64) -> BlockMeta {
        let mut meta = facts(n, &[]);
        meta.max_time = max_time;
        meta.tables.push(TableMeta { name: "words".into(), rows: 1, bytes: 10, sha256: String::new(), chunks: Vec::new() });
        meta
    }

    #[test]
    fn the_oldest_copies_go_and_what_the_bucket_lacks_stays() {
        let local = || vec![(block(1, 30), true), (block(2, 10), true), (block(3, 20), false), (block(4, 40), true)];
        let ids = |max| plan(local(), max).iter().map(|meta| meta.id.0.timestamp_ms()).collect::<Vec<_>>();
        assert_eq!(ids(40), [0; 0]);
        assert_eq!(ids(39), [2]);
        assert_eq!(ids(20), [2, 1]);
        assert_eq!(ids(0), [2, 1, 4]);
    }
}
