//! Expressions on one span, made ready to run: regular expressions compiled, and it is known which comparisons are about
//! events and links.

use super::subject::{Bound, Look, trimmed};
use super::value::{EvalError, Value, calculate, compare};
use crate::model::regexp;
use crate::traces::traceql::ast::{Expr, Field, Intrinsic, Op, Static, UnaryOp};
use regex::Regex;

/// A boolean expression.
#[derive(Debug)]
pub struct Filter {
    node: Node,
    /// Whether all conditions on events must hold on one event; then the same is true of links.
    joint: bool,
    about: About,
}

/// What has several values on one span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct About {
    events: bool,
    links: bool,
}

impl About {
    fn of(expr: &Expr) -> About {
        let mut about = About::default();
        expr.visit_fields(&mut |field| {
            about.events |= field.is_of_event();
            about.links |= field.is_of_link();
        });
        about
    }
}

#[derive(Debug)]
enum Node {
    Static(Static),
    Field(Field),
    Minus(Box<Node>),
    Not(Box<Node>),
    Both(Box<Node>, Box<Node>),
    Either(Box<Node>, Box<Node>),
    Calculate(Op, Box<Node>, Box<Node>),
    /// A test on its own; about events and links it asks whether one satisfies it.
    Test(Test, About),
}

#[derive(Debug)]
enum Test {
    Compare(Op, Box<Node>, Box<Node>),
    Regex {
        operand: Box<Node>,
        regex: Regex,
        negated: bool,
    },
    Exists(Box<Node>),
    Absent(Box<Node>),
    /// `nil = nil` and `nil != nil`.
    Never,
}

impl Filter {
    /// `expr` has been checked.
    pub fn new(expr: &Expr) -> Filter {
        Filter { node: boolean(expr), joint: joint(expr), about: About::of(expr) }
    }

    pub fn matches<'a>(&'a self, subject: impl Look<'a>) -> Result<bool, EvalError> {
        if !self.joint || self.about == About::default() {
            return self.node.truth(subject);
        }
        any_binding(self.about, subject, |bound| self.node.truth(bound))
    }

    /// The answer, if it is the same for every span.
    pub fn constant(&self) -> Option<bool> {
        self.node.constant()
    }
}

/// An expression for its value: of `by`, or an aggregate's argument.
#[derive(Debug)]
pub struct Computed(Node);

impl Computed {
    pub fn new(expr: &Expr) -> Computed {
        Computed(plain(expr))
    }

    pub fn value<'a>(&'a self, subject: impl Look<'a>) -> Result<Value<'a>, EvalError> {
        self.0.value(subject)
    }
}

/// Conditions joined by `&&` alone: those on events must hold on one event, and those on links on one link.
pub fn joint(expr: &Expr) -> bool {
    match expr {
        Expr::Binary { op: Op::Or, .. } => false,
        Expr::Binary { left, right, .. } => joint(left) && joint(right),
        Expr::Unary { operand, .. } => joint(operand),
        Expr::Static(_) | Expr::Field(_) => true,
    }
}

/// As a condition: a field alone is a comparison to `true`.
fn boolean(expr: &Expr) -> Node {
    let is = |field: &Field, wanted| {
        let test = Test::Compare(Op::Eq, Box::new(Node::Field(field.clone())), Box::new(Node::Static(Static::Bool(wanted))));
        Node::Test(test, About::of(expr))
    };
    match expr {
        Expr::Field(field) => is(field, true),
        Expr::Unary { op: UnaryOp::Not, operand } => match &**operand {
            // A missing value is neither true nor false.
            Expr::Field(field) => is(field, false),
            other => Node::Not(Box::new(boolean(other))),
        },
        Expr::Binary { op: Op::And, left, right } => Node::Both(Box::new(boolean(left)), Box::new(boolean(right))),
        Expr::Binary { op: Op::Or, left, right } => Node::Either(Box::new(boolean(left)), Box::new(boolean(right))),
        other => plain(other),
    }
}

fn plain(expr: &Expr) -> Node {
    match expr {
        Expr::Static(value) => Node::Static(value.clone()),
        Expr::Field(field) => Node::Field(field.clone()),
        Expr::Unary { op: UnaryOp::Minus, operand } => Node::Minus(Box::new(plain(operand))),
        Expr::Unary { op: UnaryOp::Not, .. } | Expr::Binary { op: Op::And | Op::Or, .. } => boolean(expr),
        Expr::Binary { op, left, right } if op.is_arithmetic() => Node::Calculate(*op, Box::new(plain(left)), Box::new(plain(right))),
        Expr::Binary { op, left, right } => Node::Test(test(*op, left, right), About::of(expr)),
    }
}

