//! Metrics queries: time series measured on spans (contracts/tempo.md 4.9).

mod block;
mod buckets;
mod compare;
mod exemplars;
mod grid;
mod math;
mod measure;
mod observed;
mod stages;

#[cfg(test)]
mod tests;

use super::eval::Value;

pub use exemplars::Exemplar;
pub use grid::Grid;
pub use measure::{Plan, Range};

/// Label keys and typed values, in order.
pub type Labels = Vec<(String, Value<'static>)>;

#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: Labels,
    /// One an interval; `None` where there is none.
    pub samples: Vec<Option<f64>>,
    pub exemplars: Vec<Exemplar>,
}

/// Tells label sets apart, with the types of their values.
pub fn key_of(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}\u{0}{}\u{0}", value.key())).collect()
}

/// The label of a series that has no other.
pub const NAME: &str = "__name__";

impl Series {
    pub fn new(labels: Labels, samples: Vec<Option<f64>>) -> Series {
        Series { labels, samples, exemplars: Vec::new() }
    }

    /// What orders series, and tells them apart: the number of labels, then keys and values; values of the same text by
    /// their types.
    pub fn order(&self) -> (usize, Vec<(String, String, String)>) {
        (self.labels.len(), self.labels.iter().map(|(key, value)| (key.clone(), value.text(), value.key())).collect())
    }
}
