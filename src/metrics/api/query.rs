//! `query` and `query_range` (contracts/prometheus.md 1.3).

use super::error::ApiError;
use super::json::success_in_pieces;
use super::result::QueryData;
use super::{Api, params};
use crate::metrics::promql::{Annotations, Answer, Engine, Expr, Options, QueryValue, Storage, ValueType, parse};
use crate::metrics::spec::Config;
use crate::model::time::MILLI;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use std::time::{Duration, Instant};

/// Points of a series in a range query at most.
const POINTS_MAX: i128 = 11_000;

/// What both endpoints read.
struct Request {
    text: String,
    expr: Expr,
    options: Options,
    timeout: Option<Duration>,
    limit: usize,
    stats: String,
}

impl Request {
    fn options(params: &Params, config: &Config) -> Result<(Options, Option<Duration>), ApiError> {
        let timeout = params::optional_duration(params, "timeout")?.map(|nanos| Duration::from_nanos(nanos.max(0).unsigned_abs()));
        let lookback = params::lookback(params)?.filter(|ms| *ms > 0);
        let default = i64::try_from(config.lookback.as_millis()).unwrap_or(i64::MAX);
        let options = Options { lookback: lookback.unwrap_or(default), samples_max: config.query_samples_max, ..Options::default() };
        Ok((options, timeout))
    }

    fn new(params: &Params, config: &Config, limit: usize) -> Result<Request, ApiError> {
        let (options, timeout) = Request::options(params, config)?;
        let text = params.get("query").unwrap_or("").to_owned();
        let expr = parse(&text).map_err(|e| ApiError::parameter("query", e.render(&text)))?;
        let stats = params.get("stats").unwrap_or("").to_owned();
        Ok(Request { text, expr, options, timeout, limit, stats })
    }
}

pub async fn instant(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let limit = params::limit(&params)?;
        let at = params::optional_time(&params, "time", api.clock.now() / MILLI)?;
        let request = Request::new(&params, api.door.store().spec().config(), limit)?;
        run(&api, &params, request, move |engine, expr| engine.instant(expr, at)).await
    };
    api.answer(work).await
}

pub async fn range(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let limit = params::limit(&params)?;
        let start = params::time(&params, "start")?;
        let end = params::time(&params, "end")?;
        if end < start {
            return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
        }
        let step = params::parse_duration(params.get("step").unwrap_or("")).map_err(|e| ApiError::parameter("step", e))?;
        if step <= 0 {
            let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
            return Err(ApiError::parameter("step", message));
        }
        let span = (i128::from(end) - i128::from(start)) * i128::from(MILLI);
        if span / i128::from(step) > POINTS_MAX {
            let message = "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)";
            return Err(ApiError::BadData(message.to_owned()));
        }
        let request = Request::new(&params, api.door.store().spec().config(), limit)?;
        let kind = request.expr.value_type();
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let message = format!("invalid expression type {:?} for range query, must be Scalar or instant Vector", kind.documented());
            return Err(ApiError::parameter("query", message));
        }
        let step = (step / MILLI).max(1);
        run(&api, &params, request, move |engine, expr| engine.range(expr, start, end, step)).await
    };
    api.answer(work).await
}

async fn run<W>(api: &Api, params: &Params, request: Request, evaluate: W) -> Result<Response, ApiError>
where
    W: FnOnce(&Engine<'_>, &Expr) -> Result<Answer, crate::query::QueryError> + Send + 'static,
{
    let queued = Instant::now();
    let Request { text, expr, options, timeout, limit, stats } = request;
    let work = move |querier: &crate::metrics::select::Querier| {
        let started = Instant::now();
        let answer = evaluate(&Engine::new(querier, options), &expr)?;
        let timings = Timings { queue: started - queued, evaluation: started.elapsed() };
        let mut warnings = Annotations::limited(answer.notes.warnings(&text), "warning");
        let infos = Annotations::limited(answer.notes.infos(&text), "info");
        let mut value = answer.value;
        if truncate(&mut value, limit) {
            warnings.push("results truncated due to limit".to_owned());
        }
        if let (QueryValue::Vector(elements), false) = (&mut value, answer.ordered) {
            elements.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        if !matches!(stats.as_str(), "" | "true" | "all") {
            warnings.push(format!(
                "value {stats:?} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\""
            ));
        }
        let stats = if stats.is_empty() { String::new() } else { timings.json(answer.samples) };
        let mut data = QueryData::new(value, stats, querier.context().clone());
        Ok(success_in_pieces(move |out| data.write(out), warnings, infos))
    };
    api.read(params, timeout, work).await
}

/// Keeps the first `limit` series; 0 keeps all. Returns whether any were dropped.
fn truncate(value: &mut QueryValue, limit: usize) -> bool {
    let length = match value {
        QueryValue::Vector(elements) => elements.len(),
        QueryValue::Matrix(series) => series.len(),
        QueryValue::Scalar(..) | QueryValue::Text(..) => 0,
    };
    if limit == 0 || length <= limit {
        return false;
    }
    match value {
        QueryValue::Vector(elements) => elements.truncate(limit),
        QueryValue::Matrix(series) => series.truncate(limit),
        QueryValue::Scalar(..) | QueryValue::Text(..) => {}
    }
    true
}

struct Timings {
    queue: Duration,
    evaluation: Duration,
}

impl Timings {
    /// The `stats` field, with the comma before it.
    fn json(&self, samples: u64) -> String {
        let (queue, evaluation) = (self.queue.as_secs_f64(), self.evaluation.as_secs_f64());
        let total = queue + evaluation;
        let timings = serde_json::json!({
            "evalTotalTime": evaluation,
            "resultSortTime": 0.0,
            "queryPreparationTime": 0.0,
            "innerEvalTime": evaluation,
            "execQueueTime": queue,
            "execTotalTime": total,
        });
        let samples = serde_json::json!({ "totalQueryableSamples": samples, "samplesRead": samples, "peakSamples": samples });
        format!(",\"stats\":{{\"timings\":{timings},\"samples\":{samples}}}")
    }
}
