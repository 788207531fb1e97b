//! What is known of a window from the one before it, so that a sample is looked at a few times however many windows it is in.

use super::math::{by_value_nan_first, sort_nan_first};
use crate::metrics::promql::eval::Window;
use std::collections::VecDeque;
use std::ops::Range;

/// Of one series, whose windows begin and end at or after those before.
#[derive(Debug, Default)]
pub struct Sliding {
    /// Positions of what is the best of some window that ends here: each is better than those after it.
    best: VecDeque<usize>,
    /// Floats before it were offered to `best`.
    offered: usize,
    /// The window that `changes` and `sorted` are about.
    window: Range<usize>,
    changes: usize,
    sorted: Vec<f64>,
}

/// Windows below so many samples are gone through.
const SHORT: usize = 16;

impl Sliding {
    /// Position in the window of the value that stays if each that `replaces` (new, old) the best so far takes its place, and
    /// any takes that of a NaN. The window has floats.
    pub fn best(&mut self, w: &Window<'_>, replaces: impl Fn(f64, f64) -> bool) -> usize {
        let (values, Range { start, end }) = (&w.data.values[..w.floats.end], w.floats.clone());
        if end - start < SHORT {
            let better = |best: usize, at: usize| values[best].is_nan() || replaces(values[at], values[best]);
            return (start + 1..end).fold(start, |best, at| if better(best, at) { at } else { best }) - start;
        }
        while self.best.front().is_some_and(|at| *at < start) {
            self.best.pop_front();
        }
        for at in self.offered.max(start)..end {
            let value = values[at];
            if value.is_nan() {
                continue;
            }
            while self.best.back().is_some_and(|last| replaces(value, values[*last])) {
                self.best.pop_back();
            }
            self.best.push_back(at);
        }
        self.offered = end;
        self.best.front().map_or(end - 1, |at| *at) - start
    }

    /// Neighbouring floats of the window that differ.
    pub fn changes(&mut self, w: &Window<'_>) -> usize {
        let values = &w.data.values[..w.floats.end];
        let differs = |at: &usize| {
            let (a, b) = (values[at - 1], values[*at]);
            a != b && !(a.is_nan() && b.is_nan())
        };
        let (before, now) = (std::mem::replace(&mut self.window, w.floats.clone()), w.floats.clone());
        if now.start < before.end {
            self.changes -= (before.start + 1..=now.start).filter(differs).count();
            self.changes += (before.end..now.end).filter(differs).count();
        } else {
            self.changes = (now.start + 1..now.end).filter(differs).count();
        }
        self.changes
    }

    /// The floats of the window in order, NaN first.
    pub fn sorted(&mut self, w: &Window<'_>) -> &[f64] {
        let values = &w.data.values[..w.floats.end];
        let (before, now) = (std::mem::replace(&mut self.window, w.floats.clone()), w.floats.clone());
        let moved = now.start.saturating_sub(before.start) + now.end.saturating_sub(before.end);
        if moved > now.len() / 4 {
            self.sorted.clear();
            self.sorted.extend_from_slice(&values[now]);
            sort_nan_first(&mut self.sorted);
            return &self.sorted;
        }
        for value in &values[before.start..now.start] {
            let place = self.sorted.partition_point(|v| by_value_nan_first(v, value).is_lt());
            self.sorted.remove(place);
        }
        for value in &values[before.end..now.end] {
            let place = self.sorted.partition_point(|v| by_value_nan_first(v, value).is_le());
            self.sorted.insert(place, *value);
        }
        &self.sorted
    }
}
