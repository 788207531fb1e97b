use std::time::{Duration, Instant};

/// How often long work says how far it is.
const EVERY: Duration = Duration::from_secs(2);

/// When long work says how far it is, and how long it will take.
pub struct Pace {
    started: Instant,
    said: Instant,
}

/// How quickly work goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// What `done` counts, a second.
    pub per_second: f64,
    /// Until all of it is done, if it goes on like this.
    pub left: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        let now = Instant::now();
        Pace { started: now, said: now }
    }
}

impl Pace {
    /// The rate, if it is time to say it again.
    pub fn due(&mut self, done: u64, of: u64) -> Option<Rate> {
        if self.said.elapsed() < EVERY {
            return None;
        }
        self.said = Instant::now();
        Some(rate(done, of, self.started.elapsed()))
    }
}

fn rate(done: u64, of: u64, taken: Duration) -> Rate {
    let per_second = done as f64 / taken.as_secs_f64().max(0.001);
    let left = of.saturating_sub(done) as f64 / per_second.max(0.001);
    // A day is as good as any longer time.
    Rate { per_second, left: Duration::from_secs_f64(left.min(86_400.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_is_done() {
        let half = rate(50, 100, Duration::from_secs(10));
        assert_eq!((half.per_second, half.left), (5.0, Duration::from_secs(10)));
        assert_eq!(rate(120, 100, Duration::from_secs(1)).left, Duration::ZERO);
        assert_eq!(rate(0, u64::MAX, Duration::ZERO).left, Duration::from_secs(86_400));
    }
}
