//! What a query shows of a span: the attributes it mentions (contracts/tempo.md 1.4). An attribute that is mentioned only
//! in comparisons to constants is shown where its value satisfies one of them, since only such values are looked at.
//!
//! What `select` and its like ask for of a span is left out where it is missing, but for the attributes that have columns
//! of their own in every block of Tempo's: these are shown as `nil`, which tables in Grafana keep as a cell.

use super::subject::{Bound, Look, Subject};
use super::value::{Value, compare};
use crate::model::regexp;
use crate::traces::traceql::ast::{Expr, Field, Intrinsic, Op, Pipeline, Scalar, Scope, Spanset, Stage, Static};
use regex::Regex;

/// Attributes of spans with a column of their own in Tempo's blocks, whatever its configuration.
const DEDICATED: [&str; 10] = [
    "http.method",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "http.status_code",
    "http.url",
    "server.address",
    "server.port",
    "url.path",
    "url.route",
];

#[derive(Debug, Default)]
pub struct Shown {
    mentions: Vec<Mention>,
}

#[derive(Debug)]
struct Mention {
    field: Field,
    /// Shown whatever its value: by `select`, `by`, an aggregate, or a condition that is more than a comparison.
    always: bool,
    conditions: Vec<Condition>,
}

#[derive(Debug)]
enum Condition {
    Compare(Op, Static),
    Regex(Regex, bool),
    Absent,
}

impl Shown {
    pub fn new(pipeline: &Pipeline) -> Shown {
        let mut shown = Shown::default();
        shown.pipeline(pipeline);
        shown
    }

    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.mentions.iter().map(|m| &m.field)
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for stage in &pipeline.stages {
            match stage {
                Stage::Spanset(spanset) => self.spanset(spanset),
                Stage::Scalar(filter) => {
                    self.scalar(&filter.left);
                    self.scalar(&filter.right);
                }
                Stage::By(expr) => expr.visit_fields(&mut |field| self.always(field)),
                Stage::Select(fields) => fields.iter().for_each(|field| self.always(field)),
                Stage::Coalesce => {}
            }
        }
    }

    fn spanset(&mut self, spanset: &Spanset) {
        match spanset {
            Spanset::Filter(expr) => self.condition(expr),
            Spanset::Pipeline(pipeline) => self.pipeline(pipeline),
            Spanset::Binary { left, right, .. } => {
                self.spanset(left);
                self.spanset(right);
            }
        }
    }

    fn scalar(&mut self, scalar: &Scalar) {
        match scalar {
            Scalar::Aggregate(aggregate) => {
                if let Some(argument) = &aggregate.argument {
                    argument.visit_fields(&mut |field| self.always(field));
                }
            }
            Scalar::Literal(_) => {}
            Scalar::Binary { left, right, .. } => {
                self.scalar(left);
                self.scalar(right);
            }
        }
    }

    fn condition(&mut self, expr: &Expr) {
        match expr {
            Expr::Binary { op: Op::And | Op::Or, left, right } => {
                self.condition(left);
                self.condition(right);
            }
            Expr::Binary { op, left, right } => match (&**left, &**right) {
                (Expr::Field(field), Expr::Static(value)) => self.comparison(field, *op, value),
                (Expr::Static(value), Expr::Field(field)) => self.comparison(field, op.flipped(), value),
                _ => expr.visit_fields(&mut |field| self.always(field)),
            },
            other => other.visit_fields(&mut |field| self.always(field)),
        }
    }

    fn comparison(&mut self, field: &Field, op: Op, value: &Static) {
        let condition = match (op, value) {
            (Op::Eq, Static::Nil) => Condition::Absent,
            (Op::Regex | Op::NotRegex, Static::String(pattern)) => match regexp::compile_anchored(pattern) {
                Ok(regex) => Condition::Regex(regex, op == Op::NotRegex),
                Err(_) => return,
            },
            (op, value) if op.is_comparison() && *value != Static::Nil => Condition::Compare(op, value.clone()),
            _ => return self.always(field),
        };
        self.mention(field).conditions.push(condition);
    }

    fn always(&mut self, field: &Field) {
        self.mention(field).always = true;
    }

    fn mention(&mut self, field: &Field) -> &mut Mention {
        let index = self.mentions.iter().position(|m| m.field == *field).unwrap_or_else(|| {
            self.mentions.push(Mention { field: field.clone(), always: false, conditions: Vec::new() });
            self.mentions.len() - 1
        });
        &mut self.mentions[index]
    }

    /// Whether the span's name is shown.
    pub fn name(&self, subject: Subject<'_>) -> bool {
        let name = Field::Intrinsic(Intrinsic::Name);
        self.mentions.iter().any(|m| m.field == name && m.value(subject).is_some())
    }

    /// What is known of the span, by the canonical text of each field.
    pub fn labels<'a>(&self, subject: impl Look<'a>) -> Vec<(String, Value<'static>)> {
        let known = self.mentions.iter().filter_map(|m| Some((m.field.to_string(), m.value(subject)?.into_owned())));
        known.filter(|(_, value)| !matches!(value, Value::Nil | Value::Array(_))).collect()
    }

    /// One value a key, without scope.
    pub fn attributes<'a>(&self, subject: Subject<'a>) -> Vec<(String, Value<'a>)> {
        let mut out: Vec<(String, Value<'a>)> = Vec::new();
        for mention in &self.mentions {
            let Some(key) = mention.key() else { continue };
            if out.iter().any(|(k, _)| *k == key) {
                continue;
            }
            if let Some(value) = mention.value(subject) {
                out.push((key.to_owned(), value));
            }
        }
        out
    }
}

