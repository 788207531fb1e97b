//! Spans that came a moment ago, so that one that is sent again is not counted again.

use crate::model::time::SECOND;
use std::collections::HashSet;

/// How long a span is remembered at least, unless there are too many: those that ended longer ago are not counted anyway.
const REMEMBERED: i64 = 30 * SECOND;

/// Spans of one stretch of [`REMEMBERED`]; beyond that many, the older half is forgotten. Two stretches of 8-byte hashes
/// are at most 20 MB.
const STRETCH_MAX: usize = 1 << 19;

#[derive(Default)]
pub struct Recent {
    now: HashSet<u64>,
    before: HashSet<u64>,
    began: i64,
}

impl Recent {
    /// Whether `hash` is new. `now` in nanoseconds.
    pub fn insert(&mut self, hash: u64, now: i64) -> bool {
        if now.saturating_sub(self.began) > REMEMBERED || self.now.len() >= STRETCH_MAX {
            self.before = std::mem::take(&mut self.now);
            self.began = now;
        }
        !self.before.contains(&hash) && self.now.insert(hash)
    }

    /// Gives memory back when nothing comes any more.
    pub fn forget_old(&mut self, now: i64) {
        if now.saturating_sub(self.began) > 2 * REMEMBERED {
            *self = Recent { began: now, ..Recent::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_remembered_for_half_a_minute_and_memory_is_bounded() {
        let mut recent = Recent::default();
        assert!(recent.insert(7, 100 * SECOND));
        assert!(!recent.insert(7, 130 * SECOND));
        assert!(!recent.insert(7, 131 * SECOND));
        assert!(recent.insert(8, 162 * SECOND));
        assert!(recent.insert(7, 162 * SECOND));
        for hash in 0..3 * STRETCH_MAX as u64 {
            recent.insert(hash << 8, 163 * SECOND);
        }
        assert!(recent.now.len() <= STRETCH_MAX && recent.before.len() <= STRETCH_MAX);
        recent.forget_old(300 * SECOND);
        assert_eq!(recent.now.capacity(), 0);
    }
}
