//! `status/tsdb`: how many series there are, and what they are made of (contracts/prometheus.md 1.8). Prometheus counts its
//! head; here everything counts that is stored.

use super::Api;
use super::error::ApiError;
use super::json::success;
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::Interval;
use crate::model::Labels;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 10_000;

pub async fn tsdb(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let limit = match params.non_empty("limit") {
            None => LIMIT_DEFAULT,
            Some(text) => match text.parse::<usize>() {
                Ok(limit) if limit > LIMIT_MAX => return Err(ApiError::BadData(format!("limit must not exceed {LIMIT_MAX}"))),
                Ok(limit) if limit > 0 => limit,
                _ => return Err(ApiError::BadData("limit must be a positive number".to_owned())),
            },
        };
        let data = api.read(&params, None, move |querier| {
            let mut counts = Counts::default();
            querier.series(&[], Interval::ALL, |labels, _| counts.add(labels))?;
            Ok(counts.json(limit, querier.bounds()))
        });
        Ok(success(&data.await?.to_string(), &[], &[]))
    };
    api.answer(work).await
}

#[derive(Default)]
struct Counts {
    seen: HashSet<i64>,
    /// Blocks and heads that a series lies in, each time.
    runs: u64,
    by_metric: HashMap<String, u64>,
    by_pair: HashMap<(String, String), u64>,
}

impl Counts {
    fn add(&mut self, labels: &Labels) {
        self.runs += 1;
        if !self.seen.insert(labels.stable_id()) {
            return;
        }
        *self.by_metric.entry(labels.value(METRIC_NAME).to_owned()).or_default() += 1;
        for (name, value) in labels.iter() {
            *self.by_pair.entry((name.to_owned(), value.to_owned())).or_default() += 1;
        }
    }

    /// `bounds` are the times of the oldest and the newest sample, milliseconds.
    fn json(self, limit: usize, bounds: Option<(i64, i64)>) -> Value {
        // Of each name: its values, and their bytes in all series.
        let mut names: HashMap<&str, (u64, u64)> = HashMap::new();
        for ((name, value), series) in &self.by_pair {
            let entry = names.entry(name).or_default();
            *entry = (entry.0 + 1, entry.1 + value.len() as u64 * series);
        }
        let (min, max) = bounds.unwrap_or((i64::MAX, i64::MIN));
        json!({
            "headStats": {
                "numSeries": self.seen.len(),
                "numLabelPairs": self.by_pair.len(),
                "chunkCount": self.runs,
                "minTime": min,
                "maxTime": max,
            },
            "seriesCountByMetricName": top(self.by_metric.iter().map(|(n, c)| (n.clone(), *c)).collect(), limit),
            "labelValueCountByLabelName": top(names.iter().map(|(n, v)| ((*n).to_owned(), v.0)).collect(), limit),
            "memoryInBytesByLabelName": top(names.iter().map(|(n, v)| ((*n).to_owned(), v.1)).collect(), limit),
            "seriesCountByLabelValuePair": top(self.by_pair.iter().map(|((n, v), c)| (format!("{n}={v}"), *c)).collect(), limit),
        })
    }
}

/// The first by count, then name.
fn top(mut items: Vec<(String, u64)>, limit: usize) -> Vec<Value> {
    items.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    items.truncate(limit);
    items.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}
