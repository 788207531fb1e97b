//! A catalog made anew from the facts that lie beside the files of blocks: from a bucket for an empty data directory, or from
//! the files here.

use super::bucket::{Bucket, BucketError};
use crate::model::Signal;
use crate::runtime::World;
use crate::storage::Tombstone;
use crate::storage::block::{BlockId, BlockMeta};
use crate::storage::catalog::{Binding, Catalog, CatalogError, Restored};
use crate::storage::layout::Layout;
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("{0} cannot be read: {1}")]
    Damaged(String, String),
}

/// Which of the blocks that are there make up the data.
#[derive(Debug, Default)]
pub struct Plan {
    pub live: Vec<BlockMeta>,
    /// Others stand for them.
    pub obsolete: Vec<BlockMeta>,
}

/// Of a block and those it was made of, exactly one side counts. While all of its parents are there, they do: it may be one
/// of several that were to replace them, and the others may never have been written. Once a parent is gone, the change was
/// committed, and what was made of them counts.
pub fn resolve(mut found: Vec<BlockMeta>) -> Plan {
    found.sort_by_key(|meta| meta.id);
    let present: HashSet<BlockId> = found.iter().map(|meta| meta.id).collect();
    let (mut replaced, mut redundant) = (HashSet::new(), HashSet::new());
    // A block is made after its parents, so its id is later.
    for meta in found.iter().rev().filter(|meta| !meta.parents.is_empty()) {
        let is_whole = meta.parents.iter().all(|id| present.contains(id));
        if replaced.contains(&meta.id) || !is_whole {
            replaced.extend(meta.parents.iter().copied());
        } else {
            redundant.insert(meta.id);
        }
    }
    let (obsolete, live) = found.into_iter().partition(|meta| replaced.contains(&meta.id) || redundant.contains(&meta.id));
    Plan { live, obsolete }
}

/// The LSN after the last frame whose rows some block has, for each lane.
pub fn floors(metas: &[BlockMeta]) -> BTreeMap<Signal, u64> {
    let mut floors = BTreeMap::new();
    for meta in metas {
        if let Some(range) = meta.wal {
            let floor = floors.entry(meta.signal).or_insert(0);
            *floor = range.to.max(*floor);
        }
    }
    floors
}

/// The largest column map that is believed.
const COLUMNS_MAX: usize = 100_000;

/// Field ids by path, as `columns/<signal>.json` has them.
pub fn parse_columns(bytes: &[u8]) -> Result<BTreeMap<String, i32>, String> {
    let columns: BTreeMap<String, i32> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let ids: HashSet<i32> = columns.values().copied().collect();
    if columns.len() > COLUMNS_MAX || ids.len() != columns.len() {
        return Err("not one number for each column".into());
    }
    Ok(columns)
}

const REPORT_EVERY: Duration = Duration::from_secs(5);

/// What a bucket has, by the objects that say so.
pub struct Contents {
    pub blocks: Vec<BlockMeta>,
    pub columns: BTreeMap<Signal, BTreeMap<String, i32>>,
    pub tombstones: Vec<Tombstone>,
}

/// Fills the unused catalog with everything that the bucket has, and binds it to the bucket in the same transaction.
pub fn from_bucket(world: &World, layout: &Layout, catalog: &Catalog, bucket: &Bucket, binding: Binding) -> Result<(), RestoreError> {
    let started = Instant::now();
    tracing::info!(bucket = bucket.url(), "rebuilding the catalog from the bucket");
    let mut reported = Instant::now();
    let contents = read(bucket, |done, of| {
        if reported.elapsed() >= REPORT_EVERY {
            reported = Instant::now();
            tracing::info!(blocks = done, of, "rebuilding the catalog from the bucket");
        }
    })?;
    let floors = floors(&contents.blocks);
    let Plan { live, obsolete } = resolve(contents.blocks);
    world.disk.create_dir_all(&layout.blocks()).map_err(|e| BucketError::Local(e.to_string()))?;
    let (blocks, items) = (live.len(), live.iter().map(|meta| meta.items).sum::<u64>());
    let restored = Restored {
        remote: live.iter().map(|meta| meta.id).collect(),
        blocks: live,
        obsolete,
        floors,
        columns: contents.columns,
        tombstones: contents.tombstones,
        binding: Some(binding),
    };
    catalog.restore(&restored)?;
    tracing::info!(blocks, items, took_ms = started.elapsed().as_millis() as u64, "the catalog is rebuilt from the bucket");
    Ok(())
}

