//! A filter as conditions on columns.

use super::attached::{Attached, is_attached};
use super::check::Check;
use super::facts::View;
use super::rows::Rows;
use crate::model::regexp;
use crate::query::QueryError;
use crate::traces::traceql::ast::{Expr, Field, Intrinsic, Op, Static, UnaryOp};
use crate::traces::traceql::eval::{EvalError, Filter, joint, trimmed};

#[derive(Debug)]
pub enum Cond {
    Const(bool),
    And(Vec<Cond>),
    Or(Vec<Cond>),
    Not(Box<Cond>),
    Test(Field, Check),
    /// Some event satisfies it, or some link.
    Attached(Attached),
    /// Anything else, span by span.
    General(Filter, Vec<Field>),
}

/// Conditions joined by `&&` alone.
fn conjuncts<'a>(expr: &'a Expr, out: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Binary { op: Op::And, left, right } => {
            conjuncts(left, out);
            conjuncts(right, out);
        }
        other => out.push(other),
    }
}

fn is_of_events(expr: &Expr) -> bool {
    let mut events = false;
    expr.visit_fields(&mut |field| events |= field.is_of_event());
    events
}

pub fn failed(error: EvalError) -> QueryError {
    QueryError::Execution(error.to_string())
}

impl Cond {
    /// The condition, and whether it is exact in this block. One that is not holds for every span for which the filter
    /// holds, and perhaps for more.
    pub fn new(expr: &Expr, facts: View<'_>) -> Result<(Cond, bool), QueryError> {
        if !joint(expr) {
            return Cond::apart(expr, facts);
        }
        // All conditions on events must hold on one event, so they are one condition; and so of links.
        let mut conditions = Vec::new();
        conjuncts(expr, &mut conditions);
        let (attached, others): (Vec<&Expr>, Vec<&Expr>) = conditions.into_iter().partition(|e| is_attached(e));
        let all = |conditions: &[&Expr]| {
            let and = |left: Expr, right: Expr| Expr::Binary { op: Op::And, left: Box::new(left), right: Box::new(right) };
            conditions.iter().map(|e| (*e).clone()).reduce(and)
        };
        let (mut cond, mut exact) = match all(&others) {
            Some(others) => Cond::apart(&others, facts)?,
            None => (Cond::Const(true), true),
        };
        let (events, links): (Vec<&Expr>, Vec<&Expr>) = attached.into_iter().partition(|e| is_of_events(e));
        for together in [events, links] {
            let Some(together) = all(&together) else { continue };
            match Attached::new(&together) {
                Some(attached) => cond = cond.and(Cond::Attached(attached)),
                None => exact = false,
            }
        }
        Ok((cond, exact))
    }

    /// Each condition on events looks for one of its own.
    fn apart(expr: &Expr, facts: View<'_>) -> Result<(Cond, bool), QueryError> {
        let logical = matches!(expr, Expr::Binary { op: Op::And | Op::Or, .. } | Expr::Unary { op: UnaryOp::Not, .. });
        if !logical && is_attached(expr) {
            return Ok(Attached::new(expr).map_or((Cond::Const(true), false), |attached| (Cond::Attached(attached), true)));
        }
        if let Some(constant) = Filter::new(expr).constant() {
            return Ok((Cond::Const(constant), true));
        }
        match expr {
            Expr::Field(field) => Cond::test(field, Check::Compare(Op::Eq, Static::Bool(true)), facts),
            Expr::Unary { op: UnaryOp::Not, operand } => match &**operand {
                Expr::Field(field) => Cond::test(field, Check::Compare(Op::Eq, Static::Bool(false)), facts),
                other => match Cond::apart(other, facts)? {
                    (inner, true) => Ok((Cond::Not(Box::new(inner)), true)),
                    (_, false) => Ok((Cond::Const(true), false)),
                },
            },
            Expr::Binary { op: op @ (Op::And | Op::Or), left, right } => {
                let ((left, left_exact), (right, right_exact)) = (Cond::apart(left, facts)?, Cond::apart(right, facts)?);
                Ok((if *op == Op::And { left.and(right) } else { left.or(right) }, left_exact && right_exact))
            }
            Expr::Binary { op, left, right } => match (&**left, &**right) {
                (Expr::Field(field), Expr::Static(value)) => Cond::compared(field, *op, value, expr, facts),
                (Expr::Static(value), Expr::Field(field)) if !op.is_regex() => Cond::compared(field, op.flipped(), value, expr, facts),
                _ => Cond::general(expr, facts),
            },
            _ => Cond::general(expr, facts),
        }
    }

    fn compared(field: &Field, op: Op, value: &Static, expr: &Expr, facts: View<'_>) -> Result<(Cond, bool), QueryError> {
        let check = match (op, value) {
            (Op::Eq, Static::Nil) => Check::Absent,
            (Op::NotEq, Static::Nil) => Check::Exists,
            (Op::Regex | Op::NotRegex, Static::String(pattern)) => match regexp::compile_anchored(pattern) {
                Ok(regex) => Check::Regex { regex, negated: op == Op::NotRegex },
                Err(_) => return Cond::general(expr, facts),
            },
            (op, Static::String(id)) if op.is_comparison() && *field == Field::Intrinsic(Intrinsic::TraceId) => {
                Check::Compare(op, Static::String(trimmed(id.to_ascii_lowercase())))
            }
            (op, value) if op.is_comparison() => Check::Compare(op, value.clone()),
            _ => return Cond::general(expr, facts),
        };
        Cond::test(field, check, facts)
    }

