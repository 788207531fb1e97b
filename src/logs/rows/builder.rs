use super::lines::{Lines, NameIndex};
use super::{Group, LogRows, METADATA_MAX_BYTES, METADATA_MAX_PAIRS, ROWS_MAX_BYTES};
use crate::logs::level::{self, DETECTED_LEVEL};
use crate::logs::names;
use crate::model::AttributeValue;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Puts the rows of one request together, entry by entry: first the pairs of an entry, then its line.
#[derive(Default)]
pub struct RowsBuilder {
    rows: LogRows,
    detects_levels: bool,
    index: NameIndex,
    names: Vec<NameFacts>,
    names_bytes: usize,
    detected: Option<u32>,
    /// The group of the entries that come, its number, and where its pairs are.
    group: Option<Arc<Group>>,
    group_number: u32,
    shared: Option<u32>,
    /// The number of the entry at hand, and its pairs, whose values are in `values`.
    entry: u32,
    pairs: Vec<(u32, Range<usize>)>,
    values: String,
    set_bytes: usize,
}

/// Of a name.
struct NameFacts {
    bytes: usize,
    /// See [`level::rank`].
    rank: Option<u8>,
    /// The last entry that has it, and at which position.
    last: Option<(u32, usize)>,
    /// The last group that was asked about it, and whether its shared pairs have it.
    shared: Option<(u32, bool)>,
}

/// An entry has no room.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRoom;

impl RowsBuilder {
    /// For about so many bytes of lines and values. Every entry gets its `detected_level`.
    pub fn new(bytes: usize) -> RowsBuilder {
        let rows = LogRows { lines: Lines::with_capacity(0, bytes), ..LogRows::default() };
        RowsBuilder { rows, detects_levels: true, ..RowsBuilder::default() }
    }

    /// The entries that come are of this group.
    pub fn begin(&mut self, group: &Arc<Group>) {
        self.group = Some(group.clone());
        self.group_number += 1;
        self.shared = None;
    }

    /// The number of a name, for [`RowsBuilder::set`].
    pub fn name(&mut self, name: &str) -> u32 {
        if let Some(known) = self.index.get(name) {
            return known;
        }
        self.names.push(NameFacts { bytes: name.len(), rank: level::rank(name), last: None, shared: None });
        self.names_bytes += name.len();
        self.index.add(&mut self.rows.lines, name.into())
    }

    /// Sets a pair of the entry at hand; of two with the same name the later one stays. Beyond the bounds of an entry's metadata
    /// nothing more is taken.
    pub fn set(&mut self, name: u32, value: &str) {
        if self.has_too_many() {
            return;
        }
        let from = self.values.len();
        self.values.push_str(value);
        let range = from..self.values.len();
        let facts = &mut self.names[name as usize];
        self.set_bytes += facts.bytes + value.len();
        match facts.last.filter(|(entry, _)| *entry == self.entry) {
            Some((_, at)) => self.pairs[at].1 = range,
            None => {
                facts.last = Some((self.entry, self.pairs.len()));
                self.pairs.push((name, range));
            }
        }
    }

    /// Whether what was set for the entry at hand is beyond the bounds.
    pub fn has_too_many(&self) -> bool {
        self.pairs.len() > METADATA_MAX_PAIRS || self.set_bytes > METADATA_MAX_BYTES
    }

    /// Drops what was set for the entry at hand.
    pub fn discard(&mut self) {
        self.pairs.clear();
        self.values.clear();
        self.set_bytes = 0;
        self.entry += 1;
    }

    /// Ends the entry at hand. Nothing is stored of one with too much metadata, or before the first group.
    pub fn entry(&mut self, index: u32, ts: i64, line: &str) -> Result<(), NoRoom> {
        let stored = self.store(index, ts, line);
        self.discard();
        stored
    }

