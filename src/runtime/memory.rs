//! What the process takes of memory, measured: bounds on single purposes add up to nothing certain, since what they stand for
//! is estimated and much is nobody's. The allocator knows.

use parking_lot::Mutex;
use std::fs;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tikv_jemalloc_ctl::{Access, AsName, arenas, epoch, stats};

/// Who asks for memory: when there is little of it, writes are refused before queries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Write,
    Query,
}

/// Bytes that are taken at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Allocated and not freed.
    pub allocated: u64,
    /// In RAM, as the operating system counts it: with what the allocator keeps for the next allocation, and code.
    pub resident: u64,
    /// Of it, code and mapped files.
    pub mapped: u64,
}

impl MemoryUse {
    /// Of this process. All zero where the allocator or the system does not tell.
    pub fn now() -> MemoryUse {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let of = |name| resident(&status, name).unwrap_or(0);
        MemoryUse { allocated: allocated().unwrap_or(0), resident: of("VmRSS:"), mapped: of("RssFile:") }
    }
}

/// As the allocator counts it; takes up to some hundred microseconds.
fn allocated() -> Option<u64> {
    epoch::advance().ok()?;
    stats::allocated::read().ok().map(|bytes| bytes as u64)
}

/// Gives all that was freed back to the system at once. What is freed later stays for a while, as before.
pub fn give_back_freed() {
    for arena in 0..arenas::narenas::read().unwrap_or(0) {
        let decay = format!("arena.{arena}.dirty_decay_ms\0");
        // An arena that no thread has used yet does not tell.
        let Ok(before) = Access::<isize>::read(decay.name()) else { continue };
        // An arena that cannot be told keeps what it has.
        let _ = decay.name().write(0isize).and_then(|()| decay.name().write(before));
    }
}

fn resident(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// How much of the budget is taken, in rising order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    None,
    /// Rows should go to disk.
    Heads,
    /// So should what is only kept because it may be asked for again.
    Caches,
    /// Nothing more should come.
    Writes,
}

/// Sixteenths of the budget that may be allocated before the next thing happens. What is left is for what the allocator keeps
/// (a tenth of what is allocated, and what was freed within the last second), and for what is taken between two measurements.
const HEADS_GO: u64 = 7;
const CACHES_GO: u64 = 9;
const WRITES_MAX: u64 = 10;
const QUERIES_MAX: u64 = 12;

/// Sixteenths of the budget that may be resident before all of that happens, and queries wait, whatever is allocated.
const RESIDENT_MAX: u64 = 14;

/// Stacks, and what the allocator needs for itself.
const FIXED: u64 = 8 << 20;

/// Code counts for at most this part of the budget: a small one is for what is allocated, or it would take nothing.
const MAPPED_SHARE: u64 = 8;

/// Sixteenths of the budget that may be resident before freed memory goes back at once, if it is one sixteenth at least.
const FREED_STAYS: u64 = 11;

/// Sixteenths of the budget, allocated or resident, below which nothing of that can be near.
const FAR: u64 = 4;

/// A measurement serves for so long.
const FRESH: Duration = Duration::from_millis(10);

/// What is kept only because it may be asked for again.
pub trait Shrink: Send + Sync {
    /// Lets about half of it go.
    fn shrink(&self);
}

type Gauge = Box<dyn Fn() -> u64 + Send + Sync>;

/// The memory of the whole process, of which `--memory` is the bound.
pub struct Memory {
    max: u64,
    gauge: Gauge,
    measured_at: Mutex<Option<Instant>>,
    allocated: AtomicU64,
    /// Granted less given back since it was measured.
    since: AtomicI64,
    resident: AtomicU64,
    mapped: AtomicU64,
    caches: Mutex<Vec<Weak<dyn Shrink>>>,
}

impl Memory {
    pub fn new(max: u64) -> Arc<Memory> {
        Memory::measured_by(max, || allocated().unwrap_or(0))
    }

