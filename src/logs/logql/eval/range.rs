use super::metric::Steps;
use super::samples::{Samples, SeriesSet};
use super::scan::{Entries, fold_entries};
use super::{Engine, Series, Stats};
use crate::logs::logql::ast::{RangeAggregation, RangeOp};
use crate::logs::logql::pipeline::{Entry, Hints, LabelSet, Pipeline};
use crate::model::{Labels, MatchOp, Matcher, TimeRange};
use crate::query::{Context, Grouping, QueryError};

/// Memory of one point of a result.
const POINT_BYTES: u64 = 16;

/// Evaluates `op({…}[range])` at every step. A window is `(t - range - offset, t - offset]`. With `sum`, series are
/// summed by that grouping, which is right for operators that add up.
pub fn run(
    engine: &Engine<'_>,
    aggregation: &RangeAggregation,
    steps: &Steps,
    sum: Option<&Grouping>,
    stats: &mut Stats,
) -> Result<Vec<Series>, QueryError> {
    let range = &aggregation.range;
    let pipeline = Pipeline::compile(&range.log.stages, range.unwrap.as_ref()).map_err(|e| QueryError::Parse(e.to_string()))?;
    let nothing = Grouping::default();
    let grouping = if aggregation.op == RangeOp::Absent { Some(&nothing) } else { aggregation.grouping.as_ref().or(sum) };
    let pipeline = pipeline.hinted(Hints::of(&range.log.stages, range.unwrap.as_ref(), grouping));
    let windows = Windows { steps: *steps, range: range.range, offset: range.offset };
    let by_bytes = matches!(aggregation.op, RangeOp::Bytes | RangeOp::BytesRate);
    let needs = pipeline.needs(by_bytes);
    let whole = matches!(aggregation.op, RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Rate) && range.unwrap.is_none();
    // Of samples of the same nanosecond, the last accepted is the last.
    let in_order = matches!(aggregation.op, RangeOp::First | RangeOp::Last | RangeOp::RateCounter);
    let entries = Entries { log: &range.log, pipeline: &pipeline, needs: &needs, range: windows.read_range(), in_order };
    let kept = Kept::of(aggregation, sum);
    let visit = |set: &mut SeriesSet<'_>, entry: &mut Entry<'_>| {
        let value = match pipeline.unwrapper() {
            Some(unwrapper) => match unwrapper.value(entry) {
                Some(value) => value,
                None => return Ok(()),
            },
            None if by_bytes => entry.line.len() as f64,
            None => 1.0,
        };
        if !windows.contain(entry.ts) {
            return Ok(());
        }
        if let Some(kind) = entry.labels.error() {
            return Err(pipeline_error(kind, &entry.labels));
        }
        let series = set.series(entry.labels.output().map(|(n, v, _)| (n, v)).filter(|(n, _)| kept.keeps(n)))?;
        set.push(series, entry.ts, value)
    };
    let sets = fold_entries(engine, &entries, stats, || SeriesSet::new(&windows, engine.ctx, whole), visit)?;
    let series = SeriesSet::joined(sets)?;
    if aggregation.op == RangeOp::Absent {
        return absent(&range.log.matchers, series, &windows, engine.ctx);
    }
    let mut out = Vec::with_capacity(series.len());
    for (labels, samples) in series {
        engine.ctx.check()?;
        let points = match samples {
            Samples::Listed(mut list) => {
                list.sort_by_key(|(ts, _)| *ts);
                // A window may be long, and there may be many of them.
                let value = |window: &Window<'_>| engine.ctx.check().map(|()| evaluate(aggregation, window, &windows));
                windows.points(&list, value)?
            }
            Samples::Counted(differences) => windows.sums(&differences, aggregation.op),
        };
        if !points.is_empty() {
            engine.ctx.reserve(points.len() as u64 * POINT_BYTES)?;
            out.push(Series { labels, points });
        }
    }
    Ok(out)
}

