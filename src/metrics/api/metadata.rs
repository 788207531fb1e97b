//! Types, units and help texts as they were received (contracts/prometheus.md 1.6).

use super::Api;
use super::error::ApiError;
use super::json::success;
use crate::metrics::promql::Interval;
use crate::metrics::rows::Metadata;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use std::collections::BTreeMap;
use std::sync::Arc;

pub async fn metadata(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let limit = number(&params, "limit")?;
        let limit_per_metric = number(&params, "limit_per_metric")?;
        let wanted = params.non_empty("metric").map(str::to_owned);
        let tenant = api.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let described = api.door.store().spec().families(&tenant);
        let families = api.read(&params, None, move |querier| {
            let mut families: BTreeMap<String, Vec<Arc<Metadata>>> = BTreeMap::new();
            let mut take = |metadata: &Arc<Metadata>| {
                if metadata.family.is_empty() || wanted.as_ref().is_some_and(|w| *w != metadata.family) {
                    return;
                }
                let entries = match families.get_mut(&metadata.family) {
                    Some(entries) => entries,
                    None => families.entry(metadata.family.clone()).or_default(),
                };
                if entries.first() != Some(metadata) {
                    entries.retain(|e| e != metadata);
                    entries.insert(0, metadata.clone());
                }
            };
            // From the oldest block to the newest head, and then what came without series: the latest entry ends up first.
            querier.series(&[], Interval::ALL, |_, metadata| {
                if let Some(metadata) = metadata {
                    take(metadata);
                }
            })?;
            described.iter().for_each(take);
            Ok(families)
        });
        let mut data = serde_json::Map::new();
        for (family, entries) in families.await?.into_iter().take(limit.unwrap_or(usize::MAX)) {
            let entries = entries.iter().take(limit_per_metric.unwrap_or(usize::MAX));
            let entries = entries.map(|m| serde_json::json!({ "type": m.kind.as_str(), "help": m.help, "unit": m.unit }));
            data.insert(family, entries.collect());
        }
        Ok(success(&serde_json::Value::Object(data).to_string(), &[], &[]))
    };
    api.answer(work).await
}

/// A count; none if absent or not positive.
fn number(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let Some(text) = params.non_empty(name) else { return Ok(None) };
    let number: i64 = text.parse().map_err(|_| ApiError::BadData(format!("{name} must be a number")))?;
    Ok(usize::try_from(number).ok().filter(|n| *n > 0))
}
