//! Aggregations (contracts/prometheus.md 4.4).

use super::flow::Flow;
use super::tally::Tally;
use super::top::count_parameter;
use super::{Cell, Evaluator, Grid, Result, Series, Value};
use crate::metrics::METRIC_NAME;
use crate::metrics::histogram::{Histogram, sum};
use crate::metrics::kahan::{KahanSum, mean};
use crate::metrics::promql::ast::{AggregateOp, Aggregation, Expr};
use crate::metrics::promql::functions::math::quantile;
use crate::model::Labels;
use crate::model::number::{general_float, plain_float};
use crate::query::{Context, QueryError};
use std::collections::HashMap;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// Positions of the series of each group, groups in order of first appearance.
pub(super) struct Groups {
    labels: Vec<Labels>,
    pub members: Vec<Vec<usize>>,
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

/// The members of a group, which may be as many as there are series: what a tally takes is only taken for two or more.
enum Members {
    One(Series),
    Many { tally: Box<Tally>, drop_name: bool },
}

impl Members {
    /// False if they must be seen together.
    fn add(&mut self, context: &Context, op: AggregateOp, series: &Series) -> Result<bool> {
        if let Members::One(first) = self {
            let Some(mut tally) = Tally::new(op, first.values.len()) else { return Ok(false) };
            context.reserve(tally.bytes())?;
            if !tally.add(first) {
                return Ok(false);
            }
            context.release(first.bytes());
            *self = Members::Many { tally: Box::new(tally), drop_name: first.drop_name };
        }
        let Members::Many { tally, drop_name } = self else { return Ok(false) };
        *drop_name |= series.drop_name;
        Ok(tally.add(series))
    }

    /// The tally, and whether the name is to be dropped.
    fn into_tally(self, op: AggregateOp, steps: usize) -> Option<(Tally, bool)> {
        match self {
            Members::One(series) => {
                let mut tally = Tally::new(op, steps)?;
                tally.add(&series).then_some((tally, series.drop_name))
            }
            Members::Many { tally, drop_name } => Some((*tally, drop_name)),
        }
    }
}

impl Evaluator<'_> {
    pub(super) fn aggregation(&self, expr: &Expr, aggregation: &Aggregation, grid: Grid) -> Result<Vec<Series>> {
        let param = match &aggregation.param {
            Some(param) => Some(self.eval(param, grid)?),
            None => None,
        };
        let flow = self.flow(&aggregation.expr, grid)?;
        if flow.is_lazy() {
            let made = match &param {
                Some(Value::Scalar(k)) => self.top_made(expr, aggregation, &flow, k)?,
                _ => self.tallied(aggregation, &flow, grid)?,
            };
            if let Some(result) = made {
                return Ok(result);
            }
        }
        let series = flow.collect(self)?;
        let groups = Groups::new(&series, aggregation);
        match (aggregation.op, param) {
            (AggregateOp::CountValues, Some(Value::Text(label))) => count_values(self.storage.context(), &series, &groups, &label, grid),
            (AggregateOp::Topk | AggregateOp::Bottomk, Some(Value::Scalar(k))) => self.top(expr, aggregation.op, series, &groups, &k),
            (AggregateOp::Limitk, Some(Value::Scalar(k))) => limit(self.storage.context(), series, &groups, &k),
            (AggregateOp::LimitRatio, Some(Value::Scalar(ratio))) => self.limit_ratio(aggregation, series, &ratio),
            (_, param) => {
                let param = if let Some(Value::Scalar(values)) = param { values } else { vec![0.0; grid.count] };
                self.reduce(aggregation, &series, &groups, &param, grid)
            }
        }
    }

