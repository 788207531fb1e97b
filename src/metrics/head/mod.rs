//! Samples that are not in a block yet. What admission must know of a series (its newest sample) outlives a head and is
//! kept in the [`Registry`].

mod admission;
mod buffer;
mod chunked;
mod cut;
mod delta;
mod floats;
mod ids;
mod index;
mod registry;
pub(in crate::metrics) mod tables;

use super::promql::Interval;
use super::rows::{Exemplar, Metadata, MetricRows, RowSeries};
use super::spec::Config;
use crate::model::{Labels, Matcher};
use crate::runtime::Clock;
use crate::storage::block::Block;
use crate::storage::{BlockDraft, Head, HeadStats, Refusals};
use buffer::{Buffers, Stored};
use parking_lot::RwLock;
use std::sync::Arc;

pub use buffer::SeriesBuffer;
pub use registry::{Newest, Registry};

/// One generation of one tenant.
pub struct MetricsHead {
    registry: Arc<Registry>,
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    buffers: Arc<RwLock<Buffers>>,
}

impl MetricsHead {
    pub fn new(registry: Arc<Registry>, config: Arc<Config>, clock: Arc<dyn Clock>) -> MetricsHead {
        MetricsHead { registry, config, clock, buffers: Arc::default() }
    }
}

impl Head for MetricsHead {
    type Rows = MetricRows;
    type Snapshot = HeadSnapshot;

    fn prepare(&self, rows: &MetricRows, blocks: &[Arc<Block>]) {
        self.registry.learn_newest(&rows.series, blocks, self.clock.now());
    }

    fn admit(&self, rows: &mut MetricRows, refusals: &mut Refusals) {
        admission::admit(&self.registry, &self.config, self.clock.now(), rows, refusals);
    }

    fn replayed(&self, rows: &mut MetricRows, blocks: &[Arc<Block>]) {
        if rows.samples.iter().any(|s| s.delta) {
            let now = self.clock.now();
            let mut has_delta = vec![false; rows.series.len()];
            rows.samples.iter().filter(|s| s.delta).for_each(|s| has_delta[s.series as usize] = true);
            let summed: Vec<RowSeries> = rows.series.iter().zip(has_delta).filter(|(_, delta)| *delta).map(|(s, _)| s.clone()).collect();
            self.registry.learn_newest(&summed, blocks, now);
            admission::replay_sums(&self.registry, now, rows);
        }
    }

    fn apply(&self, rows: MetricRows) {
        let references = self.registry.enter(&rows, self.clock.now());
        let new = self.buffers.write().append(&references, rows);
        self.registry.hold(&new);
    }

    fn snapshot(&self) -> HeadSnapshot {
        let buffers = self.buffers.clone();
        let batches = buffers.read().batches();
        HeadSnapshot { registry: self.registry.clone(), buffers, batches }
    }

    fn stats(&self) -> HeadStats {
        self.buffers.read().stats()
    }

    fn cut(&self) -> Box<dyn Iterator<Item = Result<BlockDraft, arrow_schema::ArrowError>> + '_> {
        Box::new(cut::cut(&self.registry, &self.buffers))
    }
}

impl Drop for MetricsHead {
    /// A head that is gone has been cut, or the process ends.
    fn drop(&mut self) {
        self.registry.leave(self.buffers.read().iter().map(|s| s.reference));
    }
}

/// A head at one instant. Cheap to clone. It shares the buffers, which only grow, and sees no batch after its own last one.
#[derive(Clone)]
pub struct HeadSnapshot {
    registry: Arc<Registry>,
    buffers: Arc<RwLock<Buffers>>,
    /// Number of batches that had been applied.
    batches: u32,
}

/// Series that are read while appends wait.
const GROUP: usize = 256;

impl HeadSnapshot {
    /// Calls `visit` with each series that satisfies all matchers and has anything in the interval, in no order, cut down to
    /// what this instant sees of the interval.
    pub fn select<E>(
        &self,
        matchers: &[Matcher],
        interval: Interval,
        mut visit: impl FnMut(SeriesBuffer) -> Result<(), E>,
    ) -> Result<(), E> {
        self.groups(matchers, |group| {
            let present = self.those(group, |stored| stored.has_any(self.batches, interval).then_some(stored.reference));
            let named = self.registry.named(&present);
            let copies = present.iter().zip(named).map(|(reference, named)| Some((*reference, named?)));
            let copies: Vec<SeriesBuffer> = {
                let buffers = self.buffers.read();
                let copy = |(reference, named)| buffers.get(reference)?.until(self.batches, interval, named);
                copies.flatten().filter_map(copy).collect()
            };
            copies.into_iter().try_for_each(&mut visit)
        })
    }

    /// Calls `visit` with the labels of each series that satisfies all matchers and has a sample in the interval, with when
    /// it was created and its metadata.
    pub fn series<E>(
        &self,
        matchers: &[Matcher],
        interval: Interval,
        mut visit: impl FnMut(&Labels, i64, Option<&Arc<Metadata>>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.groups(matchers, |group| {
            let facts = |s: &Stored| s.has_any(self.batches, interval).then(|| (s.reference, (s.created, s.metadata.clone())));
            let (present, facts): (Vec<u32>, Vec<_>) = self.those(group, facts).into_iter().unzip();
            let named = self.registry.named(&present).into_iter().zip(facts);
            named.filter_map(|(n, f)| Some((n?.1, f))).try_for_each(|(labels, (created, m))| visit(&labels, created, m.as_ref()))
        })
    }

    /// Times of the oldest and the newest of all samples and exemplars, milliseconds.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let mut bounds: Option<(i64, i64)> = None;
        let _ = self.groups::<std::convert::Infallible>(&[], |group| {
            let times = |s: &Stored| {
                s.times().fold(None, |all: Option<(i64, i64)>, ts| Some(all.map_or((ts, ts), |(a, b)| (a.min(ts), b.max(ts)))))
            };
            for (low, high) in self.those(group, times) {
                bounds = Some(bounds.map_or((low, high), |(a, b)| (a.min(low), b.max(high))));
            }
            Ok(())
        });
        bounds
    }

    /// Calls `visit` with the exemplars of each series that satisfies all matchers, in order of acceptance.
    pub fn exemplars<E>(&self, matchers: &[Matcher], mut visit: impl FnMut(Labels, Vec<Exemplar>) -> Result<(), E>) -> Result<(), E> {
        self.groups(matchers, |group| {
            let exemplars = |s: &Stored| {
                let all = s.exemplars(self.batches);
                (!all.is_empty()).then(|| (s.reference, all.to_vec()))
            };
            let (present, exemplars): (Vec<u32>, Vec<_>) = self.those(group, exemplars).into_iter().unzip();
            let named = self.registry.named(&present).into_iter().zip(exemplars);
            named.filter_map(|(n, e)| Some((n?.1, e))).try_for_each(|(labels, exemplars)| visit(labels, exemplars))
        })
    }

    fn groups<E>(&self, matchers: &[Matcher], step: impl FnMut(&[u32]) -> Result<(), E>) -> Result<(), E> {
        self.registry.select(matchers).chunks(GROUP).try_for_each(step)
    }

    /// Appends wait meanwhile.
    fn those<T>(&self, group: &[u32], take: impl Fn(&Stored) -> Option<T>) -> Vec<T> {
        let buffers = self.buffers.read();
        group.iter().filter_map(|r| take(buffers.get(*r)?)).collect()
    }
}

#[cfg(test)]
mod tests;
