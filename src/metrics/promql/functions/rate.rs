//! rate, increase, delta, irate, idelta (contracts/prometheus.md 4.5).

use super::extended;
use super::over_time::Call;
use crate::metrics::histogram::{Histogram, Incompatible, Notes, ResetHint};
use crate::metrics::promql::eval::{Cell, Extension, Timed, Window};
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

/// The difference over the window, extrapolated to its edges, or between its extended edges.
pub fn difference(call: &Call<'_>, w: &Window<'_>, kind: Kind) -> Option<Cell> {
    if w.extension != Extension::None {
        return extended::difference(call, w, kind);
    }
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

/// When the first sample of a window tells that its counter began inside the window, at zero.
fn began(call: &Call<'_>, w: &Window<'_>, kind: Kind, start: i64, first: i64) -> Option<i64> {
    Some(start).filter(|s| kind.counter && call.use_start_timestamps && *s > w.from && *s < first)
}

fn float_difference(call: &Call<'_>, w: &Window<'_>, kind: Kind) -> Option<(f64, f64)> {
    let (first, last) = (*w.values.first()?, *w.values.last()?);
    let began = began(call, w, kind, w.starts.first().copied().unwrap_or(0), w.ts[0]);
    let mut result = last - first;
    if kind.counter {
        if call.use_start_timestamps && !w.starts.is_empty() {
            let timed = |at: usize| Timed { ts: w.ts[at], start: w.starts[at], cell: Cell::Float(w.values[at]) };
            for at in 1..w.values.len() {
                if w.values[at] < w.values[at - 1] || start_resets(call, &timed(at - 1), &timed(at)) {
                    result += w.values[at - 1];
                }
            }
        } else {
            for at in w.drops {
                result += w.data.values[at - 1];
            }
        }
    }
    let factor = factor(w, kind, (w.ts[0], w.ts[w.ts.len() - 1]), w.values.len(), began, (first, result))?;
    Some((result + if began.is_some() { first } else { 0.0 }, factor))
}

/// Whether the start time of a sample tells that its counter began anew after the sample before it.
pub fn start_resets(call: &Call<'_>, before: &Timed, now: &Timed) -> bool {
    if !call.use_start_timestamps || now.start == 0 || now.start >= now.ts {
        return false;
    }
    if now.start < before.ts && now.start != before.start {
        call.warn(format!("sample has start time that overlaps with previous sample timestamp for metric {:?}", call.name));
    }
    now.start > before.ts || (now.start == before.ts && before.start != 0 && before.start < before.ts)
}

/// What to multiply a difference with. One sample suffices if its counter began inside the window.
fn factor(w: &Window<'_>, kind: Kind, (t1, tn): (i64, i64), count: usize, began: Option<i64>, (first, result): (f64, f64)) -> Option<f64> {
    if let Some(start) = began {
        let mut edges = Edges::new(w, (start, tn), count + 1);
        edges.to_start = 0.0;
        if count < 2 {
            edges.to_end = 0.0;
        }
        return Some(edges.factor());
    }
    if count < 2 {
        return None;
    }
    let mut edges = Edges::new(w, (t1, tn), count);
    if kind.counter {
        edges.start_not_before_zero(first, result);
    }
    Some(edges.factor())
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
    let began = began(call, w, kind, first.start, first.ts);
    if w.histograms.len() < 2 && began.is_none() {
        return None;
    }
    let mut result = total(call, w.histograms, kind.counter)?;
    let factor = factor(w, kind, (first.ts, last.ts), w.histograms.len(), began, (first.histogram.count, result.count))?;
    if began.is_some() {
        result.add(&Histogram { hint: ResetHint::Gauge, ..(*first.histogram).clone() }).ok()?;
    }
    Some((result, factor))
}

/// Tells of histograms whose hint does not fit the function.
pub(super) fn check_hints(call: &Call<'_>, counter: bool, hints: impl Iterator<Item = ResetHint> + Clone) {
    let gauge = |hint: ResetHint| hint == ResetHint::Gauge;
    if counter && hints.clone().any(gauge) {
        call.warn(format!("this native histogram metric is not a counter: {:?}", call.name));
    }
    let ends_are_gauges = hints.clone().next().is_none_or(gauge) && hints.last().is_none_or(gauge);
    if !counter && !ends_are_gauges {
        call.warn(format!("this native histogram metric is not a gauge: {:?}", call.name));
    }
}

/// Last minus first, plus what stood before each reset.
fn total(call: &Call<'_>, samples: &[HistogramSample], counter: bool) -> Option<Histogram> {
    let timed = |at: usize| Timed { ts: samples[at].ts, start: samples[at].start, cell: Cell::Float(0.0) };
    let is_reset =
        |at: usize| samples[at].histogram.is_reset_after(&samples[at - 1].histogram) || start_resets(call, &timed(at - 1), &timed(at));
    let first_is_reset = counter && samples.len() > 1 && is_reset(1);
    let relevant = if first_is_reset { &samples[1..] } else { samples };
    check_hints(call, counter, samples.iter().map(|s| s.histogram.hint));
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
    let noted = |outcome: Result<Notes, Incompatible>, what: &str| match outcome {
        Ok(notes) => {
            if notes.reconciled_bounds {
                call.info(format!("mismatched custom buckets were reconciled during {what}"));
            }
            true
        }
        Err(_) => false,
    };
    if !first_is_reset && !noted(result.sub(&reduced(&samples[0])), "subtraction") {
        call.warn_mixed_layouts();
        return None;
    }
    if counter {
        let from = if first_is_reset { 2 } else { 1 };
        for at in from..samples.len() {
            if is_reset(at) && !noted(result.add(&reduced(&samples[at - 1])), "addition") {
                return None;
            }
        }
    }
    Some(result)
}

/// The difference of the last two samples; `per_second` also divides by their distance and heeds resets.
pub fn instant(call: &Call<'_>, w: &Window<'_>, per_second: bool) -> Option<Cell> {
    let all = w.merged();
    let [.., before, now] = &all[..] else { return None };
    if before.ts == now.ts {
        return None;
    }
    let seconds = (now.ts - before.ts) as f64 / 1000.0;
    let by_start = per_second && start_resets(call, before, now);
    match (&before.cell, &now.cell) {
        (Cell::Float(a), Cell::Float(b)) => {
            call.check_counter_name(per_second);
            let difference = if by_start || (per_second && b < a) { *b } else { b - a };
            Some(Cell::Float(if per_second { difference / seconds } else { difference }))
        }
        (Cell::Histogram(a), Cell::Histogram(b)) => {
            check_hints(call, per_second, [a.hint, b.hint].into_iter());
            let mut result = (**b).clone();
            result.hint = ResetHint::Gauge;
            if !by_start && (!per_second || !b.is_reset_after(a)) {
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
