//! Spans as columns and back: the same for the chunks of a head, which keep every attribute in the rest maps, and for
//! blocks, which give a column to each attribute that occurs often.

mod merge;
mod plan;
mod projection;
mod read;
pub mod typed_json;
mod write;

#[cfg(test)]
pub mod tests;

pub use merge::merge;
pub use plan::Plan;
pub use projection::{Keys, Projection};
pub use read::{EventReader, LinkReader, SpanReader};
pub use write::{write_events, write_links, write_spans, write_traces};
