use crate::metrics::STALE_NAN;
use crate::metrics::histogram::Histogram;
use crate::model::Labels;
use crate::query::QueryError;
use std::collections::HashMap;
use std::sync::Arc;

/// No value at this step. No sample of a result has these bits: the marker ends a series and never comes out of one.
pub const ABSENT: f64 = f64::from_bits(STALE_NAN);

pub fn is_absent(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// The steps of an evaluation, milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    pub start: i64,
    pub step: i64,
    pub count: usize,
}

impl Grid {
    pub fn one(at: i64) -> Grid {
        Grid { start: at, step: 0, count: 1 }
    }

    pub fn time(&self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(index as i64))
    }

    pub fn last(&self) -> i64 {
        self.time(self.count.saturating_sub(1))
    }

    pub fn times(self) -> impl Iterator<Item = i64> {
        (0..self.count).map(move |i| self.time(i))
    }
}

/// A value of a series at one step.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// A series at every step of a grid.
#[derive(Debug, Clone)]
pub struct Series {
    pub labels: Labels,
    /// The metric name is to be dropped at the end of the query (delayed name removal).
    pub drop_name: bool,
    /// One a step; [`ABSENT`] where there is no float.
    pub values: Vec<f64>,
    /// One a step, or empty if there is no histogram at all.
    pub histograms: Vec<Option<Arc<Histogram>>>,
}

impl Series {
    pub fn new(labels: Labels, count: usize) -> Series {
        Series { labels, drop_name: false, values: vec![ABSENT; count], histograms: Vec::new() }
    }

    pub fn with_values(labels: Labels, values: Vec<f64>) -> Series {
        Series { labels, drop_name: false, values, histograms: Vec::new() }
    }

    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        let histograms: usize = self.histograms.iter().flatten().map(|h| h.heap_bytes()).sum();
        let own = size_of::<Series>() + self.labels.heap_bytes();
        (own + 8 * self.values.len() + 8 * self.histograms.len() + histograms) as u64
    }

    pub fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.get(step).and_then(Option::as_ref)
    }

    pub fn get(&self, step: usize) -> Option<Cell> {
        if let Some(histogram) = self.histogram(step) {
            return Some(Cell::Histogram(histogram.clone()));
        }
        let value = self.values[step];
        (!is_absent(value)).then_some(Cell::Float(value))
    }

    pub fn float(&self, step: usize) -> Option<f64> {
        let value = self.values[step];
        (!is_absent(value)).then_some(value)
    }

    pub fn has(&self, step: usize) -> bool {
        !is_absent(self.values[step]) || self.histogram(step).is_some()
    }

    pub fn set(&mut self, step: usize, cell: Cell) {
        match cell {
            Cell::Float(value) => self.values[step] = value,
            Cell::Histogram(histogram) => {
                if self.histograms.is_empty() {
                    self.histograms = vec![None; self.values.len()];
                }
                self.histograms[step] = Some(histogram);
            }
        }
    }

    pub fn clear(&mut self, step: usize) {
        self.values[step] = ABSENT;
        if let Some(histogram) = self.histograms.get_mut(step) {
            *histogram = None;
        }
    }

    pub fn negate(&mut self) {
        for value in self.values.iter_mut().filter(|v| !is_absent(**v)) {
            *value = -*value;
        }
        for histogram in self.histograms.iter_mut().flatten() {
            let mut negated = (**histogram).clone();
            negated.scale(-1.0);
            *histogram = negated.into();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.values.iter().all(|v| is_absent(*v)) && self.histograms.iter().all(Option::is_none)
    }

    /// The one value of a step-invariant expression, at `count` steps.
    pub fn repeated(self, count: usize) -> Series {
        let histograms = match self.histograms.first() {
            Some(histogram) => vec![histogram.clone(); count],
            None => Vec::new(),
        };
        Series { values: vec![self.values[0]; count], histograms, ..self }
    }
}

fn belongs_to_name(label: &str) -> bool {
    matches!(label, "__name__" | "__type__" | "__unit__")
}

/// The labels by which series are told apart once the metric name and what depends on it are dropped.
pub fn without_name(labels: &Labels) -> Labels {
    labels.filtered(|n| !belongs_to_name(n))
}

/// Whether [`without_name`] would drop anything.
pub fn has_name(labels: &Labels) -> bool {
    labels.iter().any(|(n, _)| belongs_to_name(n))
}

/// Joins series with equal labels that never have values at the same step; an error if they do.
pub fn merge_equal(series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let mut merged: Vec<Series> = Vec::with_capacity(series.len());
    let mut known: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    for one in series {
        let Some(at) = known.get(&one.labels) else {
            known.insert(one.labels.clone(), merged.len());
            merged.push(one);
            continue;
        };
        let into = &mut merged[*at];
        for step in 0..one.values.len() {
            let Some(cell) = one.get(step) else { continue };
            if into.has(step) {
                return Err(QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned()));
            }
            into.set(step, cell);
        }
        into.drop_name &= one.drop_name;
    }
    Ok(merged)
}
