use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

/// What the thread that made it has allocated since and not freed again, bytes, as the allocator counts it. Always 0 where it
/// does not. Asking takes about a nanosecond.
pub struct Allocations {
    counts: Option<(ThreadLocal<u64>, ThreadLocal<u64>)>,
    before: u64,
}

impl Allocations {
    pub fn from_now() -> Allocations {
        let mut allocations = Allocations { counts: allocatedp::read().ok().zip(deallocatedp::read().ok()), before: 0 };
        allocations.before = allocations.held();
        allocations
    }

    /// Wraps, as a thread may free what others have allocated.
    #[inline]
    fn held(&self) -> u64 {
        self.counts.map_or(0, |(allocated, freed)| allocated.get().wrapping_sub(freed.get()))
    }

    #[inline]
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.held().wrapping_sub(self.before).cast_signed()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Allocations;

    #[test]
    fn what_is_freed_does_not_count() {
        let allocations = Allocations::from_now();
        let kept = vec![1u8; 1 << 20];
        drop(vec![1u8; 1 << 20]);
        assert!((1 << 20..2 << 20).contains(&allocations.bytes()), "{}", allocations.bytes());
        drop(kept);
        assert!(allocations.bytes() < 1 << 20);
    }

    #[test]
    fn other_threads_do_not_count() {
        let theirs = std::thread::spawn(|| vec![1u8; 1 << 20]).join().unwrap();
        let allocations = Allocations::from_now();
        drop(theirs);
        assert_eq!(allocations.bytes(), 0);
        std::thread::spawn(|| std::mem::forget(vec![1u8; 1 << 20])).join().unwrap();
        assert!(allocations.bytes() < 1 << 20);
    }
}
