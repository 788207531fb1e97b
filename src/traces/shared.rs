//! Which traces have spans in more than one source. Only they have to be put together before they are judged, and only among
//! their spans can there be duplicates.
//!
//! The ids of each block are read in order and merged, a few thousand of each block at a time, so that what is held grows
//! with the number of blocks, to a bound, and not with that of traces. Of the traces that are found the parts are kept.

use super::place::{Place, bytes_of};
use super::source::Sources;
use crate::model::TraceId;
use crate::query::{Context, QueryError};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// Ids of a block that are held at a time, at most (64 KiB) and, when there are very many blocks, at least.
const IDS_MAX: usize = 4096;
const IDS_MIN: usize = 512;

/// What the ids of all blocks take at a time, in bytes, unless there are so many blocks that [`IDS_MIN`] of each are more.
const IDS_BYTES: usize = 16 << 20;

/// A flag for each trace of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    words: Vec<u64>,
    any: bool,
}

impl Flags {
    pub fn new(len: usize) -> Flags {
        Flags { words: vec![0; len.div_ceil(64)], any: false }
    }

    pub fn set(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at / 64) {
            *word |= 1 << (at % 64);
            self.any = true;
        }
    }

    pub fn get(&self, at: usize) -> bool {
        self.any && self.words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    pub fn bytes(&self) -> u64 {
        (self.words.len() * size_of::<u64>()) as u64
    }
}

/// What several sources have of the same traces.
#[derive(Debug, Default)]
pub struct Shared {
    /// Of each source, which of its traces others have, too.
    pub flags: Vec<Flags>,
    /// The parts of these traces, by id, then by source. Sources are counted among those that were compared.
    pub places: Vec<Place>,
}

impl Shared {
    pub fn bytes(&self) -> u64 {
        self.flags.iter().map(Flags::bytes).sum::<u64>() + bytes_of(self.places.capacity())
    }
}

/// The run of a trace among places in order.
pub fn of_trace(places: &[Place], id: TraceId) -> &[Place] {
    let rest = &places[places.partition_point(|p| p.trace_id < id)..];
    &rest[..rest.iter().take_while(|p| p.trace_id == id).count()]
}

/// The ids of a block, in order, a few at a time.
pub struct Ids<'a> {
    sources: &'a Sources,
    number: usize,
    batch: usize,
    /// Where in the block `ids` begin.
    first: usize,
    ids: Vec<TraceId>,
    next: usize,
}

impl<'a> Ids<'a> {
    /// `batch` at a time.
    pub fn new(sources: &'a Sources, number: usize, batch: usize) -> Ids<'a> {
        Ids { sources, number, batch, first: 0, ids: Vec::new(), next: 0 }
    }

    /// The next few; none at the end.
    pub fn batch(&mut self) -> Result<&[TraceId], QueryError> {
        self.first += self.ids.len();
        self.next = 0;
        let last = self.ids.last().copied();
        self.sources.ids(self.number, self.first, self.batch, last, &mut self.ids)?;
        Ok(&self.ids)
    }

    /// The next one, and its position.
    fn one(&mut self, ctx: &Context) -> Result<Option<(TraceId, usize)>, QueryError> {
        if self.next == self.ids.len() {
            ctx.check()?;
            self.batch()?;
        }
        let Some(id) = self.ids.get(self.next).copied() else { return Ok(None) };
        self.next += 1;
        Ok(Some((id, self.first + self.next - 1)))
    }
}

/// What blocks share, by their numbers in `sources`. Working memory, which `ctx` accounts for: [`IDS_BYTES`], one index at a
/// time, and the result.
pub fn of_blocks(ctx: &Context, sources: &Sources, numbers: &[usize]) -> Result<Shared, QueryError> {
    let work = ctx.part();
    let mut found = Found {
        shared: Shared { flags: numbers.iter().map(|n| Flags::new(sources.traces_of(*n))).collect(), places: Vec::new() },
        waiting: vec![Vec::new(); numbers.len()],
        held: work.part(),
    };
    work.reserve(found.shared.bytes())?;
    if numbers.len() > 1 {
        found.merge(&work, sources, numbers)?;
    }
    let Found { mut shared, waiting, held } = found;
    for (ordinal, waiting) in waiting.into_iter().enumerate().filter(|(_, waiting)| !waiting.is_empty()) {
        work.check()?;
        let index = sources.index(&work, numbers[ordinal])?;
        for (at, slot) in waiting {
            let at = at as usize;
            let wanted = shared.places.get_mut(slot as usize).filter(|p| at < index.len() && p.trace_id == index.id(at));
            *wanted.ok_or_else(|| sources.damaged(numbers[ordinal]))? = index.place(ordinal, at);
        }
    }
    shared.places.shrink_to_fit();
    drop(held);
    Ok(shared)
}

struct Found {
    shared: Shared,
    /// Of each source, the positions of shared traces, and where in `places` they belong.
    waiting: Vec<Vec<(u32, u32)>>,
    held: Context,
}

impl Found {
    fn merge(&mut self, ctx: &Context, sources: &Sources, numbers: &[usize]) -> Result<(), QueryError> {
        let ids = ctx.part();
        let batch = (IDS_BYTES / size_of::<TraceId>() / numbers.len()).clamp(IDS_MIN, IDS_MAX);
        ids.reserve(numbers.iter().map(|n| batch.min(sources.traces_of(*n)) * size_of::<TraceId>()).sum::<usize>() as u64)?;
        let mut streams: Vec<Ids<'_>> = numbers.iter().map(|n| Ids::new(sources, *n, batch)).collect();
        let mut heads = BinaryHeap::with_capacity(streams.len());
        for (ordinal, stream) in streams.iter_mut().enumerate() {
            heads.extend(stream.one(ctx)?.map(|(id, at)| Reverse((u128::from_be_bytes(id.0), ordinal, at))));
        }
        // The places of the id that was last.
        let mut same: Vec<(usize, usize)> = Vec::new();
        let mut last = 0;
        while let Some(mut head) = heads.peek_mut() {
            let Reverse((id, ordinal, at)) = *head;
            match streams[ordinal].one(ctx)? {
                Some((id, at)) => *head = Reverse((u128::from_be_bytes(id.0), ordinal, at)),
                None => {
                    PeekMut::pop(head);
                }
            }
            if id != last {
                self.add(last, &same)?;
                same.clear();
                last = id;
            }
            same.push((ordinal, at));
        }
        self.add(last, &same)
    }

    /// The places of a trace, by source.
    fn add(&mut self, id: u128, same: &[(usize, usize)]) -> Result<(), QueryError> {
        if same.len() < 2 {
            return Ok(());
        }
        let (places, more) = (&mut self.shared.places, same.len());
        if places.capacity() - places.len() < more {
            // Both grow as they do, to twice at most, and are moved.
            self.held.hold(3 * (bytes_of(1) + size_of::<(u32, u32)>() as u64) * (places.len() + more) as u64)?;
        }
        for (ordinal, at) in same {
            let slot = u32::try_from(places.len()).unwrap_or(u32::MAX);
            places.push(Place::waiting(TraceId(id.to_be_bytes())));
            self.waiting[*ordinal].push((u32::try_from(*at).unwrap_or(u32::MAX), slot));
            self.shared.flags[*ordinal].set(*at);
        }
        Ok(())
    }
}
