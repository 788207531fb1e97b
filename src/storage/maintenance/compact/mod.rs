//! Compaction: few and large blocks, with the most useful columns, without duplicates and deleted rows.

mod plan;

use super::MaintenanceError;
use crate::model::time::{DAY, day_of};
use crate::runtime::{Behind, in_background};
use crate::storage::block::{Block, BlockId, BlockMeta, BlockWriter, Facts, WalRange};
use crate::storage::catalog::{CatalogEdit, CatalogError, SignalFields};
use crate::storage::{Merge, MergeError, MergeInput, Pace, RowStream, Spec, Store, Tombstone};
use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use plan::{Job, Policy, State};
use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

/// Bounds of one merge.
#[derive(Debug, Clone, Copy)]
pub struct CompactConfig {
    /// Bytes of the blocks that one merge takes: it needs about as much disk while it runs.
    pub bytes_max: u64,
    /// Blocks that one merge takes: of each, a few pages of every column are in memory.
    pub inputs_max: usize,
}

/// Day blocks that the split of one mixed block writes; what is older stays together for the next.
const SPLIT_DAYS_MAX: usize = 32;

impl<S: Spec> Store<S> {
    /// Cuts the head, and merges as if all windows were over. When it returns, nothing is left to merge but what a bucket must
    /// have before.
    pub fn compact(&self, config: &CompactConfig) -> Result<(), MaintenanceError> {
        self.cut()?;
        while self.compact_once(config, true)? {}
        self.settle_tombstones()
    }

    /// One merge, if one is due. Returns whether there was one.
    pub(in crate::storage) fn compact_once(&self, config: &CompactConfig, force: bool) -> Result<bool, MaintenanceError> {
        let mut sick = self.merging_lock();
        let blocks = self.block_metas();
        let now = self.world().clock.now();
        let mut tombstones = self.active_tombstones();
        tombstones.sort_by_key(|t| t.id);
        // In order: what may be taken back holds up those after it, so that one mark in a block says which are done.
        let purged = tombstones.iter().take_while(|t| t.purge_after <= now).count();
        let held = tombstones.split_off(purged);
        let dirty = self.dirty(&tombstones);
        // What only a bucket has is old and merged, and is fetched only to purge it.
        let away = blocks.iter().map(|m| m.id).filter(|id| !self.tier().is_local(*id) && !dirty.contains(id));
        let still = sick.iter().copied().chain(away).chain(self.in_transit(&blocks)?).collect();
        let state = State { blocks: &blocks, held: &held, dirty: &dirty, still: &still };
        let window = i64::try_from(self.spec().window().as_nanos()).unwrap_or(DAY);
        let policy = Policy { window, bytes_max: config.bytes_max, inputs_max: config.inputs_max, force };
        let Some(job) = plan::plan(&state, now, &policy) else { return Ok(false) };
        let bytes = blocks.iter().filter(|b| job.inputs.contains(&b.id)).map(BlockMeta::bytes).sum();
        if self.room().is_some_and(|room| !room.has_room(bytes)) {
            tracing::debug!(signal = %self.signal_of(), bytes, "no room on the disk to merge blocks");
            return Ok(false);
        }
        let (mut pace, behind) = match force {
            true => (Pace::hurried(self.stopping()), Behind::Nobody),
            false => (Pace::gentle(self.stopping()), Behind::Far),
        };
        match self.run(&job, &tombstones, &mut pace, behind) {
            Ok(()) => Ok(true),
            Err(MaintenanceError::Merge(MergeError::Stopped)) => Ok(false),
            Err(error) => {
                // Another attempt would fail as this one did, and hold up all others.
                if matches!(error, MaintenanceError::Merge(MergeError::Read(_) | MergeError::Arrow(_))) {
                    sick.extend(&job.inputs);
                }
                Err(error)
            }
        }
    }

    /// Merged blocks that the bucket does not have while it has some of what they were made of. What replaced what is told from
    /// parents alone when there is nothing but the bucket: merged once more before it is there, such a block would be missing
    /// between the two, and rows would count twice.
    fn in_transit(&self, blocks: &[BlockMeta]) -> Result<Vec<BlockId>, CatalogError> {
        let tier = self.tier();
        let waits = |meta: &&BlockMeta| tier.has_bucket() && !meta.parents.is_empty() && !tier.is_in_bucket(meta.id);
        let waiting: Vec<&BlockMeta> = blocks.iter().filter(waits).collect();
        if waiting.is_empty() {
            return Ok(Vec::new());
        }
        let known: HashSet<BlockId> = self.catalog().remote_blocks(self.signal_of())?.into_iter().map(|(meta, _)| meta.id).collect();
        Ok(waiting.into_iter().filter(|meta| meta.parents.iter().any(|id| known.contains(id))).map(|meta| meta.id).collect())
    }

    /// Blocks with rows that these deletes select.
    fn dirty(&self, tombstones: &[Arc<Tombstone>]) -> HashSet<BlockId> {
        let mut dirty = HashSet::new();
        for tombstone in tombstones {
            for block in &self.view(&tombstone.tenant).blocks {
                if !dirty.contains(&block.meta().id) && tombstone.hits(block.meta()) && self.spec().may_erase(tombstone, block) {
                    dirty.insert(block.meta().id);
                }
            }
        }
        dirty
    }

