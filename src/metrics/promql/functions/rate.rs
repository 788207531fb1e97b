//! rate, increase, delta, irate, idelta (contracts/prometheus.md 4.5).

use super::over_time::Call;
use crate::metrics::histogram::{Histogram, ResetHint};
use crate::metrics::promql::eval::{Cell, Window};
use crate::metrics::rows::HistogramSample;

/// What kind of difference is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub counter: bool,
    pub per_second: bool,
}

pub const RATE: Kind = Kind { counter: true, per_second: true };
pub const INCREASE: Kind = Kind { counter: true, per_second: false };
pub const DELTA: Kind = Kind { counter: false, per_second: false };

/// The difference over the window, extrapolated to its edges.
pub fn extrapolated(call: &Call<'_>, w: &Window<'_>, kind: Kind) -> Option<Cell> {
    if !w.ts.is_empty() && !w.histograms.is_empty() {
        call.warn_mixed_kinds();
        return None;
    }
    let seconds = (w.to - w.from) as f64 / 1000.0;
    if w.histograms.is_empty() {
        let (result, factor) = float_difference(call, w, kind)?;
        call.check_counter_name(kind.counter);
        let factor = if kind.per_second { factor / seconds } else { factor };
        return Some(Cell::Float(result * factor));
    }
    let (mut result, factor) = histogram_difference(call, w, kind)?;
    result.scale(if kind.per_second { factor / seconds } else { factor });
    result.hint = ResetHint::Gauge;
    result.compact();
    Some(Cell::Histogram(result.into()))
}

fn float_difference(call: &Call<'_>, w: &Window<'_>, kind: Kind) -> Option<(f64, f64)> {
    let with_starts = kind.counter && call.use_start_timestamps && !w.starts.is_empty();
    let (first, last) = (*w.values.first()?, *w.values.last()?);
    let (t1, tn) = (w.ts[0], w.ts[w.ts.len() - 1]);
    // A counter that began inside the window began at zero.
    let began = if with_starts { Some(w.starts[0]).filter(|s| *s > w.from && *s < t1) } else { None };
    if w.values.len() < 2 && began.is_none() {
        return None;
    }
    let mut result = last - first;
    if kind.counter {
        for at in 1..w.values.len() {
            let reset = w.values[at] < w.values[at - 1] || (with_starts && start_resets(call, w, at));
            if reset {
                result += w.values[at - 1];
            }
        }
    }
    if let Some(start) = began {
        let result = result + first;
        let mut edges = Edges::new(w, (start, tn), w.values.len() + 1);
        edges.to_start = 0.0;
        if w.values.len() < 2 {
            edges.to_end = 0.0;
        }
        return Some((result, edges.factor()));
    }
    let mut edges = Edges::new(w, (t1, tn), w.values.len());
    if kind.counter {
        edges.start_not_before_zero(first, result);
    }
    Some((result, edges.factor()))
}

/// Whether the start time of sample `at` tells that the counter began anew after the sample before it.
fn start_resets(call: &Call<'_>, w: &Window<'_>, at: usize) -> bool {
    let (start, before) = (w.starts[at], w.starts[at - 1]);
    let (now, previous) = (w.ts[at], w.ts[at - 1]);
    if start == 0 || start >= now {
        return false;
    }
    if start < previous && start != before {
        call.warn(format!("sample has start time that overlaps with previous sample timestamp for metric name {:?}", call.name));
    }
    start > previous || (start == previous && before != 0 && before < previous)
}

/// How far the samples are from the edges of the window, seconds.
struct Edges {
    sampled: f64,
    to_start: f64,
    to_end: f64,
}

impl Edges {
    fn new(w: &Window<'_>, (t1, tn): (i64, i64), count: usize) -> Edges {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let sampled = seconds(tn - t1);
        let average = sampled / (count as f64 - 1.0);
        let threshold = average * 1.1;
        // Far from the edge the series is taken to begin or end between two samples.
        let bounded = |distance: f64| if distance >= threshold { average / 2.0 } else { distance };
        Edges { sampled, to_start: bounded(seconds(t1 - w.from)), to_end: bounded(seconds(w.to - tn)) }
    }

    /// A counter cannot have been below zero.
    fn start_not_before_zero(&mut self, first: f64, result: f64) {
        if result > 0.0 && first >= 0.0 {
            self.to_start = self.to_start.min(self.sampled * (first / result));
        }
    }

    fn factor(&self) -> f64 {
        (self.sampled + self.to_start + self.to_end) / self.sampled
    }
}

