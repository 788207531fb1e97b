//! What a tenant has and may do, as Mimir tells it (contracts/prometheus.md 1.13).

use super::Api;
use super::cardinality::active;
use super::error::ApiError;
use crate::metrics::promql::{Interval, Storage};
use crate::model::time::MILLI;
use crate::web::{Params, json_response};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::json;
use std::collections::HashSet;

/// The time over which samples are counted, milliseconds.
const RATE_MS: i64 = 60_000;

/// Active series, and samples a second by their times; none come from rules.
pub async fn stats(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let interval = active(&api);
        let now = api.clock.now().div_euclid(MILLI);
        let newest = Interval { from: now.saturating_sub(RATE_MS).saturating_add(1), to: now };
        let counted = api.read(&params, None, move |querier| {
            let mut seen: HashSet<i64> = HashSet::new();
            querier.series(&[], interval, |labels, _| {
                seen.insert(labels.stable_id());
            })?;
            let samples: usize = querier.select(&[], newest)?.iter().map(|s| s.ts.len() + s.histograms.len()).sum();
            Ok((seen.len(), samples))
        });
        let (series, samples) = counted.await?;
        let rate = samples as f64 * 1000.0 / RATE_MS as f64;
        let body = json!({ "ingestionRate": rate, "numSeries": series, "APIIngestionRate": rate, "RuleIngestionRate": 0.0 });
        Ok(json_response(StatusCode::OK, body.to_string()))
    };
    api.answer_text(work).await
}

/// 0 is unlimited. Rates are bounded in bytes here, which Mimir has no word for.
pub async fn limits(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let tenant = api.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let limits = api.door.store().spec().config().limits.of(&tenant);
        let body = json!({
            "request_rate": 0,
            "request_burst_size": 0,
            "ingestion_rate": 0,
            "ingestion_burst_size": 0,
            "max_global_series_per_user": limits.series.unwrap_or(0),
            "max_global_series_per_metric": 0,
            "max_global_exemplars_per_user": 0,
            "max_fetched_chunks_per_query": 0,
            "max_fetched_series_per_query": 0,
            "max_fetched_chunk_bytes_per_query": 0,
            "ruler_max_rules_per_rule_group": 0,
            "ruler_max_rule_groups_per_tenant": 0,
        });
        Ok(json_response(StatusCode::OK, body.to_string()))
    };
    api.answer_text(work).await
}
