//! What queries hold: as little as the answer needs, and never more than they may.

use super::*;
use crate::model::{Labels, Matcher, TenantId};
use crate::query::{Context, QueryError};
use std::time::Duration;

const SERIES: usize = 2_000;
const STEPS: i64 = 1_000;
/// A quarter of what all values take together.
const MEMORY: u64 = (SERIES as u64 * STEPS as u64 * 8) / 4;

struct Few(Vec<SeriesData>, Context);

impl Few {
    /// Series with two samples each, which a long window sees at every step.
    fn new() -> Few {
        let series = |n: usize| SeriesData {
            ts: vec![0, 15_000].into(),
            values: vec![n as f64, n as f64 + 3.0].into(),
            ..SeriesData::new(Labels::from_pairs([("__name__", "x_total"), ("a", ["1", "2"][n % 2]), ("n", &n.to_string())]))
        };
        Few((0..SERIES).map(series).collect(), Context::new(TenantId::default_tenant(), Duration::from_secs(60), MEMORY))
    }

    fn range(query: &str) -> Result<usize, QueryError> {
        let storage = Few::new();
        let answer = Engine::new(&storage, Options::default()).range(&parse(query).unwrap(), 15_000, 15_000 + (STEPS - 1) * 10, 10)?;
        assert!(storage.1.used() <= MEMORY);
        let QueryValue::Matrix(series) = answer.value else { return Ok(0) };
        Ok(series.len())
    }
}

impl Storage for Few {
    fn select(&self, matchers: &[Matcher], _: Interval) -> Result<Vec<SeriesData>, QueryError> {
        let hit = |s: &&SeriesData| matchers.iter().all(|m| m.matches(s.labels.value(&m.name)));
        let found: Vec<SeriesData> = self.0.iter().filter(hit).cloned().collect();
        self.1.reserve(found.iter().map(SeriesData::bytes).sum())?;
        Ok(found)
    }

    fn context(&self) -> &Context {
        &self.1
    }
}

#[test]
fn aggregations_hold_their_groups_and_not_their_series() {
    for (query, series) in [
        ("sum(rate(x_total[5m]))", 1),
        ("sum by (a) (-x_total * 2)", 2),
        ("avg without (n) (clamp_max(increase(x_total[1h]), 7))", 2),
        ("max(label_replace(x_total, 'b', '$1', 'n', '(.).*'))", 1),
        ("count by (b) (label_replace(rate(x_total[5m]), 'b', '$1', 'n', '(.).*'))", 10),
        ("stddev(round(x_total))", 1),
        ("topk(3, x_total)", 3),
        ("bottomk by (a) (1, rate(x_total[5m]))", 1 + 1),
        ("absent(x_total)", 0),
        ("vector(scalar(x_total))", 1),
        ("sum by (n) (x_total{n='7'})", 1),
    ] {
        assert_eq!(Few::range(query), Ok(series), "{query}");
    }
}

#[test]
fn a_subquery_holds_its_points_and_not_what_they_are_made_of() {
    // A point a second within a minute, of two series.
    assert_eq!(Few::range("sum(max_over_time(sum by (a) (x_total)[1m:1s]))"), Ok(1));
}

#[test]
fn what_needs_more_than_it_may_hold_says_so() {
    for query in [
        "count_values('v', x_total + on () group_left () vector(time()))",
        "x_total * on () group_left () vector(1)",
        "label_replace(x_total, 'b', '$1$1$1$1', 'n', '(.*)')",
        "max_over_time(x_total[1d:1s])",
        "max_over_time(max_over_time(x_total[1d:10s])[1d:10s])",
        "x_total",
        "rate(x_total[5m])",
        "sum by (n) (x_total)",
        "quantile(0.5, x_total)",
        "sum(x_total or x_total)",
        "sort(x_total)",
    ] {
        let refused = Few::range(query);
        assert!(matches!(refused, Err(QueryError::TooMuch(_))), "{query}: {refused:?}");
    }
}