fn histogram_difference(call: &Call<'_>, w: &Window<'_>, kind: Kind) -> Option<(Histogram, f64)> {
    let (first, last) = (w.histograms.first()?, w.histograms.last()?);
    if w.histograms.len() < 2 {
        return None;
    }
    let mut result = difference(call, w.histograms, kind.counter)?;
    let mut edges = Edges::new(w, (first.ts, last.ts), w.histograms.len());
    if kind.counter {
        edges.start_not_before_zero(first.histogram.count, result.count);
    }
    if result.schema != last.histogram.schema && !result.is_custom() {
        result.compact();
    }
    Some((result, edges.factor()))
}

/// Last minus first, plus what stood before each reset.
fn difference(call: &Call<'_>, samples: &[HistogramSample], counter: bool) -> Option<Histogram> {
    let first_is_reset = counter && samples[1].histogram.is_reset_after(&samples[0].histogram);
    let relevant = if first_is_reset { &samples[1..] } else { samples };
    let gauge = |s: &HistogramSample| s.histogram.hint == ResetHint::Gauge;
    if counter && samples.iter().any(gauge) {
        call.warn(format!("this native histogram metric is not a counter: {:?}", call.name));
    }
    let ends_are_gauges = gauge(&samples[0]) && gauge(&samples[samples.len() - 1]);
    if !counter && !ends_are_gauges {
        call.warn(format!("this native histogram metric is not a gauge: {:?}", call.name));
    }
    if relevant.iter().any(|s| s.histogram.is_custom() != relevant[0].histogram.is_custom()) {
        call.warn_mixed_layouts();
        return None;
    }
    let schema = relevant.iter().map(|s| s.histogram.schema).min().unwrap_or(0);
    let reduced = |s: &HistogramSample| {
        let mut histogram = (*s.histogram).clone();
        histogram.reduce(schema);
        histogram.hint = ResetHint::Gauge;
        histogram
    };
    let mut result = reduced(&samples[samples.len() - 1]);
    let note = |outcome: Result<crate::metrics::histogram::Notes, crate::metrics::histogram::Incompatible>, what: &str| match outcome {
        Ok(notes) => {
            if notes.reconciled_bounds {
                call.info(format!("mismatched custom buckets were reconciled during {what}"));
            }
            true
        }
        Err(_) => false,
    };
    if !first_is_reset && !note(result.sub(&reduced(&samples[0])), "subtraction") {
        call.warn_mixed_layouts();
        return None;
    }
    if counter {
        let from = if first_is_reset { 2 } else { 1 };
        for at in from..samples.len() {
            if samples[at].histogram.is_reset_after(&samples[at - 1].histogram) && !note(result.add(&reduced(&samples[at - 1])), "addition")
            {
                return None;
            }
        }
    }
    Some(result)
}

/// The difference of the last two samples; `per_second` also divides by their distance and heeds resets.
pub fn instant(call: &Call<'_>, w: &Window<'_>, per_second: bool) -> Option<Cell> {
    let all = w.merged();
    let [.., (t1, before), (t2, now)] = &all[..] else { return None };
    if t1 == t2 {
        return None;
    }
    let seconds = (t2 - t1) as f64 / 1000.0;
    match (before, now) {
        (Cell::Float(a), Cell::Float(b)) => {
            call.check_counter_name(per_second);
            let difference = if per_second && b < a { *b } else { b - a };
            Some(Cell::Float(if per_second { difference / seconds } else { difference }))
        }
        (Cell::Histogram(a), Cell::Histogram(b)) => {
            let gauges = [a, b].into_iter().filter(|h| h.hint == ResetHint::Gauge).count();
            if per_second && gauges > 0 {
                call.warn(format!("this native histogram metric is not a counter: {:?}", call.name));
            }
            if !per_second && gauges < 2 {
                call.warn(format!("this native histogram metric is not a gauge: {:?}", call.name));
            }
            let mut result = (**b).clone();
            result.hint = ResetHint::Gauge;
            if !per_second || !b.is_reset_after(a) {
                let mut before = (**a).clone();
                before.hint = ResetHint::Gauge;
                match result.sub(&before) {
                    Ok(notes) if notes.reconciled_bounds => {
                        call.info("mismatched custom buckets were reconciled during subtraction".to_owned());
                    }
                    Ok(_) => {}
                    Err(_) => {
                        call.warn_mixed_layouts();
                        return None;
                    }
                }
            }
            if per_second {
                result.divide(seconds);
            }
            result.compact();
            Some(Cell::Histogram(result.into()))
        }
        _ => {
            call.warn_mixed_kinds();
            None
        }
    }
}
