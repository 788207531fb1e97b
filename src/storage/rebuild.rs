//! A new catalog from the files of a data directory whose catalog was lost, and from its bucket if it has one.

use super::Tombstone;
use super::block::{BlockId, BlockMeta, describe};
use super::catalog::{Binding, Catalog, CatalogError, Restored};
use super::layout::Layout;
use super::maintenance::find_blocks;
use super::tier::{Bucket, Contents, OwnerError, Plan, RestoreError, floors, owner_of, parse_tombstone, read_bucket, resolve};
use super::wal::segments;
use crate::model::Signal;
use crate::runtime::World;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error("there is a catalog: move {0} away first, if it is lost for good")]
    Present(PathBuf),
    #[error("these cannot be read; move them away (a start removes what no catalog lists) and try again:\n{0}")]
    Damaged(String),
    #[error("rebuild: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error(transparent)]
    Owner(#[from] OwnerError),
}

/// What the new catalog lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    pub blocks: usize,
    pub items: u64,
    pub remote: usize,
    /// Files here that count no more, or again from the write-ahead log: the next start removes them.
    pub left_out: usize,
}

/// Makes `catalog.db`. The directory's lock is the caller's. `progress` is told how many blocks of how many were read.
pub fn rebuild(
    world: &World,
    layout: &Layout,
    bucket: Option<&Bucket>,
    mut progress: impl FnMut(usize, usize),
) -> Result<Rebuilt, RebuildError> {
    if world.disk.exists(&layout.catalog()) && !Catalog::open(world, layout)?.is_unused()? {
        return Err(RebuildError::Present(layout.catalog()));
    }
    remove_database(world, &layout.catalog())?;
    let (found, columns) = read_blocks(world, layout, &mut progress)?;
    let count = found.len();
    let here: HashSet<BlockId> = found.iter().map(|meta| meta.id).collect();
    let (mut found, mut floors) = prefer_frames(world, layout, found)?;
    let mut restored = Restored { columns, tombstones: read_tombstones(world, layout)?, ..Restored::default() };
    if let Some(bucket) = bucket {
        let contents = read_bucket(bucket, &mut progress)?;
        restored.binding = owner_of(bucket)?.map(|owner| Binding { url: bucket.url().to_owned(), owner });
        join(&mut restored, &mut found, &mut floors, contents);
    }
    let Plan { live, obsolete } = resolve(found);
    restored.obsolete = obsolete.into_iter().filter(|meta| restored.remote.contains(&meta.id)).collect();
    let kept = live.iter().filter(|meta| here.contains(&meta.id)).count();
    let rebuilt =
        Rebuilt { blocks: live.len(), items: live.iter().map(|meta| meta.items).sum(), remote: live.len() - kept, left_out: count - kept };
    (restored.blocks, restored.floors) = (live, floors);
    let unfinished = layout.catalog().with_extension("new");
    remove_database(world, &unfinished)?;
    Catalog::create(&unfinished, &restored)?;
    world.disk.rename(&unfinished, &layout.catalog())?;
    world.disk.sync_dir(layout.root())?;
    Ok(rebuilt)
}

/// With the files that SQLite keeps beside it. A start without its catalog leaves an unused one.
fn remove_database(world: &World, path: &Path) -> io::Result<()> {
    for name in ["", "-wal", "-shm"] {
        let path = PathBuf::from(format!("{}{name}", path.display()));
        if world.disk.exists(&path) {
            world.disk.remove_file(&path)?;
        }
    }
    Ok(())
}

type Columns = BTreeMap<Signal, BTreeMap<String, i32>>;

/// Every block here, and the numbers of all their columns.
fn read_blocks(world: &World, layout: &Layout, mut progress: impl FnMut(usize, usize)) -> Result<(Vec<BlockMeta>, Columns), RebuildError> {
    let (mut found, mut columns, mut bad): (Vec<BlockMeta>, Columns, Vec<String>) = Default::default();
    let homes = find_blocks(world, layout)?;
    for (done, (_, home)) in homes.iter().enumerate() {
        progress(done, homes.len());
        match read_block(world, layout, home, &mut columns) {
            Ok(meta) => found.push(meta),
            Err(why) => bad.push(format!("{}: {why}", home.display())),
        }
    }
    if bad.is_empty() { Ok((found, columns)) } else { Err(RebuildError::Damaged(bad.join("\n"))) }
}