fn test(op: Op, left: &Expr, right: &Expr) -> Test {
    let nil = |e: &Expr| *e == Expr::Static(Static::Nil);
    if nil(left) || nil(right) {
        let other = if nil(left) { right } else { left };
        let operand = Box::new(plain(other));
        return match op {
            _ if nil(other) => Test::Never,
            Op::NotEq => Test::Exists(operand),
            _ => Test::Absent(operand),
        };
    }
    if op.is_regex() {
        let Expr::Static(Static::String(pattern)) = right else { return Test::Never };
        // The check has compiled it before.
        let Ok(regex) = regexp::compile_anchored(pattern) else { return Test::Never };
        return Test::Regex { operand: Box::new(plain(left)), regex, negated: op == Op::NotRegex };
    }
    let is_trace_id = |e: &Expr| *e == Expr::Field(Field::Intrinsic(Intrinsic::TraceId));
    let side = |expr: &Expr, other: &Expr| match expr {
        Expr::Static(Static::String(id)) if is_trace_id(other) => Node::Static(Static::String(trimmed(id.to_ascii_lowercase()))),
        _ => plain(expr),
    };
    Test::Compare(op, Box::new(side(left, right)), Box::new(side(right, left)))
}

/// Whether `holds` is true with some event and some link.
fn any_binding<'a, L: Look<'a>>(about: About, subject: L, holds: impl Fn(L) -> Result<bool, EvalError>) -> Result<bool, EvalError> {
    let choices = |wanted: bool, bound: Bound, count: usize| match bound {
        Bound::Any if wanted && count == 0 => vec![Bound::To(None)],
        Bound::Any if wanted => (0..count).map(|i| Bound::To(Some(i))).collect(),
        bound => vec![bound],
    };
    let (event, link) = subject.bounds();
    let (events, links) = subject.counts();
    let links = choices(about.links, link, links);
    for event in choices(about.events, event, events) {
        for link in &links {
            if holds(subject.bound(event, *link))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Node {
    fn truth<'a, L: Look<'a>>(&'a self, subject: L) -> Result<bool, EvalError> {
        match self {
            Node::Both(left, right) => Ok(left.truth(subject)? && right.truth(subject)?),
            Node::Either(left, right) => Ok(left.truth(subject)? || right.truth(subject)?),
            Node::Not(inner) => Ok(!inner.truth(subject)?),
            Node::Test(test, about) if *about == About::default() => test.holds(subject),
            // Absent means that no event has it, not that one has it not.
            Node::Test(Test::Absent(operand), about) => {
                any_binding(*about, subject, |bound| Ok(operand.value(bound)? != Value::Nil)).map(|any| !any)
            }
            Node::Test(test, about) => any_binding(*about, subject, |bound| test.holds(bound)),
            Node::Static(_) | Node::Field(_) | Node::Minus(_) | Node::Calculate(..) => Ok(self.value(subject)? == Value::Bool(true)),
        }
    }

    fn value<'a, L: Look<'a>>(&'a self, subject: L) -> Result<Value<'a>, EvalError> {
        Ok(match self {
            Node::Static(value) => Value::of_static(value),
            Node::Field(field) => subject.get(field),
            Node::Minus(operand) => match operand.value(subject)? {
                Value::Int(n) => Value::Int(n.wrapping_neg()),
                Value::Float(f) => Value::Float(-f),
                Value::Duration(d) => Value::Duration(d.wrapping_neg()),
                _ => Value::Nil,
            },
            Node::Calculate(op, left, right) => calculate(*op, &left.value(subject)?, &right.value(subject)?)?,
            Node::Both(..) | Node::Either(..) | Node::Not(_) | Node::Test(..) => Value::Bool(self.truth(subject)?),
        })
    }

    fn constant(&self) -> Option<bool> {
        match self {
            Node::Static(value) => Some(*value == Static::Bool(true)),
            Node::Not(inner) => inner.constant().map(|b| !b),
            Node::Both(left, right) => match (left.constant(), right.constant()) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Node::Either(left, right) => match (left.constant(), right.constant()) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Node::Test(Test::Compare(op, left, right), _) => match (&**left, &**right) {
                (Node::Static(left), Node::Static(right)) => compare(*op, &Value::of_static(left), &Value::of_static(right)).ok(),
                _ => None,
            },
            Node::Test(Test::Never, _) => Some(false),
            Node::Field(_) | Node::Minus(_) | Node::Calculate(..) | Node::Test(..) => None,
        }
    }
}

impl Test {
    fn holds<'a, L: Look<'a>>(&'a self, subject: L) -> Result<bool, EvalError> {
        match self {
            Test::Compare(op, left, right) => compare(*op, &left.value(subject)?, &right.value(subject)?),
            Test::Regex { operand, regex, negated } => Ok(match operand.value(subject)? {
                Value::String(text) => regex.is_match(&text) != *negated,
                Value::Array(values) => {
                    let hit = |v: &Value<'_>| matches!(v, Value::String(text) if regex.is_match(text));
                    let text = |v: &Value<'_>| matches!(v, Value::String(_));
                    if *negated { values.iter().all(|v| text(v) && !hit(v)) } else { values.iter().any(hit) }
                }
                _ => false,
            }),
            Test::Exists(operand) => Ok(operand.value(subject)? != Value::Nil),
            Test::Absent(operand) => Ok(operand.value(subject)? == Value::Nil),
            Test::Never => Ok(false),
        }
    }
}
