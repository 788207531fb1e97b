//! The traces that may match, newest start first. Sources are read one after another, those with the newest spans first, and
//! only while a trace of the next one could be newer than what is known.

use super::index::Index;
use super::place::Place;
use super::scene::Scene;
use super::source::{Source, TraceRef};
use super::traceql::{Inspected, Judge};
use super::vector::{Facts, Rows, Selection, segments};
use crate::model::{TimeRange, TraceId};
use crate::query::{Context, QueryError, fold};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// A trace that may match, by its start, then by its id, the newest first; and one of its places.
type Waiting = (i64, Reverse<TraceId>, Place);

/// What an id in a set takes, about.
const MET_BYTES: u64 = 2 * size_of::<TraceId>() as u64;

pub struct Hunt<'a> {
    ctx: &'a Context,
    judge: &'a Judge,
    scene: &'a Scene<'a>,
    range: TimeRange,
    /// Sources to be read, with the end of the newest span in each; the newest last.
    unread: Vec<(i64, usize)>,
    waiting: BinaryHeap<Waiting>,
    /// Traces in several sources that were met in one of them.
    met: HashSet<TraceId>,
    /// Traces that have spans in a source that does not overlap the range and is not read: they may match by these.
    outside: HashSet<TraceId>,
    /// Whether a trace that waits was not looked at yet.
    unsieved: bool,
    pub inspected: Inspected,
}

impl<'a> Hunt<'a> {
    pub fn new(ctx: &'a Context, judge: &'a Judge, scene: &'a Scene<'a>, range: TimeRange) -> Result<Hunt<'a>, QueryError> {
        let (overlapping, around): (Vec<usize>, Vec<usize>) =
            scene.numbers().partition(|number| scene.sources.get(*number).overlaps(range));
        let mut unread: Vec<(i64, usize)> = overlapping
            .into_iter()
            .map(|number| match scene.sources.get(number) {
                Source::Block(block) => (block.meta().max_time, number),
                Source::Chunk(_) => (i64::MAX, number),
            })
            .collect();
        unread.sort_unstable();
        let mut hunt = Hunt {
            ctx,
            judge,
            scene,
            range,
            unread,
            waiting: BinaryHeap::new(),
            met: HashSet::new(),
            outside: HashSet::new(),
            unsieved: false,
            inspected: Inspected::default(),
        };
        hunt.look_outside(&around)?;
        Ok(hunt)
    }

    /// Finds the traces in the sources around the range, which do not overlap it. One that has spans before it and after it
    /// overlaps it, too.
    fn look_outside(&mut self, around: &[usize]) -> Result<(), QueryError> {
        let (mut before, mut after) = (false, false);
        for place in self.scene.shared_places().filter(|place| around.binary_search(&place.source()).is_ok()) {
            *(if place.end < self.range.start { &mut before } else { &mut after }) = true;
            if self.outside.insert(place.trace_id) {
                self.ctx.reserve(MET_BYTES)?;
            }
        }
        if before && after {
            for trace in self.outside.iter().filter_map(|id| self.scene.find(*id)).filter(|t| self.range.overlaps(t.start, t.end)) {
                if let Some(place) = self.scene.place_of(trace.trace_id) {
                    self.met.insert(trace.trace_id);
                    self.unsieved = true;
                    self.ctx.reserve(size_of::<Waiting>() as u64 + MET_BYTES)?;
                    self.waiting.push((trace.start, Reverse(trace.trace_id), place));
                }
            }
        }
        Ok(())
    }

    /// The next traces, at most `max`, and whether columns have told of all of them that they may match. None when there are
    /// no more.
    pub fn next(&mut self, max: usize) -> Result<(Vec<TraceRef>, bool), QueryError> {
        let mut out = Vec::new();
        loop {
            let unread = self.unread.last().map_or(i64::MIN, |(newest, _)| *newest);
            while out.len() < max
                && let Some((_, _, place)) = self.waiting.peek().filter(|w| w.0 > unread || self.unread.is_empty()).copied()
            {
                self.waiting.pop();
                self.ctx.release(size_of::<Waiting>() as u64);
                out.extend(self.scene.trace(&place));
            }
            if !out.is_empty() {
                return Ok((out, !self.unsieved));
            }
            let Some((_, number)) = self.unread.pop() else { return Ok((out, true)) };
            self.read(number)?;
        }
    }

    fn read(&mut self, number: usize) -> Result<(), QueryError> {
        let held = self.scene.index(number)?;
        let index: &Index = &held;
        self.inspected.traces += index.len() as u64;
        self.inspected.spans += index.len().checked_sub(1).map_or(0, |last| index.rows(last).end);
        let candidates = match self.scene.sources.get(number) {
            Source::Chunk(_) => {
                self.unsieved = true;
                (0..index.len()).collect()
            }
            Source::Block(block) => {
                let Some(facts) = Facts::new(block, self.scene.sources.cache())? else { return Ok(()) };
                let selection = self.judge.selection(&facts)?;
                let mut found = candidates(self.ctx, self.scene, (number, index), &facts, &selection, self.range)?;
                let other = self.outside.iter().filter_map(|id| index.position(*id));
                let before = found.len();
                found.extend(other);
                self.unsieved |= found.len() > before;
                found
            }
        };
        for at in candidates {
            let (start, end) = match self.scene.shared(number).is_some_and(|s| s.get(at)) {
                false => index.times(at),
                true if !self.met.insert(index.id(at)) => continue,
                true => {
                    self.ctx.reserve(MET_BYTES)?;
                    self.scene.find(index.id(at)).map_or((0, 0), |t| (t.start, t.end))
                }
            };
            if self.range.overlaps(start, end) {
                self.ctx.reserve(size_of::<Waiting>() as u64)?;
                self.waiting.push((start, Reverse(index.id(at)), index.place(number, at)));
            }
        }
        Ok(())
    }
}

