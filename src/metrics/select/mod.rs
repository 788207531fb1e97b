//! Series of a View: those of blocks and heads, joined by label set, with the earlier accepted of equal samples.

pub(super) mod block;
mod cache;
mod erase;
pub(super) mod exemplars;
pub(super) mod series;

use super::head::SeriesBuffer;
use super::promql::{Interval, Run, SeriesData, Storage};
use super::rows::{HistogramSample, Metadata};
use super::spec::MetricsSpec;
use crate::model::time::MILLI;
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::{Context, QueryError};
use crate::storage::View;
use crate::storage::block::{Block, ReadError};
use std::collections::HashMap;
use std::sync::Arc;

pub use block::block_newest;
pub use cache::SampleCache;
pub use erase::{Eraser, Hidden, may_erase};
use series::SeriesTable;

impl From<ReadError> for QueryError {
    fn from(error: ReadError) -> QueryError {
        QueryError::Storage(error.to_string())
    }
}

fn nanos(interval: Interval) -> TimeRange {
    TimeRange::new(interval.from.saturating_mul(MILLI), interval.to.saturating_add(1).saturating_mul(MILLI))
}

/// What is known of a series without its samples.
pub struct SeriesFacts<'a> {
    pub labels: &'a Labels,
    /// Orders series by their creation.
    pub created: i64,
    pub metadata: Option<&'a Arc<Metadata>>,
}

/// Reads one View on behalf of one query.
pub struct Querier {
    view: View<MetricsSpec>,
    context: Context,
    cache: Arc<SampleCache>,
}

impl Querier {
    pub fn new(view: View<MetricsSpec>, context: Context, cache: Arc<SampleCache>) -> Querier {
        Querier { view, context, cache }
    }

    /// The deletes that hide samples of the block.
    fn erasers(&self, block: &Block) -> Vec<Eraser> {
        self.view.tombstones_of(block).iter().map(|t| Eraser::new(t)).collect()
    }

    /// Calls `visit` with the labels and metadata of every series that satisfies the matchers and may have samples in the
    /// interval. A series may come more than once.
    pub fn series(
        &self,
        matchers: &[Matcher],
        interval: Interval,
        mut visit: impl FnMut(&Labels, Option<&Arc<Metadata>>),
    ) -> Result<(), QueryError> {
        self.series_facts(matchers, interval, |series| visit(series.labels, series.metadata))
    }

    /// As [`Querier::series`], with all that is known of a series.
    pub fn series_facts(
        &self,
        matchers: &[Matcher],
        interval: Interval,
        mut visit: impl FnMut(&SeriesFacts<'_>),
    ) -> Result<(), QueryError> {
        for block in self.view.blocks_in(nanos(interval)) {
            self.context.check()?;
            let table = SeriesTable::of(block)?;
            let erasers = self.erasers(block);
            for row in table.select(matchers) {
                if interval.overlaps(row.min_ts, row.max_ts) && !Hidden::of(&erasers, &row.labels).hides_all(row, interval) {
                    visit(&SeriesFacts { labels: &row.labels, created: row.created, metadata: row.metadata.as_ref() });
                }
            }
        }
        for head in &self.view.heads {
            self.context.check()?;
            head.select::<QueryError>(matchers, |series| {
                let times = series.ts.iter().copied().chain(series.histograms.iter().map(|h| h.ts));
                if interval == Interval::ALL || times.into_iter().any(|ts| interval.contains(ts)) {
                    visit(&SeriesFacts { labels: &series.labels, created: series.created, metadata: series.metadata.as_ref() });
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Storage for Querier {
    fn select(&self, matchers: &[Matcher], interval: Interval) -> Result<Vec<SeriesData>, QueryError> {
        let mut joined: HashMap<Labels, SeriesData> = HashMap::new();
        for block in self.view.blocks_in(nanos(interval)) {
            let erasers = self.erasers(block);
            let asked = (matchers, interval);
            block::read_samples(block, &erasers, asked, &self.context, &self.cache, |data| add(&mut joined, data))?;
        }
        for head in &self.view.heads {
            self.context.check()?;
            head.select(matchers, |mut series| {
                series.sort();
                let data = within(series, interval);
                self.context.reserve(data.bytes())?;
                add(&mut joined, data);
                Ok::<_, QueryError>(())
            })?;
        }
        let mut all: Vec<SeriesData> = joined.into_values().filter(|s| !s.is_empty()).collect();
        all.sort_by(|a, b| (a.created, &a.labels).cmp(&(b.created, &b.labels)));
        Ok(all)
    }

    fn check(&self) -> Result<(), QueryError> {
        self.context.check()
    }

    fn reserve(&self, bytes: u64) -> Result<(), QueryError> {
        self.context.reserve(bytes)
    }
}

/// The samples of a sorted buffer that lie in the interval.
fn within(series: SeriesBuffer, interval: Interval) -> SeriesData {
    let range = series.ts.partition_point(|t| *t < interval.from)..series.ts.partition_point(|t| *t <= interval.to);
    let mut histograms: Vec<HistogramSample> = series.histograms;
    histograms.retain(|h| interval.contains(h.ts));
    let starts = if series.starts.is_empty() { Run::default() } else { series.starts[range.clone()].to_vec().into() };
    SeriesData {
        labels: series.labels,
        created: series.created,
        ts: series.ts[range.clone()].to_vec().into(),
        values: series.values[range].to_vec().into(),
        starts,
        histograms,
    }
}

fn add(joined: &mut HashMap<Labels, SeriesData>, data: SeriesData) {
    match joined.get_mut(&data.labels) {
        Some(known) => known.append_later(data),
        None => {
            joined.insert(data.labels.clone(), data);
        }
    }
}
