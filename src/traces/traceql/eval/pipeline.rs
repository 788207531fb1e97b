//! Pipelines over the spansets of one trace (contracts/tempo.md 4.6).

use super::filter::{Computed, Filter};
use super::structure;
use super::subject::{Subject, TraceFacts};
use super::value::{EvalError, Value, compare};
use crate::traces::traceql::ast::{Aggregate, AggregateFunction, Expr, Op, Pipeline, Scalar, Spanset, SpansetOp, Stage, Static};
use std::collections::HashMap;

/// Spans of one trace that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    /// Positions in the trace, ascending.
    pub spans: Vec<usize>,
    /// What `by` and the aggregates found.
    pub attributes: Vec<(String, Value<'static>)>,
}

/// A pipeline, made ready to run.
#[derive(Debug)]
pub struct Program {
    stages: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    Spanset(Selection),
    Having { op: Op, aggregate: Measure, name: String, literal: Static },
    By { expr: Computed, name: String },
    Coalesce,
}

#[derive(Debug)]
enum Selection {
    Filter(Filter),
    Binary(SpansetOp, Box<Selection>, Box<Selection>),
    Pipeline(Program),
}

#[derive(Debug)]
struct Measure {
    function: AggregateFunction,
    argument: Option<Computed>,
}

impl Program {
    /// `pipeline` has been checked.
    pub fn new(pipeline: &Pipeline) -> Program {
        let step = |stage: &Stage| match stage {
            Stage::Spanset(spanset) => Some(Step::Spanset(Selection::new(spanset))),
            Stage::Scalar(filter) => match (&filter.left, &filter.right) {
                (Scalar::Aggregate(aggregate), Scalar::Literal(literal)) => Some(Step::Having {
                    op: filter.op,
                    aggregate: Measure::new(aggregate),
                    name: aggregate.to_string(),
                    literal: literal.clone(),
                }),
                // The check refuses all other forms.
                _ => None,
            },
            Stage::By(expr) => Some(Step::By { expr: Computed::new(expr), name: by_name(expr) }),
            // Chooses what is shown, not which spans.
            Stage::Select(_) => None,
            Stage::Coalesce => Some(Step::Coalesce),
        };
        Program { stages: pipeline.stages.iter().filter_map(step).collect() }
    }

    /// The spansets of a trace; none if it does not match.
    pub fn run(&self, facts: &TraceFacts<'_>) -> Result<Vec<Set>, EvalError> {
        let all = Set { spans: (0..facts.trace.spans.len()).collect(), attributes: Vec::new() };
        self.run_on(facts, vec![all])
    }

    fn run_on(&self, facts: &TraceFacts<'_>, mut sets: Vec<Set>) -> Result<Vec<Set>, EvalError> {
        for stage in &self.stages {
            sets = match stage {
                Step::Spanset(selection) => selection.run(facts, sets)?,
                Step::Having { op, aggregate, name, literal } => having(facts, sets, (*op, literal), aggregate, name)?,
                Step::By { expr, name } => group(facts, sets, expr, name)?,
                Step::Coalesce => coalesce(sets),
            };
            if sets.is_empty() {
                break;
            }
        }
        Ok(sets)
    }

    /// Whether no span can ever match.
    pub fn is_never(&self) -> bool {
        self.stages.iter().any(|step| matches!(step, Step::Spanset(selection) if selection.is_never()))
    }
}

/// The spanset attribute that `by` sets.
fn by_name(expr: &Expr) -> String {
    format!("by({expr})")
}

impl Selection {
    fn new(spanset: &Spanset) -> Selection {
        match spanset {
            Spanset::Filter(expr) => Selection::Filter(Filter::new(expr)),
            Spanset::Pipeline(pipeline) => Selection::Pipeline(Program::new(pipeline)),
            Spanset::Binary { op, left, right } => Selection::Binary(*op, Box::new(Selection::new(left)), Box::new(Selection::new(right))),
        }
    }

    fn is_never(&self) -> bool {
        match self {
            Selection::Filter(filter) => filter.constant() == Some(false),
            Selection::Pipeline(program) => program.is_never(),
            Selection::Binary(SpansetOp::Or, left, right) => left.is_never() && right.is_never(),
            Selection::Binary(_, _, right) => right.is_never(),
        }
    }

    fn run(&self, facts: &TraceFacts<'_>, sets: Vec<Set>) -> Result<Vec<Set>, EvalError> {
        match self {
            Selection::Filter(filter) => {
                let mut kept = Vec::with_capacity(sets.len());
                for mut set in sets {
                    let mut spans = Vec::new();
                    for span in set.spans {
                        if filter.matches(Subject::new(facts, span))? {
                            spans.push(span);
                        }
                    }
                    if !spans.is_empty() {
                        set.spans = spans;
                        kept.push(set);
                    }
                }
                Ok(kept)
            }
            Selection::Pipeline(program) => program.run_on(facts, sets),
            Selection::Binary(op, left, right) => {
                if sets.len() > 1 {
                    return Err(EvalError::ManySpansets);
                }
                let left = one(left.run(facts, sets.clone())?)?;
                let right = one(right.run(facts, sets)?)?;
                Ok(combine(*op, facts, left, right).into_iter().collect())
            }
        }
    }
}

