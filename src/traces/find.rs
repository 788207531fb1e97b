//! Searching: which traces satisfy a query, newest first (contracts/tempo.md 1.4).
//!
//! Conditions on spans come first, with the columns they need only; traces that pass are judged as a whole; what is shown
//! is read of those that match.

use super::columns::Projection;
use super::hunt::Hunt;
use super::scene::Scene;
use super::source::{Sources, TraceRef, steps};
use super::trace::{ServiceCounts, Trace};
use super::traceql::ast::{Body, Field, Intrinsic, Pipeline, Query};
use super::traceql::eval::{Set, Shown, Subject, TraceFacts, Value, first_pipeline, need};
use super::traceql::{Inspected, Judge, check, parse};
use crate::model::{TimeRange, TraceId};
use crate::query::{Context, QueryError};
use std::collections::BTreeMap;

/// Traces that are judged together: first a few, since often the newest suffice, then more and more.
const FIRST_STEP: usize = 16;
const STEP_GROWTH: usize = 4;
const STEP_MAX: usize = 16 << 10;

/// A trace in the result of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTrace {
    pub trace_id: TraceId,
    /// `None` if the root has not come.
    pub root: Option<(String, String)>,
    pub start: i64,
    pub duration: i64,
    pub services: BTreeMap<String, ServiceCounts>,
    pub sets: Vec<FoundSet>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FoundSet {
    pub spans: Vec<FoundSpan>,
    /// Spans in the set, of which `spans` are the first.
    pub matched: usize,
    pub attributes: Vec<(String, Value<'static>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FoundSpan {
    pub span_id: crate::model::SpanId,
    pub name: Option<String>,
    pub start: i64,
    pub duration: i64,
    pub attributes: Vec<(String, Value<'static>)>,
}

/// A checked query that can be run.
pub struct Search {
    judge: Judge,
    shown: Shown,
    /// What showing a trace reads.
    displayed: Projection,
}

#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub range: TimeRange,
    /// Traces, and spans of each set.
    pub limit: usize,
    pub spans_per_set: usize,
}

/// Parses and checks. The error is the language's own text.
pub fn checked(text: &str) -> Result<Query, String> {
    let query = parse(text).map_err(|e| e.to_string())?;
    check(&query).map_err(|e| e.to_string())?;
    Ok(query)
}

impl Search {
    /// Of a metrics query, the spans that it would measure. `None` for mathematics on numbers alone, which has none.
    pub fn new(query: &Query) -> Option<Search> {
        match &query.body {
            Body::Spansets(pipeline) => Some(Search::of_pipeline(pipeline)),
            Body::Metrics(metrics) => first_pipeline(metrics).map(Search::of_pipeline),
            Body::ScalarPipelines(_) => None,
        }
    }

    fn of_pipeline(pipeline: &Pipeline) -> Search {
        let shown = Shown::new(pipeline);
        let mut displayed = Projection::none();
        shown.fields().for_each(|field| need(&mut displayed, field));
        for intrinsic in [Intrinsic::RootName, Intrinsic::RootService, Intrinsic::Duration, Intrinsic::Status] {
            need(&mut displayed, &Field::Intrinsic(intrinsic));
        }
        Search { judge: Judge::new(pipeline, Projection::none()), shown, displayed }
    }

    /// The newest traces that match.
    pub fn run(&self, ctx: &Context, sources: &Sources, bounds: Bounds) -> Result<(Vec<FoundTrace>, Inspected), QueryError> {
        if self.judge.is_never() {
            return Ok(Default::default());
        }
        let scene = Scene::new(ctx, sources, bounds.range)?;
        let mut hunt = Hunt::new(ctx, &self.judge, &scene, bounds.range)?;
        let mut found = Vec::new();
        let mut traces_max = FIRST_STEP.max(bounds.limit).min(STEP_MAX);
        while found.len() < bounds.limit {
            let (now, sieved) = hunt.next(traces_max)?;
            if now.is_empty() {
                break;
            }
            traces_max = (traces_max * STEP_GROWTH).min(STEP_MAX);
            for step in steps(&now, traces_max) {
                let mut matching = Vec::new();
                self.judge.run(ctx, sources, step, sieved, |place, _, sets| {
                    matching.push((place.clone(), sets));
                    Ok(())
                })?;
                let mut rest = &matching[..];
                while found.len() < bounds.limit && !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(bounds.limit - found.len()));
                    self.show(ctx, sources, now, bounds, &mut found)?;
                    rest = later;
                }
            }
        }
        found.sort_by(|a: &FoundTrace, b| b.start.cmp(&a.start).then(a.trace_id.cmp(&b.trace_id)));
        Ok((found, hunt.inspected))
    }

    fn show(
        &self,
        ctx: &Context,
        sources: &Sources,
        matching: &[(TraceRef, Vec<Set>)],
        bounds: Bounds,
        found: &mut Vec<FoundTrace>,
    ) -> Result<(), QueryError> {
        let places: Vec<TraceRef> = matching.iter().map(|(place, _)| place.clone()).collect();
        let traces = sources.load(ctx, &places, &self.displayed)?;
        // The time of a trace that was looked for may be that of a duplicate that does not count.
        let in_time = |trace: &Trace| bounds.range.overlaps(trace.start(), trace.end());
        for (trace, (_, sets)) in traces.iter().zip(matching).filter(|(trace, _)| in_time(trace)) {
            let facts = TraceFacts::new(trace);
            let sets: Vec<FoundSet> = sets.iter().map(|set| self.found_set(&facts, set, bounds.spans_per_set)).collect();
            let spans: usize = sets.iter().map(|s| s.spans.len()).sum();
            ctx.reserve((size_of::<FoundTrace>() + spans * (size_of::<FoundSpan>() + 128)) as u64)?;
            found.push(FoundTrace { sets, ..summary(trace) });
        }
        Ok(())
    }

    fn found_set(&self, facts: &TraceFacts<'_>, set: &Set, spans_per_set: usize) -> FoundSet {
        let shown = set.spans.iter().take(spans_per_set).map(|index| {
            let subject = Subject::new(facts, *index);
            let span = subject.span();
            let attributes = self.shown.attributes(subject).into_iter().map(|(key, value)| (key, value.into_owned()));
            FoundSpan {
                span_id: span.span_id,
                name: self.shown.name(subject).then(|| span.name.clone()),
                start: span.start,
                duration: span.duration.max(0),
                attributes: attributes.collect(),
            }
        });
        FoundSet { spans: shown.collect(), matched: set.spans.len(), attributes: set.attributes.clone() }
    }
}

/// A trace without spansets.
pub fn summary(trace: &Trace) -> FoundTrace {
    let root = trace.root().map(|r| (r.resource.service_name().unwrap_or_default().to_owned(), r.name.clone()));
    FoundTrace {
        trace_id: trace.trace_id,
        root,
        start: trace.start(),
        duration: trace.duration(),
        services: trace.services(),
        sets: Vec::new(),
    }
}
