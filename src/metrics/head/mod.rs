//! Samples that are not in a block yet. What admission must know of a series (its newest sample) outlives a head and is
//! kept in the [`Registry`].

mod admission;
mod buffer;
mod cut;
mod delta;
mod registry;
pub(in crate::metrics) mod tables;

use super::rows::{MetricRows, RowSeries};
use super::spec::Config;
use crate::model::Matcher;
use crate::runtime::Clock;
use crate::storage::block::Block;
use crate::storage::{BlockDraft, Head, HeadStats, Refusals};
use buffer::Buffers;
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
        cut::cut(&self.registry, &self.buffers)
    }
}

impl Drop for MetricsHead {
    /// A head that is gone has been cut, or the process ends.
    fn drop(&mut self) {
        self.registry.leave(self.buffers.read().references());
    }
}

/// A head at one instant. It shares the buffers, which only grow, and sees no batch after its own last one.
pub struct HeadSnapshot {
    registry: Arc<Registry>,
    buffers: Arc<RwLock<Buffers>>,
    /// Number of batches that had been applied.
    batches: u32,
}

impl HeadSnapshot {
    /// Calls `visit` with each series that satisfies all matchers, in no order, cut down to what this instant sees.
    /// Appends wait while one group of series is read, never for all of them.
    pub fn select<E>(&self, matchers: &[Matcher], mut visit: impl FnMut(SeriesBuffer) -> Result<(), E>) -> Result<(), E> {
        const GROUP: usize = 256;
        let references = self.registry.select(matchers);
        for group in references.chunks(GROUP) {
            let seen: Vec<SeriesBuffer> = {
                let buffers = self.buffers.read();
                group.iter().filter_map(|r| buffers.get(*r)?.until(self.batches)).collect()
            };
            seen.into_iter().try_for_each(&mut visit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