fn pipeline_error(kind: &str, labels: &LabelSet<'_>) -> QueryError {
    let labels = labels.to_labels();
    QueryError::Execution(format!(
        "pipeline error: '{kind}' for series: '{labels}'.\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"{kind}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    ))
}

/// Labels of the series that an entry belongs to: grouped, without the unwrapped label unless it is grouped by.
struct Kept<'a> {
    own: Option<&'a Grouping>,
    grouping: Option<&'a Grouping>,
    unwrapped: Option<&'a str>,
}

impl<'a> Kept<'a> {
    fn of(aggregation: &'a RangeAggregation, sum: Option<&'a Grouping>) -> Kept<'a> {
        let own = aggregation.grouping.as_ref();
        Kept { own, grouping: own.or(sum), unwrapped: aggregation.range.unwrap.as_ref().map(|u| u.label.as_str()) }
    }

    fn keeps(&self, name: &str) -> bool {
        match (self.own, self.grouping) {
            (Some(own), _) if !own.without => own.names.iter().any(|n| n == name),
            (_, Some(g)) => Some(name) != self.unwrapped && g.names.iter().any(|n| n == name) != g.without,
            (_, None) => Some(name) != self.unwrapped,
        }
    }
}

pub struct Windows {
    pub steps: Steps,
    range: i64,
    offset: i64,
}

impl Windows {
    /// From the first instant of the first window to the last one of the last.
    fn read_range(&self) -> TimeRange {
        let last = self.steps.time(self.steps.count().saturating_sub(1));
        let start = self.steps.start.saturating_sub(self.range).saturating_sub(self.offset).saturating_add(1);
        TimeRange::new(start, last.saturating_sub(self.offset).saturating_add(1))
    }

    /// The steps whose windows hold `ts`, first and behind the last; there may be none, as there are gaps between windows when
    /// the step is longer than the range.
    fn steps_of(&self, ts: i64) -> (i64, i64) {
        let at = ts.saturating_add(self.offset);
        let after = at.saturating_sub(self.steps.start).max(0);
        let first = after / self.steps.step + i64::from(after % self.steps.step != 0);
        let last = at.saturating_add(self.range - 1).saturating_sub(self.steps.start).div_euclid(self.steps.step);
        (first, last.saturating_add(1).min(i64::from(self.steps.count())))
    }

    fn contain(&self, ts: i64) -> bool {
        let (from, to) = self.steps_of(ts);
        from < to
    }

    /// Counts a sample in the differences from step to step.
    pub fn count(&self, differences: &mut [(i64, i64)], ts: i64, value: i64) {
        let (from, to) = self.steps_of(ts);
        if from >= to {
            return;
        }
        for (step, sign) in [(from, 1), (to, -1)] {
            if let Some(slot) = usize::try_from(step).ok().and_then(|step| differences.get_mut(step)) {
                *slot = (slot.0 + sign, slot.1.wrapping_add(sign * value));
            }
        }
    }

    pub fn counted(&self, samples: &[(i64, f64)]) -> Vec<(i64, i64)> {
        let mut differences = vec![(0, 0); self.steps.count() as usize + 1];
        samples.iter().for_each(|(ts, value)| self.count(&mut differences, *ts, *value as i64));
        differences
    }

    /// A point for each step with a sample, of an operator that adds up.
    fn sums(&self, differences: &[(i64, i64)], op: RangeOp) -> Vec<(u32, f64)> {
        let (mut count, mut sum) = (0, 0);
        let seconds = if matches!(op, RangeOp::Rate | RangeOp::BytesRate) { self.range as f64 / 1e9 } else { 1.0 };
        let mut points = Vec::new();
        for (number, (more, bytes)) in (0..self.steps.count()).zip(differences) {
            (count, sum) = (count + more, sum + bytes);
            if count > 0 {
                points.push((number, sum as f64 / seconds));
            }
        }
        points
    }

