//! Which columns a query reads.

use crate::traces::columns::Projection;
use crate::traces::traceql::ast::{Expr, Field, Intrinsic, Metrics, Pipeline, Scalar, Scope, Spanset, Stage};

/// Adds what looking at the field reads.
pub fn need(projection: &mut Projection, field: &Field) {
    let intrinsic = match field {
        Field::Attribute { scope, name, .. } => {
            for attribute_scope in scope.attribute_scopes() {
                projection.add_attribute(*attribute_scope, name);
            }
            if *scope == Scope::Resource && name == "service.name" {
                projection.add_column("service_name");
            }
            return;
        }
        Field::Intrinsic(intrinsic) => intrinsic,
    };
    projection.add_columns(match intrinsic {
        Intrinsic::Duration | Intrinsic::TraceDuration => &["duration_ns"],
        Intrinsic::Name => &["name"],
        Intrinsic::Status => &["status_code"],
        Intrinsic::StatusMessage => &["status_message"],
        Intrinsic::RootName => &["name", "parent_span_id"],
        Intrinsic::RootService => &["parent_span_id"],
        Intrinsic::Parent
        | Intrinsic::ParentId
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent
        | Intrinsic::ChildCount => &["parent_span_id"],
        Intrinsic::InstrumentationName => &["scope_name"],
        Intrinsic::InstrumentationVersion => &["scope_version"],
        Intrinsic::Kind
        | Intrinsic::TraceId
        | Intrinsic::SpanId
        | Intrinsic::EventName
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId => &[],
    });
    match intrinsic {
        Intrinsic::RootService => projection.add_attribute(crate::traces::schema::AttributeScope::Resource, "service.name"),
        Intrinsic::EventName | Intrinsic::EventTimeSinceStart => projection.events = true,
        Intrinsic::LinkTraceId | Intrinsic::LinkSpanId => projection.links = true,
        _ => {}
    }
}

pub fn need_expr(projection: &mut Projection, expr: &Expr) {
    expr.visit_fields(&mut |field| need(projection, field));
}

/// What evaluating a pipeline reads; `select` is only for show.
pub fn need_pipeline(projection: &mut Projection, pipeline: &Pipeline) {
    for stage in &pipeline.stages {
        match stage {
            Stage::Spanset(spanset) => need_spanset(projection, spanset),
            Stage::Scalar(filter) => {
                need_scalar(projection, &filter.left);
                need_scalar(projection, &filter.right);
            }
            Stage::By(expr) => need_expr(projection, expr),
            Stage::Select(_) | Stage::Coalesce => {}
        }
    }
}

fn need_spanset(projection: &mut Projection, spanset: &Spanset) {
    match spanset {
        Spanset::Filter(expr) => need_expr(projection, expr),
        Spanset::Pipeline(pipeline) => need_pipeline(projection, pipeline),
        Spanset::Binary { op, left, right } => {
            if matches!(op, crate::traces::traceql::ast::SpansetOp::Structural(..)) {
                projection.add_column("parent_span_id");
            }
            need_spanset(projection, left);
            need_spanset(projection, right);
        }
    }
}

fn need_scalar(projection: &mut Projection, scalar: &Scalar) {
    match scalar {
        Scalar::Aggregate(aggregate) => {
            if let Some(argument) = &aggregate.argument {
                need_expr(projection, argument);
            }
        }
        Scalar::Literal(_) => {}
        Scalar::Binary { left, right, .. } => {
            need_scalar(projection, left);
            need_scalar(projection, right);
        }
    }
}

/// The first pipeline of a metrics query: what a search for it finds.
pub fn first_pipeline(metrics: &Metrics) -> Option<&Pipeline> {
    match metrics {
        Metrics::Query(query) => Some(&query.pipeline),
        Metrics::Literal(_) => None,
        Metrics::Binary { left, right, .. } => first_pipeline(left).or_else(|| first_pipeline(right)),
        Metrics::Staged { inner, .. } => first_pipeline(inner),
    }
}
