//! `target_info`: what is known of a resource beyond its identity, as a series of its own.

use super::TranslationConfig;
use super::labels::{ResourceLabels, add_attributes};
use crate::metrics::METRIC_NAME;
use crate::metrics::builder::RowsBuilder;
use crate::metrics::rows::{Metadata, MetricType};
use crate::model::{Attribute, LabelsBuilder};
use std::collections::BTreeSet;
use std::sync::Arc;

const IDENTITY: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];

/// Samples of one resource in one request at most: a request whose points lie decades apart does not fill the memory.
const SAMPLES_MAX: i64 = 1_000;

/// Adds samples at the earliest point, then every `step` milliseconds up to the latest, and at the latest.
pub(super) fn add(
    rows: &mut RowsBuilder,
    attributes: &[Attribute],
    resource: &ResourceLabels,
    (earliest, latest): (i64, i64),
    step: i64,
    config: &TranslationConfig,
) {
    let describing = attributes.iter().any(|a| !IDENTITY.contains(&a.key.as_str()));
    if !describing || (resource.job.is_none() && resource.instance.is_none()) {
        return;
    }
    let is_kept = |a: &&Attribute| config.keep_identifying_resource_attributes || !IDENTITY.contains(&a.key.as_str());
    let mut kept: Vec<&Attribute> = attributes.iter().filter(is_kept).collect();
    kept.sort_by(|a, b| a.key.cmp(&b.key));
    let mut labels = LabelsBuilder::default();
    for attribute in kept {
        // One without a usable name is left out, rather than all that is known of the resource.
        let _ = add_attributes(&mut labels, std::slice::from_ref(attribute), config);
    }
    for (name, value) in resource.identity() {
        labels.set(name, value);
    }
    labels.set(METRIC_NAME, "target_info");
    let metadata = Metadata { family: "target_info".into(), kind: MetricType::Gauge, unit: String::new(), help: "Target metadata".into() };
    let series = rows.series(labels.build(), Some(&Arc::new(metadata)));
    for ts in times(earliest, latest, step) {
        rows.made_up(series, ts, 1.0);
    }
}

fn times(earliest: i64, latest: i64, step: i64) -> BTreeSet<i64> {
    let step = step.max(1);
    let mut times = BTreeSet::from([earliest, latest]);
    let first = earliest.max(latest.saturating_sub(step.saturating_mul(SAMPLES_MAX)));
    let mut ts = first.saturating_add(step);
    while ts < latest {
        times.insert(ts);
        ts = ts.saturating_add(step);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::times;

    #[test]
    fn samples_cover_the_range_and_are_bounded() {
        assert_eq!(times(0, 0, 10).into_iter().collect::<Vec<_>>(), [0]);
        assert_eq!(times(0, 25, 10).into_iter().collect::<Vec<_>>(), [0, 10, 20, 25]);
        assert!(times(0, i64::MAX, 150_000).len() < 1_100);
    }
}