impl Mention {
    /// `None` for what a result has a field of its own for.
    fn key(&self) -> Option<&str> {
        match &self.field {
            Field::Attribute { name, .. } => Some(name),
            Field::Intrinsic(
                Intrinsic::Name
                | Intrinsic::Duration
                | Intrinsic::TraceDuration
                | Intrinsic::RootName
                | Intrinsic::RootService
                | Intrinsic::TraceId
                | Intrinsic::SpanId,
            ) => None,
            Field::Intrinsic(intrinsic) => Some(intrinsic.text()),
        }
    }

    /// The value to show: of several events or links, the first that is to be shown.
    fn value<'a, L: Look<'a>>(&self, subject: L) -> Option<Value<'a>> {
        let (events, links) = subject.counts();
        let found = if self.field.is_of_event() {
            (0..events).find_map(|i| self.visible(subject.bound(Bound::To(Some(i)), Bound::Any).get(&self.field)))
        } else if self.field.is_of_link() {
            (0..links).find_map(|i| self.visible(subject.bound(Bound::Any, Bound::To(Some(i))).get(&self.field)))
        } else {
            self.visible(subject.get(&self.field))
        };
        let asked = || self.conditions.iter().any(|c| matches!(c, Condition::Absent)) || (self.always && self.is_dedicated());
        found.or_else(|| (asked() && subject.get(&self.field) == Value::Nil).then_some(Value::Nil))
    }

    fn is_dedicated(&self) -> bool {
        matches!(&self.field, Field::Attribute { scope: Scope::Span, parent: false, name } if DEDICATED.contains(&name.as_str()))
    }

    fn visible<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        match value {
            Value::Nil => None,
            value if self.always => Some(value),
            Value::Array(values) => {
                let mut kept: Vec<Value<'a>> = values.into_iter().filter(|v| self.satisfies(v)).collect();
                match kept.len() {
                    0 => None,
                    1 => kept.pop(),
                    _ => Some(Value::Array(kept)),
                }
            }
            value => self.satisfies(&value).then_some(value),
        }
    }

    fn satisfies(&self, value: &Value<'_>) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Compare(op, wanted) => compare(*op, value, &Value::of_static(wanted)).unwrap_or(false),
            Condition::Regex(regex, negated) => matches!(value, Value::String(text) if regex.is_match(text) != *negated),
            Condition::Absent => false,
        })
    }
}
