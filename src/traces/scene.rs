//! The sources that a query about a range of time looks at, and which traces several of them have.

use super::cache::Key;
use super::head::Chunk;
use super::place::{Place, bytes_of};
use super::shared::{Flags, Ids, Shared, of_blocks, of_trace};
use super::source::{Held, Source, Sources, TraceRef};
use crate::model::{TimeRange, TraceId, time};
use crate::query::{Context, QueryError, fold};
use std::sync::Arc;

/// How far before and after the time of a query the rest of a trace is looked for, nanoseconds.
const TRACE_SPREAD: i64 = 3600 * time::SECOND;

/// Ids of a block that are compared with those of heads at a time (64 KiB).
const IDS: usize = 4096;

/// It holds a bit for each trace of its sources and [`Place`]s (64 bytes each) of those traces that several have, and the
/// query has reserved that. Indexes, 44 bytes for each trace of a block, are read one at a time and given back when they have
/// been looked at: so a query holds one of them, however many blocks and traces there are.
pub struct Scene<'a> {
    pub sources: &'a Sources,
    ctx: Context,
    /// Numbers of the sources, ascending: blocks come first.
    numbers: Vec<usize>,
    /// Of each, which of its traces others have, too.
    flags: Vec<Flags>,
    /// What blocks share among themselves, counted in `numbers`.
    of_blocks: Arc<Shared>,
    /// All parts of the traces that a head has and that are elsewhere, too.
    of_heads: Vec<Place>,
}

impl<'a> Scene<'a> {
    pub fn new(ctx: &Context, sources: &'a Sources, range: TimeRange) -> Result<Scene<'a>, QueryError> {
        let wide = TimeRange::new(range.start.saturating_sub(TRACE_SPREAD), range.end.saturating_add(TRACE_SPREAD));
        let numbers = sources.numbers(wide);
        let ids: Vec<_> = numbers.iter().map_while(|number| block_id(sources, *number)).collect();
        let blocks = &numbers[..ids.len()];
        // What blocks share among themselves is known from query to query; chunks of heads are compared each time.
        let of_blocks: Arc<Shared> = sources.cache().get_or(Key::Shared(ids), || {
            let shared = of_blocks(ctx, sources, blocks)?;
            let bytes = shared.bytes();
            Ok::<_, QueryError>((shared, bytes))
        })?;
        let ctx = ctx.part();
        // It may leave the cache while it is held; flags are copied.
        ctx.reserve(of_blocks.bytes() + of_blocks.flags.iter().map(Flags::bytes).sum::<u64>())?;
        let flags = of_blocks.flags.clone();
        let mut scene = Scene { sources, ctx, numbers, flags, of_blocks, of_heads: Vec::new() };
        scene.compare_heads()?;
        Ok(scene)
    }

    /// In order.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        self.numbers.clone().into_iter()
    }

    /// Held, and accounted for, until it is dropped.
    pub fn index(&self, number: usize) -> Result<Held, QueryError> {
        self.sources.index(&self.ctx, number)
    }

    /// Which traces of the source others have, too.
    pub fn shared(&self, number: usize) -> Option<&Flags> {
        self.flags.get(self.numbers.binary_search(&number).ok()?)
    }

    /// All parts of the trace at a place. `None` if it is deleted.
    pub fn trace(&self, place: &Place) -> Option<TraceRef> {
        if self.shared(place.source()).is_some_and(|shared| shared.get(place.at())) {
            return self.find(place.trace_id);
        }
        let is_deleted = self.sources.is_deleted(place.source(), place.trace_id);
        TraceRef::new(place.trace_id, (!is_deleted).then(|| (place.source(), place.part())).into_iter().collect())
    }

    /// All parts of the traces that several sources have, deleted ones, too.
    pub fn shared_places(&self) -> impl Iterator<Item = Place> {
        self.of_blocks.places.iter().map(|place| self.numbered(place)).chain(self.of_heads.iter().copied())
    }

    /// All parts of a trace that several sources have.
    pub fn find(&self, id: TraceId) -> Option<TraceRef> {
        TraceRef::new(id, self.places(id).map(|place| (place.source(), place.part())).collect())
    }

    /// The first place of a trace that several sources have.
    pub fn place_of(&self, id: TraceId) -> Option<Place> {
        self.places(id).next()
    }

    fn places(&self, id: TraceId) -> impl Iterator<Item = Place> {
        let of_heads = of_trace(&self.of_heads, id);
        let of_blocks = if of_heads.is_empty() { of_trace(&self.of_blocks.places, id) } else { &[] };
        let places = of_blocks.iter().map(|place| self.numbered(place)).chain(of_heads.iter().copied());
        places.filter(move |place| !self.sources.is_deleted(place.source(), id))
    }

    /// As the sources are counted.
    fn numbered(&self, place: &Place) -> Place {
        place.of_source(self.numbers.get(place.source()).copied().unwrap_or(usize::MAX))
    }

