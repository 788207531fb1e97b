//! Function calls.

use super::series::{ABSENT, without_name};
use super::{Cell, Evaluator, Extension, Grid, RangeVector, Result, Series, Value, Window, is_absent, merge_equal};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::annotations::Annotations;
use crate::metrics::promql::ast::{Expr, Kind, Selector, ValueType};
use crate::metrics::promql::functions::over_time::{Call, RangeFunction, range_function};
use crate::metrics::promql::functions::{Function, histogram, math, time};
use crate::model::number::general_float;
use crate::model::{Labels, LabelsBuilder, MatchOp};
use crate::query::{Context, QueryError, fold};
use std::cell::RefCell;
use std::ops::Range;

impl Evaluator<'_> {
    pub(super) fn call(&self, expr: &Expr, function: &Function, args: &[Expr], grid: Grid) -> Result<Value> {
        if function.returns == ValueType::Scalar {
            return self.scalar_call(function.name, args, grid).map(Value::Scalar);
        }
        if let Some(position) = function.args.iter().position(|a| *a == ValueType::Matrix) {
            return self.range_call(function.name, args, position, grid).map(Value::Vector);
        }
        let series = self.vector_call(expr, function.name, args, grid)?;
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
                let series = self.vector(&args[0], grid)?;
                Ok((0..grid.count).map(|step| single(series.iter().filter_map(|s| s.float(step)))).collect())
            }
        }
    }

    /// Functions of a range vector.
    fn range_call(&self, name: &'static str, args: &[Expr], position: usize, grid: Grid) -> Result<Vec<Series>> {
        let unsupported = || QueryError::Execution(format!("function {name:?} is not supported"));
        let function = range_function(name).ok_or_else(unsupported)?;
        let mut scalars = Vec::new();
        for (at, arg) in args.iter().enumerate().filter(|(at, _)| *at != position) {
            let values = self.scalar(arg, grid)?;
            self.check_scalar(name, at, arg, &values)?;
            scalars.push(values);
        }
        let range = self.range_vector(&args[position], grid)?;
        check_extension(name, range.extension)?;
        if name == "absent_over_time" {
            let all = 0..range.series.len();
            let present = range.map(self.storage.context(), all, grid, |_| |_: &Window<'_>| Some(Cell::Float(1.0)))?;
            return Ok(absent(labels_of_absent(&args[position]), &present, grid));
        }
        let position = args[0].bare().span.start;
        let applied = Applied { function, position, scalars, use_start_timestamps: self.options.use_start_timestamps };
        let series = self.apply(&applied, &range, grid)?;
        if matches!(name, "last_over_time" | "first_over_time") { Ok(series) } else { self.drop_names(series) }
    }

    /// All series, in order; on all cores if they have many samples.
    fn apply(&self, applied: &Applied, range: &RangeVector, grid: Grid) -> Result<Vec<Series>> {
        const SERIES: usize = 64;
        const MANY_SAMPLES: usize = 200_000;
        let context = self.storage.context();
        context.reserve((range.series.len() * grid.count * 8) as u64)?;
        let parts: Vec<Range<usize>> =
            (0..range.series.len()).step_by(SERIES).map(|from| from..range.series.len().min(from + SERIES)).collect();
        let step = |done: &mut Vec<(usize, Vec<Series>, Annotations)>, part: &Range<usize>| {
            let (series, notes) = applied.to(context, range, part.clone(), grid)?;
            done.push((part.start, series, notes));
            Ok(())
        };
        let samples: usize = range.series.iter().map(|s| s.ts.len() + s.histograms.len()).sum();
        let mut done = Vec::with_capacity(parts.len());
        if samples >= MANY_SAMPLES {
            done.extend(fold(context, &parts, Vec::new, step)?.into_iter().flatten());
            done.sort_by_key(|d| d.0);
        } else {
            for part in &parts {
                step(&mut done, part)?;
            }
        }
        let mut notes = self.notes.borrow_mut();
        Ok(done
            .into_iter()
            .flat_map(|(_, series, told)| {
                notes.add(told);
                series
            })
            .collect())
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

    fn vector_call(&self, expr: &Expr, name: &'static str, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        if let Some(function) = math::simple(name) {
            return self.each_float(&args[0], grid, |_, v| Some(function(v)));
        }
        if let Some(function) = histogram::of_native(name) {
            let mut series = self.vector(&args[0], grid)?;
            for one in &mut series {
                one.values = (0..grid.count).map(|step| one.histogram(step).map_or(ABSENT, |h| function(h))).collect();
                one.histograms.clear();
            }
            series.retain(|s| !s.is_empty());
            return self.drop_names(series);
        }
        if let Some(part) = time::date_part(name) {
            return match args.first() {
                Some(arg) => self.each_float(arg, grid, |_, v| Some(part(v))),
                None => Ok(vec![Series::with_values(Labels::empty(), grid.times().map(|ms| part((ms as f64 / 1000.0).trunc())).collect())]),
            };
        }
        match name {
            "vector" => Ok(vec![Series::with_values(Labels::empty(), self.scalar(&args[0], grid)?)]),
            "absent" => {
                let series = self.vector(&args[0], grid)?;
                Ok(absent(labels_of_absent(&args[0]), &series, grid))
            }
            "timestamp" => self.timestamp(&args[0], grid),
            "start_timestamp" => match &args[0].bare().kind {
                Kind::Selector(selector) if self.options.use_start_timestamps => {
                    let series = self.instant_starts(selector, grid)?;
                    self.drop_names(series)
                }
                _ => Ok(Vec::new()),
            },
            "round" => {
                let to = match args.get(1) {
                    Some(arg) => self.scalar(arg, grid)?,
                    None => vec![1.0; grid.count],
                };
                self.each_float(&args[0], grid, |step, v| Some(math::round(v, to[step])))
            }
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(name, args, grid),
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => self.sort(expr, name, args, grid),
            "label_replace" => self.label_replace(args, grid),
            "label_join" => self.label_join(args, grid),
            "histogram_quantile" => self.histogram_quantile(args, grid),
            "histogram_quantiles" => self.histogram_quantiles(args, grid),
            "histogram_fraction" => self.histogram_fraction(args, grid),
            "info" => self.info_function(args, grid),
            _ => Err(QueryError::Execution(format!("function {name:?} is not enabled"))),
        }
    }

    /// Maps floats, leaves histograms out, and drops the name.
    fn each_float(&self, arg: &Expr, grid: Grid, function: impl Fn(usize, f64) -> Option<f64>) -> Result<Vec<Series>> {
        let mut series = self.vector(arg, grid)?;
        for one in &mut series {
            one.histograms.clear();
            for (step, value) in one.values.iter_mut().enumerate().filter(|(_, v)| !is_absent(**v)) {
                *value = function(step, *value).unwrap_or(ABSENT);
            }
        }
        series.retain(|s| !s.is_empty());
        self.drop_names(series)
    }

    fn clamp(&self, name: &str, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        let first = self.scalar(&args[1], grid)?;
        let (low, high) = match name {
            "clamp" => (first, self.scalar(&args[2], grid)?),
            "clamp_min" => (first, vec![f64::INFINITY; grid.count]),
            _ => (vec![f64::NEG_INFINITY; grid.count], first),
        };
        self.each_float(&args[0], grid, |step, v| {
            let (low, high) = (low[step], high[step]);
            if low > high { None } else { Some(math::max(low, math::min(high, v))) }
        })
    }

    fn timestamp(&self, arg: &Expr, grid: Grid) -> Result<Vec<Series>> {
        if let Kind::Selector(selector) = &arg.bare().kind {
            let series = self.instant_timestamps(selector, grid)?;
            return self.drop_names(series);
        }
        let mut series = self.vector(arg, grid)?;
        for one in &mut series {
            one.values = grid.times().enumerate().map(|(step, ms)| if one.has(step) { ms as f64 / 1000.0 } else { ABSENT }).collect();
            one.histograms.clear();
        }
        self.drop_names(series)
    }
}

