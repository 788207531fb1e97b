//! Metrics: series of samples, native histograms and exemplars. In through OTLP, out through the HTTP API of Prometheus
//! and PromQL.

pub mod api;
mod compact;
mod decimal;
mod head;
pub mod histogram;
mod kahan;
mod otlp;
pub mod promql;
mod rows;
mod schema;
mod select;
mod spec;

pub use otlp::{TranslationConfig, TranslationStrategy};
pub use spec::{Config, MetricsSpec};

/// Bits of the NaN that ends a series: every other NaN is data.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the staleness marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// The name of the label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";
