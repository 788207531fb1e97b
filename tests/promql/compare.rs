//! Expected and actual values (contract 6.4).

use crate::series::Value;
use monocle::metrics::is_stale;
use monocle::metrics::promql::Histogram;

pub fn same_float(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    if a == b {
        return true;
    }
    let (total, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || total < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / total.min(f64::MAX) < 1e-6
}

pub fn same_histogram(expected: &Histogram, hinted: bool, actual: &Histogram) -> bool {
    let (mut a, mut b) = (expected.clone(), actual.clone());
    a.compact();
    b.compact();
    let same_buckets =
        |a: &[(i32, f64)], b: &[(i32, f64)]| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.0 == y.0 && same_float(x.1, y.1));
    a.schema == b.schema
        && a.custom == b.custom
        && a.zero_threshold == b.zero_threshold
        && same_float(a.zero_count, b.zero_count)
        && same_float(a.count, b.count)
        && same_float(a.sum, b.sum)
        && same_buckets(&a.positive, &b.positive)
        && same_buckets(&a.negative, &b.negative)
        && (!hinted || a.hint == b.hint)
}

pub fn same(expected: &Value, actual: &Value) -> bool {
    match (expected, actual) {
        (Value::Float(a), Value::Float(b)) => same_float(*a, *b),
        (Value::Histogram(a, hinted), Value::Histogram(b, _)) => same_histogram(a, *hinted, b),
        (Value::Gap, Value::Gap) => true,
        _ => false,
    }
}
