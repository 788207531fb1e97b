//! Which samples are refused, item by item (contracts/prometheus.md 2.4; decisions 9, 14, 16, 17).

use super::delta;
use super::registry::{Newest, NewestSamples, Registry};
use crate::metrics::rows::{MetricRows, Sample, Value};
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

/// Removes from `rows` the items that are refused, and the samples and exemplars that are already there.
pub fn admit(registry: &Registry, config: &Config, now: i64, rows: &mut MetricRows, refusals: &mut Refusals) {
    let bounds = Bounds::new(config, now);
    registry.with_newest(|newest| {
        let mut judge = Judge { bounds: &bounds, newest, rows, refusals, drop: HashSet::new(), undo: Vec::new(), sums: Vec::new() };
        judge.samples();
        let (drop, undo, sums) = (judge.drop, judge.undo, judge.sums);
        // A sender at the limit would lose the series that it has, too.
        if rows.all_or_nothing && refusals.are_other_than(Reason::TooManySeries) {
            for (series, before) in undo.into_iter().rev() {
                newest.restore(&rows.series[series as usize], before);
            }
            rows.clear();
            return;
        }
        for (at, start, value) in sums {
            rows.samples[at].start = start;
            rows.samples[at].value = value;
        }
        let mut at = 0;
        rows.samples.retain(|_| {
            at += 1;
            !drop.contains(&(at - 1))
        });
        exemplars(&bounds, newest, rows, refusals);
    });
}

/// Decides about the samples of one request.
struct Judge<'a, 'b> {
    bounds: &'a Bounds,
    newest: &'a mut NewestSamples<'b>,
    rows: &'a MetricRows,
    refusals: &'a mut Refusals,
    /// Positions of samples that are not to be stored.
    drop: HashSet<usize>,
    /// What the newest samples were, by position of the series: only for requests that are stored as a whole or not.
    undo: Vec<(u32, Option<Newest>)>,
    /// Positions of delta samples, with the start and value of the sums that take their place.
    sums: Vec<(usize, i64, Value)>,
}

impl Judge<'_, '_> {
    fn samples(&mut self) {
        let samples = &self.rows.samples;
        let mut from = 0;
        while from < samples.len() {
            let item = samples[from].item;
            let length = samples[from..].iter().take_while(|s| s.item == item).count();
            self.item(from..from + length);
            from += length;
        }
    }

    /// All samples of an item are accepted, or none.
    fn item(&mut self, range: std::ops::Range<usize>) {
        let mut verdicts = Vec::with_capacity(range.len());
        for sample in &self.rows.samples[range.clone()] {
            let series = &self.rows.series[sample.series as usize];
            let verdict = match self.newest.get(series) {
                Ok(None) if let Some(max) = self.newest.refuses(series) => too_many_series(max),
                Ok(newest) => self.bounds.judge(sample, newest),
                Err(other) => Verdict::Refused {
                    reason: Reason::IdCollision,
                    message: format!("series {} has the same id as {other}", series.labels),
                },
            };
            if let Verdict::Refused { reason, message } = verdict {
                refuse(self.rows, self.refusals, sample.item, reason, || format!("{message} for series {}", series.labels));
                self.drop.extend(range);
                return;
            }
            verdicts.push(verdict);
        }
        for (at, verdict) in range.zip(verdicts) {
            let sample = &self.rows.samples[at];
            match verdict {
                Verdict::Newer => self.advance(at, sample),
                Verdict::Same => {
                    self.drop.insert(at);
                }
                Verdict::Older | Verdict::Refused { .. } => {}
            }
        }
    }

    fn advance(&mut self, at: usize, sample: &Sample) {
        let series = &self.rows.series[sample.series as usize];
        let before = self.newest.get(series).ok().flatten();
        if self.rows.all_or_nothing {
            self.undo.push((sample.series, before.cloned()));
        }
        let newest = if sample.delta {
            let (start, value) = delta::sum(before, sample);
            self.sums.push((at, start, value.clone()));
            Newest { ts: sample.ts, start, value }
        } else {
            Newest { ts: sample.ts, start: sample.start, value: sample.value.clone() }
        };
        self.newest.set(series, newest, self.bounds.now);
    }
}

/// Makes the sums of rows that were accepted before a restart: what [`admit`] did with them, without judging.
pub fn replay_sums(registry: &Registry, now: i64, rows: &mut MetricRows) {
    registry.with_newest(|newest| {
        for sample in &mut rows.samples {
            let series = &rows.series[sample.series as usize];
            let Ok(before) = newest.get(series) else { continue };
            if before.is_some_and(|b| b.ts >= sample.ts) {
                continue;
            }
            if sample.delta {
                (sample.start, sample.value) = delta::sum(before, sample);
            }
            newest.set(series, Newest { ts: sample.ts, start: sample.start, value: sample.value.clone() }, now);
        }
    });
}

/// Mimir's words (contracts/prometheus.md 1.7): people search for its ids.
fn too_many_series(max: u64) -> Verdict {
    let message = format!(
        "per-user series limit of {max} exceeded (err-mimir-max-series-per-user). To adjust the related per-tenant limit, \
         configure --tenant-series, or contact your service administrator"
    );
    Verdict::Refused { reason: Reason::TooManySeries, message }
}

/// Tells the sender, unless the item is one whose refusal is not told.
fn refuse(rows: &MetricRows, refusals: &mut Refusals, item: u32, reason: Reason, message: impl FnOnce() -> String) {
    if rows.is_told(item) {
        refusals.refuse(item, reason, message);
    } else {
        refusals.pass_over(item, reason);
    }
}

/// Removes exemplars that are refused, that are the same as the newest one, or whose series has no sample; a series takes
/// its exemplars in order of time.
fn exemplars(bounds: &Bounds, newest: &mut NewestSamples<'_>, rows: &mut MetricRows, refusals: &mut Refusals) {
    let exemplars = std::mem::take(&mut rows.exemplars);
    for exemplar in exemplars {
        let series = &rows.series[exemplar.series as usize];
        let known = newest.get(series).is_ok_and(|n| n.is_some());
        let (item, new) = (exemplar.item, &exemplar.exemplar);
        if !known || !bounds.contains(new.ts) || exemplar.of.is_some_and(|of| refusals.contains(of)) {
            refusals.pass_over(item, Reason::OutOfOrder);
            continue;
        }
        match newest.exemplar(series) {
            Some(last) if last == new => {}
            Some(last) if (new.ts, new.value) < (last.ts, last.value) => {
                refuse(rows, refusals, item, Reason::OutOfOrder, || format!("out of order exemplar for series {}", series.labels));
            }
            _ => {
                newest.set_exemplar(series, new);
                rows.exemplars.push(exemplar);
            }
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

    fn contains(&self, ts: i64) -> bool {
        (self.oldest..=self.latest).contains(&ts)
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
        if sample.delta {
            return refused(Reason::OutOfOrder, "out of order delta: its time is not after the newest sample");
        }
        if sample.ts == newest.ts {
            return match sample.value.same(&newest.value) {
                true => Verdict::Same,
                false => refused(Reason::Duplicate, "duplicate sample for timestamp"),
            };
        }
        if newest.ts.saturating_sub(sample.ts) <= self.window {
            return Verdict::Older;
        }
        refused(Reason::OutOfOrder, if self.window == 0 { "out of order sample" } else { "too old sample" })
    }
}
