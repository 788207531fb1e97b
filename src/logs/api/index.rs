//! Statistics and volumes from the streams alone (contracts/loki.md 1.9).

use super::answer::{push_object, push_sample, stats as stats_object};
use super::distinct::Distinct;
use super::labels::{closed, selector};
use super::params::{bounds, count, step};
use super::{Api, invalid, json};
use crate::logs::logql::eval::Stats;
use crate::logs::source::{Run, each_run};
use crate::logs::spec::LogsSpec;
use crate::model::{Labels, MatchOp, Matcher, TimeRange, time::MILLI};
use crate::query::{Context, QueryError};
use crate::storage::View;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// The part of `run` that lies in `range`, if its entries are spread evenly.
fn share(run: &Run, range: TimeRange) -> f64 {
    let (from, to) = (run.min_ts.max(range.start), run.max_ts.min(range.end.saturating_sub(1)));
    let (length, inside) = (run.max_ts.saturating_sub(run.min_ts), to.saturating_sub(from));
    if to < from {
        0.0
    } else if length <= 0 || inside >= length {
        1.0
    } else {
        inside as f64 / length as f64
    }
}

/// Streams that are counted exactly; of more, the number is an estimate (within 2 % nearly always).
const COUNTED_STREAMS_MAX: usize = 1 << 16;

struct Totals {
    streams: Distinct,
    chunks: u64,
    bytes: f64,
    entries: f64,
}

fn totals(view: &View<LogsSpec>, ctx: &Context, params: &Params, now: i64) -> Result<Totals, QueryError> {
    let (start, end) = bounds(params, now)?;
    let (matchers, range) = (selector(params.get("query"))?, closed(start, end));
    let mut totals = Totals { streams: Distinct::new(COUNTED_STREAMS_MAX), chunks: 0, bytes: 0.0, entries: 0.0 };
    each_run(view, range, &matchers, ctx, |run| {
        let share = share(run, range);
        totals.streams.add(run.id.cast_unsigned());
        totals.chunks += 1;
        totals.bytes += share * run.bytes as f64;
        totals.entries += share * (run.rows.end - run.rows.start) as f64;
        Ok(())
    })?;
    Ok(totals)
}

