//! Aggregations (contracts/prometheus.md 4.4).

use super::order::Greatest;
use super::series::ABSENT;
use super::{Cell, Evaluator, Grid, Result, Series, Value, is_absent};
use crate::metrics::METRIC_NAME;
use crate::metrics::histogram::{Histogram, sum};
use crate::metrics::kahan::{KahanSum, mean};
use crate::metrics::promql::ast::{AggregateOp, Aggregation, Expr};
use crate::metrics::promql::functions::math::{quantile, variance};
use crate::model::Labels;
use crate::model::number::{general_float, plain_float};
use crate::query::{Context, QueryError};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// Positions of the series of each group, groups in order of first appearance.
struct Groups {
    labels: Vec<Labels>,
    members: Vec<Vec<usize>>,
}

impl Groups {
    fn new(series: &[Series], aggregation: &Aggregation) -> Groups {
        let mut groups = Groups { labels: Vec::new(), members: Vec::new() };
        let mut index: HashMap<Labels, usize> = HashMap::new();
        for (at, one) in series.iter().enumerate() {
            let key = aggregation.grouping.key(&one.labels);
            let group = *index.entry(key.clone()).or_insert_with(|| {
                groups.labels.push(key);
                groups.members.push(Vec::new());
                groups.labels.len() - 1
            });
            groups.members[group].push(at);
        }
        groups
    }