/// Reads the facts of everything in the bucket. `progress` is told how many blocks of how many are done.
pub fn read(bucket: &Bucket, mut progress: impl FnMut(usize, usize)) -> Result<Contents, RestoreError> {
    let mut keys = Vec::new();
    bucket.list(Layout::BLOCKS, |object| {
        if object.key.ends_with(Layout::META) {
            keys.push(object.key);
        }
        ControlFlow::Continue(())
    })?;
    let total = keys.len();
    let (mut blocks, mut bad) = (Vec::with_capacity(total), None);
    bucket.get_many(keys, |key, bytes| {
        let parsed = BlockMeta::parse(&bytes).and_then(|meta| {
            let is_home = Layout::remote_meta(&meta) == key;
            if is_home { Ok(meta) } else { Err(format!("it says that its place is {}", Layout::remote_meta(&meta))) }
        });
        match parsed {
            Ok(meta) => blocks.push(meta),
            Err(why) => bad = bad.take().or(Some(RestoreError::Damaged(key, why))),
        }
        progress(blocks.len(), total);
    })?;
    if let Some(bad) = bad {
        return Err(bad);
    }
    let mut columns = BTreeMap::new();
    for signal in Signal::ALL {
        let key = Layout::remote_columns(signal);
        if let Some(bytes) = bucket.get_small(&key)? {
            columns.insert(signal, parse_columns(&bytes).map_err(|why| RestoreError::Damaged(key, why))?);
        }
    }
    Ok(Contents { blocks, columns, tombstones: tombstones(bucket)? })
}

fn tombstones(bucket: &Bucket) -> Result<Vec<Tombstone>, RestoreError> {
    let mut keys = Vec::new();
    bucket.list(Layout::TOMBSTONES, |object| {
        keys.push(object.key);
        ControlFlow::Continue(())
    })?;
    let (mut found, mut bad) = (Vec::new(), None);
    bucket.get_many(keys, |key, bytes| match super::tombstones::parse(&bytes) {
        Ok(tombstone) if Layout::remote_tombstone(&tombstone.tenant, tombstone.id) == key => found.push(tombstone),
        Ok(_) => bad = Some(RestoreError::Damaged(key, "it has the name of another".into())),
        Err(why) => bad = Some(RestoreError::Damaged(key, why)),
    })?;
    bad.map_or(Ok(found), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::facts;
    use proptest::prelude::*;

    fn live(blocks: &[(u64, &[u64])]) -> Vec<u64> {
        let plan = resolve(blocks.iter().map(|(n, parents)| facts(*n, parents)).collect());
        assert_eq!(plan.live.len() + plan.obsolete.len(), blocks.len());
        plan.live.iter().map(|meta| meta.id.0.timestamp_ms()).collect()
    }

    #[test]
    fn exactly_one_side_of_a_compaction_counts() {
        assert_eq!(live(&[(1, &[]), (2, &[])]), [1, 2]);
        assert_eq!(live(&[(1, &[]), (2, &[]), (3, &[1, 2])]), [1, 2], "it may be one of several that were to be written");
        assert_eq!(live(&[(2, &[]), (3, &[1, 2])]), [3], "1 is gone, so the change was committed");
        assert_eq!(live(&[(2, &[]), (3, &[1, 2]), (4, &[1, 2])]), [3, 4]);
        assert_eq!(live(&[(1, &[]), (2, &[]), (3, &[1, 2]), (5, &[3, 4])]), [5], "what replaced 3 replaced its parents, too");
        assert_eq!(live(&[(1, &[]), (2, &[]), (3, &[1, 2]), (4, &[]), (5, &[3, 4])]), [1, 2, 4]);
    }

    #[test]
    fn the_floor_is_behind_everything_that_is_in_blocks() {
        let mut metas = vec![facts(1, &[]), facts(2, &[])];
        metas[0].wal = Some(crate::storage::block::WalRange { from: 1, to: 9 });
        assert_eq!(floors(&metas), BTreeMap::from([(Signal::Logs, 9)]));
    }

    proptest! {
        #[test]
        fn column_maps_never_panic(bytes: Vec<u8>, text in "\\{(\"[a-z]\":[0-9]{1,12},?)*\\}") {
            let _ = parse_columns(&bytes);
            let _ = parse_columns(text.as_bytes());
        }
    }
}
