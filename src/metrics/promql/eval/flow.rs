//! Expressions that make one series of each series they read: selectors, functions of windows, and what is done to each
//! value of them. Their series are made one after another, on all cores, and handed on in order, so that who only adds
//! them up never holds them all.

use super::selector::Latest;
use super::series::{ABSENT, has_name};
use super::{Evaluator, Grid, RangeVector, Result, Series, Window, is_absent, merge_equal, without_name};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::annotations::Annotations;
use crate::metrics::promql::functions::over_time::{Call, RangeFunction};
use crate::metrics::promql::storage::SeriesData;
use crate::model::Labels;
use crate::query::{Context, in_order};
use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

/// What is done to the values of one series. Series that it leaves without values are dropped.
pub type Stage<'e> = Box<dyn Fn(&mut Series, &RefCell<Annotations>) + Send + Sync + 'e>;

/// A stage that maps floats and leaves histograms out.
pub fn of_floats<'e>(function: impl Fn(usize, f64) -> Option<f64> + Send + Sync + 'e) -> Stage<'e> {
    Box::new(move |one, _| {
        one.histograms.clear();
        for (step, value) in one.values.iter_mut().enumerate().filter(|(_, v)| !is_absent(**v)) {
            *value = function(step, *value).unwrap_or(ABSENT);
        }
    })
}

enum Source {
    /// What has its values already.
    Ready(Vec<Series>),
    Latest(Latest),
    Windows(RangeVector, Applied),
}

impl Source {
    fn data(&self) -> &[SeriesData] {
        match self {
            Source::Ready(_) => &[],
            Source::Latest(latest) => &latest.series,
            Source::Windows(range, _) => &range.series,
        }
    }
}

/// A function of windows, and what all series are given.
pub struct Applied {
    function: RangeFunction,
    /// Where the first argument starts.
    position: usize,
    /// Values at each step.
    pub scalars: Vec<Vec<f64>>,
    pub use_start_timestamps: bool,
}

impl Applied {
    pub fn new(function: RangeFunction, position: usize) -> Applied {
        Applied { function, position, scalars: Vec::new(), use_start_timestamps: false }
    }

    fn fill(
        &self,
        context: &Context,
        range: &RangeVector,
        (at, grid): (usize, Grid),
        out: &mut Series,
        notes: &RefCell<Annotations>,
    ) -> Result<()> {
        let scalar = |at: usize, step: usize| self.scalars.get(at).map_or(0.0, |s| s[step]);
        let mut call = Call::new(notes, self.position, range.series[at].labels.value(METRIC_NAME));
        call.use_start_timestamps = self.use_start_timestamps;
        range.map(context, (at, grid), out, |window: &Window<'_>| {
            call.scalars = [scalar(0, window.step), scalar(1, window.step)];
            (self.function)(&call, window)
        })
    }
}

/// Series that are made when they are wanted.
pub struct Flow<'e> {
    source: Source,
    /// Labels of what is made of each series of the source, and whether the name is to be dropped at the end; none if the
    /// source is ready, whose series have their own.
    names: Vec<(Labels, bool)>,
    stages: Vec<Stage<'e>>,
    grid: Grid,
}

/// Values of the series that are made as one piece of work.
const PART_VALUES: usize = 1 << 16;

/// Series of one piece of work.
const PART_SERIES_MAX: usize = 64;

/// Below so many samples and values other threads are not worth their start.
const MANY_VALUES: usize = 200_000;

