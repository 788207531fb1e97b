//! Generations of heads. One generation is open for appends; older ones are sealed, and wait to be cut into blocks.

use super::{Head, HeadStats, Spec};
use crate::model::TenantId;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How often a wait asks whether it is worth it.
const GIVE_UP_EVERY: Duration = Duration::from_millis(100);

/// The heads of all tenants over one run of LSNs.
pub struct Generation<S: Spec> {
    /// LSN of its first frame.
    pub from: u64,
    /// When its first rows came, nanoseconds since the epoch; 0 while it is empty.
    opened_at: Mutex<i64>,
    heads: RwLock<HashMap<TenantId, Arc<S::Head>>>,
    /// Frames that were enqueued and not applied yet.
    in_flight: Mutex<u64>,
    applied: Condvar,
}

impl<S: Spec> Generation<S> {
    pub fn new(from: u64) -> Generation<S> {
        Generation { from, opened_at: Mutex::new(0), heads: RwLock::default(), in_flight: Mutex::new(0), applied: Condvar::new() }
    }

    /// The tenant's head, made on first use.
    pub fn head(&self, spec: &S, tenant: &TenantId, now: i64) -> Arc<S::Head> {
        if let Some(head) = self.heads.read().get(tenant) {
            return head.clone();
        }
        self.open(now);
        self.heads.write().entry(tenant.clone()).or_insert_with(|| Arc::new(spec.new_head(tenant))).clone()
    }

    /// From now on a cut is wanted.
    pub fn open(&self, now: i64) {
        let mut opened_at = self.opened_at.lock();
        if *opened_at == 0 {
            *opened_at = now;
        }
    }

    pub fn existing(&self, tenant: &TenantId) -> Option<Arc<S::Head>> {
        self.heads.read().get(tenant).cloned()
    }

    /// How many have a head.
    pub fn tenants(&self) -> usize {
        self.heads.read().len()
    }

    /// In order of tenant.
    pub fn heads(&self) -> Vec<(TenantId, Arc<S::Head>)> {
        let mut heads: Vec<_> = self.heads.read().iter().map(|(t, h)| (t.clone(), h.clone())).collect();
        heads.sort_by(|a, b| a.0.cmp(&b.0));
        heads
    }

    pub fn opened_at(&self) -> i64 {
        *self.opened_at.lock()
    }

    pub fn stats(&self) -> HeadStats {
        self.heads
            .read()
            .values()
            .map(|h| h.stats())
            .fold(HeadStats::default(), |a, b| HeadStats { rows: a.rows + b.rows, bytes: a.bytes + b.bytes })
    }

    pub fn enter(&self) {
        *self.in_flight.lock() += 1;
    }

    pub fn leave(&self) {
        let mut in_flight = self.in_flight.lock();
        *in_flight -= 1;
        if *in_flight == 0 {
            self.applied.notify_all();
        }
    }

    /// Blocks until every frame of a sealed generation is applied, which it returns, or until it is time to `give_up`.
    pub fn wait_applied(&self, give_up: impl Fn() -> bool) -> bool {
        let mut in_flight = self.in_flight.lock();
        while *in_flight > 0 {
            let is_late = self.applied.wait_for(&mut in_flight, GIVE_UP_EVERY).timed_out();
            if is_late && *in_flight > 0 && give_up() {
                return false;
            }
        }
        true
    }
}
