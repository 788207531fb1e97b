//! Spans that stand for a sample (contracts/tempo.md 4.9).

use super::measure::sample_at;
use super::{Grid, Labels, Series};
use crate::model::TraceId;
use crate::traces::traceql::ast::{Field, Intrinsic};
use crate::traces::traceql::eval::{Shown, Subject};
use std::collections::HashMap;

#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    pub labels: Labels,
    pub value: f64,
    /// The start of the span, nanoseconds.
    pub time: i64,
}

/// Exemplars of one stretch of time at most.
const OF_STRETCH_MAX: u8 = 2;

/// Keeps at most one span a trace, and spreads them over time.
pub(super) struct Chooser {
    limit: usize,
    grid: Grid,
    last_trace: Option<TraceId>,
    taken: HashMap<i64, u8>,
    /// By the key of their series; a value that is not measured is that of the sample.
    chosen: HashMap<String, Vec<(Exemplar, bool)>>,
    count: usize,
}

impl Chooser {
    pub fn new(limit: usize, grid: Grid) -> Chooser {
        Chooser { limit, grid, last_trace: None, taken: HashMap::new(), chosen: HashMap::new(), count: 0 }
    }

    pub fn offer(&mut self, key: &str, subject: Subject<'_>, value: Option<f64>, shown: &Shown) {
        let span = subject.span();
        if self.count >= self.limit || self.last_trace == Some(span.trace_id) {
            return;
        }
        let stretches = i64::try_from((self.limit / 2).max(1)).unwrap_or(1);
        let width = ((self.grid.end() - self.grid.start) / stretches).max(1);
        let taken = self.taken.entry((span.start - self.grid.start) / width).or_default();
        if *taken >= OF_STRETCH_MAX {
            return;
        }
        *taken += 1;
        self.count += 1;
        self.last_trace = Some(span.trace_id);
        let trace_id = Field::Intrinsic(Intrinsic::TraceId);
        let mut labels: Labels = shown.labels(subject);
        labels.retain(|(name, _)| *name != trace_id.to_string());
        labels.push((trace_id.to_string(), subject.get(&trace_id).into_owned()));
        let exemplar = Exemplar { labels, value: value.unwrap_or(0.0), time: span.start };
        self.chosen.entry(key.to_owned()).or_default().push((exemplar, value.is_some()));
    }

    /// Gives the exemplars of `key` to its series: the nearest of several quantiles, the first otherwise.
    pub fn attach(&mut self, key: &str, series: &mut [Series], nearest: bool) {
        for (mut exemplar, measured) in self.chosen.remove(key).unwrap_or_default() {
            let distance = |s: &Series| (sample_at(s, &exemplar, self.grid).unwrap_or(f64::MAX) - exemplar.value).abs();
            let place =
                if nearest { (0..series.len()).min_by(|a, b| distance(&series[*a]).total_cmp(&distance(&series[*b]))) } else { Some(0) };
            let Some(target) = place.and_then(|i| series.get_mut(i)) else { continue };
            if !measured {
                exemplar.value = sample_at(target, &exemplar, self.grid).unwrap_or(0.0);
            }
            if exemplar.value.is_finite() {
                target.exemplars.push(exemplar);
            }
        }
    }
}
