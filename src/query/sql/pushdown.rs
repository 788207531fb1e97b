//! What a scan can make use of among the conditions of a statement. SQL tests all of them again, so what is not understood
//! is left out.

use super::table::{ColumnType, Request, TableSpec};
use crate::model::TimeRange;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

/// Conditions, all of which hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Narrowed {
    range: TimeRange,
    equal: Vec<(String, Vec<String>)>,
    contains: Vec<(String, String)>,
}

impl Narrowed {
    pub fn by(spec: &TableSpec, conditions: &[Expr]) -> Narrowed {
        let mut narrowed = Narrowed { range: TimeRange::ALL, equal: Vec::new(), contains: Vec::new() };
        conditions.iter().for_each(|condition| narrowed.add(spec, condition));
        narrowed
    }

    /// Whether the condition leaves less to read.
    pub fn is_understood(spec: &TableSpec, condition: &Expr) -> bool {
        Narrowed::by(spec, std::slice::from_ref(condition)) != Narrowed::by(spec, &[])
    }

    pub fn request(self, spec: &TableSpec, columns: Vec<String>) -> Request {
        Request { table: spec.name, columns, range: self.range, equal: self.equal, contains: self.contains }
    }

    fn add(&mut self, spec: &TableSpec, condition: &Expr) {
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.add(spec, left);
                self.add(spec, right);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left), value(right), column(right), value(left)) {
                (Some(name), Some(value), ..) => self.compared(spec, name, *op, value),
                (.., Some(name), Some(value)) => {
                    if let Some(op) = op.swap() {
                        self.compared(spec, name, op, value);
                    }
                }
                _ if *op == Operator::Or => self.one_of(spec, condition),
                _ => {}
            },
            Expr::Between(between) if !between.negated => {
                if let (Some(name), Some(low), Some(high)) = (column(&between.expr), value(&between.low), value(&between.high)) {
                    self.compared(spec, name, Operator::GtEq, low);
                    self.compared(spec, name, Operator::LtEq, high);
                }
            }
            Expr::InList(InList { negated: false, .. }) => self.one_of(spec, condition),
            Expr::Like(Like { negated: false, case_insensitive: false, escape_char: None, expr, pattern }) => {
                if let (Some(name), Some(pattern)) = (column(expr).filter(|n| is_text(spec, n)), value(pattern).and_then(text)) {
                    let parts = pattern.split(['%', '_']).filter(|part| !part.is_empty() && !part.contains('\\'));
                    self.contains.extend(parts.map(|part| (name.to_owned(), part.to_owned())));
                }
            }
            Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "contains" => {
                if let [expr, part] = args.as_slice()
                    && let (Some(name), Some(part)) = (column(expr).filter(|n| is_text(spec, n)), value(part).and_then(text))
                {
                    self.contains.push((name.to_owned(), part.to_owned()));
                }
            }
            _ => {}
        }
    }

    fn compared(&mut self, spec: &TableSpec, name: &str, op: Operator, value: &ScalarValue) {
        if name == spec.time {
            let Some(time) = nanos(value) else { return };
            let after = time.saturating_add(1);
            let (start, end) = match op {
                Operator::Eq => (time, after),
                Operator::Gt => (after, i64::MAX),
                Operator::GtEq => (time, i64::MAX),
                Operator::Lt => (i64::MIN, time),
                Operator::LtEq => (i64::MIN, after),
                _ => return,
            };
            self.range = TimeRange::new(self.range.start.max(start), self.range.end.min(end));
        } else if op == Operator::Eq
            && is_text(spec, name)
            && let Some(text) = text(value)
        {
            self.equal.push((name.to_owned(), vec![text.to_owned()]));
        }
    }

    /// `a = 'x' or a = 'y'`, `a in ('x', 'y')`.
    fn one_of(&mut self, spec: &TableSpec, condition: &Expr) {
        let mut values = Vec::new();
        if let Some(name) = alternatives(condition, &mut values).filter(|name| is_text(spec, name)) {
            self.equal.push((name.to_owned(), values));
        }
    }
}

/// The one column that all alternatives test for equality with a text.
fn alternatives<'a>(condition: &'a Expr, values: &mut Vec<String>) -> Option<&'a str> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (a, b) = (alternatives(left, values)?, alternatives(right, values)?);
            (a == b).then_some(a)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            values.push(text(value(right)?)?.to_owned());
            column(left)
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            for item in list {
                values.push(text(value(item)?)?.to_owned());
            }
            column(expr)
        }
        _ => None,
    }
}

fn is_text(spec: &TableSpec, name: &str) -> bool {
    let fixed = spec.columns.iter().find(|(column, _)| *column == name).map(|(_, kind)| *kind);
    let kind = fixed.or_else(|| spec.families.iter().find_map(|family| family.parse(name)).map(|(_, kind)| kind));
    kind == Some(ColumnType::Text)
}

fn column(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Column(column) => Some(&column.name),
        _ => None,
    }
}

fn value(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => Some(text),
        _ => None,
    }
}

fn nanos(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(Some(time), _) => Some(*time),
        _ => None,
    }
}
