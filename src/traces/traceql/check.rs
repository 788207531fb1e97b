//! What a parsed query must satisfy: contracts/tempo.md 4.3.

use super::ast::{
    Aggregate, Body, Compare, Expr, Field, Intrinsic, Metrics, MetricsFunction, MetricsQuery, Op, Pipeline, Query, Scalar, ScalarFilter,
    ScalarPipeline, Scope, SecondStage, Spanset, Stage, Static, UnaryOp,
};
use crate::model::regexp;

/// The query has no meaning, or none that is supported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    #[error("{0}")]
    Invalid(String),
    /// Part of the language, and not evaluated.
    #[error("{0} not yet supported")]
    Unsupported(String),
}

type Checked<T> = Result<T, CheckError>;

fn invalid<T>(message: String) -> Checked<T> {
    Err(CheckError::Invalid(message))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    /// An attribute: known when the query runs.
    Any,
    Nil,
    Number,
    String,
    Bool,
    Status,
    Kind,
}

pub fn check(query: &Query) -> Checked<()> {
    match &query.body {
        Body::Spansets(pipeline) => check_pipeline(pipeline),
        Body::ScalarPipelines(filter) => {
            check_scalar_pipeline(&filter.left)?;
            check_scalar_pipeline(&filter.right)?;
            Err(CheckError::Unsupported("scalar filters on pipelines are".into()))
        }
        Body::Metrics(metrics) => check_metrics(metrics, false),
    }
}

fn check_pipeline(pipeline: &Pipeline) -> Checked<()> {
    pipeline.stages.iter().try_for_each(|stage| match stage {
        Stage::Spanset(spanset) => check_spanset(spanset),
        Stage::Scalar(filter) => check_scalar_filter(filter),
        Stage::By(expr) => {
            type_of(expr)?;
            if !mentions_span(expr) {
                return invalid(format!("grouping field expressions must reference the span: {expr}"));
            }
            Ok(())
        }
        Stage::Select(fields) => fields.iter().try_for_each(|field| type_of_field(field).map(|_| ())),
        Stage::Coalesce => Ok(()),
    })
}

fn check_spanset(spanset: &Spanset) -> Checked<()> {
    match spanset {
        Spanset::Filter(expr) => check_filter(expr),
        Spanset::Pipeline(pipeline) => check_pipeline(pipeline),
        Spanset::Binary { left, right, .. } => {
            check_spanset(left)?;
            check_spanset(right)
        }
    }
}

fn check_filter(expr: &Expr) -> Checked<()> {
    match type_of(expr)? {
        Type::Bool | Type::Any => Ok(()),
        _ => invalid(format!("span filter field expressions must resolve to a boolean: {{ {expr} }}")),
    }
}

fn check_scalar_filter(filter: &ScalarFilter) -> Checked<()> {
    check_scalar(&filter.left)?;
    check_scalar(&filter.right)?;
    match (&filter.left, &filter.right) {
        (Scalar::Aggregate(_), Scalar::Literal(_)) => Ok(()),
        _ => Err(CheckError::Unsupported(format!("scalar filters other than an aggregate compared to a literal are ({filter}):"))),
    }
}

fn check_scalar(scalar: &Scalar) -> Checked<()> {
    match scalar {
        Scalar::Aggregate(aggregate) => check_aggregate(aggregate),
        Scalar::Literal(_) => Ok(()),
        Scalar::Binary { left, right, .. } => {
            check_scalar(left)?;
            check_scalar(right)
        }
    }
}

fn check_aggregate(aggregate: &Aggregate) -> Checked<()> {
    let Some(argument) = &aggregate.argument else { return Ok(()) };
    if !matches!(type_of(argument)?, Type::Number | Type::Any) {
        return invalid(format!("aggregate field expressions must resolve to a number type: {aggregate}"));
    }
    if !mentions_span(argument) {
        return invalid(format!("aggregate field expressions must reference the span: {aggregate}"));
    }
    Ok(())
}

fn check_scalar_pipeline(pipeline: &ScalarPipeline) -> Checked<()> {
    match pipeline {
        ScalarPipeline::Aggregate { pipeline, aggregate } => {
            check_pipeline(pipeline)?;
            check_aggregate(aggregate)
        }
        ScalarPipeline::Literal(_) => Ok(()),
        ScalarPipeline::Binary { left, right, .. } => {
            check_scalar_pipeline(left)?;
            check_scalar_pipeline(right)
        }
    }
}

fn mentions_span(expr: &Expr) -> bool {
    let mut any = false;
    expr.visit_fields(&mut |_| any = true);
    any
}

fn type_of(expr: &Expr) -> Checked<Type> {
    match expr {
        Expr::Static(value) => Ok(type_of_static(value)),
        Expr::Field(field) => type_of_field(field),
        Expr::Unary { op, operand } => {
            let operand = type_of(operand)?;
            let (wanted, result) = match op {
                UnaryOp::Minus => (Type::Number, Type::Number),
                UnaryOp::Not => (Type::Bool, Type::Bool),
            };
            if operand == wanted || operand == Type::Any {
                return Ok(result);
            }
            invalid(format!("illegal operation for the given type: {expr}"))
        }
        Expr::Binary { op, left, right } => type_of_binary(*op, left, right, expr),
    }
}

fn type_of_static(value: &Static) -> Type {
    match value {
        Static::Nil => Type::Nil,
        Static::Int(_) | Static::Float(_) | Static::Duration(_) => Type::Number,
        Static::String(_) => Type::String,
        Static::Bool(_) => Type::Bool,
        Static::Status(_) => Type::Status,
        Static::Kind(_) => Type::Kind,
    }
}

