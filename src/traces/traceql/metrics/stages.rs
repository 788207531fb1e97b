//! What follows a metrics function: topk, bottomk and comparisons.

use super::Series;
use crate::traces::traceql::ast::{Op, SecondStage, Static};
use crate::traces::traceql::eval::{Value, compare};

pub fn apply(stages: &[SecondStage], mut series: Vec<Series>) -> Vec<Series> {
    for stage in stages {
        series = match stage {
            SecondStage::Top(k) => best(series, *k, true),
            SecondStage::Bottom(k) => best(series, *k, false),
            SecondStage::Filter(op, value) => filter(series, *op, value),
        };
    }
    series
}

/// At each time the `k` largest (or smallest) samples stay; of equal ones those of the smaller labels.
fn best(mut series: Vec<Series>, k: i64, largest: bool) -> Vec<Series> {
    let k = usize::try_from(k).unwrap_or(0);
    if series.len() <= k {
        return series;
    }
    series.sort_by_cached_key(Series::order);
    let times = series.iter().map(|s| s.samples.len()).max().unwrap_or(0);
    for time in 0..times {
        let mut present: Vec<(usize, f64)> =
            series.iter().enumerate().filter_map(|(i, s)| Some((i, s.samples.get(time).copied().flatten()?))).collect();
        // A stable sort keeps the order of labels among equals.
        present.sort_by(|a, b| if largest { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
        for (index, _) in present.into_iter().skip(k) {
            series[index].samples[time] = None;
        }
    }
    without_empty(series)
}

fn filter(mut series: Vec<Series>, op: Op, value: &Static) -> Vec<Series> {
    // Samples are seconds where a value is a duration.
    let wanted = match value {
        Static::Duration(d) => Value::Float(*d as f64 / 1e9),
        other => Value::of_static(other).into_owned(),
    };
    for sample in series.iter_mut().flat_map(|s| &mut s.samples) {
        *sample = sample.filter(|v| compare(op, &Value::Float(*v), &wanted).unwrap_or(false));
    }
    without_empty(series)
}

pub fn without_empty(mut series: Vec<Series>) -> Vec<Series> {
    series.retain(|s| s.samples.iter().any(Option::is_some));
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, samples: &[f64]) -> Series {
        let labels = vec![("name".to_owned(), Value::String(name.to_owned().into()))];
        Series::new(labels, samples.iter().map(|v| (!v.is_nan()).then_some(*v)).collect())
    }

    fn shown(series: &[Series]) -> Vec<(String, Vec<Option<f64>>)> {
        series.iter().map(|s| (s.labels[0].1.text(), s.samples.clone())).collect()
    }

    #[test]
    fn the_largest_stay_and_ties_go_to_smaller_labels() {
        let all = vec![series("n1", &[0.0, 1.0, 0.0]), series("n0", &[0.0, 1.0, 0.0]), series("n2", &[0.0, 0.0, 3.0])];
        let top = apply(&[SecondStage::Top(1)], all.clone());
        assert_eq!(shown(&top), [("n0".to_owned(), vec![Some(0.0), Some(1.0), None]), ("n2".to_owned(), vec![None, None, Some(3.0)]),]);
        assert_eq!(apply(&[SecondStage::Top(3)], all.clone()), all);
        let bottom = apply(&[SecondStage::Bottom(1)], vec![series("a", &[2.0]), series("b", &[1.0])]);
        assert_eq!(shown(&bottom), [("b".to_owned(), vec![Some(1.0)])]);
    }

    #[test]
    fn samples_that_fail_a_comparison_vanish_and_so_do_empty_series() {
        let all = vec![series("a", &[1.0, 2.0]), series("b", &[0.0, f64::NAN])];
        let left = apply(&[SecondStage::Filter(Op::Greater, Static::Int(1))], all.clone());
        assert_eq!(shown(&left), [("a".to_owned(), vec![None, Some(2.0)])]);
        let short = apply(&[SecondStage::Filter(Op::Less, Static::Duration(1_500_000_000))], all);
        assert_eq!(short.len(), 2);
    }
}
