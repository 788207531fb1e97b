//! A query as a tree. Everything the grammar knows is here, whether it is evaluated or not.

use crate::model::Matcher;
use crate::query::{Grouping, Matching};

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    Log(LogExpr),
    Metric(MetricExpr),
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogExpr {
    pub matchers: Vec<Matcher>,
    pub stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    Line(LineFilter),
    /// Named expressions; none extracts everything.
    Json(Vec<(String, String)>),
    Logfmt {
        strict: bool,
        keep_empty: bool,
        fields: Vec<(String, String)>,
    },
    Regexp(String),
    Pattern(String),
    Unpack,
    Label(LabelFilter),
    LineFormat(String),
    LabelFormat(Vec<(String, FormatSource)>),
    Decolorize,
    Drop(Vec<LabelTest>),
    Keep(Vec<LabelTest>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineOp {
    Contains,
    NotContains,
    Regex,
    NotRegex,
    Pattern,
    NotPattern,
}

impl LineOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            LineOp::Contains => "|=",
            LineOp::NotContains => "!=",
            LineOp::Regex => "|~",
            LineOp::NotRegex => "!~",
            LineOp::Pattern => "|>",
            LineOp::NotPattern => "!>",
        }
    }

    pub const fn negative(self) -> bool {
        matches!(self, LineOp::NotContains | LineOp::NotRegex | LineOp::NotPattern)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFilter {
    pub op: LineOp,
    /// Joined by `or`; never empty.
    pub operands: Vec<LineOperand>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineOperand {
    Text(String),
    Ip(String),
}

/// A name alone, or a matcher.
#[derive(Debug, Clone, PartialEq)]
pub enum LabelTest {
    Name(String),
    Matcher(Matcher),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FormatSource {
    Rename(String),
    Template(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Comparison {
    pub const fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Greater => ">",
            Comparison::GreaterEqual => ">=",
            Comparison::Less => "<",
            Comparison::LessEqual => "<=",
        }
    }

    pub fn holds<T: PartialOrd>(self, left: T, right: T) -> bool {
        match self {
            Comparison::Equal => left == right,
            Comparison::NotEqual => left != right,
            Comparison::Greater => left > right,
            Comparison::GreaterEqual => left >= right,
            Comparison::Less => left < right,
            Comparison::LessEqual => left <= right,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum LabelFilter {
    Matcher(Matcher),
    Ip {
        name: String,
        negative: bool,
        pattern: String,
    },
    Number {
        name: String,
        op: Comparison,
        value: f64,
    },
    /// Nanoseconds.
    Duration {
        name: String,
        op: Comparison,
        value: i64,
    },
    Bytes {
        name: String,
        op: Comparison,
        value: u64,
    },
    And(Box<LabelFilter>, Box<LabelFilter>),
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conversion {
    None,
    Bytes,
    /// `duration` and `duration_seconds`.
    Duration(&'static str),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Unwrap {
    pub label: String,
    pub conversion: Conversion,
    /// Filters after it.
    pub filters: Vec<LabelFilter>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogRange {
    pub log: LogExpr,
    pub unwrap: Option<Unwrap>,
    /// Nanoseconds.
    pub range: i64,
    /// Nanoseconds; positive looks back.
    pub offset: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeOp {
    Count,
    Rate,
    RateCounter,
    Bytes,
    BytesRate,
    Sum,
    Avg,
    Min,
    Max,
    Stddev,
    Stdvar,
    Quantile,
    First,
    Last,
    Absent,
}

impl RangeOp {
    pub const ALL: [(&'static str, RangeOp); 15] = [
        ("count_over_time", RangeOp::Count),
        ("rate", RangeOp::Rate),
        ("rate_counter", RangeOp::RateCounter),
        ("bytes_over_time", RangeOp::Bytes),
        ("bytes_rate", RangeOp::BytesRate),
        ("sum_over_time", RangeOp::Sum),
        ("avg_over_time", RangeOp::Avg),
        ("min_over_time", RangeOp::Min),
        ("max_over_time", RangeOp::Max),
        ("stddev_over_time", RangeOp::Stddev),
        ("stdvar_over_time", RangeOp::Stdvar),
        ("quantile_over_time", RangeOp::Quantile),
        ("first_over_time", RangeOp::First),
        ("last_over_time", RangeOp::Last),
        ("absent_over_time", RangeOp::Absent),
    ];

    pub fn as_str(self) -> &'static str {
        RangeOp::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// Whether `by` and `without` may follow.
    pub const fn groups(self) -> bool {
        use RangeOp::{Avg, First, Last, Max, Min, Quantile, Stddev, Stdvar};
        matches!(self, Avg | Min | Max | Stddev | Stdvar | Quantile | First | Last)
    }

    pub const fn needs_unwrap(self) -> bool {
        self.groups() || matches!(self, RangeOp::Sum | RangeOp::RateCounter)
    }

    pub const fn allows_unwrap(self) -> bool {
        !matches!(self, RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    ApproxTopK,
    Sort,
    SortDesc,
}

impl VectorOp {
    pub const ALL: [(&'static str, VectorOp); 12] = [
        ("sum", VectorOp::Sum),
        ("avg", VectorOp::Avg),
        ("count", VectorOp::Count),
        ("min", VectorOp::Min),
        ("max", VectorOp::Max),
        ("stddev", VectorOp::Stddev),
        ("stdvar", VectorOp::Stdvar),
        ("topk", VectorOp::TopK),
        ("bottomk", VectorOp::BottomK),
        ("approx_topk", VectorOp::ApproxTopK),
        ("sort", VectorOp::Sort),
        ("sort_desc", VectorOp::SortDesc),
    ];

    pub fn as_str(self) -> &'static str {
        VectorOp::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    pub const fn takes_parameter(self) -> bool {
        matches!(self, VectorOp::TopK | VectorOp::BottomK | VectorOp::ApproxTopK)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Compare(Comparison),
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl BinaryOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Unless => "unless",
            BinaryOp::Compare(c) => c.as_str(),
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
        }
    }

    pub const fn is_set(self) -> bool {
        matches!(self, BinaryOp::Or | BinaryOp::And | BinaryOp::Unless)
    }

    /// Binding strength; higher binds tighter.
    pub const fn precedence(self) -> u8 {
        match self {
            BinaryOp::Or => 1,
            BinaryOp::And | BinaryOp::Unless => 2,
            BinaryOp::Compare(_) => 3,
            BinaryOp::Add | BinaryOp::Sub => 4,
            BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => 5,
            BinaryOp::Pow => 6,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum MetricExpr {
    Literal(f64),
    /// `vector(1)`.
    Constant(f64),
    Range(RangeAggregation),
    Vector(VectorAggregation),
    Binary(Box<Binary>),
    LabelReplace(Box<LabelReplace>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct RangeAggregation {
    pub op: RangeOp,
    /// Of `quantile_over_time`.
    pub parameter: Option<f64>,
    pub range: LogRange,
    pub grouping: Option<Grouping>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct VectorAggregation {
    pub op: VectorOp,
    pub k: usize,
    pub grouping: Option<Grouping>,
    pub inner: Box<MetricExpr>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    /// A comparison that answers 0 or 1 instead of filtering.
    pub return_bool: bool,
    pub matching: Matching,
    pub left: MetricExpr,
    pub right: MetricExpr,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LabelReplace {
    pub inner: MetricExpr,
    pub destination: String,
    pub replacement: String,
    pub source: String,
    pub regex: String,
}

impl MetricExpr {
    /// Calls `visit` for this expression and all below it.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a MetricExpr)) {
        visit(self);
        match self {
            MetricExpr::Literal(_) | MetricExpr::Constant(_) | MetricExpr::Range(_) => {}
            MetricExpr::Vector(v) => v.inner.walk(visit),
            MetricExpr::Binary(b) => {
                b.left.walk(visit);
                b.right.walk(visit);
            }
            MetricExpr::LabelReplace(l) => l.inner.walk(visit),
        }
    }
}
