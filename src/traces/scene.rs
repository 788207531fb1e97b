//! The sources that a query about a range of time looks at, with the indexes of their traces.

use super::cache::Key;
use super::index::Index;
use super::shared::{Flags, shared};
use super::source::{Source, Sources, TraceRef};
use crate::model::{TimeRange, TraceId, time};
use crate::query::{Context, QueryError, fold};
use std::sync::Arc;

/// How far before and after the time of a query the rest of a trace is looked for, nanoseconds.
const TRACE_SPREAD: i64 = 3600 * time::SECOND;

/// While it is there, the indexes of all its sources are in memory. What of them the cache keeps is the cache's; the query
/// has reserved the rest, so that one over too many traces fails alone.
pub struct Scene<'a> {
    pub sources: &'a Sources,
    /// Numbers of the sources, ascending, and their indexes.
    members: Vec<(usize, Index)>,
    /// Which of their traces others have, too.
    shared: Vec<Flags>,
}

impl<'a> Scene<'a> {
    pub fn new(ctx: &Context, sources: &'a Sources, range: TimeRange) -> Result<Scene<'a>, QueryError> {
        let wide = TimeRange::new(range.start.saturating_sub(TRACE_SPREAD), range.end.saturating_add(TRACE_SPREAD));
        let read = fold(ctx, &sources.numbers(wide), Vec::new, |read, number| {
            let index = sources.index(*number)?;
            ctx.reserve(index.bytes())?;
            read.push((*number, index));
            Ok(())
        })?;
        let mut members: Vec<(usize, Index)> = read.into_iter().flatten().collect();
        members.sort_by_key(|(number, _)| *number);
        ctx.release(members.iter().filter(|(number, _)| sources.keeps_index(*number)).map(|(_, index)| index.bytes()).sum());
        let shared = of_members(ctx, sources, &members)?;
        Ok(Scene { sources, members, shared })
    }

    pub fn indexes(&self) -> impl Iterator<Item = (usize, &Index)> {
        self.members.iter().map(|(number, index)| (*number, index))
    }

    pub fn index(&self, number: usize) -> Option<&Index> {
        self.place(number).map(|i| &self.members[i].1)
    }

    /// Which traces of the source others have, too.
    pub fn shared(&self, number: usize) -> Option<&Flags> {
        self.place(number).map(|i| &self.shared[i])
    }

    fn place(&self, number: usize) -> Option<usize> {
        self.members.binary_search_by_key(&number, |(n, _)| *n).ok()
    }

    /// All parts of the trace at a position of a source.
    pub fn trace(&self, number: usize, at: usize) -> Option<TraceRef> {
        let place = self.place(number)?;
        let index = &self.members[place].1;
        let id = index.id(at);
        if self.shared[place].get(at) { self.find(id) } else { TraceRef::new(id, vec![(number, index.part(at))]) }
    }

    /// One of the places of a trace.
    pub fn place_of(&self, id: TraceId) -> Option<(usize, usize)> {
        self.indexes().find_map(|(number, index)| Some((number, index.position(id)?)))
    }

    /// All parts of a trace.
    pub fn find(&self, id: TraceId) -> Option<TraceRef> {
        let parts = self.members.iter().filter_map(|(number, index)| Some((*number, index.part(index.position(id)?))));
        TraceRef::new(id, parts.collect())
    }
}

/// What blocks share among themselves is known from query to query; chunks of heads are compared each time.
fn of_members(ctx: &Context, sources: &Sources, members: &[(usize, Index)]) -> Result<Vec<Flags>, QueryError> {
    let block = |number: usize| match sources.get(number) {
        Source::Block(block) => Some(block.meta().id),
        Source::Chunk(_) => None,
    };
    let (blocks, chunks): (Vec<_>, Vec<_>) = members.iter().map(|(number, index)| (block(*number), index)).partition(|(b, _)| b.is_some());
    let key = Key::Shared(blocks.iter().filter_map(|(id, _)| *id).collect());
    let of_blocks: Vec<&Index> = blocks.into_iter().map(|(_, index)| index).collect();
    let of_chunks: Vec<&Index> = chunks.into_iter().map(|(_, index)| index).collect();
    let kept: Arc<Vec<Flags>> = sources.cache().get_or(key, || {
        let flags = shared(ctx, &of_blocks)?;
        let bytes = flags.iter().map(Flags::bytes).sum();
        Ok::<_, QueryError>((flags, bytes))
    })?;
    let mut flags: Vec<Flags> = kept.as_ref().clone();
    flags.extend(of_chunks.iter().map(|index| Flags::new(index.len())));
    if of_chunks.is_empty() {
        return Ok(flags);
    }
    let (own, rest) = flags.split_at_mut(of_blocks.len());
    let mut ids: Vec<(TraceId, usize, usize)> = Vec::new();
    for (chunk, index) in of_chunks.iter().enumerate() {
        ids.extend((0..index.len()).map(|at| (index.id(at), chunk, at)));
    }
    ids.sort_unstable();
    for same in ids.chunk_by(|a, b| a.0 == b.0) {
        let mut elsewhere = same.len() > 1;
        for (flags, index) in own.iter_mut().zip(&of_blocks) {
            if let Some(at) = index.position(same[0].0) {
                flags.set(at);
                elsewhere = true;
            }
        }
        if elsewhere {
            same.iter().for_each(|(_, chunk, at)| rest[*chunk].set(*at));
        }
    }
    Ok(flags)
}
