//! Binary operators: on scalars, on a vector and a scalar, and on two vectors matched by labels.

use super::metric::{Steps, Value};
use super::{Engine, Series};
use crate::logs::logql::ast::{Binary, BinaryOp};
use crate::model::Labels;
use crate::query::{Cardinality, QueryError};
use std::collections::HashMap;

/// Arithmetic, or 1 and 0 for a comparison. A division by zero is NaN, unlike in PromQL.
pub fn apply_scalars(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Compare(c) => f64::from(u8::from(c.holds(left, right))),
        BinaryOp::Or | BinaryOp::And | BinaryOp::Unless => f64::NAN,
    }
}

/// `None` where a filtering comparison does not hold; then `kept` is the value that stays where it does.
fn outcome(b: &Binary, left: f64, right: f64, kept: f64) -> Option<f64> {
    match b.op {
        BinaryOp::Compare(c) if !b.return_bool => c.holds(left, right).then_some(kept),
        op => Some(apply_scalars(op, left, right)),
    }
}

pub fn apply(engine: &Engine<'_>, b: &Binary, left: Value, right: Value, steps: &Steps) -> Result<Value, QueryError> {
    let each = |series: Vec<Series>, f: &dyn Fn(f64) -> Option<f64>| {
        let one = |mut s: Series| {
            s.points = s.points.into_iter().filter_map(|(n, v)| f(v).map(|v| (n, v))).collect();
            s
        };
        Value::Vector(series.into_iter().map(one).filter(|s| !s.points.is_empty()).collect())
    };
    match (left, right) {
        (Value::Scalar(l), Value::Scalar(r)) => Ok(Value::Scalar(apply_scalars(b.op, l, r))),
        (Value::Vector(series), Value::Scalar(r)) => Ok(each(series, &|v| outcome(b, v, r, v))),
        (Value::Scalar(l), Value::Vector(series)) => Ok(each(series, &|v| outcome(b, l, v, v))),
        (Value::Vector(left), Value::Vector(right)) => {
            let sides = Sides::new(b, left, right, steps);
            let series = if b.op.is_set() { sides.set_operation(engine)? } else { sides.matched(engine)? };
            Ok(Value::Vector(series))
        }
    }
}

/// Both operands, with their series' signatures as small numbers and their points by step.
struct Sides<'a> {
    b: &'a Binary,
    left: Side,
    right: Side,
    signatures: usize,
}

struct Side {
    labels: Vec<Labels>,
    signatures: Vec<usize>,
    /// Series and value.
    steps: Vec<Vec<(usize, f64)>>,
}

/// Series of a result, found by their labels.
#[derive(Default)]
struct Output {
    index: HashMap<Labels, usize>,
    series: Vec<Series>,
}

impl Output {
    /// Which series has these labels.
    fn series(&mut self, labels: Labels) -> usize {
        let Output { index, series } = self;
        *index.entry(labels).or_insert_with_key(|labels| {
            series.push(Series { labels: labels.clone(), points: Vec::new() });
            series.len() - 1
        })
    }

    fn finish(self) -> Vec<Series> {
        self.series.into_iter().filter(|s| !s.points.is_empty()).collect()
    }
}

impl<'a> Sides<'a> {
    fn new(b: &'a Binary, left: Vec<Series>, right: Vec<Series>, steps: &Steps) -> Sides<'a> {
        let mut numbers: HashMap<Labels, usize> = HashMap::new();
        let mut side = |series: Vec<Series>| {
            let mut out = Side { labels: Vec::new(), signatures: Vec::new(), steps: vec![Vec::new(); steps.count() as usize] };
            for (at, one) in series.into_iter().enumerate() {
                let next = numbers.len();
                out.signatures.push(*numbers.entry(b.matching.signature(&one.labels)).or_insert(next));
                out.labels.push(one.labels);
                for (number, value) in one.points {
                    if let Some(step) = out.steps.get_mut(number as usize) {
                        step.push((at, value));
                    }
                }
            }
            out
        };
        let (left, right) = (side(left), side(right));
        Sides { b, left, right, signatures: numbers.len() }
    }

    fn set_operation(&self, engine: &Engine<'_>) -> Result<Vec<Series>, QueryError> {
        let mut out = Output::default();
        for (number, (left, right)) in (0u32..).zip(self.left.steps.iter().zip(&self.right.steps)) {
            engine.ctx.check()?;
            let present = |side: &Side, points: &[(usize, f64)]| {
                let mut present = vec![false; self.signatures];
                points.iter().for_each(|(at, _)| present[side.signatures[*at]] = true);
                present
            };
            let (on_left, on_right) = (present(&self.left, left), present(&self.right, right));
            let mut push = |side: &Side, (at, value): (usize, f64)| {
                let series = out.series(side.labels[at].clone());
                out.series[series].points.push((number, value));
            };
            for point in left {
                let matched = on_right[self.left.signatures[point.0]];
                if self.b.op == BinaryOp::Or || matched == (self.b.op == BinaryOp::And) {
                    push(&self.left, *point);
                }
            }
            if self.b.op == BinaryOp::Or {
                right.iter().filter(|(at, _)| !on_left[self.right.signatures[*at]]).for_each(|point| push(&self.right, *point));
            }
        }
        Ok(out.finish())
    }

    fn matched(&self, engine: &Engine<'_>) -> Result<Vec<Series>, QueryError> {
        let swapped = self.b.matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (&self.right, &self.left) } else { (&self.left, &self.right) };
        let mut out = Output::default();
        for (number, (many_points, one_points)) in (0u32..).zip(many.steps.iter().zip(&one.steps)) {
            engine.ctx.check()?;
            let mut partner: Vec<Option<(usize, f64)>> = vec![None; self.signatures];
            for (at, value) in one_points {
                if partner[one.signatures[*at]].replace((*at, *value)).is_some() {
                    let side = if swapped { "left" } else { "right" };
                    return Err(QueryError::Execution(format!(
                        "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be unique on one side"
                    )));
                }
            }
            let mut matched = vec![false; self.signatures];
            for (at, value) in many_points {
                let signature = many.signatures[*at];
                let Some((other, other_value)) = partner[signature] else { continue };
                let (left, right) = if swapped { (other_value, *value) } else { (*value, other_value) };
                let Some(result) = outcome(self.b, left, right, left) else { continue };
                if self.b.matching.cardinality == Cardinality::OneToOne && std::mem::replace(&mut matched[signature], true) {
                    return Err(QueryError::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)".into(),
                    ));
                }
                let labels = self.b.matching.result_labels(&many.labels[*at], &one.labels[other], false);
                let series = out.series(labels);
                let points = &mut out.series[series].points;
                if points.last().is_some_and(|(n, _)| *n == number) {
                    return Err(QueryError::Execution("multiple matches for labels: grouping labels must ensure unique matches".into()));
                }
                points.push((number, result));
            }
        }
        Ok(out.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::logql::ast::Comparison;

    #[test]
    fn scalars() {
        assert!(apply_scalars(BinaryOp::Div, 1.0, 0.0).is_nan() && apply_scalars(BinaryOp::Mod, 1.0, 0.0).is_nan());
        assert_eq!(apply_scalars(BinaryOp::Pow, -2.0, 2.0), 4.0);
        assert_eq!(apply_scalars(BinaryOp::Compare(Comparison::Less), 1.0, 2.0), 1.0);
        assert_eq!(apply_scalars(BinaryOp::Compare(Comparison::NotEqual), f64::NAN, f64::NAN), 1.0);
    }
}
