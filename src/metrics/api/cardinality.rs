//! How many series and label values there are, as Mimir counts them (contracts/prometheus.md 1.13). Its ingesters hold
//! the series of the last hours; here every stored series counts, and with `count_method=active` those with a sample in
//! the last [`ACTIVE_MS`].

use super::Api;
use super::error::ApiError;
use super::json::push_labels;
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::{Interval, Storage, parse_selector};
use crate::model::time::MILLI;
use crate::model::{Labels, Matcher};
use crate::web::{Params, json_response};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Mimir's idle time of active series, milliseconds.
const ACTIVE_MS: i64 = 20 * 60_000;

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 500;

fn selector(params: &Params) -> Result<Option<Vec<Matcher>>, ApiError> {
    let mut texts = params.all("selector").filter(|s| !s.is_empty());
    let Some(text) = texts.next() else { return Ok(None) };
    if texts.next().is_some() {
        return Err(ApiError::BadData("only one 'selector' param is allowed".to_owned()));
    }
    let parsed = parse_selector(text).map_err(|e| ApiError::BadData(format!("invalid 'selector' param: {}", e.render(text))))?;
    Ok(Some(parsed.matchers))
}

/// What the two counting endpoints share.
struct Request {
    matchers: Vec<Matcher>,
    interval: Interval,
    limit: usize,
}

impl Request {
    fn new(api: &Api, params: &Params) -> Result<Request, ApiError> {
        let matchers = selector(params)?.unwrap_or_default();
        let limit = match params.non_empty("limit") {
            None => LIMIT_DEFAULT,
            Some(text) => match text.parse::<i64>().map(usize::try_from) {
                Ok(Ok(limit)) if limit <= LIMIT_MAX => limit,
                Ok(Ok(_)) => return Err(ApiError::BadData(format!("'limit' param cannot be greater than '{LIMIT_MAX}'"))),
                Ok(Err(_)) => return Err(ApiError::BadData("'limit' param cannot be less than '0'".to_owned())),
                Err(_) => return Err(ApiError::BadData(format!("'limit' param {text:?} is not an integer"))),
            },
        };
        let interval = match params.non_empty("count_method") {
            None | Some("inmemory") => Interval::ALL,
            Some("active") => active(api),
            Some(other) => {
                return Err(ApiError::BadData(format!("'count_method' param {other:?} is neither \"inmemory\" nor \"active\"")));
            }
        };
        Ok(Request { matchers, interval, limit })
    }
}

pub(super) fn active(api: &Api) -> Interval {
    let now = api.clock.now().div_euclid(MILLI);
    Interval { from: now.saturating_sub(ACTIVE_MS), to: i64::MAX }
}

/// The first `limit` by count, then name.
fn top<T>(mut items: Vec<(String, u64, T)>, limit: usize) -> Vec<(String, u64, T)> {
    items.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    items.truncate(limit);
    items
}

fn values_per_name(values: &BTreeMap<String, HashSet<String>>, limit: usize) -> Value {
    let total: usize = values.values().map(HashSet::len).sum();
    let counts = values.iter().map(|(name, values)| (name.clone(), values.len() as u64, ())).collect();
    let cardinality: Vec<Value> =
        top(counts, limit).into_iter().map(|(name, count, ())| json!({ "label_name": name, "label_values_count": count })).collect();
    json!({ "label_values_count_total": total, "label_names_count": values.len(), "cardinality": cardinality })
}

pub async fn label_names(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let request = Request::new(&api, &params)?;
        let counted = api.read(&params, None, move |querier| {
            let mut values: BTreeMap<String, HashSet<String>> = BTreeMap::new();
            querier.series(&request.matchers, request.interval, |labels, _| {
                for (name, value) in labels.iter() {
                    match values.get_mut(name) {
                        Some(known) if known.contains(value) => {}
                        Some(known) => drop(known.insert(value.to_owned())),
                        None => drop(values.insert(name.to_owned(), HashSet::from([value.to_owned()]))),
                    }
                }
            })?;
            Ok(values_per_name(&values, request.limit).to_string())
        });
        Ok(json_response(StatusCode::OK, counted.await?))
    };
    api.answer_text(work).await
}

/// Series of each value of the asked labels, among those that are selected.
struct Counted {
    matchers: Vec<Matcher>,
    /// All series of the tenant, selected or not: Mimir's total is that.
    seen: HashSet<i64>,
    labels: Vec<(String, HashMap<String, u64>)>,
}

