//! Evaluation over a View: log queries to entries, metric queries to series with a point for each step.

pub mod binary;
mod log;
mod metric;
mod range;
mod samples;
mod scan;
mod vector;

pub use log::{Direction, FoundEntry, LogQuery, run_log};
pub use metric::{Steps, Value, run_metric};

use crate::logs::spec::LogsSpec;
use crate::model::Labels;
use crate::query::Context;
use crate::storage::View;

/// What an evaluation works with.
pub struct Engine<'a> {
    pub view: &'a View<LogsSpec>,
    pub ctx: &'a Context,
    /// When the query was asked, nanoseconds since the epoch.
    pub now: i64,
}

/// What a query has read, for `stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub lines: u64,
    pub bytes: u64,
    /// Lines that survived the pipeline.
    pub kept: u64,
}

impl Stats {
    fn add(&mut self, other: &Stats) {
        self.lines += other.lines;
        self.bytes += other.bytes;
        self.kept += other.kept;
    }
}

/// A series of results: (number of the step, value), ascending; a step without a point is a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub labels: Labels,
    pub points: Vec<(u32, f64)>,
}
