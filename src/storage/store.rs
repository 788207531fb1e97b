use super::block::{Block, BlockId, BlockMeta};
use super::catalog::{Catalog, CatalogEdit, CatalogError, TombstoneEdit};
use super::head::Generation;
use super::layout::Layout;
use super::tier::Tier;
use super::wal::{self, Commit, Frame, Lane, LaneConfig};
use super::{Admitted, Head, HeadStats, Missing, Refusals, Rows, Spec, Tombstone, TombstoneState, View};
use crate::model::{Signal, TenantId};
use crate::runtime::{World, random_u128};
use crate::telemetry::StoreMetrics;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    pub lane: LaneConfig,
    /// Estimated bytes of one signal's heads; at half of it they are cut, beyond it appends are refused.
    pub head_max_bytes: u64,
}

/// The write was not stored, and may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("starting: replay of the write-ahead log is not finished")]
    NotReady,
    #[error("the write-ahead log is full; a cut is under way")]
    WalFull,
    #[error("memory for unflushed data is used up; a cut is under way")]
    HeadFull,
    #[error("shutting down")]
    Stopping,
}

#[derive(Debug, Clone, Default)]
pub struct Appended {
    pub accepted: u64,
    pub refusals: Refusals,
}

/// An append that is queued for the next group commit.
pub struct Ticket {
    commit: Option<Commit>,
    appended: Appended,
}

impl Ticket {
    /// Waits until the rows are durable and visible. They become so even if nobody waits.
    pub async fn durable(self) -> Result<Appended, AppendError> {
        if let Some(commit) = self.commit {
            commit.durable().await.map_err(|_| AppendError::Stopping)?;
        }
        Ok(self.appended)
    }
}

/// What queries see: swapped as a whole (invariant 2).
struct Published<S: Spec> {
    /// Oldest first; the last one is open.
    generations: Vec<Arc<Generation<S>>>,
    blocks: HashMap<TenantId, Arc<Vec<Arc<Block>>>>,
    /// The active ones, oldest first.
    tombstones: HashMap<TenantId, Arc<Vec<Arc<Tombstone>>>>,
}

impl<S: Spec> Clone for Published<S> {
    fn clone(&self) -> Self {
        Published { generations: self.generations.clone(), blocks: self.blocks.clone(), tombstones: self.tombstones.clone() }
    }
}

/// Blocks are in the order in which their rows were accepted.
fn place(block: &Arc<Block>) -> (BlockId, BlockId) {
    (block.meta().through(), block.meta().id)
}

