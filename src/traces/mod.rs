//! Traces: OTLP in, Tempo's API out.

pub mod api;
mod cache;
pub mod columns;
mod cut;
mod find;
mod head;
mod hunt;
mod index;
mod names;
pub mod otlp;
mod scene;
mod schema;
mod shared;
mod source;
pub mod span;
mod spec;
mod tags;
pub mod trace;
pub mod traceql;
mod vector;

pub use spec::{Config, TracesSpec};
