use crate::ingest::AllLimits;
use std::sync::Arc;
use std::time::Duration;

/// The knobs of logs. The defaults are right for a laptop (decisions 9 and 11).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Entries older than this at receipt are refused; `None` accepts any age.
    pub retention: Option<Duration>,
    /// Entries further ahead of the clock than this are refused.
    pub future_max: Duration,
    /// Labels of a stream, `service_name` not counted.
    pub labels_max: usize,
    pub line_max_bytes: usize,
    /// Stream labels from which `service_name` is taken when it is missing, in this order; empty turns that off.
    pub discover_service_name: Vec<String>,
    /// Series in the answer of one metric query.
    pub query_series_max: usize,
    /// The largest `limit` of a log query.
    pub query_entries_max: usize,
    /// The longest time range of one query.
    pub query_length_max: Duration,
    /// Values that one answer of a label endpoint lists.
    pub label_values_max: usize,
    /// Tails of one tenant at the same time.
    pub tails_max: usize,
    /// How long a delete can be taken back; until then its lines are hidden, but stay in the files.
    pub delete_cancel_within: Duration,
    /// Groups in one answer of the volume endpoints.
    pub volume_series_max: usize,
    /// What tenants may do.
    pub limits: Arc<AllLimits>,
}

/// Loki's list (contracts/loki.md 2.3).
const SERVICE_NAMES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

impl Default for Config {
    fn default() -> Config {
        Config {
            retention: Some(Duration::from_secs(30 * 86_400)),
            future_max: Duration::from_secs(600),
            labels_max: 256,
            line_max_bytes: 1 << 20,
            discover_service_name: SERVICE_NAMES.iter().map(|n| (*n).to_owned()).collect(),
            query_series_max: 10_000,
            query_entries_max: 50_000,
            query_length_max: Duration::from_secs(721 * 3600),
            label_values_max: 10_000,
            tails_max: 10,
            delete_cancel_within: Duration::from_secs(86_400),
            volume_series_max: 1_000,
            limits: Arc::default(),
        }
    }
}
