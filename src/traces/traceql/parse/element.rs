//! What stands between two `|`.

use super::{Parsed, Parser};
use crate::traces::traceql::ast::{
    Aggregate, AggregateFunction, Body, Metrics, Op, Pipeline, Scalar, ScalarFilter, ScalarPipeline, ScalarPipelineFilter, SecondStage,
    Spanset, SpansetOp, Stage, Static,
};
use crate::traces::traceql::token::{Position, Token};

/// A value of the grammar's expressions.
pub(super) enum Element {
    Spanset {
        spanset: Spanset,
        in_parentheses: bool,
    },
    /// Spanset operators on pipelines, or one pipeline in parentheses: nothing may be piped from it.
    Pipelines(Spanset),
    Stage(Stage),
    Number(Number),
    Scalar(Scalar),
    ScalarPipeline(ScalarPipeline),
    ScalarPipelineFilter(Box<ScalarPipelineFilter>),
    /// In parentheses, or mathematics on such.
    Metrics(Metrics),
    /// With a filter on the result, so that no more mathematics may follow.
    StagedMetrics(Metrics),
}

/// A constant, folded while it is read.
pub(super) struct Number {
    pub value: Static,
    /// Whether it is the result of an operator.
    pub folded: bool,
    /// Whether such an operator had a duration on a side.
    pub duration_folded: bool,
}

impl Number {
    fn new(value: Static) -> Number {
        Number { value, folded: false, duration_folded: false }
    }
}

/// Binding strength of a symbol between elements, as between field expressions.
fn precedence(symbol: &str) -> Option<usize> {
    Some(match symbol {
        "&&" | "||" => 1,
        "=" | "!=" | "<" | "<=" | ">" | ">=" => 2,
        "+" | "-" => 3,
        "*" | "/" | "%" => 5,
        "^" => 6,
        other => SpansetOp::parse(other).map(|_| 2)?,
    })
}

impl Parser {
    pub(super) fn expression(&mut self, least: usize) -> Parsed<Element> {
        self.deeper(|p| {
            let mut left = p.operand()?;
            while let Token::Symbol(symbol) = *p.peek() {
                let Some(strength) = precedence(symbol).filter(|s| *s >= least.max(1)) else { break };
                let at = p.at();
                p.advance();
                p.count_operator()?;
                let right = p.expression(if symbol == "^" { strength } else { strength + 1 })?;
                left = p.apply(symbol, at, left, right)?;
            }
            Ok(left)
        })
    }

    fn operand(&mut self) -> Parsed<Element> {
        match self.peek().clone() {
            Token::Symbol("{") => Ok(Element::Spanset { spanset: Spanset::Filter(self.filter()?), in_parentheses: false }),
            Token::Symbol("(") => self.parentheses(),
            Token::Symbol("-") => {
                self.advance();
                let at = self.at();
                let Element::Number(number) = self.deeper(Parser::operand)? else {
                    return Err(self.error_at(at, "syntax error: unexpected operand of -"));
                };
                let value = match number.value {
                    Static::Int(n) => Static::Int(n.wrapping_neg()),
                    Static::Float(f) => Static::Float(-f),
                    Static::Duration(d) => Static::Duration(d.wrapping_neg()),
                    other => other,
                };
                Ok(Element::Number(Number { value, ..number }))
            }
            Token::Int(n) => self.number(Static::Int(n)),
            Token::Float(f) => self.number(Static::Float(f)),
            Token::Duration(d) => self.number(Static::Duration(d)),
            Token::Word(word) => self.word_element(&word),
            Token::String(_) | Token::Attribute(_) | Token::Symbol(_) | Token::End => Err(self.unexpected("")),
        }
    }

    fn number(&mut self, value: Static) -> Parsed<Element> {
        self.advance();
        Ok(Element::Number(Number::new(value)))
    }

    fn word_element(&mut self, word: &str) -> Parsed<Element> {
        let function = match word {
            "count" => AggregateFunction::Count,
            "min" => AggregateFunction::Min,
            "max" => AggregateFunction::Max,
            "avg" => AggregateFunction::Avg,
            "sum" => AggregateFunction::Sum,
            "by" => {
                self.advance();
                self.expect("(")?;
                let expr = self.field_expression(0)?;
                self.expect(")")?;
                return Ok(Element::Stage(Stage::By(expr)));
            }
            "select" => {
                self.advance();
                return Ok(Element::Stage(Stage::Select(self.fields()?)));
            }
            _ => return Err(self.unexpected("")),
        };
        self.advance();
        self.expect("(")?;
        let argument = if function == AggregateFunction::Count { None } else { Some(self.field_expression(0)?) };
        self.expect(")")?;
        Ok(Element::Scalar(Scalar::Aggregate(Aggregate { function, argument })))
    }