/// The traces of a block that may match: of those that lie whole in it, that overlap the range and have rows left; of the
/// others, that have a row that satisfies some filter.
pub fn candidates(
    ctx: &Context,
    scene: &Scene<'_>,
    (number, index): (usize, &Index),
    facts: &Facts<'_>,
    selection: &Selection,
    range: TimeRange,
) -> Result<Vec<usize>, QueryError> {
    let segments = segments(&facts.groups, index);
    let found = fold(ctx, &segments, Vec::new, |found: &mut Vec<usize>, segment| {
        let mut rows = Rows::new(ctx, facts, index, segment.clone());
        let (mut whole, mut shared) = split(scene, (number, index), &rows, Some(range));
        selection.keep(&mut rows, &mut whole, true)?;
        if shared.contains(&true) {
            selection.touch(&mut rows, &mut shared)?;
        }
        let has = |mask: &[bool], bounds: &std::ops::Range<usize>| mask[bounds.clone()].contains(&true);
        let traces = rows.segment.traces.clone().zip(&rows.bounds);
        found.extend(traces.filter(|(_, b)| has(&whole, b) || has(&shared, b)).map(|(at, _)| at));
        Ok(())
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// The rows of traces that lie whole in the block, and overlap the range if there is one, and the rows of the others.
pub fn split(scene: &Scene<'_>, (number, index): (usize, &Index), rows: &Rows<'_>, range: Option<TimeRange>) -> (Vec<bool>, Vec<bool>) {
    let (mut whole, mut shared) = (vec![false; rows.len()], vec![false; rows.len()]);
    let flags = scene.shared(number);
    for (at, bounds) in rows.segment.traces.clone().zip(&rows.bounds) {
        if index.is_deleted(at) {
            continue;
        }
        if flags.is_some_and(|f| f.get(at)) {
            shared[bounds.clone()].fill(true);
        } else if range.is_none_or(|r| index.overlaps(at, r)) {
            whole[bounds.clone()].fill(true);
        }
    }
    (whole, shared)
}
