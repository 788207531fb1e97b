//! Native histograms as floats: exponential (schema -4 to 8) and with custom bounds (schema -53).
//! Source of all rules: contracts/prometheus.md 0 and 4.3 to 4.5.

mod arithmetic;
mod bounds;
mod quantile;
mod reset;
mod sum;
mod text;
mod trim;

pub use arithmetic::{Incompatible, Notes};
pub use quantile::NanNote;
pub use sum::sum;

use bounds::exponential_bound;
use std::sync::Arc;

/// Schema of histograms whose bounds are listed one by one.
pub const CUSTOM_SCHEMA: i32 = -53;
/// Exponential schemas that are stored and computed with.
pub const SCHEMA_MIN: i32 = -4;
pub const SCHEMA_MAX: i32 = 8;

/// What is known about a reset between a histogram and the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetHint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    /// Not a counter at all.
    Gauge,
}

/// Buckets of one sign as (index, count), ascending by index. A bucket that is not listed is empty.
pub type Buckets = Vec<(i32, f64)>;

/// A float histogram. Exponential bucket `i` covers `(base^(i-1), base^i]` with base `2^(2^-schema)`; custom bucket `i`
/// covers `(custom[i-1], custom[i]]`, the first from -Inf, and one more up to +Inf.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    pub hint: ResetHint,
    pub schema: i32,
    /// Width of the closed zero bucket on either side of 0.
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive: Buckets,
    pub negative: Buckets,
    /// Upper bounds, ascending, for the custom schema only.
    pub custom: Arc<[f64]>,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: 0.0,
            count: 0.0,
            sum: 0.0,
            positive: Vec::new(),
            negative: Vec::new(),
            custom: Arc::from([]),
        }
    }
}

/// One bucket with its bounds. `lower_closed` and `upper_closed` say which of them belong to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub count: f64,
    pub lower_closed: bool,
    pub upper_closed: bool,
}

impl Histogram {
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// A histogram whose sum is the staleness marker ends its series for the time being.
    pub fn is_stale(&self) -> bool {
        self.sum.to_bits() == super::STALE_NAN
    }

    /// What it counts against a query's sample budget: `(176 + 8 * (spans + buckets + custom bounds)) / 16`.
    pub fn budget_samples(&self) -> u64 {
        let numbers = spans(&self.positive) + spans(&self.negative) + self.positive.len() + self.negative.len() + self.custom.len();
        (176 + 8 * numbers as u64) / 16
    }

    pub fn heap_bytes(&self) -> usize {
        12 * (self.positive.len() + self.negative.len()) + 8 * self.custom.len() + 160
    }

    /// Upper bound of bucket `index` of the positive side.
    fn upper_bound(&self, index: i32) -> f64 {
        if self.is_custom() {
            let at = usize::try_from(index).unwrap_or(0);
            return self.custom.get(at).copied().unwrap_or(f64::INFINITY);
        }
        exponential_bound(self.schema, index)
    }

    fn lower_bound(&self, index: i32) -> f64 {
        if self.is_custom() && index <= 0 { f64::NEG_INFINITY } else { self.upper_bound(index.saturating_sub(1)) }
    }

    fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let first_custom = self.is_custom() && index <= 0;
        Bucket { lower: self.lower_bound(index), upper: self.upper_bound(index), count, lower_closed: first_custom, upper_closed: true }
    }

    fn negative_bucket(&self, bucket: (i32, f64)) -> Bucket {
        let mirrored = self.positive_bucket(bucket);
        Bucket { lower: -mirrored.upper, upper: -mirrored.lower, lower_closed: true, upper_closed: false, ..mirrored }
    }

    /// Populated buckets from the most negative to the most positive, the zero bucket among them.
    pub fn buckets(&self) -> Vec<Bucket> {
        let mut all = Vec::with_capacity(self.positive.len() + self.negative.len() + 1);
        all.extend(self.negative.iter().rev().map(|b| self.negative_bucket(*b)));
        if !self.is_custom() {
            let (lower, upper) = (-self.zero_threshold, self.zero_threshold);
            all.push(Bucket { lower, upper, count: self.zero_count, lower_closed: true, upper_closed: true });
        }
        all.extend(self.positive.iter().map(|b| self.positive_bucket(*b)));
        all.retain(|b| b.count != 0.0);
        all
    }

    /// Removes empty buckets: two histograms with the same contents then have the same buckets.
    pub fn compact(&mut self) {
        self.positive.retain(|(_, count)| *count != 0.0);
        self.negative.retain(|(_, count)| *count != 0.0);
    }

    /// Equal but for the reset hint and empty buckets.
    pub fn same_observations(&self, other: &Histogram) -> bool {
        let bare = |h: &Histogram| {
            let mut bare = Histogram { hint: ResetHint::Unknown, ..h.clone() };
            bare.compact();
            bare
        };
        bare(self) == bare(other)
    }

    /// Merges buckets so that the schema becomes `schema`, which must be exponential and not finer.
    pub fn reduce(&mut self, schema: i32) {
        let shift = u32::try_from(self.schema - schema).unwrap_or(0);
        if shift > 0 && !self.is_custom() {
            reduce_buckets(&mut self.positive, shift);
            reduce_buckets(&mut self.negative, shift);
            self.schema = schema;
        }
    }
}

fn reduce_buckets(buckets: &mut Buckets, shift: u32) {
    let mut merged: Buckets = Vec::with_capacity(buckets.len());
    for (index, count) in buckets.drain(..) {
        let index = (index.saturating_sub(1) >> shift.min(31)) + 1;
        match merged.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => merged.push((index, count)),
        }
    }
    *buckets = merged;
}

/// Runs of consecutive indexes, ascending: the spans of the wire format, each as (how many indexes lie between the run before, or
/// 0, and it; its length).
pub(super) fn runs(indexes: &[i32]) -> impl Iterator<Item = (i64, usize)> + '_ {
    let mut next = 0i64;
    indexes.chunk_by(|a, b| a.checked_add(1) == Some(*b)).map(move |run| {
        let first = run.first().map_or(0, |index| i64::from(*index));
        let gap = first - next;
        next = first + run.len() as i64;
        (gap, run.len())
    })
}

fn spans(buckets: &Buckets) -> usize {
    buckets.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0)).count()
}

#[cfg(test)]
mod tests;
