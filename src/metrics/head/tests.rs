use super::*;
use crate::metrics::rows::{RowSeries, Sample, SeriesKey, Value};
use crate::model::Labels;
use crate::model::time::MILLI;
use crate::runtime::ManualClock;
use crate::storage::Rows;

const NOW_MS: i64 = 1_773_145_500_000;

fn head() -> MetricsHead {
    let clock = Arc::new(ManualClock::at(NOW_MS * MILLI));
    MetricsHead::new(Arc::default(), Arc::new(Config::default()), clock)
}

fn rows(samples: &[(&str, i64, f64)]) -> MetricRows {
    let mut rows = MetricRows::default();
    for (item, (name, ts, value)) in samples.iter().enumerate() {
        let labels = Labels::from_pairs([("__name__", *name)]);
        let series = rows.series.iter().position(|s| s.labels == labels).unwrap_or_else(|| {
            rows.series.push(RowSeries { key: SeriesKey::of(&labels), labels, reference: None, metadata: None });
            rows.series.len() - 1
        });
        rows.samples.push(Sample {
            series: series as u32,
            item: item as u32,
            ts: NOW_MS + ts,
            start: 0,
            value: Value::Float(*value),
            delta: false,
        });
    }
    rows
}

/// Admits and applies; returns refused items and stored samples.
fn write(head: &MetricsHead, samples: &[(&str, i64, f64)]) -> (Vec<u32>, usize) {
    let mut rows = rows(samples);
    let mut refusals = Refusals::default();
    head.prepare(&rows, &[]);
    head.admit(&mut rows, &mut refusals);
    let stored = rows.len();
    head.apply(rows);
    (refusals.indexes(), stored)
}

fn read(snapshot: &HeadSnapshot, name: &str) -> Vec<(i64, f64)> {
    let mut found = Vec::new();
    let matchers = [Matcher::equal("__name__", name)];
    let visit = |mut s: SeriesBuffer| {
        s.sort();
        found.extend(s.ts.iter().map(|t| t - NOW_MS).zip(s.values));
        Ok::<_, ()>(())
    };
    snapshot.select(&matchers, Interval::ALL, visit).unwrap();
    found
}

#[test]
fn the_window_counts_back_from_the_newest_sample_of_the_series() {
    let head = head();
    assert_eq!(write(&head, &[("a", 0, 1.0), ("b", -86_400_000, 1.0)]), (vec![], 2));
    assert_eq!(write(&head, &[("a", -600_000, 2.0), ("a", -600_001, 3.0), ("b", -86_400_001, 2.0)]), (vec![1], 2));
    assert_eq!(read(&head.snapshot(), "a"), [(-600_000, 2.0), (0, 1.0)]);
}

#[test]
fn duplicates_are_dropped_if_equal_and_refused_if_not() {
    let head = head();
    assert_eq!(write(&head, &[("a", 0, 1.0), ("a", 0, 1.0), ("a", 0, 2.0)]), (vec![2], 1));
    assert_eq!(write(&head, &[("a", 0, 1.0)]), (vec![], 0));
    assert_eq!(write(&head, &[("a", -5, 7.0), ("a", -5, 8.0)]), (vec![], 2));
    assert_eq!(read(&head.snapshot(), "a"), [(-5, 7.0), (0, 1.0)]);
}

#[test]
fn the_future_and_what_retention_would_drop_are_refused() {
    let head = head();
    let year = 396 * 86_400_000;
    let mut rows = rows(&[("a", 600_001, 1.0), ("a", 600_000, 1.0), ("b", -year, 1.0), ("a", -1, 1.0)]);
    let mut refusals = Refusals::default();
    head.prepare(&rows, &[]);
    head.admit(&mut rows, &mut refusals);
    assert_eq!((refusals.indexes(), rows.len()), (vec![0, 2, 3], 1));
    let reasons: Vec<&str> = refusals.reasons().map(|(reason, _, _)| reason).collect();
    assert_eq!(reasons, ["out_of_order", "too_far_ahead", "too_old"]);
}