    fn iter(&self) -> impl Iterator<Item = (&Labels, &Vec<usize>)> {
        self.labels.iter().zip(&self.members)
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregation(&self, expr: &Expr, aggregation: &Aggregation, grid: Grid) -> Result<Vec<Series>> {
        let param = match &aggregation.param {
            Some(param) => Some(self.eval(param, grid)?),
            None => None,
        };
        let series = self.vector(&aggregation.expr, grid)?;
        let groups = Groups::new(&series, aggregation);
        match (aggregation.op, param) {
            (AggregateOp::CountValues, Some(Value::Text(label))) => count_values(self.storage.context(), &series, &groups, &label, grid),
            (AggregateOp::Topk | AggregateOp::Bottomk, Some(Value::Scalar(k))) => self.top(expr, aggregation.op, series, &groups, &k),
            (AggregateOp::Limitk, Some(Value::Scalar(k))) => limit(series, &groups, &k),
            (AggregateOp::LimitRatio, Some(Value::Scalar(ratio))) => self.limit_ratio(aggregation, series, &ratio),
            (_, param) => {
                let param = if let Some(Value::Scalar(values)) = param { values } else { vec![0.0; grid.count] };
                self.reduce(aggregation, &series, &groups, &param, grid)
            }
        }
    }

    /// Aggregations that make one value of a group.
    fn reduce(&self, aggregation: &Aggregation, series: &[Series], groups: &Groups, param: &[f64], grid: Grid) -> Result<Vec<Series>> {
        let mut result = Vec::with_capacity(groups.labels.len());
        for (labels, members) in groups.iter() {
            self.storage.context().check()?;
            let mut out = Series::new(labels.clone(), grid.count);
            // A name that `by` asks for goes if all of the group drop it.
            out.drop_name = members.iter().any(|m| series[*m].drop_name);
            if let Some(values) = reduce_floats(aggregation.op, members.iter().map(|m| &series[*m]), grid.count) {
                out.values = values;
                if !out.is_empty() {
                    result.push(out);
                }
                continue;
            }
            let mut floats = Vec::with_capacity(members.len());
            for (step, param) in param.iter().enumerate() {
                floats.clear();
                floats.extend(members.iter().filter_map(|m| series[*m].float(step)));
                let histograms: Vec<&Arc<Histogram>> = members.iter().filter_map(|m| series[*m].histogram(step)).collect();
                if floats.is_empty() && histograms.is_empty() {
                    continue;
                }
                let name = || members.first().map_or("", |m| series[*m].labels.value(METRIC_NAME)).to_owned();
                if let Some(cell) = self.reduce_step(aggregation, &mut floats, &histograms, *param, name) {
                    out.set(step, cell);
                }
            }
            if !out.is_empty() {
                result.push(out);
            }
        }
        Ok(result)
    }

    fn reduce_step(
        &self,
        aggregation: &Aggregation,
        floats: &mut [f64],
        histograms: &[&Arc<Histogram>],
        param: f64,
        name: impl Fn() -> String,
    ) -> Option<Cell> {
        let at = &aggregation.expr.bare();
        match aggregation.op {
            AggregateOp::Count => return Some(Cell::Float((floats.len() + histograms.len()) as f64)),
            AggregateOp::Group => return Some(Cell::Float(1.0)),
            AggregateOp::Sum | AggregateOp::Avg if !histograms.is_empty() => {
                if !floats.is_empty() {
                    self.warn(at, "encountered a mix of histograms and floats for aggregation");
                    return None;
                }
                let total = self.sum_histograms(at, histograms, aggregation.op == AggregateOp::Avg, name)?;
                return Some(Cell::Histogram(total.into()));
            }
            _ => {}
        }
        if aggregation.op == AggregateOp::Quantile && !(0.0..=1.0).contains(&param) {
            let position = aggregation.param.as_ref().map_or(*at, Expr::bare);
            self.warn(position, format!("quantile value should be between 0 and 1, got {}", general_float(param)));
        }
        if !histograms.is_empty() {
            self.info(at, format!("ignored histogram in {} aggregation", aggregation.op.as_str()));
        }
        if floats.is_empty() {
            return None;
        }
        let extremum = |better: fn(f64, f64) -> bool| {
            floats.iter().copied().fold(f64::NAN, |best, v| if best.is_nan() || better(v, best) { v } else { best })
        };
        Some(Cell::Float(match aggregation.op {
            AggregateOp::Sum => floats.iter().copied().collect::<KahanSum>().value(),
            AggregateOp::Avg => mean(floats.iter().copied()),
            AggregateOp::Min => extremum(|v, best| v < best),
            AggregateOp::Max => extremum(|v, best| v > best),
            AggregateOp::Stdvar => variance(floats.iter().copied()),
            AggregateOp::Stddev => variance(floats.iter().copied()).sqrt(),
            AggregateOp::Quantile => quantile(param, floats),
            _ => return None,
        }))
    }

    fn sum_histograms(&self, at: &Expr, histograms: &[&Arc<Histogram>], mean: bool, name: impl Fn() -> String) -> Option<Histogram> {
        let Ok((total, notes)) = sum(histograms.iter().map(|h| &***h), mean) else {
            let message = "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
            self.warn(at, format!("{message} {:?}", name()));
            return None;
        };
        if notes.reconciled_bounds {
            self.info(at, "mismatched custom buckets were reconciled during aggregation");
        }
        if notes.conflicting_resets {
            self.warn(at, "conflicting counter resets during histogram aggregation");
        }
        Some(total)
    }

    fn top(&self, expr: &Expr, op: AggregateOp, mut series: Vec<Series>, groups: &Groups, k: &[f64]) -> Result<Vec<Series>> {
        let mut ranks: Vec<(usize, usize)> = Vec::new();
        for step in 0..k.len() {
            self.storage.context().check()?;
            let k = count_parameter(k[step])?;
            for (group, members) in groups.members.iter().enumerate() {
                if members.iter().any(|m| series[*m].histogram(step).is_some()) {
                    self.info(expr, format!("ignored histogram in {} aggregation", op.as_str()));
                }
                let values = greatest(op, k, members.iter().filter_map(|m| Some((*m, series[*m].float(step)?))));
                let kept: HashSet<usize> = values.iter().map(|v| v.0).collect();
                for member in members.iter().filter(|m| !kept.contains(m)) {
                    series[*member].clear(step);
                }
                for member in members {
                    if let Some(histogram) = series[*member].histograms.get_mut(step) {
                        *histogram = None;
                    }
                }
                if step == 0 {
                    ranks.extend(values.iter().map(|v| (group, v.0)));
                }
            }
        }
        // In an instant query the order is that of the values, group by group.
        let ordered: Vec<Series> = if k.len() == 1 { ranks.into_iter().map(|(_, at)| series[at].clone()).collect() } else { series };
        Ok(ordered.into_iter().filter(|s| !s.is_empty()).collect())
    }

    fn limit_ratio(&self, aggregation: &Aggregation, mut series: Vec<Series>, ratios: &[f64]) -> Result<Vec<Series>> {
        for (step, ratio) in ratios.iter().enumerate() {
            if ratio.is_nan() {
                return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
            }
            let capped = ratio.clamp(-1.0, 1.0);
            if capped != *ratio
                && let Some(param) = &aggregation.param
            {
                let (got, to) = (general_float(*ratio), general_float(capped));
                self.warn(param.bare(), format!("ratio value should be between -1 and 1, got {got}, capping to {to}"));
            }
            for one in &mut series {
                let offset = hash_offset(&one.labels);
                let keep = if capped >= 0.0 { offset < capped } else { offset >= 1.0 + capped };
                if !keep {
                    one.clear(step);
                }
            }
        }
        series.retain(|s| !s.is_empty());
        Ok(series)
    }
}

/// The `k` elements (position, value) that `topk` or `bottomk` keeps, best first, NaN last.
fn greatest(op: AggregateOp, k: usize, values: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
    if k == 0 {
        return Vec::new();
    }
    let less: fn(f64, f64) -> bool = if op == AggregateOp::Topk { |a, b| a.is_nan() || a < b } else { |a, b| a.is_nan() || a > b };
    let mut greatest = Greatest::new(k, |a: &(usize, f64), b: &(usize, f64)| less(a.1, b.1));
    for value in values {
        greatest.offer(value, |least, new| if least.1.is_nan() { !new.1.is_nan() } else { less(least.1, new.1) && !new.1.is_nan() });
    }
    greatest.into_sorted()
}

/// Aggregations that take one series after the other, with what they know of each step: bit for bit what they give if they
/// take one step after the other, and without a jump in memory from value to value. `None` for others, and if there are
/// histograms.
fn reduce_floats<'a>(op: AggregateOp, members: impl Iterator<Item = &'a Series> + Clone, count: usize) -> Option<Vec<f64>> {
    if members.clone().any(|s| !s.histograms.is_empty()) {
        return None;
    }
    let each = |visit: &mut dyn FnMut(usize, f64)| {
        for one in members.clone() {
            one.values.iter().enumerate().filter(|(_, v)| !is_absent(**v)).for_each(|(step, value)| visit(step, *value));
        }
    };
    let mut out = vec![ABSENT; count];
    match op {
        AggregateOp::Sum => {
            let mut sums: Vec<Option<KahanSum>> = vec![None; count];
            for one in members {
                for (sum, value) in sums.iter_mut().zip(&one.values).filter(|(_, v)| !is_absent(**v)) {
                    sum.get_or_insert_default().add(*value);
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum.map_or(ABSENT, |s| s.value());
            }
        }
        AggregateOp::Count => each(&mut |step, _| out[step] = if is_absent(out[step]) { 1.0 } else { out[step] + 1.0 }),
        AggregateOp::Group => each(&mut |step, _| out[step] = 1.0),
        // ABSENT is a NaN, so that the first value always takes its place.
        AggregateOp::Min => each(&mut |step, value| {
            if out[step].is_nan() || value < out[step] {
                out[step] = value;
            }
        }),
        AggregateOp::Max => each(&mut |step, value| {
            if out[step].is_nan() || value > out[step] {
                out[step] = value;
            }
        }),
        _ => return None,
    }
    Some(out)
}

/// The parameter of `topk` and its like as a count; below 1 there is nothing to keep.
fn count_parameter(k: f64) -> Result<usize> {
    if k.is_nan() {
        return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
    }
    if k >= i64::MAX as f64 {
        return Err(QueryError::Execution(format!("Scalar value {} overflows int64", general_float(k))));
    }
    if k <= i64::MIN as f64 {
        return Err(QueryError::Execution(format!("Scalar value {} underflows int64", general_float(k))));
    }
    Ok(if k < 1.0 { 0 } else { k as usize })
}

/// The first `k` of each group, in the order of labels.
fn limit(mut series: Vec<Series>, groups: &Groups, k: &[f64]) -> Result<Vec<Series>> {
    for (step, k) in k.iter().enumerate() {
        let k = count_parameter(*k)?;
        for members in &groups.members {
            let present: Vec<usize> = members.iter().copied().filter(|m| series[*m].has(step)).collect();
            for member in present.into_iter().skip(k) {
                series[member].clear(step);
            }
        }
    }
    series.retain(|s| !s.is_empty());
    Ok(series)
}

/// Where a label set falls in [0, 1): decisions 27.
fn hash_offset(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(labels.heap_bytes());
    let mut part = |text: &str| {
        match u8::try_from(text.len()) {
            Ok(length) if length < 255 => bytes.push(length),
            _ => {
                bytes.push(0xff);
                bytes.extend_from_slice(&(text.len() as u32).to_le_bytes()[..3]);
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    };
    for (name, value) in labels.iter() {
        part(name);
        part(value);
    }
    xxh64(&bytes, 0) as f64 / 18_446_744_073_709_551_616.0
}

/// One series for each value of a group, with the number of elements that have it.
fn count_values(context: &Context, series: &[Series], groups: &Groups, label: &str, grid: Grid) -> Result<Vec<Series>> {
    if label.is_empty() || label.contains(char::REPLACEMENT_CHARACTER) {
        return Err(QueryError::Execution(format!("invalid label name {label:?}")));
    }
    let mut result: Vec<Series> = Vec::new();
    // The label may replace one by which groups differ, so that several groups share a result.
    let mut index: HashMap<Labels, usize> = HashMap::new();
    for (labels, members) in groups.iter() {
        for step in 0..grid.count {
            context.check()?;
            for cell in members.iter().filter_map(|m| series[*m].get(step)) {
                let text = match cell {
                    Cell::Float(value) => plain_float(value),
                    Cell::Histogram(histogram) => histogram.to_string(),
                };
                let labels = labels.to_builder().set(label, &text).build();
                let at = match index.get(&labels) {
                    Some(at) => *at,
                    None => {
                        context.reserve((size_of::<Series>() + labels.heap_bytes() + 8 * grid.count) as u64)?;
                        result.push(Series::new(labels.clone(), grid.count));
                        index.insert(labels, result.len() - 1);
                        result.len() - 1
                    }
                };
                result[at].values[step] = result[at].float(step).unwrap_or(0.0) + 1.0;
            }
        }
    }
    Ok(result)
}
