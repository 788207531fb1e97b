//! `GET /api/metrics/query_range` and `/api/metrics/query` (contracts/tempo.md 1.6).

use super::error::ApiError;
use super::json::{Object, found_attribute};
use super::search::{check_size, metrics};
use super::{Api, time};
use crate::model::time::{MILLI, SECOND, format_go_duration};
use crate::traces::find::checked;
use crate::traces::traceql::Inspected;
use crate::traces::traceql::ast::{Body, Query, Static};
use crate::traces::traceql::metrics::{Exemplar, Grid, Labels, Plan, Range, Series};
use crate::web::{Params, as_partial, json_response, noting};
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

/// The widest range, nanoseconds.
const RANGE_MAX: i64 = 24 * 3600 * SECOND;

const INTERVALS_MAX: i64 = 10_000;

/// Exemplars of one answer, by default and at most.
const EXEMPLARS_MAX: usize = 100;

fn plan(params: &Params) -> Result<(Plan, Query), ApiError> {
    let text = params.non_empty("q").or_else(|| params.non_empty("query")).unwrap_or("");
    check_size(text)?;
    let query = checked(text).map_err(|e| ApiError::bad_request(format!("compiling query: {e}")))?;
    match &query.body {
        Body::Metrics(metrics) => Ok((Plan::new(metrics), query)),
        Body::Spansets(_) | Body::ScalarPipelines(_) => Err(ApiError::bad_request("compiling query: not a metrics query")),
    }
}

/// The start and end of the range, the end not after now; equal if all of it is in the future.
fn range(params: &Params, now: i64) -> Result<(i64, i64), ApiError> {
    let (start, end) = time::metrics_range(params, now)?;
    if end <= start {
        return Err(ApiError::bad_request("end must be greater than start"));
    }
    if end.saturating_sub(start) > RANGE_MAX {
        let message = format!("metrics query time range exceeds the maximum allowed duration of {}", format_go_duration(RANGE_MAX));
        return Err(ApiError::bad_request(message));
    }
    let end = end.min(now);
    Ok((start.min(end), end))
}

fn exemplars(params: &Params, query: &Query) -> usize {
    let hint = query.hints.iter().rev().find(|(name, _)| name == "exemplars");
    let asked = params.non_empty("exemplars").and_then(|text| text.parse().ok()).filter(|n| *n > 0);
    let wanted = match hint {
        Some((_, Static::Bool(false))) => Some(0),
        Some((_, Static::Int(n))) => usize::try_from(*n).ok(),
        _ => asked,
    };
    wanted.map_or(EXEMPLARS_MAX, |n| n.min(EXEMPLARS_MAX))
}

fn max_series(params: &Params) -> usize {
    params.non_empty("maxSeries").and_then(|text| text.parse().ok()).filter(|n| *n > 0).unwrap_or(usize::MAX)
}

/// The series of a metrics query.
pub struct Measured {
    /// In order; no more than were asked for.
    pub series: Vec<Series>,
    pub grid: Grid,
    pub inspected: Inspected,
    /// Why there are fewer series than there could be.
    pub partial: Option<String>,
}

pub async fn measure_range(api: &Api, params: &Params) -> Result<Measured, ApiError> {
    let (plan, query) = plan(params)?;
    let (start, end) = range(params, api.clock.now())?;
    let step = match time::step(params)? {
        Some(step) => step,
        None => time::default_step(end - start),
    };
    if (end - start) / step > INTERVALS_MAX {
        let least = format_go_duration((end - start) / INTERVALS_MAX);
        let step = format_go_duration(step);
        return Err(ApiError::bad_request(format!("step of {step} is too small, minimum step for given range is {least}")));
    }
    let grid = if start < end { Grid::range(start, end, step) } else { Grid::empty(start) };
    measure(api, params, plan, Range { grid, exemplars: exemplars(params, &query) }).await
}

pub async fn measure_instant(api: &Api, params: &Params) -> Result<Measured, ApiError> {
    let (plan, _) = plan(params)?;
    let (start, end) = range(params, api.clock.now())?;
    let grid = if start < end { Grid::instant(start, end) } else { Grid::empty(start) };
    measure(api, params, plan, Range { grid, exemplars: 0 }).await
}

async fn measure(api: &Api, params: &Params, plan: Plan, range: Range) -> Result<Measured, ApiError> {
    let max = max_series(params);
    let work = move |ctx: &crate::query::Context, sources: &crate::traces::source::Sources| {
        let mut inspected = Inspected::default();
        let mut series = plan.run(ctx, sources, range, &mut inspected)?;
        // What is not a number has no form in JSON.
        for sample in series.iter_mut().flat_map(|s| &mut s.samples) {
            *sample = sample.filter(|v| v.is_finite());
        }
        series.retain(|s| s.samples.iter().any(Option::is_some));
        let partial = (series.len() > max).then(|| {
            format!(
                "Response exceeds maximum series limit of {max}, a partial response is returned. Warning: the accuracy of each individual value is not guaranteed."
            )
        });
        series.truncate(max);
        Ok(Measured { series, grid: range.grid, inspected, partial })
    };
    api.query("tempo_metrics", params, work).await
}

pub async fn query_range(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let (measured, notes) = noting(measure_range(&api, &params)).await;
    let measured = measured?;
    let one = |series: &Series| {
        let samples = series.samples.iter().enumerate().filter_map(|(i, v)| Some(sample(measured.grid.stamp(i), (*v)?)));
        Object::default()
            .with("labels", labels(&series.labels))
            .list("samples", samples.collect())
            .list("exemplars", series.exemplars.iter().map(exemplar).collect())
            .build()
    };
    Ok(as_partial(answer(&measured, one), notes).await)
}

pub async fn query_instant(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let (measured, notes) = noting(measure_instant(&api, &params)).await;
    let measured = measured?;
    let one = |series: &Series| {
        let value = series.samples.first().copied().flatten().filter(|v| *v != 0.0);
        let out = Object::default().with("labels", labels(&series.labels));
        value.map_or_else(|| json!({ "labels": labels(&series.labels) }), |v| out.with("value", v).build())
    };
    Ok(as_partial(answer(&measured, one), notes).await)
}

fn answer(measured: &Measured, one: impl Fn(&Series) -> Value) -> Response {
    let shown: Vec<Value> = measured.series.iter().map(one).collect();
    let mut body = Object::default().with("series", shown).with("metrics", metrics(measured.inspected));
    if let Some(message) = &measured.partial {
        body = body.with("status", "PARTIAL").with("message", message.as_str());
    }
    json_response(StatusCode::OK, body.build().to_string())
}

fn labels(labels: &Labels) -> Value {
    Value::Array(labels.iter().map(|(key, value)| found_attribute(key, value)).collect())
}

fn sample(time: i64, value: f64) -> Value {
    let out = Object::default().with("timestampMs", (time / MILLI).to_string());
    if value == 0.0 { out.build() } else { out.with("value", value).build() }
}

fn exemplar(exemplar: &Exemplar) -> Value {
    Object::default()
        .with("labels", labels(&exemplar.labels))
        .with("value", exemplar.value)
        .with("timestampMs", (exemplar.time / MILLI).to_string())
        .build()
}
