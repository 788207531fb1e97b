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
        let Bucket { lower, upper, count, .. } = bucket;
        if lower == f64::NEG_INFINITY || upper == f64::INFINITY {
            return self.kept_of_infinite(bucket, at, keep_below);
        }
        let (from, to) = if keep_below { (lower, upper.min(at)) } else { (lower.max(at), upper) };
        if from >= to && !(lower == upper && from == to) {
            return (0.0, 0.0);
        }
        let linear = self.is_custom() || (lower <= 0.0 && upper >= 0.0);
        let share = if from == lower && to == upper {
            1.0
        } else if linear {
            (to - from) / (upper - lower)
        } else {
            (to.abs().log2() - from.abs().log2()) / (upper.abs().log2() - lower.abs().log2())
        };
        let middle = if linear { (from + to) / 2.0 } else { (from * to).sqrt().copysign(to) };
        (count * share, middle)
    }

    /// A bucket without an end cannot be divided: it stays whole where its finite end is on the kept side, and stands
    /// for that end or the cut. A first custom bucket with a positive bound is taken to begin at 0.
    fn kept_of_infinite(&self, bucket: Bucket, at: f64, keep_below: bool) -> (f64, f64) {
        let Bucket { lower, upper, count, .. } = bucket;
        let nothing = (0.0, 0.0);
        let from_zero = Bucket { lower: 0.0, ..bucket };
        match (lower == f64::NEG_INFINITY, upper == f64::INFINITY, keep_below) {
            (true, true, _) if at == if keep_below { f64::INFINITY } else { f64::NEG_INFINITY } => (count, 0.0),
            (true, true, _) => nothing,
            (true, _, _) if upper > 0.0 => match (keep_below, at < 0.0) {
                (false, true) if at > f64::NEG_INFINITY => nothing,
                _ => self.kept_part(from_zero, at, keep_below),
            },
            (true, _, true) if at == f64::NEG_INFINITY => nothing,
            (true, _, true) => (count, at.min(upper)),
            (true, _, false) if at == f64::NEG_INFINITY => (count, upper),
            (true, _, false) => nothing,
            (_, _, true) if at == f64::INFINITY => (count, lower),
            (_, _, true) => nothing,
            (_, _, false) if at == f64::INFINITY => nothing,
            (_, _, false) => (count, at.max(lower)),
        }
    }
}
