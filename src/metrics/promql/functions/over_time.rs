//! Functions of a window of one series.

use super::math::{quantile, quantile_of_sorted, sort_nan_first, variance};
use super::rate::{self, DELTA, INCREASE, RATE};
use super::sliding::Sliding;
use crate::metrics::histogram;
use crate::metrics::kahan::{KahanSum, mean};
use crate::metrics::promql::annotations::Annotations;
use crate::metrics::promql::eval::{Cell, Extension, Timed, Window};
use std::cell::{self, RefCell};

/// One call of a range function on one series.
pub struct Call<'a> {
    pub notes: &'a RefCell<Annotations>,
    /// Where the first argument starts.
    pub position: usize,
    /// The metric's name.
    pub name: &'a str,
    /// Scalar arguments at the step.
    pub scalars: [f64; 2],
    pub use_start_timestamps: bool,
    /// Whether the name was looked at: once a series is enough.
    pub told_name: cell::Cell<bool>,
    sliding: RefCell<Sliding>,
}

impl<'a> Call<'a> {
    /// A call without scalar arguments.
    pub fn new(notes: &'a RefCell<Annotations>, position: usize, name: &'a str) -> Call<'a> {
        let (told_name, sliding) = (cell::Cell::new(false), RefCell::default());
        Call { notes, position, name, scalars: [0.0; 2], use_start_timestamps: false, told_name, sliding }
    }

    pub fn warn(&self, message: String) {
        self.notes.borrow_mut().warn(self.position, message);
    }

    pub fn info(&self, message: String) {
        self.notes.borrow_mut().info(self.position, message);
    }

    pub fn warn_mixed_kinds(&self) {
        self.warn(format!("encountered a mix of histograms and floats for metric name {:?}", self.name));
    }

    pub fn warn_mixed_layouts(&self) {
        self.warn(format!(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {:?}",
            self.name
        ));
    }

    /// Tells of counters that are not named like one.
    pub fn check_counter_name(&self, counter: bool) {
        if !counter || self.told_name.get() {
            return;
        }
        self.told_name.set(true);
        let like_counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|s| self.name.ends_with(s));
        if !self.name.is_empty() && !like_counter {
            self.info(format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {:?}", self.name));
        }
    }

    fn note_ignored_histograms(&self, w: &Window<'_>) {
        if !w.histograms.is_empty() && !w.ts.is_empty() {
            self.info(format!("ignored histograms in a range containing both floats and histograms for metric name {:?}", self.name));
        }
    }
}

pub type RangeFunction = fn(&Call<'_>, &Window<'_>) -> Option<Cell>;

/// `None` if `name` is not a function of a window.
pub fn range_function(name: &str) -> Option<RangeFunction> {
    Some(match name {
        "rate" => |c, w| rate::difference(c, w, RATE),
        "increase" => |c, w| rate::difference(c, w, INCREASE),
        "delta" => |c, w| rate::difference(c, w, DELTA),
        "irate" => |c, w| rate::instant(c, w, true),
        "idelta" => |c, w| rate::instant(c, w, false),
        "sum_over_time" => sum,
        "avg_over_time" => avg,
        "count_over_time" => |_, w| Some(Cell::Float((w.ts.len() + w.histograms.len()) as f64)),
        "present_over_time" | "absent_over_time" => |_, _| Some(Cell::Float(1.0)),
        "last_over_time" => last,
        "first_over_time" => first,
        "min_over_time" => |c, w| best(c, w, |new, best| new < best).map(|at| Cell::Float(w.values[at])),
        "max_over_time" => |c, w| best(c, w, |new, best| new > best).map(|at| Cell::Float(w.values[at])),
        "ts_of_min_over_time" => |c, w| best(c, w, |new, best| new <= best).and_then(|at| time_of(Some(w.ts[at]))),
        "ts_of_max_over_time" => |c, w| best(c, w, |new, best| new >= best).and_then(|at| time_of(Some(w.ts[at]))),
        "ts_of_first_over_time" => {
            |_, w| time_of(if w.oldest_is_histogram() { w.histograms.first().map(|h| h.ts) } else { w.ts.first().copied() })
        }
        "ts_of_last_over_time" => {
            |_, w| time_of(if w.newest_is_histogram() { w.histograms.last().map(|h| h.ts) } else { w.ts.last().copied() })
        }
        "stddev_over_time" => |c, w| floats(c, w, |values| variance(values.iter().copied()).sqrt()),
        "stdvar_over_time" => |c, w| floats(c, w, |values| variance(values.iter().copied())),
        "quantile_over_time" => |c, w| floats(c, w, |_| quantile_of_sorted(c.scalars[0], c.sliding.borrow_mut().sorted(w))),
        "mad_over_time" => |c, w| floats(c, w, median_deviation),
        "changes" => changes,
        "resets" => resets,
        "deriv" => deriv,
        "predict_linear" => predict_linear,
        "double_exponential_smoothing" => smoothing,
        _ => return None,
    })
}

fn floats(call: &Call<'_>, w: &Window<'_>, compute: impl Fn(&[f64]) -> f64) -> Option<Cell> {
    call.note_ignored_histograms(w);
    (!w.values.is_empty()).then(|| Cell::Float(compute(w.values)))
}

