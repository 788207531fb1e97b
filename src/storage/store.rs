use super::block::{Block, BlockId, BlockMeta};
use super::catalog::{Catalog, CatalogError};
use super::head::Generation;
use super::layout::Layout;
use super::maintenance::{DiskRoom, MaintenanceError};
use super::tier::Tier;
use super::wal::{Lane, LaneConfig};
use super::{Head, Missing, Spec, Tombstone, TombstoneState, View};
use crate::model::{Signal, TenantId};
use crate::runtime::World;
use crate::telemetry::StoreMetrics;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::sync::Notify;

mod append;
mod published;
mod recover;
mod upkeep;

pub use append::{AppendError, Appended, Ticket};
use published::{Published, place};

#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    pub lane: LaneConfig,
    /// Estimated bytes of one signal's heads; at half of it they are cut, beyond it appends are refused.
    pub head_max_bytes: u64,
}

/// One signal's data: the door of the engine.
pub struct Store<S: Spec> {
    spec: S,
    signal: Signal,
    world: World,
    layout: Layout,
    tier: Tier,
    catalog: Arc<Catalog>,
    metrics: StoreMetrics,
    config: StoreConfig,
    lane: RwLock<Option<Lane>>,
    /// Hands out LSNs: admission, LSN order and queue order agree because all three happen under this lock.
    next_lsn: Mutex<u64>,
    published: RwLock<Arc<Published<S>>>,
    ready: AtomicBool,
    /// One cut at a time.
    cutting: Mutex<()>,
    /// One merge at a time; the blocks that could not be merged since the start.
    merging: Mutex<HashSet<BlockId>>,
    /// Whoever takes blocks away holds it from the decision to the commit.
    removing: Mutex<()>,
    /// Tells a merge that the process stops.
    stopping: Arc<AtomicBool>,
    /// The disk that it shares with other stores.
    room: OnceLock<Arc<DiskRoom>>,
    /// How long an append waits for a cut.
    patience: OnceLock<Duration>,
    /// A head is half full: maintenance need not wait for its next turn.
    cut_wanted: Notify,
    /// Told after every cut.
    was_cut: (Mutex<()>, Condvar),
    /// Blocks that are not live any more, as long as some View has them.
    leaving: Mutex<Vec<Weak<Block>>>,
    /// Files of edits whose commit failed: whether the catalog has them is certain only after the next commit.
    limbo: Mutex<Vec<BlockMeta>>,
}

impl<S: Spec> Store<S> {
    /// Loads the list of blocks; the store accepts and answers nothing until [`Store::recover`] has run.
    pub fn open(spec: S, tier: Tier, catalog: Arc<Catalog>, config: StoreConfig, metrics: StoreMetrics) -> Result<Store<S>, CatalogError> {
        let signal = spec.signal();
        let (world, layout) = (tier.world().clone(), tier.layout().clone());
        let mut blocks: BTreeMap<TenantId, Vec<Arc<Block>>> = BTreeMap::new();
        for meta in catalog.blocks(signal)? {
            blocks.entry(meta.tenant.clone()).or_default().push(Arc::new(Block::new(meta, tier.clone())));
        }
        let mut tombstones: HashMap<TenantId, Arc<Vec<Arc<Tombstone>>>> = HashMap::new();
        for (tombstone, state) in catalog.tombstones(signal)? {
            if state == TombstoneState::Active {
                Arc::make_mut(tombstones.entry(tombstone.tenant.clone()).or_default()).push(Arc::new(tombstone));
            }
        }
        let floor = catalog.floor(signal)?.max(1);
        for blocks in blocks.values_mut() {
            blocks.sort_by_key(place);
        }
        for (tenant, blocks) in &blocks {
            spec.published(tenant, blocks);
        }
        let published = Published {
            generations: vec![Arc::new(Generation::new(floor))],
            blocks: blocks.into_iter().map(|(tenant, blocks)| (tenant, Arc::new(blocks))).collect(),
            tombstones,
        };
        Ok(Store {
            spec,
            signal,
            world,
            layout,
            tier,
            catalog,
            metrics,
            config,
            lane: RwLock::new(None),
            next_lsn: Mutex::new(floor),
            published: RwLock::new(Arc::new(published)),
            ready: AtomicBool::new(false),
            cutting: Mutex::new(()),
            merging: Mutex::default(),
            removing: Mutex::new(()),
            stopping: Arc::default(),
            room: OnceLock::new(),
            patience: OnceLock::new(),
            cut_wanted: Notify::new(),
            was_cut: (Mutex::new(()), Condvar::new()),
            leaving: Mutex::default(),
            limbo: Mutex::default(),
        })
    }

    pub fn spec(&self) -> &S {
        &self.spec
    }

    /// Bounds what it takes of the disk. To be called once, before anything is appended.
    pub fn keep_within(&self, room: Arc<DiskRoom>) {
        // A second call would be a second budget, of which the first stays.
        let _ = self.room.set(room);
    }

    /// Appends that find head or log full wait so long for a cut before they are refused. To be called once; without it they
    /// do not wait.
    pub fn wait_for_cuts(&self, patience: Duration) {
        // A second call would be a second promise, of which the first stays.
        let _ = self.patience.set(patience);
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    fn open_generation(&self) -> Arc<Generation<S>> {
        let published = self.published.read();
        // There is always an open generation: `open` makes one, and `seal` replaces it.
        published.generations[published.generations.len() - 1].clone()
    }

    pub fn view(&self, tenant: &TenantId) -> View<S> {
        let published = self.published.read().clone();
        let blocks = published.blocks.get(tenant).map(|b| b.as_ref().clone()).unwrap_or_default();
        let (blocks, missing): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|b| self.tier.is_readable(b.meta().id));
        View {
            tenant: tenant.clone(),
            heads: published.generations.iter().filter_map(|g| g.existing(tenant)).map(|h| h.snapshot()).collect(),
            blocks,
            tombstones: published.tombstones.get(tenant).cloned().unwrap_or_default(),
            missing: Arc::new(Missing::new(missing.iter().map(|b| (b.meta().min_time, b.meta().max_time)).collect())),
        }
    }

    /// Tenants that have data.
    pub fn tenants(&self) -> Vec<TenantId> {
        let published = self.published.read().clone();
        let mut tenants: Vec<TenantId> = published.blocks.keys().cloned().collect();
        tenants.extend(published.generations.iter().flat_map(|g| g.heads()).map(|(tenant, _)| tenant));
        tenants.sort();
        tenants.dedup();
        tenants
    }

    /// Ends appends and cuts all heads, so that a clean start replays nothing. During replay there is nothing to do: the
    /// lane has everything.
    pub fn close(&self) -> Result<(), MaintenanceError> {
        if !self.ready.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.stop_merging();
        drop(self.lane.write());
        let cut = self.cut();
        if let Some(lane) = &*self.lane.read() {
            lane.stop();
        }
        cut
    }
}
