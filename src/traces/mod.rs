//! Traces: OTLP in, Tempo's API out.

pub mod api;
pub mod columns;
mod compact;
mod cut;
mod find;
mod head;
mod names;
pub mod otlp;
mod schema;
mod source;
pub mod span;
mod spec;
mod tags;
pub mod trace;
pub mod traceql;

pub use spec::{Config, TracesSpec};
