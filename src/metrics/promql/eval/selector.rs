//! Selectors and subqueries as samples: one read for the whole grid.

use super::flow::{Applied, Flow};
use super::{Cell, Evaluator, Extension, Grid, RangeVector, Reading, Result, Series};
use crate::metrics::histogram::{Histogram, ResetHint};
use crate::metrics::is_stale;
use crate::metrics::promql::ast::{Expr, Kind, Selector, Subquery};
use crate::metrics::promql::functions::extended;
use crate::metrics::promql::storage::{Interval, SeriesData};
use crate::metrics::rows::HistogramSample;
use crate::query::QueryError;
use std::sync::Arc;

impl Evaluator<'_> {
    /// First and last time that the steps of `grid` refer to, before any offset.
    fn reference(&self, selector: &Selector, grid: Grid) -> (Option<i64>, i64, i64) {
        match selector.at.map(|at| self.at_time(at)) {
            Some(at) => (Some(at), at, at),
            None => (None, grid.start, grid.last()),
        }
    }

    fn read(&self, selector: &Selector, from: i64, to: i64) -> Result<Vec<SeriesData>> {
        let statistics = self.reading.get() == Reading::Statistics;
        // The window is open to the left, but a sample at its edge tells whether the next one is a reset.
        let interval = Interval { from: if statistics { from } else { from.saturating_add(1) }, to };
        if interval.from > interval.to {
            return Ok(Vec::new());
        }
        let mut series = self.storage.select(&selector.matchers, interval).map_err(|e| match e {
            QueryError::Storage(cause) => QueryError::Storage(format!("expanding series: {cause}")),
            other => other,
        })?;
        self.count_samples(series.iter().map(SeriesData::budget_samples).sum())?;
        if statistics {
            for data in &mut series {
                tell_resets(data);
                cut_until(data, from);
            }
            series.retain(|s| !s.is_empty());
        }
        Ok(series)
    }

    fn offset_of(selector: &Selector) -> i64 {
        selector.offset.as_ref().map_or(0, |o| o.ms())
    }

    /// The newest sample of each series within the lookback of each step; of a smoothed selector the values between the
    /// samples on either side.
    pub(super) fn instant_selector<'e>(&self, expr: &Expr, selector: &Selector, grid: Grid) -> Result<Flow<'e>> {
        if selector.smoothed {
            let range = self.extended(selector, 0, grid, Extension::Smoothed { lookback: self.options.lookback })?;
            return Ok(Flow::windows(range, Applied::new(extended::value_at, expr.span.start), grid));
        }
        self.newest(selector, grid, |data, newest| match newest {
            Newest::Float(at) => Cell::Float(data.values[at]),
            Newest::Histogram(at) => Cell::Histogram(data.histograms[at].histogram.clone()),
        })
    }

    /// The same samples' times in seconds.
    pub(super) fn instant_timestamps<'e>(&self, selector: &Selector, grid: Grid) -> Result<Flow<'e>> {
        self.newest(selector, grid, |data, newest| {
            let ts = match newest {
                Newest::Float(at) => data.ts[at],
                Newest::Histogram(at) => data.histograms[at].ts,
            };
            Cell::Float(ts as f64 / 1000.0)
        })
    }

    /// The same samples' start times in seconds, 0 if unknown.
    pub(super) fn instant_starts<'e>(&self, selector: &Selector, grid: Grid) -> Result<Flow<'e>> {
        self.newest(selector, grid, |data, newest| {
            let start = match newest {
                Newest::Float(at) => data.starts.get(at).copied().unwrap_or(0),
                Newest::Histogram(at) => data.histograms[at].start,
            };
            Cell::Float(start as f64 / 1000.0)
        })
    }

    fn newest<'e>(&self, selector: &Selector, grid: Grid, pick: fn(&SeriesData, Newest) -> Cell) -> Result<Flow<'e>> {
        let (pinned, first, last) = self.reference(selector, grid);
        let (offset, lookback) = (Self::offset_of(selector), self.options.lookback);
        let series = self.read(selector, first.saturating_sub(offset).saturating_sub(lookback), last.saturating_sub(offset))?;
        Ok(Flow::latest(Latest { series, pinned, offset, lookback, pick }, grid))
    }

    /// A range selector or subquery as the samples that its windows need.
    pub fn range_vector(&self, expr: &Expr, grid: Grid) -> Result<RangeVector> {
        match &expr.bare().kind {
            Kind::Range { selector, range } => self.range_selector(selector, range.ms(), grid),
            Kind::Subquery(subquery) => self.subquery(subquery, grid),
            _ => Err(QueryError::Execution("a range vector was expected".to_owned())),
        }
    }

    fn range_selector(&self, selector: &Selector, range: i64, grid: Grid) -> Result<RangeVector> {
        let lookback = self.options.lookback;
        let extension = match (selector.anchored, selector.smoothed) {
            (true, _) => Extension::Anchored { lookback },
            (_, true) => Extension::Smoothed { lookback },
            _ => Extension::None,
        };
        self.extended(selector, range, grid, extension)
    }

    fn extended(&self, selector: &Selector, range: i64, grid: Grid, extension: Extension) -> Result<RangeVector> {
        let (before, after) = match extension {
            Extension::None => (0, 0),
            Extension::Anchored { lookback } => (lookback, 0),
            Extension::Smoothed { lookback } => (lookback, lookback),
        };
        let (at, first, last) = self.reference(selector, grid);
        let offset = Self::offset_of(selector);
        let from = first.saturating_sub(offset).saturating_sub(range).saturating_sub(before);
        let mut series = self.read(selector, from, last.saturating_sub(offset).saturating_add(after))?;
        for data in &mut series {
            remove_stale(data);
        }
        series.retain(|s| !s.is_empty());
        Ok(RangeVector { series, range, offset, at, extension, drop_name: Vec::new() })
    }

    /// Evaluates the inner expression at multiples of the step that lie in some window.
    fn subquery(&self, subquery: &Subquery, grid: Grid) -> Result<RangeVector> {
        let offset = subquery.offset.as_ref().map_or(0, |o| o.ms());
        let range = subquery.range.ms();
        let step = subquery.step.as_ref().map_or(self.options.default_step, |s| s.ms()).max(1);
        let at = subquery.at.map(|at| self.at_time(at));
        let (first, last) = at.map_or((grid.start, grid.last()), |at| (at, at));
        let after = first.saturating_sub(offset).saturating_sub(range);
        let start = after.div_euclid(step).saturating_add(1).saturating_mul(step);
        let end = last.saturating_sub(offset);
        if start > end {
            return Ok(RangeVector { series: Vec::new(), range, offset, at, extension: Extension::None, drop_name: Vec::new() });
        }
        let count = usize::try_from((end - start) / step).unwrap_or(usize::MAX).saturating_add(1);
        self.count_samples(count as u64)?;
        self.storage.context().reserve(count as u64 * 16)?;
        let inner = Grid { start, step, count };
        let context = self.storage.context();
        let before = context.used();
        let (mut series, mut drop_name, mut bytes) = (Vec::new(), Vec::new(), 0);
        self.reading(Reading::Buckets, || self.flow(&subquery.expr, inner))?.visit(self, |one| {
            context.check()?;
            drop_name.push(one.drop_name);
            let data = points_of(&one, inner);
            context.reserve(data.bytes())?;
            bytes += data.bytes();
            series.push(data);
            Ok(())
        })?;
        // What the inner expression read is gone.
        context.hold(before.saturating_add(bytes))?;
        Ok(RangeVector { series, range, offset, at, extension: Extension::None, drop_name })
    }
}

