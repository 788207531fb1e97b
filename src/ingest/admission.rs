//! What one tenant may send, and how tenants share what there is.

use crate::model::{Failure, FailureKind, TenantId};
use crate::runtime::{Budget, Clock};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// What one tenant may do; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TenantLimits {
    /// Decompressed bytes a second, of each signal; above zero.
    pub rate: Option<u64>,
    /// Series of metrics that were written within the hour.
    pub series: Option<u64>,
    /// Streams of logs that are in memory, which is those that were written since the last cut.
    pub streams: Option<u64>,
}

/// The limits of every tenant: those that are named have their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AllLimits {
    pub others: TenantLimits,
    pub named: HashMap<TenantId, TenantLimits>,
}

impl AllLimits {
    pub fn of(&self, tenant: &TenantId) -> TenantLimits {
        self.named.get(tenant).copied().unwrap_or(self.others)
    }
}

/// Requests of one tenant and signal that are decoded, or next in line to be, at the same time: another tenant's request has
/// no more than these before it.
pub(super) const DECODING_MAX: usize = 4;

/// Tenants that have requests under way, or that are over their rate.
const TENANTS_MAX: usize = 65_536;

const SECOND: i64 = 1_000_000_000;

/// Where the requests of one signal wait, each tenant's by themselves.
pub(super) struct Gate {
    limits: Arc<AllLimits>,
    clock: Arc<dyn Clock>,
    /// Memory for requests, shared by all gates.
    memory: Arc<Budget>,
    tenants: Mutex<HashMap<TenantId, Arc<Tenant>>>,
}

struct Tenant {
    rate: Option<u64>,
    paid: Mutex<Paid>,
    /// Bytes of bodies between their receipt and the head.
    held: AtomicU64,
    decoding: Arc<Semaphore>,
}

/// A bucket of tokens, kept as the time at which it is full: it holds what comes in a second, and may be overdrawn by one
/// request, so that no request is too large for any rate. Nanoseconds since the epoch.
struct Paid {
    until: i64,
    /// The latest time that was seen: a clock that was set back must not stop anyone for that long.
    seen: i64,
}

impl Tenant {
    fn new(rate: Option<u64>) -> Tenant {
        let paid = Mutex::new(Paid { until: 0, seen: 0 });
        Tenant { rate, paid, held: AtomicU64::new(0), decoding: Arc::new(Semaphore::new(DECODING_MAX)) }
    }

    /// How long it has to wait before it may send anything.
    fn debt(&self, now: i64) -> Duration {
        let mut paid = self.paid.lock();
        if now < paid.seen {
            paid.until -= paid.seen - now;
        }
        paid.seen = now;
        Duration::from_nanos(paid.until.saturating_sub(now).try_into().unwrap_or(0))
    }

    fn charge(&self, bytes: u64, now: i64) {
        let Some(rate) = self.rate else { return };
        let cost = u128::from(bytes) * SECOND.unsigned_abs() as u128 / u128::from(rate);
        let mut paid = self.paid.lock();
        paid.until = paid.until.max(now - SECOND).saturating_add(i64::try_from(cost).unwrap_or(i64::MAX));
    }
}

/// A request that was let in; its bytes count against its tenant until this is dropped.
pub(super) struct Entered {
    tenant: Arc<Tenant>,
    bytes: u64,
}

impl Entered {
    pub fn decoding(&self) -> Arc<Semaphore> {
        self.tenant.decoding.clone()
    }

