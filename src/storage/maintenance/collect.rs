use crate::model::Signal;
use crate::runtime::World;
use crate::storage::TombstoneState;
use crate::storage::block::BlockId;
use crate::storage::catalog::{Catalog, CatalogError, RemoteState};
use crate::storage::layout::Layout;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("collect: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Deleting what an empty catalog does not list would delete everything.
    #[error(
        "there is no catalog, but {0} holds blocks: restore catalog.db, make it anew with `monocle catalog rebuild`, or move the blocks away"
    )]
    CatalogLost(PathBuf),
    #[error("block {block} is in the catalog but its files are missing from {path}")]
    BlockLost { block: BlockId, path: PathBuf },
}

/// At start, before anything is written: removes unfinished blocks, and directories of blocks that the catalog does not
/// list, which a crash between rename and commit leaves behind. Returns how many there were.
pub fn collect_orphans(world: &World, layout: &Layout, catalog: &Catalog) -> Result<usize, CollectError> {
    let mut listed = HashSet::new();
    let mut is_unused = true;
    for signal in Signal::ALL {
        is_unused &= catalog.floor(signal)? == 0;
        let remote = catalog.remote_blocks(signal)?.into_iter().filter(|(_, state)| *state == RemoteState::Verified);
        let remote: HashSet<BlockId> = remote.map(|(meta, _)| meta.id).collect();
        for meta in catalog.blocks(signal)? {
            let path = layout.block(&meta);
            if !world.disk.exists(&path) && !remote.contains(&meta.id) {
                return Err(CollectError::BlockLost { block: meta.id, path });
            }
            listed.insert(meta.id);
        }
    }
    let found = find_blocks(world, layout)?;
    let orphans: Vec<&PathBuf> = found.iter().filter(|(id, _)| !listed.contains(id)).map(|(_, path)| path).collect();
    // The catalog is made before the first block, so a new one beside blocks means that the old one was lost. So does one
    // that a start before this made and nothing was committed to, unless the lane still has all that the blocks have.
    let lane_is_whole = |path: &PathBuf| layout.block_signal(path).is_some_and(|s| world.disk.exists(&layout.segment(s, 1)));
    if (catalog.is_new() && !orphans.is_empty()) || (is_unused && !orphans.iter().copied().all(lane_is_whole)) {
        return Err(CollectError::CatalogLost(layout.blocks()));
    }
    for path in &orphans {
        tracing::warn!(path = %path.display(), "a block that no catalog entry lists is removed");
        world.disk.remove_dir_all(path)?;
    }
    let mut tombstones = Vec::new();
    for signal in Signal::ALL {
        let active = catalog.tombstones(signal)?.into_iter().filter(|(_, state)| *state == TombstoneState::Active);
        tombstones.extend(active.map(|(tombstone, _)| tombstone));
    }
    super::erase::restore(world, layout, &tombstones)?;
    let temporary = layout.temporary_root();
    let unfinished = world.disk.list(&temporary)?;
    for name in &unfinished {
        world.disk.remove_dir_all(&temporary.join(name))?;
    }
    world.disk.create_dir_all(&temporary)?;
    Ok(orphans.len() + unfinished.len())
}

/// Directories that have the place of a block's.
pub fn find_blocks(world: &World, layout: &Layout) -> io::Result<Vec<(BlockId, PathBuf)>> {
    find(world, layout, &layout.blocks())
}

fn find(world: &World, layout: &Layout, directory: &Path) -> io::Result<Vec<(BlockId, PathBuf)>> {
    let mut found = Vec::new();
    for name in world.disk.list(directory)? {
        let path = directory.join(name);
        match layout.block_id(&path) {
            Some(id) => found.push((id, path)),
            None if path.strip_prefix(layout.blocks()).is_ok_and(|p| p.components().count() < 6) => {
                found.extend(find(world, layout, &path)?)
            }
            None => {}
        }
    }
    Ok(found)
}
