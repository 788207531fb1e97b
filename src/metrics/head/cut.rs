//! A head as blocks: one a UTC day, at most 32, and one for all that is older (decisions 21).

use super::buffer::{Buffers, SeriesBuffer};
use super::registry::Registry;
use super::tables;
use crate::metrics::METRIC_NAME;
use crate::metrics::rows::HistogramSample;
use crate::model::time::{DAY, MILLI};
use crate::storage::BlockDraft;
use arrow_schema::ArrowError;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::ops::Range;

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
    let (order, days) = {
        let buffers = buffers.read();
        let mut order: Vec<(u32, String, crate::model::Labels)> = Vec::new();
        let mut days = BTreeSet::new();
        for reference in buffers.references() {
            let Some(series) = buffers.get(reference) else { continue };
            order.push((reference, series.labels.value(METRIC_NAME).to_owned(), series.labels.clone()));
            let times = series.ts.iter().copied().chain(series.histograms.iter().map(|h| h.ts));
            days.extend(times.chain(series.exemplars.iter().map(|e| e.ts)).map(|ts| ts.div_euclid(DAY_MS)));
        }
        order.sort_by(|a, b| (&a.1, &a.2).cmp(&(&b.1, &b.2)));
        (order.into_iter().map(|o| o.0).collect::<Vec<_>>(), days)
    };
    Box::new(spans(&days).into_iter().filter_map(move |span| {
        let buffers = buffers.read();
        let parts = order.iter().filter_map(|r| {
            let mut part = part(buffers.get(*r)?, span)?;
            if part.metadata.is_none() {
                part.metadata = registry.described(part.labels.value(METRIC_NAME));
            }
            Some(part)
        });
        tables::draft(parts.collect(), span.to - 1, span.mixed).transpose()
    }))
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

/// The samples of one series within `span`, sorted, of equal times only the first accepted.
fn part(series: &SeriesBuffer, span: Span) -> Option<SeriesBuffer> {
    let mut part = series.until(u32::MAX)?;
    let inside = |ts: i64| (span.from..span.to).contains(&ts.div_euclid(DAY_MS));
    part.sort();
    let floats: Range<usize> =
        part.ts.partition_point(|t| t.div_euclid(DAY_MS) < span.from)..part.ts.partition_point(|t| t.div_euclid(DAY_MS) < span.to);
    part.ts = part.ts[floats.clone()].to_vec();
    part.values = part.values[floats.clone()].to_vec();
    if !part.starts.is_empty() {
        part.starts = part.starts[floats].to_vec();
    }
    part.histograms.retain(|h| inside(h.ts));
    part.exemplars.retain(|e| inside(e.ts));
    let empty = part.ts.is_empty() && part.histograms.is_empty() && part.exemplars.is_empty();
    (!empty).then_some(part)
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
