//! Collects one request's rows. The order of its calls numbers the items, so that replay numbers them alike.

use super::rows::{Exemplar, Metadata, MetricRows, RowExemplar, RowSeries, Sample, SeriesKey, Value};
use crate::ingest::{Plain, Room};
use crate::model::{Labels, Reason};
use crate::storage::Refusals;
use hashbrown::HashTable;
use std::ops::Range;
use std::sync::Arc;

/// A sample takes about so many bytes of a request, and seldom less. Of the memory that is set aside by it, a body of smaller ones
/// needs more, and one of larger ones leaves some unused.
const SAMPLE_BYTES: usize = 128;

/// Both are hashes already.
fn spread(key: SeriesKey) -> u64 {
    (key.id.cast_unsigned() ^ key.second).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A label set is stored once.
#[derive(Default)]
pub struct RowsBuilder<'a> {
    room: Option<&'a Room>,
    rows: MetricRows,
    /// Positions of series by their keys.
    known: HashTable<u32>,
    refusals: Refusals,
    next_item: u32,
    /// Samples that nobody sent; numbered after everything that was.
    made_up: Vec<(u32, i64, f64)>,
    /// Exemplars whose refusal is not told; numbered last.
    unsaid: Vec<RowExemplar>,
}

impl<'a> RowsBuilder<'a> {
    /// Of a body in its room. What does not fit into that is left out: such a request is refused.
    pub fn new(body: Plain<'a>) -> RowsBuilder<'a> {
        let expected = body.bytes().len() / SAMPLE_BYTES;
        let rows = MetricRows { samples: Vec::with_capacity(expected), series: Vec::with_capacity(expected), ..MetricRows::default() };
        RowsBuilder { room: body.room(), rows, known: HashTable::with_capacity(expected), ..RowsBuilder::default() }
    }

    /// Whether so many bytes more may be allocated.
    pub fn has_room_for(&self, bytes: usize) -> bool {
        self.room.is_none_or(|room| room.check_for(bytes as u64).is_ok())
    }

    /// Whether the request is refused for want of room.
    pub fn is_full(&self) -> bool {
        self.room.is_some_and(|room| room.check().is_err())
    }

    /// Numbers the next item.
    pub fn next_item(&mut self) -> u32 {
        self.next_items(1).start
    }

    pub fn next_items(&mut self, count: usize) -> Range<u32> {
        let from = self.next_item;
        self.next_item = from.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        from..self.next_item
    }

    pub fn series(&mut self, labels: Labels, metadata: Option<&Arc<Metadata>>) -> u32 {
        let key = SeriesKey::of(&labels);
        self.known_series(&labels, key, metadata)
    }

    /// As [`RowsBuilder::series`], of labels whose key is known.
    pub fn known_series(&mut self, labels: &Labels, key: SeriesKey, metadata: Option<&Arc<Metadata>>) -> u32 {
        let all = &mut self.rows.series;
        let known = self.known.find(spread(key), |at| all[*at as usize].key == key);
        if let Some(at) = known {
            let series = &mut all[*at as usize];
            if series.metadata.is_none() {
                series.metadata = metadata.cloned();
            }
            return *at;
        }
        let at = u32::try_from(all.len()).unwrap_or(u32::MAX);
        if self.is_full() {
            return at;
        }
        let all = &mut self.rows.series;
        all.push(RowSeries { key, labels: labels.clone(), reference: None, metadata: metadata.cloned() });
        self.known.insert_unique(spread(key), at, |at| spread(all[*at as usize].key));
        at
    }

    /// `ts` and `start` in milliseconds, `start` 0 if unknown.
    pub fn sample(&mut self, series: u32, item: u32, (ts, start): (i64, i64), value: Value) {
        self.push(Sample { series, item, ts, start, value, delta: false });
    }

    /// What was added to the sum of the series from `start` to `ts`, milliseconds.
    pub fn delta(&mut self, series: u32, item: u32, (ts, start): (i64, i64), value: Value) {
        self.push(Sample { series, item, ts, start, value, delta: true });
    }

    fn push(&mut self, sample: Sample) {
        if !self.is_full() {
            self.rows.samples.push(sample);
        }
    }

    /// A sample that is stored beside those that were sent, at `ts` milliseconds.
    pub fn made_up(&mut self, series: u32, ts: i64, value: f64) {
        if !self.is_full() {
            self.made_up.push((series, ts, value));
        }
    }

    /// An exemplar that is an item like any other: its sender is told when it is refused.
    pub fn told_exemplar(&mut self, series: u32, item: u32, exemplar: Exemplar) {
        if !self.is_full() {
            self.rows.exemplars.push(RowExemplar { series, item, of: None, exemplar });
        }
    }

    /// An exemplar that is dropped in silence, as is what came with the data point `of` if that is refused.
    pub fn exemplar(&mut self, series: u32, of: Option<u32>, exemplar: Exemplar) {
        if self.is_full() {
            return;
        }
        self.unsaid.push(RowExemplar { series, item: 0, of, exemplar });
    }

    /// A family that is described apart from its series.
    pub fn family(&mut self, metadata: Metadata) {
        self.rows.families.push(Arc::new(metadata));
    }

    pub fn refuse(&mut self, item: u32, reason: Reason, message: impl FnOnce() -> String) {
        self.refusals.refuse(item, reason, message);
    }

    /// Refuses several items for one cause.
    pub fn refuse_all(&mut self, items: Range<u32>, reason: Reason, message: impl FnOnce() -> String) {
        self.refusals.refuse_all(items, reason, message);
    }

    /// Leaves items out without telling the sender.
    pub fn pass_over(&mut self, items: Range<u32>, reason: Reason) {
        items.for_each(|item| self.refusals.pass_over(item, reason));
    }

    pub fn all_or_nothing(&mut self) {
        self.rows.all_or_nothing = true;
    }

    pub fn finish(mut self) -> (MetricRows, Refusals) {
        self.rows.unsaid_from = Some(self.next_item);
        for (series, ts, value) in std::mem::take(&mut self.made_up) {
            let item = self.next_item();
            self.sample(series, item, (ts, 0), Value::Float(value));
        }
        for mut exemplar in std::mem::take(&mut self.unsaid) {
            exemplar.item = self.next_item();
            self.rows.exemplars.push(exemplar);
        }
        (self.rows, self.refusals)
    }
}
