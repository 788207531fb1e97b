use super::{Histogram, ResetHint};

impl Histogram {
    /// Whether a counter was reset between `previous` and `self`: as the hint says, else if any count went down or the
    /// layout became finer (contracts/prometheus.md 4.5).
    pub fn is_reset_after(&self, previous: &Histogram) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.is_custom() != previous.is_custom() || self.count < previous.count {
            return true;
        }
        if !self.is_custom() && (self.schema > previous.schema || self.zero_threshold < previous.zero_threshold) {
            return true;
        }
        let mut now = self.clone();
        let mut before = previous.clone();
        let threshold = now.zero_threshold;
        if now.to_common_layout(&mut before).is_err() || now.zero_threshold != threshold {
            return true;
        }
        let shrank = |before: &[(i32, f64)], now: &[(i32, f64)]| {
            before.iter().any(|(index, count)| {
                let here = now.binary_search_by_key(index, |b| b.0).map_or(0.0, |at| now[at].1);
                here < *count
            })
        };
        now.zero_count < before.zero_count || shrank(&before.positive, &now.positive) || shrank(&before.negative, &now.negative)
    }
}
