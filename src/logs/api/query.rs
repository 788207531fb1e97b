use super::params::{self, bounds, count, direction, encoding_flags, interval};
use super::{Api, invalid};
use super::{answer, written};
use crate::logs::Config;
use crate::logs::logql::ast::{Expr, MetricExpr, VectorOp};
use crate::logs::logql::eval::{Engine, LogQuery, Stats, Steps, Value, run_log, run_metric};
use crate::logs::logql::parse;
use crate::model::{TimeRange, time};
use crate::query::QueryError;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use std::time::Instant;

/// The entries of a log query by default.
const LIMIT_DEFAULT: usize = 100;

pub fn parsed(params: &Params) -> Result<Expr, QueryError> {
    let mut query = params.get("query").unwrap_or("").to_owned();
    if let Some(regexp) = params.non_empty("regexp") {
        query = format!("{query} |~ {}", crate::model::quote::quote(regexp));
    }
    parse(&query).map_err(|e| QueryError::Parse(e.to_string()))
}

pub async fn instant(State(api): State<Api>, params: Params) -> Response {
    let (now, config) = (api.clock.now(), api.door.store().spec().config().clone());
    let asked = params.clone();
    api.answer(&params, move |view, ctx| {
        let at = params::time_of(&asked, "time")?.unwrap_or(now);
        count(&asked, "limit", LIMIT_DEFAULT)?;
        direction(&asked)?;
        let Expr::Metric(expr) = parsed(&asked)? else {
            return Err(invalid("log queries are not supported as an instant query type, please change your query to a range query type"));
        };
        metric(&Engine { view, ctx, now }, &expr, Steps::instant(at), &config, takes_part(&asked))
    })
    .await
}

pub async fn range(State(api): State<Api>, params: Params) -> Response {
    let (now, config) = (api.clock.now(), api.door.store().spec().config().clone());
    let asked = params.clone();
    api.answer(&params, move |view, ctx| {
        let (start, end) = bounds(&asked, now)?;
        let step = params::step(&asked, start, end)?;
        let limit = count(&asked, "limit", LIMIT_DEFAULT)?;
        let (direction, interval) = (direction(&asked)?, interval(&asked)?);
        check_length(start, end, &config)?;
        match parsed(&asked)? {
            Expr::Log(log) => {
                check_limit(limit, &config)?;
                let started = Instant::now();
                let query = LogQuery { range: TimeRange::new(start, end), direction, limit, interval };
                let mut stats = Stats::default();
                let entries = run_log(&Engine { view, ctx, now }, &log, &query, &mut stats)?;
                let stats = answer::stats(&stats, entries.len(), started.elapsed());
                Ok(written::streams(entries, encoding_flags(&asked), stats, ctx))
            }
            Expr::Metric(expr) => metric(&Engine { view, ctx, now }, &expr, aligned(start, end, step), &config, takes_part(&asked)),
        }
    })
    .await
}

/// For log queries: `limit` does not count for metrics.
pub fn check_limit(limit: usize, config: &Config) -> Result<(), QueryError> {
    let max = config.query_entries_max;
    if limit <= max {
        return Ok(());
    }
    Err(invalid(format!("max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {max})")))
}

pub fn check_length(start: i64, end: i64, config: &Config) -> Result<(), QueryError> {
    let (length, max) = (end.saturating_sub(start), i64::try_from(config.query_length_max.as_nanos()).unwrap_or(i64::MAX));
    if length <= max {
        return Ok(());
    }
    let (length, max) = (time::format_go_duration(length), time::format_prometheus_duration(max));
    Err(invalid(format!("the query time range exceeds the limit (query length: {length}, limit: {max})")))
}

/// Steps at multiples of the step since the epoch, from at or before `start` to at or after `end`: what Loki answers
/// with its default splitting, and what Grafana's own splitting expects (contracts/loki.md 1.5).
fn aligned(start: i64, end: i64, step: i64) -> Steps {
    if start == end {
        return Steps { start, end, step, instant: false };
    }
    let first = start.div_euclid(step).saturating_mul(step);
    let past = end.rem_euclid(step);
    let last = if past == 0 { end } else { end.saturating_add(step - past) };
    Steps { start: first, end: last, step, instant: false }
}

/// Whether the client can show a part of the series: Logs Drilldown says who it is, and relies on it.
fn takes_part(params: &Params) -> bool {
    let tags = params.headers.get("x-query-tags").and_then(|v| v.to_str().ok()).unwrap_or("");
    tags.split(',').any(|tag| tag.trim().eq_ignore_ascii_case("source=grafana-lokiexplore-app"))
}

fn metric(engine: &Engine<'_>, expr: &MetricExpr, steps: Steps, config: &Config, takes_part: bool) -> Result<Response, QueryError> {
    let started = Instant::now();
    let mut stats = Stats::default();
    let value = run_metric(engine, expr, &steps, &mut stats)?;
    let series = match &value {
        Value::Scalar(_) => 1,
        Value::Vector(series) => series.len(),
    };
    if series > config.query_series_max && !takes_part {
        return Err(QueryError::TooMuch(format!(
            "maximum number of series ({}) reached for a single query; consider reducing query cardinality by adding more specific stream \
             selectors, reducing the time range, or aggregating results with functions like sum(), count() or topk()",
            config.query_series_max
        )));
    }
    let mut sorts = false;
    expr.walk(&mut |e| sorts |= matches!(e, MetricExpr::Vector(v) if matches!(v.op, VectorOp::Sort | VectorOp::SortDesc)));
    let stats = answer::stats(&stats, series, started.elapsed());
    Ok(answer::metric(value, steps, sorts && steps.instant, config.query_series_max, stats, engine.ctx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_aligned_outwards() {
        let s = aligned(103, 195, 10);
        assert_eq!((s.start, s.end, s.count()), (100, 200, 11));
        let one = aligned(103, 103, 10);
        assert_eq!((one.start, one.end), (103, 103));
    }
}
