//! Differences over windows with extended edges: `anchored` takes the last sample before the window, `smoothed` puts
//! values between the samples on either side of each edge (contracts/prometheus.md 4.2).

use super::over_time::Call;
use super::rate::{Kind, check_hints};
use crate::metrics::histogram::{Histogram, ResetHint};
use crate::metrics::promql::eval::{Cell, Extension, Timed, Window};
use std::sync::Arc;

/// What floats and histograms have in common here. `None` if two layouts cannot be brought together.
trait Level: Clone {
    fn dropped_since(&self, before: &Self) -> bool;
    fn times(&self, factor: f64) -> Self;
    fn plus(&self, other: &Self) -> Option<Self>;
    fn minus(&self, other: &Self) -> Option<Self>;
}

impl Level for f64 {
    fn dropped_since(&self, before: &f64) -> bool {
        self < before
    }

    fn times(&self, factor: f64) -> f64 {
        self * factor
    }

    fn plus(&self, other: &f64) -> Option<f64> {
        Some(self + other)
    }

    fn minus(&self, other: &f64) -> Option<f64> {
        Some(self - other)
    }
}

impl Level for Arc<Histogram> {
    fn dropped_since(&self, before: &Self) -> bool {
        self.is_reset_after(before)
    }

    fn times(&self, factor: f64) -> Self {
        let mut scaled = (**self).clone();
        scaled.scale(factor);
        scaled.into()
    }

    fn plus(&self, other: &Self) -> Option<Self> {
        let mut sum = (**self).clone();
        sum.add(other).ok()?;
        Some(sum.into())
    }

    fn minus(&self, other: &Self) -> Option<Self> {
        let mut difference = (**self).clone();
        difference.sub(other).ok()?;
        Some(difference.into())
    }
}

/// The value at `ts` between two samples, and whether the counter was reset between them: then it rose from zero.
fn between<V: Level>(before: &(i64, V), after: &(i64, V), ts: i64, counter: bool) -> Option<(V, bool)> {
    let fraction = (ts - before.0) as f64 / (after.0 - before.0) as f64;
    if counter && after.1.dropped_since(&before.1) {
        return Some((after.1.times(fraction), true));
    }
    Some((before.1.plus(&after.1.minus(&before.1)?.times(fraction))?, false))
}

/// A sequence of values, each with whether a reset lies between it and the one before.
fn path<V: Level>(samples: &[(i64, V)], w: &Window<'_>, counter: bool) -> Option<Vec<(V, bool)>> {
    let smoothed = matches!(w.extension, Extension::Smoothed { .. });
    let inside: Vec<&(i64, V)> = samples.iter().filter(|s| s.0 > w.from && s.0 <= w.to).collect();
    let before = samples.iter().rfind(|s| s.0 <= w.from);
    let after = samples.iter().find(|s| s.0 > w.to).filter(|_| smoothed);
    let mut path: Vec<(V, bool)> = Vec::with_capacity(samples.len());
    let mut left_between = false;
    if let Some(before) = before {
        match inside.first().copied().or(after) {
            Some(next) if smoothed && before.0 < w.from => {
                path.push((between(before, next, w.from, counter)?.0, false));
                left_between = true;
            }
            Some(_) => path.push((before.1.clone(), false)),
            None => return None,
        }
    }
    for (at, sample) in inside.iter().enumerate() {
        let previous = if at == 0 { before } else { Some(inside[at - 1]) };
        // A value between two samples already rises from zero if a reset lies between them.
        let told = at == 0 && left_between;
        let reset = counter && !told && previous.is_some_and(|p| sample.1.dropped_since(&p.1));
        path.push((sample.1.clone(), reset));
    }
    let previous = inside.last().copied().or(before);
    match (previous, after) {
        (Some(previous), Some(after)) if previous.0 < w.to => {
            let (value, reset) = between(previous, after, w.to, counter)?;
            path.push((value, reset && !(inside.is_empty() && left_between)));
        }
        (None, _) => return None,
        (Some(_), _) if inside.is_empty() => return None,
        _ => {}
    }
    Some(path)
}