fn one(mut sets: Vec<Set>) -> Result<Option<Set>, EvalError> {
    if sets.len() > 1 { Err(EvalError::ManySpansets) } else { Ok(sets.pop()) }
}

fn combine(op: SpansetOp, facts: &TraceFacts<'_>, left: Option<Set>, right: Option<Set>) -> Option<Set> {
    let (a, b) = (left.map_or_else(Vec::new, |s| s.spans), right.map_or_else(Vec::new, |s| s.spans));
    let spans = match op {
        SpansetOp::And if a.is_empty() || b.is_empty() => Vec::new(),
        SpansetOp::And | SpansetOp::Or => {
            let mut both = [a, b].concat();
            both.sort_unstable();
            both.dedup();
            both
        }
        SpansetOp::Structural(_, crate::traces::traceql::ast::Form::Negated) if a.is_empty() => b,
        SpansetOp::Structural(..) if a.is_empty() || b.is_empty() => Vec::new(),
        SpansetOp::Structural(relation, form) => structure::apply(relation, form, facts.nested(), &a, &b),
    };
    (!spans.is_empty()).then_some(Set { spans, attributes: Vec::new() })
}

fn set_attribute(set: &mut Set, name: &str, value: Value<'static>) {
    match set.attributes.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value,
        None => set.attributes.push((name.to_owned(), value)),
    }
}

fn group(facts: &TraceFacts<'_>, sets: Vec<Set>, expr: &Computed, name: &str) -> Result<Vec<Set>, EvalError> {
    let mut out = Vec::new();
    for set in sets {
        let mut groups: Vec<Set> = Vec::new();
        let mut by_key: HashMap<String, usize> = HashMap::new();
        for span in set.spans {
            let value = expr.value(Subject::new(facts, span))?;
            let index = *by_key.entry(value.key()).or_insert(groups.len());
            if let Some(group) = groups.get_mut(index) {
                group.spans.push(span);
                continue;
            }
            let mut group = Set { spans: vec![span], attributes: set.attributes.clone() };
            set_attribute(&mut group, name, value.into_owned());
            groups.push(group);
        }
        out.append(&mut groups);
    }
    Ok(out)
}

fn coalesce(sets: Vec<Set>) -> Vec<Set> {
    let mut spans: Vec<usize> = sets.into_iter().flat_map(|s| s.spans).collect();
    spans.sort_unstable();
    spans.dedup();
    vec![Set { spans, attributes: Vec::new() }]
}

fn having(
    facts: &TraceFacts<'_>,
    sets: Vec<Set>,
    (op, literal): (Op, &Static),
    aggregate: &Measure,
    name: &str,
) -> Result<Vec<Set>, EvalError> {
    let mut kept = Vec::new();
    for mut set in sets {
        let Some(value) = aggregate.measure(facts, &set.spans)? else { continue };
        if compare(op, &value, &Value::of_static(literal))? {
            set_attribute(&mut set, name, value);
            kept.push(set);
        }
    }
    Ok(kept)
}

impl Measure {
    fn new(aggregate: &Aggregate) -> Measure {
        Measure { function: aggregate.function, argument: aggregate.argument.as_ref().map(Computed::new) }
    }

    /// `None` if no span has a number.
    fn measure(&self, facts: &TraceFacts<'_>, spans: &[usize]) -> Result<Option<Value<'static>>, EvalError> {
        let Some(argument) = &self.argument else {
            return Ok(Some(Value::Int(i64::try_from(spans.len()).unwrap_or(i64::MAX))));
        };
        let mut values = Vec::with_capacity(spans.len());
        for span in spans {
            let value = argument.value(Subject::new(facts, *span))?;
            if let Some(number) = value.as_float() {
                values.push((value.into_owned(), number));
            }
        }
        let by_number = |a: &&(Value<'static>, f64), b: &&(Value<'static>, f64)| a.1.total_cmp(&b.1);
        Ok(match self.function {
            AggregateFunction::Count => None,
            AggregateFunction::Min => values.iter().min_by(by_number).map(|(value, _)| value.clone()),
            AggregateFunction::Max => values.iter().max_by(by_number).map(|(value, _)| value.clone()),
            AggregateFunction::Sum => total(&values),
            AggregateFunction::Avg => {
                let sum: f64 = values.iter().map(|(_, n)| n).sum();
                let mean = sum / values.len() as f64;
                let durations = values.iter().all(|(v, _)| matches!(v, Value::Duration(_)));
                let value = if durations { Value::Duration(mean as i64) } else { Value::Float(mean) };
                (!values.is_empty()).then_some(value)
            }
        })
    }
}

fn total(values: &[(Value<'static>, f64)]) -> Option<Value<'static>> {
    let exact = values.iter().try_fold((0i64, true, true), |(sum, ints, durations), (value, _)| match value {
        Value::Int(n) => Some((sum.checked_add(*n)?, ints, false)),
        Value::Duration(n) => Some((sum.checked_add(*n)?, false, durations)),
        _ => None,
    });
    match exact {
        _ if values.is_empty() => None,
        Some((sum, true, _)) => Some(Value::Int(sum)),
        Some((sum, _, true)) => Some(Value::Duration(sum)),
        _ => Some(Value::Float(values.iter().map(|(_, n)| n).sum())),
    }
}