/// A function of windows, and what all series are given.
struct Applied {
    function: RangeFunction,
    /// Where the first argument starts.
    position: usize,
    /// Values at each step.
    scalars: Vec<Vec<f64>>,
    use_start_timestamps: bool,
}

impl Applied {
    fn to(&self, context: &Context, range: &RangeVector, part: Range<usize>, grid: Grid) -> Result<(Vec<Series>, Annotations)> {
        let notes = RefCell::default();
        let scalar = |at: usize, step: usize| self.scalars.get(at).map_or(0.0, |s| s[step]);
        let scalar = &scalar;
        let series = range.map(context, part, grid, |data| {
            let mut call = Call::new(&notes, self.position, data.labels.value(METRIC_NAME));
            call.use_start_timestamps = self.use_start_timestamps;
            move |window: &Window<'_>| {
                call.scalars = [scalar(0, window.step), scalar(1, window.step)];
                (self.function)(&call, window)
            }
        })?;
        Ok((series, notes.into_inner()))
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

/// The only value, else NaN.
fn single(mut values: impl Iterator<Item = f64>) -> f64 {
    match (values.next(), values.next()) {
        (Some(value), None) => value,
        _ => f64::NAN,
    }
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

fn absent(labels: Labels, series: &[Series], grid: Grid) -> Vec<Series> {
    let values: Vec<f64> = (0..grid.count).map(|step| if series.iter().any(|s| s.has(step)) { ABSENT } else { 1.0 }).collect();
    let result = Series::with_values(labels, values);
    if result.is_empty() { Vec::new() } else { vec![result] }
}

/// Series whose labels were changed, joined where they became equal.
pub(super) fn relabelled(series: Vec<Series>) -> Result<Vec<Series>> {
    merge_equal(series)
}

/// The labels that count once a mark to drop the name is heeded.
pub(super) fn final_labels(series: &Series) -> Labels {
    if series.drop_name { without_name(&series.labels) } else { series.labels.clone() }
}
