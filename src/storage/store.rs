use super::block::{Block, BlockId, BlockMeta};
use super::catalog::{Catalog, CatalogError};
use super::head::Generation;
use super::layout::Layout;
use super::maintenance::{DiskRoom, MaintenanceError};
use super::tier::Tier;
use super::wal::{self, Commit, FRAME_MAX_BYTES, Frame, Lane, LaneConfig, LaneRefusal, NotCommitted};
use super::{Admitted, Head, HeadStats, Missing, Refusals, Rows, Spec, Tombstone, TombstoneState, View};
use crate::model::number::format_size;
use crate::model::time::format_rfc3339;
use crate::model::{Signal, TenantId};
use crate::runtime::{Pace, World, random_u128};
use crate::telemetry::StoreMetrics;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Received so far in the future, something stored says that a clock is wrong, nanoseconds.
const CLOCK_TOLERANCE: i64 = 60_000_000_000;

mod published;

use published::{Published, place};

#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    pub lane: LaneConfig,
    /// Estimated bytes of one signal's heads; at half of it they are cut, beyond it appends are refused.
    pub head_max_bytes: u64,
}

/// An append that waits for a cut looks so often whether the process stops.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The write was not stored. It may succeed later, unless it is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("starting: replay of the write-ahead log is not finished")]
    NotReady,
    #[error("the write-ahead log is full; a cut is under way")]
    WalFull,
    #[error("memory for unflushed data is used up; a cut is under way")]
    HeadFull,
    #[error("the disk is full, or the disk budget is used up; try again later")]
    DiskFull,
    #[error("the request takes more than {FRAME_MAX_BYTES} bytes of the write-ahead log")]
    TooLarge,
    #[error("shutting down")]
    Stopping,
}

impl From<LaneRefusal> for AppendError {
    fn from(why: LaneRefusal) -> AppendError {
        match why {
            LaneRefusal::Full => AppendError::WalFull,
            LaneRefusal::NoRoom => AppendError::DiskFull,
        }
    }
}

impl From<NotCommitted> for AppendError {
    fn from(why: NotCommitted) -> AppendError {
        match why {
            NotCommitted::Stopped => AppendError::Stopping,
            NotCommitted::NoRoom => AppendError::DiskFull,
        }
    }
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
    /// Waits until the rows are durable and visible. They become so even if nobody waits, and when this says that the disk
    /// is full they may do so later: who sends them again gets them once.
    pub async fn durable(self) -> Result<Appended, AppendError> {
        if let Some(commit) = self.commit {
            commit.durable().await?;
        }
        Ok(self.appended)
    }
}

