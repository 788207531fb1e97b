//! Functions of one native histogram, and quantiles of classic ones.

use crate::metrics::histogram::Histogram;

/// What a function of one native histogram gives; `None` if `name` is not one of them.
pub fn of_native(name: &str) -> Option<fn(&Histogram) -> f64> {
    Some(match name {
        "histogram_count" => |h| h.count,
        "histogram_sum" => |h| h.sum,
        "histogram_avg" => |h| h.sum / h.count,
        "histogram_stddev" => |h| h.variance().sqrt(),
        "histogram_stdvar" => Histogram::variance,
        _ => return None,
    })
}

/// A bucket of a classic histogram: observations up to `bound`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassicBucket {
    pub bound: f64,
    pub count: f64,
}

/// How counts had to be changed to never decrease.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Forced {
    pub from: f64,
    pub to: f64,
    pub difference_max: f64,
}

/// Differences below this share are rounding, not data.
const TOLERANCE: f64 = 1e-12;

/// Buckets in order, with equal bounds merged and counts that never decrease.
pub struct ClassicHistogram {
    buckets: Vec<ClassicBucket>,
    pub forced: Option<Forced>,
}

impl ClassicHistogram {
    /// `None` unless the highest bucket is `+Inf`.
    pub fn new(mut buckets: Vec<ClassicBucket>) -> Option<ClassicHistogram> {
        buckets.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        if buckets.last()?.bound != f64::INFINITY {
            return None;
        }
        let mut merged: Vec<ClassicBucket> = Vec::with_capacity(buckets.len());
        for bucket in buckets {
            match merged.last_mut() {
                Some(last) if last.bound == bucket.bound => last.count += bucket.count,
                _ => merged.push(bucket),
            }
        }
        let forced = make_monotonic(&mut merged);
        Some(ClassicHistogram { buckets: merged, forced })
    }

    pub fn quantile(&self, q: f64) -> f64 {
        if q.is_nan() {
            return f64::NAN;
        }
        if q < 0.0 {
            return f64::NEG_INFINITY;
        }
        if q > 1.0 {
            return f64::INFINITY;
        }
        let buckets = &self.buckets;
        let total = buckets.last().map_or(0.0, |b| b.count);
        if buckets.len() < 2 || total == 0.0 || total.is_nan() {
            return f64::NAN;
        }
        let rank = q * total;
        let at = buckets[..buckets.len() - 1].partition_point(|b| b.count < rank);
        if at == buckets.len() - 1 {
            return buckets[buckets.len() - 2].bound;
        }
        let ClassicBucket { bound: upper, count } = buckets[at];
        if at == 0 && upper <= 0.0 {
            return upper;
        }
        let (lower, below) = if at == 0 { (0.0, 0.0) } else { (buckets[at - 1].bound, buckets[at - 1].count) };
        lower + (upper - lower) * ((rank - below) / (count - below))
    }

    /// The share of observations in `(lower, upper]`.
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        let total = self.buckets.last().map_or(0.0, |b| b.count);
        if total == 0.0 || total.is_nan() || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        (self.rank_of(upper, total) - self.rank_of(lower, total)) / total
    }

    fn rank_of(&self, value: f64, total: f64) -> f64 {
        if value == f64::INFINITY {
            return total;
        }
        let mut lower = if self.buckets[0].bound > 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let mut below = 0.0;
        for bucket in &self.buckets {
            if value <= lower {
                return below;
            }
            if value < bucket.bound {
                // Within an infinite bucket nothing can be interpolated: the first counts whole, the last not at all.
                return if lower == f64::NEG_INFINITY {
                    bucket.count
                } else if bucket.bound == f64::INFINITY {
                    below
                } else {
                    below + (bucket.count - below) * (value - lower) / (bucket.bound - lower)
                };
            }
            (lower, below) = (bucket.bound, bucket.count);
        }
        total
    }
}

fn make_monotonic(buckets: &mut [ClassicBucket]) -> Option<Forced> {
    let mut highest = buckets.first()?.count;
    let mut forced: Option<Forced> = None;
    for bucket in buckets.iter_mut().skip(1) {
        let nearly = (bucket.count - highest).abs() <= TOLERANCE * (bucket.count.abs() + highest.abs());
        if bucket.count == highest {
            continue;
        }
        if nearly {
            bucket.count = highest;
            continue;
        }
        if bucket.count < highest {
            let difference = highest - bucket.count;
            let known = forced.get_or_insert(Forced { from: bucket.bound, to: bucket.bound, difference_max: difference });
            known.to = bucket.bound;
            known.difference_max = known.difference_max.max(difference);
            bucket.count = highest;
        } else {
            highest = bucket.count;
        }
    }
    forced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(f64, f64)]) -> Option<ClassicHistogram> {
        ClassicHistogram::new(buckets.iter().map(|(bound, count)| ClassicBucket { bound: *bound, count: *count }).collect())
    }

    #[test]
    fn classic_quantiles() {
        let h = histogram(&[(f64::INFINITY, 10.0), (1.0, 4.0), (2.0, 8.0)]).unwrap();
        assert_eq!(h.quantile(0.2), 0.5);
        assert_eq!(h.quantile(0.6), 1.5);
        assert_eq!(h.quantile(0.9), 2.0);
        assert!(histogram(&[(1.0, 1.0)]).is_none());
        assert!(histogram(&[(f64::INFINITY, 1.0)]).unwrap().quantile(0.5).is_nan());
        let negative = histogram(&[(-1.0, 4.0), (f64::INFINITY, 4.0)]).unwrap();
        assert_eq!(negative.quantile(0.5), -1.0);
    }

    #[test]
    fn decreasing_counts_are_forced_up() {
        let h = histogram(&[(1.0, 5.0), (2.0, 3.0), (f64::INFINITY, 5.0)]).unwrap();
        assert_eq!(h.forced, Some(Forced { from: 2.0, to: 2.0, difference_max: 2.0 }));
    }
}
