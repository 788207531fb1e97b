use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// What the process takes of memory, and what was done because it was much.
#[derive(Clone)]
pub struct MemoryMetrics {
    budget: Gauge,
    allocated: Gauge,
    resident: Gauge,
    early_cuts: Counter,
    shrunk: Counter,
    given_back: Counter,
}

impl MemoryMetrics {
    pub(super) fn register(registry: &mut Registry) -> MemoryMetrics {
        let m = MemoryMetrics {
            budget: Gauge::default(),
            allocated: Gauge::default(),
            resident: Gauge::default(),
            early_cuts: Counter::default(),
            shrunk: Counter::default(),
            given_back: Counter::default(),
        };
        registry.register_with_unit("memory_budget", "Bytes that --memory allows", Unit::Bytes, m.budget.clone());
        registry.register_with_unit("memory_allocated", "Bytes that are allocated and not freed", Unit::Bytes, m.allocated.clone());
        registry.register_with_unit("memory_resident", "Bytes in RAM, as the system counts them", Unit::Bytes, m.resident.clone());
        registry.register("memory_early_cuts", "Cuts of a head because memory was short", m.early_cuts.clone());
        registry.register("memory_shrunk_caches", "Times that caches were halved because memory was short", m.shrunk.clone());
        registry.register("memory_given_back", "Times that freed memory went back to the system at once", m.given_back.clone());
        m
    }

    pub fn budget(&self, bytes: u64) {
        self.budget.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn uses(&self, allocated: u64, resident: u64) {
        self.allocated.set(i64::try_from(allocated).unwrap_or(i64::MAX));
        self.resident.set(i64::try_from(resident).unwrap_or(i64::MAX));
    }

    pub fn cut_early(&self) {
        self.early_cuts.inc();
    }

    pub fn gave_back(&self) {
        self.given_back.inc();
    }

    pub fn shrank(&self) {
        self.shrunk.inc();
    }
}
