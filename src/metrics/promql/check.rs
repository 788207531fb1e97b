//! Types of arguments and operands, with Prometheus's messages.

use super::ast::{AggregateOp, Aggregation, Binary, BinaryOp, Expr, Kind, Selector, ValueType};
use super::functions::Function;
use super::parser::ParseError;
use crate::query::Cardinality;

type Result<T> = std::result::Result<T, ParseError>;

pub(super) fn check(expr: &Expr) -> Result<()> {
    match &expr.kind {
        Kind::Number { .. } | Kind::Text(_) => Ok(()),
        Kind::Selector(selector) | Kind::Range { selector, .. } => non_empty(expr, selector),
        Kind::Subquery(subquery) => {
            check(&subquery.expr)?;
            match subquery.expr.value_type() {
                ValueType::Vector => Ok(()),
                other => fail(expr, format!("subquery is only allowed on instant vector, got {} instead", other.as_str())),
            }
        }
        Kind::Call { function, args } => call(expr, function, args),
        Kind::Aggregation(aggregation) => check_aggregation(aggregation),
        Kind::Binary(binary) => check_binary(expr, binary),
        Kind::Unary { expr: inner, .. } => {
            check(inner)?;
            match inner.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => {
                    let message = "unary expression only allowed on expressions of type scalar or instant vector";
                    fail(expr, format!("{message}, got {:?}", other.documented()))
                }
            }
        }
        Kind::Paren(inner) => check(inner),
    }
}

fn fail<T>(at: &Expr, message: impl Into<String>) -> Result<T> {
    Err(ParseError::new(at.span, message))
}

fn non_empty(expr: &Expr, selector: &Selector) -> Result<()> {
    if selector.matchers.iter().all(|m| m.matches_empty()) {
        return fail(expr, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}

fn expect(expr: &Expr, wanted: ValueType, context: &str) -> Result<()> {
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    fail(expr, format!("expected type {} in {context}, got {}", wanted.documented(), got.documented()))
}

fn call(expr: &Expr, function: &Function, args: &[Expr]) -> Result<()> {
    let (wanted, got, name) = (function.args.len(), args.len(), function.name);
    let least = match function.variadic {
        0 => wanted,
        -1 => wanted.saturating_sub(1),
        optional => wanted - optional.unsigned_abs() as usize,
    };
    if function.variadic == 0 && got != wanted {
        return fail(expr, format!("expected {wanted} argument(s) in call to {name:?}, got {got}"));
    }
    if got < least {
        return fail(expr, format!("expected at least {least} argument(s) in call to {name:?}, got {got}"));
    }
    if function.variadic > 0 && got > wanted {
        return fail(expr, format!("expected at most {wanted} argument(s) in call to {name:?}, got {got}"));
    }
    let context = format!("call to function {name:?}");
    for (at, arg) in args.iter().enumerate() {
        if name == "info" && at == 1 {
            info_selector(arg)?;
            continue;
        }
        check(arg)?;
        let wanted = function.args.get(at).or(function.args.last());
        expect(arg, *wanted.unwrap_or(&ValueType::Scalar), &context)?;
    }
    Ok(())
}

/// The second argument of `info` is braces only, and may be empty.
fn info_selector(arg: &Expr) -> Result<()> {
    match &arg.kind {
        Kind::Selector(selector) if selector.name.is_none() && selector.offset.is_none() && selector.at.is_none() => Ok(()),
        Kind::Selector(_) => fail(arg, "expected label selectors only, got vector selector instead"),
        _ => fail(
            arg,
            format!("expected label selectors as the second argument to \"info\" function, but got {}", arg.value_type().documented()),
        ),
    }
}

fn check_aggregation(aggregation: &Aggregation) -> Result<()> {
    check(&aggregation.expr)?;
    expect(&aggregation.expr, ValueType::Vector, "aggregation expression")?;
    if let Some(param) = &aggregation.param {
        check(param)?;
        let wanted = if aggregation.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
        expect(param, wanted, "aggregation parameter")?;
    }
    Ok(())
}

fn check_binary(expr: &Expr, binary: &Binary) -> Result<()> {
    check(&binary.left)?;
    check(&binary.right)?;
    let types = [binary.left.value_type(), binary.right.value_type()];
    for (side, found) in [&binary.left, &binary.right].into_iter().zip(types) {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            return fail(side, "binary expression must contain only scalar and instant vector types");
        }
    }
    let scalars = types.iter().filter(|t| **t == ValueType::Scalar).count();
    if scalars == 2 && binary.op.is_comparison() && !binary.returns_bool {
        return fail(expr, "comparisons between scalars must use BOOL modifier");
    }
    if scalars > 0 && binary.op.is_set() {
        return fail(expr, format!("set operator {:?} not allowed in binary scalar expression", binary.op.as_str()));
    }
    if scalars > 0 && (binary.matched && (!binary.matching.names.is_empty() || binary.matching.cardinality != Cardinality::OneToOne)) {
        return fail(expr, "vector matching only allowed between instant vectors");
    }
    if scalars > 0 && (binary.fill_left.is_some() || binary.fill_right.is_some()) {
        return fail(expr, "filling in missing series only allowed between instant vectors");
    }
    if scalars == 2 && matches!(binary.op, BinaryOp::TrimLower | BinaryOp::TrimUpper) {
        return fail(expr, format!("operator {:?} not allowed for scalar operations", binary.op.as_str()));
    }
    Ok(())
}