    fn parentheses(&mut self) -> Parsed<Element> {
        self.expect("(")?;
        let first = self.expression(0)?;
        if !self.is_symbol("|") {
            if matches!(first, Element::ScalarPipelineFilter(_) | Element::StagedMetrics(_)) {
                return Err(self.unexpected(""));
            }
            self.expect(")")?;
            return Ok(match first {
                Element::Spanset { spanset, .. } => Element::Spanset { spanset, in_parentheses: true },
                Element::Stage(stage) => Element::Pipelines(Spanset::Pipeline(Pipeline { stages: vec![stage] })),
                other => other,
            });
        }
        let mut stages = vec![self.stage_of(first)?];
        while self.eat("|") {
            if self.at_metrics_function() {
                let query = self.metrics_query(Pipeline { stages })?;
                self.expect(")")?;
                return Ok(Element::Metrics(Metrics::Query(Box::new(query))));
            }
            match self.next_stage()? {
                Element::Scalar(Scalar::Aggregate(aggregate)) => {
                    self.expect(")")?;
                    let pipeline = Pipeline { stages };
                    return Ok(Element::ScalarPipeline(ScalarPipeline::Aggregate { pipeline, aggregate }));
                }
                element => stages.push(self.stage_of(element)?),
            }
        }
        self.expect(")")?;
        Ok(Element::Pipelines(Spanset::Pipeline(Pipeline { stages })))
    }

    /// After a `|`.
    fn next_stage(&mut self) -> Parsed<Element> {
        if self.eat_word("coalesce") {
            self.expect("(")?;
            self.expect(")")?;
            return Ok(Element::Stage(Stage::Coalesce));
        }
        self.expression(0)
    }

    fn stage_of(&self, element: Element) -> Parsed<Stage> {
        match element {
            Element::Spanset { spanset, .. } => Ok(Stage::Spanset(spanset)),
            Element::Stage(stage) => Ok(stage),
            _ => Err(self.unexpected("")),
        }
    }

    pub(super) fn body_of(&mut self, first: Element) -> Parsed<Body> {
        match first {
            Element::Pipelines(spanset) => Ok(Body::Spansets(Pipeline { stages: vec![Stage::Spanset(spanset)] })),
            Element::ScalarPipelineFilter(filter) => Ok(Body::ScalarPipelines(filter)),
            Element::Metrics(metrics) | Element::StagedMetrics(metrics) => {
                let stages = self.second_stages()?;
                Ok(Body::Metrics(staged(metrics, stages)))
            }
            first => {
                let mut stages = vec![self.stage_of(first)?];
                while self.eat("|") {
                    if self.at_metrics_function() {
                        let query = self.metrics_query(Pipeline { stages })?;
                        return Ok(Body::Metrics(Metrics::Query(Box::new(query))));
                    }
                    let element = self.next_stage()?;
                    stages.push(self.stage_of(element)?);
                }
                Ok(Body::Spansets(Pipeline { stages }))
            }
        }
    }

    fn apply(&self, symbol: &'static str, at: Position, left: Element, right: Element) -> Parsed<Element> {
        let wrong = || self.error_at(at, format!("syntax error: unexpected {symbol}"));
        if let Some(op) = SpansetOp::parse(symbol)
            && is_spanset(&left)
            && is_spanset(&right)
        {
            return spansets(op, left, right).ok_or_else(wrong);
        }
        let op = Op::parse(symbol).ok_or_else(wrong)?;
        let applied = if op.is_comparison() {
            compare(op, left, right)
        } else if op.is_arithmetic() {
            calculate(op, left, right)
        } else {
            None
        };
        applied.ok_or_else(wrong)
    }
}

fn staged(metrics: Metrics, mut more: Vec<SecondStage>) -> Metrics {
    match metrics {
        metrics if more.is_empty() => metrics,
        Metrics::Staged { inner, mut stages } => {
            stages.append(&mut more);
            Metrics::Staged { inner, stages }
        }
        metrics => Metrics::Staged { inner: Box::new(metrics), stages: more },
    }
}

fn is_spanset(element: &Element) -> bool {
    matches!(element, Element::Spanset { .. } | Element::Pipelines(_))
}

