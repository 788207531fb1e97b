use super::{Parsed, Parser};
use crate::traces::traceql::ast::{Expr, Op, Static, UnaryOp};
use crate::traces::traceql::token::Token;

/// Binding strength, from low to high; `^` binds to the right.
fn precedence(op: Op) -> usize {
    match op {
        Op::And | Op::Or => 1,
        Op::Eq | Op::NotEq | Op::Less | Op::LessEq | Op::Greater | Op::GreaterEq | Op::Regex | Op::NotRegex => 2,
        Op::Add | Op::Sub => 3,
        Op::Mul | Op::Div | Op::Mod => 5,
        Op::Pow => 6,
    }
}

/// `!` binds more tightly than `+` and less so than `*`; a minus like `+`.
const NOT: usize = 4;

impl Parser {
    pub(super) fn field_expression(&mut self, least: usize) -> Parsed<Expr> {
        self.deeper(|p| {
            let at = p.at();
            let left = p.field_operand()?;
            let expr = p.field_operators(left, least)?;
            if expr == Expr::Static(Static::Nil) && least == 0 {
                return Err(p.error_at(at, "syntax error: unexpected nil"));
            }
            Ok(expr)
        })
    }

    fn field_operators(&mut self, mut left: Expr, least: usize) -> Parsed<Expr> {
        loop {
            let Token::Symbol(symbol) = self.peek() else { return Ok(left) };
            let Some(op) = Op::parse(symbol) else { return Ok(left) };
            let strength = precedence(op);
            if strength < least.max(1) {
                return Ok(left);
            }
            let at = self.at();
            self.advance();
            self.count_operator()?;
            let right = self.field_expression(if op == Op::Pow { strength } else { strength + 1 })?;
            let nil = |e: &Expr| *e == Expr::Static(Static::Nil);
            if (nil(&left) || nil(&right)) && !matches!(op, Op::Eq | Op::NotEq) {
                return Err(self.error_at(at, format!("syntax error: unexpected {} with nil", op.symbol())));
            }
            left = Expr::Binary { op, left: Box::new(left), right: Box::new(right) };
        }
    }

    fn field_operand(&mut self) -> Parsed<Expr> {
        match self.peek().clone() {
            Token::Symbol("(") => {
                self.advance();
                let inner = self.field_expression(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol("-") => self.prefixed(UnaryOp::Minus, NOT),
            Token::Symbol("!") => self.prefixed(UnaryOp::Not, NOT + 1),
            Token::Word(word) if word == "nil" => {
                self.advance();
                Ok(Expr::Static(Static::Nil))
            }
            Token::Attribute(_) => self.field().map(Expr::Field),
            _ => match self.literal() {
                Some(literal) => Ok(Expr::Static(literal)),
                None => self.field().map(Expr::Field),
            },
        }
    }

    fn prefixed(&mut self, op: UnaryOp, least: usize) -> Parsed<Expr> {
        self.advance();
        self.count_operator()?;
        let at = self.at();
        let operand = self.field_expression(least)?;
        match (op, operand) {
            (_, Expr::Static(Static::Nil)) => Err(self.error_at(at, "syntax error: unexpected nil")),
            // A sign is part of a number, so that what is printed is read back as the same tree.
            (UnaryOp::Minus, Expr::Static(Static::Int(n))) => Ok(Expr::Static(Static::Int(n.wrapping_neg()))),
            (UnaryOp::Minus, Expr::Static(Static::Float(f))) => Ok(Expr::Static(Static::Float(-f))),
            (UnaryOp::Minus, Expr::Static(Static::Duration(d))) => Ok(Expr::Static(Static::Duration(d.wrapping_neg()))),
            (op, operand) => Ok(Expr::Unary { op, operand: Box::new(operand) }),
        }
    }

    /// `{ … }`.
    pub(super) fn filter(&mut self) -> Parsed<Expr> {
        self.expect("{")?;
        if self.eat("}") {
            return Ok(Expr::Static(Static::Bool(true)));
        }
        let expr = self.field_expression(0)?;
        self.expect("}")?;
        Ok(expr)
    }
}
