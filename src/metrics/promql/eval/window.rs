use super::{Cell, Grid, Result, Series};
use crate::metrics::promql::storage::SeriesData;
use crate::metrics::rows::HistogramSample;
use crate::query::Context;
use std::ops::Range;

/// Series with all samples that some step's window may need, without staleness markers.
pub struct RangeVector {
    pub series: Vec<SeriesData>,
    /// Milliseconds.
    pub range: i64,
    pub offset: i64,
    /// Where `@` pins every window.
    pub at: Option<i64>,
    /// How the edges of the windows are filled in.
    pub extension: Extension,
    /// Which of the series have lost their name and will drop it at the end; empty if none.
    pub drop_name: Vec<bool>,
}

/// What a window may take from outside of it; the lookback is in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    None,
    /// The last sample before the window.
    Anchored {
        lookback: i64,
    },
    /// Values at both edges, between the samples on either side.
    Smoothed {
        lookback: i64,
    },
}

/// A sample of either kind with its times, milliseconds since the epoch; `start` 0 is unknown.
#[derive(Debug, Clone)]
pub struct Timed {
    pub ts: i64,
    pub start: i64,
    pub cell: Cell,
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
    /// The whole series, and which parts of it the slices above are.
    pub data: &'a SeriesData,
    pub floats: Range<usize>,
    pub hist: Range<usize>,
    /// Positions in the series of values that are below the one before them, which is in the window, too.
    pub drops: &'a [usize],
    pub extension: Extension,
}

impl<'a> Window<'a> {
    pub fn is_empty(&self) -> bool {
        self.ts.is_empty() && self.histograms.is_empty()
    }

    /// Samples of both kinds by time.
    pub fn merged(&self) -> Vec<Timed> {
        merged(self.data, self.floats.clone(), self.hist.clone())
    }

    /// As [`Window::merged`], with the last sample within the lookback before the window first.
    pub fn merged_with_anchor(&self) -> Vec<Timed> {
        let mut all = self.merged();
        let Extension::Anchored { lookback } = self.extension else { return all };
        let float = self.floats.start.checked_sub(1).map(|at| at..at + 1);
        let hist = self.hist.start.checked_sub(1).map(|at| at..at + 1);
        let before = merged(self.data, float.unwrap_or(0..0), hist.unwrap_or(0..0));
        if let Some(anchor) = before.into_iter().next_back().filter(|a| a.ts > self.from.saturating_sub(lookback)) {
            all.insert(0, anchor);
        }
        all
    }

    /// As [`Window::merged`], with the nearest samples of both kinds within the lookback outside of the window.
    pub fn merged_with_neighbours(&self) -> Vec<Timed> {
        let Extension::Smoothed { lookback } = self.extension else { return self.merged() };
        let (low, high) = (self.from.saturating_sub(lookback), self.to.saturating_add(lookback));
        let wider = |range: &Range<usize>, length: usize, time: &dyn Fn(usize) -> i64| {
            let start = range.start.checked_sub(1).filter(|at| time(*at) > low).unwrap_or(range.start);
            let end = if range.end < length && time(range.end) <= high { range.end + 1 } else { range.end };
            start..end
        };
        let floats = wider(&self.floats, self.data.ts.len(), &|at| self.data.ts[at]);
        let hist = wider(&self.hist, self.data.histograms.len(), &|at| self.data.histograms[at].ts);
        merged(self.data, floats, hist)
    }

    pub fn newest_is_histogram(&self) -> bool {
        self.histograms.last().is_some_and(|h| self.ts.last().is_none_or(|ts| *ts < h.ts))
    }

    pub fn oldest_is_histogram(&self) -> bool {
        self.histograms.first().is_some_and(|h| self.ts.first().is_none_or(|ts| *ts > h.ts))
    }
}

