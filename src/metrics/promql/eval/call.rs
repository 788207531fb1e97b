//! Function calls.

use super::flow::{Applied, Flow, Stage, of_floats};
use super::series::{ABSENT, without_name};
use super::{Evaluator, Extension, Grid, Result, Series, Value};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::ast::{Expr, Kind, Selector, ValueType};
use crate::metrics::promql::functions::over_time::range_function;
use crate::metrics::promql::functions::{Function, histogram, math, time};
use crate::model::number::general_float;
use crate::model::{Labels, LabelsBuilder, MatchOp};
use crate::query::QueryError;

impl Evaluator<'_> {
    /// What is not made of each series by itself ([`Evaluator::call_flow`]).
    pub(super) fn call(&self, expr: &Expr, function: &Function, args: &[Expr], grid: Grid) -> Result<Value> {
        let name = function.name;
        if function.returns == ValueType::Scalar {
            return self.scalar_call(name, args, grid).map(Value::Scalar);
        }
        let series = match name {
            "vector" => vec![Series::with_values(Labels::empty(), self.scalar(&args[0], grid)?)],
            "absent" | "absent_over_time" => {
                let mut present = vec![false; grid.count];
                let flow = if name == "absent" { self.flow(&args[0], grid)? } else { self.range_flow(name, args, 0, grid)? };
                flow.visit(self, |series| {
                    present.iter_mut().enumerate().for_each(|(step, present)| *present |= series.has(step));
                    Ok(())
                })?;
                absent(labels_of_absent(&args[0]), &present)
            }
            "start_timestamp" => Vec::new(),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(expr, name, args, grid)?,
            "histogram_quantile" => self.histogram_quantile(args, grid)?,
            "histogram_quantiles" => self.histogram_quantiles(args, grid)?,
            "histogram_fraction" => self.histogram_fraction(args, grid)?,
            "info" => self.info_function(args, grid)?,
            _ => match time::date_part(name) {
                Some(part) => {
                    let values = grid.times().map(|ms| part((ms as f64 / 1000.0).trunc())).collect();
                    vec![Series::with_values(Labels::empty(), values)]
                }
                None => return Err(QueryError::Execution(format!("function {name:?} is not enabled"))),
            },
        };
        Ok(Value::Vector(series))
    }

    fn scalar_call(&self, name: &str, args: &[Expr], grid: Grid) -> Result<Vec<f64>> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let constant = |value: f64| Ok(vec![value; grid.count]);
        match name {
            "pi" => constant(std::f64::consts::PI),
            "time" => Ok(grid.times().map(seconds).collect()),
            "start" => constant(seconds(self.times.start)),
            "end" => constant(seconds(self.times.end)),
            "range" => constant(seconds(self.times.end - self.times.start)),
            "step" => constant(if self.times.start == self.times.end { 0.0 } else { seconds(self.times.step) }),
            "min_of" | "max_of" => {
                let (a, b) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                let pick = if name == "min_of" { math::min } else { math::max };
                Ok(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect())
            }
            _ => {
                let mut single = vec![None; grid.count];
                self.flow(&args[0], grid)?.visit(self, |series| {
                    for (step, single) in single.iter_mut().enumerate() {
                        if let Some(value) = series.float(step) {
                            *single = Some(if single.is_none() { value } else { f64::NAN });
                        }
                    }
                    Ok(())
                })?;
                Ok(single.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
            }
        }
    }

    /// Functions of a range vector.
    fn range_flow<'e>(&self, name: &'static str, args: &[Expr], position: usize, grid: Grid) -> Result<Flow<'e>> {
        let unsupported = || QueryError::Execution(format!("function {name:?} is not supported"));
        let mut applied = Applied::new(range_function(name).ok_or_else(unsupported)?, args[0].bare().span.start);
        applied.use_start_timestamps = self.options.use_start_timestamps;
        for (at, arg) in args.iter().enumerate().filter(|(at, _)| *at != position) {
            let values = self.scalar(arg, grid)?;
            self.check_scalar(name, at, arg, &values)?;
            applied.scalars.push(values);
        }
        let range = self.range_vector(&args[position], grid)?;
        check_extension(name, range.extension)?;
        let flow = Flow::windows(range, applied, grid);
        if matches!(name, "last_over_time" | "first_over_time" | "absent_over_time") { Ok(flow) } else { flow.drop_names(self) }
    }

    fn check_scalar(&self, name: &str, at: usize, arg: &Expr, values: &[f64]) -> Result<()> {
        let outside = |low: f64, high: f64| values.iter().copied().find(|v| !(*v > low && *v < high));
        match (name, at) {
            ("quantile_over_time", _) => {
                for q in values.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
                    self.warn(arg.bare(), format!("quantile value should be between 0 and 1, got {}", general_float(*q)));
                }
                Ok(())
            }
            ("double_exponential_smoothing", 1) => match outside(0.0, 1.0) {
                Some(v) => Err(QueryError::Execution(format!("invalid smoothing factor. Expected: 0 < sf < 1, got: {v:.6}"))),
                None => Ok(()),
            },
            ("double_exponential_smoothing", 2) => match outside(0.0, 1.0) {
                Some(v) => Err(QueryError::Execution(format!("invalid trend factor. Expected: 0 < tf < 1, got: {v:.6}"))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Functions that make one series of each; `None` for others.
    pub(super) fn call_flow<'e>(&self, function: &Function, args: &'e [Expr], grid: Grid) -> Result<Option<Flow<'e>>> {
        let name = function.name;
        if let Some(position) = function.args.iter().position(|a| *a == ValueType::Matrix) {
            return if name == "absent_over_time" { Ok(None) } else { self.range_flow(name, args, position, grid).map(Some) };
        }
        if let Some(function) = math::simple(name) {
            return self.each_float(&args[0], grid, move |_, v| Some(function(v)));
        }
        if let Some(function) = histogram::of_native(name) {
            let stage: Stage<'e> = Box::new(move |one, _| {
                one.values = (0..grid.count).map(|step| one.histogram(step).map_or(ABSENT, |h| function(h))).collect();
                one.histograms.clear();
            });
            return self.flow(&args[0], grid)?.then(stage).drop_names(self).map(Some);
        }
        if let (Some(part), Some(arg)) = (time::date_part(name), args.first()) {
            return self.each_float(arg, grid, move |_, v| Some(part(v)));
        }
        match name {
            "timestamp" => self.timestamp(&args[0], grid).map(Some),
            "start_timestamp" => match &args[0].bare().kind {
                Kind::Selector(selector) if self.options.use_start_timestamps => {
                    self.instant_starts(selector, grid)?.drop_names(self).map(Some)
                }
                _ => Ok(None),
            },
            "round" => {
                let to = match args.get(1) {
                    Some(arg) => self.scalar(arg, grid)?,
                    None => vec![1.0; grid.count],
                };
                self.each_float(&args[0], grid, move |step, v| Some(math::round(v, to[step])))
            }
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(name, args, grid),
            "label_replace" => self.label_replace(args, grid).map(Some),
            "label_join" => self.label_join(args, grid).map(Some),
            _ => Ok(None),
        }
    }

    /// Maps floats, leaves histograms out, and drops the name.
    fn each_float<'e>(
        &self,
        arg: &'e Expr,
        grid: Grid,
        function: impl Fn(usize, f64) -> Option<f64> + Send + Sync + 'e,
    ) -> Result<Option<Flow<'e>>> {
        self.flow(arg, grid)?.then(of_floats(function)).drop_names(self).map(Some)
    }

    fn clamp<'e>(&self, name: &str, args: &'e [Expr], grid: Grid) -> Result<Option<Flow<'e>>> {
        let first = self.scalar(&args[1], grid)?;
        let (low, high) = match name {
            "clamp" => (first, self.scalar(&args[2], grid)?),
            "clamp_min" => (first, vec![f64::INFINITY; grid.count]),
            _ => (vec![f64::NEG_INFINITY; grid.count], first),
        };
        self.each_float(&args[0], grid, move |step, v| {
            let (low, high) = (low[step], high[step]);
            if low > high { None } else { Some(math::max(low, math::min(high, v))) }
        })
    }

    fn timestamp<'e>(&self, arg: &'e Expr, grid: Grid) -> Result<Flow<'e>> {
        if let Kind::Selector(selector) = &arg.bare().kind {
            return self.instant_timestamps(selector, grid)?.drop_names(self);
        }
        let stage: Stage<'e> = Box::new(move |one, _| {
            one.values = grid.times().enumerate().map(|(step, ms)| if one.has(step) { ms as f64 / 1000.0 } else { ABSENT }).collect();
            one.histograms.clear();
        });
        self.flow(arg, grid)?.then(stage).drop_names(self)
    }
}