pub async fn stats(State(api): State<Api>, params: Params) -> Response {
    let (now, asked) = (api.clock.now(), params.clone());
    api.answer(&params, move |view, ctx| {
        let t = totals(view, ctx, &asked, now)?;
        let (bytes, entries) = (t.bytes.round() as u64, t.entries.round() as u64);
        Ok(json(format!(r#"{{"streams":{},"chunks":{},"bytes":{bytes},"entries":{entries}}}"#, t.streams.count(), t.chunks)))
    })
    .await
}

/// Everything is one shard.
pub async fn shards(State(api): State<Api>, params: Params) -> Response {
    let (now, asked) = (api.clock.now(), params.clone());
    api.answer(&params, move |view, ctx| {
        let t = totals(view, ctx, &asked, now)?;
        let (streams, chunks, bytes, entries) = (t.streams.count(), t.chunks, t.bytes.round() as u64, t.entries.round() as u64);
        Ok(json(format!(
            r#"{{"shards":[{{"bounds":{{"min":0,"max":18446744073709551615}},"stats":{{"streams":{streams},"chunks":{chunks},"bytes":{bytes},"entries":{entries}}}}}],"chunk_groups":null}}"#
        )))
    })
    .await
}

/// What volumes are asked for and how they are grouped.
struct Volume {
    range: TimeRange,
    matchers: Vec<Matcher>,
    /// Names of labels to group by; empty for all.
    names: Vec<String>,
    by_label: bool,
    limit: usize,
}

impl Volume {
    fn parse(params: &Params, now: i64) -> Result<Volume, QueryError> {
        let (start, end) = bounds(params, now)?;
        let mut matchers = selector(params.get("query"))?;
        let limit = if params.get("limit") == Some("0") { 100 } else { count(params, "limit", 100)? };
        let by_label = match params.non_empty("aggregateBy").unwrap_or("series") {
            "series" => false,
            "labels" => true,
            _ => return Err(invalid("invalid aggregation option")),
        };
        let targets: Vec<String> =
            params.get("targetLabels").unwrap_or("").split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect();
        let mut names = targets.clone();
        if targets.is_empty() && !by_label {
            names = matchers.iter().map(|m| m.name.clone()).collect();
        }
        for target in &targets {
            if !matchers.iter().any(|m| m.name == *target) {
                matchers.push(Matcher::new(target, MatchOp::Regex, ".+").map_err(|e| invalid(e.to_string()))?);
            }
        }
        Ok(Volume { range: closed(start, end), matchers, names, by_label, limit })
    }

    fn groups(&self, labels: &Labels) -> Vec<Labels> {
        let wanted = |name: &str| self.names.is_empty() || self.names.iter().any(|n| n == name);
        if self.by_label {
            return labels.iter().filter(|(n, _)| wanted(n)).map(|(n, _)| Labels::from_sorted([(n, "")])).collect();
        }
        vec![labels.filtered(wanted)]
    }

    /// Bytes of each group in each of `buckets`; the largest groups first, then by name.
    fn collect(
        &self,
        (view, ctx): (&View<LogsSpec>, &Context),
        buckets: &Buckets,
        max: usize,
    ) -> Result<Vec<(Labels, Vec<f64>)>, QueryError> {
        let mut found: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        each_run(view, self.range, &self.matchers, ctx, |run| {
            for group in self.groups(&run.labels) {
                if !found.contains_key(&group) {
                    if found.len() >= max {
                        let message = format!("the query hit the max number of series limit (limit: {max} series)");
                        return Err(QueryError::TooMuch(message));
                    }
                    ctx.reserve((group.heap_bytes() + 8 * buckets.count) as u64)?;
                }
                let volumes = found.entry(group).or_insert_with(|| vec![0.0; buckets.count]);
                for at in buckets.overlapping(run) {
                    volumes[at] += share(run, buckets.range(at)) * run.bytes as f64;
                }
            }
            Ok(())
        })?;
        let mut sorted: Vec<(Labels, Vec<f64>)> = found.into_iter().collect();
        let total = |v: &[f64]| v.iter().sum::<f64>();
        sorted.sort_by(|a, b| total(&b.1).total_cmp(&total(&a.1)).then_with(|| a.0.to_string().cmp(&b.0.to_string())));
        sorted.truncate(self.limit);
        Ok(sorted)
    }
}

/// A time range in equal parts, of which the last may be shorter; `step` 0 for one part.
struct Buckets {
    whole: TimeRange,
    /// The range's last instant.
    end: i64,
    step: i64,
    count: usize,
}

impl Buckets {
    fn new(whole: TimeRange, step: i64) -> Buckets {
        let end = whole.end.saturating_sub(1);
        let length = end.saturating_sub(whole.start);
        // A range of one instant has one bucket, too.
        let count = if step == 0 { 1 } else { (length / step + i64::from(length % step != 0)).max(1) };
        Buckets { whole, end, step, count: usize::try_from(count).unwrap_or(1) }
    }

    fn range(&self, at: usize) -> TimeRange {
        if self.step == 0 || self.end == self.whole.start {
            return self.whole;
        }
        let start = self.whole.start.saturating_add(self.step.saturating_mul(at as i64));
        TimeRange::new(start, start.saturating_add(self.step).min(self.end))
    }

    fn overlapping(&self, run: &Run) -> Range<usize> {
        let bucket = |ts: i64| {
            let after = ts.saturating_sub(self.whole.start).max(0);
            if self.step == 0 { 0 } else { usize::try_from(after / self.step).unwrap_or(0).min(self.count - 1) }
        };
        bucket(run.min_ts)..bucket(run.max_ts) + 1
    }

    /// A bucket's sample stands just before the next one starts, the last one at the end of the range.
    fn time(&self, at: usize) -> i64 {
        if at + 1 == self.count { self.end } else { self.range(at).end - MILLI }
    }
}

pub async fn volume(State(api): State<Api>, params: Params) -> Response {
    volumes(&api, &params, false).await
}

pub async fn volume_range(State(api): State<Api>, params: Params) -> Response {
    volumes(&api, &params, true).await
}

async fn volumes(api: &Api, params: &Params, ranged: bool) -> Response {
    let (now, max, asked) = (api.clock.now(), api.config().volume_series_max, params.clone());
    api.answer(params, move |view, ctx| {
        let volume = Volume::parse(&asked, now)?;
        let (start, end) = (volume.range.start, volume.range.end.saturating_sub(1));
        let step = if ranged { step(&asked, start, end)? } else { 0 };
        let buckets = Buckets::new(volume.range, step);
        let groups = volume.collect((view, ctx), &buckets, max)?;
        let several = groups.iter().any(|(_, v)| v.iter().filter(|b| **b > 0.0).count() > 1);
        let mut out = format!(r#"{{"status":"success","data":{{"resultType":"{}","result":["#, if several { "matrix" } else { "vector" });
        for (i, (labels, volumes)) in groups.iter().enumerate() {
            out.push_str(if i > 0 { r#",{"metric":"# } else { r#"{"metric":"# });
            push_object(&mut out, labels.iter());
            let mut samples = volumes.iter().enumerate().filter(|(_, v)| **v > 0.0 || volumes.len() == 1);
            if several {
                out.push_str(r#","values":["#);
                for (i, (at, bytes)) in samples.enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    push_sample(&mut out, buckets.time(at), bytes.round());
                }
                out.push_str("]}");
            } else {
                out.push_str(r#","value":"#);
                let (at, bytes) = samples.next_back().map_or((0, 0.0), |(at, bytes)| (at, *bytes));
                push_sample(&mut out, buckets.time(at), bytes.round());
                out.push('}');
            }
        }
        out.push_str(&format!(r#"],"stats":{}}}}}"#, stats_object(&Stats::default(), groups.len(), Duration::ZERO)));
        Ok(json(out))
    })
    .await
}
