//! Where the files of blocks are: on this disk, in a bucket, or both. Opens them wherever they are, and moves them.
//!
//! Files go up as soon as their block is cut, and the copy here may go once the bucket's was found good. What only the bucket
//! has is read in chunks through a bounded cache.

mod bucket;
mod cache;
mod health;
mod http;
mod owner;
mod remote;
mod remove;
mod restore;
#[cfg(test)]
pub mod testing;
mod tombstones;
mod upload;

use super::block::{BlockId, BlockMeta, KeptParts, TableMeta};
use super::catalog::{Catalog, RemoteState};
use super::layout::Layout;
use crate::model::Signal;
use crate::runtime::{ReadFile, World};
use crate::telemetry::BucketMetrics;
use cache::ChunkCache;
use parking_lot::{Mutex, RwLock};
use remote::{RemoteFile, RemoteReader};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use bucket::{Bucket, BucketConfig, BucketError};
pub use owner::{Claim, OwnerError, attach, keep, owner_of};
pub use restore::{Contents, Plan, RestoreError, floors, read as read_bucket, resolve};
pub use tombstones::parse as parse_tombstone;
pub use upload::{UploadError, run};

/// The part of a data directory that lies in a bucket.
pub struct Remote {
    reader: Arc<RemoteReader>,
    /// Blocks that the bucket has for good.
    verified: RwLock<HashSet<BlockId>>,
    /// Those of them that are not here any more.
    evicted: RwLock<HashSet<BlockId>>,
    /// Whether the bucket's prefix was ours when it was last looked at: nothing is written or removed otherwise.
    owned: AtomicBool,
    /// How many columns of each signal the bucket knows the numbers of.
    columns: Mutex<HashMap<Signal, usize>>,
    /// The deletes that it has; `None` until they were listed.
    tombstones: Mutex<Option<HashSet<String>>>,
}

#[derive(Clone)]
pub struct Tier {
    world: World,
    layout: Layout,
    remote: Option<Arc<Remote>>,
    kept: Arc<KeptParts>,
}

/// Memory for what is decoded of blocks, unless [`Tier::keeping`] says otherwise.
const KEPT_BYTES: u64 = 64 << 20;

impl Tier {
    /// All files are here.
    pub fn new(world: World, layout: Layout) -> Tier {
        Tier { world, layout, remote: None, kept: Arc::new(KeptParts::new(KEPT_BYTES)) }
    }

    /// With memory for so much of what is decoded of blocks.
    pub fn keeping(self, bytes: u64) -> Tier {
        Tier { kept: Arc::new(KeptParts::new(bytes)), ..self }
    }

    pub fn kept(&self) -> &Arc<KeptParts> {
        &self.kept
    }

    /// With a bucket, of which the catalog knows what it holds. Of what only the bucket has, `cache_max_bytes` that queries have
    /// read stay on this disk.
    pub fn with_bucket(
        world: World,
        layout: Layout,
        catalog: &Catalog,
        bucket: Bucket,
        cache_max_bytes: u64,
        metrics: BucketMetrics,
    ) -> Result<Tier, UploadError> {
        let cache = ChunkCache::open(world.clone(), layout.cache(), cache_max_bytes)?;
        let (mut verified, mut evicted) = (HashSet::new(), HashSet::new());
        for signal in Signal::ALL {
            let live: HashSet<BlockId> = catalog.blocks(signal)?.into_iter().map(|meta| meta.id).collect();
            for (meta, state) in catalog.remote_blocks(signal)? {
                if state == RemoteState::Verified && live.contains(&meta.id) {
                    verified.insert(meta.id);
                    if !world.disk.exists(&layout.block(&meta)) {
                        evicted.insert(meta.id);
                    }
                }
            }
        }
        let remote = Remote {
            reader: Arc::new(RemoteReader::new(bucket, cache, metrics)),
            verified: RwLock::new(verified),
            evicted: RwLock::new(evicted),
            owned: AtomicBool::new(false),
            columns: Mutex::default(),
            tombstones: Mutex::default(),
        };
        Ok(Tier { remote: Some(Arc::new(remote)), ..Tier::new(world, layout) })
    }

    pub fn world(&self) -> &World {
        &self.world
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn has_bucket(&self) -> bool {
        self.remote.is_some()
    }

    pub fn open(&self, meta: &BlockMeta, table: &TableMeta) -> io::Result<Arc<dyn ReadFile>> {
        let here = self.world.disk.open(&self.layout.block(meta).join(Layout::table_file(&table.name)));
        match (here, &self.remote) {
            (Err(error), Some(remote)) if error.kind() == io::ErrorKind::NotFound && self.is_in_bucket(meta.id) => {
                let key = Layout::remote_table(meta, &table.name);
                Ok(Arc::new(RemoteFile::new(remote.reader.clone(), key, meta.id, table.clone())))
            }
            (here, _) => here,
        }
    }

    /// Whether the block's files are on this disk.
    pub fn is_local(&self, id: BlockId) -> bool {
        self.remote.as_ref().is_none_or(|remote| !remote.evicted.read().contains(&id))
    }

    /// Whether the bucket has the block, checked.
    pub fn is_in_bucket(&self, id: BlockId) -> bool {
        self.remote.as_ref().is_some_and(|remote| remote.verified.read().contains(&id))
    }

    /// Whether the files here may be evicted.
    pub fn is_evictable(&self, id: BlockId) -> bool {
        self.is_in_bucket(id) && self.is_local(id)
    }

    /// Whether the block can be read now, as far as is known: it is here, or the bucket answers.
    pub fn is_readable(&self, id: BlockId) -> bool {
        self.is_local(id) || self.remote.as_ref().is_none_or(|remote| !remote.reader.health.is_down())
    }

    /// Removes the files here of a block that the bucket has; readers that have them open go on. Whether there were any.
    pub fn evict(&self, meta: &BlockMeta) -> io::Result<bool> {
        let Some(remote) = self.remote.as_ref().filter(|_| self.is_evictable(meta.id)) else { return Ok(false) };
        // In one step, so that a crash leaves all of the files or none.
        let (home, away) = (self.layout.block(meta), self.layout.evicted(meta.id));
        self.world.disk.rename(&home, &away)?;
        remote.evicted.write().insert(meta.id);
        self.world.disk.sync_dir(home.parent().unwrap_or(&home))?;
        self.world.disk.remove_dir_all(&away)?;
        Ok(true)
    }

    /// Removes the block's files from this disk. Called when neither the catalog nor any View knows the block any more; its
    /// copy in the bucket goes later.
    pub fn remove(&self, meta: &BlockMeta) -> io::Result<()> {
        if let Some(remote) = &self.remote {
            remote.verified.write().remove(&meta.id);
            remote.reader.cache.forget_block(meta.id);
            if remote.evicted.write().remove(&meta.id) {
                return Ok(());
            }
        }
        self.world.disk.remove_dir_all(&self.layout.block(meta))
    }

    /// Bytes of the disk that hold chunks of remote files.
    pub fn cache_bytes(&self) -> u64 {
        self.remote.as_ref().map_or(0, |remote| remote.reader.cache.bytes())
    }
}

impl Remote {
    fn is_owned(&self) -> bool {
        self.owned.load(Ordering::Acquire)
    }

    fn set_owned(&self, owned: bool) {
        self.reader.metrics.owned(owned);
        self.owned.store(owned, Ordering::Release);
    }
}
