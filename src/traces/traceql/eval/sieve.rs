//! A test that is cheaper than running a query: whether a trace has spans that satisfy the conditions on spans alone. It
//! reads the columns of those conditions only; what is about the whole trace, its structure and its root, is left to the
//! query itself, which then runs on few traces.

use super::filter::Filter;
use super::needs::need_expr;
use super::subject::{Subject, TraceFacts};
use crate::traces::columns::Projection;
use crate::traces::traceql::ast::{Expr, Form, Op, Pipeline, Spanset, SpansetOp, Stage};

#[derive(Debug)]
pub struct Sieve {
    test: Test,
    pub reads: Projection,
}

#[derive(Debug)]
enum Test {
    /// Nothing is known without looking at the whole.
    Passes,
    Span(Filter),
    All(Vec<Test>),
    Any(Vec<Test>),
}

impl Sieve {
    /// `None` if every trace would pass.
    pub fn new(pipeline: &Pipeline) -> Option<Sieve> {
        let mut reads = Projection::none();
        match of_pipeline(pipeline, &mut reads) {
            Test::Passes => None,
            test => Some(Sieve { test, reads }),
        }
    }

    /// False only if the query cannot match; the facts need hold no more than the sieve reads.
    pub fn passes(&self, facts: &TraceFacts<'_>) -> bool {
        self.test.passes(facts)
    }
}

impl Test {
    fn passes(&self, facts: &TraceFacts<'_>) -> bool {
        match self {
            Test::Passes => true,
            // A condition that fails on the data is for the query to report.
            Test::Span(filter) => (0..facts.trace.spans.len()).any(|i| filter.matches(Subject::new(facts, i)).unwrap_or(true)),
            Test::All(tests) => tests.iter().all(|t| t.passes(facts)),
            Test::Any(tests) => tests.iter().any(|t| t.passes(facts)),
        }
    }
}

/// A stage only takes spans away, so the trace must satisfy them all.
fn of_pipeline(pipeline: &Pipeline, reads: &mut Projection) -> Test {
    let spansets = pipeline.stages.iter().filter_map(|stage| match stage {
        Stage::Spanset(spanset) => Some(of_spanset(spanset, reads)),
        Stage::Scalar(_) | Stage::By(_) | Stage::Select(_) | Stage::Coalesce => None,
    });
    all(spansets.collect())
}

fn of_spanset(spanset: &Spanset, reads: &mut Projection) -> Test {
    match spanset {
        Spanset::Filter(expr) => match on_span_alone(expr) {
            Some(expr) => {
                need_expr(reads, &expr);
                Test::Span(Filter::new(&expr))
            }
            None => Test::Passes,
        },
        Spanset::Pipeline(pipeline) => of_pipeline(pipeline, reads),
        Spanset::Binary { op: SpansetOp::Structural(_, Form::Negated), right, .. } => of_spanset(right, reads),
        Spanset::Binary { op, left, right } => {
            let sides = vec![of_spanset(left, reads), of_spanset(right, reads)];
            match op {
                SpansetOp::Or if sides.iter().any(|t| matches!(t, Test::Passes)) => Test::Passes,
                SpansetOp::Or => Test::Any(sides),
                SpansetOp::And | SpansetOp::Structural(..) => all(sides),
            }
        }
    }
}

fn all(mut tests: Vec<Test>) -> Test {
    tests.retain(|t| !matches!(t, Test::Passes));
    match tests.len() {
        0 => Test::Passes,
        _ => Test::All(tests),
    }
}

/// The part of the condition that needs no more than the span: of conditions joined by `&&`, those that are so.
fn on_span_alone(expr: &Expr) -> Option<Expr> {
    if let Expr::Binary { op: Op::And, left, right } = expr {
        return match (on_span_alone(left), on_span_alone(right)) {
            (Some(left), Some(right)) => Some(Expr::Binary { op: Op::And, left: Box::new(left), right: Box::new(right) }),
            (one, other) => one.or(other),
        };
    }
    let (mut any, mut alone) = (false, true);
    expr.visit_fields(&mut |field| {
        any = true;
        alone &= !field.is_of_trace();
    });
    (any && alone).then(|| expr.clone())
}