/// Series with all samples that may be the newest at some step.
pub struct Latest {
    pub series: Vec<SeriesData>,
    /// Where `@` pins every step, milliseconds since the epoch.
    pinned: Option<i64>,
    /// Milliseconds.
    offset: i64,
    lookback: i64,
    pick: fn(&SeriesData, Newest) -> Cell,
}

/// Position of a sample among those of its kind.
#[derive(Debug, Clone, Copy)]
enum Newest {
    Float(usize),
    Histogram(usize),
}

impl Latest {
    /// Gives `out` what is picked of the series `at` at each step.
    pub fn fill(&self, at: usize, grid: Grid, out: &mut Series) {
        let data = &self.series[at];
        let (mut floats, mut histograms) = (0, 0);
        for (step, now) in grid.times().enumerate() {
            let to = self.pinned.unwrap_or(now).saturating_sub(self.offset);
            let from = to.saturating_sub(self.lookback);
            while floats < data.ts.len() && data.ts[floats] <= to {
                floats += 1;
            }
            while histograms < data.histograms.len() && data.histograms[histograms].ts <= to {
                histograms += 1;
            }
            let float = floats.checked_sub(1).filter(|i| data.ts[*i] > from);
            let histogram = histograms.checked_sub(1).filter(|i| data.histograms[*i].ts > from);
            let newest = match (float, histogram) {
                (Some(f), Some(h)) if data.histograms[h].ts >= data.ts[f] => Newest::Histogram(h),
                (Some(f), _) => Newest::Float(f),
                (None, Some(h)) => Newest::Histogram(h),
                (None, None) => continue,
            };
            let stale = match newest {
                Newest::Float(at) => is_stale(data.values[at]),
                Newest::Histogram(at) => data.histograms[at].histogram.is_stale(),
            };
            if !stale {
                out.set(step, (self.pick)(data, newest));
            }
        }
    }
}