fn read_block(world: &World, layout: &Layout, home: &Path, columns: &mut Columns) -> Result<BlockMeta, String> {
    let meta = BlockMeta::parse(&world.disk.read(&home.join(Layout::META)).map_err(|e| e.to_string())?)?;
    if layout.block(&meta) != home {
        return Err(format!("it says that its place is {}", layout.block(&meta).display()));
    }
    for table in &meta.tables {
        let file = world.disk.open(&home.join(Layout::table_file(&table.name))).map_err(|e| e.to_string())?;
        if file.length().map_err(|e| e.to_string())? != table.bytes {
            return Err(format!("table {} has not its {} bytes", table.name, table.bytes));
        }
        let footer = describe(&table.name, file, table.bytes).map_err(|e| e.to_string())?;
        let known = columns.entry(meta.signal).or_default();
        for (path, id) in footer.field_ids {
            if *known.entry(path.clone()).or_insert(id) != id {
                return Err(format!("column {path} has another number than in other blocks"));
            }
        }
    }
    Ok(meta)
}

/// Blocks whose frames are all still in the write-ahead log may never have been committed, and others of the same cut may be
/// missing: the frames count, and the blocks are left out. Returns the rest and where replay starts.
fn prefer_frames(world: &World, layout: &Layout, found: Vec<BlockMeta>) -> io::Result<(Vec<BlockMeta>, BTreeMap<Signal, u64>)> {
    let mut floors = floors(&found);
    let mut uncertain = HashMap::new();
    for signal in Signal::ALL {
        let Some(oldest) = segments(world, layout, signal)?.first().copied() else { continue };
        let of_signal = || found.iter().filter(|meta| meta.signal == signal);
        // Only what was committed is compacted.
        let committed = of_signal().filter(|meta| !meta.parents.is_empty()).filter_map(|meta| meta.wal).map(|wal| wal.to).max();
        let from = oldest.max(committed.unwrap_or(0));
        let first =
            of_signal().filter(|meta| meta.parents.is_empty()).filter_map(|meta| meta.wal).map(|wal| wal.from).filter(|f| *f >= from);
        if let Some(first) = first.min() {
            uncertain.insert(signal, first);
            floors.insert(signal, first);
        }
    }
    let is_certain = |meta: &BlockMeta| match (uncertain.get(&meta.signal), meta.wal) {
        (Some(first), Some(wal)) => !meta.parents.is_empty() || wal.from < *first,
        _ => true,
    };
    Ok((found.into_iter().filter(is_certain).collect(), floors))
}

fn read_tombstones(world: &World, layout: &Layout) -> Result<Vec<Tombstone>, RebuildError> {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for tenant in world.disk.list(&layout.tombstones())? {
        let directory = layout.tombstones().join(tenant);
        for name in world.disk.list(&directory)?.iter().filter(|name| name.ends_with(".json")) {
            let path = directory.join(name);
            match parse_tombstone(&world.disk.read(&path)?) {
                Ok(tombstone) => found.push(tombstone),
                Err(why) => bad.push(format!("{}: {why}", path.display())),
            }
        }
    }
    if bad.is_empty() { Ok(found) } else { Err(RebuildError::Damaged(bad.join("\n"))) }
}

/// Adds what only the bucket has.
fn join(restored: &mut Restored, found: &mut Vec<BlockMeta>, floors: &mut BTreeMap<Signal, u64>, contents: Contents) {
    restored.remote = contents.blocks.iter().map(|meta| meta.id).collect();
    let here: HashSet<BlockId> = found.iter().map(|meta| meta.id).collect();
    for meta in contents.blocks.into_iter().filter(|meta| !here.contains(&meta.id)) {
        if let Some(wal) = meta.wal {
            // What is in the bucket was committed.
            let floor = floors.entry(meta.signal).or_insert(0);
            *floor = wal.to.max(*floor);
        }
        found.push(meta);
    }
    for (signal, columns) in contents.columns {
        let known = restored.columns.entry(signal).or_default();
        for (path, id) in columns {
            known.entry(path).or_insert(id);
        }
    }
    for tombstone in contents.tombstones {
        if !restored.tombstones.iter().any(|known| known.id == tombstone.id) {
            restored.tombstones.push(tombstone);
        }
    }
}
