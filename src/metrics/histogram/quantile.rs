//! Estimates from buckets: quantile, fraction, mean and spread (contracts/prometheus.md 4.5).

use super::{Bucket, Histogram};

/// How NaN observations, which are in the count but in no bucket, touched a quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NanNote {
    None,
    ResultIsNan,
    SkewedHigher,
}

impl Histogram {
    /// The `q`-quantile: interpolated logarithmically in exponential buckets, linearly in custom ones and around zero.
    pub fn quantile(&self, q: f64) -> (f64, NanNote) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, NanNote::None);
        }
        if q > 1.0 {
            return (f64::INFINITY, NanNote::None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, NanNote::None);
        }
        let has_nan = self.sum.is_nan();
        let upwards = has_nan || q < 0.5;
        let rank = if upwards { q * self.count } else { (1.0 - q) * self.count };
        let Some((bucket, passed)) = self.bucket_at(rank, upwards) else {
            return (f64::NAN, if has_nan { NanNote::ResultIsNan } else { NanNote::None });
        };
        let passed = passed.min(self.count);
        if passed < rank {
            return if has_nan { (f64::NAN, NanNote::ResultIsNan) } else { (bucket.upper, NanNote::None) };
        }
        let note = if has_nan && self.count > self.observed() { NanNote::SkewedHigher } else { NanNote::None };
        let bucket = self.with_known_side(bucket);
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, note);
                }
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, note);
            }
        }
        let lower = if bucket.lower == f64::NEG_INFINITY { 0.0 } else { bucket.lower };
        let inside = if upwards { rank - (passed - bucket.count) } else { passed - rank };
        (self.interpolate(Bucket { lower, ..bucket }, inside / bucket.count), note)
    }

    /// Observations that are in buckets: those of NaN are not.
    fn observed(&self) -> f64 {
        self.zero_count + self.positive.iter().chain(&self.negative).map(|b| b.1).sum::<f64>()
    }

    /// The bucket in which the running count reaches `rank`, from below or from above, with the count up to its end;
    /// the last populated bucket if it never does.
    fn bucket_at(&self, rank: f64, upwards: bool) -> Option<(Bucket, f64)> {
        let mut buckets = self.buckets();
        if !upwards {
            buckets.reverse();
        }
        let mut passed = 0.0;
        let mut last = None;
        for bucket in buckets {
            passed += bucket.count;
            last = Some((bucket, passed));
            if passed >= rank {
                break;
            }
        }
        last
    }

    /// The zero bucket of a histogram with observations on one side only ends at 0 on the other.
    fn with_known_side(&self, bucket: Bucket) -> Bucket {
        let around_zero = !self.is_custom() && bucket.lower < 0.0 && bucket.upper > 0.0;
        match (around_zero, self.negative.is_empty(), self.positive.is_empty()) {
            (true, true, false) => Bucket { lower: 0.0, ..bucket },
            (true, false, true) => Bucket { upper: 0.0, ..bucket },
            _ => bucket,
        }
    }

    /// The value below which `fraction` of the bucket's observations are estimated to be.
    fn interpolate(&self, bucket: Bucket, fraction: f64) -> f64 {
        let Bucket { lower, upper, .. } = bucket;
        if self.is_custom() || (lower <= 0.0 && upper >= 0.0) {
            return lower + (upper - lower) * fraction;
        }
        let (low, high) = (lower.abs().log2(), upper.abs().log2());
        let exponent = low + (high - low) * fraction;
        if lower > 0.0 { exponent.exp2() } else { -exponent.exp2() }
    }

    /// The share of observations in `(lower, upper]`.
    pub fn fraction(&self, lower: f64, upper: f64) -> f64 {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return f64::NAN;
        }
        if lower >= upper {
            return 0.0;
        }
        let observed = if self.sum.is_nan() { self.observed() } else { self.count };
        (self.rank_of(upper, observed) - self.rank_of(lower, observed)) / self.count
    }

    /// Observations estimated to be at most `value`.
    fn rank_of(&self, value: f64, observed: f64) -> f64 {
        if value == f64::NEG_INFINITY {
            return 0.0;
        }
        if value == f64::INFINITY {
            return observed;
        }
        let mut rank = 0.0;
        for bucket in self.buckets() {
            let bucket = self.with_known_side(bucket);
            if bucket.upper <= value {
                rank += bucket.count;
                continue;
            }
            if bucket.lower < value {
                rank += bucket.count * self.share_below(bucket, value);
            }
            break;
        }
        rank.min(observed)
    }

    fn share_below(&self, bucket: Bucket, value: f64) -> f64 {
        let Bucket { mut lower, upper, .. } = bucket;
        if self.is_custom() && lower == f64::NEG_INFINITY {
            if upper <= 0.0 {
                // Nothing can be said within an infinite bucket: it counts as a whole.
                return 1.0;
            }
            lower = 0.0;
            if value <= 0.0 {
                return 0.0;
            }
        }
        if upper == f64::INFINITY {
            return 0.0;
        }
        if self.is_custom() || (lower <= 0.0 && upper >= 0.0) {
            return (value - lower) / (upper - lower);
        }
        let (low, high) = (lower.abs().log2(), upper.abs().log2());
        (value.abs().log2() - low) / (high - low)
    }

    /// Population variance, each bucket standing for one value: its geometric mean, the arithmetic one if custom, and 0
    /// for the zero bucket.
    pub fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let mut total = crate::metrics::kahan::KahanSum::default();
        for bucket in self.buckets() {
            let value = if self.is_custom() {
                (bucket.lower + bucket.upper) / 2.0
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                let mean = (bucket.lower * bucket.upper).sqrt();
                if bucket.upper < 0.0 { -mean } else { mean }
            };
            total.add(bucket.count * (value - mean) * (value - mean));
        }
        total.value() / self.count
    }
}
