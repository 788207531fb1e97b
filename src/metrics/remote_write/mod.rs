//! Prometheus's remote write, both versions, as rows; and bodies of version 2.0 for monocle's own writers.
//! Source of all rules: contracts/prometheus.md 2; field numbers: prometheus/prompb `types.proto` and
//! `io/prometheus/write/v2/types.proto`.
//!
//! The messages are read field by field from the bytes: a request of 100,000 series never exists as 100,000 structs.

pub(in crate::metrics) mod body;
#[cfg(test)]
mod differential;
pub(in crate::metrics) mod histogram;
mod label_set;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

pub use body::{SeriesWrite, WriteBody};
pub use v2::{Tally, Written};

use super::rows::MetricRows;
use crate::ingest::Plain;
use crate::model::Failure;
use crate::storage::Refusals;
use std::fmt;

/// Translates a `prometheus.WriteRequest`. Every sample is an item, in the order of the message; exemplars follow them.
/// One item that is refused refuses the request (2.2); series without a usable label set are skipped in silence.
///
/// Fails only for a body that cannot be decoded.
pub fn translate_1<'a>(body: impl Into<Plain<'a>>) -> Result<(MetricRows, Refusals), Failure> {
    v1::translate(body.into()).map_err(undecodable)
}

/// Translates an `io.prometheus.write.v2.Request`. Of each series in turn, its floats, histograms and exemplars are items;
/// what is faulty is refused by itself (2.3).
///
/// Fails only for a body that cannot be decoded.
pub fn translate_2<'a>(body: impl Into<Plain<'a>>) -> Result<(MetricRows, Refusals, Tally), Failure> {
    v2::translate(body.into()).map_err(undecodable)
}

fn undecodable(error: impl fmt::Display) -> Failure {
    Failure::invalid(format!("cannot decode remote write request: {error}"))
}

/// One float as both versions write it. Milliseconds since the epoch; `start` 0 if unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct FloatSample {
    ts: i64,
    start: i64,
    value: f64,
}
