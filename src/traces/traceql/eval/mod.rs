//! Evaluation on whole traces.

mod filter;
mod needs;
mod pipeline;
mod shown;
mod sieve;
mod structure;
mod subject;
mod value;

#[cfg(test)]
mod tests;

pub use filter::{Computed, Filter, joint};
pub use needs::{first_pipeline, need, need_expr, need_pipeline};
pub use pipeline::{Program, Set};
pub use shown::Shown;
pub use sieve::Sieve;
pub use structure::{BITS, apply as related, apply_bits as related_bits};
pub use subject::{Bound, Look, Subject, TraceFacts, trimmed};
pub use value::{EvalError, Value, compare};
