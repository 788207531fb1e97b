//! Tools on the text of a query: `format_query` and `parse_query` (contracts/prometheus.md 1.9).

use super::error::ApiError;
use super::json::{push_string, success};
use crate::metrics::promql::{
    Aggregation, At, Binary, Duration, DurationExpr, DurationKind, Expr, Function, Kind, Selector, Subquery, parse, pretty,
};
use crate::model::number::plain_float;
use crate::query::Cardinality;
use crate::web::Params;
use axum::response::Response;
use serde_json::{Value, json};

fn parsed(params: &Params) -> Result<Expr, ApiError> {
    let text = params.get("query").unwrap_or("");
    parse(text).map_err(|e| ApiError::parameter("query", e.render(text)))
}

pub async fn format_query(params: Params) -> Response {
    match parsed(&params) {
        Ok(expr) => {
            let mut data = String::new();
            push_string(&mut data, &pretty(&expr));
            success(&data, &[], &[])
        }
        Err(error) => error.into_response(),
    }
}

pub async fn parse_query(params: Params) -> Response {
    match parsed(&params) {
        Ok(expr) => success(&node(&expr).to_string(), &[], &[]),
        Err(error) => error.into_response(),
    }
}

fn node(expr: &Expr) -> Value {
    match &expr.kind {
        Kind::Number { value, .. } => json!({ "type": "numberLiteral", "val": plain_float(*value) }),
        Kind::Text(text) => json!({ "type": "stringLiteral", "val": text }),
        Kind::Paren(inner) => json!({ "type": "parenExpr", "expr": node(inner) }),
        Kind::Unary { negative, expr } => json!({ "type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": node(expr) }),
        Kind::Selector(selector) => selector_node("vectorSelector", selector),
        Kind::Range { selector, range } => {
            let mut value = selector_node("matrixSelector", selector);
            value["range"] = json!(range.ms());
            value["rangeExpr"] = duration_node(Some(range));
            value
        }
        Kind::Subquery(subquery) => subquery_node(subquery),
        Kind::Call { function, args } => {
            json!({ "type": "call", "func": function_node(function), "args": args.iter().map(node).collect::<Vec<_>>() })
        }
        Kind::Aggregation(aggregation) => aggregation_node(aggregation),
        Kind::Binary(binary) => binary_node(binary),
    }
}

fn function_node(function: &Function) -> Value {
    let args: Vec<&str> = function.args.iter().map(|a| a.as_str()).collect();
    json!({ "name": function.name, "argTypes": args, "variadic": function.variadic, "returnType": function.returns.as_str() })
}

fn aggregation_node(a: &Aggregation) -> Value {
    json!({
        "type": "aggregation",
        "op": a.op.as_str(),
        "expr": node(&a.expr),
        "param": a.param.as_ref().map(node),
        "grouping": a.grouping.names,
        "without": a.grouping.without,
    })
}

fn binary_node(b: &Binary) -> Value {
    let card = match b.matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    let matching = json!({
        "card": card,
        "labels": b.matching.names,
        "on": b.matching.on,
        "include": b.matching.include,
        "fillValues": { "lhs": b.fill_left, "rhs": b.fill_right },
    });
    let between_vectors = [&b.left, &b.right].iter().all(|e| e.value_type().as_str() == "vector");
    json!({
        "type": "binaryExpr",
        "op": b.op.as_str(),
        "lhs": node(&b.left),
        "rhs": node(&b.right),
        "matching": if between_vectors { matching } else { Value::Null },
        "bool": b.returns_bool,
    })
}

fn selector_node(kind: &str, s: &Selector) -> Value {
    let matchers: Vec<Value> = s.matchers.iter().map(|m| json!({ "name": m.name, "value": m.value, "type": m.op.as_str() })).collect();
    let (timestamp, start_or_end) = at_nodes(s.at);
    json!({
        "type": kind,
        "name": s.name.as_deref().unwrap_or(""),
        "offset": s.offset.as_ref().map_or(0, Duration::ms),
        "offsetExpr": duration_node(s.offset.as_ref()),
        "matchers": matchers,
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
        "anchored": s.anchored,
        "smoothed": s.smoothed,
    })
}

fn subquery_node(s: &Subquery) -> Value {
    let (timestamp, start_or_end) = at_nodes(s.at);
    json!({
        "type": "subquery",
        "expr": node(&s.expr),
        "range": s.range.ms(),
        "rangeExpr": duration_node(Some(&s.range)),
        "offset": s.offset.as_ref().map_or(0, Duration::ms),
        "offsetExpr": duration_node(s.offset.as_ref()),
        "step": s.step.as_ref().map_or(0, Duration::ms),
        "stepExpr": duration_node(s.step.as_ref()),
        "timestamp": timestamp,
        "startOrEnd": start_or_end,
    })
}

fn at_nodes(at: Option<At>) -> (Value, Value) {
    match at {
        None => (Value::Null, Value::Null),
        Some(At::Time(ms)) => (json!(ms), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    }
}

/// `null` for a literal duration.
fn duration_node(duration: Option<&Duration>) -> Value {
    match duration {
        None | Some(Duration::Fixed(_)) => Value::Null,
        Some(Duration::Expr(expr)) => duration_expr(expr, false),
    }
}

fn duration_expr(expr: &DurationExpr, wrapped: bool) -> Value {
    let parts =
        |op: &str, left: Value, right: Value| json!({ "type": "durationExpr", "op": op, "lhs": left, "rhs": right, "wrapped": wrapped });
    match &expr.kind {
        DurationKind::Number { value, .. } => json!({ "type": "numberLiteral", "val": plain_float(*value) }),
        DurationKind::Step => parts("step", Value::Null, Value::Null),
        DurationKind::Range => parts("range", Value::Null, Value::Null),
        DurationKind::Negative(inner) => parts("-", Value::Null, duration_expr(inner, false)),
        DurationKind::Positive(inner) => parts("+", Value::Null, duration_expr(inner, false)),
        DurationKind::Paren(inner) => duration_expr(inner, true),
        DurationKind::Binary { op, left, right } => parts(op.as_str(), duration_expr(left, false), duration_expr(right, false)),
        DurationKind::Min(a, b) => parts("min_of", duration_expr(a, false), duration_expr(b, false)),
        DurationKind::Max(a, b) => parts("max_of", duration_expr(a, false), duration_expr(b, false)),
    }
}