    /// An aggregation that takes series as they are made. `None` if it must have them together.
    fn tallied(&self, aggregation: &Aggregation, flow: &Flow<'_>, grid: Grid) -> Result<Option<Vec<Series>>> {
        let (context, op) = (self.storage.context(), aggregation.op);
        if Tally::new(op, 0).is_none() {
            return Ok(None);
        }
        let mut groups: Vec<(Labels, Members)> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut taken = true;
        flow.each(self, |series| {
            let key = aggregation.grouping.key(&series.labels);
            taken = match index.get(&key) {
                Some(at) => groups[*at].1.add(context, op, &series)?,
                None => {
                    context.reserve(series.bytes())?;
                    index.insert(key.clone(), groups.len());
                    groups.push((key, Members::One(series)));
                    true
                }
            };
            Ok(taken)
        })?;
        if !taken {
            return Ok(None);
        }
        let mut result = Vec::with_capacity(groups.len());
        for (labels, members) in groups {
            context.check()?;
            let Some((tally, drop_name)) = members.into_tally(op, grid.count) else { return Ok(None) };
            match self.finished(aggregation, tally) {
                Some(values) => result.push(Series { drop_name, ..Series::with_values(labels, values) }),
                None => return Ok(None),
            }
        }
        result.retain(|s| !s.is_empty());
        Ok(Some(result))
    }

    fn finished(&self, aggregation: &Aggregation, tally: Tally) -> Option<Vec<f64>> {
        if tally.ignored_histograms {
            self.info(aggregation.expr.bare(), format!("ignored histogram in {} aggregation", aggregation.op.as_str()));
        }
        tally.finish()
    }

    /// Aggregations that make one value of a group.
    fn reduce(&self, aggregation: &Aggregation, series: &[Series], groups: &Groups, param: &[f64], grid: Grid) -> Result<Vec<Series>> {
        let mut result = Vec::with_capacity(groups.labels.len());
        for (labels, members) in groups.iter() {
            self.storage.context().check()?;
            let mut out = Series::new(labels.clone(), grid.count);
            // A name that `by` asks for goes if all of the group drop it.
            out.drop_name = members.iter().any(|m| series[*m].drop_name);
            let tally = Tally::new(aggregation.op, grid.count);
            let tally = tally.and_then(|mut tally| members.iter().all(|m| tally.add(&series[*m])).then_some(tally));
            match tally.and_then(|tally| self.finished(aggregation, tally)) {
                Some(values) => out.values = values,
                None => self.reduce_steps(aggregation, (series, members), param, &mut out)?,
            }
            if !out.is_empty() {
                result.push(out);
            }
        }
        Ok(result)
    }

    /// The same, with all values of a step together.
    fn reduce_steps(
        &self,
        aggregation: &Aggregation,
        (series, members): (&[Series], &[usize]),
        param: &[f64],
        out: &mut Series,
    ) -> Result<()> {
        let mut floats = Vec::with_capacity(members.len());
        for (step, param) in param.iter().enumerate() {
            self.storage.context().check()?;
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
        Ok(())
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
        if aggregation.op == AggregateOp::Quantile {
            if !(0.0..=1.0).contains(&param) {
                let position = aggregation.param.as_ref().map_or(*at, Expr::bare);
                self.warn(position, format!("quantile value should be between 0 and 1, got {}", general_float(param)));
            }
            if !histograms.is_empty() {
                self.info(at, "ignored histogram in quantile aggregation");
            }
            return (!floats.is_empty()).then(|| Cell::Float(quantile(param, floats)));
        }
        let is_mean = aggregation.op == AggregateOp::Avg;
        if !histograms.is_empty() {
            if !floats.is_empty() {
                self.warn(at, "encountered a mix of histograms and floats for aggregation");
                return None;
            }
            return self.sum_histograms(at, histograms, is_mean, name).map(|total| Cell::Histogram(total.into()));
        }
        let values = floats.iter().copied();
        Some(Cell::Float(if is_mean { mean(values) } else { values.collect::<KahanSum>().value() }))
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

    fn limit_ratio(&self, aggregation: &Aggregation, mut series: Vec<Series>, ratios: &[f64]) -> Result<Vec<Series>> {
        for (step, ratio) in ratios.iter().enumerate() {
            self.storage.context().check()?;
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

/// The first `k` of each group, in the order of labels.
fn limit(context: &Context, mut series: Vec<Series>, groups: &Groups, k: &[f64]) -> Result<Vec<Series>> {
    for (step, k) in k.iter().enumerate() {
        context.check()?;
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
