//! The series of a matrix.

use super::eval::{Grid, Series, Window, is_absent};
use super::run::Run;
use crate::metrics::histogram::Histogram;
use crate::model::Labels;
use std::sync::Arc;

/// Values of a series by time, floats and histograms apart. Times in milliseconds since the epoch.
#[derive(Debug, Clone)]
pub struct MatrixSeries {
    pub labels: Labels,
    times: Times,
    /// One a time; absent where there is none. Empty if there is no float at all.
    values: Run<f64>,
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// Times of the floats.
#[derive(Debug, Clone)]
enum Times {
    Steps(Grid),
    Samples(Run<i64>),
}

impl MatrixSeries {
    pub(super) fn of_steps(series: Series, grid: Grid) -> MatrixSeries {
        let histograms = series.histograms.into_iter().zip(grid.times()).filter_map(|(h, ts)| Some((ts, h?))).collect();
        let any = series.values.iter().any(|v| !is_absent(*v));
        let values = if any { series.values.into() } else { Run::default() };
        MatrixSeries { labels: series.labels, times: Times::Steps(grid), values, histograms }
    }

    pub(super) fn of_window(window: &Window<'_>) -> MatrixSeries {
        MatrixSeries {
            labels: window.data.labels.clone(),
            times: Times::Samples(window.data.ts.part(window.floats.clone())),
            values: window.data.values.part(window.floats.clone()),
            histograms: window.histograms.iter().map(|h| (h.ts, h.histogram.clone())).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.histograms.is_empty()
    }

    /// Where there may be floats: 0 if there are none.
    pub fn places(&self) -> usize {
        self.values.len()
    }

    /// The float at a place, and its time.
    pub fn float(&self, place: usize) -> Option<(i64, f64)> {
        let value = self.values.get(place).copied().filter(|v| !is_absent(*v))?;
        let ts = match &self.times {
            Times::Steps(grid) => grid.time(place),
            Times::Samples(ts) => *ts.get(place)?,
        };
        Some((ts, value))
    }

    pub fn floats(&self) -> impl Iterator<Item = (i64, f64)> + '_ {
        (0..self.places()).filter_map(|place| self.float(place))
    }

    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        let floats = match self.times {
            Times::Steps(_) => 8 * self.values.len(),
            Times::Samples(_) => 16 * self.values.len(),
        };
        let histograms: usize = self.histograms.iter().map(|h| h.1.heap_bytes() + 16).sum();
        (size_of::<MatrixSeries>() + self.labels.heap_bytes() + floats + histograms) as u64
    }
}
