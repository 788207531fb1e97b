use super::vector::{aggregate, label_replace};
use super::{Engine, Series, Stats, binary, range};
use crate::logs::logql::ast::{MetricExpr, RangeOp, VectorOp};
use crate::model::Labels;
use crate::query::{Grouping, QueryError};

/// The instants at which a metric query is evaluated, nanoseconds: `start`, `start + step`, … up to `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    pub start: i64,
    pub end: i64,
    /// Positive.
    pub step: i64,
    /// Answers a vector at one instant instead of a matrix.
    pub instant: bool,
}

impl Steps {
    pub fn instant(at: i64) -> Steps {
        Steps { start: at, end: at, step: 1, instant: true }
    }

    pub fn count(&self) -> u32 {
        u32::try_from((self.end - self.start) / self.step + 1).unwrap_or(u32::MAX)
    }

    pub fn time(&self, number: u32) -> i64 {
        self.start + i64::from(number) * self.step
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Scalar(f64),
    Vector(Vec<Series>),
}

impl Value {
    /// A scalar as the series that range queries answer.
    pub fn into_series(self, steps: &Steps) -> Vec<Series> {
        match self {
            Value::Scalar(value) => vec![constant(value, steps)],
            Value::Vector(series) => series,
        }
    }
}

fn constant(value: f64, steps: &Steps) -> Series {
    Series { labels: Labels::empty(), points: (0..steps.count()).map(|n| (n, value)).collect() }
}

pub fn run_metric(engine: &Engine<'_>, expr: &MetricExpr, steps: &Steps, stats: &mut Stats) -> Result<Value, QueryError> {
    engine.ctx.check()?;
    match expr {
        MetricExpr::Literal(value) => Ok(Value::Scalar(*value)),
        MetricExpr::Constant(value) => Ok(Value::Vector(vec![constant(*value, steps)])),
        MetricExpr::Range(aggregation) => range::run(engine, aggregation, steps, None, stats).map(Value::Vector),
        MetricExpr::Vector(aggregation) => {
            if aggregation.op == VectorOp::ApproxTopK && !steps.instant {
                return Err(QueryError::Invalid("count min sketches are only supported on instant queries".into()));
            }
            let none = Grouping::default();
            let grouping = aggregation.grouping.as_ref().unwrap_or(&none);
            if let (VectorOp::Sum, MetricExpr::Range(inner)) = (aggregation.op, &*aggregation.inner)
                && matches!(inner.op, RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Sum)
            {
                // A sum of sums is one sum, so entries are put into the groups at once.
                return range::run(engine, inner, steps, Some(grouping), stats).map(Value::Vector);
            }
            let inner = run_metric(engine, &aggregation.inner, steps, stats)?.into_series(steps);
            aggregate(engine, aggregation.op, aggregation.k, grouping, inner, steps).map(Value::Vector)
        }
        MetricExpr::Binary(b) => {
            let left = run_metric(engine, &b.left, steps, stats)?;
            let right = run_metric(engine, &b.right, steps, stats)?;
            binary::apply(engine, b, left, right, steps)
        }
        MetricExpr::LabelReplace(replace) => {
            let inner = run_metric(engine, &replace.inner, steps, stats)?.into_series(steps);
            label_replace(replace, inner, engine.ctx).map(Value::Vector)
        }
    }
}
