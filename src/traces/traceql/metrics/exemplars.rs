//! Spans that stand for a sample (contracts/tempo.md 4.9).

use super::measure::sample_at;
use super::{Grid, Labels, Series};
use crate::model::TraceId;
use crate::traces::traceql::ast::{Field, Intrinsic};
use crate::traces::traceql::eval::{Value, trimmed};
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
    /// How many of each stretch of time.
    taken: Vec<u8>,
    /// Stretches in a nanosecond.
    rate: f64,
    /// By the key of their series; a value that is not measured is that of the sample.
    chosen: HashMap<String, Vec<(Exemplar, bool)>>,
    count: usize,
}

impl Chooser {
    pub fn new(limit: usize, grid: Grid) -> Chooser {
        let stretches = (limit / 2).max(1);
        let rate = stretches as f64 / (grid.end() - grid.start).max(1) as f64;
        Chooser { limit, grid, last_trace: None, taken: vec![0; stretches + 1], rate, chosen: HashMap::new(), count: 0 }
    }

    /// Whether some span that starts then would be taken.
    pub fn is_open(&self, start: i64) -> bool {
        self.count < self.limit && self.taken.get(self.stretch(start)).is_some_and(|taken| *taken < OF_STRETCH_MAX)
    }

    /// Whether a span that starts then would be taken.
    pub fn wants(&self, start: i64, trace_id: TraceId) -> bool {
        self.is_open(start) && self.last_trace != Some(trace_id)
    }

    fn stretch(&self, start: i64) -> usize {
        ((start - self.grid.start) as f64 * self.rate) as usize
    }

    /// Takes a span that is wanted. `labels` are what is known of it beside its trace.
    pub fn take(&mut self, key: &str, (start, trace_id): (i64, TraceId), value: Option<f64>, mut labels: Labels) {
        let id = Field::Intrinsic(Intrinsic::TraceId).to_string();
        labels.retain(|(name, _)| *name != id);
        labels.push((id, Value::String(trimmed(trace_id.to_hex()).into())));
        self.keep(key, trace_id, Exemplar { labels, value: value.unwrap_or(0.0), time: start }, value.is_some());
    }

    fn keep(&mut self, key: &str, trace_id: TraceId, exemplar: Exemplar, measured: bool) {
        let stretch = self.stretch(exemplar.time);
        self.taken.get_mut(stretch).into_iter().for_each(|taken| *taken += 1);
        self.count += 1;
        self.last_trace = Some(trace_id);
        self.chosen.entry(key.to_owned()).or_default().push((exemplar, measured));
    }

    /// Takes what another has chosen of other traces.
    pub fn absorb(&mut self, other: Chooser) {
        for (key, chosen) in other.chosen {
            for (exemplar, measured) in chosen {
                self.last_trace = None;
                if self.wants(exemplar.time, TraceId::default()) {
                    self.keep(&key, TraceId::default(), exemplar, measured);
                }
            }
        }
        self.last_trace = None;
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
