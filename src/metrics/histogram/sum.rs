//! Sums and means of many histograms, compensated number by number.

use super::{Buckets, Histogram, Incompatible, Notes, ResetHint};
use crate::metrics::kahan::KahanSum;
use std::collections::BTreeMap;

/// The sum, or the mean, of at least one histogram. The first pass finds the common layout, the second adds in it.
/// A mean whose sum would overflow is taken of shares.
pub fn sum<'a>(histograms: impl Iterator<Item = &'a Histogram> + Clone, mean: bool) -> Result<(Histogram, Notes), Incompatible> {
    let mut layout = histograms.clone().next().cloned().ok_or(Incompatible)?;
    let mut notes = Notes::default();
    for histogram in histograms.clone().skip(1) {
        notes.reconciled_bounds |= layout.add(histogram)?.reconciled_bounds;
    }
    let has = |hint: ResetHint| histograms.clone().any(|h| h.hint == hint);
    notes.conflicting_resets = has(ResetHint::Reset) && has(ResetHint::NotReset);
    let count = histograms.clone().count() as f64;
    let total = add_in(&layout, histograms.clone(), 1.0)?;
    if !mean {
        return Ok((total, notes));
    }
    if is_finite(&total) || !histograms.clone().all(is_finite) {
        let mut total = total;
        total.divide(count);
        return Ok((total, notes));
    }
    Ok((add_in(&layout, histograms, count)?, notes))
}

fn is_finite(histogram: &Histogram) -> bool {
    let buckets = histogram.positive.iter().chain(&histogram.negative).map(|b| b.1);
    buckets.chain([histogram.count, histogram.sum, histogram.zero_count]).all(f64::is_finite)
}

fn add_in<'a>(layout: &Histogram, histograms: impl Iterator<Item = &'a Histogram>, divisor: f64) -> Result<Histogram, Incompatible> {
    let mut numbers: [KahanSum; 3] = Default::default();
    let mut sides: [BTreeMap<i32, KahanSum>; 2] = Default::default();
    let frame = Histogram { positive: Vec::new(), negative: Vec::new(), ..layout.clone() };
    for histogram in histograms {
        let mut one = histogram.clone();
        frame.clone().to_common_layout(&mut one)?;
        for (sum, number) in numbers.iter_mut().zip([one.count, one.sum, one.zero_count]) {
            sum.add(number / divisor);
        }
        for (side, buckets) in sides.iter_mut().zip([&one.positive, &one.negative]) {
            for (index, count) in buckets {
                side.entry(*index).or_default().add(count / divisor);
            }
        }
    }
    let [positive, negative] = sides.map(|side| side.into_iter().map(|(index, sum)| (index, sum.value())).collect::<Buckets>());
    let [count, sum, zero_count] = numbers.map(|n| n.value());
    let mut total = Histogram { positive, negative, count, sum, zero_count, ..frame };
    total.compact();
    Ok(total)
}
