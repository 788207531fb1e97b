//! TraceQL as a tree: contracts/tempo.md 4.2.

use crate::traces::schema::AttributeScope;

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub body: Body,
    /// Of `with(…)`; the last one if there are several.
    pub hints: Vec<(String, Static)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Spansets(Pipeline),
    /// `(… | count()) > (… | count())`.
    ScalarPipelines(Box<ScalarPipelineFilter>),
    Metrics(Metrics),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// At least one.
    pub stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    Spanset(Spanset),
    Scalar(ScalarFilter),
    By(Expr),
    Select(Vec<Field>),
    Coalesce,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Spanset {
    /// `{ … }`; `{ }` is `{ true }`.
    Filter(Expr),
    Binary {
        op: SpansetOp,
        left: Box<Spanset>,
        right: Box<Spanset>,
    },
    /// An operand in parentheses that has several stages.
    Pipeline(Pipeline),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpansetOp {
    And,
    Or,
    Structural(Relation, Form),
}

/// Of the right-hand span to one on the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Child,
    Descendant,
    Parent,
    Ancestor,
    Sibling,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain,
    /// `!>`: right-hand spans without a match.
    Negated,
    /// `&>`: the spans of both sides.
    Union,
}

impl SpansetOp {
    pub const ALL: [(&'static str, SpansetOp); 17] = {
        use Form::{Negated, Plain, Union};
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        use SpansetOp::Structural;
        [
            ("&&", SpansetOp::And),
            ("||", SpansetOp::Or),
            (">", Structural(Child, Plain)),
            (">>", Structural(Descendant, Plain)),
            ("<", Structural(Parent, Plain)),
            ("<<", Structural(Ancestor, Plain)),
            ("~", Structural(Sibling, Plain)),
            ("!>", Structural(Child, Negated)),
            ("!>>", Structural(Descendant, Negated)),
            ("!<", Structural(Parent, Negated)),
            ("!<<", Structural(Ancestor, Negated)),
            ("!~", Structural(Sibling, Negated)),
            ("&>", Structural(Child, Union)),
            ("&>>", Structural(Descendant, Union)),
            ("&<", Structural(Parent, Union)),
            ("&<<", Structural(Ancestor, Union)),
            ("&~", Structural(Sibling, Union)),
        ]
    };

    pub fn parse(symbol: &str) -> Option<SpansetOp> {
        SpansetOp::ALL.iter().find(|(s, _)| *s == symbol).map(|(_, op)| *op)
    }

    pub fn symbol(self) -> &'static str {
        SpansetOp::ALL.iter().find(|(_, op)| *op == self).map_or("", |(s, _)| s)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ScalarFilter {
    pub op: Op,
    pub left: Scalar,
    pub right: Scalar,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    Aggregate(Aggregate),
    Literal(Static),
    Binary { op: Op, left: Box<Scalar>, right: Box<Scalar> },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    pub function: AggregateFunction,
    /// `None` for `count()`.
    pub argument: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateFunction {
    Count,
    Min,
    Max,
    Avg,
    Sum,
}

impl AggregateFunction {
    pub const fn name(self) -> &'static str {
        match self {
            AggregateFunction::Count => "count",
            AggregateFunction::Min => "min",
            AggregateFunction::Max => "max",
            AggregateFunction::Avg => "avg",
            AggregateFunction::Sum => "sum",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct ScalarPipelineFilter {
    pub op: Op,
    pub left: ScalarPipeline,
    pub right: ScalarPipeline,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ScalarPipeline {
    Aggregate { pipeline: Pipeline, aggregate: Aggregate },
    Literal(Static),
    Binary { op: Op, left: Box<ScalarPipeline>, right: Box<ScalarPipeline> },
}

/// An expression on one span.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Static(Static),
    Field(Field),
    Unary { op: UnaryOp, operand: Box<Expr> },
    Binary { op: Op, left: Box<Expr>, right: Box<Expr> },
}

impl Expr {
    /// Every field in it, from left to right.
    pub fn visit_fields<'a>(&'a self, visit: &mut impl FnMut(&'a Field)) {
        match self {
            Expr::Static(_) => {}
            Expr::Field(field) => visit(field),
            Expr::Unary { operand, .. } => operand.visit_fields(visit),
            Expr::Binary { left, right, .. } => {
                left.visit_fields(visit);
                right.visit_fields(visit);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    Minus,
    Not,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Eq,
    NotEq,
    Less,
    LessEq,
    Greater,
    GreaterEq,
    Regex,
    NotRegex,
    And,
    Or,
}

impl Op {
    pub const ALL: [(&'static str, Op); 16] = [
        ("+", Op::Add),
        ("-", Op::Sub),
        ("*", Op::Mul),
        ("/", Op::Div),
        ("%", Op::Mod),
        ("^", Op::Pow),
        ("=", Op::Eq),
        ("!=", Op::NotEq),
        ("<", Op::Less),
        ("<=", Op::LessEq),
        (">", Op::Greater),
        (">=", Op::GreaterEq),
        ("=~", Op::Regex),
        ("!~", Op::NotRegex),
        ("&&", Op::And),
        ("||", Op::Or),
    ];

    pub fn parse(symbol: &str) -> Option<Op> {
        Op::ALL.iter().find(|(s, _)| *s == symbol).map(|(_, op)| *op)
    }

    pub fn symbol(self) -> &'static str {
        Op::ALL.iter().find(|(_, op)| *op == self).map_or("", |(s, _)| s)
    }

    pub const fn is_arithmetic(self) -> bool {
        matches!(self, Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Pow)
    }

    /// The comparison that says the same with its sides swapped.
    pub const fn flipped(self) -> Op {
        match self {
            Op::Less => Op::Greater,
            Op::LessEq => Op::GreaterEq,
            Op::Greater => Op::Less,
            Op::GreaterEq => Op::LessEq,
            other => other,
        }
    }

    /// `= != < <= > >=`.
    pub const fn is_comparison(self) -> bool {
        matches!(self, Op::Eq | Op::NotEq | Op::Less | Op::LessEq | Op::Greater | Op::GreaterEq)
    }

    pub const fn is_regex(self) -> bool {
        matches!(self, Op::Regex | Op::NotRegex)
    }

    pub const fn is_logical(self) -> bool {
        matches!(self, Op::And | Op::Or)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Static {
    Nil,
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    String(String),
    Bool(bool),
    /// OTLP's status code.
    Status(i32),
    /// OTLP's span kind.
    Kind(i32),
}

/// By OTLP's numbers.
pub const STATUS_WORDS: [&str; 3] = ["unset", "ok", "error"];
pub const KIND_WORDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// The keyword of a number, or the number itself for one that OTLP does not define.
pub fn word(words: &[&str], number: i32) -> String {
    usize::try_from(number).ok().and_then(|n| words.get(n)).map_or_else(|| number.to_string(), |w| (*w).to_owned())
}

fn number(words: &[&str], word: &str) -> Option<i32> {
    words.iter().position(|w| *w == word).and_then(|n| i32::try_from(n).ok())
}

impl Static {
    /// A constant that is written as a word.
    pub fn parse_word(text: &str) -> Option<Static> {
        Some(match text {
            "true" => Static::Bool(true),
            "false" => Static::Bool(false),
            "nil" => Static::Nil,
            "minInt" => Static::Int(i64::MIN),
            "maxInt" => Static::Int(i64::MAX),
            _ => number(&STATUS_WORDS, text).map(Static::Status).or_else(|| number(&KIND_WORDS, text).map(Static::Kind))?,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    Attribute { scope: Scope, parent: bool, name: String },
    Intrinsic(Intrinsic),
}

impl Field {
    pub fn intrinsic(self) -> Option<Intrinsic> {
        match self {
            Field::Intrinsic(intrinsic) => Some(intrinsic),
            Field::Attribute { .. } => None,
        }
    }

    /// What stands before an attribute's name.
    pub const fn prefix(&self) -> &'static str {
        match self {
            Field::Attribute { scope, parent, .. } => match (parent, scope) {
                (false, scope) => scope.prefix(),
                (true, Scope::Span) => "parent.span.",
                (true, Scope::Resource) => "parent.resource.",
                (true, _) => "parent.",
            },
            Field::Intrinsic(intrinsic) => intrinsic.text(),
        }
    }

    /// Of the trace as a whole, or of the span's place in it.
    pub fn is_of_trace(&self) -> bool {
        matches!(
            self,
            Field::Intrinsic(
                Intrinsic::RootName
                    | Intrinsic::RootService
                    | Intrinsic::TraceDuration
                    | Intrinsic::NestedSetLeft
                    | Intrinsic::NestedSetRight
                    | Intrinsic::NestedSetParent
                    | Intrinsic::ChildCount
                    | Intrinsic::Parent
            )
        )
    }

    /// Of an event, which a span has any number of.
    pub fn is_of_event(&self) -> bool {
        matches!(
            self,
            Field::Attribute { scope: Scope::Event, .. } | Field::Intrinsic(Intrinsic::EventName | Intrinsic::EventTimeSinceStart)
        )
    }

    /// Of a link, which a span has any number of.
    pub fn is_of_link(&self) -> bool {
        matches!(self, Field::Attribute { scope: Scope::Link, .. } | Field::Intrinsic(Intrinsic::LinkTraceId | Intrinsic::LinkSpanId))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The span's, else the resource's.
    Any,
    Span,
    Resource,
    Event,
    Link,
    Instrumentation,
}

impl Scope {
    pub fn parse(word: &str) -> Option<Scope> {
        [Scope::Span, Scope::Resource, Scope::Event, Scope::Link, Scope::Instrumentation]
            .into_iter()
            .find(|s| s.prefix().strip_suffix('.') == Some(word))
    }

    pub const fn prefix(self) -> &'static str {
        match self {
            Scope::Any => ".",
            Scope::Span => "span.",
            Scope::Resource => "resource.",
            Scope::Event => "event.",
            Scope::Link => "link.",
            Scope::Instrumentation => "instrumentation.",
        }
    }

    /// Where its attributes are looked up, in this order.
    pub const fn attribute_scopes(self) -> &'static [AttributeScope] {
        match self {
            Scope::Any => &[
                AttributeScope::Span,
                AttributeScope::Resource,
                AttributeScope::Event,
                AttributeScope::Link,
                AttributeScope::Instrumentation,
            ],
            Scope::Span => &[AttributeScope::Span],
            Scope::Resource => &[AttributeScope::Resource],
            Scope::Event => &[AttributeScope::Event],
            Scope::Link => &[AttributeScope::Link],
            Scope::Instrumentation => &[AttributeScope::Instrumentation],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intrinsic {
    Duration,
    Name,
    Status,
    StatusMessage,
    Kind,
    Parent,
    RootName,
    RootService,
    TraceDuration,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    TraceId,
    SpanId,
    ParentId,
    ChildCount,
    EventName,
    EventTimeSinceStart,
    LinkTraceId,
    LinkSpanId,
    InstrumentationName,
    InstrumentationVersion,
}

impl Intrinsic {
    /// Every spelling; the first one of each is the canonical text (contracts/tempo.md 4.9, labels).
    pub const SPELLINGS: [(&'static str, Intrinsic); 30] = [
        ("duration", Intrinsic::Duration),
        ("span:duration", Intrinsic::Duration),
        ("name", Intrinsic::Name),
        ("span:name", Intrinsic::Name),
        ("status", Intrinsic::Status),
        ("span:status", Intrinsic::Status),
        ("statusMessage", Intrinsic::StatusMessage),
        ("span:statusMessage", Intrinsic::StatusMessage),
        ("kind", Intrinsic::Kind),
        ("span:kind", Intrinsic::Kind),
        ("parent", Intrinsic::Parent),
        ("rootName", Intrinsic::RootName),
        ("trace:rootName", Intrinsic::RootName),
        ("rootServiceName", Intrinsic::RootService),
        ("trace:rootService", Intrinsic::RootService),
        ("traceDuration", Intrinsic::TraceDuration),
        ("trace:duration", Intrinsic::TraceDuration),
        ("nestedSetLeft", Intrinsic::NestedSetLeft),
        ("nestedSetRight", Intrinsic::NestedSetRight),
        ("nestedSetParent", Intrinsic::NestedSetParent),
        ("trace:id", Intrinsic::TraceId),
        ("span:id", Intrinsic::SpanId),
        ("span:parentID", Intrinsic::ParentId),
        ("span:childCount", Intrinsic::ChildCount),
        ("event:name", Intrinsic::EventName),
        ("event:timeSinceStart", Intrinsic::EventTimeSinceStart),
        ("link:traceID", Intrinsic::LinkTraceId),
        ("link:spanID", Intrinsic::LinkSpanId),
        ("instrumentation:name", Intrinsic::InstrumentationName),
        ("instrumentation:version", Intrinsic::InstrumentationVersion),
    ];

    pub fn parse(word: &str) -> Option<Intrinsic> {
        Intrinsic::SPELLINGS.iter().find(|(s, _)| *s == word).map(|(_, i)| *i)
    }

    pub const fn text(self) -> &'static str {
        let mut at = 0;
        while at < Intrinsic::SPELLINGS.len() {
            if Intrinsic::SPELLINGS[at].1 as u8 == self as u8 {
                return Intrinsic::SPELLINGS[at].0;
            }
            at += 1;
        }
        ""
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Metrics {
    Query(Box<MetricsQuery>),
    Literal(Static),
    Binary {
        op: Op,
        left: Box<Metrics>,
        right: Box<Metrics>,
    },
    /// Second stages on the result of mathematics.
    Staged {
        inner: Box<Metrics>,
        stages: Vec<SecondStage>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct MetricsQuery {
    pub pipeline: Pipeline,
    pub function: MetricsFunction,
    pub by: Vec<Field>,
    pub stages: Vec<SecondStage>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricsFunction {
    Rate,
    CountOverTime,
    MinOverTime(Field),
    MaxOverTime(Field),
    AvgOverTime(Field),
    SumOverTime(Field),
    HistogramOverTime(Field),
    QuantileOverTime(Field, Vec<f64>),
    Compare(Compare),
}

impl MetricsFunction {
    pub const fn name(&self) -> &'static str {
        match self {
            MetricsFunction::Rate => "rate",
            MetricsFunction::CountOverTime => "count_over_time",
            MetricsFunction::MinOverTime(_) => "min_over_time",
            MetricsFunction::MaxOverTime(_) => "max_over_time",
            MetricsFunction::AvgOverTime(_) => "avg_over_time",
            MetricsFunction::SumOverTime(_) => "sum_over_time",
            MetricsFunction::HistogramOverTime(_) => "histogram_over_time",
            MetricsFunction::QuantileOverTime(..) => "quantile_over_time",
            MetricsFunction::Compare(_) => "compare",
        }
    }

    pub const fn field(&self) -> Option<&Field> {
        match self {
            MetricsFunction::Rate | MetricsFunction::CountOverTime | MetricsFunction::Compare(_) => None,
            MetricsFunction::MinOverTime(field)
            | MetricsFunction::MaxOverTime(field)
            | MetricsFunction::AvgOverTime(field)
            | MetricsFunction::SumOverTime(field)
            | MetricsFunction::HistogramOverTime(field)
            | MetricsFunction::QuantileOverTime(field, _) => Some(field),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Compare {
    pub filter: Expr,
    pub top: i64,
    /// `(start, end]` of the selection, nanoseconds.
    pub range: Option<(i64, i64)>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SecondStage {
    Top(i64),
    Bottom(i64),
    Filter(Op, Static),
}