    fn run(&self, job: &Job, purgeable: &[Arc<Tombstone>], pace: &mut Pace, behind: Behind) -> Result<(), MaintenanceError> {
        let started = Instant::now();
        let Some(inputs) = self.live(&job.inputs) else { return Ok(()) };
        let days = if job.split { self.days(&inputs)? } else { vec![(i64::MIN..=i64::MAX, false)] };
        let mut edit = CatalogEdit { remove: job.inputs.clone(), ..CatalogEdit::default() };
        let write = || -> Result<(), MaintenanceError> {
            for (times, mixed) in &days {
                edit.add.extend(self.write_merged(job, &inputs, purgeable, (times.clone(), *mixed), pace)?);
            }
            Ok(())
        };
        let written = in_background(behind, write).map_err(MaintenanceError::Io).flatten();
        // Expiry may have taken an input away meanwhile: its rows must not come back.
        let guard = self.removal_lock();
        let is_current = self.live(&job.inputs).is_some();
        if written.is_err() || !is_current {
            self.discard(&edit.add);
            return written;
        }
        self.publish(&edit, None)?;
        drop(guard);
        let bytes = |metas: &mut dyn Iterator<Item = u64>| metas.sum::<u64>();
        let before = bytes(&mut inputs.iter().map(|b| b.meta().bytes()));
        let after = bytes(&mut edit.add.iter().map(BlockMeta::bytes));
        self.metrics().compacted(self.signal_of(), job.inputs.len() as u64, started.elapsed());
        tracing::debug!(
            signal = %self.signal_of(), level = job.level, inputs = job.inputs.len(), outputs = edit.add.len(), before, after,
            took_ms = started.elapsed().as_millis() as u64, "blocks merged"
        );
        Ok(())
    }

    /// The blocks with these ids, if all are live.
    fn live(&self, ids: &[BlockId]) -> Option<Vec<Arc<Block>>> {
        let all = self.live_blocks();
        ids.iter().map(|id| all.iter().find(|b| b.meta().id == *id).cloned()).collect()
    }

    /// The times of the days of a mixed block, newest last, and whether they are several days.
    fn days(&self, blocks: &[Arc<Block>]) -> Result<Vec<(RangeInclusive<i64>, bool)>, MaintenanceError> {
        let mut days = BTreeSet::new();
        for block in blocks {
            for (table, column) in self.spec().time_columns() {
                let mut rows = RowStream::open(block, table)?;
                while let Some(batch) = rows.take(usize::MAX)? {
                    if let Some(times) = batch.column_by_name(column) {
                        each_nanos(times, |time| {
                            days.insert(day_of(time));
                        });
                    }
                }
            }
        }
        let days: Vec<i64> = days.into_iter().collect();
        let (old, young) = days.split_at(days.len().saturating_sub(SPLIT_DAYS_MAX));
        let times = |first: i64, last: i64| first.saturating_mul(DAY)..=(last + 1).saturating_mul(DAY).saturating_sub(1);
        let old = old.first().zip(old.last()).map(|(first, last)| (times(*first, *last), first != last));
        Ok(old.into_iter().chain(young.iter().map(|day| (times(*day, *day), false))).collect())
    }

    fn write_merged(
        &self,
        job: &Job,
        inputs: &[Arc<Block>],
        purgeable: &[Arc<Tombstone>],
        (times, mixed): (RangeInclusive<i64>, bool),
        pace: &mut Pace,
    ) -> Result<Option<BlockMeta>, MaintenanceError> {
        let metas = || inputs.iter().map(|b| b.meta());
        let Some(first) = metas().next() else { return Ok(None) };
        let mut meta = BlockMeta::new(self.next_block_id(), &first.tenant, self.signal_of(), self.world().clock.now());
        meta.level = job.level;
        meta.parents = job.inputs.clone();
        meta.through = metas().map(BlockMeta::through).max();
        // Those that are known and not purgeable come later, and those of the past have left no rows.
        let known = purgeable.iter().filter(|t| t.tenant == first.tenant).map(|t| t.id).max();
        meta.purged = known.max(metas().map(|m| m.purged).min().flatten());
        let ranges = || metas().filter_map(|m| m.wal);
        meta.wal = ranges().map(|w| w.from).min().zip(ranges().map(|w| w.to).max()).map(|(from, to)| WalRange { from, to });
        let fields = SignalFields { catalog: self.catalog(), signal: self.signal_of() };
        let mut out = BlockWriter::create(self.world(), self.layout(), &fields, meta)?;
        out.holding(self.config().head_max_bytes);
        self.spec().sidecars(job.level).into_iter().for_each(|sidecar| out.attach(sidecar));
        let input = |block: &Arc<Block>| {
            let hits = purgeable.iter().filter(|t| t.tenant == block.meta().tenant && t.hits(block.meta()));
            MergeInput { block: block.clone(), tombstones: hits.cloned().collect() }
        };
        let day = if job.split { day_of(*times.end()) } else { first.day };
        let merge = Merge { inputs: inputs.iter().map(input).collect(), times, pace };
        let Some(merged) = self.spec().merge(merge, &mut out)? else { return Ok(None) };
        let (min_time, max_time, items) = (merged.min_time, merged.max_time, merged.items);
        Ok(Some(out.finish(Facts { day, mixed, min_time, max_time, items })?))
    }
}

fn each_nanos(times: &ArrayRef, mut each: impl FnMut(i64)) {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            times.as_primitive::<TimestampNanosecondType>().values().iter().for_each(|t| each(*t));
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let nanos = |t: &i64| t.saturating_mul(crate::model::time::MILLI);
            times.as_primitive::<TimestampMillisecondType>().values().iter().for_each(|t| each(nanos(t)));
        }
        _ => {}
    }
}