impl Counted {
    fn add(&mut self, labels: &Labels) {
        let is_new = self.seen.insert(labels.stable_id());
        if !is_new || !self.matchers.iter().all(|m| m.matches(labels.value(&m.name))) {
            return;
        }
        for (name, counts) in &mut self.labels {
            let Some(value) = labels.get(name) else { continue };
            match counts.get_mut(value) {
                Some(count) => *count += 1,
                None => drop(counts.insert(value.to_owned(), 1)),
            }
        }
    }

    fn json(self, limit: usize) -> Value {
        let labels = self.labels.into_iter().map(|(name, counts)| (name, counts.values().sum(), counts)).collect();
        let labels: Vec<Value> = top(labels, usize::MAX)
            .into_iter()
            .map(|(name, series, counts)| {
                let values = counts.len();
                let counts = counts.into_iter().map(|(value, count)| (value, count, ())).collect();
                let counts: Vec<Value> = top(counts, limit)
                    .into_iter()
                    .map(|(value, count, ())| json!({ "label_value": value, "series_count": count }))
                    .collect();
                json!({ "label_name": name, "label_values_count": values, "series_count": series, "cardinality": counts })
            })
            .collect();
        json!({ "series_count_total": self.seen.len(), "labels": labels })
    }
}

pub async fn label_values(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let names: BTreeSet<String> = params.all("label_names[]").map(str::to_owned).collect();
        if names.is_empty() {
            return Err(ApiError::BadData("'label_names[]' param is required".to_owned()));
        }
        if names.contains("") {
            return Err(ApiError::BadData("invalid 'label_names[]' param: a label name is not empty".to_owned()));
        }
        let request = Request::new(&api, &params)?;
        let counted = api.read(&params, None, move |querier| {
            let labels = names.into_iter().map(|name| (name, HashMap::new())).collect();
            let mut counted = Counted { matchers: request.matchers, seen: HashSet::new(), labels };
            querier.series(&[], request.interval, |labels, _| counted.add(labels))?;
            Ok(counted.json(request.limit).to_string())
        });
        Ok(json_response(StatusCode::OK, counted.await?))
    };
    api.answer_text(work).await
}

pub async fn active_series(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let missing = || ApiError::BadData("missing 'selector' parameter".to_owned());
        let matchers = selector(&params)?.ok_or_else(missing)?;
        let interval = active(&api);
        let body = api.read(&params, None, move |querier| {
            let mut found: BTreeSet<Labels> = BTreeSet::new();
            querier.series(&matchers, interval, |labels, _| {
                if !found.contains(labels) {
                    found.insert(labels.clone());
                }
            })?;
            let mut body = String::from("{\"data\":[");
            for (i, labels) in found.iter().enumerate() {
                if i > 0 {
                    body.push(',');
                }
                push_labels(&mut body, labels);
            }
            body.push_str("]}");
            Ok(body)
        });
        Ok(json_response(StatusCode::OK, body.await?))
    };
    api.answer_text(work).await
}

/// Buckets of the newest histograms of one metric.
#[derive(Default)]
struct BucketCounts {
    series: u64,
    all: u64,
    min: u64,
    max: u64,
}

impl BucketCounts {
    fn add(&mut self, buckets: u64) {
        self.min = if self.series == 0 { buckets } else { self.min.min(buckets) };
        self.max = self.max.max(buckets);
        (self.series, self.all) = (self.series + 1, self.all + buckets);
    }
}

pub async fn active_histograms(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let missing = || ApiError::BadData("missing 'selector' parameter".to_owned());
        let matchers = selector(&params)?.ok_or_else(missing)?;
        let interval = active(&api);
        let body = api.read(&params, None, move |querier| {
            let mut metrics: BTreeMap<String, BucketCounts> = BTreeMap::new();
            for series in querier.select(&matchers, interval)? {
                let Some(newest) = series.histograms.iter().rev().find(|h| !h.histogram.is_stale()) else { continue };
                let buckets = newest.histogram.positive.len() + newest.histogram.negative.len();
                metrics.entry(series.labels.value(METRIC_NAME).to_owned()).or_default().add(buckets as u64);
            }
            let one = |(metric, counts): (String, BucketCounts)| {
                json!({
                    "metric": metric,
                    "series_count": counts.series,
                    "bucket_count": counts.all,
                    "avg_bucket_count": counts.all as f64 / counts.series as f64,
                    "min_bucket_count": counts.min,
                    "max_bucket_count": counts.max,
                })
            };
            let metrics: Vec<Value> = metrics.into_iter().map(one).collect();
            Ok(json!({ "data": metrics }).to_string())
        });
        Ok(json_response(StatusCode::OK, body.await?))
    };
    api.answer_text(work).await
}
