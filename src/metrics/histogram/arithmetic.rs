//! Addition, subtraction and scaling, which first bring two layouts to a common one.

use super::{Buckets, Histogram, ResetHint};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Exponential and custom buckets cannot be brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incompatible;

/// What happened on the way to a common layout, for annotations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Notes {
    /// A reset met a histogram that was said not to be one.
    pub conflicting_resets: bool,
    /// Custom bounds differed, and only the shared ones were kept.
    pub reconciled_bounds: bool,
}

impl Histogram {
    /// `self += other`.
    pub fn add(&mut self, other: &Histogram) -> Result<Notes, Incompatible> {
        self.combine(other, 1.0)
    }

    /// `self -= other`.
    pub fn sub(&mut self, other: &Histogram) -> Result<Notes, Incompatible> {
        self.combine(other, -1.0)
    }

    fn combine(&mut self, other: &Histogram, sign: f64) -> Result<Notes, Incompatible> {
        let mut other = other.clone();
        let reconciled_bounds = self.to_common_layout(&mut other)?;
        let conflicting_resets = self.combine_hints(other.hint);
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        merge(&mut self.positive, &other.positive, sign);
        merge(&mut self.negative, &other.negative, sign);
        Ok(Notes { conflicting_resets, reconciled_bounds })
    }

    /// Whether the hints contradict each other.
    fn combine_hints(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let conflict = matches!((self.hint, other), (Reset, NotReset) | (NotReset, Reset));
        self.hint = match (self.hint, other) {
            (a, b) if a == b => a,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        conflict
    }

    /// Gives both the same schema, zero threshold and custom bounds. Returns whether custom bounds were dropped.
    pub fn to_common_layout(&mut self, other: &mut Histogram) -> Result<bool, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        if self.is_custom() {
            let differ = self.custom != other.custom;
            if differ {
                let shared: Arc<[f64]> = self.custom.iter().copied().filter(|b| other.custom.contains(b)).collect();
                self.keep_bounds(&shared);
                other.keep_bounds(&shared);
            }
            return Ok(differ);
        }
        let schema = self.schema.min(other.schema);
        self.widen_zero_bucket_like(other);
        self.reduce(schema);
        other.reduce(schema);
        Ok(false)
    }

    fn keep_bounds(&mut self, shared: &Arc<[f64]>) {
        let mut merged = BTreeMap::new();
        for (index, count) in &self.positive {
            let upper = self.upper_bound(*index);
            let at = shared.partition_point(|b| *b < upper);
            *merged.entry(i32::try_from(at).unwrap_or(i32::MAX)).or_insert(0.0) += count;
        }
        self.positive = merged.into_iter().collect();
        self.custom = shared.clone();
    }

    /// Both zero buckets become equally wide, and neither ends inside a populated bucket.
    fn widen_zero_bucket_like(&mut self, other: &mut Histogram) {
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold < other.zero_threshold {
                self.widen_zero_bucket(other.zero_threshold);
            } else {
                other.widen_zero_bucket(self.zero_threshold);
            }
        }
    }

    /// Takes into the zero bucket what lies within `threshold`, and the whole of a populated bucket it would cut.
    pub(super) fn widen_zero_bucket(&mut self, threshold: f64) {
        let mut threshold = threshold;
        for buckets in [&self.positive, &self.negative, &self.positive] {
            for (index, count) in buckets {
                let (lower, upper) = (self.lower_bound(*index), self.upper_bound(*index));
                if *count != 0.0 && lower < threshold && threshold < upper {
                    threshold = upper;
                }
            }
        }
        let within = |b: &(i32, f64)| self.upper_bound(b.0) <= threshold;
        let taken: f64 = self.positive.iter().chain(&self.negative).filter(|b| within(b)).map(|b| b.1).sum();
        let keep = |buckets: &Buckets| buckets.iter().filter(|b| !within(b)).copied().collect();
        let (positive, negative) = (keep(&self.positive), keep(&self.negative));
        (self.positive, self.negative) = (positive, negative);
        self.zero_count += taken;
        self.zero_threshold = threshold;
    }

    /// All counts and the sum times `factor`. A negative factor makes a gauge of it.
    pub fn scale(&mut self, factor: f64) {
        self.each_number(|n| n * factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// All counts and the sum divided by `divisor`. Division by zero leaves no buckets.
    pub fn divide(&mut self, divisor: f64) {
        self.each_number(|n| n / divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn each_number(&mut self, change: impl Fn(f64) -> f64) {
        self.zero_count = change(self.zero_count);
        self.count = change(self.count);
        self.sum = change(self.sum);
        for (_, count) in self.positive.iter_mut().chain(&mut self.negative) {
            *count = change(*count);
        }
    }
}

fn merge(into: &mut Buckets, from: &Buckets, sign: f64) {
    let mut merged = Vec::with_capacity(into.len() + from.len());
    let (mut a, mut b) = (into.iter().peekable(), from.iter().peekable());
    loop {
        match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 == y.0 => {
                merged.push((x.0, x.1 + sign * y.1));
                a.next();
                b.next();
            }
            (Some(x), y) if y.is_none_or(|y| x.0 < y.0) => {
                merged.push(**x);
                a.next();
            }
            (_, Some(y)) => {
                merged.push((y.0, sign * y.1));
                b.next();
            }
            (_, None) => break,
        }
    }
    *into = merged;
}
