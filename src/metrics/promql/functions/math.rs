//! Functions of one float.

use std::cmp::Ordering;

/// What a function of one float does to each; `None` if `name` is not one of them.
pub fn simple(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "deg" => |v| v * 180.0 / std::f64::consts::PI,
        "rad" => |v| v * std::f64::consts::PI / 180.0,
        "sgn" => sign,
        _ => return None,
    })
}

fn sign(v: f64) -> f64 {
    if v < 0.0 {
        -1.0
    } else if v > 0.0 {
        1.0
    } else {
        v
    }
}

/// Go's minimum: the infinity decides even beside a NaN, and the negative zero is the lower one.
pub fn min(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

/// As [`min`].
pub fn max(a: f64, b: f64) -> f64 {
    -min(-a, -b)
}

/// To the nearest multiple of `to`, halves upwards.
pub fn round(v: f64, to: f64) -> f64 {
    let inverse = 1.0 / to;
    (v * inverse + 0.5).floor() / inverse
}

/// The `q`-quantile of `values`, interpolated linearly between ranks.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    sort_nan_first(values);
    quantile_of_sorted(q, values)
}

/// As [`quantile`], of values in the order of [`sort_nan_first`].
pub fn quantile_of_sorted(q: f64, values: &[f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let rank = q * (values.len() as f64 - 1.0);
    let low = rank.floor().max(0.0) as usize;
    let high = (low + 1).min(values.len() - 1);
    let weight = rank - rank.floor();
    values[low] * (1.0 - weight) + values[high] * weight
}

pub fn sort_nan_first(values: &mut [f64]) {
    values.sort_by(by_value_nan_first);
}

/// Every NaN is before all else, and equals the others.
pub fn by_value_nan_first(a: &f64, b: &f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.total_cmp(b),
    }
}

/// Population variance, by Welford's method.
pub fn variance(values: impl Iterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut total) = (0.0, 0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - mean;
        mean += delta / count;
        total += delta * (value - mean);
    }
    total / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_and_quantiles() {
        assert_eq!(round(2.5, 1.0), 3.0);
        assert_eq!((min(f64::NAN, f64::NEG_INFINITY), max(f64::INFINITY, f64::NAN)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(max(1.0, f64::NAN).is_nan() && min(0.0, -0.0).is_sign_negative() && max(2.0, 1.0) == 2.0);
        assert_eq!(round(-2.5, 1.0), -2.0);
        assert_eq!(round(7.3, 5.0), 5.0);
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(2.0, &mut [1.0]), f64::INFINITY);
        assert_eq!(variance([1.0, 2.0, 3.0, 4.0].into_iter()), 1.25);
    }
}