    /// What the request turned out to hold, at the time `now`.
    pub fn charge(&self, decoded_bytes: usize, now: i64) {
        self.tenant.charge(decoded_bytes as u64, now);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.tenant.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Gate {
    pub fn new(limits: Arc<AllLimits>, clock: Arc<dyn Clock>, memory: Arc<Budget>) -> Gate {
        Gate { limits, clock, memory, tenants: Mutex::default() }
    }

    /// Lets a request of `bytes` in, or says when it may come back.
    ///
    /// What all requests of a tenant hold is at most what is left to others, so that one that sends too much is refused
    /// while there still is room for everyone else: alone it may take half of the memory, two of its kind a third each.
    pub fn enter(&self, tenant: &TenantId, bytes: u64) -> Result<Entered, Failure> {
        let now = self.clock.now();
        let state = self.state(tenant, now)?;
        if let Some(rate) = state.rate {
            let wait = state.debt(now);
            if !wait.is_zero() {
                let seconds = wait.as_secs() + 1;
                let message = format!("ingestion rate limit of {rate} bytes/s exceeded (--tenant-rate), try again in {seconds} s");
                let retry_after = Some(Duration::from_secs(seconds));
                return Err(Failure { retry_after, ..Failure::new(FailureKind::RateLimited, message) });
            }
        }
        let held = state.held.fetch_add(bytes, Ordering::Relaxed);
        let entered = Entered { tenant: state, bytes };
        let left = self.memory.max().saturating_sub(self.memory.used());
        // Whoever has nothing here may try, however large it is.
        if held > 0 && held.saturating_add(bytes) > left {
            return Err(Failure::unavailable("memory for requests of one tenant is used up").because("memory"));
        }
        Ok(entered)
    }

    fn state(&self, tenant: &TenantId, now: i64) -> Result<Arc<Tenant>, Failure> {
        let mut tenants = self.tenants.lock();
        if let Some(state) = tenants.get(tenant) {
            return Ok(state.clone());
        }
        if tenants.len() >= TENANTS_MAX {
            tenants.retain(|_, t| Arc::strong_count(t) > 1 || !t.debt(now).is_zero());
        }
        if tenants.len() >= TENANTS_MAX {
            return Err(Failure::unavailable("too many tenants are writing"));
        }
        Ok(tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Tenant::new(self.limits.of(tenant).rate))).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ManualClock;

    fn gate(rate: Option<u64>, memory: u64) -> (Gate, Arc<ManualClock>, TenantId) {
        let clock = Arc::new(ManualClock::at(1_000 * SECOND));
        let others = TenantLimits { rate, ..TenantLimits::default() };
        let limits = Arc::new(AllLimits { others, named: HashMap::new() });
        (Gate::new(limits, clock.clone(), Budget::new(memory)), clock, TenantId::default_tenant())
    }

    /// Sends as much as it is let, for `seconds`, in requests of so many bytes.
    fn sent(gate: &Gate, clock: &ManualClock, tenant: &TenantId, bytes: usize, seconds: i64) -> usize {
        let until = clock.now() + seconds * SECOND;
        let mut sum = 0;
        while clock.now() < until {
            match gate.enter(tenant, 1) {
                Ok(entered) => {
                    entered.charge(bytes, clock.now());
                    sum += bytes;
                }
                Err(failure) => {
                    assert_eq!(failure.kind, FailureKind::RateLimited);
                    assert!(failure.retry_after.unwrap() >= Duration::from_secs(1));
                    clock.set(clock.now() + SECOND / 100);
                }
            }
        }
        sum
    }

    #[test]
    fn a_rate_holds_for_small_requests_and_for_those_larger_than_a_second_of_it() {
        for bytes in [1_000, 99_999, 1_000_000] {
            let (gate, clock, tenant) = gate(Some(100_000), 1 << 30);
            let sum = sent(&gate, &clock, &tenant, bytes, 60);
            // What comes in the time, what was there in the beginning, and one request.
            assert!((6_000_000..=6_100_000 + bytes).contains(&sum), "{bytes}: {sum}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_stops_nobody() {
        let (gate, clock, tenant) = gate(Some(1_000), 1 << 30);
        gate.enter(&tenant, 1).unwrap().charge(5_000, clock.now());
        assert!(gate.enter(&tenant, 1).is_err());
        clock.set(10 * SECOND);
        assert!(gate.enter(&tenant, 1).is_err());
        clock.set(15 * SECOND);
        assert!(gate.enter(&tenant, 1).is_ok());
    }

    #[test]
    fn named_tenants_have_limits_of_their_own_and_debts_are_not_shared() {
        let other = TenantId::parse("other").unwrap();
        let others = TenantLimits { rate: Some(1_000), ..TenantLimits::default() };
        let limits = AllLimits { others, named: HashMap::from([(other.clone(), TenantLimits::default())]) };
        let clock = Arc::new(ManualClock::at(SECOND));
        let gate = Gate::new(Arc::new(limits), clock.clone(), Budget::new(1 << 30));
        for tenant in [&TenantId::default_tenant(), &other] {
            gate.enter(tenant, 1).unwrap().charge(1 << 20, clock.now());
        }
        assert!(gate.enter(&TenantId::default_tenant(), 1).is_err());
        assert!(gate.enter(&other, 1).is_ok());
        assert!(gate.enter(&TenantId::parse("third").unwrap(), 1).is_ok());
    }

    #[test]
    fn a_tenant_that_fills_the_memory_leaves_room_for_others() {
        let (gate, _, greedy) = gate(None, 1_000);
        let mut kept = Vec::new();
        while let Ok(entered) = gate.enter(&greedy, 10) {
            kept.push((entered, gate.memory.clone().reserve(10).unwrap()));
        }
        assert_eq!(gate.memory.used(), 500);
        let other = TenantId::parse("other").unwrap();
        let first = gate.enter(&other, 400).unwrap();
        assert_eq!(gate.enter(&other, 200).map(|_| ()).unwrap_err().kind, FailureKind::Unavailable);
        drop((first, kept));
        assert!(gate.state(&greedy, 0).unwrap().held.load(Ordering::Relaxed) == 0);
    }
}
