//! What DataFusion's operators hold comes from the query's own budget.

use crate::query::Context;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool, MemoryReservation};
use parking_lot::Mutex;
use std::fmt;

/// Bytes that operators hold.
#[derive(Debug, Default)]
struct Held {
    granted: u64,
    /// Taken without being asked whether it may be: as soon as there is any, nothing more is granted.
    beyond: u64,
}

#[derive(Debug)]
pub(super) struct Pool {
    context: Context,
    held: Mutex<Held>,
}

impl Pool {
    pub fn new(context: Context) -> Pool {
        Pool { context, held: Mutex::default() }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the query's budget, {} bytes of it in use", self.context.used())
    }
}

impl MemoryPool for Pool {
    fn name(&self) -> &str {
        "query"
    }

    fn grow(&self, _: &MemoryReservation, additional: usize) {
        let mut held = self.held.lock();
        if self.context.reserve(additional as u64).is_ok() {
            held.granted += additional as u64;
        } else {
            held.beyond += additional as u64;
        }
    }

    fn shrink(&self, _: &MemoryReservation, shrink: usize) {
        let mut held = self.held.lock();
        let beyond = held.beyond.min(shrink as u64);
        let granted = (shrink as u64 - beyond).min(held.granted);
        held.beyond -= beyond;
        held.granted -= granted;
        self.context.release(granted);
    }

    fn try_grow(&self, _: &MemoryReservation, additional: usize) -> Result<()> {
        let mut held = self.held.lock();
        // More than nothing of what is beyond it: the budget is used up.
        let asked = (additional as u64).saturating_add(held.beyond);
        self.context.reserve(asked).map_err(|error| DataFusionError::ResourcesExhausted(error.to_string()))?;
        held.granted += asked;
        held.beyond = 0;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let held = self.held.lock();
        (held.granted + held.beyond) as usize
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Infinite
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.context.release(self.held.get_mut().granted);
    }
}
