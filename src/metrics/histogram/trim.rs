//! `h </ x` and `h >/ x`: keep the observations below or above a value.

use super::{Bucket, Histogram};

impl Histogram {
    /// Keeps observations estimated to be below (`keep_below`) or above `at`. The sum is estimated anew from the middles
    /// of buckets, but only when something was cut (contracts/prometheus.md 4.3).
    pub fn trim(&mut self, at: f64, keep_below: bool) {
        let before = (self.zero_count, self.positive.clone(), self.negative.clone());
        let mut sum = 0.0;
        let custom = self.is_custom();
        let this = self.clone();
        let mut part = |bucket: Bucket| {
            let (kept, middle) = this.kept_part(bucket, at, keep_below);
            if kept != 0.0 {
                sum += kept * middle;
            }
            kept
        };
        for b in &mut self.negative {
            b.1 = part(this.negative_bucket(*b));
        }
        if !custom {
            let (lower, upper) = (-this.zero_threshold, this.zero_threshold);
            let zero = Bucket { lower, upper, count: this.zero_count, lower_closed: true, upper_closed: true };
            self.zero_count = if this.zero_count == 0.0 { 0.0 } else { part(this.with_side_of_zero(zero)) };
        }
        for b in &mut self.positive {
            b.1 = part(this.positive_bucket(*b));
        }
        if before == (self.zero_count, self.positive.clone(), self.negative.clone()) {
            return;
        }
        self.count = self.zero_count + self.positive.iter().chain(&self.negative).map(|b| b.1).sum::<f64>();
        self.sum = sum;
        self.compact();
    }

    fn with_side_of_zero(&self, zero: Bucket) -> Bucket {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => Bucket { lower: 0.0, ..zero },
            (false, true) => Bucket { upper: 0.0, ..zero },
            _ => zero,
        }
    }

    /// Count of the kept part of a bucket, and the value that stands for its observations.
    fn kept_part(&self, bucket: Bucket, at: f64, keep_below: bool) -> (f64, f64) {
        let Bucket { mut lower, upper, count, .. } = bucket;
        let linear = self.is_custom() || (lower <= 0.0 && upper >= 0.0);
        if lower == f64::NEG_INFINITY && upper > 0.0 && upper.is_finite() {
            lower = 0.0;
        }
        let whole = if keep_below { upper <= at } else { lower >= at };
        let none = if keep_below { lower >= at } else { upper <= at };
        if none {
            return (0.0, 0.0);
        }
        if lower.is_infinite() || upper.is_infinite() {
            let edge = if lower.is_infinite() { upper } else { lower };
            return if whole { (count, edge) } else { (0.0, 0.0) };
        }
        let (from, to) = match (whole, keep_below) {
            (true, _) => (lower, upper),
            (false, true) => (lower, at),
            (false, false) => (at, upper),
        };
        let share = if whole {
            1.0
        } else if linear {
            (to - from) / (upper - lower)
        } else {
            (to.abs().log2() - from.abs().log2()) / (upper.abs().log2() - lower.abs().log2())
        };
        let middle = if linear { (from + to) / 2.0 } else { (from * to).sqrt().copysign(to) };
        (count * share, middle)
    }
}
