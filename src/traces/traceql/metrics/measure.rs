//! Runs a metrics query: the spans of its pipeline, observed one by one into series.

use super::compare::Comparison;
use super::exemplars::Exemplar;
use super::observed::Observed;
use super::{Grid, Labels, Series, block, math, stages};
use crate::model::TimeRange;
use crate::query::{Context, QueryError};
use crate::traces::columns::Projection;
use crate::traces::scene::Scene;
use crate::traces::source::{Sources, TraceRef, steps};
use crate::traces::traceql::ast::{Field, Intrinsic, Metrics, MetricsFunction, MetricsQuery, Op, SecondStage, Static};
use crate::traces::traceql::eval::{Shown, Subject, Value, need};
use crate::traces::traceql::{Inspected, Judge};

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
    pub(super) judge: Judge,
    pub(super) function: MetricsFunction,
    pub(super) by: Vec<Field>,
    stages: Vec<SecondStage>,
    pub(super) shown: Shown,
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
        let mut observed = Observed::new(self, ctx, range);
        let mut comparison = self.comparison.as_ref().map(|c| c.start(grid));
        if !self.judge.is_never() {
            let scene = Scene::new(ctx, sources, time)?;
            let by_columns = self.comparison.is_none();
            let later = block::observe(ctx, &scene, (self, range), by_columns, &mut observed, inspected)?;
            for places in later.chunks(STEP) {
                let traces: Vec<TraceRef> = places.iter().filter_map(|place| scene.trace(place)).collect();
                for step in steps(&traces, STEP) {
                    self.judge.run(ctx, sources, step, false, |_, facts, sets| {
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
            }
        }
        let series = match comparison {
            Some(comparison) => comparison.finish(),
            None => observed.finish(),
        };
        Ok(stages::apply(&self.stages, series))
    }

    /// The number to measure of a value of the function's field; `None` where there is none.
    pub(super) fn number(&self, value: &Value<'_>) -> Option<f64> {
        let number = value.as_float().filter(|v| v.is_finite())?;
        Some(if self.function.field() == Some(&Field::Intrinsic(Intrinsic::Duration)) { number / 1e9 } else { number })
    }

    /// The labels of a series, from the values of the fields of `by`.
    pub(super) fn labels<'a>(&self, values: impl Iterator<Item = Value<'a>>) -> Labels {
        let values = self.by.iter().zip(values).map(|(field, value)| (field.to_string(), value.into_owned()));
        let labels: Labels = values.filter(|(_, value)| *value != Value::Nil).collect();
        match self.by.first() {
            Some(first) if labels.is_empty() => vec![(first.to_string(), Value::String("nil".into()))],
            _ => labels,
        }
    }
}

/// An exemplar's value in series that count: that of the sample of its interval.
pub fn sample_at(series: &Series, exemplar: &Exemplar, grid: Grid) -> Option<f64> {
    grid.index(exemplar.time).and_then(|i| series.samples.get(i).copied().flatten())
}
