//! A head as blocks: one a UTC day, at most 32, and one for all that is older (decisions 21).

use super::buffer::{Buffers, SeriesBuffer};
use super::registry::Registry;
use super::tables::{self, LabelCounts, Writing};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::Interval;
use crate::metrics::rows::HistogramSample;
use crate::model::Labels;
use crate::model::time::{DAY, MILLI};
use crate::storage::{BlockDraft, Portion};
use arrow_schema::ArrowError;
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

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

/// Series and floats that become rows at a time: in a head a float takes a tenth of what it takes as a row.
const STEP_SERIES: usize = 4 << 10;
const STEP_FLOATS: usize = 64 << 10;

type Named = (u32, (i64, Labels));

pub(super) fn cut(
    registry: &Arc<Registry>,
    buffers: &Arc<RwLock<Buffers>>,
) -> impl Iterator<Item = Result<BlockDraft, ArrowError>> + use<> {
    let (references, days): (Vec<u32>, BTreeSet<i64>) = {
        let buffers = buffers.read();
        let days = buffers.iter().flat_map(|s| s.times().map(|ts| ts.div_euclid(DAY_MS)));
        (buffers.iter().map(|s| s.reference).collect(), days.collect())
    };
    // A series that a head holds is not forgotten.
    let named = registry.named(&references);
    let mut order: Vec<Named> = references.into_iter().zip(named).filter_map(|(r, n)| Some((r, n?))).collect();
    sort(&mut order);
    let (registry, buffers, order) = (registry.clone(), buffers.clone(), Arc::new(order));
    spans(&days).into_iter().filter_map(move |span| Steps::new(&registry, &buffers, &order, span).draft().transpose())
}

/// By metric name, then by labels. Names are looked up once a series, and compared once a name: a head may have a million
/// series.
fn sort(order: &mut Vec<Named>) {
    let names: BTreeSet<&str> = order.iter().map(|(_, (_, labels))| labels.value(METRIC_NAME)).collect();
    let places: HashMap<&str, usize> = names.into_iter().enumerate().map(|(place, name)| (name, place)).collect();
    let place = |named: &Named| places.get(named.1.1.value(METRIC_NAME)).copied().unwrap_or(0);
    let places: Vec<usize> = order.iter().map(place).collect();
    let mut placed: Vec<(usize, Named)> = places.into_iter().zip(std::mem::take(order)).collect();
    placed.sort_by(|(a, (_, (_, left))), (b, (_, (_, right)))| a.cmp(b).then_with(|| left.cmp(right)));
    *order = placed.into_iter().map(|(_, named)| named).collect();
}

/// The rows of a block, a few series at a time.
struct Steps {
    registry: Arc<Registry>,
    buffers: Arc<RwLock<Buffers>>,
    order: Arc<Vec<Named>>,
    /// The series that comes next.
    next: usize,
    span: Span,
    writing: Writing,
}

impl Steps {
    fn new(registry: &Arc<Registry>, buffers: &Arc<RwLock<Buffers>>, order: &Arc<Vec<Named>>, span: Span) -> Steps {
        let (mut labels, mut with_start) = (LabelCounts::default(), false);
        {
            let buffers = buffers.read();
            for (stored, own) in order.iter().filter_map(|(reference, (_, own))| Some((buffers.get(*reference)?, own))) {
                if stored.has_any(u32::MAX, span.interval()) {
                    labels.add(own);
                    with_start |= stored.has_start();
                }
            }
        }
        let writing = Writing { with_start, dense: labels.dense(), rows: (0, 0) };
        Steps { registry: registry.clone(), buffers: buffers.clone(), order: order.clone(), next: 0, span, writing }
    }

    /// `None` if there is nothing to write.
    fn draft(mut self) -> Result<Option<BlockDraft>, ArrowError> {
        let (day, mixed) = (self.span.to - 1, self.span.mixed);
        let Some(first) = self.next().transpose()? else { return Ok(None) };
        let Portion { min_time, max_time, items, tables } = first;
        Ok(Some(BlockDraft { day, mixed, min_time, max_time, items, tables, more: Some(Box::new(self)) }))
    }

    /// The next series that have anything; none at the end.
    fn parts(&mut self) -> Vec<SeriesBuffer> {
        let buffers = self.buffers.read();
        let (mut parts, mut weight) = (Vec::new(), 0);
        while parts.len() < STEP_SERIES
            && weight < STEP_FLOATS
            && let Some((reference, (id, labels))) = self.order.get(self.next)
        {
            self.next += 1;
            let Some(stored) = buffers.get(*reference) else { continue };
            let Some(mut part) = stored.until(u32::MAX, self.span.interval(), (*id, labels.clone())) else { continue };
            weight += stored.weight();
            part.sort();
            if part.metadata.is_none() {
                part.metadata = self.registry.described(part.labels.value(METRIC_NAME));
            }
            parts.push(part);
        }
        parts
    }
}

impl Iterator for Steps {
    type Item = Result<Portion, ArrowError>;

    fn next(&mut self) -> Option<Result<Portion, ArrowError>> {
        let parts = self.parts();
        (!parts.is_empty()).then(|| tables::portion(&parts, &mut self.writing))
    }
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