    fn store(&mut self, index: u32, ts: i64, line: &str) -> Result<(), NoRoom> {
        let Some(group) = self.group.clone() else { return Err(NoRoom) };
        let is_too_large = group.is_too_large || self.has_too_many() || self.set_bytes + group.shared_bytes > METADATA_MAX_BYTES;
        let taken = self.rows.lines.text_bytes() + self.names_bytes + 32 * self.rows.indexes.len();
        if is_too_large || taken + self.values.len() + line.len() > ROWS_MAX_BYTES {
            return Err(NoRoom);
        }
        let (names, number) = (&mut self.names, self.group_number);
        self.pairs.retain(|(name, _)| {
            let facts = &mut names[*name as usize];
            let known = facts.shared.filter(|(of, _)| *of == number).map(|(_, is_shared)| is_shared);
            let is_shared = known.unwrap_or_else(|| group.shared.iter().any(|(n, _)| **n == *self.rows.lines.names()[*name as usize]));
            facts.shared = Some((number, is_shared));
            !is_shared
        });
        if self.pairs.len() + group.shared.len() > METADATA_MAX_PAIRS {
            return Err(NoRoom);
        }
        let detected = (self.detects_levels && !group.level.is_given).then(|| self.name_of_level());
        if self.shared.is_none() {
            self.shared = self.rows.lines.add_shared(&group.shared);
        }
        let (pairs, values) = (&self.pairs, &self.values);
        let level = detected.map(|detected| match pairs.iter().find(|(name, _)| *name == detected) {
            Some((_, value)) => level::known(&values[value.clone()]).unwrap_or(&values[value.clone()]),
            None => level_of(&group, pairs.iter().map(|(name, value)| (&self.names[*name as usize], &values[value.clone()])), line),
        });
        let mut row = self.rows.lines.begin(ts, line, self.shared);
        for (name, value) in pairs.iter().filter(|(name, _)| Some(*name) != detected) {
            row.pair(*name, &values[value.clone()]);
        }
        if let (Some(detected), Some(level)) = (detected, level) {
            row.pair(detected, level);
        }
        row.finish();
        self.rows.push_row((&group.labels, group.id), index);
        Ok(())
    }

    fn name_of_level(&mut self) -> u32 {
        if let Some(known) = self.detected {
            return known;
        }
        let name = self.name(DETECTED_LEVEL);
        self.detected = Some(name);
        name
    }

    pub fn finish(mut self) -> LogRows {
        self.rows.lines.shrink();
        self.rows.indexes.shrink_to_fit();
        self.rows
    }
}

/// Labels first, then metadata, then the line (contracts/loki.md 2.4).
fn level_of<'a>(group: &'a Group, pairs: impl Iterator<Item = (&'a NameFacts, &'a str)>, line: &str) -> &'a str {
    if let Some(level) = &group.level.of_labels {
        return level;
    }
    let own = pairs.filter_map(|(facts, value)| Some((facts.rank?, value)));
    let shared = group.level.of_pairs.iter().map(|(rank, value)| (*rank, &**value));
    match own.chain(shared).min_by_key(|(rank, _)| *rank) {
        Some((rank, value)) => level::of_pair(rank, value),
        None => level::of_line(line),
    }
}

/// Names as senders write them, and their numbers in a [`RowsBuilder`]: entries mostly have the same ones in the same order.
#[derive(Default)]
pub struct Keys<'a> {
    order: Vec<(&'a str, Option<u32>)>,
    places: HashMap<&'a str, usize>,
    next: usize,
}

impl<'a> Keys<'a> {
    /// The next entry begins.
    pub fn rewind(&mut self) {
        self.next = 0;
    }

    /// `None` for a name of which nothing remains.
    pub fn number(&mut self, key: &'a str, rows: &mut RowsBuilder) -> Option<u32> {
        let at = match self.order.get(self.next) {
            Some((expected, _)) if *expected == key => self.next,
            _ => *self.places.entry(key).or_insert_with(|| {
                let number = names::normalise(key).map(|name| rows.name(&name));
                self.order.push((key, number));
                self.order.len() - 1
            }),
        };
        self.next = at + 1;
        self.order[at].1
    }
}

/// A map becomes a pair for each of its leaves, with the keys joined by `_`; everything else one pair. Recursion is bounded
/// by the depth of messages.
pub fn flatten(key: &str, value: &AttributeValue, set: &mut dyn FnMut(&str, &AttributeValue) -> bool) -> bool {
    match value {
        AttributeValue::Map(members) => members.iter().all(|member| flatten(&format!("{key}_{}", member.key), &member.value, set)),
        value => set(key, value),
    }
}
