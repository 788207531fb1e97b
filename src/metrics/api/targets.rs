//! What is scraped, and how it went (contracts/prometheus.md 1.6).

use super::Api;
use super::error::ApiError;
use super::json::success;
use crate::metrics::promql::parse_selector;
use crate::metrics::scrape::{Listed, Watched};
use crate::model::Labels;
use crate::model::time::{format_prometheus_duration, format_rfc3339};
use crate::web::Params;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Map, Value, json};
use std::time::Duration;

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/metadata", get(metadata))
        .route("/api/v1/scrape_pools", get(pools))
}

/// The time of a scrape that has not been, as Go prints its zero time.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn labels(labels: &Labels) -> Value {
    labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect::<Map<String, Value>>().into()
}

fn text(duration: Duration) -> String {
    format_prometheus_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

fn active(pool: &Listed, watched: &Watched) -> Value {
    let (target, status) = (&watched.target, watched.status());
    json!({
        "discoveredLabels": labels(&target.discovered),
        "labels": labels(&target.labels),
        "scrapePool": pool.job.name,
        "scrapeUrl": target.url.as_str(),
        "globalUrl": target.url.as_str(),
        "lastError": status.error,
        "lastScrape": status.at.map_or_else(|| NEVER.to_owned(), format_rfc3339),
        "lastScrapeDuration": status.took.as_secs_f64(),
        "health": status.health.as_str(),
        "scrapeInterval": text(target.interval),
        "scrapeTimeout": text(target.timeout),
    })
}

async fn targets(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let tenant = api.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let state = params.non_empty("state").unwrap_or("any").to_lowercase();
        let wanted = params.non_empty("scrapePool");
        let (shows_active, shows_dropped) = (state != "dropped", state != "active");
        let (mut up, mut dropped, mut counts) = (Vec::new(), Vec::new(), Map::new());
        for pool in api.scraping.pools(&tenant).filter(|pool| wanted.is_none_or(|name| name == pool.job.name)) {
            if shows_active {
                up.extend(pool.active.iter().map(|watched| active(pool, watched)));
            }
            if shows_dropped {
                counts.insert(pool.job.name.clone(), pool.dropped.len().into());
                let one = |discovered| json!({ "discoveredLabels": labels(discovered), "scrapePool": pool.job.name });
                dropped.extend(pool.dropped.iter().map(one));
            }
        }
        let data = json!({ "activeTargets": up, "droppedTargets": dropped, "droppedTargetCounts": counts });
        Ok(success(&data.to_string(), &[], &[]))
    };
    api.answer(work).await
}

async fn pools(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let tenant = api.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let names: Vec<&str> = api.scraping.pools(&tenant).map(|pool| pool.job.name.as_str()).collect();
        Ok(success(&json!({ "scrapePools": names }).to_string(), &[], &[]))
    };
    api.answer(work).await
}

async fn metadata(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let tenant = api.tenancy.tenant(&params.headers).map_err(ApiError::Tenant)?;
        let limit = match params.non_empty("limit") {
            None => usize::MAX,
            // Below zero is none.
            Some(said) => {
                let limit: i64 = said.parse().map_err(|_| ApiError::BadData("limit must be a number".to_owned()))?;
                usize::try_from(limit).unwrap_or(usize::MAX)
            }
        };
        let matchers = match params.non_empty("match_target") {
            None => Vec::new(),
            Some(said) => parse_selector(said).map_err(|e| ApiError::BadData(e.render(said)))?.matchers,
        };
        let wanted = params.non_empty("metric");
        let mut items = Vec::new();
        for watched in api.scraping.pools(&tenant).flat_map(|pool| &pool.active) {
            let own = &watched.target.labels;
            let fits = |m: &crate::model::Matcher| m.matches(own.value(&m.name));
            if !matchers.iter().all(fits) {
                continue;
            }
            let families = watched.families.lock();
            let known = families.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
            for (name, family) in known.take(limit.saturating_sub(items.len())) {
                let mut item = json!({ "target": labels(own) });
                // Whoever asks for one metric knows its name.
                if wanted.is_none() {
                    item["metric"] = name.as_str().into();
                }
                item["type"] = family.kind.as_str().into();
                item["help"] = family.help.as_str().into();
                item["unit"] = family.unit.as_str().into();
                items.push(item);
            }
        }
        Ok(success(&Value::from(items).to_string(), &[], &[]))
    };
    api.answer(work).await
}
