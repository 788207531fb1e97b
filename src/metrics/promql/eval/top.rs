//! `topk` and `bottomk`.

use super::aggregate::Groups;
use super::flow::Flow;
use super::order::Greatest;
use super::{Evaluator, Result, Series};
use crate::metrics::promql::ast::{AggregateOp, Aggregation, Expr};
use crate::model::Labels;
use crate::model::number::general_float;
use crate::query::QueryError;
use std::collections::btree_map::{BTreeMap, Entry};
use std::collections::{HashMap, HashSet};

/// A series' number and its value at a step.
type Ranked = (usize, f64);

/// The best values of a step, NaN last.
struct Best {
    greatest: Greatest<Ranked, fn(&Ranked, &Ranked) -> bool>,
    less: fn(&Ranked, &Ranked) -> bool,
}

impl Best {
    /// `None` if none are to be kept.
    fn new(op: AggregateOp, k: usize) -> Option<Best> {
        let less: fn(&Ranked, &Ranked) -> bool =
            if op == AggregateOp::Topk { |a, b| a.1.is_nan() || a.1 < b.1 } else { |a, b| a.1.is_nan() || a.1 > b.1 };
        (k > 0).then(|| Best { greatest: Greatest::new(k, less), less })
    }

    fn offer(&mut self, value: Ranked) {
        let less = self.less;
        self.greatest.offer(value, |least, new| if least.1.is_nan() { !new.1.is_nan() } else { less(least, new) && !new.1.is_nan() });
    }
}

/// Memory of the best of a step, without its values.
const BEST_BYTES: usize = size_of::<Option<Best>>() + 16;

/// A group's best at each step.
type Ranking = Vec<Option<Best>>;

impl Evaluator<'_> {
    /// Of series as they are made: only the best of each step are held. `None` if that is more than all series are.
    pub(super) fn top_made(&self, expr: &Expr, aggregation: &Aggregation, flow: &Flow<'_>, k: &[f64]) -> Result<Option<Vec<Series>>> {
        let op = aggregation.op;
        if !matches!(op, AggregateOp::Topk | AggregateOp::Bottomk) {
            return Ok(None);
        }
        let counts = k.iter().map(|k| count_parameter(*k)).collect::<Result<Vec<usize>>>()?;
        let Some(index) = group_numbers(aggregation, flow, counts.iter().copied().max().unwrap_or(0)) else { return Ok(None) };
        let context = self.storage.context();
        let mut names: Vec<(Labels, bool)> = Vec::new();
        // Groups are in the order in which they get their first series.
        let mut places: Vec<Option<usize>> = vec![None; index.len()];
        let mut rankings: Vec<Ranking> = Vec::new();
        let mut ignored = false;
        flow.each(self, |series| {
            let Some((number, size)) = index.get(&aggregation.grouping.key(&series.labels)) else { return Ok(true) };
            let place = match places[*number] {
                Some(place) => place,
                None => {
                    let held: usize = counts.iter().map(|k| BEST_BYTES + size_of::<Ranked>() * *k.min(size)).sum();
                    context.reserve(held as u64)?;
                    rankings.push(counts.iter().map(|k| Best::new(op, *k)).collect());
                    *places[*number].insert(rankings.len() - 1)
                }
            };
            for (step, best) in rankings[place].iter_mut().enumerate() {
                if let (Some(value), Some(best)) = (series.float(step), best) {
                    best.offer((names.len(), value));
                }
            }
            ignored |= series.histograms.iter().any(Option::is_some);
            names.push((series.labels, series.drop_name));
            Ok(true)
        })?;
        if ignored {
            self.info(expr, format!("ignored histogram in {} aggregation", op.as_str()));
        }
        self.ranked(&names, rankings, counts.len()).map(Some)
    }

    /// The series that were the best somewhere: in the order of their making, or, of an instant query, of their values, group
    /// by group.
    fn ranked(&self, names: &[(Labels, bool)], rankings: Vec<Ranking>, steps: usize) -> Result<Vec<Series>> {
        let context = self.storage.context();
        let mut series: BTreeMap<usize, Series> = BTreeMap::new();
        let mut order = Vec::new();
        for ranking in rankings {
            context.check()?;
            for (step, best) in ranking.into_iter().enumerate() {
                for (number, value) in best.map(|b| b.greatest.into_sorted()).unwrap_or_default() {
                    let one = match series.entry(number) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(place) => {
                            let (labels, drop_name) = &names[number];
                            let one = Series { drop_name: *drop_name, ..Series::new(labels.clone(), steps) };
                            context.reserve(one.bytes())?;
                            order.push(number);
                            place.insert(one)
                        }
                    };
                    one.values[step] = value;
                }
            }
        }
        if steps == 1 {
            return Ok(order.iter().filter_map(|number| series.remove(number)).collect());
        }
        Ok(series.into_values().collect())
    }

    /// Of all series together.
    pub(super) fn top(&self, expr: &Expr, op: AggregateOp, mut series: Vec<Series>, groups: &Groups, k: &[f64]) -> Result<Vec<Series>> {
        let mut ranks: Vec<usize> = Vec::new();
        for step in 0..k.len() {
            self.storage.context().check()?;
            let k = count_parameter(k[step])?;
            for members in &groups.members {
                if members.iter().any(|m| series[*m].histogram(step).is_some()) {
                    self.info(expr, format!("ignored histogram in {} aggregation", op.as_str()));
                }
                let mut best = Best::new(op, k);
                if let Some(best) = &mut best {
                    members.iter().filter_map(|m| Some((*m, series[*m].float(step)?))).for_each(|value| best.offer(value));
                }
                let values = best.map(|b| b.greatest.into_sorted()).unwrap_or_default();
                let kept: HashSet<usize> = values.iter().map(|v| v.0).collect();
                for member in members {
                    if !kept.contains(member) {
                        series[*member].clear(step);
                    }
                    if let Some(histogram) = series[*member].histograms.get_mut(step) {
                        *histogram = None;
                    }
                }
                if step == 0 {
                    ranks.extend(values.iter().map(|v| v.0));
                }
            }
        }
        // In an instant query the order is that of the values, group by group.
        let ordered: Vec<Series> = if k.len() == 1 { ranks.into_iter().map(|at| series[at].clone()).collect() } else { series };
        Ok(ordered.into_iter().filter(|s| !s.is_empty()).collect())
    }
}

/// The number and the size of each group; `None` if the best `k` of all groups take more than their series.
fn group_numbers(aggregation: &Aggregation, flow: &Flow<'_>, k: usize) -> Option<HashMap<Labels, (usize, usize)>> {
    let mut sizes: HashMap<Labels, (usize, usize)> = HashMap::new();
    let mut count = 0;
    for labels in flow.labels() {
        let next = sizes.len();
        sizes.entry(aggregation.grouping.key(labels)).or_insert((next, 0)).1 += 1;
        count += 1;
    }
    let held: usize = sizes.values().map(|(_, size)| BEST_BYTES + size_of::<Ranked>() * k.min(*size)).sum();
    (held < size_of::<f64>() * count).then_some(sizes)
}

/// The parameter of `topk` and its like as a count; below 1 there is nothing to keep.
pub(super) fn count_parameter(k: f64) -> Result<usize> {
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
