use super::{Cell, Grid, Series};
use crate::metrics::promql::storage::SeriesData;
use crate::metrics::rows::HistogramSample;

/// Series with all samples that some step's window may need, without staleness markers.
pub struct RangeVector {
    pub series: Vec<SeriesData>,
    /// Milliseconds.
    pub range: i64,
    pub offset: i64,
    /// Where `@` pins every window.
    pub at: Option<i64>,
    /// Which of the series have lost their name and will drop it at the end; empty if none.
    pub drop_name: Vec<bool>,
}

/// The samples of one series in `(from, to]`. Times in milliseconds since the epoch.
pub struct Window<'a> {
    pub ts: &'a [i64],
    pub values: &'a [f64],
    /// Empty if no sample has a start time.
    pub starts: &'a [i64],
    pub histograms: &'a [HistogramSample],
    pub from: i64,
    pub to: i64,
    /// Time of the step.
    pub now: i64,
    pub step: usize,
}

impl<'a> Window<'a> {
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty() && self.histograms.is_empty()
    }

    /// Samples of both kinds by time.
    pub fn merged(&self) -> Vec<(i64, Cell)> {
        let floats = self.ts.iter().zip(self.values).map(|(ts, v)| (*ts, Cell::Float(*v)));
        let histograms = self.histograms.iter().map(|h| (h.ts, Cell::Histogram(h.histogram.clone())));
        let mut all: Vec<(i64, Cell)> = floats.chain(histograms).collect();
        if !self.histograms.is_empty() {
            all.sort_by_key(|c| c.0);
        }
        all
    }

    pub fn newest_is_histogram(&self) -> bool {
        self.histograms.last().is_some_and(|h| self.ts.last().is_none_or(|ts| *ts < h.ts))
    }

    pub fn oldest_is_histogram(&self) -> bool {
        self.histograms.first().is_some_and(|h| self.ts.first().is_none_or(|ts| *ts > h.ts))
    }
}

impl RangeVector {
    fn bounds(&self, now: i64) -> (i64, i64) {
        let to = self.at.unwrap_or(now).saturating_sub(self.offset);
        (to.saturating_sub(self.range), to)
    }

    /// Calls `apply` with every window of every series, which has samples; its results become the series' values.
    /// Windows move forward, so that every sample is passed once.
    pub fn map(&self, grid: Grid, mut apply: impl FnMut(&SeriesData, &Window<'_>) -> Option<Cell>) -> Vec<Series> {
        let mut result = Vec::with_capacity(self.series.len());
        for (at, data) in self.series.iter().enumerate() {
            let mut series = Series::new(data.labels.clone(), grid.count);
            series.drop_name = self.drop_name.get(at).copied().unwrap_or(false);
            let (mut low, mut high, mut hist_low, mut hist_high) = (0, 0, 0, 0);
            let mut any = false;
            for (step, now) in grid.times().enumerate() {
                let (from, to) = self.bounds(now);
                advance(&mut high, data.ts.len(), |i| data.ts[i] <= to);
                advance(&mut low, high, |i| data.ts[i] <= from);
                advance(&mut hist_high, data.histograms.len(), |i| data.histograms[i].ts <= to);
                advance(&mut hist_low, hist_high, |i| data.histograms[i].ts <= from);
                let window = Window {
                    ts: &data.ts[low..high],
                    values: &data.values[low..high],
                    starts: if data.starts.is_empty() { &[] } else { &data.starts[low..high] },
                    histograms: &data.histograms[hist_low..hist_high],
                    from,
                    to,
                    now,
                    step,
                };
                if window.is_empty() {
                    continue;
                }
                if let Some(cell) = apply(data, &window) {
                    series.set(step, cell);
                    any = true;
                }
            }
            if any {
                result.push(series);
            }
        }
        result
    }
}

fn advance(index: &mut usize, end: usize, passes: impl Fn(usize) -> bool) {
    while *index < end && passes(*index) {
        *index += 1;
    }
}
