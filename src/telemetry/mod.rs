//! Our own observability: one list of names, and a registry that is handed down, never a global.

mod memory;
mod names;
mod plain;
mod process;

pub use memory::MemoryMetrics;
pub use names::{BucketMetrics, DeriveMetrics, ForwardMetrics, IngestMetrics, QueryMetrics, ScrapeMetrics, StoreMetrics};
pub use process::ProcessMetrics;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// All of monocle's own metrics. They are exposed at `/metrics`, and stored with `--self-scrape`.
#[derive(Clone)]
pub struct Telemetry {
    registry: Arc<Mutex<Registry>>,
    pub ingest: IngestMetrics,
    pub store: StoreMetrics,
    pub query: QueryMetrics,
    pub bucket: BucketMetrics,
    pub derive: DeriveMetrics,
    pub scrape: ScrapeMetrics,
    pub forward: ForwardMetrics,
    pub memory: MemoryMetrics,
    pub process: ProcessMetrics,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        let mut registry = Registry::with_prefix("monocle");
        let ingest = IngestMetrics::register(&mut registry);
        let store = StoreMetrics::register(&mut registry);
        let query = QueryMetrics::register(&mut registry);
        let bucket = BucketMetrics::register(&mut registry);
        let derive = DeriveMetrics::register(&mut registry);
        let scrape = ScrapeMetrics::register(&mut registry);
        let forward = ForwardMetrics::register(&mut registry);
        let memory = MemoryMetrics::register(&mut registry);
        let process = ProcessMetrics::register(&mut registry);
        Telemetry { registry: Arc::new(Mutex::new(registry)), ingest, store, query, bucket, derive, scrape, forward, memory, process }
    }
}

impl Telemetry {
    /// OpenMetrics text.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock());
        text
    }

    /// Prometheus's text format 0.0.4, for clients that do not ask for OpenMetrics.
    pub fn expose_plain(&self) -> String {
        plain::plain(&self.expose())
    }
}