fn merged(data: &SeriesData, floats: Range<usize>, hist: Range<usize>) -> Vec<Timed> {
    let start = |at: usize| data.starts.get(at).copied().unwrap_or(0);
    let float = floats.map(|at| Timed { ts: data.ts[at], start: start(at), cell: Cell::Float(data.values[at]) });
    let sort = !hist.is_empty();
    let hist = data.histograms[hist].iter().map(|h| Timed { ts: h.ts, start: h.start, cell: Cell::Histogram(h.histogram.clone()) });
    let mut all: Vec<Timed> = float.chain(hist).collect();
    if sort {
        all.sort_by_key(|t| t.ts);
    }
    all
}

impl RangeVector {
    fn bounds(&self, now: i64) -> (i64, i64) {
        let to = self.at.unwrap_or(now).saturating_sub(self.offset);
        (to.saturating_sub(self.range), to)
    }

    /// Calls `apply` with every window of the series `at` that has samples; the results become the values of `series`.
    /// Windows move forward, so that every sample is passed once.
    pub fn map(
        &self,
        context: &Context,
        (at, grid): (usize, Grid),
        series: &mut Series,
        mut apply: impl FnMut(&Window<'_>) -> Option<Cell>,
    ) -> Result<()> {
        let data = &self.series[at];
        context.check()?;
        let drops = &find_drops(&data.values);
        let (ts, values, starts, histograms) = (&data.ts[..], &data.values[..], &data.starts[..], &data.histograms[..]);
        let smoothed = matches!(self.extension, Extension::Smoothed { .. });
        let (mut low, mut high, mut hist_low, mut hist_high) = (0, 0, 0, 0);
        let (mut drop_low, mut drop_high) = (0, 0);
        let mut unchecked = 0;
        for (step, now) in grid.times().enumerate() {
            let (from, to) = self.bounds(now);
            advance(&mut high, ts.len(), |i| ts[i] <= to);
            advance(&mut low, high, |i| ts[i] <= from);
            advance(&mut hist_high, histograms.len(), |i| histograms[i].ts <= to);
            advance(&mut hist_low, hist_high, |i| histograms[i].ts <= from);
            advance(&mut drop_high, drops.len(), |i| drops[i] < high);
            advance(&mut drop_low, drop_high, |i| drops[i] <= low);
            if low == high && hist_low == hist_high && !smoothed {
                continue;
            }
            // Windows may be as long as the series: there may be as much work in one as in all others.
            unchecked += 1 + high - low + hist_high - hist_low;
            if unchecked > CHECKED_SAMPLES {
                context.check()?;
                unchecked = 0;
            }
            let window = Window {
                ts: &ts[low..high],
                values: &values[low..high],
                starts: if starts.is_empty() { &[] } else { &starts[low..high] },
                histograms: &histograms[hist_low..hist_high],
                from,
                to,
                now,
                step,
                data,
                floats: low..high,
                hist: hist_low..hist_high,
                drops: &drops[drop_low..drop_high],
                extension: self.extension,
            };
            if let Some(cell) = apply(&window) {
                series.set(step, cell);
            }
        }
        Ok(())
    }
}

/// Samples in windows between two looks at the clock.
const CHECKED_SAMPLES: usize = 1 << 16;

/// Positions of the values that are below the one before them.
fn find_drops(values: &[f64]) -> Vec<usize> {
    const GROUP: usize = 64;
    let mut drops = Vec::new();
    let pairs = values.len().saturating_sub(1);
    for from in (0..pairs).step_by(GROUP) {
        let group = &values[from..(from + GROUP + 1).min(values.len())];
        // Most groups have none, and that is found without a branch a pair.
        if group.windows(2).fold(false, |any, pair| any | (pair[1] < pair[0])) {
            drops.extend(group.windows(2).enumerate().filter(|(_, pair)| pair[1] < pair[0]).map(|(at, _)| from + at + 1));
        }
    }
    drops
}

fn advance(index: &mut usize, end: usize, passes: impl Fn(usize) -> bool) {
    while *index < end && passes(*index) {
        *index += 1;
    }
}
