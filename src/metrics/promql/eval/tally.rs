//! Aggregations that take one series after the other, with what they know of each step: bit for bit what they give if all
//! values of a step are taken together, without a jump in memory from value to value, and without all series at hand.

use super::series::ABSENT;
use super::{Series, is_absent};
use crate::metrics::kahan::KahanSum;
use crate::metrics::promql::ast::AggregateOp;

/// What is known of a group at each step once some of its members were added, in their order.
pub struct Tally {
    op: AggregateOp,
    /// Values so far: how many, or the least, or the greatest.
    values: Vec<f64>,
    sums: Vec<KahanSum>,
    /// Whether a value was infinite.
    infinite: Vec<bool>,
    /// Means, and sums of squared differences from them.
    moments: Vec<(f64, f64)>,
    /// Whether there were histograms that do not count.
    pub ignored_histograms: bool,
}

impl Tally {
    /// `None` if the aggregation must see all values of a step together.
    pub fn new(op: AggregateOp, steps: usize) -> Option<Tally> {
        use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
        if !matches!(op, Sum | Avg | Count | Group | Min | Max | Stddev | Stdvar) {
            return None;
        }
        let only = |wanted: bool| if wanted { steps } else { 0 };
        Some(Tally {
            op,
            values: vec![ABSENT; steps],
            sums: vec![KahanSum::default(); only(matches!(op, Sum | Avg))],
            infinite: vec![false; only(op == Avg)],
            moments: vec![(0.0, 0.0); only(matches!(op, Stddev | Stdvar))],
            ignored_histograms: false,
        })
    }

    /// Memory it takes.
    pub fn bytes(&self) -> u64 {
        (8 * self.values.len() + 16 * self.sums.len() + self.infinite.len() + 16 * self.moments.len()) as u64
    }

    /// False if its histograms must be seen together with all others.
    pub fn add(&mut self, series: &Series) -> bool {
        let has_histograms = series.histograms.iter().any(Option::is_some);
        match self.op {
            AggregateOp::Sum | AggregateOp::Avg if has_histograms => return false,
            AggregateOp::Count | AggregateOp::Group => {
                for (count, _) in self.values.iter_mut().zip(&series.histograms).filter(|(_, h)| h.is_some()) {
                    *count = next(*count);
                }
            }
            _ => self.ignored_histograms |= has_histograms,
        }
        let present = self.values.iter_mut().zip(&series.values).enumerate().filter(|(_, (_, v))| !is_absent(**v));
        match self.op {
            AggregateOp::Sum => present.for_each(|(step, (count, value))| {
                *count = 1.0;
                self.sums[step].add(*value);
            }),
            AggregateOp::Avg => present.for_each(|(step, (count, value))| {
                *count = next(*count);
                self.sums[step].add(*value);
                self.infinite[step] |= value.is_infinite();
            }),
            // ABSENT is a NaN, so that the first value always takes its place.
            AggregateOp::Min => present.filter(|(_, (least, v))| least.is_nan() || **v < **least).for_each(|(_, (least, v))| *least = *v),
            AggregateOp::Max => present.filter(|(_, (most, v))| most.is_nan() || **v > **most).for_each(|(_, (most, v))| *most = *v),
            AggregateOp::Stddev | AggregateOp::Stdvar => present.for_each(|(step, (count, value))| {
                *count = next(*count);
                let (mean, total) = &mut self.moments[step];
                let delta = value - *mean;
                *mean += delta / *count;
                *total += delta * (value - *mean);
            }),
            _ => present.for_each(|(_, (count, _))| *count = next(*count)),
        }
        true
    }

    /// The value at each step. `None` if the mean of a step overflows and must be taken of shares.
    pub fn finish(self) -> Option<Vec<f64>> {
        let mut values = self.values;
        for (step, value) in values.iter_mut().enumerate().filter(|(_, v)| !is_absent(**v)) {
            let count = *value;
            *value = match self.op {
                AggregateOp::Sum => self.sums[step].value(),
                AggregateOp::Avg if self.sums[step].overflowed() && !self.infinite[step] => return None,
                AggregateOp::Avg => self.sums[step].value() / count,
                AggregateOp::Stdvar => self.moments[step].1 / count,
                AggregateOp::Stddev => (self.moments[step].1 / count).sqrt(),
                AggregateOp::Group => 1.0,
                _ => count,
            };
        }
        Some(values)
    }
}

fn next(count: f64) -> f64 {
    if is_absent(count) { 1.0 } else { count + 1.0 }
}
