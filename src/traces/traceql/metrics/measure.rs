//! Runs a metrics query: the spans of its pipeline, observed one by one into series.

use super::buckets::{Counts, bucket, quantile};
use super::compare::Comparison;
use super::exemplars::{Chooser, Exemplar};
use super::{Grid, Labels, NAME, Series, math, stages};
use crate::model::TimeRange;
use crate::query::{Context, QueryError};
use crate::traces::columns::Projection;
use crate::traces::source::{Sources, steps};
use crate::traces::traceql::ast::{Field, Intrinsic, Metrics, MetricsFunction, MetricsQuery, Op, SecondStage, Static};
use crate::traces::traceql::eval::{Shown, Subject, Value, need};
use crate::traces::traceql::{Inspected, Judge};
use std::collections::HashMap;

/// Traces that are read at a time.
const STEP: usize = 4096;

/// When, and how many exemplars.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    pub grid: Grid,
    pub exemplars: usize,
}

/// A metrics expression, ready to run.
pub enum Plan {
    Query(Box<QueryPlan>),
    Literal(f64),
    Binary { op: Op, left: Box<Plan>, right: Box<Plan> },
    Staged { inner: Box<Plan>, stages: Vec<SecondStage> },
}

pub struct QueryPlan {
    judge: Judge,
    function: MetricsFunction,
    by: Vec<Field>,
    stages: Vec<SecondStage>,
    shown: Shown,
    comparison: Option<Comparison>,
}

impl Plan {
    /// `metrics` has been checked.
    pub fn new(metrics: &Metrics) -> Plan {
        match metrics {
            Metrics::Query(query) => Plan::Query(Box::new(QueryPlan::new(query))),
            Metrics::Literal(value) => Plan::Literal(number(value)),
            Metrics::Binary { op, left, right } => {
                Plan::Binary { op: *op, left: Box::new(Plan::new(left)), right: Box::new(Plan::new(right)) }
            }
            Metrics::Staged { inner, stages } => Plan::Staged { inner: Box::new(Plan::new(inner)), stages: stages.clone() },
        }
    }

    /// Series in order; none if no data lie in the range at all.
    pub fn run(&self, ctx: &Context, sources: &Sources, range: Range, inspected: &mut Inspected) -> Result<Vec<Series>, QueryError> {
        let mut series = match self {
            Plan::Query(query) => query.run(ctx, sources, range, inspected)?,
            Plan::Literal(_) => Vec::new(),
            Plan::Binary { op, left, right } => match (&**left, &**right) {
                (Plan::Literal(n), other) => math::with_number(*op, other.run(ctx, sources, range, inspected)?, *n, true),
                (other, Plan::Literal(n)) => math::with_number(*op, other.run(ctx, sources, range, inspected)?, *n, false),
                (left, right) => {
                    let left = left.run(ctx, sources, range, inspected)?;
                    math::joined(*op, left, right.run(ctx, sources, range, inspected)?)
                }
            },
            Plan::Staged { inner, stages } => stages::apply(stages, inner.run(ctx, sources, range, inspected)?),
        };
        series.sort_by_cached_key(Series::order);
        Ok(series)
    }
}

/// A constant for arithmetic.
fn number(value: &Static) -> f64 {
    match value {
        Static::Int(n) => *n as f64,
        Static::Float(f) => *f,
        Static::Duration(d) => *d as f64 / 1e9,
        _ => f64::NAN,
    }
}

/// What one series has seen.
enum Seen {
    Count(Vec<u64>),
    /// Minimum or maximum.
    Extreme(Vec<Option<f64>>),
    /// Sum with what rounding lost, and count.
    Sum(Vec<(f64, f64, u64)>),
    Buckets(Vec<Counts>, f64),
}

impl QueryPlan {
    fn new(query: &MetricsQuery) -> QueryPlan {
        let mut reads = Projection::none();
        let shown = Shown::new(&query.pipeline);
        shown.fields().chain(query.function.field()).chain(&query.by).for_each(|field| need(&mut reads, field));
        let comparison = match &query.function {
            MetricsFunction::Compare(compare) => {
                let comparison = Comparison::new(compare);
                comparison.need(compare, &mut reads);
                Some(comparison)
            }
            _ => None,
        };
        QueryPlan {
            judge: Judge::new(&query.pipeline, reads),
            function: query.function.clone(),
            by: query.by.clone(),
            stages: query.stages.clone(),
            shown,
            comparison,
        }
    }

