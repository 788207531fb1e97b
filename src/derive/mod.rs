//! What crosses signals: span metrics and the service graph, derived from accepted spans and written as samples through the
//! door for remote write, like everyone else's (contracts/tempo.md 6).
//!
//! A span counts at most once. It is seen when it is accepted, never when the write-ahead log is replayed; what a crash cuts
//! off between its acknowledgement and the next collection is not counted at all. A clean stop collects once more. After a
//! restart the counters begin again at zero, with a start time that is not before any sample of the time before, so that
//! `rate` sees a reset and neither loses nor doubles an increment.

mod edges;
mod histogram;
mod intake;
mod output;
mod recent;
mod run;
mod service_graph;
mod span_metrics;
#[cfg(test)]
mod tests;

pub use run::Deriver;

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Config {
    pub enabled: bool,
    /// Between collections.
    pub interval: Duration,
    /// Attributes that become labels of span metrics, each looked up in the resource first, then in the span.
    pub dimensions: Vec<String>,
    /// Series of all tenants together; spans that would need more are not counted in them.
    pub series_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config { enabled: true, interval: Duration::from_secs(15), dimensions: Vec::new(), series_max: 100_000 }
    }
}

/// A text attribute as it stands in a label: long ones are cut, since labels are kept in memory.
const LABEL_MAX_BYTES: usize = 1024;

fn label_text(text: &str) -> &str {
    let mut end = text.len().min(LABEL_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