fn time_of(ts: Option<i64>) -> Option<Cell> {
    ts.map(|ts| Cell::Float(ts as f64 / 1000.0))
}

fn sum(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    if w.histograms.is_empty() {
        return Some(Cell::Float(w.values.iter().copied().collect::<KahanSum>().value()));
    }
    histogram_sum(call, w, false)
}

fn histogram_sum(call: &Call<'_>, w: &Window<'_>, mean: bool) -> Option<Cell> {
    if !w.ts.is_empty() {
        call.warn_mixed_kinds();
        return None;
    }
    let Ok((total, notes)) = histogram::sum(w.histograms.iter().map(|h| &*h.histogram), mean) else {
        call.warn_mixed_layouts();
        return None;
    };
    if notes.reconciled_bounds {
        call.info("mismatched custom buckets were reconciled during aggregation".to_owned());
    }
    if notes.conflicting_resets {
        call.warn("conflicting counter resets during histogram aggregation".to_owned());
    }
    Some(Cell::Histogram(total.into()))
}

fn avg(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    if w.histograms.is_empty() {
        return Some(Cell::Float(mean(w.values.iter().copied())));
    }
    histogram_sum(call, w, true)
}

fn last(_: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    if w.newest_is_histogram() {
        return w.histograms.last().map(|h| Cell::Histogram(h.histogram.clone()));
    }
    w.values.last().map(|v| Cell::Float(*v))
}

fn first(_: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    if w.oldest_is_histogram() {
        return w.histograms.first().map(|h| Cell::Histogram(h.histogram.clone()));
    }
    w.values.first().map(|v| Cell::Float(*v))
}

fn best(call: &Call<'_>, w: &Window<'_>, replaces: fn(f64, f64) -> bool) -> Option<usize> {
    call.note_ignored_histograms(w);
    (!w.values.is_empty()).then(|| call.sliding.borrow_mut().best(w, replaces))
}

/// Median of the distances to the median; NaN if any value is.
fn median_deviation(values: &[f64]) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sort_nan_first(&mut sorted);
    let median = quantile(0.5, &mut sorted);
    let mut distances: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
    quantile(0.5, &mut distances)
}

fn changes(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    if w.histograms.is_empty() && w.extension == Extension::None {
        return Some(Cell::Float(call.sliding.borrow_mut().changes(w) as f64));
    }
    let all = w.merged_with_anchor();
    let changed = |pair: &&[Timed]| match (&pair[0].cell, &pair[1].cell) {
        (Cell::Float(a), Cell::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Cell::Histogram(a), Cell::Histogram(b)) => !a.same_observations(b),
        _ => true,
    };
    Some(Cell::Float(all.windows(2).filter(changed).count() as f64))
}

fn resets(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    let by_value_alone = !call.use_start_timestamps || w.starts.is_empty();
    if by_value_alone && w.histograms.is_empty() && w.extension == Extension::None {
        return Some(Cell::Float(w.drops.len() as f64));
    }
    let all = w.merged_with_anchor();
    let reset = |pair: &&[Timed]| {
        let by_value = match (&pair[0].cell, &pair[1].cell) {
            (Cell::Float(a), Cell::Float(b)) => b < a,
            (Cell::Histogram(a), Cell::Histogram(b)) => b.is_reset_after(a),
            _ => true,
        };
        by_value || rate::start_resets(call, &pair[0], &pair[1])
    };
    Some(Cell::Float(all.windows(2).filter(reset).count() as f64))
}

/// Slope per second and value at `origin` (milliseconds) of the least-squares line.
fn regression(w: &Window<'_>, origin: i64) -> Option<(f64, f64)> {
    if w.values.len() < 2 {
        return None;
    }
    let first = w.values[0];
    if w.values.iter().all(|v| *v == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let mut sums: [KahanSum; 4] = Default::default();
    for (ts, y) in w.ts.iter().zip(w.values) {
        let x = (ts - origin) as f64 / 1000.0;
        for (sum, value) in sums.iter_mut().zip([x, *y, x * y, x * x]) {
            sum.add(value);
        }
    }
    let [x, y, xy, xx] = sums.map(|s| s.value());
    let n = w.values.len() as f64;
    let slope = (xy - x * y / n) / (xx - x * x / n);
    Some((slope, y / n - slope * x / n))
}

fn deriv(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    call.note_ignored_histograms(w);
    regression(w, *w.ts.first()?).map(|(slope, _)| Cell::Float(slope))
}

fn predict_linear(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    call.note_ignored_histograms(w);
    regression(w, w.now).map(|(slope, intercept)| Cell::Float(slope * call.scalars[0] + intercept))
}

/// Holt's linear method with smoothing factor and trend factor.
fn smoothing(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    call.note_ignored_histograms(w);
    let [factor, trend_factor] = call.scalars;
    let [first, second, ..] = w.values else { return None };
    let (mut level, mut trend) = (*first, second - first);
    for value in &w.values[1..] {
        let next = factor * value + (1.0 - factor) * (level + trend);
        trend = trend_factor * (next - level) + (1.0 - trend_factor) * trend;
        level = next;
    }
    Some(Cell::Float(level))
}