    /// A point for each step whose window is not empty. `samples` ascend.
    fn points<E>(&self, samples: &[(i64, f64)], mut value: impl FnMut(&Window<'_>) -> Result<f64, E>) -> Result<Vec<(u32, f64)>, E> {
        let (mut from, mut to) = (0, 0);
        let mut points = Vec::new();
        for number in 0..self.steps.count() {
            let end = self.steps.time(number).saturating_sub(self.offset);
            let start = end.saturating_sub(self.range);
            while samples.get(to).is_some_and(|(ts, _)| *ts <= end) {
                to += 1;
            }
            while from < to && samples[from].0 <= start {
                from += 1;
            }
            if from < to {
                points.push((number, value(&Window { samples: &samples[from..to], start, end })?));
            }
        }
        Ok(points)
    }
}

/// The samples of one window; never empty.
struct Window<'a> {
    samples: &'a [(i64, f64)],
    start: i64,
    end: i64,
}

fn evaluate(aggregation: &RangeAggregation, window: &Window<'_>, windows: &Windows) -> f64 {
    let samples = window.samples;
    let values = || samples.iter().map(|(_, v)| *v);
    let seconds = windows.range as f64 / 1e9;
    let count = samples.len() as f64;
    match aggregation.op {
        RangeOp::Count => count,
        RangeOp::Rate => values().sum::<f64>() / seconds,
        RangeOp::Bytes | RangeOp::Sum => values().sum(),
        RangeOp::BytesRate => values().sum::<f64>() / seconds,
        RangeOp::Avg => mean(values(), count),
        RangeOp::Min => values().fold(f64::NAN, |a, b| if b < a || a.is_nan() { b } else { a }),
        RangeOp::Max => values().fold(f64::NAN, |a, b| if b > a || a.is_nan() { b } else { a }),
        RangeOp::Stdvar => variance(values(), count),
        RangeOp::Stddev => variance(values(), count).sqrt(),
        RangeOp::Quantile => quantile(aggregation.parameter.unwrap_or(f64::NAN), values().collect()),
        RangeOp::First => samples[0].1,
        RangeOp::Last => samples[samples.len() - 1].1,
        RangeOp::RateCounter => counter_rate(window, seconds),
        RangeOp::Absent => f64::NAN,
    }
}

/// Running means stay finite where a sum would overflow.
fn mean(values: impl Iterator<Item = f64>, count: f64) -> f64 {
    let values: Vec<f64> = values.collect();
    let sum: f64 = values.iter().sum();
    if sum.is_infinite() && values.iter().all(|v| v.is_finite()) {
        return values.iter().map(|v| v / count).sum();
    }
    sum / count
}

pub fn variance(values: impl Iterator<Item = f64>, count: f64) -> f64 {
    let values: Vec<f64> = values.collect();
    let mean = values.iter().sum::<f64>() / count;
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count
}

fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let (low, high) = (rank.floor() as usize, (rank.floor() as usize + 1).min(values.len() - 1));
    let weight = rank - rank.floor();
    values[low] * (1.0 - weight) + values[high] * weight
}

/// A counter's rate: resets count from zero, and the increase is extrapolated to the edges of the window, but no
/// further than half of the mean interval where an edge is far, nor below zero (contracts/loki.md 3.7).
fn counter_rate(window: &Window<'_>, seconds: f64) -> f64 {
    let samples = window.samples;
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    if samples.len() < 2 {
        return 0.0;
    }
    let mut increase = last.1 - first.1;
    for pair in samples.windows(2) {
        if pair[1].1 < pair[0].1 {
            increase += pair[0].1;
        }
    }
    let span = (last.0 - first.0) as f64 / 1e9;
    let mut to_start = (first.0 - window.start) as f64 / 1e9;
    let to_end = (window.end - last.0) as f64 / 1e9;
    let interval = span / (samples.len() - 1) as f64;
    if increase > 0.0 && first.1 >= 0.0 {
        to_start = to_start.min(span * (first.1 / increase));
    }
    let threshold = interval * 1.1;
    let extend = |gap: f64| if gap < threshold { gap } else { interval / 2.0 };
    increase * ((span + extend(to_start) + extend(to_end)) / span) / seconds
}

