use super::functions::Function;
use crate::model::Matcher;
use crate::query::{Grouping, Matching};

/// Bytes of the query text, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    Vector,
    Matrix,
    String,
}

impl ValueType {
    /// As error messages name it.
    pub const fn documented(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::String => "string",
        }
    }

    /// As the API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "vector",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub kind: Kind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `duration` if it was written as one (`5m`).
    Number {
        value: f64,
        duration: bool,
    },
    Text(String),
    Selector(Selector),
    /// `selector[range]`.
    Range {
        selector: Selector,
        range: Duration,
    },
    Subquery(Box<Subquery>),
    Call {
        function: &'static Function,
        args: Vec<Expr>,
    },
    Aggregation(Box<Aggregation>),
    Binary(Box<Binary>),
    Unary {
        negative: bool,
        expr: Box<Expr>,
    },
    Paren(Box<Expr>),
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Selector {
    /// The metric name as written outside of matchers.
    pub name: Option<String>,
    /// In the order of the text; the one for the name, if any, is last.
    pub matchers: Vec<Matcher>,
    pub offset: Option<Duration>,
    pub at: Option<At>,
    pub anchored: bool,
    pub smoothed: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    pub expr: Expr,
    pub range: Duration,
    /// `None` is the default step.
    pub step: Option<Duration>,
    pub offset: Option<Duration>,
    pub at: Option<At>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Time(i64),
    Start,
    End,
}

/// Fixed, or an expression to be computed when the query's times are known.
#[derive(Debug, Clone, PartialEq)]
pub enum Duration {
    /// Milliseconds.
    Fixed(i64),
    Expr(DurationExpr),
}

#[derive(Debug, Clone, PartialEq)]
pub struct DurationExpr {
    pub kind: DurationKind,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// Seconds; `written` if in the form of a duration.
    Number {
        value: f64,
        written: bool,
    },
    /// `step()`.
    Step,
    /// `range()`.
    Range,
    Negative(Box<DurationExpr>),
    Positive(Box<DurationExpr>),
    Paren(Box<DurationExpr>),
    Binary {
        op: DurationOp,
        left: Box<DurationExpr>,
        right: Box<DurationExpr>,
    },
    /// `min_of(a, b)`.
    Min(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`.
    Max(Box<DurationExpr>, Box<DurationExpr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
}

impl DurationOp {
    pub const fn as_str(self) -> &'static str {
        match self {
            DurationOp::Add => "+",
            DurationOp::Sub => "-",
            DurationOp::Mul => "*",
            DurationOp::Div => "/",
            DurationOp::Mod => "%",
            DurationOp::Pow => "^",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Aggregation {
    pub op: AggregateOp,
    pub expr: Expr,
    pub param: Option<Expr>,
    pub grouping: Grouping,
    /// Whether `by` or `without` was written.
    pub grouped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    pub const ALL: [AggregateOp; 14] = [
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Count,
        AggregateOp::Min,
        AggregateOp::Max,
        AggregateOp::Group,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::Topk,
        AggregateOp::Bottomk,
        AggregateOp::CountValues,
        AggregateOp::Quantile,
        AggregateOp::Limitk,
        AggregateOp::LimitRatio,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Count => "count",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Topk => "topk",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    pub fn parse(word: &str) -> Option<AggregateOp> {
        AggregateOp::ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(word))
    }

    pub const fn has_param(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    pub op: BinaryOp,
    pub left: Expr,
    pub right: Expr,
    /// `bool`.
    pub returns_bool: bool,
    pub matching: Matching,
    /// Whether `on`, `ignoring` or a group modifier was written.
    pub matched: bool,
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Unless,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// `</`: keep the observations below.
    TrimUpper,
    /// `>/`: keep the observations above.
    TrimLower,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Atan2,
    Pow,
}

impl BinaryOp {
    pub const ALL: [BinaryOp; 18] = [
        BinaryOp::Or,
        BinaryOp::And,
        BinaryOp::Unless,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Less,
        BinaryOp::LessEqual,
        BinaryOp::Greater,
        BinaryOp::GreaterEqual,
        BinaryOp::TrimUpper,
        BinaryOp::TrimLower,
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Atan2,
        BinaryOp::Pow,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Or => "or",
            BinaryOp::And => "and",
            BinaryOp::Unless => "unless",
            BinaryOp::Equal => "==",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Pow => "^",
        }
    }

    /// Higher binds tighter.
    pub const fn precedence(self) -> u8 {
        use BinaryOp::{Add, And, Atan2, Div, Mod, Mul, Or, Pow, Sub, Unless};
        match self {
            Or => 1,
            And | Unless => 2,
            Add | Sub => 4,
            Mul | Div | Mod | Atan2 => 5,
            Pow => 6,
            _ => 3,
        }
    }

    pub const fn is_set(self) -> bool {
        matches!(self, BinaryOp::Or | BinaryOp::And | BinaryOp::Unless)
    }

    pub const fn is_trim(self) -> bool {
        matches!(self, BinaryOp::TrimUpper | BinaryOp::TrimLower)
    }

    pub const fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual)
    }
}

impl Expr {
    pub fn new(kind: Kind, start: usize, end: usize) -> Expr {
        Expr { kind, span: Span::new(start, end) }
    }

    /// Without the parentheses around it.
    pub fn bare(&self) -> &Expr {
        match &self.kind {
            Kind::Paren(inner) => inner.bare(),
            _ => self,
        }
    }

    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            Kind::Number { .. } => ValueType::Scalar,
            Kind::Text(_) => ValueType::String,
            Kind::Selector(_) | Kind::Aggregation(_) => ValueType::Vector,
            Kind::Range { .. } | Kind::Subquery(_) => ValueType::Matrix,
            Kind::Call { function, .. } => function.returns,
            Kind::Binary(b) => match (b.left.value_type(), b.right.value_type()) {
                (ValueType::Scalar, ValueType::Scalar) => ValueType::Scalar,
                _ => ValueType::Vector,
            },
            Kind::Unary { expr, .. } | Kind::Paren(expr) => expr.value_type(),
        }
    }

    /// Calls `visit` with every direct part that is an expression itself.
    pub fn for_each_child<'a>(&'a self, visit: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            Kind::Number { .. } | Kind::Text(_) | Kind::Selector(_) | Kind::Range { .. } => {}
            Kind::Subquery(s) => visit(&s.expr),
            Kind::Call { args, .. } => args.iter().for_each(visit),
            Kind::Aggregation(a) => {
                a.param.iter().for_each(&mut *visit);
                visit(&a.expr);
            }
            Kind::Binary(b) => {
                visit(&b.left);
                visit(&b.right);
            }
            Kind::Unary { expr, .. } | Kind::Paren(expr) => visit(expr),
        }
    }

    /// Every selector in the expression, in the order of the text.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = Vec::new();
        self.collect_selectors(&mut found);
        found
    }

    fn collect_selectors<'a>(&'a self, found: &mut Vec<&'a Selector>) {
        if let Kind::Selector(selector) | Kind::Range { selector, .. } = &self.kind {
            found.push(selector);
        }
        self.for_each_child(&mut |child| child.collect_selectors(found));
    }
}
