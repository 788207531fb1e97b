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
    taken: HashMap<i64, u8>,
    /// By the key of their series; a value that is not measured is that of the sample.
    chosen: HashMap<String, Vec<(Exemplar, bool)>>,
    count: usize,
}

impl Chooser {
    pub fn new(limit: usize, grid: Grid) -> Chooser {
        Chooser { limit, grid, last_trace: None, taken: HashMap::new(), chosen: HashMap::new(), count: 0 }
    }

    /// Whether any more are taken.
    pub fn is_open(&self) -> bool {
        self.count < self.limit
    }

    /// Whether a span that starts then would be taken.
    pub fn wants(&self, start: i64, trace_id: TraceId) -> bool {
        self.count < self.limit
            && self.last_trace != Some(trace_id)
            && self.taken.get(&self.stretch(start)).is_none_or(|taken| *taken < OF_STRETCH_MAX)
    }

    fn stretch(&self, start: i64) -> i64 {
        let stretches = i64::try_from((self.limit / 2).max(1)).unwrap_or(1);
        let width = ((self.grid.end() - self.grid.start) / stretches).max(1);
        (start - self.grid.start) / width
    }

    /// Takes a span that is wanted. `labels` are what is known of it beside its trace.
    pub fn take(&mut self, key: &str, (start, trace_id): (i64, TraceId), value: Option<f64>, mut labels: Labels) {
        let id = Field::Intrinsic(Intrinsic::TraceId).to_string();
        labels.retain(|(name, _)| *name != id);
        labels.push((id, Value::String(trimmed(trace_id.to_hex()).into())));
        self.keep(key, trace_id, Exemplar { labels, value: value.unwrap_or(0.0), time: start }, value.is_some());
    }

    fn keep(&mut self, key: &str, trace_id: TraceId, exemplar: Exemplar, measured: bool) {
        *self.taken.entry(self.stretch(exemplar.time)).or_default() += 1;
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
