//! Which samples are refused, item by item (contracts/prometheus.md 2.4; decisions 9, 14, 16, 17).

use super::delta;
use super::registry::{Newest, NewestSamples, Registry};
use crate::metrics::rows::{MetricRows, Sample, Value};
use crate::metrics::spec::Config;
use crate::model::Reason;
use crate::model::time::MILLI;
use crate::storage::Refusals;
use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

/// What is decided of one sample.
enum Verdict {
    /// The newest of its series now.
    Newer,
    /// Within the out-of-order window.
    Older,
    /// Already there.
    Same,
}

/// Why a sample is refused, and with it its item.
struct Refused {
    item: u32,
    /// Position of its series.
    series: usize,
    reason: Reason,
    message: String,
}

/// Removes from `rows` the items that are refused, and the samples and exemplars that are already there.
pub fn admit(registry: &Registry, config: &Config, now: i64, rows: &mut MetricRows, refusals: &mut Refusals) {
    let bounds = Bounds::new(config, now);
    registry.with_newest(|newest| {
        let mut judge = Judge::new(&bounds, newest, rows, refusals);
        judge.samples();
        let Judge { drop, undo, sums, seen, .. } = judge;
        for (series, reference) in rows.series.iter_mut().zip(seen) {
            series.reference = reference;
        }
        // A sender at the limit would lose the series that it has, too.
        if rows.all_or_nothing && refusals.are_other_than(Reason::TooManySeries) {
            for (reference, before) in undo.into_iter().rev() {
                newest.restore(reference, before);
            }
            rows.clear();
            return;
        }
        for (at, start, value) in sums {
            rows.samples[at].start = start;
            rows.samples[at].value = value;
        }
        if !drop.is_empty() {
            let mut at = 0;
            rows.samples.retain(|_| {
                at += 1;
                !drop.contains(&(at - 1))
            });
        }
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
    /// References of the series, by their positions, as far as samples were judged.
    seen: Vec<Option<u32>>,
    /// What the newest samples were, by reference: only for requests that are stored as a whole or not.
    undo: Vec<(u32, Option<Newest>)>,
    /// Positions of delta samples, with the start and value of the sums that take their place.
    sums: Vec<(usize, i64, Value)>,
}

impl<'a, 'b> Judge<'a, 'b> {
    fn new(bounds: &'a Bounds, newest: &'a mut NewestSamples<'b>, rows: &'a MetricRows, refusals: &'a mut Refusals) -> Judge<'a, 'b> {
        let seen = vec![None; rows.series.len()];
        Judge { bounds, newest, rows, refusals, drop: HashSet::new(), seen, undo: Vec::new(), sums: Vec::new() }
    }

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
    fn item(&mut self, range: Range<usize>) {
        if range.len() == 1 {
            // What almost all items are.
            match self.judge(range.start) {
                Ok(verdict) => self.accept(range.start, verdict),
                Err(refused) => self.refuse(range, refused),
            }
            return;
        }
        let verdicts: Result<Vec<Verdict>, Refused> = range.clone().map(|at| self.judge(at)).collect();
        match verdicts {
            Ok(verdicts) => range.zip(verdicts).for_each(|(at, verdict)| self.accept(at, verdict)),
            Err(refused) => self.refuse(range, refused),
        }
    }

    fn judge(&mut self, at: usize) -> Result<Verdict, Refused> {
        let sample = &self.rows.samples[at];
        let position = sample.series as usize;
        let series = &self.rows.series[position];
        let found = self.seen[position].map_or_else(|| self.newest.find(series), |seen| Ok(Some(seen)));
        let judged = match found {
            Ok(reference) => {
                self.seen[position] = reference;
                match reference.and_then(|r| self.newest.get(r)) {
                    None if let Some(max) = self.newest.refuses(series) => Err(too_many_series(max)),
                    newest => self.bounds.judge(sample, newest),
                }
            }
            Err(other) => Err((Reason::IdCollision, format!("series {} has the same id as {other}", series.labels))),
        };
        judged.map_err(|(reason, message)| Refused { item: sample.item, series: position, reason, message })
    }

    fn refuse(&mut self, range: Range<usize>, refused: Refused) {
        let Refused { item, series, reason, message } = refused;
        refuse(self.rows, self.refusals, item, reason, || format!("{message} for series {}", self.rows.series[series].labels));
        self.drop.extend(range);
    }

    fn accept(&mut self, at: usize, verdict: Verdict) {
        match verdict {
            Verdict::Newer => self.advance(at),
            Verdict::Same => {
                self.drop.insert(at);
            }
            Verdict::Older => {}
        }
    }

    fn advance(&mut self, at: usize) {
        let sample = &self.rows.samples[at];
        let position = sample.series as usize;
        let reference = self.seen[position];
        let before = reference.and_then(|r| self.newest.get(r));
        let undo = self.rows.all_or_nothing.then(|| before.cloned());
        let newest = if sample.delta {
            let (start, value) = delta::sum(before, sample);
            self.sums.push((at, start, value.clone()));
            Newest { ts: sample.ts, start, value }
        } else {
            Newest { ts: sample.ts, start: sample.start, value: sample.value.clone() }
        };
        let reference = self.newest.set(reference, &self.rows.series[position], newest, self.bounds.now);
        self.seen[position] = Some(reference);
        self.undo.extend(undo.map(|before| (reference, before)));
    }
}

/// Makes the sums of rows that were accepted before a restart: what [`admit`] did with them, without judging.
pub fn replay_sums(registry: &Registry, now: i64, rows: &mut MetricRows) {
    registry.with_newest(|newest| {
        for sample in &mut rows.samples {
            let series = &rows.series[sample.series as usize];
            let Ok(reference) = newest.find(series) else { continue };
            let before = reference.and_then(|r| newest.get(r));
            if before.is_some_and(|b| b.ts >= sample.ts) {
                continue;
            }
            if sample.delta {
                (sample.start, sample.value) = delta::sum(before, sample);
            }
            newest.set(reference, series, Newest { ts: sample.ts, start: sample.start, value: sample.value.clone() }, now);
        }
    });
}

/// Mimir's words (contracts/prometheus.md 1.7): people search for its ids.
fn too_many_series(max: u64) -> (Reason, String) {
    let message = format!(
        "per-user series limit of {max} exceeded (err-mimir-max-series-per-user). To adjust the related per-tenant limit, \
         configure --tenant-series, or contact your service administrator"
    );
    (Reason::TooManySeries, message)
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
        let known = newest.find(series).ok().flatten().filter(|r| newest.get(*r).is_some());
        let (item, new) = (exemplar.item, &exemplar.exemplar);
        let Some(reference) = known.filter(|_| bounds.contains(new.ts) && !exemplar.of.is_some_and(|of| refusals.contains(of))) else {
            refusals.pass_over(item, Reason::OutOfOrder);
            continue;
        };
        match newest.exemplar(reference) {
            Some(last) if last == new => {}
            Some(last) if (new.ts, new.value) < (last.ts, last.value) => {
                refuse(rows, refusals, item, Reason::OutOfOrder, || format!("out of order exemplar for series {}", series.labels));
            }
            _ => {
                newest.set_exemplar(reference, new);
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

    fn judge(&self, sample: &Sample, newest: Option<&Newest>) -> Result<Verdict, (Reason, String)> {
        let refused = |reason, message: &str| Err((reason, message.to_owned()));
        if sample.ts > self.latest {
            return refused(Reason::TooFarAhead, "out of bounds: sample is too far in the future");
        }
        if sample.ts < self.oldest {
            return refused(Reason::TooOld, "out of bounds: sample is older than the retention");
        }
        let Some(newest) = newest else { return Ok(Verdict::Newer) };
        if sample.ts > newest.ts {
            return Ok(Verdict::Newer);
        }
        if sample.delta {
            return refused(Reason::OutOfOrder, "out of order delta: its time is not after the newest sample");
        }
        if sample.ts == newest.ts {
            return match sample.value.same(&newest.value) {
                true => Ok(Verdict::Same),
                false => refused(Reason::Duplicate, "duplicate sample for timestamp"),
            };
        }
        if newest.ts.saturating_sub(sample.ts) <= self.window {
            return Ok(Verdict::Older);
        }
        refused(Reason::OutOfOrder, if self.window == 0 { "out of order sample" } else { "too old sample" })
    }
}