fn total<V: Level>(path: &[(V, bool)]) -> Option<V> {
    let (first, last) = (path.first()?, path.last()?);
    let mut total = last.0.minus(&first.0)?;
    for pair in path.windows(2).filter(|pair| pair[1].1) {
        total = total.plus(&pair[0].0)?;
    }
    Some(total)
}

/// The samples as floats or as histograms; `None` for both kinds together.
enum Samples {
    Floats(Vec<(i64, f64)>),
    Histograms(Vec<(i64, Arc<Histogram>)>),
}

fn one_kind(all: &[Timed]) -> Option<Samples> {
    let floats = all.iter().filter_map(|t| if let Cell::Float(v) = t.cell { Some((t.ts, v)) } else { None });
    let histograms = all.iter().filter_map(|t| if let Cell::Histogram(h) = &t.cell { Some((t.ts, h.clone())) } else { None });
    let (floats, histograms): (Vec<_>, Vec<_>) = (floats.collect(), histograms.collect());
    match (floats.is_empty(), histograms.is_empty()) {
        (false, false) => None,
        (_, true) => Some(Samples::Floats(floats)),
        (true, false) => Some(Samples::Histograms(histograms)),
    }
}

/// rate, increase and delta.
pub fn difference(call: &Call<'_>, w: &Window<'_>, kind: Kind) -> Option<Cell> {
    let smoothed = matches!(w.extension, Extension::Smoothed { .. });
    if w.is_empty() && !smoothed {
        return None;
    }
    let all = if smoothed { w.merged_with_neighbours() } else { w.merged_with_anchor() };
    let Some(samples) = one_kind(&all) else {
        call.warn_mixed_kinds();
        return None;
    };
    let seconds = (w.to - w.from) as f64 / 1000.0;
    match samples {
        Samples::Floats(samples) => {
            let total = total(&path(&samples, w, kind.counter)?)?;
            call.check_counter_name(kind.counter);
            Some(Cell::Float(if kind.per_second { total / seconds } else { total }))
        }
        Samples::Histograms(samples) => {
            if samples.iter().any(|s| s.1.is_custom() != samples[0].1.is_custom()) {
                call.warn_mixed_layouts();
                return None;
            }
            let path = path(&samples, w, kind.counter)?;
            check_hints(call, kind.counter, samples.iter().map(|s| s.1.hint));
            let mut total = (*total(&path)?).clone();
            if kind.per_second {
                total.divide(seconds);
            }
            total.hint = ResetHint::Gauge;
            total.compact();
            Some(Cell::Histogram(total.into()))
        }
    }
}

/// The value of a smoothed selector at the end of an empty window: that of the sample there, else between its
/// neighbours, else that of the last one before.
pub fn value_at(call: &Call<'_>, w: &Window<'_>) -> Option<Cell> {
    let all = w.merged_with_neighbours();
    let at = w.to;
    let Some(samples) = one_kind(&all) else {
        call.warn_mixed_kinds();
        return None;
    };
    match samples {
        Samples::Floats(samples) => {
            let before = samples.iter().rfind(|s| s.0 <= at)?;
            match samples.iter().find(|s| s.0 > at) {
                Some(after) if before.0 < at => between(before, after, at, false).map(|v| Cell::Float(v.0)),
                _ => Some(Cell::Float(before.1)),
            }
        }
        Samples::Histograms(samples) => {
            let before = samples.iter().rfind(|s| s.0 <= at)?;
            match samples.iter().find(|s| s.0 > at) {
                Some(after) if before.0 < at && before.1.is_custom() != after.1.is_custom() => {
                    call.warn_mixed_layouts();
                    None
                }
                Some(after) if before.0 < at => {
                    let counter = after.1.hint != ResetHint::Gauge;
                    between(before, after, at, counter).map(|v| Cell::Histogram(v.0))
                }
                _ => Some(Cell::Histogram(before.1.clone())),
            }
        }
    }
}