    fn test(field: &Field, check: Check, facts: View<'_>) -> Result<(Cond, bool), QueryError> {
        let exact = facts.judges(field)?;
        Ok((if exact { Cond::Test(field.clone(), check) } else { Cond::Const(true) }, exact))
    }

    fn general(expr: &Expr, facts: View<'_>) -> Result<(Cond, bool), QueryError> {
        let mut fields = Vec::new();
        expr.visit_fields(&mut |field| fields.push(field.clone()));
        for field in &fields {
            if !facts.judges(field)? {
                return Ok((Cond::Const(true), false));
            }
        }
        Ok((Cond::General(Filter::new(expr), fields), true))
    }

    fn and(self, other: Cond) -> Cond {
        match (self, other) {
            (Cond::Const(false), _) | (_, Cond::Const(false)) => Cond::Const(false),
            (Cond::Const(true), other) | (other, Cond::Const(true)) => other,
            (Cond::And(mut all), Cond::And(more)) => {
                all.extend(more);
                Cond::And(all)
            }
            (Cond::And(mut all), one) => {
                all.push(one);
                Cond::And(all)
            }
            (one, other) => Cond::And(vec![one, other]),
        }
    }

    fn or(self, other: Cond) -> Cond {
        match (self, other) {
            (Cond::Const(true), _) | (_, Cond::Const(true)) => Cond::Const(true),
            (Cond::Const(false), other) | (other, Cond::Const(false)) => other,
            (Cond::Or(mut any), one) => {
                any.push(one);
                Cond::Or(any)
            }
            (one, other) => Cond::Or(vec![one, other]),
        }
    }

    /// Takes the rows away from `within` for which the condition does not hold. A row on which it fails stays if `lenient`.
    pub fn keep(&self, rows: &mut Rows<'_>, within: &mut [bool], lenient: bool) -> Result<(), QueryError> {
        match self {
            Cond::Const(true) => Ok(()),
            Cond::Const(false) => {
                within.fill(false);
                Ok(())
            }
            Cond::And(all) => {
                // What prunes by dictionaries comes first; what is computed span by span sees what is left.
                let rank = |c: &Cond| match c {
                    Cond::Test(Field::Attribute { .. }, Check::Compare(Op::Eq, _)) => 0,
                    Cond::Test(Field::Intrinsic(Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::TraceId), _) => 2,
                    Cond::Test(..) | Cond::Const(_) => 1,
                    Cond::Not(_) | Cond::And(_) | Cond::Or(_) => 3,
                    Cond::Attached(_) => 4,
                    Cond::General(..) => 5,
                };
                let mut order: Vec<&Cond> = all.iter().collect();
                order.sort_by_key(|c| rank(c));
                order.into_iter().try_for_each(|c| c.keep(rows, within, lenient))
            }
            Cond::Or(any) => {
                let mut rest = within.to_vec();
                for cond in any {
                    let mut holds = rest.clone();
                    cond.keep(rows, &mut holds, lenient)?;
                    rest.iter_mut().zip(&holds).for_each(|(rest, holds)| *rest &= !holds);
                }
                within.iter_mut().zip(&rest).for_each(|(within, rest)| *within &= !rest);
                Ok(())
            }
            Cond::Not(inner) => {
                let mut holds = within.to_vec();
                // A row on which the condition fails must stay, so it must not count as one that satisfies it.
                match inner.keep(rows, &mut holds, false) {
                    Err(QueryError::Execution(_)) if lenient => holds.fill(false),
                    result => result?,
                }
                within.iter_mut().zip(&holds).for_each(|(within, holds)| *within &= !holds);
                Ok(())
            }
            Cond::Test(field, check) => test(field, check, rows, within, lenient),
            Cond::Attached(attached) if within.contains(&true) => attached.keep(rows, within, lenient),
            Cond::Attached(_) => Ok(()),
            Cond::General(filter, fields) => general(filter, fields, rows, within, lenient),
        }
    }
}

fn test(field: &Field, check: &Check, rows: &mut Rows<'_>, within: &mut [bool], lenient: bool) -> Result<(), QueryError> {
    for (piece, place) in rows.pieces() {
        let own = &mut within[place];
        if own.contains(&true) && !rows.may_hold(piece, field, check)? {
            own.fill(false);
        }
    }
    if !within.contains(&true) {
        return Ok(());
    }
    let column = rows.column(field)?;
    for ((_, place), layers) in rows.pieces().zip(&column.pieces) {
        let own = &mut within[place];
        if !own.contains(&true) {
            continue;
        }
        let mut mask = vec![check.holds_for_nil(); own.len()];
        // The first layer that has a value wins, so it is the last to write.
        for layer in layers.iter().rev() {
            match check.fill(layer, &mut mask) {
                Ok(()) => {}
                Err(_) if lenient => mask.fill(true),
                Err(error) => return Err(failed(error)),
            }
        }
        own.iter_mut().zip(&mask).for_each(|(own, mask)| *own &= mask);
    }
    Ok(())
}

fn general(filter: &Filter, fields: &[Field], rows: &mut Rows<'_>, within: &mut [bool], lenient: bool) -> Result<(), QueryError> {
    if !within.contains(&true) {
        return Ok(());
    }
    let columns = rows.columns(fields)?;
    for (piece, place) in rows.pieces() {
        for (row, own) in within[place].iter_mut().enumerate().filter(|(_, own)| **own) {
            match filter.matches(columns.row(piece, row)) {
                Ok(holds) => *own = holds,
                Err(_) if lenient => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(())
}
