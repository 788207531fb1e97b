use crate::model::TenantId;

pub use crate::storage::Applied;

/// Sees the rows that come in through a [`Door`](super::Door): what follows the data live (tails, patterns, derived
/// metrics) without asking the store for it.
///
/// Rows that replay reads from the write-ahead log are not shown: they were when they came.
pub trait Observer<R>: Send + Sync {
    /// `rows` passed translation and are about to be appended. Called on the blocking thread of the request, so it takes
    /// a copy of what it needs, at a bounded cost, and never waits. What it returns is called when the rows are durable
    /// and visible, and not at all if they are not stored; the head may have refused a few of them, named by index.
    fn offered(&self, tenant: &TenantId, rows: &R) -> Option<Applied>;
}
