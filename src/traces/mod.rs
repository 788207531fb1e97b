//! Traces: OTLP in, Tempo's API out.

pub mod api;
pub mod columns;
mod cut;
mod find;
mod head;
mod limits;
mod names;
pub mod otlp;
mod schema;
mod source;
pub mod span;
mod spec;
mod tags;
pub mod trace;
pub mod traceql;

pub use limits::Limits;
pub use otlp::encoded_len;
pub use spec::{Config, TracesSpec};