    fn run(&self, ctx: &Context, sources: &Sources, range: Range, inspected: &mut Inspected) -> Result<Vec<Series>, QueryError> {
        let grid = range.grid;
        let time = TimeRange::new(grid.start.saturating_add(1), grid.end().saturating_add(1));
        if grid.count == 0 || !sources.overlap(time) {
            return Ok(Vec::new());
        }
        let mut observed = Observed { plan: self, ctx, grid, series: HashMap::new(), chooser: Chooser::new(range.exemplars, grid) };
        let mut comparison = self.comparison.as_ref().map(|c| c.start(grid));
        // In order of trace id, which is the order of rows in blocks.
        let mut traces = if self.judge.is_never() { Vec::new() } else { sources.traces(ctx, time)? };
        traces.sort_by_key(|t| t.trace_id);
        for step in steps(&traces, STEP) {
            self.judge.run(ctx, sources, step, inspected, |_, facts, sets| {
                for index in sets.iter().flat_map(|s| &s.spans) {
                    let subject = Subject::new(facts, *index);
                    let Some(interval) = grid.index(subject.span().start) else { continue };
                    match &mut comparison {
                        Some(comparison) => comparison.observe(ctx, subject, interval)?,
                        None => observed.observe(subject, interval)?,
                    }
                }
                Ok(())
            })?;
        }
        let series = match comparison {
            Some(comparison) => comparison.finish(),
            None => observed.finish(),
        };
        Ok(stages::apply(&self.stages, series))
    }

    /// The measured value; `None` where the span has none.
    fn value(&self, subject: Subject<'_>) -> Option<f64> {
        let field = self.function.field()?;
        let value = subject.get(field).as_float().filter(|v| v.is_finite())?;
        Some(if *field == Field::Intrinsic(Intrinsic::Duration) { value / 1e9 } else { value })
    }

    fn labels(&self, subject: Subject<'_>) -> Labels {
        if self.by.is_empty() {
            return Labels::new();
        }
        let values = self.by.iter().map(|field| (field.to_string(), subject.get(field).into_owned()));
        let labels: Labels = values.filter(|(_, value)| *value != Value::Nil).collect();
        if !labels.is_empty() {
            return labels;
        }
        vec![(self.by[0].to_string(), Value::String("nil".into()))]
    }
}

struct Observed<'a> {
    plan: &'a QueryPlan,
    ctx: &'a Context,
    grid: Grid,
    series: HashMap<String, (Labels, Seen)>,
    chooser: Chooser,
}

/// Bytes a series takes beside its samples, about.
const SERIES_BYTES: u64 = 256;

impl Observed<'_> {
    fn observe(&mut self, subject: Subject<'_>, interval: usize) -> Result<(), QueryError> {
        let plan = self.plan;
        let found = plan.function.field().map(|field| bucket(&subject.get(field)));
        let value = plan.value(subject);
        let usable = match plan.function {
            MetricsFunction::HistogramOverTime(_) | MetricsFunction::QuantileOverTime(..) => found.flatten().is_some(),
            MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare(_) => true,
            _ => value.is_some(),
        };
        if !usable {
            return Ok(());
        }
        let labels = plan.labels(subject);
        let key = key_of(&labels);
        if !self.series.contains_key(&key) {
            self.ctx.reserve(SERIES_BYTES + 24 * self.grid.count as u64)?;
            self.series.insert(key.clone(), (labels.clone(), Seen::new(&plan.function, self.grid.count)));
        }
        if let Some((_, seen)) = self.series.get_mut(&key) {
            seen.add(&plan.function, interval, value, found.flatten());
        }
        self.chooser.offer(&key, subject, value, &plan.shown);
        Ok(())
    }

    fn finish(mut self) -> Vec<Series> {
        let always = self.plan.by.is_empty() && matches!(self.plan.function, MetricsFunction::Rate | MetricsFunction::CountOverTime);
        if always && self.series.is_empty() {
            self.series.insert(String::new(), (Labels::new(), Seen::new(&self.plan.function, self.grid.count)));
        }
        let mut out = Vec::new();
        for (key, (labels, seen)) in self.series {
            let mut series = seen.series(&self.plan.function, labels, self.grid);
            self.chooser.attach(&key, &mut series, matches!(self.plan.function, MetricsFunction::QuantileOverTime(..)));
            out.append(&mut series);
        }
        out
    }
}