fn check_extension(name: &str, extension: Extension) -> Result<()> {
    let (word, allowed) = match extension {
        Extension::None => return Ok(()),
        Extension::Anchored { .. } => ("anchored", &["changes", "delta", "increase", "rate", "resets"][..]),
        Extension::Smoothed { .. } => ("smoothed", &["delta", "increase", "rate"][..]),
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    Err(QueryError::Execution(format!("{word} modifier can only be used with: {} - not with {name}", allowed.join(", "))))
}

/// The labels that the selector demands by equality, each once.
fn labels_of_absent(arg: &Expr) -> Labels {
    let selector: &Selector = match &arg.bare().kind {
        Kind::Selector(selector) | Kind::Range { selector, .. } => selector,
        _ => return Labels::empty(),
    };
    let mut labels = LabelsBuilder::default();
    for matcher in selector.matchers.iter().filter(|m| m.name != METRIC_NAME && m.op == MatchOp::Equal) {
        if selector.matchers.iter().filter(|m| m.name == matcher.name).count() == 1 {
            labels.set(&matcher.name, &matcher.value);
        }
    }
    labels.build()
}

fn absent(labels: Labels, present: &[bool]) -> Vec<Series> {
    let result = Series::with_values(labels, present.iter().map(|present| if *present { ABSENT } else { 1.0 }).collect());
    if result.is_empty() { Vec::new() } else { vec![result] }
}

/// The labels that count once a mark to drop the name is heeded.
pub(super) fn final_labels(series: &Series) -> Labels {
    if series.drop_name { without_name(&series.labels) } else { series.labels.clone() }
}
