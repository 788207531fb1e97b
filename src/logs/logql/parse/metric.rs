use super::stages::number;
use super::{ParseError, Parser};
use crate::logs::logql::ast::{
    Binary, BinaryOp, Comparison, Expr, LabelReplace, LogExpr, LogRange, MetricExpr, RangeAggregation, RangeOp, VectorAggregation, VectorOp,
};
use crate::logs::logql::eval::binary::apply_scalars;
use crate::logs::logql::lex::Token;
use crate::logs::logql::print;
use crate::model::regexp;
use crate::query::{Cardinality, Grouping, Matching};

impl Parser {
    /// Operators that bind at least as tightly as `min`.
    pub(super) fn expression(&mut self, min: u8) -> Result<Expr, ParseError> {
        self.nested(|p| {
            let mut left = p.primary()?;
            while let Some(op) = p.binary_op() {
                if op.precedence() < min.max(1) {
                    break;
                }
                p.at += 1;
                p.operators += 1;
                let (return_bool, matching) = p.modifiers(op)?;
                let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
                let right = p.expression(next)?;
                left = Expr::Metric(binary(op, return_bool, matching, left, right)?);
            }
            Ok(left)
        })
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        match self.token().clone() {
            Token::Punct("{") => self.log_expression().map(Expr::Log),
            Token::Punct("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                self.expect(")", &[])?;
                Ok(inner)
            }
            Token::Number(text) => {
                let value = number(&text)?;
                self.at += 1;
                Ok(Expr::Metric(MetricExpr::Literal(value)))
            }
            Token::Punct(sign @ ("+" | "-")) => {
                self.at += 1;
                let value = self.number(&["NUMBER"])?;
                Ok(Expr::Metric(MetricExpr::Literal(if sign == "-" { -value } else { value })))
            }
            Token::Keyword("label_replace") => self.label_replace().map(Expr::Metric),
            Token::Function("vector") => {
                self.at += 1;
                self.expect("(", &["("])?;
                let value = self.number(&["NUMBER"])?;
                self.expect(")", &[")"])?;
                Ok(Expr::Metric(MetricExpr::Constant(value)))
            }
            Token::Function(name) => {
                if let Some((_, op)) = RangeOp::ALL.iter().find(|(n, _)| *n == name) {
                    self.at += 1;
                    return self.range_aggregation(*op).map(Expr::Metric);
                }
                let Some((_, op)) = VectorOp::ALL.iter().find(|(n, _)| *n == name) else { return Err(self.unexpected(&[])) };
                self.at += 1;
                self.vector_aggregation(*op).map(Expr::Metric)
            }
            _ => Err(self.unexpected(&[])),
        }
    }

    fn number(&mut self, expected: &[&str]) -> Result<f64, ParseError> {
        match self.token() {
            Token::Number(text) => {
                let value = number(text)?;
                self.at += 1;
                Ok(value)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// A metric expression inside an aggregation; a log query there ends in front of what should have been its range.
    fn inner_metric(&mut self) -> Result<MetricExpr, ParseError> {
        match self.expression(0)? {
            Expr::Metric(metric) => Ok(metric),
            Expr::Log(_) => Err(self.unexpected(&[])),
        }
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match self.token() {
            Token::Keyword("or") => BinaryOp::Or,
            Token::Keyword("and") => BinaryOp::And,
            Token::Keyword("unless") => BinaryOp::Unless,
            Token::Punct("==") => BinaryOp::Compare(Comparison::Equal),
            Token::Punct("!=") => BinaryOp::Compare(Comparison::NotEqual),
            Token::Punct(">") => BinaryOp::Compare(Comparison::Greater),
            Token::Punct(">=") => BinaryOp::Compare(Comparison::GreaterEqual),
            Token::Punct("<") => BinaryOp::Compare(Comparison::Less),
            Token::Punct("<=") => BinaryOp::Compare(Comparison::LessEqual),
            Token::Punct("+") => BinaryOp::Add,
            Token::Punct("-") => BinaryOp::Sub,
            Token::Punct("*") => BinaryOp::Mul,
            Token::Punct("/") => BinaryOp::Div,
            Token::Punct("%") => BinaryOp::Mod,
            Token::Punct("^") => BinaryOp::Pow,
            _ => return None,
        })
    }

    fn modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching), ParseError> {
        let mut matching = Matching::default();
        if op.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        if self.is_keyword("bool") && !matches!(op, BinaryOp::Compare(_)) {
            return Err(self.unexpected(&[]));
        }
        let return_bool = self.take_keyword("bool");
        if !self.is_keyword("on") && !self.is_keyword("ignoring") {
            return Ok((return_bool, matching));
        }
        matching.on = self.is_keyword("on");
        self.at += 1;
        matching.names = self.names()?;
        let group = if self.take_keyword("group_left") {
            Some(Cardinality::ManyToOne)
        } else if self.take_keyword("group_right") {
            Some(Cardinality::OneToMany)
        } else {
            None
        };
        if let Some(cardinality) = group {
            if op.is_set() {
                return Err(ParseError::new("no grouping allowed for set operations"));
            }
            matching.cardinality = cardinality;
            // `group_left (…)` may be followed by an operand in parentheses instead of labels.
            if self.is("(") && matches!(self.ahead(1), Token::Ident(_) | Token::Punct(")")) {
                matching.include = self.names()?;
            }
        }
        Ok((return_bool, matching))
    }

    /// `(a, b)`
    fn names(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(", &["("])?;
        let mut names = Vec::new();
        if self.take(")") {
            return Ok(names);
        }
        loop {
            let expected: &[&str] = if names.is_empty() { &["IDENTIFIER", ")"] } else { &["IDENTIFIER"] };
            names.push(self.identifier(expected)?);
            if self.take(")") {
                return Ok(names);
            }
            self.expect(",", &[",", ")"])?;
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.is_keyword("without");
        if !without && !self.is_keyword("by") {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(Grouping { without, names: self.names()? }))
    }

    fn range_aggregation(&mut self, op: RangeOp) -> Result<MetricExpr, ParseError> {
        self.expect("(", &["("])?;
        let mut parameter = None;
        if let Token::Number(text) = self.token().clone() {
            parameter = Some((number(&text)?, text));
            self.at += 1;
            self.expect(",", &[","])?;
        }
        let range = self.nested(Parser::log_range)?;
        self.expect(")", &[])?;
        let grouping = self.grouping()?;
        let name = op.as_str();
        if grouping.is_some() && !op.groups() {
            return Err(ParseError::new(format!("grouping not allowed for {name} aggregation")));
        }
        if range.unwrap.is_none() && op.needs_unwrap() {
            return Err(ParseError::new(format!("invalid aggregation {name} without unwrap")));
        }
        if range.unwrap.is_some() && !op.allows_unwrap() {
            return Err(ParseError::new(format!("invalid aggregation {name} with unwrap")));
        }
        match (&parameter, op) {
            (None, RangeOp::Quantile) => return Err(ParseError::new(format!("parameter required for operation {name}"))),
            (Some((_, text)), op) if op != RangeOp::Quantile => {
                return Err(ParseError::new(format!("parameter {text} not supported for operation {name}")));
            }
            _ => {}
        }
        Ok(MetricExpr::Range(RangeAggregation { op, parameter: parameter.map(|(value, _)| value), range, grouping }))
    }

    fn log_range(&mut self) -> Result<LogRange, ParseError> {
        let Partial { log, unwrap, range } = self.log_range_part()?;
        match range {
            Some((range, offset)) => Ok(LogRange { log, unwrap, range, offset }),
            None => Err(self.unexpected(&[])),
        }
    }

    /// A log range with or without its `[5m]`: inside parentheses it may come later.
    fn log_range_part(&mut self) -> Result<Partial, ParseError> {
        if self.take("(") {
            let mut inner = self.nested(Parser::log_range_part)?;
            self.expect(")", &[])?;
            if inner.range.is_none() {
                inner.range = self.range_and_offset()?;
            }
            return Ok(inner);
        }
        let matchers = self.selector()?;
        let mut range = self.range_and_offset()?;
        let stages = self.pipeline()?;
        let unwrap = self.unwrap_stage()?;
        if range.is_none() {
            range = self.range_and_offset()?;
        }
        Ok(Partial { log: LogExpr { matchers, stages }, unwrap, range })
    }

    fn range_and_offset(&mut self) -> Result<Option<(i64, i64)>, ParseError> {
        let Token::Range(range) = *self.token() else { return Ok(None) };
        self.at += 1;
        if !self.take_keyword("offset") {
            return Ok(Some((range, 0)));
        }
        let Token::Duration(offset) = *self.token() else { return Err(self.unexpected(&["DURATION"])) };
        self.at += 1;
        Ok(Some((range, offset)))
    }

    fn vector_aggregation(&mut self, op: VectorOp) -> Result<MetricExpr, ParseError> {
        let before = self.grouping()?;
        self.expect("(", &["("])?;
        let mut parameter = None;
        if let (Token::Number(text), Token::Punct(",")) = (self.token().clone(), self.ahead(1)) {
            parameter = Some(text);
            self.at += 2;
        }
        let inner = Box::new(self.inner_metric()?);
        self.expect(")", &[])?;
        let grouping = match before {
            Some(grouping) => Some(grouping),
            None => self.grouping()?,
        };
        let name = op.as_str();
        if matches!(op, VectorOp::Sort | VectorOp::SortDesc) && grouping.is_some() {
            return Err(ParseError::new("sort and sort_desc doesn't allow grouping by "));
        }
        if op == VectorOp::ApproxTopK && grouping.is_some() {
            return Err(ParseError::new("grouping not allowed for approx_topk aggregation"));
        }
        let k = match parameter {
            None if op.takes_parameter() => return Err(ParseError::new(format!("parameter required for operation {name}"))),
            None => 0,
            Some(text) if !op.takes_parameter() => {
                return Err(ParseError::new(format!("unsupported parameter for operation {name}({text},")));
            }
            Some(text) => match text.parse::<i64>() {
                Ok(k) if k > 0 => usize::try_from(k).unwrap_or(usize::MAX),
                Ok(_) => return Err(ParseError::new(format!("invalid parameter (must be greater than 0) {name}({text}"))),
                Err(_) => return Err(ParseError::new(format!("invalid parameter {name}({text},"))),
            },
        };
        Ok(MetricExpr::Vector(VectorAggregation { op, k, grouping, inner }))
    }

    fn label_replace(&mut self) -> Result<MetricExpr, ParseError> {
        self.at += 1;
        self.expect("(", &["("])?;
        let inner = self.inner_metric()?;
        let mut texts: [String; 4] = Default::default();
        for text in &mut texts {
            self.expect(",", &[","])?;
            *text = self.string(&["STRING"])?;
        }
        self.expect(")", &[")"])?;
        let [destination, replacement, source, regex] = texts;
        regexp::compile_anchored(&regex).map_err(|e| ParseError::new(format!("invalid regex in label_replace: {e}")))?;
        self.weigh(&regex)?;
        Ok(MetricExpr::LabelReplace(Box::new(LabelReplace { inner, destination, replacement, source, regex })))
    }
}

struct Partial {
    log: LogExpr,
    unwrap: Option<crate::logs::logql::ast::Unwrap>,
    range: Option<(i64, i64)>,
}

fn binary(op: BinaryOp, return_bool: bool, matching: Matching, left: Expr, right: Expr) -> Result<MetricExpr, ParseError> {
    let operand = |side: &str, expr: Expr| match expr {
        Expr::Metric(metric) => Ok(metric),
        Expr::Log(log) => {
            let kind = if log.stages.is_empty() { "MatchersExpr" } else { "PipelineExpr" };
            let op = op.as_str();
            Err(ParseError::new(format!("unexpected type for {side} leg of binary operation ({op}): *syntax.{kind}")))
        }
    };
    let (left, right) = (operand("left", left)?, operand("right", right)?);
    if op.is_set() {
        for (side, leg) in [("left", &left), ("right", &right)] {
            if let MetricExpr::Literal(value) = leg {
                let (op, value) = (op.as_str(), print::six_decimals(*value));
                return Err(ParseError::new(format!("unexpected literal for {side} leg of logical/set binary operation ({op}): {value}")));
            }
        }
    }
    if let (MetricExpr::Literal(l), MetricExpr::Literal(r)) = (&left, &right) {
        return Ok(MetricExpr::Literal(apply_scalars(op, *l, *r)));
    }
    Ok(MetricExpr::Binary(Box::new(Binary { op, return_bool, matching, left, right })))
}
