//! What a metrics query has seen so far, series by series.

use super::buckets::{Counts, bucket, quantile};
use super::exemplars::Chooser;
use super::measure::{QueryPlan, Range};
use super::{Grid, Labels, NAME, Series, key_of};
use crate::query::{Context, QueryError};
use crate::traces::traceql::ast::MetricsFunction;
use crate::traces::traceql::eval::{Look, Subject, Value};
use std::collections::HashMap;

/// Bytes a series takes beside its samples, about.
const SERIES_BYTES: u64 = 256;

pub struct Observed<'a> {
    pub plan: &'a QueryPlan,
    ctx: &'a Context,
    pub grid: Grid,
    by_key: HashMap<String, usize>,
    series: Vec<(String, Labels, Seen)>,
    pub chooser: Chooser,
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

/// What a function takes of one span.
#[derive(Debug, Clone, Copy)]
pub enum Measured {
    Occurs,
    Number(f64),
    Bucket(u64, f64, f64),
}

impl Measured {
    /// `None` if the span has nothing to measure.
    pub fn of(plan: &QueryPlan, value: Option<&Value<'_>>) -> Option<Measured> {
        let number = || plan.number(value?);
        match plan.function {
            MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare(_) => Some(Measured::Occurs),
            MetricsFunction::HistogramOverTime(_) | MetricsFunction::QuantileOverTime(..) => {
                let (bound, divisor) = bucket(value?)?;
                Some(Measured::Bucket(bound, divisor, number()?))
            }
            _ => number().map(Measured::Number),
        }
    }

    /// The measured value, which counting has none of.
    pub fn value(self) -> Option<f64> {
        match self {
            Measured::Occurs => None,
            Measured::Number(value) | Measured::Bucket(_, _, value) => Some(value),
        }
    }
}

impl<'a> Observed<'a> {
    pub fn new(plan: &'a QueryPlan, ctx: &'a Context, range: Range) -> Observed<'a> {
        let chooser = Chooser::new(range.exemplars, range.grid);
        Observed { plan, ctx, grid: range.grid, by_key: HashMap::new(), series: Vec::new(), chooser }
    }

    pub fn observe(&mut self, subject: Subject<'_>, interval: usize) -> Result<(), QueryError> {
        let plan = self.plan;
        let value = plan.function.field().map(|field| subject.get(field));
        let Some(measured) = Measured::of(plan, value.as_ref()) else { return Ok(()) };
        let series = self.series_of(plan.labels(plan.by.iter().map(|field| subject.get(field))))?;
        self.add(series, interval, measured);
        let span = subject.span();
        if self.chooser.wants(span.start, span.trace_id) {
            let labels = plan.shown.labels(subject);
            self.chooser.take(&self.series[series].0, (span.start, span.trace_id), measured.value(), labels);
        }
        Ok(())
    }

    /// The number of the series with these labels, a new one on first sight.
    pub fn series_of(&mut self, labels: Labels) -> Result<usize, QueryError> {
        let key = key_of(&labels);
        if let Some(series) = self.by_key.get(&key) {
            return Ok(*series);
        }
        self.ctx.reserve(SERIES_BYTES + 24 * self.grid.count as u64)?;
        self.by_key.insert(key.clone(), self.series.len());
        self.series.push((key, labels, Seen::new(&self.plan.function, self.grid.count)));
        Ok(self.series.len() - 1)
    }

    pub fn key(&self, series: usize) -> &str {
        &self.series[series].0
    }

    pub fn add(&mut self, series: usize, interval: usize, measured: Measured) {
        self.series[series].2.add(&self.plan.function, interval, measured);
    }

    /// Adds what was observed of other spans.
    pub fn absorb(&mut self, other: Observed<'a>) -> Result<(), QueryError> {
        for (_, labels, seen) in other.series {
            let series = self.series_of(labels)?;
            self.series[series].2.absorb(&self.plan.function, seen);
        }
        self.chooser.absorb(other.chooser);
        Ok(())
    }

    pub fn finish(mut self) -> Vec<Series> {
        let always = self.plan.by.is_empty() && matches!(self.plan.function, MetricsFunction::Rate | MetricsFunction::CountOverTime);
        if always && self.series.is_empty() {
            self.series.push((String::new(), Labels::new(), Seen::new(&self.plan.function, self.grid.count)));
        }
        let mut out = Vec::new();
        for (key, labels, seen) in self.series {
            let mut series = seen.series(&self.plan.function, labels, self.grid);
            self.chooser.attach(&key, &mut series, matches!(self.plan.function, MetricsFunction::QuantileOverTime(..)));
            out.append(&mut series);
        }
        out
    }
}

/// Neumaier: what the larger of the two loses of the smaller is kept apart.
fn add_exactly((sum, lost): (&mut f64, &mut f64), value: f64) {
    let next = *sum + value;
    *lost += if sum.abs() >= value.abs() { (*sum - next) + value } else { (value - next) + *sum };
    *sum = next;
}

fn pick(function: &MetricsFunction) -> fn(f64, f64) -> f64 {
    if matches!(function, MetricsFunction::MinOverTime(_)) { f64::min } else { f64::max }
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

    fn add(&mut self, function: &MetricsFunction, interval: usize, measured: Measured) {
        match (self, measured) {
            (Seen::Count(counts), _) => counts[interval] += 1,
            (Seen::Extreme(extremes), Measured::Number(value)) => {
                extremes[interval] = Some(extremes[interval].map_or(value, |old| pick(function)(old, value)));
            }
            (Seen::Sum(sums), Measured::Number(value)) => {
                let (sum, lost, count) = &mut sums[interval];
                add_exactly((sum, lost), value);
                *count += 1;
            }
            (Seen::Buckets(counts, shown), Measured::Bucket(bound, divisor, _)) => {
                *shown = divisor;
                *counts[interval].entry(bound).or_default() += 1;
            }
            _ => {}
        }
    }

    fn absorb(&mut self, function: &MetricsFunction, other: Seen) {
        match (self, other) {
            (Seen::Count(counts), Seen::Count(more)) => counts.iter_mut().zip(more).for_each(|(a, b)| *a += b),
            (Seen::Extreme(extremes), Seen::Extreme(more)) => {
                for (a, b) in extremes.iter_mut().zip(more) {
                    *a = a.zip(b).map(|(a, b)| pick(function)(a, b)).or(*a).or(b);
                }
            }
            (Seen::Sum(sums), Seen::Sum(more)) => {
                for ((sum, lost, count), (more, lost_too, n)) in sums.iter_mut().zip(more) {
                    add_exactly((sum, lost), more);
                    *lost += lost_too;
                    *count += n;
                }
            }
            (Seen::Buckets(counts, shown), Seen::Buckets(more, divisor)) => {
                for (a, b) in counts.iter_mut().zip(more) {
                    for (bound, n) in b {
                        *shown = divisor;
                        *a.entry(bound).or_default() += n;
                    }
                }
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
