//! Duration expressions, computed when the times of the query are known (contracts/prometheus.md 4.1).

use super::ast::{Duration, DurationExpr, DurationKind, DurationOp, Expr, Kind};
use crate::model::time::MILLI;

/// Milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub start: i64,
    pub end: i64,
    /// 0 in an instant query.
    pub step: i64,
}

/// Replaces every duration expression by its value. The error is the whole text of a failed query.
pub(super) fn resolve(expr: &mut Expr, times: Times) -> Result<(), String> {
    match &mut expr.kind {
        Kind::Number { .. } | Kind::Text(_) => Ok(()),
        Kind::Selector(selector) => optional(&mut selector.offset, times),
        Kind::Range { selector, range } => {
            optional(&mut selector.offset, times)?;
            positive(range, times)
        }
        Kind::Subquery(subquery) => {
            optional(&mut subquery.offset, times)?;
            positive(&mut subquery.range, times)?;
            if let Some(step) = &mut subquery.step {
                positive(step, times)?;
            }
            resolve(&mut subquery.expr, times)
        }
        Kind::Call { args, .. } => args.iter_mut().try_for_each(|a| resolve(a, times)),
        Kind::Aggregation(a) => {
            if let Some(param) = &mut a.param {
                resolve(param, times)?;
            }
            resolve(&mut a.expr, times)
        }
        Kind::Binary(b) => {
            resolve(&mut b.left, times)?;
            resolve(&mut b.right, times)
        }
        Kind::Unary { expr, .. } | Kind::Paren(expr) => resolve(expr, times),
    }
}

fn failure(expr: &DurationExpr, message: &str) -> String {
    format!("{}:{}: {message}", expr.span.start, expr.span.end)
}

fn optional(duration: &mut Option<Duration>, times: Times) -> Result<(), String> {
    duration.as_mut().map_or(Ok(()), |d| fix(d, times).map(|_| ()))
}

fn positive(duration: &mut Duration, times: Times) -> Result<(), String> {
    let text = if let Duration::Expr(expr) = &*duration { failure(expr, "duration must be greater than 0") } else { String::new() };
    if fix(duration, times)? <= 0 { Err(text) } else { Ok(()) }
}

fn fix(duration: &mut Duration, times: Times) -> Result<i64, String> {
    let ms = match duration {
        Duration::Fixed(ms) => return Ok(*ms),
        Duration::Expr(expr) => {
            let seconds = seconds(expr, times)?;
            if seconds.is_nan() || seconds.is_infinite() {
                return Err(failure(expr, "duration is NaN or infinite"));
            }
            let nanos = (seconds * 1e9).round();
            if nanos.abs() >= i64::MAX as f64 {
                return Err(failure(expr, "duration is out of range"));
            }
            nanos as i64 / MILLI
        }
    };
    *duration = Duration::Fixed(ms);
    Ok(ms)
}

fn seconds(expr: &DurationExpr, times: Times) -> Result<f64, String> {
    Ok(match &expr.kind {
        DurationKind::Number { value, .. } => *value,
        DurationKind::Step => times.step as f64 / 1000.0,
        DurationKind::Range => (times.end - times.start) as f64 / 1000.0,
        DurationKind::Negative(inner) => -seconds(inner, times)?,
        DurationKind::Positive(inner) | DurationKind::Paren(inner) => seconds(inner, times)?,
        DurationKind::Min(a, b) => seconds(a, times)?.min(seconds(b, times)?),
        DurationKind::Max(a, b) => seconds(a, times)?.max(seconds(b, times)?),
        DurationKind::Binary { op, left, right } => {
            let (left, right) = (seconds(left, times)?, seconds(right, times)?);
            match op {
                DurationOp::Add => left + right,
                DurationOp::Sub => left - right,
                DurationOp::Mul => left * right,
                DurationOp::Div if right == 0.0 => return Err(failure(expr, "division by zero")),
                DurationOp::Div => left / right,
                DurationOp::Mod if right == 0.0 => return Err(failure(expr, "modulo by zero")),
                DurationOp::Mod => left % right,
                DurationOp::Pow => left.powf(right),
            }
        }
    })
}

impl Duration {
    /// Milliseconds; 0 for an expression that was not resolved.
    pub fn ms(&self) -> i64 {
        match self {
            Duration::Fixed(ms) => *ms,
            Duration::Expr(_) => 0,
        }
    }
}
