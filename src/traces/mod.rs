//! Traces: OTLP in, Tempo's API out.

pub mod columns;
mod cut;
mod head;
pub mod otlp;
mod schema;
pub mod span;
mod spec;
pub mod trace;
pub mod traceql;

pub use spec::{Config, TracesSpec};