/// In the last quarter of a head only those may append who have no more of it than all may have: who fills it does not stand
/// in the way of others.
fn is_even_share(own: u64, max: u64, tenants: u64) -> bool {
    own <= max / tenants.max(1)
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

    /// Replays the lane into the head and opens the store. Blocks; takes about as long as the ingest of what the lane
    /// holds.
    pub fn recover(&self) -> io::Result<()> {
        // A cut would take the generation away while rows are still being applied to it.
        let _no_cut_meanwhile = self.cut_lock();
        let generation = self.open_generation();
        let published = self.published.read().clone();
        let mut rows = 0u64;
        let mut newest = self.live_blocks().iter().map(|block| block.meta().created_at).max().unwrap_or(i64::MIN);
        let (mut pace, mut done) = (Pace::default(), 0u64);
        let wal_bytes = self.world.disk.bytes(&self.layout.wal(self.signal))?;
        let report = wal::replay(&self.world, &self.layout, self.signal, generation.from, |frame| {
            done += frame.body.len() as u64;
            newest = newest.max(frame.received_at);
            if let Some(rate) = pace.due(done, wal_bytes) {
                let (read, of) = (format_size(done), format_size(wal_bytes));
                let (items_a_second, seconds_left) = ((rate.per_second * rows as f64 / done.max(1) as f64) as u64, rate.left.as_secs());
                tracing::info!(signal = %self.signal, read, of, items = rows, items_a_second, seconds_left, "replaying the write-ahead log");
            }
            match self.spec.replay(&frame) {
                Ok(mut batch) => {
                    rows += batch.len() as u64;
                    let head = generation.head(&self.spec, &frame.tenant, self.world.clock.now());
                    head.replayed(&mut batch, published.blocks.get(&frame.tenant).map_or(&[][..], |b| b));
                    head.apply(batch);
                    true
                }
                Err(error) => {
                    tracing::error!(signal = %self.signal, lsn = frame.lsn, %error, "a frame of the write-ahead log is of no use");
                    false
                }
            }
        })?;
        self.compare_clock(newest);
        if report.frames > 0 {
            // So that a cut comes, even if all of them were of no use, and replay need not read them again.
            generation.open(self.world.clock.now());
        }
        self.metrics.wal_damaged(self.signal, report.damaged);
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

    /// Data that was received in the future means that the clock was wrong then, or is now.
    fn compare_clock(&self, newest: i64) {
        let now = self.world.clock.now();
        if newest > now.saturating_add(CLOCK_TOLERANCE) {
            let (now, newest, signal) = (format_rfc3339(now), format_rfc3339(newest), self.signal);
            tracing::warn!(%signal, now, newest, "the clock of this machine is behind what is stored already: queries of the last hours and retention go wrong until it is right (check `date` and the time service)");
        }
    }

    fn open_generation(&self) -> Arc<Generation<S>> {
        let published = self.published.read();
        // There is always an open generation: `open` makes one, and `seal` replaces it.
        published.generations[published.generations.len() - 1].clone()
    }

    /// Admits, numbers and queues a batch. Blocks for as long as other appends are being admitted, and perhaps to read
    /// blocks, so call it from a thread that may block. Nothing is stored if this fails.
    pub fn append(&self, admitted: Admitted<S>) -> Result<Ticket, AppendError> {
        let Admitted { mut batch, watch, memory } = admitted;
        self.wait_for_room(&batch.tenant)?;
        // Held until the frame is queued, so that `close` can wait for appends that are under way.
        let lane = self.lane.read();
        let lane = lane.as_ref().filter(|_| self.is_ready()).ok_or(AppendError::NotReady)?;
        lane.check_room()?;
        let frame_bytes = Frame::bytes_at_most(batch.rows.len() + batch.refusals.skipped(), batch.payload.body.len());
        if frame_bytes > FRAME_MAX_BYTES {
            return Err(AppendError::TooLarge);
        }
        let claim = match self.room.get() {
            Some(room) => Some(room.claim(frame_bytes as u64).ok_or(AppendError::DiskFull)?),
            None => None,
        };
        let published = self.published.read().clone();
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
            refused: batch.refusals.indexes(),
            body: batch.payload.body,
        };
        generation.enter();
        let (tenant, rows) = (batch.tenant, batch.rows);
        let apply = Box::new(move || {
            let notice = watch.and_then(|watch| watch(&tenant, &rows));
            drop(claim);
            head.apply(rows);
            drop(memory);
            generation.leave();
            if let Some(notice) = notice {
                notice();
            }
        });
        let commit = lane.enqueue(frame, apply);
        Ok(Ticket { commit: Some(commit), appended: Appended { accepted, refusals: batch.refusals } })
    }

    /// Waits while head or log is full, and asks for a cut early enough that there is hardly ever need to.
    fn wait_for_room(&self, tenant: &TenantId) -> Result<(), AppendError> {
        let deadline = Instant::now() + self.patience.get().copied().unwrap_or_default();
        loop {
            if !self.is_ready() {
                return Err(AppendError::NotReady);
            }
            let head = self.head_stats().bytes;
            let is_wal_full = self.lane.read().as_ref().is_some_and(|lane| lane.check_room() == Err(LaneRefusal::Full));
            if is_wal_full || head >= self.config.head_max_bytes / 2 {
                self.cut_wanted.notify_one();
            }
            let refusal = match (is_wal_full, !self.has_room(head, tenant)) {
                (true, _) => AppendError::WalFull,
                (_, true) => AppendError::HeadFull,
                _ => return Ok(()),
            };
            if self.room.get().is_some_and(|room| !room.has_room(0)) {
                // Its frame would be refused even then.
                return Err(AppendError::DiskFull);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(refusal);
            }
            let (lock, was_cut) = &self.was_cut;
            was_cut.wait_for(&mut lock.lock(), left.min(LOOK_EVERY));
        }
    }

    fn has_room(&self, head: u64, tenant: &TenantId) -> bool {
        let max = self.config.head_max_bytes;
        if head <= max / 4 * 3 || head > max {
            return head <= max;
        }
        let generations = self.published.read().generations.clone();
        let own = generations.iter().filter_map(|g| g.existing(tenant)).map(|h| h.stats().bytes).sum();
        let tenants = generations.iter().map(|g| g.tenants()).max().unwrap_or(0);
        is_even_share(own, max, tenants as u64)
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

    pub(super) fn room(&self) -> Option<&Arc<DiskRoom>> {
        self.room.get()
    }

    /// Bytes here of blocks that go when the last View lets go.
    pub(super) fn leaving_bytes(&self) -> u64 {
        let mut leaving = self.leaving.lock();
        leaving.retain(|block| block.strong_count() > 0);
        let held = leaving.iter().filter_map(Weak::upgrade).filter(|block| self.tier.is_local(block.meta().id));
        held.map(|block| block.meta().bytes()).sum()
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

    /// Returns when a head is so full that it should be cut at once.
    pub(super) async fn cut_is_wanted(&self) {
        self.cut_wanted.notified().await;
    }

    /// Lets appends go on that waited.
    pub(super) fn tell_cut(&self) {
        self.was_cut.1.notify_all();
    }

    /// Of all tenants.
    pub fn head_stats(&self) -> HeadStats {
        let published = self.published.read().clone();
        published
            .generations
            .iter()
            .map(|g| g.stats())
            .fold(HeadStats::default(), |a, b| HeadStats { rows: a.rows + b.rows, bytes: a.bytes + b.bytes })
    }

    /// Frames that were taken wait for room on the disk.
    pub(super) fn is_stalled(&self) -> bool {
        self.lane.read().as_ref().is_some_and(|lane| lane.check_room() == Err(LaneRefusal::NoRoom))
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
}
