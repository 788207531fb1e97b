use super::metric::Steps;
use super::range::variance;
use super::{Engine, Series};
use crate::logs::logql::ast::{LabelReplace, VectorOp};
use crate::model::{Labels, regexp};
use crate::query::{Context, Grouping, QueryError};
use std::cmp::Ordering;
use std::collections::HashMap;

/// Aggregates series step by step (contracts/loki.md 3.8).
pub fn aggregate(
    engine: &Engine<'_>,
    op: VectorOp,
    k: usize,
    grouping: &Grouping,
    mut series: Vec<Series>,
    steps: &Steps,
) -> Result<Vec<Series>, QueryError> {
    match op {
        VectorOp::Sort | VectorOp::SortDesc => {
            series.sort_by(|a, b| a.labels.cmp(&b.labels));
            if steps.instant {
                let value = |s: &Series| s.points.first().map_or(f64::NAN, |(_, v)| *v);
                series.sort_by(|a, b| nan_last(value(a), value(b), op == VectorOp::SortDesc));
            }
            Ok(series)
        }
        VectorOp::TopK | VectorOp::BottomK | VectorOp::ApproxTopK => Ok(select(op, k, grouping, series, steps)),
        _ => fold(engine, op, grouping, series, steps),
    }
}

fn nan_last(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
    }
}

/// Groups in order of their first series, each with the values of every step.
fn fold(engine: &Engine<'_>, op: VectorOp, grouping: &Grouping, series: Vec<Series>, steps: &Steps) -> Result<Vec<Series>, QueryError> {
    let mut index: HashMap<Labels, usize> = HashMap::new();
    let mut groups: Vec<(Labels, Vec<(u32, f64)>)> = Vec::new();
    for one in series {
        engine.ctx.check()?;
        let key = grouping.key(&one.labels);
        let at = *index.entry(key.clone()).or_insert_with(|| {
            groups.push((key, Vec::new()));
            groups.len() - 1
        });
        engine.ctx.reserve(one.points.len() as u64 * 16)?;
        groups[at].1.extend(one.points);
    }
    let mut out = Vec::with_capacity(groups.len());
    let count = steps.count();
    for (labels, mut points) in groups {
        engine.ctx.check()?;
        points.sort_by_key(|(number, _)| *number);
        let same_step = |a: &(u32, f64), b: &(u32, f64)| a.0 == b.0;
        let points = points.chunk_by(same_step).filter(|c| c[0].0 < count).map(|chunk| (chunk[0].0, combine(op, chunk))).collect();
        out.push(Series { labels, points });
    }
    Ok(out)
}

fn combine(op: VectorOp, points: &[(u32, f64)]) -> f64 {
    let values = || points.iter().map(|(_, v)| *v);
    let count = points.len() as f64;
    match op {
        VectorOp::Count => count,
        VectorOp::Avg => values().sum::<f64>() / count,
        VectorOp::Min => values().fold(f64::NAN, |a, b| if b < a || a.is_nan() { b } else { a }),
        VectorOp::Max => values().fold(f64::NAN, |a, b| if b > a || a.is_nan() { b } else { a }),
        VectorOp::Stdvar => variance(values(), count),
        VectorOp::Stddev => variance(values(), count).sqrt(),
        _ => values().sum(),
    }
}

/// The `k` largest or smallest of each group at each step; NaN loses to any number.
fn select(op: VectorOp, k: usize, grouping: &Grouping, series: Vec<Series>, steps: &Steps) -> Vec<Series> {
    let keys: Vec<Labels> = series.iter().map(|s| grouping.key(&s.labels)).collect();
    let mut by_step: Vec<Vec<(usize, f64)>> = vec![Vec::new(); steps.count() as usize];
    for (at, one) in series.iter().enumerate() {
        for (number, value) in &one.points {
            if let Some(step) = by_step.get_mut(*number as usize) {
                step.push((at, *value));
            }
        }
    }
    let mut out: Vec<Series> = series.iter().map(|s| Series { labels: s.labels.clone(), points: Vec::new() }).collect();
    let mut order: Vec<usize> = Vec::new();
    for (mut step, number) in by_step.into_iter().zip(0..) {
        step.sort_by(|a, b| nan_last(a.1, b.1, op != VectorOp::BottomK).then_with(|| series[a.0].labels.cmp(&series[b.0].labels)));
        let mut taken: HashMap<&Labels, usize> = HashMap::new();
        for (at, value) in step {
            let taken = taken.entry(&keys[at]).or_default();
            if *taken < k {
                *taken += 1;
                if out[at].points.is_empty() {
                    order.push(at);
                }
                out[at].points.push((number, value));
            }
        }
    }
    order.into_iter().map(|at| std::mem::replace(&mut out[at], Series { labels: Labels::empty(), points: Vec::new() })).collect()
}

/// Bytes of a label that `label_replace` makes.
const REPLACED_MAX_BYTES: usize = 1 << 20;

pub fn label_replace(replace: &LabelReplace, series: Vec<Series>, ctx: &Context) -> Result<Vec<Series>, QueryError> {
    let regex = regexp::compile_anchored(&replace.regex).map_err(|e| QueryError::Parse(format!("invalid regex in label_replace: {e}")))?;
    let groups = replace.replacement.matches('$').count();
    let rename = |mut one: Series| {
        let source = one.labels.value(&replace.source);
        if let Some(captures) = regex.captures(source) {
            // A group is a part of the value.
            if replace.replacement.len() + groups.saturating_mul(source.len()) > REPLACED_MAX_BYTES {
                return Err(QueryError::TooMuch(format!("label_replace makes a label of more than {REPLACED_MAX_BYTES} bytes")));
            }
            let mut value = String::new();
            captures.expand(&replace.replacement, &mut value);
            ctx.check()?;
            ctx.reserve(value.len() as u64)?;
            let mut labels = one.labels.to_builder();
            labels.set(&replace.destination, &value);
            one.labels = labels.build();
        }
        Ok(one)
    };
    series.into_iter().map(rename).collect()
}
