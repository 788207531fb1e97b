//! Which blocks to merge next. Blocks of one day stand in the order in which their rows were accepted, and only neighbours
//! are merged: so of two copies of a row the earlier one stays the earlier one.

use crate::model::TenantId;
use crate::model::time::{DAY, HOUR, MINUTE};
use crate::storage::Tombstone;
use crate::storage::block::{BlockId, BlockMeta};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The level of a whole day.
pub const TOP_LEVEL: u8 = 2;

/// Level-0 blocks of a window that is still open are merged when there are so many.
const YOUNG_MAX: usize = 16;

/// So long after its end a window or a day is taken as complete, nanoseconds.
const WINDOW_GRACE: i64 = 10 * MINUTE;
const DAY_GRACE: i64 = HOUR;

/// Latecomers of a day that is merged already wait until there are so many, or until one is so old.
const LATE_MAX: usize = 4;
const LATE_WAIT: i64 = 6 * HOUR;

/// What the plan looks at.
pub struct State<'a> {
    /// Of one signal, in the order of acceptance.
    pub blocks: &'a [BlockMeta],
    /// Deletes that may be taken back: their rows must stay apart from rows that came later.
    pub held: &'a [Arc<Tombstone>],
    /// Blocks with rows of deletes that can be purged.
    pub dirty: &'a HashSet<BlockId>,
    /// Blocks that stay as they are.
    pub still: &'a HashSet<BlockId>,
}

#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Time of a level-1 block, nanoseconds.
    pub window: i64,
    /// Bytes of the inputs of one merge.
    pub bytes_max: u64,
    pub inputs_max: usize,
    /// As if all windows and days were over.
    pub force: bool,
}

/// Blocks, in the order of acceptance, that become one of this level; or one mixed block that becomes several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub inputs: Vec<BlockId>,
    pub level: u8,
    pub split: bool,
}

/// The most useful merge; `None` if there is nothing to do.
pub fn plan(state: &State<'_>, now: i64, policy: &Policy) -> Option<Job> {
    let well = |b: &&BlockMeta| !state.still.contains(&b.id);
    if let Some(mixed) = state.blocks.iter().filter(well).find(|b| b.mixed) {
        return Some(Job { inputs: vec![mixed.id], level: 0, split: true });
    }
    let mut days: BTreeMap<(&TenantId, i64), Vec<&BlockMeta>> = BTreeMap::new();
    for block in state.blocks {
        days.entry((&block.tenant, block.day)).or_default().push(block);
    }
    let is_closed = |day: i64| policy.force || now >= (day + 1).saturating_mul(DAY).saturating_add(DAY_GRACE);
    let merge = days.iter().find_map(|((_, day), blocks)| {
        let runs = runs(state, blocks);
        let job = |run: &&[&BlockMeta]| if is_closed(*day) { whole_day(run, now, policy) } else { window(run, now, policy) };
        runs.iter().find_map(|run| job(&&run[..]))
    });
    let purge = || {
        let dirty = state.blocks.iter().filter(well).find(|b| state.dirty.contains(&b.id));
        dirty.map(|b| Job { inputs: vec![b.id], level: b.level.max(1), split: false })
    };
    merge.or_else(purge)
}

/// Neighbours that may be merged with each other: nothing that must stay as it is stands between them.
fn runs<'a>(state: &State<'_>, blocks: &[&'a BlockMeta]) -> Vec<Vec<&'a BlockMeta>> {
    let apart = |a: &BlockMeta, b: &BlockMeta| {
        let between = |t: &&Arc<Tombstone>| a.tenant == t.tenant && a.through() < t.id && t.id < b.through();
        state.held.iter().filter(between).any(|t| t.hits(a))
    };
    let mut runs: Vec<Vec<&BlockMeta>> = vec![Vec::new()];
    for block in blocks {
        if state.still.contains(&block.id) {
            runs.push(Vec::new());
            continue;
        }
        match runs.last_mut() {
            Some(run) if !run.iter().any(|a| apart(a, block)) => run.push(block),
            _ => runs.push(vec![block]),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// Of neighbours, as many from the first on as one merge may take.
fn fitting<'s, 'a>(run: &'s [&'a BlockMeta], policy: &Policy) -> &'s [&'a BlockMeta] {
    let mut bytes = 0;
    let count = run.iter().take(policy.inputs_max).take_while(|b| {
        bytes += b.bytes();
        bytes <= policy.bytes_max
    });
    &run[..count.count().max(1).min(run.len())]
}

fn job(inputs: &[&BlockMeta], level: u8) -> Job {
    Job { inputs: inputs.iter().map(|b| b.id).collect(), level, split: false }
}

/// A day that is over becomes one block, or a few large ones.
fn whole_day(run: &[&BlockMeta], now: i64, policy: &Policy) -> Option<Job> {
    let mut rest = run;
    while !rest.is_empty() {
        let part = fitting(rest, policy);
        let (whole, after) = rest.split_at(part.len());
        let late: Vec<&&BlockMeta> = whole.iter().filter(|b| b.level < TOP_LEVEL).collect();
        let waited = late.iter().any(|b| now.saturating_sub(b.created_at) >= LATE_WAIT);
        let is_merged = late.len() < whole.len();
        let due = match whole {
            [one] => one.level == 0,
            _ => policy.force || !is_merged || late.len() >= LATE_MAX || (waited && !late.is_empty()),
        };
        // More follows that fits beside it: the next round takes both.
        let is_last = after.is_empty() || whole.len() < policy.inputs_max;
        if due {
            return Some(job(whole, if is_last { TOP_LEVEL } else { 1 }));
        }
        rest = after;
    }
    None
}

/// Level-0 blocks of one window become one of level 1.
fn window(run: &[&BlockMeta], now: i64, policy: &Policy) -> Option<Job> {
    let number = |b: &BlockMeta| b.max_time.div_euclid(policy.window);
    let groups = run.chunk_by(|a, b| a.level == 0 && b.level == 0 && number(a) == number(b));
    for group in groups.filter(|g| g.len() > 1) {
        let end = (number(group[0]) + 1).saturating_mul(policy.window);
        if group.len() >= YOUNG_MAX || now >= end.saturating_add(WINDOW_GRACE) {
            let part = fitting(group, policy);
            if part.len() > 1 {
                return Some(job(part, 1));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