/// Beside a pipeline, every operand must be in parentheses.
fn spansets(op: SpansetOp, left: Element, right: Element) -> Option<Element> {
    let bare = |e: &Element| matches!(e, Element::Spanset { in_parentheses: false, .. });
    let piped = matches!(left, Element::Pipelines(_)) || matches!(right, Element::Pipelines(_));
    if piped && (bare(&left) || bare(&right)) {
        return None;
    }
    let inner = |element| match element {
        Element::Spanset { spanset, .. } | Element::Pipelines(spanset) => Some(Box::new(spanset)),
        _ => None,
    };
    let spanset = Spanset::Binary { op, left: inner(left)?, right: inner(right)? };
    Some(if piped { Element::Pipelines(spanset) } else { Element::Spanset { spanset, in_parentheses: false } })
}

fn compare(op: Op, left: Element, right: Element) -> Option<Element> {
    let filter = |left, right| Some(Element::Stage(Stage::Scalar(ScalarFilter { op, left, right })));
    let piped = |left, right| Some(Element::ScalarPipelineFilter(Box::new(ScalarPipelineFilter { op, left, right })));
    match (left, right) {
        (Element::Scalar(left), Element::Scalar(right)) => filter(left, right),
        (Element::Scalar(left), Element::Number(right)) => filter(left, Scalar::Literal(right.value)),
        (Element::Number(left), Element::Scalar(right)) => filter(Scalar::Literal(left.value), right),
        (Element::ScalarPipeline(left), Element::ScalarPipeline(right)) => piped(left, right),
        (Element::ScalarPipeline(left), Element::Number(right)) if !right.folded => piped(left, ScalarPipeline::Literal(right.value)),
        (Element::Metrics(inner), Element::Number(right)) if !right.duration_folded => {
            Some(Element::StagedMetrics(staged(inner, vec![SecondStage::Filter(op, right.value)])))
        }
        _ => None,
    }
}

fn calculate(op: Op, left: Element, right: Element) -> Option<Element> {
    let scalar = |left, right| Some(Element::Scalar(Scalar::Binary { op, left: Box::new(left), right: Box::new(right) }));
    let metrics = |left, right| {
        let allowed = matches!(op, Op::Add | Op::Sub | Op::Mul | Op::Div);
        allowed.then(|| Element::Metrics(Metrics::Binary { op, left: Box::new(left), right: Box::new(right) }))
    };
    let plain = |number: &Number| !number.duration_folded && !matches!(number.value, Static::Duration(_));
    match (left, right) {
        (Element::Number(left), Element::Number(right)) => fold(op, &left, &right).map(Element::Number),
        (Element::Scalar(left), Element::Scalar(right)) => scalar(left, right),
        (Element::Scalar(left), Element::Number(right)) => scalar(left, Scalar::Literal(right.value)),
        (Element::Number(left), Element::Scalar(right)) => scalar(Scalar::Literal(left.value), right),
        (Element::ScalarPipeline(left), Element::ScalarPipeline(right)) => {
            Some(Element::ScalarPipeline(ScalarPipeline::Binary { op, left: Box::new(left), right: Box::new(right) }))
        }
        (Element::Metrics(left), Element::Metrics(right)) => metrics(left, right),
        (Element::Metrics(left), Element::Number(right)) if plain(&right) => metrics(left, Metrics::Literal(right.value)),
        (Element::Number(left), Element::Metrics(right)) if plain(&left) => metrics(Metrics::Literal(left.value), right),
        _ => None,
    }
}

/// Integers stay integers, and divide as such; a duration beside anything stays a duration.
fn fold(op: Op, left: &Number, right: &Number) -> Option<Number> {
    let value = match (&left.value, &right.value) {
        (Static::Int(a), Static::Int(b)) => Static::Int(match op {
            Op::Add => a.checked_add(*b)?,
            Op::Sub => a.checked_sub(*b)?,
            Op::Mul => a.checked_mul(*b)?,
            Op::Div => a.checked_div(*b)?,
            _ => return None,
        }),
        (a, b) => {
            let (x, y) = (as_float(a)?, as_float(b)?);
            let result = match op {
                Op::Add => x + y,
                Op::Sub => x - y,
                Op::Mul => x * y,
                Op::Div => x / y,
                _ => return None,
            };
            let duration = matches!(a, Static::Duration(_)) || matches!(b, Static::Duration(_));
            if duration { Static::Duration(result as i64) } else { Static::Float(result) }
        }
    };
    let duration_folded = matches!(value, Static::Duration(_)) || left.duration_folded || right.duration_folded;
    Some(Number { value, folded: true, duration_folded })
}

fn as_float(value: &Static) -> Option<f64> {
    match value {
        Static::Int(n) | Static::Duration(n) => Some(*n as f64),
        Static::Float(f) => Some(*f),
        _ => None,
    }
}
