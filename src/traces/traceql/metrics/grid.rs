use crate::model::time::SECOND;

/// Equal intervals of time, each open at its start and closed at its end, which stamps its sample. Nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Before the first interval.
    pub start: i64,
    pub step: i64,
    pub count: usize,
}

impl Grid {
    /// The intervals of a range query: whole multiples of the step that cover `[start, end]`, and one before. `step` is
    /// positive.
    pub fn range(start: i64, end: i64, step: i64) -> Grid {
        let floor = start.div_euclid(step).saturating_mul(step);
        let first = if floor > step { floor - step } else { floor };
        let last = end.saturating_add(step - 1).div_euclid(step).saturating_mul(step);
        Grid { start: first, step, count: usize::try_from((last - first) / step).unwrap_or(0) }
    }

    /// The one interval of an instant query.
    pub fn instant(start: i64, end: i64) -> Grid {
        Grid { start, step: end.saturating_sub(start).max(1), count: 1 }
    }

    /// No interval at all: no span lies in it.
    pub fn empty(at: i64) -> Grid {
        Grid { start: at, step: 1, count: 0 }
    }

    pub fn end(&self) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(self.count).unwrap_or(i64::MAX)))
    }

    /// The interval a time lies in.
    pub fn index(&self, t: i64) -> Option<usize> {
        if t <= self.start || t > self.end() {
            return None;
        }
        usize::try_from((t - self.start - 1) / self.step).ok()
    }

    /// [`Grid::index`] for many times, without a division: a range of a few days in nanoseconds is an exact float.
    pub fn locator(self) -> impl Fn(i64) -> Option<usize> {
        let (end, steps) = (self.end(), (self.step as f64).recip());
        move |t| {
            if t <= self.start || t > end {
                return None;
            }
            let since = t - self.start - 1;
            let near = (since as f64 * steps) as i64;
            let exact = if near.saturating_mul(self.step) > since { near - 1 } else { near };
            let exact = if exact.saturating_add(1).saturating_mul(self.step) <= since { exact + 1 } else { exact };
            usize::try_from(exact).ok()
        }
    }

    /// The time of a sample.
    pub fn stamp(&self, index: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX).saturating_add(1)))
    }

    pub fn step_seconds(&self) -> f64 {
        self.step as f64 / SECOND as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_on_multiples_of_the_step_and_intervals_are_closed_at_their_end() {
        let grid = Grid::range(1_700_000_007 * SECOND, 1_700_000_067 * SECOND, 15 * SECOND);
        let stamps: Vec<i64> = (0..grid.count).map(|i| grid.stamp(i) / SECOND - 1_700_000_000).collect();
        assert_eq!(stamps, [-5, 10, 25, 40, 55, 70]);
        let at = |s: i64| grid.index((1_700_000_000 + s) * SECOND);
        assert_eq!([at(-20), at(-19), at(-5), at(-4), at(10), at(70), at(71)], [None, Some(0), Some(0), Some(1), Some(1), Some(5), None]);
        let grid = Grid::range(101 * SECOND, 105 * SECOND, 2 * SECOND);
        assert_eq!((0..grid.count).map(|i| grid.stamp(i) / SECOND).collect::<Vec<_>>(), [100, 102, 104, 106]);
        let locate = grid.locator();
        for t in (99 * SECOND..107 * SECOND).step_by(99_999_999).flat_map(|t| [t - 1, t, t + 1]) {
            assert_eq!(locate(t), grid.index(t), "{t}");
        }
        let instant = Grid::instant(5, 10);
        assert_eq!((instant.index(5), instant.index(6), instant.index(10), instant.step), (None, Some(0), Some(0), 5));
    }
}
