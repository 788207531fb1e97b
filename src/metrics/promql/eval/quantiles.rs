//! histogram_quantile, histogram_quantiles and histogram_fraction, over native and classic histograms.

use super::call::final_labels;
use super::series::ABSENT;
use super::{Evaluator, Grid, Result, Series, Value, merge_equal};
use crate::metrics::METRIC_NAME;
use crate::metrics::histogram::{Histogram, NanNote};
use crate::metrics::promql::ast::Expr;
use crate::metrics::promql::functions::histogram::{ClassicBucket, ClassicHistogram, Forced};
use crate::model::Labels;
use crate::model::number::general_float;
use crate::model::time::{MILLI, format_rfc3339};
use crate::query::QueryError;
use std::collections::HashMap;

/// What is asked of each histogram.
enum Question<'a> {
    /// A quantile a step.
    Quantile(&'a [f64]),
    /// Lower and upper bound a step.
    Fraction(&'a [f64], &'a [f64]),
}

/// The series that make up one result.
struct Group {
    labels: Labels,
    drop_name: bool,
    /// The metric's name, for notes.
    name: String,
    /// Native histograms and floats without a bucket bound.
    native: Vec<usize>,
    /// Buckets of classic histograms: bound, series.
    classic: Vec<(f64, usize)>,
}

impl Evaluator<'_> {
    pub(super) fn histogram_quantile(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        let quantiles = self.scalar(&args[0], grid)?;
        self.check_quantiles(&args[0], &quantiles);
        let series = self.vector(&args[1], grid)?;
        self.ask("histogram_quantile", &args[1], &series, &Question::Quantile(&quantiles), grid)
    }

    pub(super) fn histogram_quantiles(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        let Value::Text(label) = self.eval(&args[1], grid)? else {
            return Err(QueryError::Execution("a string was expected".to_owned()));
        };
        if label.is_empty() {
            return Err(QueryError::Execution(format!("invalid label name {label:?}")));
        }
        let series = self.vector(&args[0], grid)?;
        let mut result = Vec::new();
        for arg in &args[2..] {
            let quantiles = self.scalar(arg, grid)?;
            self.check_quantiles(arg, &quantiles);
            let answers = self.ask("histogram_quantiles", &args[0], &series, &Question::Quantile(&quantiles), grid)?;
            for answer in answers {
                for (step, q) in quantiles.iter().enumerate() {
                    let Some(value) = answer.float(step) else { continue };
                    let labels = answer.labels.to_builder().set(&label, &open_metrics(*q)).build();
                    let mut one = Series::new(labels, grid.count);
                    one.drop_name = answer.drop_name;
                    one.values[step] = value;
                    result.push(one);
                }
            }
        }
        merge_equal(result)
    }

    pub(super) fn histogram_fraction(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        let (lower, upper) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
        let series = self.vector(&args[2], grid)?;
        self.ask("histogram_fraction", &args[2], &series, &Question::Fraction(&lower, &upper), grid)
    }

    fn check_quantiles(&self, arg: &Expr, quantiles: &[f64]) {
        for q in quantiles.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
            self.warn(arg.bare(), format!("quantile value should be between 0 and 1, got {}", general_float(*q)));
        }
    }

    fn ask(&self, function: &'static str, arg: &Expr, series: &[Series], question: &Question<'_>, grid: Grid) -> Result<Vec<Series>> {
        let survey = Survey { evaluator: self, function, arg: arg.bare(), series, question, grid };
        let groups = self.histogram_groups(arg, series);
        let mut result = Vec::with_capacity(groups.len());
        for group in groups {
            self.storage.context().check()?;
            let mut answer = Series::new(group.labels.clone(), grid.count);
            answer.drop_name = group.drop_name;
            for step in 0..grid.count {
                if let Some(value) = survey.answer(&group, step) {
                    answer.values[step] = value;
                }
            }
            if !answer.is_empty() {
                result.push(answer);
            }
        }
        self.drop_names(result)
    }

    /// Native histograms by their labels, classic buckets by their labels without `le`.
    fn histogram_groups(&self, arg: &Expr, series: &[Series]) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut index: HashMap<Labels, usize> = HashMap::new();
        let mut group_of = |groups: &mut Vec<Group>, one: &Series, drop_le: bool| {
            let labels = if drop_le { one.labels.filtered(|n| n != "le") } else { one.labels.clone() };
            let key = final_labels(&Series { labels: labels.clone(), drop_name: true, values: Vec::new(), histograms: Vec::new() });
            let key = if self.options.delayed_name_removal { labels.clone() } else { key };
            *index.entry(key).or_insert_with(|| {
                let name = labels.value(METRIC_NAME).to_owned();
                groups.push(Group { labels, drop_name: one.drop_name, name, native: Vec::new(), classic: Vec::new() });
                groups.len() - 1
            })
        };
        for (at, one) in series.iter().enumerate() {
            if one.histograms.iter().any(Option::is_some) {
                let group = group_of(&mut groups, one, false);
                groups[group].native.push(at);
            }
            if one.values.iter().all(|v| v.to_bits() == ABSENT.to_bits()) {
                continue;
            }
            let bound = one.labels.value("le");
            match parse_bound(bound) {
                Some(bound) => {
                    let group = group_of(&mut groups, one, true);
                    groups[group].classic.push((bound, at));
                }
                None => {
                    let name = one.labels.value(METRIC_NAME);
                    let suffix = if self.options.delayed_name_removal && !name.is_empty() {
                        format!(" for metric name {name:?}")
                    } else {
                        String::new()
                    };
                    self.warn(arg.bare(), format!("bucket label \"le\" is missing or has a malformed value of {bound:?}{suffix}"));
                }
            }
        }
        groups
    }
}

