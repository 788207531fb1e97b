//! Traces: OTLP in, Tempo's API out.

pub mod api;
mod cache;
pub mod columns;
mod compact;
mod cut;
mod find;
mod head;
mod hunt;
mod index;
mod limits;
mod names;
pub mod otlp;
mod place;
mod scene;
mod schema;
mod shared;
mod source;
pub mod span;
mod span_ref;
mod spec;
mod sql;
mod tags;
pub mod trace;
pub mod traceql;
mod values;
mod vector;

pub use head::Chunk;
pub use limits::Limits;
pub use otlp::encoded_len;
pub use spec::{Config, TracesSpec};
