//! Metrics: series of samples, native histograms and exemplars. In through OTLP and remote write, out through the HTTP
//! API of Prometheus and PromQL.

pub mod api;
mod builder;
mod compact;
mod decimal;
mod head;
pub mod histogram;
mod kahan;
mod otlp;
pub mod promql;
mod remote_read;
pub mod remote_write;
mod rows;
mod schema;
pub mod scrape;
mod select;
mod spec;
mod sql;
mod writer;

pub use otlp::{TranslationConfig, TranslationStrategy};
pub use rows::{Exemplar, HistogramSample, Metadata, MetricType};
pub use spec::{Config, MetricsSpec};
pub use writer::Writer;

/// Bits of the NaN that ends a series: every other NaN is data.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Whether `value` is the staleness marker.
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN
}

/// The name of the label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";
