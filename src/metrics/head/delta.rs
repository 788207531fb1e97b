//! Delta points become sums: the sum so far is the newest stored sample of the series, and nothing else is remembered, so
//! that a restart goes on where the blocks and the WAL end (decisions 13).
//!
//! A sum is made when the lane's lock is held, and by replay, each time in the order of the frames, from the same rows: so
//! both make the same.

use super::registry::Newest;
use crate::metrics::histogram::{Histogram, SCHEMA_MIN};
use crate::metrics::is_stale;
use crate::metrics::rows::{Sample, Value};
use std::sync::Arc;

/// Populated buckets of one sign in a sum. Finer ones are merged by halves of the resolution, as SDKs do.
const BUCKETS_MAX: usize = 320;

/// The sum and its start time after `sample`, whose time is after that of `newest`. It begins anew after a staleness
/// marker, and where a float follows a histogram or the other way round.
pub(super) fn sum(newest: Option<&Newest>, sample: &Sample) -> (i64, Value) {
    let anew = || (sample.start, sample.value.clone());
    match (newest.map(|n| (n.start, &n.value)), &sample.value) {
        (Some((start, Value::Float(sum))), Value::Float(added)) if !is_stale(*sum) && !is_stale(*added) => {
            (start, Value::Float(sum + added))
        }
        (Some((start, Value::Histogram(sum))), Value::Histogram(added)) if !sum.is_stale() && !added.is_stale() => {
            histogram_sum(sum, added).map_or_else(anew, |sum| (start, Value::Histogram(Arc::new(sum))))
        }
        _ => anew(),
    }
}

/// `None` if the buckets are not of one kind.
fn histogram_sum(sum: &Histogram, added: &Histogram) -> Option<Histogram> {
    if sum.custom != added.custom {
        return None;
    }
    let mut sum = sum.clone();
    sum.add(added).ok()?;
    while sum.positive.len().max(sum.negative.len()) > BUCKETS_MAX && sum.schema > SCHEMA_MIN {
        sum.reduce(sum.schema - 1);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::STALE_NAN;

    fn sample(value: Value) -> Sample {
        Sample { series: 0, item: 0, ts: 20, start: 10, value, delta: true }
    }

    fn newest(value: Value) -> Newest {
        Newest { ts: 10, start: 5, value }
    }

    fn native(schema: i32, buckets: &[(i32, f64)]) -> Value {
        let count = buckets.iter().map(|b| b.1).sum();
        Value::Histogram(Arc::new(Histogram { schema, count, sum: count, positive: buckets.to_vec(), ..Histogram::default() }))
    }

    #[test]
    fn sums_go_on_from_the_newest_sample_and_keep_their_start() {
        assert_eq!(sum(None, &sample(Value::Float(3.0))), (10, Value::Float(3.0)));
        assert_eq!(sum(Some(&newest(Value::Float(2.0))), &sample(Value::Float(3.0))), (5, Value::Float(5.0)));
        let stale = f64::from_bits(STALE_NAN);
        assert_eq!(sum(Some(&newest(Value::Float(stale))), &sample(Value::Float(3.0))), (10, Value::Float(3.0)));
        assert_eq!(sum(Some(&newest(native(0, &[(1, 1.0)]))), &sample(Value::Float(3.0))), (10, Value::Float(3.0)));
    }

    #[test]
    fn histograms_meet_at_the_coarser_resolution_and_stay_bounded() {
        let (start, value) = sum(Some(&newest(native(1, &[(1, 1.0), (2, 1.0)]))), &sample(native(0, &[(1, 2.0), (3, 1.0)])));
        assert_eq!((start, value), (5, native(0, &[(1, 4.0), (3, 1.0)])));
        let wide: Vec<(i32, f64)> = (0..300).map(|i| (2 * i, 1.0)).collect();
        let odd: Vec<(i32, f64)> = (0..300).map(|i| (2 * i + 1, 1.0)).collect();
        let (_, value) = sum(Some(&newest(native(5, &wide))), &sample(native(5, &odd)));
        let Value::Histogram(h) = value else { panic!("{value:?}") };
        assert_eq!((h.schema, h.count), (4, 600.0));
        assert!(h.positive.len() <= BUCKETS_MAX);
    }
}
