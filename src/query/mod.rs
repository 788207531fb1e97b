//! The door out: one query's budget, the CPU pool it runs on, and the algebra of label sets that the metrics of all
//! three languages share.

mod context;
mod grouping;
mod matching;
mod parallel;
mod pool;
pub mod sql;

pub use context::{Context, QueryError};
pub use grouping::Grouping;
pub use matching::{Cardinality, Matching};
pub use parallel::{fold, in_order};
pub use pool::{Pool, PoolConfig};
