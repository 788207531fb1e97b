//! Prometheus's remote read: what another server asks for, and the samples in both forms that it may take.
//! Source: contracts/prometheus.md 1.11; field numbers and framing: prometheus/prompb `remote.proto` and `types.proto`,
//! chunks: prometheus/tsdb `docs/format/chunks.md`.

mod answer;
mod bits;
mod chunk;
mod request;
#[cfg(test)]
mod tests;

pub use answer::{Samples, Stream};
pub use request::{Form, Query, ReadRequest};
