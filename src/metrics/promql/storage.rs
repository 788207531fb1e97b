use super::run::Run;
use crate::metrics::rows::HistogramSample;
use crate::model::{Labels, Matcher};
use crate::query::{Context, QueryError};

/// Milliseconds since the epoch, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    pub from: i64,
    pub to: i64,
}

impl Interval {
    pub const ALL: Interval = Interval { from: i64::MIN, to: i64::MAX };

    pub fn contains(&self, ts: i64) -> bool {
        (self.from..=self.to).contains(&ts)
    }

    pub fn overlaps(&self, min: i64, max: i64) -> bool {
        min <= self.to && max >= self.from
    }
}

/// What a query reads. The engine asks once per selector, for the whole range of the query.
pub trait Storage: Sync {
    /// Series that satisfy all matchers and have samples in the interval, in the order of their creation: sums are added
    /// up in it, and equal values are told apart by it.
    fn select(&self, matchers: &[Matcher], interval: Interval) -> Result<Vec<SeriesData>, QueryError>;

    /// The query's deadline and budget.
    fn context(&self) -> &Context;
}

/// A series and its samples in order of time, each time once a kind. Times in milliseconds since the epoch.
#[derive(Debug, Clone)]
pub struct SeriesData {
    pub labels: Labels,
    /// Orders series by their creation.
    pub created: i64,
    pub ts: Run<i64>,
    pub values: Run<f64>,
    /// Start times, 0 if unknown; empty if no sample has one.
    pub starts: Run<i64>,
    pub histograms: Vec<HistogramSample>,
}

impl SeriesData {
    pub fn new(labels: Labels) -> SeriesData {
        SeriesData { labels, created: 0, ts: Run::default(), values: Run::default(), starts: Run::default(), histograms: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.ts.is_empty() && self.histograms.is_empty()
    }

    /// Time of the last sample of either kind.
    pub fn last_time(&self) -> Option<i64> {
        self.ts.last().copied().max(self.histograms.last().map(|h| h.ts))
    }

    /// Takes away the samples up to `bound`, inclusive.
    pub fn split_until(&mut self, bound: i64) -> SeriesData {
        let floats = self.ts.partition_point(|t| *t <= bound);
        let histograms = self.histograms.partition_point(|h| h.ts <= bound);
        let starts = if self.starts.is_empty() { 0 } else { floats };
        SeriesData {
            labels: self.labels.clone(),
            created: self.created,
            ts: self.ts.split_front(floats),
            values: self.values.split_front(floats),
            starts: self.starts.split_front(starts),
            histograms: self.histograms.drain(..histograms).collect(),
        }
    }

    /// Keeps the samples at the times for which `keep` holds.
    pub fn retain(&mut self, keep: impl Fn(i64) -> bool) {
        let kept: Vec<usize> = (0..self.ts.len()).filter(|i| keep(self.ts[*i])).collect();
        if kept.len() < self.ts.len() {
            self.values = kept.iter().map(|i| self.values[*i]).collect();
            if !self.starts.is_empty() {
                self.starts = kept.iter().map(|i| self.starts[*i]).collect();
            }
            self.ts = kept.iter().map(|i| self.ts[*i]).collect();
        }
        self.histograms.retain(|h| keep(h.ts));
    }

    /// Makes its samples its own.
    pub fn unshare(&mut self) {
        (self.ts, self.values, self.starts) = (self.ts.to_vec().into(), self.values.to_vec().into(), self.starts.to_vec().into());
    }

    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        let histograms: usize = self.histograms.iter().map(|h| h.histogram.heap_bytes()).sum();
        let own = size_of::<SeriesData>() + self.labels.heap_bytes();
        (own + 16 * self.ts.len() + 8 * self.starts.len() + histograms) as u64
    }

    /// What its samples count against a query's budget.
    pub fn budget_samples(&self) -> u64 {
        self.ts.len() as u64 + self.histograms.iter().map(|h| h.histogram.budget_samples()).sum::<u64>()
    }

    /// Joins samples that were accepted later: of samples with equal times those of `self` stay.
    pub fn append_later(&mut self, later: SeriesData) {
        self.created = self.created.min(later.created);
        if self.is_empty() {
            *self = SeriesData { created: self.created, ..later };
            return;
        }
        if !later.starts.is_empty() || !self.starts.is_empty() {
            self.starts.resize(self.ts.len(), 0);
            self.starts.extend(later.starts.iter().copied().chain(std::iter::repeat(0)).take(later.ts.len()));
        }
        let in_order = self.ts.last().zip(later.ts.first()).is_none_or(|(a, b)| a < b);
        if !later.ts.is_empty() {
            self.ts.extend(later.ts.iter().copied());
            self.values.extend(later.values.iter().copied());
        }
        if !in_order {
            let mut order: Vec<usize> = (0..self.ts.len()).collect();
            order.sort_by_key(|i| self.ts[*i]);
            order.dedup_by_key(|i| self.ts[*i]);
            self.values = order.iter().map(|i| self.values[*i]).collect();
            if !self.starts.is_empty() {
                self.starts = order.iter().map(|i| self.starts[*i]).collect();
            }
            self.ts = order.iter().map(|i| self.ts[*i]).collect();
        }
        let in_order = self.histograms.last().zip(later.histograms.first()).is_none_or(|(a, b)| a.ts < b.ts);
        self.histograms.extend(later.histograms);
        if !in_order {
            self.histograms.sort_by_key(|h| h.ts);
            self.histograms.dedup_by_key(|h| h.ts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(samples: &[(i64, f64)], starts: &[i64]) -> SeriesData {
        SeriesData {
            ts: samples.iter().map(|s| s.0).collect(),
            values: samples.iter().map(|s| s.1).collect(),
            starts: starts.to_vec().into(),
            ..SeriesData::new(Labels::empty())
        }
    }

    #[test]
    fn of_equal_times_the_earlier_accepted_stays() {
        let mut a = series(&[(1, 1.0), (3, 3.0)], &[]);
        a.append_later(series(&[(2, 2.0), (3, 9.0), (4, 4.0)], &[1, 1, 1]));
        assert_eq!((&*a.ts, &*a.values, &*a.starts), (&[1, 2, 3, 4][..], &[1.0, 2.0, 3.0, 4.0][..], &[0, 1, 0, 1][..]));
    }
}