    /// `gauge` says what is allocated.
    pub fn measured_by(max: u64, gauge: impl Fn() -> u64 + Send + Sync + 'static) -> Arc<Memory> {
        Arc::new(Memory {
            max,
            gauge: Box::new(gauge),
            measured_at: Mutex::default(),
            allocated: AtomicU64::new(0),
            since: AtomicI64::new(0),
            resident: AtomicU64::new(0),
            mapped: AtomicU64::new(0),
            caches: Mutex::default(),
        })
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// From now on [`Memory::shrink_caches`] shrinks this one, too, while it lives.
    pub fn may_shrink(&self, cache: Weak<dyn Shrink>) {
        self.caches.lock().push(cache);
    }

    pub fn shrink_caches(&self) {
        let caches: Vec<_> = self.caches.lock().iter().filter_map(Weak::upgrade).collect();
        caches.iter().for_each(|cache| cache.shrink());
    }

    fn part(&self, sixteenths: u64) -> u64 {
        self.max / 16 * sixteenths
    }

    /// Measures what is allocated, unless that was done just now.
    fn measure(&self) {
        // Who is measuring does so for all.
        let Some(mut at) = self.measured_at.try_lock() else { return };
        if at.is_none_or(|at| at.elapsed() >= FRESH) {
            self.allocated.store((self.gauge)(), Ordering::Relaxed);
            self.since.store(0, Ordering::Relaxed);
            *at = Some(Instant::now());
        }
    }

    /// Allocated bytes and code, what was granted since the last measurement included.
    fn taken(&self) -> u64 {
        let since = self.since.load(Ordering::Relaxed);
        let measured = self.allocated.load(Ordering::Relaxed) + self.mapped.load(Ordering::Relaxed);
        FIXED.saturating_add(measured).saturating_add_signed(since)
    }

    /// Whether there is room for so much more; then the caller gives it back when it is freed.
    pub fn take(&self, bytes: u64, purpose: Purpose) -> bool {
        self.measure();
        let most = match purpose {
            Purpose::Write => self.part(WRITES_MAX),
            Purpose::Query => self.part(QUERIES_MAX),
        };
        let is_full = bytes > 0 && self.resident.load(Ordering::Relaxed) > self.part(RESIDENT_MAX);
        let signed = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.since.fetch_add(signed, Ordering::Relaxed);
        let fits = !is_full && self.taken() <= most;
        if !fits {
            self.since.fetch_sub(signed, Ordering::Relaxed);
        }
        fits
    }

    /// Whether it is enough to look every now and then.
    pub fn is_far_from_full(&self, now: MemoryUse) -> bool {
        now.resident.max(self.taken()) < self.part(FAR)
    }

    /// Whether freed memory should go back to the system at once.
    pub fn should_give_back(&self, now: MemoryUse) -> bool {
        now.resident > self.part(FREED_STAYS) && now.resident.saturating_sub(now.allocated + now.mapped + FIXED) > self.part(1)
    }

    pub fn give(&self, bytes: u64) {
        self.since.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// What to do about it now.
    pub fn pressure(&self, now: MemoryUse) -> Pressure {
        let mapped = now.mapped.min(self.max / MAPPED_SHARE);
        let resident = now.resident.saturating_sub(now.mapped) + mapped;
        self.resident.store(resident, Ordering::Relaxed);
        self.mapped.store(mapped, Ordering::Relaxed);
        self.measure();
        let taken = self.taken();
        if taken > self.part(WRITES_MAX) || resident > self.part(RESIDENT_MAX) {
            Pressure::Writes
        } else if taken > self.part(CACHES_GO) {
            Pressure::Caches
        } else if taken > self.part(HEADS_GO) {
            Pressure::Heads
        } else {
            Pressure::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Budget;

    const MAX: u64 = 1 << 30;

    fn memory() -> (Arc<AtomicU64>, Arc<Memory>) {
        let allocated = Arc::new(AtomicU64::new(0));
        let gauge = allocated.clone();
        (allocated, Memory::measured_by(MAX, move || gauge.load(Ordering::Relaxed)))
    }

    fn later(memory: &Memory) {
        *memory.measured_at.lock() = None;
    }

    #[test]
    fn what_was_granted_counts_until_it_is_measured() {
        let (allocated, memory) = memory();
        let room = MAX / 16 * WRITES_MAX - FIXED;
        let budget = Budget::share(&memory, Purpose::Write, MAX);
        let held = budget.clone().reserve(room).unwrap();
        assert!(budget.clone().reserve(1).is_none(), "the whole is used up, the share is not");
        assert_eq!(budget.used(), room, "what is refused is not held");
        drop(held);
        assert!(memory.take(room, Purpose::Write));
        allocated.store(room, Ordering::Relaxed);
        later(&memory);
        assert!(!memory.take(1, Purpose::Write), "it is measured now, and counts once");
        assert!(memory.take(MAX / 16, Purpose::Query), "queries are refused later than writes");
        allocated.store(0, Ordering::Relaxed);
        later(&memory);
        assert!(memory.take(1, Purpose::Write));
    }

    #[test]
    fn heads_go_before_caches_and_caches_before_writes() {
        let (allocated, memory) = memory();
        let at = |sixteenths: u64, resident: u64| {
            allocated.store(MAX / 16 * sixteenths - FIXED + 1, Ordering::Relaxed);
            later(&memory);
            memory.pressure(MemoryUse { resident, ..MemoryUse::default() })
        };
        assert_eq!([6, 7, 9, 10].map(|part| at(part, 0)), [Pressure::None, Pressure::Heads, Pressure::Caches, Pressure::Writes]);
        assert_eq!(at(2, MAX), Pressure::Writes);
        assert!(!memory.take(1, Purpose::Write) && !memory.take(1, Purpose::Query), "the system's count is the last word");
        assert_eq!(at(2, 0), Pressure::None);
        assert!(memory.take(1, Purpose::Write));
    }
    #[test]
    fn it_is_looked_at_less_often_while_little_is_taken() {
        let (allocated, memory) = memory();
        let of = |resident| MemoryUse { resident, ..MemoryUse::default() };
        assert!(memory.is_far_from_full(of(MAX / 5)) && !memory.is_far_from_full(of(MAX / 4)));
        allocated.store(MAX / 4, Ordering::Relaxed);
        assert_eq!(memory.pressure(of(0)), Pressure::None);
        assert!(!memory.is_far_from_full(of(0)), "what is allocated counts as well");
    }

    #[test]
    fn freed_memory_goes_back_when_it_is_much() {
        let (_, memory) = memory();
        let full = |allocated: u64, resident: u64| {
            memory.should_give_back(MemoryUse { allocated: MAX / 16 * allocated, resident: MAX / 16 * resident, mapped: 0 })
        };
        assert!(full(4, 12) && !full(4, 10) && !full(12, 13));
    }

    #[test]
    fn this_process_is_measured() {
        let before = MemoryUse::now();
        let held = std::hint::black_box(vec![1u8; 64 << 20]);
        let now = MemoryUse::now();
        assert!(now.resident >= before.resident + (48 << 20), "{before:?} {now:?}");
        drop(held);
        give_back_freed();
        assert!(MemoryUse::now().allocated <= now.allocated);
    }

    #[test]
    fn only_what_lives_shrinks() {
        struct Halves(AtomicU64);
        impl Shrink for Halves {
            fn shrink(&self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (_, memory) = memory();
        let cache = Arc::new(Halves(AtomicU64::new(0)));
        let weak: Weak<dyn Shrink> = Arc::<Halves>::downgrade(&cache);
        memory.may_shrink(weak);
        memory.shrink_caches();
        assert_eq!(cache.0.load(Ordering::Relaxed), 1);
        drop(cache);
        memory.shrink_caches();
    }
}
