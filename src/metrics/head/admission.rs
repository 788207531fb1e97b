//! Which samples are refused, item by item (contracts/prometheus.md 2.4; decisions 9, 14, 16, 17).

use super::registry::{Newest, NewestSamples, Registry};
use crate::metrics::rows::{MetricRows, NO_ITEM, Sample};
use crate::metrics::spec::Config;
use crate::model::Reason;
use crate::model::time::MILLI;
use crate::storage::Refusals;
use std::collections::HashSet;
use std::time::Duration;

/// What is decided of one sample.
enum Verdict {
    /// The newest of its series now.
    Newer,
    /// Within the out-of-order window.
    Older,
    /// Already there.
    Same,
    Refused {
        reason: Reason,
        message: String,
    },
}

/// Removes from `rows` the items that are refused and the samples that are already there.
pub fn admit(registry: &Registry, config: &Config, now: i64, rows: &mut MetricRows, refusals: &mut Refusals) {
    let bounds = Bounds::new(config, now);
    let drop: HashSet<usize> = registry.with_newest(|newest| {
        let mut drop = HashSet::new();
        let mut from = 0;
        while from < rows.samples.len() {
            let item = rows.samples[from].item;
            let alone = item == NO_ITEM;
            let length = if alone { 1 } else { rows.samples[from..].iter().take_while(|s| s.item == item).count() };
            judge_item(&bounds, newest, rows, from..from + length, refusals, &mut drop);
            from += length;
        }
        drop
    });
    let mut at = 0;
    rows.samples.retain(|_| {
        at += 1;
        !drop.contains(&(at - 1))
    });
    let refused = refusals.indexes();
    rows.exemplars.retain(|e| refused.binary_search(&e.1).is_err());
}

/// All samples of an item are accepted, or none.
fn judge_item(
    bounds: &Bounds,
    newest: &mut NewestSamples<'_>,
    rows: &MetricRows,
    range: std::ops::Range<usize>,
    refusals: &mut Refusals,
    drop: &mut HashSet<usize>,
) {
    let mut verdicts = Vec::with_capacity(range.len());
    for sample in &rows.samples[range.clone()] {
        let series = &rows.series[sample.series as usize];
        let verdict = match newest.get(series) {
            Ok(newest) => bounds.judge(sample, newest),
            Err(other) => {
                Verdict::Refused { reason: Reason::IdCollision, message: format!("series {} has the same id as {other}", series.labels) }
            }
        };
        if let Verdict::Refused { reason, message } = verdict {
            if sample.item != NO_ITEM {
                refusals.refuse(sample.item, reason, || format!("{message} for series {}", series.labels));
            }
            drop.extend(range);
            return;
        }
        verdicts.push(verdict);
    }
    for (at, verdict) in range.zip(verdicts) {
        let sample = &rows.samples[at];
        match verdict {
            Verdict::Newer => newest.set(&rows.series[sample.series as usize], sample.ts, &sample.value, bounds.now),
            Verdict::Same => {
                drop.insert(at);
            }
            Verdict::Older | Verdict::Refused { .. } => {}
        }
    }
}

/// Times in milliseconds, but for `now`.
struct Bounds {
    now: i64,
    oldest: i64,
    latest: i64,
    window: i64,
}

impl Bounds {
    fn new(config: &Config, now: i64) -> Bounds {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let now_ms = now / MILLI;
        Bounds {
            now,
            oldest: config.retention.map_or(i64::MIN, |r| now_ms.saturating_sub(ms(r))),
            latest: now_ms.saturating_add(ms(config.future_max)),
            window: ms(config.out_of_order_window),
        }
    }

    fn judge(&self, sample: &Sample, newest: Option<&Newest>) -> Verdict {
        let refused = |reason, message: &str| Verdict::Refused { reason, message: message.to_owned() };
        if sample.ts > self.latest {
            return refused(Reason::TooFarAhead, "out of bounds: sample is too far in the future");
        }
        if sample.ts < self.oldest {
            return refused(Reason::TooOld, "out of bounds: sample is older than the retention");
        }
        let Some(newest) = newest else { return Verdict::Newer };
        if sample.ts > newest.ts {
            return Verdict::Newer;
        }
        if sample.ts == newest.ts {
            return match sample.value.same(&newest.value) {
                true => Verdict::Same,
                // Every `target_info` sample is 1, so only a data point can differ.
                false => refused(Reason::Duplicate, "duplicate sample for timestamp"),
            };
        }
        if newest.ts.saturating_sub(sample.ts) <= self.window {
            return Verdict::Older;
        }
        refused(Reason::OutOfOrder, if self.window == 0 { "out of order sample" } else { "too old sample" })
    }
}
