//! OTLP metrics as Prometheus series. Source of all rules: contracts/prometheus.md 3.

#[cfg(test)]
mod differential;
mod labels;
mod name;
mod point;
mod points;
#[cfg(test)]
mod reference;
mod request;
#[cfg(test)]
mod rules_tests;
mod series_cache;
mod target_info;
#[cfg(test)]
mod tests;

pub use series_cache::SeriesCache;

use super::rows::MetricRows;
use super::spec::Config;
use crate::ingest::{Plain, otlp_json_to_protobuf};
use crate::model::time::MILLI;
use crate::model::{Failure, Signal};
use crate::storage::Refusals;
use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The two forms of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Protobuf,
    Json,
}

/// How names of metrics and labels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TranslationStrategy {
    /// `http.server.duration` in `ms` becomes `http_server_duration_milliseconds`.
    #[default]
    UnderscoreEscapingWithSuffixes,
    UnderscoreEscapingWithoutSuffixes,
    NoUtf8EscapingWithSuffixes,
    NoTranslation,
}

impl TranslationStrategy {
    fn escapes(self) -> bool {
        matches!(self, TranslationStrategy::UnderscoreEscapingWithSuffixes | TranslationStrategy::UnderscoreEscapingWithoutSuffixes)
    }
}

/// Settings of the translation, named as in Prometheus's `otlp` section. The defaults are those of otel-lgtm.
#[derive(Debug, Clone)]
pub struct TranslationConfig {
    pub strategy: TranslationStrategy,
    pub keep_identifying_resource_attributes: bool,
    pub promote_all_resource_attributes: bool,
    /// Only with `promote_all_resource_attributes`.
    pub ignore_resource_attributes: Vec<String>,
    pub promote_resource_attributes: Vec<String>,
    pub promote_scope_metadata: bool,
    pub convert_histograms_to_nhcb: bool,
    pub label_name_underscore_sanitization: bool,
    pub label_name_preserve_multiple_underscores: bool,
}

const PROMOTED: [&str; 27] = [
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "cloud.availability_zone",
    "cloud.region",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "host.name",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "postgresql.database.name",
    "postgresql.schema.name",
    "postgresql.table.name",
    "postgresql.index.name",
    "database",
    "kafka.cluster.alias",
];

impl Default for TranslationConfig {
    fn default() -> TranslationConfig {
        TranslationConfig {
            strategy: TranslationStrategy::default(),
            keep_identifying_resource_attributes: true,
            promote_all_resource_attributes: false,
            ignore_resource_attributes: Vec::new(),
            promote_resource_attributes: PROMOTED.iter().map(|n| (*n).to_owned()).collect(),
            promote_scope_metadata: false,
            convert_histograms_to_nhcb: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

/// Translates one export request. A pure function of its arguments, because replay calls it again: every data point is an
/// item, numbered in the order of the message, whether it is refused or not.
///
/// `cache` may hold anything: it only makes it faster. Fails only for a body that cannot be decoded.
pub fn translate<'a>(
    kind: Kind,
    body: impl Into<Plain<'a>>,
    received_at: i64,
    config: &Config,
    cache: &SeriesCache,
) -> Result<(MetricRows, Refusals), Failure> {
    let body = body.into();
    let otlp = match kind {
        Kind::Protobuf => Cow::Borrowed(body.bytes()),
        Kind::Json => Cow::Owned(otlp_json_to_protobuf(Signal::Metrics, body)?.into()),
    };
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let mut translation = points::Translation::new(&config.translation, times(received_at, config), body.with(&otlp));
    request::read(body.with(&otlp), &mut translation, cache, ms(config.lookback) / 2)
        .map_err(|e| Failure::invalid(format!("cannot decode OTLP metrics: {e}")))?;
    Ok(translation.finish())
}

/// Times that can be stored, milliseconds.
fn times(received_at: i64, config: &Config) -> RangeInclusive<i64> {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let received_ms = received_at / MILLI;
    let oldest = config.retention.map_or(i64::MIN, |r| received_ms.saturating_sub(ms(r)));
    oldest..=received_ms.saturating_add(ms(config.future_max))
}
