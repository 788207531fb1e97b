//! Whether the bucket answers. While it does not, queries leave out what only the bucket has and say so, instead of each
//! waiting for it in turn.

use super::bucket::BucketError;
use crate::telemetry::BucketMetrics;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How long after a failure nobody tries again.
const PAUSE: Duration = Duration::from_secs(5);

struct Down {
    since: Instant,
    last: Instant,
    why: String,
}

pub struct Health {
    down: Mutex<Option<Down>>,
    metrics: BucketMetrics,
}

impl Health {
    pub fn new(metrics: BucketMetrics) -> Health {
        metrics.up(true);
        Health { down: Mutex::default(), metrics }
    }

    pub fn answered(&self) {
        if let Some(down) = self.down.lock().take() {
            tracing::info!(down_s = down.since.elapsed().as_secs(), "the bucket answers again");
            self.metrics.up(true);
        }
    }

    /// Only a bucket that does not answer, or refuses everything, is down; one object that is missing says nothing.
    pub fn failed(&self, error: &BucketError) {
        if !matches!(error, BucketError::Unavailable(_) | BucketError::Refused(_)) {
            return;
        }
        let now = Instant::now();
        let mut down = self.down.lock();
        match &mut *down {
            Some(down) => (down.last, down.why) = (now, error.to_string()),
            none => {
                tracing::error!(%error, "queries go without what only the bucket has");
                self.metrics.up(false);
                *none = Some(Down { since: now, last: now, why: error.to_string() });
            }
        }
    }

    /// An error while the last failure is too fresh for another try.
    pub fn may_try(&self) -> Result<(), BucketError> {
        match &*self.down.lock() {
            Some(down) if down.last.elapsed() < PAUSE => Err(BucketError::Unavailable(down.why.clone())),
            _ => Ok(()),
        }
    }

    pub fn is_down(&self) -> bool {
        self.down.lock().is_some()
    }
}
