//! The process itself, and its budget of disk.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

#[derive(Clone)]
pub struct ProcessMetrics {
    started: Gauge,
    disk_used: Gauge,
    disk_budget: Gauge,
    disk_full: Gauge,
}

impl ProcessMetrics {
    pub(super) fn register(registry: &mut Registry) -> ProcessMetrics {
        let m = ProcessMetrics {
            started: Gauge::default(),
            disk_used: Gauge::default(),
            disk_budget: Gauge::default(),
            disk_full: Gauge::default(),
        };
        registry.register("build", "What runs here", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register_with_unit("start_time", "When it was started, in seconds since 1970", Unit::Seconds, m.started.clone());
        registry.register_with_unit("disk_used", "Bytes of everything that is stored here", Unit::Bytes, m.disk_used.clone());
        registry.register_with_unit(
            "disk_budget",
            "Bytes that may be stored here: --disk, or less where the file system has less",
            Unit::Bytes,
            m.disk_budget.clone(),
        );
        registry.register("disk_full", "1 while writes are refused because the disk has no room", m.disk_full.clone());
        m
    }

    /// Seconds since 1970.
    pub fn started(&self, at: i64) {
        self.started.set(at);
    }

    pub fn disk(&self, used: u64, budget: u64, full: bool) {
        self.disk_used.set(i64::try_from(used).unwrap_or(i64::MAX));
        self.disk_budget.set(i64::try_from(budget).unwrap_or(i64::MAX));
        self.disk_full.set(i64::from(full));
    }
}