/// 1 wherever no window has a sample.
fn absent(matchers: &[Matcher], series: Vec<(Labels, Samples)>, windows: &Windows, ctx: &Context) -> Result<Vec<Series>, QueryError> {
    let listed = |(_, samples)| if let Samples::Listed(list) = samples { list } else { Vec::new() };
    let mut all: Vec<(i64, f64)> = series.into_iter().flat_map(listed).collect();
    all.sort_by_key(|(ts, _)| *ts);
    let present = windows.points(&all, |_| ctx.check().map(|()| 1.0))?;
    let mut present = present.into_iter().map(|(number, _)| number).peekable();
    let points: Vec<(u32, f64)> =
        (0..windows.steps.count()).filter(|number| present.next_if_eq(number).is_none()).map(|number| (number, 1.0)).collect();
    let once = |m: &&Matcher| m.op == MatchOp::Equal && matchers.iter().filter(|o| o.name == m.name).count() == 1;
    let labels = Labels::from_pairs(matchers.iter().filter(once).map(|m| (&m.name, &m.value)));
    Ok(if points.is_empty() { Vec::new() } else { vec![Series { labels, points }] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_on_the_left() {
        let windows = Windows { steps: Steps { start: 100, end: 140, step: 20, instant: false }, range: 10, offset: 5 };
        assert_eq!(windows.read_range(), TimeRange::new(86, 136));
        for (ts, inside) in [(85, false), (86, true), (95, true), (96, false), (105, false), (106, true), (135, true), (136, false)] {
            assert_eq!(windows.contain(ts), inside, "{ts}");
        }
        let points = windows.points(&[(86, 1.0), (95, 2.0), (135, 4.0)], |w| Ok::<_, ()>(w.samples.iter().map(|s| s.1).sum())).unwrap();
        assert_eq!(points, [(0, 3.0), (2, 4.0)]);
    }

    #[test]
    fn counting_by_step_is_the_same_as_listing() {
        let steps = |start, end, step| Steps { start, end, step, instant: false };
        let samples: Vec<(i64, f64)> = (0..200).map(|i| (i * 7 % 411 - 50, (i % 5) as f64)).collect();
        let mut sorted = samples.clone();
        sorted.sort_by_key(|(ts, _)| *ts);
        for (steps, range, offset) in
            [(steps(0, 300, 10), 35, 0), (steps(3, 299, 40), 7, 5), (steps(50, 50, 1), 1, -3), (steps(-20, 380, 100), 1000, 60)]
        {
            let windows = Windows { steps, range, offset };
            let listed = windows.points(&sorted, |w| Ok::<_, ()>(w.samples.iter().map(|s| s.1).sum())).unwrap();
            let counted = windows.sums(&windows.counted(&samples), RangeOp::Bytes);
            assert_eq!(counted, listed, "{range} {offset}");
            samples.iter().for_each(|(ts, _)| {
                let inside = windows.points(&[(*ts, 1.0)], |_| Ok::<_, ()>(1.0)).unwrap();
                assert_eq!(windows.contain(*ts), !inside.is_empty(), "{ts} {range} {offset}");
            });
        }
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(0.5, vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(quantile(1.0, vec![1.0, 2.0]), 2.0);
        assert_eq!(quantile(-0.1, vec![1.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn a_counter_reset_counts_from_zero() {
        let samples = [(10_000_000_000, 5.0), (20_000_000_000, 10.0), (30_000_000_000, 2.0), (40_000_000_000, 7.0)];
        let window = Window { samples: &samples, start: 5_000_000_000, end: 45_000_000_000 };
        assert!((counter_rate(&window, 40.0) - 12.0 * (40.0 / 30.0) / 40.0).abs() < 1e-12);
    }
}