impl<'e> Flow<'e> {
    pub fn ready(series: Vec<Series>, grid: Grid) -> Flow<'e> {
        Flow { source: Source::Ready(series), names: Vec::new(), stages: Vec::new(), grid }
    }

    pub fn latest(latest: Latest, grid: Grid) -> Flow<'e> {
        let names = latest.series.iter().map(|s| (s.labels.clone(), false)).collect();
        Flow { source: Source::Latest(latest), names, stages: Vec::new(), grid }
    }

    pub fn windows(range: RangeVector, applied: Applied, grid: Grid) -> Flow<'e> {
        let drops = |at: usize| range.drop_name.get(at).copied().unwrap_or(false);
        let names = range.series.iter().enumerate().map(|(at, s)| (s.labels.clone(), drops(at))).collect();
        Flow { source: Source::Windows(range, applied), names, stages: Vec::new(), grid }
    }

    /// Whether its series are still to be made.
    pub fn is_lazy(&self) -> bool {
        !matches!(self.source, Source::Ready(_))
    }

    /// Of every series that may be made, in order.
    pub fn labels(&self) -> impl Iterator<Item = &Labels> {
        self.names.iter().map(|name| &name.0)
    }

    pub fn then(mut self, stage: Stage<'e>) -> Flow<'e> {
        self.stages.push(stage);
        self
    }

    /// Drops names, or marks them to be dropped at the end of the query.
    pub fn drop_names(mut self, evaluator: &Evaluator<'_>) -> Result<Flow<'e>> {
        if !evaluator.options.delayed_name_removal {
            return self.relabel(evaluator, |labels, _| Ok(if has_name(labels) { without_name(labels) } else { labels.clone() }));
        }
        self.names.iter_mut().for_each(|name| name.1 = true);
        if let Source::Ready(series) = &mut self.source {
            series.iter_mut().for_each(|s| s.drop_name = true);
        }
        Ok(self)
    }

    /// Gives all series other labels. Those whose labels become equal are made at once, to be joined. `change` is told
    /// whether the name is to be dropped, and may change that.
    pub fn relabel(mut self, evaluator: &Evaluator<'_>, mut change: impl FnMut(&Labels, &mut bool) -> Result<Labels>) -> Result<Flow<'e>> {
        let mut changed = Vec::with_capacity(self.names.len());
        let mut known = HashSet::with_capacity(self.names.len());
        let mut differ = true;
        for (labels, drop_name) in &self.names {
            let mut drop_name = *drop_name;
            let labels = change(labels, &mut drop_name)?;
            differ &= known.insert(labels.clone());
            changed.push((labels, drop_name));
        }
        self.names = changed;
        if self.is_lazy() && differ {
            return Ok(self);
        }
        let (lazy, grid) = (self.is_lazy(), self.grid);
        let mut series = self.collect(evaluator)?;
        if !lazy {
            for one in &mut series {
                one.labels = change(&one.labels, &mut one.drop_name)?;
            }
        }
        Ok(Flow::ready(merge_equal(series)?, grid))
    }

    /// All series that have values.
    pub fn collect(self, evaluator: &Evaluator<'_>) -> Result<Vec<Series>> {
        let context = evaluator.storage.context();
        if let Source::Ready(mut series) = self.source {
            for stage in self.stages {
                context.check()?;
                series.iter_mut().for_each(|one| stage(one, &evaluator.notes));
                series.retain(|s| !s.is_empty());
            }
            return Ok(series);
        }
        let mut all = Vec::with_capacity(self.names.len());
        self.each(evaluator, |series| {
            context.reserve(series.bytes())?;
            all.push(series);
            Ok(true)
        })?;
        Ok(all)
    }

    /// Calls `take` with each series that has values, in order.
    pub fn visit(self, evaluator: &Evaluator<'_>, mut take: impl FnMut(Series) -> Result<()>) -> Result<()> {
        if !self.is_lazy() {
            return self.collect(evaluator)?.into_iter().try_for_each(take);
        }
        self.each(evaluator, |series| take(series).map(|()| true))
    }

    /// Calls `take` with each series that has values, in order, as it is made, until it says false. Notes are kept unless
    /// that ends it. Nothing for a flow whose series are ready.
    pub fn each(&self, evaluator: &Evaluator<'_>, mut take: impl FnMut(Series) -> Result<bool>) -> Result<()> {
        let context = evaluator.storage.context();
        let data = self.source.data();
        let steps = self.grid.count.max(1);
        let length = (PART_VALUES / steps).clamp(1, PART_SERIES_MAX);
        let part = |number: usize| self.part(context, number * length..data.len().min((number + 1) * length));
        let mut notes = vec![Annotations::default(); 1 + self.stages.len()];
        let mut goes_on = true;
        let take_part = |part: Part| -> Result<bool> {
            for series in part.series {
                let bytes = series.bytes();
                if goes_on {
                    goes_on = take(series)?;
                }
                context.release(bytes);
            }
            notes.iter_mut().zip(part.notes).for_each(|(all, told)| all.add(told));
            Ok(goes_on)
        };
        let samples: usize = data.iter().map(|s| s.ts.len() + s.histograms.len()).sum();
        let parts = data.len().div_ceil(length);
        if samples + data.len() * steps >= MANY_VALUES {
            in_order(context, parts, part, take_part)?;
        } else {
            let mut take_part = take_part;
            for number in 0..parts {
                context.check()?;
                if !take_part(part(number)?)? {
                    break;
                }
            }
        }
        if goes_on {
            notes.into_iter().for_each(|told| evaluator.notes.borrow_mut().add(told));
        }
        Ok(())
    }

    /// Series with values of some of the source, whose bytes are reserved.
    fn part(&self, context: &Context, range: Range<usize>) -> Result<Part> {
        let notes: Vec<RefCell<Annotations>> = (0..=self.stages.len()).map(|_| RefCell::default()).collect();
        let mut made = Vec::with_capacity(range.len());
        for at in range {
            context.check()?;
            let (labels, drop_name) = &self.names[at];
            let mut series = Series { drop_name: *drop_name, ..Series::new(labels.clone(), self.grid.count) };
            match &self.source {
                Source::Ready(_) => {}
                Source::Latest(latest) => latest.fill(at, self.grid, &mut series),
                Source::Windows(range, applied) => applied.fill(context, range, (at, self.grid), &mut series, &notes[0])?,
            }
            let mut stages = self.stages.iter().zip(&notes[1..]);
            while !series.is_empty() {
                let Some((stage, notes)) = stages.next() else {
                    context.reserve(series.bytes())?;
                    made.push(series);
                    break;
                };
                stage(&mut series, notes);
            }
        }
        Ok(Part { series: made, notes: notes.into_iter().map(RefCell::into_inner).collect() })
    }
}

/// A piece of the work.
struct Part {
    series: Vec<Series>,
    /// Of the source and of each stage.
    notes: Vec<Annotations>,
}
