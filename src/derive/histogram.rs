//! A classic histogram of seconds, with the latest span of each bucket.

use crate::model::TraceId;

/// Upper bounds of the buckets and how `le` writes them; `+Inf` follows.
pub struct Bounds {
    pub seconds: &'static [f64],
    pub le: &'static [&'static str],
}

/// 0.002 · 2ⁿ.
pub static SPAN_BOUNDS: Bounds = Bounds {
    seconds: &[0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384],
    le: &[
        "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512", "1.024", "2.048", "4.096", "8.192", "16.384",
        "+Inf",
    ],
};

/// 0.1 · 2ⁿ.
pub static EDGE_BOUNDS: Bounds =
    Bounds { seconds: &[0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8], le: &["0.1", "0.2", "0.4", "0.8", "1.6", "3.2", "6.4", "12.8", "+Inf"] };

pub struct Histogram {
    pub bounds: &'static Bounds,
    /// Not cumulative; the last is that of `+Inf`.
    counts: Box<[u64]>,
    latest: Box<[Option<(TraceId, f64)>]>,
    pub sum: f64,
}

impl Histogram {
    pub fn new(bounds: &'static Bounds) -> Histogram {
        let buckets = bounds.le.len();
        Histogram { bounds, counts: vec![0; buckets].into(), latest: vec![None; buckets].into(), sum: 0.0 }
    }

    /// Series that it is written as: its buckets, sum and count.
    pub const fn series(bounds: &Bounds) -> usize {
        bounds.le.len() + 2
    }

    pub fn observe(&mut self, seconds: f64, trace_id: TraceId) {
        let bucket = self.bounds.seconds.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.latest[bucket] = Some((trace_id, seconds));
        self.sum += seconds;
    }

    /// For each `le` the spans up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.bounds.le.iter().zip(&self.counts).scan(0, |sum, (le, count)| {
            *sum += count;
            Some((*le, *sum))
        })
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The latest span of each bucket since this was last asked.
    pub fn take_latest(&mut self) -> Vec<Option<(TraceId, f64)>> {
        self.latest.iter_mut().map(Option::take).collect()
    }
}
