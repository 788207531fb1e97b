//! Which traces have spans in more than one source. Only they have to be put together before they are judged, and only among
//! their spans can there be duplicates.

use super::index::Index;
use crate::model::TraceId;
use crate::query::{Context, QueryError, fold};

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
        self.words[at / 64] |= 1 << (at % 64);
        self.any = true;
    }

    pub fn get(&self, at: usize) -> bool {
        self.any && self.words[at / 64] >> (at % 64) & 1 == 1
    }

    pub fn bytes(&self) -> u64 {
        (self.words.len() * size_of::<u64>()) as u64
    }
}

/// For each index, which of its traces others have, too. Ids are compared in 256 portions, by their first byte.
pub fn shared(ctx: &Context, indexes: &[&Index]) -> Result<Vec<Flags>, QueryError> {
    let firsts: Vec<u8> = (0..=u8::MAX).collect();
    let found = fold(ctx, &firsts, Vec::new, |found: &mut Vec<(usize, usize)>, first| {
        let mut ids: Vec<(TraceId, usize, usize)> = Vec::new();
        for (source, index) in indexes.iter().enumerate() {
            ids.extend(index.with_first_byte(*first).map(|at| (index.id(at), source, at)));
        }
        ids.sort_unstable();
        for same in ids.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            found.extend(same.iter().map(|(_, source, at)| (*source, *at)));
        }
        Ok(())
    })?;
    let mut flags: Vec<Flags> = indexes.iter().map(|i| Flags::new(i.len())).collect();
    found.into_iter().flatten().for_each(|(source, at)| flags[source].set(at));
    Ok(flags)
}
