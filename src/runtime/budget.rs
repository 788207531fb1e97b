use super::memory::{Memory, Purpose};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that may be in use at the same time for one purpose.
pub struct Budget {
    used: AtomicU64,
    max: u64,
    /// What it is a share of.
    whole: Option<(Arc<Memory>, Purpose)>,
}

/// Of what there is too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// What this budget may have at most.
    Share,
    /// What others leave: it comes back as heads are cut and requests end.
    Whole,
}

impl Budget {
    pub fn new(max: u64) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicU64::new(0), max, whole: None })
    }

    /// A share of `memory`: at most `max`, and less while others leave less.
    pub fn share(memory: &Arc<Memory>, purpose: Purpose, max: u64) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicU64::new(0), max, whole: Some((memory.clone(), purpose)) })
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// What is taken is the caller's to give back.
    pub fn take(&self, bytes: u64) -> Result<(), Short> {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).map_err(|_| Short::Share)?;
        match &self.whole {
            Some((memory, purpose)) if !memory.take(bytes, *purpose) => {
                self.used.fetch_sub(bytes, Ordering::Relaxed);
                Err(Short::Whole)
            }
            _ => Ok(()),
        }
    }

    /// Gives back what was taken.
    pub fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some((memory, _)) = &self.whole {
            memory.give(bytes);
        }
    }

    /// `None` if there is not that much left. Given back when the reservation is dropped.
    pub fn reserve(self: Arc<Budget>, bytes: u64) -> Option<Reservation> {
        let mut reservation = Reservation { budget: self, bytes: 0 };
        reservation.grow(bytes)?;
        Some(reservation)
    }
}

pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Takes more from the same budget; `None`, and unchanged, if there is not that much left.
    pub fn grow(&mut self, bytes: u64) -> Option<()> {
        self.budget.take(bytes).ok().map(|()| self.bytes += bytes)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the budget it is taken from has at most.
    pub fn max(&self) -> u64 {
        self.budget.max
    }

    /// Gives back what is more than `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.budget.give(less);
        self.bytes -= less;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Budget::new(10);
        let mut first = budget.clone().reserve(6).unwrap();
        assert!(budget.clone().reserve(5).is_none());
        assert!(first.grow(5).is_none() && first.grow(4).is_some());
        assert_eq!(budget.used(), 10);
        first.shrink_to(20);
        first.shrink_to(3);
        assert_eq!(budget.used(), 3);
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
