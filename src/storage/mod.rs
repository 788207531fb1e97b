//! The engine: rows and sort keys, durable and queryable, for any signal. It never names a protocol or a query
//! language; what differs between signals arrives as a [`Spec`].
//!
//! In: [`Store::append`] writes a frame to the WAL, waits for the group commit, applies the rows to the head, and only
//! then returns. Out: [`Store::view`] gives one immutable instant of head and blocks. In between, `maintenance` cuts
//! heads into blocks.

mod batch;
pub mod block;
pub mod catalog;
pub mod head;
pub mod layout;
pub mod maintenance;
mod merge;
pub mod rebuild;
mod scan;
mod spec;
mod status;
mod store;
#[cfg(test)]
pub(crate) mod tests;
pub mod tier;
mod tombstone;
pub mod verify;
mod view;
pub mod wal;

pub use batch::{Admitted, Batch, Notice, Payload, Refusals, Watch};
pub use merge::{Merge, MergeError, MergeInput, Merged, Pace, RowStream};
pub use scan::{Predicate, Scan, Value};
pub use spec::{BlockDraft, Head, HeadStats, Portion, Portions, ReplayError, Rows, Spec, TableDraft, TableOptions};
pub use status::{BlockTotals, StoreStatus};
pub use store::{AppendError, Appended, Store, StoreConfig, Ticket};
pub use tombstone::{Delete, Tombstone, TombstoneState};
pub use view::{Missing, View};