/// One question to all histograms.
struct Survey<'a> {
    evaluator: &'a Evaluator<'a>,
    function: &'static str,
    /// The argument that is the histograms.
    arg: &'a Expr,
    series: &'a [Series],
    question: &'a Question<'a>,
    grid: Grid,
}

impl Survey<'_> {
    fn answer(&self, group: &Group, step: usize) -> Option<f64> {
        let native = group.native.iter().find_map(|at| self.series[*at].histogram(step));
        let buckets: Vec<ClassicBucket> = group
            .classic
            .iter()
            .filter_map(|(bound, at)| Some(ClassicBucket { bound: *bound, count: self.series[*at].float(step)? }))
            .collect();
        if native.is_some() && !buckets.is_empty() {
            let message = format!("vector contains a mix of classic and native histograms{}", self.for_metric(group));
            self.evaluator.warn(self.arg, message);
            return None;
        }
        if let Some(native) = native {
            return Some(self.native_answer(group, native, step));
        }
        if buckets.is_empty() {
            return None;
        }
        let Some(classic) = ClassicHistogram::new(buckets) else { return Some(f64::NAN) };
        if let (Some(forced), Question::Quantile(_)) = (classic.forced, self.question) {
            self.note_forced(group, forced, step);
        }
        Some(match self.question {
            Question::Quantile(q) => classic.quantile(q[step]),
            Question::Fraction(lower, upper) => classic.fraction(lower[step], upper[step]),
        })
    }

    fn note_forced(&self, group: &Group, forced: Forced, step: usize) {
        let time = format_rfc3339(self.grid.time(step).saturating_mul(MILLI));
        let message = format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){}, from buckets {} to {}, with a max diff of {}, over 1 samples from {time} to {time}",
            self.for_metric(group),
            general_float(forced.from),
            general_float(forced.to),
            two_digits(forced.difference_max),
        );
        self.evaluator.info(self.arg, message);
    }

    fn native_answer(&self, group: &Group, histogram: &Histogram, step: usize) -> f64 {
        let suffix = self.for_metric(group);
        match self.question {
            Question::Quantile(q) => {
                let (value, note) = histogram.quantile(q[step]);
                let effect = match note {
                    NanNote::None => return value,
                    NanNote::ResultIsNan => "result is NaN",
                    NanNote::SkewedHigher => "result is skewed higher",
                };
                self.evaluator.info(self.arg, format!("input to histogram_quantile has NaN observations, {effect}{suffix}"));
                value
            }
            Question::Fraction(lower, upper) => {
                if histogram.sum.is_nan() && histogram.count > 0.0 {
                    let effect = "has NaN observations, which are excluded from all fractions";
                    self.evaluator.info(self.arg, format!("input to {} {effect}{suffix}", self.function));
                }
                histogram.fraction(lower[step], upper[step])
            }
        }
    }

    /// The name of the metric for notes, which is known only while names are kept to the end.
    fn for_metric(&self, group: &Group) -> String {
        if self.evaluator.options.delayed_name_removal && !group.name.is_empty() {
            format!(" for metric name {:?}", group.name)
        } else {
            String::new()
        }
    }
}

fn parse_bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" | "inf" | "+inf" => Some(f64::INFINITY),
        "-Inf" | "-inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

/// A number as OpenMetrics writes quantiles: not as a whole number.
fn open_metrics(value: f64) -> String {
    let text = general_float(value);
    if value.is_finite() && !text.contains(['.', 'e']) { format!("{text}.0") } else { text }
}

/// Go's `%.2g`: exponent form from 100 on.
fn two_digits(value: f64) -> String {
    let text = format!("{value:.1e}");
    let Ok(rounded) = text.parse::<f64>() else { return text };
    let text = general_float(rounded);
    if rounded.abs() < 100.0 || text.contains('e') || !rounded.is_finite() {
        return text;
    }
    let (mantissa, exponent) = (format!("{rounded:e}"), rounded.abs().log10().floor());
    format!("{}e+{exponent:02}", mantissa.split('e').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_notes_and_labels_are_gos() {
        assert_eq!(
            [0.012_34, 1.0, 0.5, 12.34, 99.9, 123.0, 5_000.0, 1.5e6, 2e-7].map(two_digits),
            ["0.012", "1", "0.5", "12", "1e+02", "1.2e+02", "5e+03", "1.5e+06", "2e-07"]
        );
        assert_eq!([0.5, 1.0, 0.00001, 1e6].map(open_metrics), ["0.5", "1.0", "1e-05", "1e+06"]);
    }
}