fn type_of_field(field: &Field) -> Checked<Type> {
    let intrinsic = match field {
        Field::Attribute { parent: true, .. } | Field::Intrinsic(Intrinsic::Parent) => {
            return Err(CheckError::Unsupported("parent".into()));
        }
        Field::Attribute { .. } => return Ok(Type::Any),
        Field::Intrinsic(intrinsic) => intrinsic,
    };
    Ok(match intrinsic {
        Intrinsic::Duration
        | Intrinsic::TraceDuration
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent
        | Intrinsic::ChildCount => Type::Number,
        Intrinsic::Status => Type::Status,
        Intrinsic::Kind => Type::Kind,
        Intrinsic::InstrumentationName | Intrinsic::InstrumentationVersion | Intrinsic::Parent => Type::Any,
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::TraceId
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::EventName
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId => Type::String,
    })
}

fn type_of_binary(op: Op, left: &Expr, right: &Expr, whole: &Expr) -> Checked<Type> {
    let (l, r) = (type_of(left)?, type_of(right)?);
    if l == Type::Nil || r == Type::Nil {
        check_nil(op, if l == Type::Nil { right } else { left })?;
        return Ok(Type::Bool);
    }
    if op.is_regex() {
        check_regex(l, right, whole)?;
        return Ok(Type::Bool);
    }
    if l != r && l != Type::Any && r != Type::Any {
        return invalid(format!("binary operations must operate on the same type: {whole}"));
    }
    let defined = |t: Type| match op {
        _ if t == Type::Any => true,
        Op::Eq | Op::NotEq => true,
        Op::Less | Op::LessEq | Op::Greater | Op::GreaterEq => matches!(t, Type::Number | Type::String),
        Op::And | Op::Or => t == Type::Bool,
        _ => t == Type::Number,
    };
    if !defined(l) || !defined(r) {
        return invalid(format!("illegal operation for the given types: {whole}"));
    }
    Ok(if op.is_arithmetic() { Type::Number } else { Type::Bool })
}

fn check_nil(op: Op, other: &Expr) -> Checked<()> {
    let Expr::Field(field) = other else { return Ok(()) };
    let is_service = matches!(field, Field::Attribute { scope: Scope::Resource, parent: false, name } if name == "service.name");
    match field {
        _ if op != Op::Eq => Ok(()),
        Field::Intrinsic(_) => invalid(format!("{field}=nil is not valid because intrinsics cannot be nil")),
        _ if is_service => invalid("resource.service.name=nil is not valid because resource.service.name cannot be nil".into()),
        Field::Attribute { .. } => Ok(()),
    }
}

fn check_regex(left: Type, right: &Expr, whole: &Expr) -> Checked<()> {
    let Expr::Static(Static::String(pattern)) = right else { return invalid(format!("invalid type for =~ or !~: {whole}")) };
    if !matches!(left, Type::String | Type::Any) {
        return invalid(format!("invalid type for =~ or !~: {whole}"));
    }
    match regexp::compile_anchored(pattern) {
        Ok(_) => Ok(()),
        Err(_) => invalid(format!("invalid regex: {right}")),
    }
}

/// Attributes in `by` of a metrics function; some functions add a label of their own.
const BY_MAX: usize = 5;

fn check_metrics(metrics: &Metrics, staged: bool) -> Checked<()> {
    match metrics {
        Metrics::Literal(_) => Ok(()),
        Metrics::Query(query) => check_metrics_query(query, staged),
        Metrics::Binary { left, right, .. } => {
            check_metrics(left, true)?;
            check_metrics(right, true)
        }
        Metrics::Staged { inner, stages } => {
            check_metrics(inner, true)?;
            check_stages(stages)
        }
    }
}

fn check_metrics_query(query: &MetricsQuery, staged: bool) -> Checked<()> {
    check_pipeline(&query.pipeline)?;
    query.function.field().into_iter().chain(&query.by).try_for_each(|field| type_of_field(field).map(|_| ()))?;
    let by_max = match query.function {
        MetricsFunction::QuantileOverTime(..) | MetricsFunction::HistogramOverTime(_) | MetricsFunction::AvgOverTime(_) => BY_MAX - 1,
        _ => BY_MAX,
    };
    if query.by.len() > by_max {
        return Err(CheckError::Unsupported(format!("metrics group by {} values", query.by.len())));
    }
    if let MetricsFunction::QuantileOverTime(_, quantiles) = &query.function
        && let Some(bad) = quantiles.iter().find(|q| !(0.0..=1.0).contains(*q))
    {
        return invalid(format!("quantile must be between 0 and 1: {bad}"));
    }
    if let MetricsFunction::Compare(compare) = &query.function {
        check_compare(compare)?;
        if staged || !query.stages.is_empty() {
            return invalid("`compare()` cannot be used with second stage functions".into());
        }
    }
    check_stages(&query.stages)
}

fn check_compare(compare: &Compare) -> Checked<()> {
    check_filter(&compare.filter)?;
    if !(1..=1000).contains(&compare.top) {
        return invalid("compare() top number of values must be an integer between 1 and 1000".into());
    }
    match compare.range {
        Some((start, end)) if start <= 0 || end <= 0 => invalid("compare() timestamps must be positive integer unix nanoseconds".into()),
        Some((start, end)) if end <= start => invalid("compare() end timestamp must be greater than start timestamp".into()),
        _ => Ok(()),
    }
}

fn check_stages(stages: &[SecondStage]) -> Checked<()> {
    stages.iter().try_for_each(|stage| match stage {
        SecondStage::Top(n) | SecondStage::Bottom(n) if *n <= 0 => invalid("limit must be greater than 0".into()),
        SecondStage::Top(_) | SecondStage::Bottom(_) | SecondStage::Filter(..) => Ok(()),
    })
}
