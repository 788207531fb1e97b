//! Deletes of series: a tombstone's selector is a PromQL selector, and hides the samples of matching series in its times.

use super::series::{SeriesRow, SeriesTable};
use crate::metrics::promql::{Interval, parse_selector};
use crate::model::time::MILLI;
use crate::model::{Labels, Matcher};
use crate::storage::Tombstone;
use crate::storage::block::Block;
use std::sync::Arc;

/// The matchers of a selector; `None` if it cannot be read, which the API has excluded.
struct Selected(Option<Vec<Matcher>>);

/// One delete, as it concerns series.
pub struct Eraser {
    matchers: Arc<Selected>,
    /// Milliseconds since the epoch, both inclusive.
    hidden: Interval,
}

impl Eraser {
    pub fn new(tombstone: &Tombstone) -> Eraser {
        let matchers = tombstone.compiled(|selector| {
            let parsed = parse_selector(selector);
            if let Err(error) = &parsed {
                tracing::error!(selector, error = error.render(selector), "a delete that cannot be read hides nothing");
            }
            Selected(parsed.ok().map(|s| s.matchers))
        });
        // A sample's time is a whole millisecond.
        let from = tombstone.min_time.div_euclid(MILLI) + i64::from(tombstone.min_time.rem_euclid(MILLI) != 0);
        Eraser { matchers, hidden: Interval { from, to: tombstone.max_time.div_euclid(MILLI) } }
    }

    fn selects(&self, labels: &Labels) -> bool {
        self.matchers.0.as_ref().is_some_and(|m| m.iter().all(|m| m.matches(labels.value(&m.name))))
    }
}

/// The times that are hidden of one series, by all deletes that hit the block.
#[derive(Default)]
pub struct Hidden(Vec<Interval>);

impl Hidden {
    pub fn of(erasers: &[Eraser], labels: &Labels) -> Hidden {
        Hidden(erasers.iter().filter(|e| e.selects(labels)).map(|e| e.hidden).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn hides(&self, ts: i64) -> bool {
        self.0.iter().any(|hidden| hidden.contains(ts))
    }

    /// Whether one delete hides all of what a series has within the interval.
    pub fn hides_all(&self, row: &SeriesRow, interval: Interval) -> bool {
        let (from, to) = (row.min_ts.max(interval.from), row.max_ts.min(interval.to));
        self.0.iter().any(|hidden| hidden.from <= from && to <= hidden.to)
    }
}

/// Whether the block has a series that the tombstone selects, with samples in its times. A block that cannot be read may.
pub fn may_erase(tombstone: &Tombstone, block: &Arc<Block>) -> bool {
    let Ok(table) = SeriesTable::of(block) else { return true };
    let eraser = Eraser::new(tombstone);
    table.rows.iter().any(|row| eraser.hidden.overlaps(row.min_ts, row.max_ts) && eraser.selects(&row.labels))
}
