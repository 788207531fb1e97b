//! A head as blocks: one a UTC day, at most 32, and one for all that is older (decisions 21).

use super::buffer::{Buffers, SeriesBuffer};
use super::registry::Registry;
use super::tables;
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::Interval;
use crate::metrics::rows::HistogramSample;
use crate::model::Labels;
use crate::model::time::{DAY, MILLI};
use crate::storage::BlockDraft;
use arrow_schema::ArrowError;
use parking_lot::RwLock;
use std::collections::BTreeSet;

/// Blocks a cut makes for days of their own.
const DAY_BLOCKS_MAX: usize = 32;
const DAY_MS: i64 = DAY / MILLI;

/// Days `[from, to)` since the epoch that go into one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    to: i64,
    mixed: bool,
}

pub(super) fn cut<'a>(
    registry: &'a Registry,
    buffers: &'a RwLock<Buffers>,
) -> Box<dyn Iterator<Item = Result<BlockDraft, ArrowError>> + 'a> {
    let (references, days): (Vec<u32>, BTreeSet<i64>) = {
        let buffers = buffers.read();
        let days = buffers.iter().flat_map(|s| s.times().map(|ts| ts.div_euclid(DAY_MS)));
        (buffers.iter().map(|s| s.reference).collect(), days.collect())
    };
    // A series that a head holds is not forgotten.
    let named = registry.named(&references);
    let mut order: Vec<(u32, (i64, Labels))> = references.into_iter().zip(named).filter_map(|(r, n)| Some((r, n?))).collect();
    order.sort_by(|(_, (_, a)), (_, (_, b))| (a.value(METRIC_NAME), a).cmp(&(b.value(METRIC_NAME), b)));
    Box::new(spans(&days).into_iter().filter_map(move |span| {
        let buffers = buffers.read();
        let parts = order.iter().filter_map(|(reference, (id, labels))| {
            let mut part = buffers.get(*reference)?.until(u32::MAX, span.interval(), (*id, labels.clone()))?;
            part.sort();
            if part.metadata.is_none() {
                part.metadata = registry.described(part.labels.value(METRIC_NAME));
            }
            Some(part)
        });
        tables::draft(parts.collect(), span.to - 1, span.mixed).transpose()
    }))
}

impl Span {
    fn interval(self) -> Interval {
        Interval { from: self.from.saturating_mul(DAY_MS), to: (self.to - 1).saturating_mul(DAY_MS).saturating_add(DAY_MS - 1) }
    }
}

/// Newest days first get a block each; what is left shares one.
fn spans(days: &BTreeSet<i64>) -> Vec<Span> {
    let mut spans: Vec<Span> = days.iter().rev().take(DAY_BLOCKS_MAX).map(|d| Span { from: *d, to: d + 1, mixed: false }).collect();
    if let Some(newest) = days.iter().rev().nth(DAY_BLOCKS_MAX) {
        spans.push(Span { from: i64::MIN, to: newest + 1, mixed: true });
    }
    spans.reverse();
    spans
}

impl SeriesBuffer {
    /// By time; of samples with equal times the first accepted stays (decisions 16).
    pub fn sort(&mut self) {
        if !self.ts.windows(2).all(|w| w[0] < w[1]) {
            let mut order: Vec<usize> = (0..self.ts.len()).collect();
            order.sort_by_key(|i| self.ts[*i]);
            order.dedup_by_key(|i| self.ts[*i]);
            self.values = order.iter().map(|i| self.values[*i]).collect();
            if !self.starts.is_empty() {
                self.starts = order.iter().map(|i| self.starts[*i]).collect();
            }
            self.ts = order.iter().map(|i| self.ts[*i]).collect();
        }
        let time = |h: &HistogramSample| h.ts;
        if !self.histograms.windows(2).all(|w| time(&w[0]) < time(&w[1])) {
            self.histograms.sort_by_key(time);
            self.histograms.dedup_by_key(|h| h.ts);
        }
        self.exemplars.sort_by_key(|e| e.ts);
        self.exemplars.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_32_days_get_blocks_of_their_own() {
        let days: BTreeSet<i64> = (0..40).collect();
        let spans = spans(&days);
        assert_eq!(spans.len(), 33);
        assert_eq!(spans[0], Span { from: i64::MIN, to: 8, mixed: true });
        assert_eq!(spans[32], Span { from: 39, to: 40, mixed: false });
    }
}