/// Tells label sets apart, with the types of their values.
pub fn key_of(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}\u{0}{}\u{0}", value.key())).collect()
}

impl Seen {
    fn new(function: &MetricsFunction, count: usize) -> Seen {
        match function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare(_) => Seen::Count(vec![0; count]),
            MetricsFunction::MinOverTime(_) | MetricsFunction::MaxOverTime(_) => Seen::Extreme(vec![None; count]),
            MetricsFunction::AvgOverTime(_) | MetricsFunction::SumOverTime(_) => Seen::Sum(vec![(0.0, 0.0, 0); count]),
            MetricsFunction::HistogramOverTime(_) | MetricsFunction::QuantileOverTime(..) => Seen::Buckets(vec![Counts::new(); count], 1.0),
        }
    }

    fn add(&mut self, function: &MetricsFunction, interval: usize, value: Option<f64>, bucket: Option<(u64, f64)>) {
        match (self, value, bucket) {
            (Seen::Count(counts), ..) => counts[interval] += 1,
            (Seen::Extreme(extremes), Some(value), _) => {
                let pick = if matches!(function, MetricsFunction::MinOverTime(_)) { f64::min } else { f64::max };
                extremes[interval] = Some(extremes[interval].map_or(value, |old| pick(old, value)));
            }
            (Seen::Sum(sums), Some(value), _) => {
                let (sum, lost, count) = &mut sums[interval];
                // Neumaier: what the larger of the two loses of the smaller is kept apart.
                let next = *sum + value;
                *lost += if sum.abs() >= value.abs() { (*sum - next) + value } else { (value - next) + *sum };
                *sum = next;
                *count += 1;
            }
            (Seen::Buckets(counts, shown), _, Some((bound, divisor))) => {
                *shown = divisor;
                *counts[interval].entry(bound).or_default() += 1;
            }
            _ => {}
        }
    }

    fn series(self, function: &MetricsFunction, labels: Labels, grid: Grid) -> Vec<Series> {
        let named = || match labels.is_empty() {
            true => vec![(NAME.to_owned(), Value::String(function.name().into()))],
            false => labels.clone(),
        };
        let samples: Vec<Option<f64>> = match self {
            Seen::Count(counts) => {
                let divisor = if *function == MetricsFunction::Rate { grid.step_seconds() } else { 1.0 };
                counts.into_iter().map(|n| Some(n as f64 / divisor)).collect()
            }
            Seen::Extreme(extremes) => extremes,
            Seen::Sum(sums) => {
                let mean = matches!(function, MetricsFunction::AvgOverTime(_));
                let value = |(sum, lost, n): (f64, f64, u64)| if mean { (sum + lost) / n as f64 } else { sum + lost };
                sums.into_iter().map(|sum| (sum.2 > 0).then(|| value(sum))).collect()
            }
            Seen::Buckets(counts, divisor) => return bucket_series(function, &labels, &counts, divisor),
        };
        vec![Series::new(named(), samples)]
    }
}

fn bucket_series(function: &MetricsFunction, labels: &Labels, counts: &[Counts], divisor: f64) -> Vec<Series> {
    let with = |name: &str, value: f64| {
        let mut labels = labels.clone();
        labels.push((name.to_owned(), Value::Float(value)));
        labels
    };
    if let MetricsFunction::QuantileOverTime(_, quantiles) = function {
        let of = |p: &f64| Series::new(with("p", *p), counts.iter().map(|c| Some(quantile(*p, c) / divisor)).collect());
        return quantiles.iter().map(of).collect();
    }
    let mut bounds: Vec<u64> = counts.iter().flat_map(|c| c.keys().copied()).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let of = |bound: u64| {
        let samples = counts.iter().map(|c| Some(c.get(&bound).copied().unwrap_or(0) as f64)).collect();
        Series::new(with("__bucket", bound as f64 / divisor), samples)
    };
    bounds.into_iter().map(of).collect()
}

/// An exemplar's value in series that count: that of the sample of its interval.
pub fn sample_at(series: &Series, exemplar: &Exemplar, grid: Grid) -> Option<f64> {
    grid.index(exemplar.time).and_then(|i| series.samples.get(i).copied().flatten())
}