fn bury(tombstones: &mut HashMap<TenantId, Arc<Vec<Arc<Tombstone>>>>, edit: &TombstoneEdit) {
    match edit {
        TombstoneEdit::Add(tombstone) => {
            Arc::make_mut(tombstones.entry(tombstone.tenant.clone()).or_default()).push(Arc::new(tombstone.clone()));
        }
        TombstoneEdit::Cancel(id) | TombstoneEdit::Processed(id) => {
            for list in tombstones.values_mut().filter(|list| list.iter().any(|t| t.id == *id)) {
                Arc::make_mut(list).retain(|t| t.id != *id);
            }
        }
    }
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
            limbo: Mutex::default(),
        })
    }

    pub fn spec(&self) -> &S {
        &self.spec
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Replays the lane into the head and opens the store. Blocks; takes about as long as the ingest of what the lane
    /// holds.
    pub fn recover(&self) -> io::Result<()> {
        // A cut would take the generation away while rows are still being applied to it.
        let _no_cut_meanwhile = self.cut_lock();
        let generation = self.open_generation();
        let published = self.published.read().clone();
        let mut untranslatable = 0u64;
        let mut rows = 0u64;
        let report = wal::replay(&self.world, &self.layout, self.signal, generation.from, |frame| match self.spec.replay(&frame) {
            Ok(mut batch) => {
                rows += batch.len() as u64;
                let head = generation.head(&self.spec, &frame.tenant, self.world.clock.now());
                head.replayed(&mut batch, published.blocks.get(&frame.tenant).map_or(&[][..], |b| b));
                head.apply(batch);
            }
            Err(error) => {
                untranslatable += 1;
                tracing::error!(signal = %self.signal, lsn = frame.lsn, %error, "a frame of the write-ahead log is skipped");
            }
        })?;
        self.metrics.wal_damaged(self.signal, report.damaged + untranslatable);
        if report.frames > 0 || report.damaged > 0 || report.torn_bytes > 0 {
            tracing::info!(signal = %self.signal, frames = report.frames, rows, damaged = report.damaged, torn_bytes = report.torn_bytes, "write-ahead log replayed");
        }
        let lane = Lane::start(
            self.world.clone(),
            self.layout.clone(),
            self.signal,
            self.config.lane,
            report.segments,
            report.next,
            self.metrics.clone(),
        )?;
        *self.next_lsn.lock() = report.next;
        *self.lane.write() = Some(lane);
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    fn open_generation(&self) -> Arc<Generation<S>> {
        let published = self.published.read();
        // There is always an open generation: `open` makes one, and `seal` replaces it.
        published.generations[published.generations.len() - 1].clone()
    }

    /// Admits, numbers and queues a batch. Blocks for as long as other appends are being admitted, and perhaps to read
    /// blocks, so call it from a thread that may block. Nothing is stored if this fails.
    pub fn append(&self, admitted: Admitted<S>) -> Result<Ticket, AppendError> {
        let Admitted { mut batch, watch } = admitted;
        // Held until the frame is queued, so that `close` can wait for appends that are under way.
        let lane = self.lane.read();
        let lane = lane.as_ref().filter(|_| self.is_ready()).ok_or(AppendError::NotReady)?;
        lane.check_room().map_err(|_| AppendError::WalFull)?;
        let published = self.published.read().clone();
        if published.generations.iter().map(|g| g.stats().bytes).sum::<u64>() > self.config.head_max_bytes {
            return Err(AppendError::HeadFull);
        }
        let now = self.world.clock.now();
        if !batch.rows.is_empty() {
            let blocks = published.blocks.get(&batch.tenant).map_or(&[][..], |b| b);
            // Ingest never waits for a bucket: what is only there is old.
            let here =
                self.tier.has_bucket().then(|| blocks.iter().filter(|b| self.tier.is_local(b.meta().id)).cloned().collect::<Vec<_>>());
            self.open_generation().head(&self.spec, &batch.tenant, now).prepare(&batch.rows, here.as_deref().unwrap_or(blocks));
        }
        let mut next_lsn = self.next_lsn.lock();
        let generation = self.open_generation();
        let offered = !batch.rows.is_empty();
        if offered {
            generation.head(&self.spec, &batch.tenant, now).admit(&mut batch.rows, &mut batch.refusals);
        }
        let accepted = batch.rows.len() as u64;
        if batch.rows.is_empty() {
            // Rows that admission found to be there already may be queued and not durable yet.
            let commit = offered.then(|| lane.barrier());
            return Ok(Ticket { commit, appended: Appended { accepted, refusals: batch.refusals } });
        }
        let lsn = *next_lsn;
        *next_lsn += 1;
        let head = generation.head(&self.spec, &batch.tenant, now);
        let frame = Frame {
            lsn,
            received_at: batch.payload.received_at,
            kind: batch.payload.kind,
            encoding: batch.payload.encoding,
            tenant: batch.tenant.clone(),
            refused: batch.refusals.indexes().to_vec(),
            body: batch.payload.body,
        };
        generation.enter();
        let (tenant, rows) = (batch.tenant, batch.rows);
        let apply = Box::new(move || {
            let notice = watch.and_then(|watch| watch(&tenant, &rows));
            head.apply(rows);
            generation.leave();
            if let Some(notice) = notice {
                notice();
            }
        });
        let commit = lane.enqueue(frame, apply);
        Ok(Ticket { commit: Some(commit), appended: Appended { accepted, refusals: batch.refusals } })
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
    pub fn close(&self) -> Result<(), super::maintenance::MaintenanceError> {
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

/// What maintenance does to a store; queries and ingest have no part in it.
impl<S: Spec> Store<S> {
    pub(super) fn signal_of(&self) -> Signal {
        self.signal
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn tier(&self) -> &Tier {
        &self.tier
    }

    /// Those of the newest View, of all tenants, each tenant's in the order of acceptance.
    pub(super) fn live_blocks(&self) -> Vec<Arc<Block>> {
        let published = self.published.read().clone();
        published.blocks.values().flat_map(|b| b.iter().cloned()).collect()
    }

    pub(super) fn is_live(&self, meta: &BlockMeta) -> bool {
        let published = self.published.read().clone();
        published.blocks.get(&meta.tenant).is_some_and(|blocks| blocks.iter().any(|b| b.meta().id == meta.id))
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    pub(super) fn metrics(&self) -> &StoreMetrics {
        &self.metrics
    }

    pub(super) fn config(&self) -> &StoreConfig {
        &self.config
    }

    pub(super) fn cut_lock(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.cutting.lock()
    }

    pub(super) fn merging_lock(&self) -> parking_lot::MutexGuard<'_, HashSet<BlockId>> {
        self.merging.lock()
    }

    pub(super) fn removal_lock(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.removing.lock()
    }

    pub(super) fn stop_merging(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopping(&self) -> Arc<AtomicBool> {
        self.stopping.clone()
    }

    /// Deletes the files of blocks that were written and that nothing lists.
    pub(super) fn discard(&self, written: &[BlockMeta]) {
        for meta in written {
            if let Err(error) = self.tier.remove(meta) {
                tracing::warn!(block = %meta.id, %error, "files of a block that is not needed are left behind until the next start");
            }
        }
    }

    pub(super) fn head_stats(&self) -> HeadStats {
        let published = self.published.read().clone();
        published
            .generations
            .iter()
            .map(|g| g.stats())
            .fold(HeadStats::default(), |a, b| HeadStats { rows: a.rows + b.rows, bytes: a.bytes + b.bytes })
    }

    pub(super) fn wal_bytes(&self) -> u64 {
        self.lane.read().as_ref().map_or(0, Lane::size)
    }

    /// When the oldest unflushed rows came; `None` if there are none.
    pub(super) fn oldest_unflushed(&self) -> Option<i64> {
        self.published.read().generations.iter().map(|g| g.opened_at()).find(|t| *t != 0)
    }

    /// Newer than the ids of all blocks and tombstones, even if the clock was set back: their order is the order of their cuts.
    pub(super) fn next_block_id(&self) -> BlockId {
        let published = self.published.read().clone();
        let blocks = published.blocks.values().flat_map(|b| b.iter()).map(|b| b.meta().id.max(b.meta().through()));
        let newest = blocks.chain(published.tombstones.values().flat_map(|t| t.iter()).map(|t| t.id)).max();
        BlockId::after(newest, self.world.clock.now(), random_u128())
    }

    /// Number of live blocks, and their bytes.
    pub(super) fn block_totals(&self) -> (u64, u64) {
        let published = self.published.read().clone();
        published.blocks.values().flat_map(|b| b.iter()).fold((0, 0), |(count, bytes), b| (count + 1, bytes + b.meta().bytes()))
    }

    /// Of all tenants.
    pub(super) fn active_tombstones(&self) -> Vec<Arc<Tombstone>> {
        let published = self.published.read().clone();
        published.tombstones.values().flat_map(|t| t.iter().cloned()).collect()
    }

    pub(super) fn block_metas(&self) -> Vec<BlockMeta> {
        self.live_blocks().iter().map(|b| b.meta().clone()).collect()
    }

    /// Opens a new generation for appends, and returns the sealed ones, oldest first, each with the LSN at which it
    /// ends. Segment and generation change together, under the lock that hands out LSNs.
    pub(super) fn seal(&self) -> Vec<(Arc<Generation<S>>, u64)> {
        // Before the other locks, as `append` takes it: `close` waits for all readers and keeps new ones out meanwhile.
        let lane = self.lane.read();
        let next_lsn = self.next_lsn.lock();
        let mut published = self.published.write();
        let mut next = Published::clone(&published);
        if next.generations.last().is_some_and(|g| g.opened_at() != 0) {
            next.generations.push(Arc::new(Generation::new(*next_lsn)));
            if let Some(lane) = &*lane {
                lane.rotate();
            }
        }
        let ends: Vec<u64> = next.generations.iter().skip(1).map(|g| g.from).collect();
        let sealed = next.generations.iter().cloned().zip(ends).collect();
        *published = Arc::new(next);
        sealed
    }

    /// After a commit: a failed one before it has left nothing in the catalog, so that its files can go.
    fn settle_limbo(&self) {
        let limbo = std::mem::take(&mut *self.limbo.lock());
        if limbo.is_empty() {
            return;
        }
        match self.catalog.blocks(self.signal) {
            Ok(listed) => {
                let listed: HashSet<BlockId> = listed.iter().map(|m| m.id).collect();
                self.discard(&limbo.into_iter().filter(|m| !listed.contains(&m.id)).collect::<Vec<_>>());
            }
            Err(error) => {
                tracing::warn!(%error, "files of a failed commit stay until the next one");
                self.limbo.lock().extend(limbo);
            }
        }
    }

    /// Commits and publishes: the new blocks appear and the sealed generation disappears in one step.
    pub(super) fn publish(&self, edit: &CatalogEdit, cut: Option<&Arc<Generation<S>>>) -> Result<(), super::maintenance::MaintenanceError> {
        if let Err(error) = self.catalog.commit(edit) {
            self.limbo.lock().extend(edit.add.iter().cloned());
            return Err(error.into());
        }
        self.settle_limbo();
        let mut published = self.published.write();
        let mut next = Published::clone(&published);
        if let Some(cut) = cut {
            next.generations.retain(|g| !Arc::ptr_eq(g, cut));
        }
        let mut changed: Vec<TenantId> = edit.add.iter().map(|m| m.tenant.clone()).collect();
        for meta in &edit.add {
            let block = Arc::new(Block::new(meta.clone(), self.tier.clone()));
            let blocks = next.blocks.entry(meta.tenant.clone()).or_default();
            let blocks = Arc::make_mut(blocks);
            blocks.push(block);
            blocks.sort_by_key(place);
        }
        for (tenant, blocks) in &mut next.blocks {
            if blocks.iter().any(|b| edit.remove.contains(&b.meta().id)) {
                changed.push(tenant.clone());
                Arc::make_mut(blocks).retain(|b| {
                    let gone = edit.remove.contains(&b.meta().id);
                    if gone {
                        b.mark_obsolete();
                    }
                    !gone
                });
            }
        }
        for tombstone in &edit.tombstones {
            bury(&mut next.tombstones, tombstone);
        }
        let next = Arc::new(next);
        let before = std::mem::replace(&mut *published, next.clone());
        drop(published);
        // Outside the lock, since the last to let go of an obsolete block deletes its files.
        drop(before);
        for tenant in changed {
            self.spec.published(&tenant, next.blocks.get(&tenant).map_or(&[][..], |b| b));
        }
        if let (Some((_, floor)), Some(lane)) = (edit.floor, &*self.lane.read()) {
            lane.recycle(floor);
        }
        Ok(())
    }
}
