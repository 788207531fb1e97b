use super::ast::Pipeline;
use super::eval::{Program, Set, Sieve, TraceFacts, need_pipeline};
use crate::query::{Context, QueryError};
use crate::traces::columns::Projection;
use crate::traces::source::{Sources, TraceRef};
use crate::traces::vector::{Facts, Selection};

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Inspected {
    pub traces: u64,
    pub spans: u64,
}

impl Inspected {
    pub fn add(&mut self, traces: &[TraceRef]) {
        self.traces += traces.len() as u64;
        self.spans += traces.iter().map(TraceRef::spans).sum::<u64>();
    }
}

/// Runs a pipeline on traces.
pub struct Judge {
    pipeline: Pipeline,
    /// Where it reads less than the whole.
    sieve: Option<Sieve>,
    program: Program,
    reads: Projection,
}

impl Judge {
    /// `reads` is what is read beside what the pipeline needs.
    pub fn new(pipeline: &Pipeline, mut reads: Projection) -> Judge {
        need_pipeline(&mut reads, pipeline);
        let sieve = Sieve::new(pipeline).filter(|s| s.reads != reads);
        Judge { pipeline: pipeline.clone(), sieve, program: Program::new(pipeline), reads }
    }

    /// What of the pipeline can be told by the columns of a block.
    pub fn selection(&self, facts: &Facts<'_>) -> Result<Selection, QueryError> {
        Selection::new(&self.pipeline, facts)
    }

    /// Whether no trace can ever match.
    pub fn is_never(&self) -> bool {
        self.program.is_never()
    }

    /// Gives the traces that match, with their spansets, to `each`, in order. `sieved` are traces of which the columns
    /// have told that they may match.
    pub fn run(
        &self,
        ctx: &Context,
        sources: &Sources,
        traces: &[TraceRef],
        sieved: bool,
        mut each: impl FnMut(&TraceRef, &TraceFacts<'_>, Vec<Set>) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut candidates = traces;
        let passed: Vec<TraceRef>;
        if let Some(sieve) = self.sieve.as_ref().filter(|_| !sieved) {
            let loaded = sources.load(ctx, traces, &sieve.reads)?;
            passed = traces.iter().zip(&loaded).filter(|(_, t)| sieve.passes(&TraceFacts::new(t))).map(|(p, _)| p.clone()).collect();
            candidates = &passed;
        }
        for (place, trace) in candidates.iter().zip(sources.load(ctx, candidates, &self.reads)?) {
            ctx.check()?;
            let facts = TraceFacts::new(&trace);
            let sets = self.program.run(&facts).map_err(|e| QueryError::Execution(e.to_string()))?;
            if !sets.is_empty() {
                each(place, &facts, sets)?;
            }
        }
        Ok(())
    }
}
