use super::{ParseError, Parser};
use crate::metrics::promql::ast::{Duration, DurationExpr, DurationKind, DurationOp, Span};
use crate::metrics::promql::lexer::Token;
use crate::model::time::MILLI;

/// The precedence of `^`, which binds tighter than a sign before it.
const POWER: u8 = 3;

impl Parser {
    /// A duration with arithmetic, as ranges and steps take it. A literal one must be positive.
    pub(super) fn duration(&mut self, what: &str) -> Result<Duration, ParseError> {
        let expr = self.deeper(|p| p.duration_binary(0))?;
        let duration = fixed(expr)?;
        if let Duration::Fixed(ms) = duration
            && ms <= 0
        {
            let _ = what;
            return Err(ParseError::new(Span::new(self.end(), self.end()), "duration must be greater than 0"));
        }
        Ok(duration)
    }

    /// What may follow `offset`: a literal with a sign, a call, or a parenthesis.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let expr = self.duration_signed(Parser::duration_primary)?;
        fixed(expr)
    }

    fn duration_binary(&mut self, minimum: u8) -> Result<DurationExpr, ParseError> {
        let mut left = self.duration_unary()?;
        while let Some((op, precedence)) = self.duration_op().filter(|(_, p)| *p >= minimum) {
            self.count_operator()?;
            self.next();
            let tighter = if op == DurationOp::Pow { precedence } else { precedence + 1 };
            let right = self.deeper(|p| p.duration_binary(tighter))?;
            let span = Span::new(left.span.start, right.span.end);
            let kind = DurationKind::Binary { op, left: Box::new(left), right: Box::new(right) };
            left = DurationExpr { kind, span };
        }
        Ok(left)
    }

    fn duration_op(&self) -> Option<(DurationOp, u8)> {
        let Token::Symbol(symbol) = self.peek() else { return None };
        match *symbol {
            "+" => Some((DurationOp::Add, 1)),
            "-" => Some((DurationOp::Sub, 1)),
            "*" => Some((DurationOp::Mul, 2)),
            "/" => Some((DurationOp::Div, 2)),
            "%" => Some((DurationOp::Mod, 2)),
            "^" => Some((DurationOp::Pow, POWER)),
            _ => None,
        }
    }

    fn duration_unary(&mut self) -> Result<DurationExpr, ParseError> {
        self.duration_signed(|p| p.duration_binary(POWER))
    }

    /// A sign before what `operand` reads, or a primary.
    fn duration_signed(&mut self, operand: fn(&mut Self) -> Result<DurationExpr, ParseError>) -> Result<DurationExpr, ParseError> {
        let negative = self.is_symbol("-");
        if !negative && !self.is_symbol("+") {
            return self.duration_primary();
        }
        let (_, span) = self.next();
        let inner = self.deeper(operand)?;
        let span = Span::new(span.start, inner.span.end);
        let kind = match inner.kind {
            DurationKind::Number { value, written } => DurationKind::Number { value: if negative { -value } else { value }, written },
            _ if negative => DurationKind::Negative(Box::new(inner)),
            _ => DurationKind::Positive(Box::new(inner)),
        };
        Ok(DurationExpr { kind, span })
    }

    fn duration_primary(&mut self) -> Result<DurationExpr, ParseError> {
        let (token, span) = self.next();
        let kind = match token {
            Token::Number(value) => DurationKind::Number { value, written: false },
            Token::Duration(nanos) => DurationKind::Number { value: nanos as f64 / 1e9, written: true },
            Token::Symbol("(") => {
                let inner = self.deeper(|p| p.duration_binary(0))?;
                self.expect_symbol(")", "duration expression")?;
                DurationKind::Paren(Box::new(inner))
            }
            Token::Word(word) if self.is_symbol("(") => self.duration_call(&word, span)?,
            other => {
                let message =
                    format!("unexpected {} in duration expression, expected number, duration, step() or range()", other.describe());
                return Err(ParseError::new(span, message));
            }
        };
        Ok(DurationExpr { kind, span: Span::new(span.start, self.end()) })
    }

    fn duration_call(&mut self, word: &str, span: Span) -> Result<DurationKind, ParseError> {
        self.next();
        let kind = match word.to_ascii_lowercase().as_str() {
            "step" => DurationKind::Step,
            "range" => DurationKind::Range,
            function @ ("min_of" | "max_of") => {
                let first = Box::new(self.deeper(|p| p.duration_binary(0))?);
                self.expect_symbol(",", "duration expression")?;
                let second = Box::new(self.deeper(|p| p.duration_binary(0))?);
                if function == "min_of" { DurationKind::Min(first, second) } else { DurationKind::Max(first, second) }
            }
            _ => return Err(ParseError::new(span, format!("unexpected identifier {word:?} in duration expression"))),
        };
        self.expect_symbol(")", "duration expression")?;
        Ok(kind)
    }
}

/// A literal is fixed at once; anything else waits for the times of the query.
fn fixed(expr: DurationExpr) -> Result<Duration, ParseError> {
    let DurationKind::Number { value, .. } = expr.kind else { return Ok(Duration::Expr(expr)) };
    let nanos = value * 1e9;
    if !nanos.is_finite() || nanos.abs() >= i64::MAX as f64 {
        return Err(ParseError::new(expr.span, "duration out of range"));
    }
    Ok(Duration::Fixed(nanos.round() as i64 / MILLI))
}
