//! Series of a View: those of blocks and heads, joined by label set, with the earlier accepted of equal samples.

pub(super) mod block;
mod cache;
mod erase;
pub(super) mod exemplars;
pub(super) mod series;

use super::METRIC_NAME;
use super::head::SeriesBuffer;
use super::promql::{Interval, SeriesData, Storage};
use super::rows::Metadata;
use super::spec::MetricsSpec;
use crate::model::time::MILLI;
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::{Context, QueryError};
use crate::storage::View;
use crate::storage::block::{Block, ReadError};
use std::collections::{BTreeMap, HashMap};
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

/// Samples that a series is taken to have in a head, which does not tell.
const HEAD_SAMPLES: u64 = 256;

/// What blocks tell of the samples of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// About.
    pub samples: u64,
    /// Milliseconds since the epoch, both inclusive; empty if only heads have any.
    pub times: Interval,
}

impl Default for Extent {
    fn default() -> Extent {
        Extent { samples: 0, times: Interval { from: i64::MAX, to: i64::MIN } }
    }
}

impl Extent {
    fn add(&mut self, row: &series::SeriesRow) {
        self.samples += row.rows.end - row.rows.start + HISTOGRAM_SAMPLES * (row.hist_rows.end - row.hist_rows.start);
        self.times = Interval { from: self.times.from.min(row.min_ts), to: self.times.to.max(row.max_ts) };
    }
}

/// Samples whose memory a native histogram takes.
const HISTOGRAM_SAMPLES: u64 = 32;

/// Reads one View on behalf of one query.
pub struct Querier {
    view: Arc<View<MetricsSpec>>,
    context: Context,
    cache: Arc<SampleCache>,
}

impl Querier {
    pub fn new(view: impl Into<Arc<View<MetricsSpec>>>, context: Context, cache: Arc<SampleCache>) -> Querier {
        Querier { view: view.into(), context, cache }
    }

    /// The same View for a part of the query: what it reserves is given back when the part is gone.
    pub fn part(&self) -> Querier {
        Querier { view: self.view.clone(), context: self.context.part(), cache: self.cache.clone() }
    }

    /// The names of the metrics that have series which satisfy the matchers and may have samples in the interval, each with
    /// what is known of its samples.
    pub fn extents(&self, matchers: &[Matcher], interval: Interval) -> Result<BTreeMap<String, Extent>, QueryError> {
        let mut extents: BTreeMap<String, Extent> = BTreeMap::new();
        for block in self.view.blocks_in(nanos(interval)) {
            self.context.check()?;
            let table = SeriesTable::of(block)?;
            let rows = table.select(matchers).filter(|r| interval.overlaps(r.min_ts, r.max_ts));
            let rows: Vec<&series::SeriesRow> = rows.collect();
            for rows in rows.chunk_by(|a, b| a.labels.value(METRIC_NAME) == b.labels.value(METRIC_NAME)) {
                let extent = extents.entry(rows[0].labels.value(METRIC_NAME).to_owned()).or_default();
                rows.iter().for_each(|row| extent.add(row));
            }
        }
        for head in &self.view.heads {
            self.context.check()?;
            head.series::<QueryError>(matchers, interval, |labels, _, _| {
                let name = labels.value(METRIC_NAME);
                match extents.get_mut(name) {
                    Some(extent) => extent.samples += HEAD_SAMPLES,
                    None => extents.entry(name.to_owned()).or_default().samples += HEAD_SAMPLES,
                }
                Ok(())
            })?;
        }
        Ok(extents)
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

    /// Times of the oldest and the newest sample, milliseconds.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let blocks = self.view.blocks.iter().map(|b| (b.meta().min_time.div_euclid(MILLI), b.meta().max_time.div_euclid(MILLI)));
        let heads = self.view.heads.iter().filter_map(|head| head.bounds());
        blocks.chain(heads).reduce(|(a, b), (low, high)| (a.min(low), b.max(high)))
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
            head.series::<QueryError>(matchers, interval, |labels, created, metadata| {
                visit(&SeriesFacts { labels, created, metadata });
                Ok(())
            })?;
        }
        Ok(())
    }
}

impl Storage for Querier {
    fn select(&self, matchers: &[Matcher], interval: Interval) -> Result<Vec<SeriesData>, QueryError> {
        let mut joined = Joined::default();
        for block in self.view.blocks_in(nanos(interval)) {
            let erasers = self.erasers(block);
            joined.add(block::read_samples(block, &erasers, (matchers, interval), &self.context, &self.cache)?);
        }
        for head in &self.view.heads {
            self.context.check()?;
            let mut found = Vec::new();
            head.select(matchers, interval, |mut series| {
                self.context.check()?;
                series.sort();
                let data = SeriesData::from(series);
                self.context.reserve(data.bytes())?;
                found.push(data);
                Ok::<_, QueryError>(())
            })?;
            joined.add(found);
        }
        let mut all = joined.all;
        all.retain(|s| !s.is_empty());
        all.sort_by(|a, b| (a.created, &a.labels).cmp(&(b.created, &b.labels)));
        Ok(all)
    }

    fn context(&self) -> &Context {
        &self.context
    }
}

impl From<SeriesBuffer> for SeriesData {
    /// Of a sorted buffer.
    fn from(series: SeriesBuffer) -> SeriesData {
        let SeriesBuffer { labels, created, ts, values, starts, histograms, .. } = series;
        SeriesData { labels, created, ts: ts.into(), values: values.into(), starts: starts.into(), histograms }
    }
}

/// Series of several sources, each label set once.
#[derive(Default)]
struct Joined {
    all: Vec<SeriesData>,
    /// Positions; empty until a second source comes.
    by_labels: HashMap<Labels, usize>,
}

impl Joined {
    /// Adds a source, whose label sets differ and whose samples were accepted after those of the sources before.
    fn add(&mut self, source: Vec<SeriesData>) {
        if self.all.is_empty() || source.is_empty() {
            self.all.extend(source);
            return;
        }
        if self.by_labels.is_empty() {
            self.by_labels = self.all.iter().enumerate().map(|(at, s)| (s.labels.clone(), at)).collect();
        }
        for data in source {
            match self.by_labels.get(&data.labels) {
                Some(at) => self.all[*at].append_later(data),
                None => {
                    self.by_labels.insert(data.labels.clone(), self.all.len());
                    self.all.push(data);
                }
            }
        }
    }
}