/// Resolves unknown hints by comparing each histogram with the one before it. Staleness markers are not remembered.
fn tell_resets(data: &mut SeriesData) {
    let mut before: Option<Arc<Histogram>> = None;
    for sample in data.histograms.iter_mut().filter(|s| !s.histogram.is_stale()) {
        let whole = sample.histogram.clone();
        if let Some(before) = before.as_ref().filter(|_| whole.hint == ResetHint::Unknown) {
            let hint = if whole.is_reset_after(before) { ResetHint::Reset } else { ResetHint::NotReset };
            Arc::make_mut(&mut sample.histogram).hint = hint;
        }
        before = Some(whole);
    }
}

/// Drops samples up to `from`.
fn cut_until(data: &mut SeriesData, from: i64) {
    let floats = data.ts.partition_point(|ts| *ts <= from);
    data.ts.skip(floats);
    data.values.skip(floats);
    data.starts.skip(floats);
    data.histograms.retain(|h| h.ts > from);
}

fn remove_stale(data: &mut SeriesData) {
    if data.values.iter().any(|v| is_stale(*v)) {
        let keep: Vec<usize> = (0..data.ts.len()).filter(|i| !is_stale(data.values[*i])).collect();
        data.ts = keep.iter().map(|i| data.ts[*i]).collect();
        if !data.starts.is_empty() {
            data.starts = keep.iter().map(|i| data.starts[*i]).collect();
        }
        data.values = keep.iter().map(|i| data.values[*i]).collect();
    }
    data.histograms.retain(|h| !h.histogram.is_stale());
}

/// A result as samples again. What a histogram said of resets before it does not hold between chosen steps.
fn points_of(series: &Series, grid: Grid) -> SeriesData {
    let (mut times, mut values, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
    for (step, ts) in grid.times().enumerate() {
        match series.get(step) {
            Some(Cell::Float(value)) => {
                times.push(ts);
                values.push(value);
            }
            Some(Cell::Histogram(mut histogram)) => {
                if matches!(histogram.hint, ResetHint::Reset | ResetHint::NotReset) {
                    Arc::make_mut(&mut histogram).hint = ResetHint::Unknown;
                }
                histograms.push(HistogramSample { ts, start: 0, histogram });
            }
            None => {}
        }
    }
    SeriesData { ts: times.into(), values: values.into(), histograms, ..SeriesData::new(series.labels.clone()) }
}
