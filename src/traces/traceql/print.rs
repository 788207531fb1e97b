//! A tree as text that parses to the same tree. Parts of it are seen by clients: in errors, as names of spanset attributes
//! and as labels of series.

use super::ast::{
    Aggregate, Body, Expr, Field, KIND_WORDS, Metrics, MetricsFunction, MetricsQuery, Pipeline, Query, STATUS_WORDS, Scalar, ScalarFilter,
    ScalarPipeline, Scope, SecondStage, Spanset, Stage, Static, UnaryOp, word,
};
use super::lex::ends_name;
use crate::model::{quote::quote, time::format_go_duration};
use std::fmt::{Display, Formatter, Result};

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T], separator: &str) -> Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

impl Display for Static {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Static::Nil => f.write_str("nil"),
            Static::Int(i64::MIN) => f.write_str("minInt"),
            Static::Int(n) => n.fmt(f),
            Static::Float(v) => write!(f, "{v:?}"),
            Static::Duration(d) => f.write_str(&format_go_duration(*d)),
            Static::String(s) if s.contains('`') => f.write_str(&quote(s)),
            Static::String(s) => write!(f, "`{s}`"),
            Static::Bool(b) => b.fmt(f),
            Static::Status(n) => f.write_str(&word(&STATUS_WORDS, *n)),
            Static::Kind(n) => f.write_str(&word(&KIND_WORDS, *n)),
        }
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.prefix())?;
        let Field::Attribute { scope, parent, name } = self else { return Ok(()) };
        let like_number = *scope == Scope::Any && name.starts_with(|c: char| c.is_ascii_digit());
        let like_scope = *parent && *scope == Scope::Any && (name.starts_with("span.") || name.starts_with("resource."));
        if !(like_number || like_scope || name.chars().any(|c| ends_name(c) || matches!(c, '"' | '\\'))) {
            return f.write_str(name);
        }
        write!(f, "\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// In parentheses, unless it is one token.
fn operand(f: &mut Formatter<'_>, expr: &Expr) -> Result {
    let negative = matches!(expr, Expr::Static(Static::Int(n) | Static::Duration(n)) if *n < 0)
        || matches!(expr, Expr::Static(Static::Float(v)) if v.is_sign_negative());
    match expr {
        Expr::Static(_) | Expr::Field(_) if !negative => expr.fmt(f),
        _ => write!(f, "({expr})"),
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Expr::Static(value) => value.fmt(f),
            Expr::Field(field) => field.fmt(f),
            Expr::Unary { op, operand: inner } => {
                f.write_str(match op {
                    UnaryOp::Minus => "-",
                    UnaryOp::Not => "!",
                })?;
                operand(f, inner)
            }
            Expr::Binary { op, left, right } => {
                operand(f, left)?;
                write!(f, " {} ", op.symbol())?;
                operand(f, right)
            }
        }
    }
}

impl Display for Spanset {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Spanset::Filter(expr) => write!(f, "{{ {expr} }}"),
            Spanset::Pipeline(pipeline) => write!(f, "{pipeline}"),
            Spanset::Binary { op, left, right } => write!(f, "({left}) {} ({right})", op.symbol()),
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.argument {
            Some(argument) => write!(f, "{}({argument})", self.function.name()),
            None => write!(f, "{}()", self.function.name()),
        }
    }
}

impl Display for Scalar {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Scalar::Aggregate(aggregate) => aggregate.fmt(f),
            Scalar::Literal(value) => value.fmt(f),
            Scalar::Binary { op, left, right } => write!(f, "({left}) {} ({right})", op.symbol()),
        }
    }
}

impl Display for ScalarFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let bracketed = |s: &Scalar| matches!(s, Scalar::Binary { .. });
        if bracketed(&self.left) {
            write!(f, "({})", self.left)?
        } else {
            self.left.fmt(f)?
        }
        write!(f, " {} ", self.op.symbol())?;
        if bracketed(&self.right) { write!(f, "({})", self.right) } else { self.right.fmt(f) }
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Stage::Spanset(Spanset::Pipeline(pipeline)) => write!(f, "({pipeline})"),
            Stage::Spanset(spanset) => spanset.fmt(f),
            Stage::Scalar(filter) => filter.fmt(f),
            Stage::By(expr) => write!(f, "by({expr})"),
            Stage::Select(fields) => {
                f.write_str("select(")?;
                list(f, fields, ", ")?;
                f.write_str(")")
            }
            Stage::Coalesce => f.write_str("coalesce()"),
        }
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        list(f, &self.stages, " | ")
    }
}

impl Display for ScalarPipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            ScalarPipeline::Aggregate { pipeline, aggregate } => write!(f, "({pipeline} | {aggregate})"),
            ScalarPipeline::Literal(value) => value.fmt(f),
            ScalarPipeline::Binary { op, left, right } => write!(f, "({left} {} {right})", op.symbol()),
        }
    }
}

impl Display for MetricsFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}(", self.name())?;
        match self {
            MetricsFunction::QuantileOverTime(field, quantiles) => {
                field.fmt(f)?;
                for quantile in quantiles {
                    write!(f, ", {quantile:?}")?;
                }
            }
            MetricsFunction::Compare(compare) => {
                write!(f, "{{ {} }}, {}", compare.filter, compare.top)?;
                if let Some((start, end)) = compare.range {
                    write!(f, ", {start}, {end}")?;
                }
            }
            other => {
                if let Some(field) = other.field() {
                    field.fmt(f)?;
                }
            }
        }
        f.write_str(")")
    }
}

impl Display for SecondStage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            SecondStage::Top(n) => write!(f, " | topk({n})"),
            SecondStage::Bottom(n) => write!(f, " | bottomk({n})"),
            SecondStage::Filter(op, value) => write!(f, " {} {value}", op.symbol()),
        }
    }
}

impl Display for MetricsQuery {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} | {}", self.pipeline, self.function)?;
        if !self.by.is_empty() {
            f.write_str(" by (")?;
            list(f, &self.by, ", ")?;
            f.write_str(")")?;
        }
        list(f, &self.stages, "")
    }
}

impl Display for Metrics {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let side = |f: &mut Formatter<'_>, side: &Metrics| match side {
            Metrics::Literal(value) => value.fmt(f),
            other => write!(f, "({other})"),
        };
        match self {
            Metrics::Query(query) => query.fmt(f),
            Metrics::Literal(value) => value.fmt(f),
            Metrics::Binary { op, left, right } => {
                side(f, left)?;
                write!(f, " {} ", op.symbol())?;
                side(f, right)
            }
            Metrics::Staged { inner, stages } => {
                match **inner {
                    Metrics::Query(_) => write!(f, "({inner})")?,
                    _ => inner.fmt(f)?,
                }
                list(f, stages, "")
            }
        }
    }
}

impl Display for Query {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.body {
            Body::Spansets(pipeline) => pipeline.fmt(f)?,
            Body::ScalarPipelines(filter) => write!(f, "{} {} {}", filter.left, filter.op.symbol(), filter.right)?,
            Body::Metrics(Metrics::Query(query)) => query.fmt(f)?,
            Body::Metrics(metrics) => metrics.fmt(f)?,
        }
        for (i, (name, value)) in self.hints.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { " with(" } else { ", " })?;
        }
        f.write_str(if self.hints.is_empty() { "" } else { ")" })
    }
}