#[test]
fn a_snapshot_is_an_instant() {
    let head = head();
    write(&head, &[("a", 0, 1.0)]);
    let before = head.snapshot();
    write(&head, &[("a", 1, 2.0), ("c", 1, 1.0)]);
    assert_eq!(read(&before, "a"), [(0, 1.0)]);
    assert_eq!(read(&before, "c"), []);
    assert_eq!(read(&head.snapshot(), "a"), [(0, 1.0), (1, 2.0)]);
}

#[test]
fn another_label_set_with_a_live_id_is_refused() {
    let head = head();
    write(&head, &[("a", 0, 1.0)]);
    let mut rows = rows(&[("b", 0, 1.0)]);
    rows.series[0].key.id = Labels::from_pairs([("__name__", "a")]).stable_id();
    let mut refusals = Refusals::default();
    head.prepare(&rows, &[]);
    head.admit(&mut rows, &mut refusals);
    assert_eq!(refusals.reasons().next().unwrap().0, "id_collision");
    assert!(rows.is_empty());
}

#[test]
fn a_tenant_with_all_its_series_keeps_writing_these() {
    let registry = Arc::new(Registry::bounded(Some(2)));
    let clock = Arc::new(ManualClock::at(NOW_MS * MILLI));
    let head = MetricsHead::new(registry.clone(), Arc::new(Config::default()), clock);
    assert_eq!(write(&head, &[("a", 0, 1.0), ("b", 0, 1.0), ("c", 0, 1.0)]), (vec![2], 2));
    // Those who store all of a request or nothing, too.
    let mut rows = rows(&[("d", 1, 1.0), ("a", 1, 2.0)]);
    rows.all_or_nothing = true;
    let mut refusals = Refusals::default();
    head.prepare(&rows, &[]);
    head.admit(&mut rows, &mut refusals);
    assert_eq!(rows.len(), 1);
    assert!(refusals.summary().starts_with("1 too_many_series: per-user series limit of 2 exceeded (err-mimir-max-series-per-user)"));
    head.apply(rows);
    assert_eq!(read(&head.snapshot(), "a"), [(0, 1.0), (1, 2.0)]);
    drop(head);
    registry.forget_idle((NOW_MS + 2 * 3_600_000) * MILLI);
    let clock = Arc::new(ManualClock::at((NOW_MS + 2 * 3_600_000) * MILLI));
    let head = MetricsHead::new(registry, Arc::new(Config::default()), clock);
    assert_eq!(write(&head, &[("c", 7_200_000, 1.0), ("d", 7_200_000, 1.0), ("a", 7_200_000, 1.0)]), (vec![2], 2));
}

#[test]
fn idle_series_without_unflushed_samples_are_forgotten() {
    let registry: Arc<Registry> = Arc::default();
    let clock = Arc::new(ManualClock::at(NOW_MS * MILLI));
    let head = MetricsHead::new(registry.clone(), Arc::new(Config::default()), clock.clone());
    write(&head, &[("a", 0, 1.0)]);
    let all = [Matcher::equal("__name__", "a")];
    let later = (NOW_MS + 2 * 3_600_000) * MILLI;
    registry.forget_idle(later);
    assert_eq!(registry.select(&all).len(), 1);
    drop(head);
    registry.forget_idle(NOW_MS * MILLI);
    assert_eq!(registry.select(&all).len(), 1);
    registry.forget_idle(later);
    assert_eq!(registry.select(&all).len(), 0);
}

#[test]
fn a_cut_is_split_by_day_and_sorted_by_name_and_labels() {
    let head = head();
    let day = 86_400_000;
    write(&head, &[("b", 0, 1.0), ("a", 0, 2.0), ("a", -5, 3.0), ("c", -3 * day, 4.0)]);
    let drafts: Vec<BlockDraft> = head.cut().collect::<Result<_, _>>().unwrap();
    assert_eq!(drafts.iter().map(|d| d.items).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(drafts[1].tables.iter().map(|t| t.name).collect::<Vec<_>>(), ["samples", "series"]);
    assert_eq!(drafts[1].day - drafts[0].day, 3);
}