    /// Finds the traces of chunks that other chunks or blocks have, too.
    fn compare_heads(&mut self) -> Result<(), QueryError> {
        let (blocks, chunks) = self.numbers.split_at(self.of_blocks.flags.len());
        let chunks: Vec<(usize, &Arc<Chunk>)> = chunks.iter().filter_map(|n| Some((*n, chunk(self.sources, *n)?))).collect();
        let count: usize = chunks.iter().map(|(_, chunk)| chunk.parts.len()).sum();
        if count == 0 {
            self.flags.resize(self.numbers.len(), Flags::default());
            return Ok(());
        }
        let work = self.ctx.part();
        work.reserve((count * (size_of::<(TraceId, u32, u32)>() + size_of::<TraceId>())) as u64)?;
        let mut parts: Vec<(TraceId, u32, u32)> = Vec::with_capacity(count);
        for (place, (_, chunk)) in (0u32..).zip(&chunks) {
            parts.extend((0u32..).zip(&chunk.parts).map(|(at, part)| (part.trace_id, place, at)));
        }
        parts.sort_unstable();
        let mut ids: Vec<TraceId> = Vec::with_capacity(count);
        ids.extend(parts.chunk_by(|a, b| a.0 == b.0).map(|same| same[0].0));
        let in_blocks = self.in_blocks(&work, blocks, &ids)?;
        let mut of_chunks: Vec<Flags> = chunks.iter().map(|(_, chunk)| Flags::new(chunk.parts.len())).collect();
        let traces = parts.chunk_by(|a, b| a.0 == b.0).map(|same| (same, of_trace(&in_blocks, same[0].0)));
        let shared = traces.filter(|(same, elsewhere)| same.len() + elsewhere.len() > 1);
        let len = shared.clone().map(|(same, elsewhere)| same.len() + elsewhere.len()).sum();
        self.ctx.reserve(bytes_of(len))?;
        let mut places = Vec::with_capacity(len);
        for (same, elsewhere) in shared {
            places.extend_from_slice(elsewhere);
            for (_, place, at) in same {
                let (place, at) = (*place as usize, *at as usize);
                let (number, chunk) = chunks[place];
                places.push(Place::new((number, at), &chunk.parts[at]));
                of_chunks[place].set(at);
            }
        }
        for place in &in_blocks {
            if let Ok(ordinal) = self.numbers.binary_search(&place.source()) {
                self.flags[ordinal].set(place.at());
            }
        }
        self.flags.extend(of_chunks);
        self.of_heads = places;
        Ok(())
    }

    /// Where blocks have traces of `ids`, which ascend; by id, then by source.
    fn in_blocks(&self, work: &Context, blocks: &[usize], ids: &[TraceId]) -> Result<Vec<Place>, QueryError> {
        let known = |number: usize| self.sources.keeps_index(number);
        // What is not in the cache is only read if there is something to be found.
        let unknown: Vec<usize> = blocks.iter().copied().filter(|n| !known(*n)).collect();
        let some = fold(&self.ctx, &unknown, Vec::new, |some, number| {
            if self.has_any(*number, ids)? {
                some.push(*number);
            }
            Ok(())
        })?;
        let some: Vec<usize> = some.into_iter().flatten().collect();
        let mut found = Vec::new();
        for number in blocks.iter().copied().filter(|n| some.contains(n) || !unknown.contains(n)) {
            self.ctx.check()?;
            let index = self.index(number)?;
            let before = found.len();
            found.extend(ids.iter().filter_map(|id| index.position(*id)).map(|at| index.place(number, at)));
            // A vector that grows takes up to twice what is in it.
            work.reserve(2 * bytes_of(found.len() - before))?;
        }
        found.sort_unstable();
        Ok(found)
    }

    fn has_any(&self, number: usize, ids: &[TraceId]) -> Result<bool, QueryError> {
        let held = self.ctx.part();
        held.reserve((IDS * size_of::<TraceId>()) as u64)?;
        let mut stream = Ids::new(self.sources, number, IDS);
        let mut rest = ids;
        loop {
            self.ctx.check()?;
            let batch = stream.batch()?;
            let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(false) };
            rest = &rest[rest.partition_point(|id| id < first)..];
            let (these, later) = rest.split_at(rest.partition_point(|id| id <= last));
            if these.iter().any(|id| batch.binary_search(id).is_ok()) {
                return Ok(true);
            }
            if later.is_empty() {
                return Ok(false);
            }
            rest = later;
        }
    }
}

fn block_id(sources: &Sources, number: usize) -> Option<crate::storage::block::BlockId> {
    match sources.get(number) {
        Source::Block(block) => Some(block.meta().id),
        Source::Chunk(_) => None,
    }
}

fn chunk(sources: &Sources, number: usize) -> Option<&Arc<Chunk>> {
    match sources.get(number) {
        Source::Block(_) => None,
        Source::Chunk(chunk) => Some(chunk),
    }
}
