//! Spans as columns of a block and back: an attribute that occurs often has a column, the others are in rest maps.

mod narrow;
mod plan;
mod projection;
mod read;
pub mod typed_json;
mod write;

#[cfg(test)]
pub mod tests;

pub use plan::Plan;
pub use projection::{Keys, Projection};
pub use read::{EventReader, LinkReader, SpanReader, trace_rows};
pub use write::{Structure, batch, without_dictionaries, write_events, write_links, write_spans, write_traces};
