use super::Shutdown;
use super::host::resident_bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How much of its memory the process has taken, as the kernel counts it: budgets are estimates, and this is what they are
/// to hold.
pub struct Pressure {
    max_bytes: u64,
    resident_bytes: AtomicU64,
}

/// From this part on, what is in heads is written to blocks.
const HIGH_PERCENT: u64 = 55;

/// From this part on, nothing more is taken in: what is under way needs the rest.
const CRITICAL_PERCENT: u64 = 70;

/// The program itself takes some of this, whatever it may have.
const LEAST_BYTES: u64 = 192 << 20;

const EVERY: Duration = Duration::from_millis(50);

impl Pressure {
    /// Of a process that may take `max_bytes`.
    pub fn new(max_bytes: u64) -> Arc<Pressure> {
        Arc::new(Pressure { max_bytes: max_bytes.max(LEAST_BYTES), resident_bytes: AtomicU64::new(0) })
    }

    fn is_above(&self, percent: u64) -> bool {
        self.resident_bytes.load(Ordering::Relaxed) > self.max_bytes / 100 * percent
    }

    pub fn is_high(&self) -> bool {
        self.is_above(HIGH_PERCENT)
    }

    pub fn is_critical(&self) -> bool {
        self.is_above(CRITICAL_PERCENT)
    }

    /// Looks at the process until shutdown.
    pub async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let mut was_critical = false;
        loop {
            if let Some(bytes) = resident_bytes() {
                self.resident_bytes.store(bytes, Ordering::Relaxed);
            }
            if self.is_critical() != was_critical {
                was_critical = !was_critical;
                let resident = self.resident_bytes.load(Ordering::Relaxed);
                tracing::debug!(resident, max = self.max_bytes, critical = was_critical, "memory");
            }
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Budget;

    #[tokio::test]
    async fn what_is_short_is_not_handed_out() {
        let pressure = Pressure::new(1 << 40);
        let budget = Budget::under(100, pressure.clone());
        assert!(budget.take(10) && !pressure.is_high());
        pressure.resident_bytes.store(1 << 40, Ordering::Relaxed);
        assert!(pressure.is_high() && pressure.is_critical() && !budget.take(1));
        let stop = Shutdown::default();
        stop.request();
        pressure.clone().watch(stop).await;
        assert!(pressure.resident_bytes.load(Ordering::Relaxed) > 1 << 20, "a process takes more than a megabyte");
        assert!(budget.take(1));
    }
}
