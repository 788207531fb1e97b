use super::MaintenanceError;
use crate::runtime::{Behind, in_background};
use crate::storage::block::{BlockMeta, WalRange, write_block};
use crate::storage::catalog::{CatalogEdit, SignalFields};
use crate::storage::head::Generation;
use crate::storage::{Head, Spec, Store};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the plan looks at.
pub(super) struct State {
    pub head_bytes: u64,
    pub head_max_bytes: u64,
    pub wal_bytes: u64,
    pub wal_max_bytes: u64,
    /// When the oldest unflushed rows came.
    pub oldest: Option<i64>,
}

/// Whether to cut now: half of a bound is used, or rows have waited long enough, or nobody knows how long because the clock
/// was set back.
pub(super) fn plan(state: &State, now: i64, cut_after: Duration) -> bool {
    let Some(oldest) = state.oldest else { return false };
    let has_waited = u128::try_from(now.saturating_sub(oldest)).map_or(true, |waited| waited >= cut_after.as_nanos());
    state.head_bytes >= state.head_max_bytes / 2 || state.wal_bytes >= state.wal_max_bytes / 2 || has_waited
}

impl<S: Spec> Store<S> {
    /// Writes everything in the head to blocks. When it returns, what was acknowledged before the call is in blocks.
    pub fn cut(&self) -> Result<(), MaintenanceError> {
        let alone = self.cut_lock();
        self.cut_under(&alone, Behind::Nobody)
    }

    /// As [`Store::cut`], for who holds the lock already, and behind other work.
    pub(super) fn cut_under(&self, _: &parking_lot::MutexGuard<'_, ()>, behind: Behind) -> Result<(), MaintenanceError> {
        for (generation, end) in self.seal() {
            self.cut_generation(&generation, end, behind)?;
        }
        Ok(())
    }

    fn cut_generation(&self, generation: &Arc<Generation<S>>, end: u64, behind: Behind) -> Result<(), MaintenanceError> {
        if !generation.wait_applied(|| self.is_stalled()) {
            // The next cut takes it.
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the write-ahead log waits for room on the disk").into());
        }
        let started = Instant::now();
        let signal = self.signal_of();
        let wal = WalRange { from: generation.from, to: end };
        let mut edit = CatalogEdit { floor: Some((signal, end)), ..CatalogEdit::default() };
        let written = in_background(behind, || self.write_blocks(generation, wal, &mut edit.add));
        if let Err(error) = written.map_err(MaintenanceError::Io).flatten() {
            // The cut will be tried again and write them anew: those of every attempt would fill the disk.
            self.discard(&edit.add);
            return Err(error);
        }
        self.publish(&edit, Some(generation))?;
        self.tell_cut();
        self.metrics().cut(signal, started.elapsed());
        tracing::debug!(%signal, blocks = edit.add.len(), items = edit.add.iter().map(|m| m.items).sum::<u64>(), "head cut");
        Ok(())
    }

    /// Each block is in `written` as soon as its files are.
    fn write_blocks(&self, generation: &Generation<S>, wal: WalRange, written: &mut Vec<BlockMeta>) -> Result<(), MaintenanceError> {
        let signal = self.signal_of();
        let fields = SignalFields { catalog: self.catalog(), signal };
        for (tenant, head) in generation.heads() {
            for draft in head.cut() {
                let facts = (self.next_block_id(), &tenant, signal, wal);
                written.push(write_block(self.world(), self.layout(), &fields, facts, draft?)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_due_by_bytes_or_by_age_and_never_for_nothing() {
        let state = |head_bytes, wal_bytes, oldest| State { head_bytes, head_max_bytes: 100, wal_bytes, wal_max_bytes: 100, oldest };
        let minute = Duration::from_secs(60);
        assert!(!plan(&state(100, 100, None), i64::MAX, minute));
        assert!(!plan(&state(49, 49, Some(5)), 6, minute));
        assert!(plan(&state(50, 0, Some(5)), 6, minute));
        assert!(plan(&state(0, 50, Some(5)), 6, minute));
        assert!(plan(&state(0, 0, Some(5)), 5 + 60_000_000_000, minute));
        assert!(plan(&state(0, 0, Some(5)), 4, minute), "the clock was set back");
    }
}
