//! What follows the spans of a metrics query.

use super::element::Element;
use super::{Parsed, Parser};
use crate::traces::traceql::ast::{Compare, MetricsFunction, MetricsQuery, Op, Pipeline, SecondStage};
use crate::traces::traceql::token::Token;

/// Values an attribute has at most in the answer of `compare()`, if the query does not say.
const COMPARE_TOP: i64 = 10;

impl Parser {
    pub(super) fn at_metrics_function(&self) -> bool {
        let Token::Word(word) = self.peek() else { return false };
        *self.peek_after() == Token::Symbol("(") && (word == "rate" || word == "compare" || word.ends_with("_over_time"))
    }

    pub(super) fn metrics_query(&mut self, pipeline: Pipeline) -> Parsed<MetricsQuery> {
        let function = self.metrics_function()?;
        let takes_by = !matches!(function, MetricsFunction::Compare(_));
        let by = if takes_by && self.eat_word("by") { self.fields()? } else { Vec::new() };
        let stages = self.second_stages()?;
        Ok(MetricsQuery { pipeline, function, by, stages })
    }

    fn metrics_function(&mut self) -> Parsed<MetricsFunction> {
        let Token::Word(name) = self.peek().clone() else { return Err(self.unexpected("")) };
        let of_field: Option<fn(_) -> MetricsFunction> = match name.as_str() {
            "min_over_time" => Some(MetricsFunction::MinOverTime),
            "max_over_time" => Some(MetricsFunction::MaxOverTime),
            "avg_over_time" => Some(MetricsFunction::AvgOverTime),
            "sum_over_time" => Some(MetricsFunction::SumOverTime),
            "histogram_over_time" => Some(MetricsFunction::HistogramOverTime),
            "rate" | "count_over_time" | "quantile_over_time" | "compare" => None,
            _ => return Err(self.unexpected("")),
        };
        self.advance();
        self.expect("(")?;
        let function = match (of_field, name.as_str()) {
            (Some(make), _) => make(self.field()?),
            (None, "rate") => MetricsFunction::Rate,
            (None, "count_over_time") => MetricsFunction::CountOverTime,
            (None, "compare") => self.compare()?,
            (None, _) => {
                let field = self.field()?;
                let mut quantiles = Vec::new();
                while self.eat(",") {
                    quantiles.push(self.quantile()?);
                }
                if quantiles.is_empty() {
                    self.expect(",")?;
                }
                MetricsFunction::QuantileOverTime(field, quantiles)
            }
        };
        self.expect(")")?;
        Ok(function)
    }

    fn quantile(&mut self) -> Parsed<f64> {
        let quantile = match self.peek() {
            Token::Int(n) => *n as f64,
            Token::Float(f) => *f,
            _ => return Err(self.unexpected(", expecting FLOAT or INTEGER")),
        };
        self.advance();
        Ok(quantile)
    }

    fn integer(&mut self) -> Parsed<i64> {
        let Token::Int(n) = *self.peek() else { return Err(self.unexpected(", expecting INTEGER")) };
        self.advance();
        Ok(n)
    }

    fn compare(&mut self) -> Parsed<MetricsFunction> {
        let filter = self.filter()?;
        let mut compare = Compare { filter, top: COMPARE_TOP, range: None };
        if self.eat(",") {
            compare.top = self.integer()?;
            if self.eat(",") {
                let start = self.integer()?;
                self.expect(",")?;
                compare.range = Some((start, self.integer()?));
            }
        }
        Ok(MetricsFunction::Compare(compare))
    }

    pub(super) fn second_stages(&mut self) -> Parsed<Vec<SecondStage>> {
        let mut stages = Vec::new();
        loop {
            if self.eat("|") {
                let top = matches!(self.peek(), Token::Word(w) if w == "topk");
                if !top && !matches!(self.peek(), Token::Word(w) if w == "bottomk") {
                    return Err(self.unexpected(", expecting topk or bottomk"));
                }
                self.advance();
                self.expect("(")?;
                let count = self.integer()?;
                self.expect(")")?;
                stages.push(if top { SecondStage::Top(count) } else { SecondStage::Bottom(count) });
                continue;
            }
            let op = match self.peek() {
                Token::Symbol(symbol) => Op::parse(symbol).filter(|op| op.is_comparison()),
                _ => None,
            };
            let Some(op) = op else { return Ok(stages) };
            let at = self.at();
            self.advance();
            match self.expression(3)? {
                Element::Number(number) if !number.duration_folded => stages.push(SecondStage::Filter(op, number.value)),
                _ => return Err(self.error_at(at, format!("syntax error: unexpected {}", op.symbol()))),
            }
        }
    }
}
