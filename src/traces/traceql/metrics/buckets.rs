//! Histograms whose buckets are powers of two.

use crate::traces::traceql::eval::Value;
use std::collections::BTreeMap;

/// How often values fell into each bucket, by the bucket's upper bound.
pub type Counts = BTreeMap<u64, u64>;

/// The bucket of a value, and what its bound is divided by to be shown: durations show as seconds. Values below 2, and
/// those that are neither integers nor durations, have none.
pub fn bucket(value: &Value<'_>) -> Option<(u64, f64)> {
    let (value, divisor) = match value {
        Value::Duration(d) => (*d, 1e9),
        Value::Int(n) => (*n, 1.0),
        _ => return None,
    };
    let value = u64::try_from(value).ok().filter(|v| *v >= 2)?;
    Some((value.checked_next_power_of_two()?, divisor))
}

/// The value below which the share `p` of all lies, between the bounds of a bucket on a logarithmic scale.
pub fn quantile(p: f64, counts: &Counts) -> f64 {
    let total: u64 = counts.values().sum();
    if total == 0 {
        return 0.0;
    }
    let wanted = ((p * total as f64).ceil() as u64).max(1);
    let mut below = 0;
    let mut previous: Option<u64> = None;
    for (bound, count) in counts {
        if below + count > wanted {
            let high = (*bound as f64).log2();
            let low = previous.map_or(high - 1.0, |b| (b as f64).log2());
            let share = (wanted - below) as f64 / *count as f64;
            return (low + (high - low) * share).exp2();
        }
        below += count;
        previous = Some(*bound);
        if below == wanted {
            return *bound as f64;
        }
    }
    previous.map_or(0.0, |b| b as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_next_power_of_two() {
        assert_eq!(bucket(&Value::Duration(1024)), Some((1024, 1e9)));
        assert_eq!(bucket(&Value::Duration(1025)), Some((2048, 1e9)));
        assert_eq!(bucket(&Value::Int(3)), Some((4, 1.0)));
        for none in [Value::Int(1), Value::Float(8.0), Value::Duration(-5), Value::Int(i64::MAX).into_owned(), Value::Nil] {
            let big = none == Value::Int(i64::MAX);
            assert_eq!(bucket(&none).is_some(), big);
        }
    }

    #[test]
    fn quantiles_are_interpolated_on_a_logarithmic_scale() {
        let counts = Counts::from([(1 << 27, 4), (1 << 28, 4)]);
        assert_eq!(quantile(0.9, &counts), 268_435_456.0);
        assert!((quantile(0.6, &counts) / 1e9 - 0.134_217_728 * 0.25f64.exp2()).abs() < 1e-12);
        assert_eq!(quantile(0.5, &counts), 134_217_728.0);
        assert_eq!(quantile(0.5, &Counts::new()), 0.0);
        assert_eq!(quantile(0.5, &Counts::from([(8, 3)])), (3.0f64 - 1.0 + 2.0 / 3.0).exp2());
    }
}
