//! Arithmetic between metrics queries, and with numbers.

use super::key_of;
use super::stages::without_empty;
use super::{Labels, NAME, Series};
use crate::traces::traceql::ast::Op;
use crate::traces::traceql::eval::Value;
use std::collections::HashMap;

fn calculate(op: Op, left: f64, right: f64) -> Option<f64> {
    let result = match op {
        Op::Add => left + right,
        Op::Sub => left - right,
        Op::Mul => left * right,
        // Division by zero has no result, of whatever sign.
        Op::Div if right == 0.0 => return None,
        Op::Div => left / right,
        _ => return None,
    };
    Some(result).filter(|v| v.is_finite())
}

/// Every sample with a number; `number_first` if the number stands on the left.
pub fn with_number(op: Op, mut series: Vec<Series>, number: f64, number_first: bool) -> Vec<Series> {
    for sample in series.iter_mut().flat_map(|s| &mut s.samples) {
        *sample = sample.and_then(|v| if number_first { calculate(op, number, v) } else { calculate(op, v, number) });
    }
    for series in &mut series {
        let number = number.to_string();
        let (left, right) = if number_first { (number, name_of(&series.labels)) } else { (name_of(&series.labels), number) };
        rename(&mut series.labels, op, &left, &right);
        series.exemplars.clear();
    }
    without_empty(series)
}

/// Series with the same labels, the name aside. A side that is one series without labels meets every series of the other.
pub fn joined(op: Op, left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    let mut out = Vec::new();
    if let ([one], true) = (&left[..], right.iter().any(|s| !is_bare(s)))
        && is_bare(one)
    {
        out.extend(right.iter().map(|other| joined_pair(op, one, other, &other.labels)));
    } else if let ([one], true) = (&right[..], left.iter().any(|s| !is_bare(s)))
        && is_bare(one)
    {
        out.extend(left.iter().map(|other| joined_pair(op, other, one, &other.labels)));
    } else {
        let by_labels: HashMap<String, &Series> = right.iter().map(|s| (key_of(&without_name(&s.labels)), s)).collect();
        for series in &left {
            if let Some(other) = by_labels.get(&key_of(&without_name(&series.labels))) {
                out.push(joined_pair(op, series, other, &series.labels));
            }
        }
    }
    without_empty(out)
}

fn is_bare(series: &Series) -> bool {
    without_name(&series.labels).is_empty()
}

fn without_name(labels: &Labels) -> Labels {
    labels.iter().filter(|(key, _)| key != NAME).cloned().collect()
}

fn name_of(labels: &Labels) -> String {
    labels.iter().find(|(key, _)| key == NAME).map_or_else(String::new, |(_, value)| value.text())
}

fn rename(labels: &mut Labels, op: Op, left: &str, right: &str) {
    if let Some((_, name)) = labels.iter_mut().find(|(key, _)| key == NAME) {
        *name = Value::String(format!("({left} {} {right})", op.symbol()).into());
    }
}

fn joined_pair(op: Op, left: &Series, right: &Series, labels: &Labels) -> Series {
    let samples = left.samples.iter().zip(&right.samples).map(|(a, b)| calculate(op, (*a)?, (*b)?)).collect();
    let mut labels = labels.clone();
    rename(&mut labels, op, &name_of(&left.labels), &name_of(&right.labels));
    Series::new(labels, samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(key: &str, value: &str, samples: &[f64]) -> Series {
        Series::new(vec![(key.to_owned(), Value::String(value.to_owned().into()))], samples.iter().map(|v| Some(*v)).collect())
    }

    #[test]
    fn series_join_by_labels_and_a_bare_one_meets_all() {
        let a = vec![series("s", "x", &[4.0, 1.0]), series("s", "y", &[6.0, 0.0])];
        let bare = || vec![series(NAME, "rate", &[2.0, 0.0])];
        let fanned = joined(Op::Div, a.clone(), bare());
        assert_eq!(fanned.iter().map(|s| s.samples.clone()).collect::<Vec<_>>(), [[Some(2.0), None], [Some(3.0), None]]);
        let matched = joined(Op::Add, a, vec![series("s", "y", &[1.0, 1.0])]);
        assert_eq!((matched.len(), &matched[0].samples), (1, &vec![Some(7.0), Some(1.0)]));
        let both = joined(Op::Add, bare(), bare());
        assert_eq!(both[0].labels[0].1.text(), "(rate + rate)");
        assert_eq!(with_number(Op::Sub, bare(), 5.0, true)[0].samples, [Some(3.0), Some(5.0)]);
    }
}
