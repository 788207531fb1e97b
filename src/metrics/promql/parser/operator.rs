use super::{ParseError, Parser};
use crate::metrics::promql::ast::{Binary, BinaryOp, Expr, Kind};
use crate::metrics::promql::lexer::Token;
use crate::query::{Cardinality, Matching};

/// Operands of `^` bind tighter than a sign before them.
const POWER: u8 = 6;

impl Parser {
    fn binary_op(&self) -> Option<BinaryOp> {
        use BinaryOp::*;
        const SYMBOLS: [BinaryOp; 14] =
            [Equal, NotEqual, Less, LessEqual, Greater, GreaterEqual, TrimUpper, TrimLower, Add, Sub, Mul, Div, Mod, Pow];
        match self.peek() {
            Token::Symbol(symbol) => SYMBOLS.into_iter().find(|op| op.as_str() == *symbol),
            Token::Word(word) => [Or, And, Unless, Atan2].into_iter().find(|op| op.as_str().eq_ignore_ascii_case(word)),
            _ => None,
        }
    }

    /// An expression of operators that bind at least as tightly as `minimum`.
    pub(super) fn binary(&mut self, minimum: u8) -> Result<Expr, ParseError> {
        let mut left = self.unary()?;
        while let Some(op) = self.binary_op().filter(|op| op.precedence() >= minimum) {
            self.count_operator()?;
            self.next();
            let mut binary = self.modifiers(op)?;
            let tighter = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let right = self.deeper(|p| p.binary(tighter))?;
            let (start, end) = (left.span.start, right.span.end);
            binary.left = left;
            binary.right = right;
            left = Parser::node(Kind::Binary(Box::new(binary)), start, end);
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let negative = self.is_symbol("-");
        if !negative && !self.is_symbol("+") {
            return self.postfix();
        }
        let (_, span) = self.next();
        let expr = self.deeper(|p| p.binary(POWER))?;
        let end = expr.span.end;
        // A sign before a literal number is part of it.
        if let Kind::Number { value, duration } = expr.kind {
            let value = if negative { -value } else { value };
            return Ok(Parser::node(Kind::Number { value, duration }, span.start, end));
        }
        Ok(Parser::node(Kind::Unary { negative, expr: Box::new(expr) }, span.start, end))
    }

    /// What stands between an operator and its right operand. The operands are filled in by the caller.
    fn modifiers(&mut self, op: BinaryOp) -> Result<Binary, ParseError> {
        let empty = || Parser::node(Kind::Number { value: 0.0, duration: false }, 0, 0);
        let mut binary = Binary {
            op,
            left: empty(),
            right: empty(),
            returns_bool: false,
            matching: Matching::default(),
            matched: false,
            fill_left: None,
            fill_right: None,
        };
        if op.is_set() {
            binary.matching.cardinality = Cardinality::ManyToMany;
        }
        if self.is_word("bool") {
            let (_, at) = self.next();
            if !op.is_comparison() {
                return Err(ParseError::new(at, "bool modifier can only be used on comparison operators"));
            }
            binary.returns_bool = true;
        }
        let has_list = matches!(self.peek_after(), Token::Symbol("("));
        if (self.is_word("on") || self.is_word("ignoring")) && has_list {
            binary.matching.on = self.is_word("on");
            binary.matched = true;
            self.next();
            binary.matching.names = self.label_list("grouping opts")?;
            self.group_modifier(&mut binary)?;
        }
        self.fill_modifiers(&mut binary)?;
        Ok(binary)
    }

    fn group_modifier(&mut self, binary: &mut Binary) -> Result<(), ParseError> {
        let left = self.is_word("group_left");
        if !left && !self.is_word("group_right") {
            return Ok(());
        }
        let (_, at) = self.next();
        if binary.op.is_set() {
            return Err(ParseError::new(at, format!("no grouping allowed for {:?} operation", binary.op.as_str())));
        }
        binary.matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
        // A parenthesis here never opens the right operand.
        if self.is_symbol("(") {
            binary.matching.include = self.label_list("grouping opts")?;
        }
        if binary.matching.on
            && let Some(name) = binary.matching.include.iter().find(|n| binary.matching.names.contains(n))
        {
            return Err(ParseError::new(at, format!("label {name:?} must not occur in ON and GROUP clause at once")));
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, binary: &mut Binary) -> Result<(), ParseError> {
        loop {
            let Token::Word(word) = self.peek() else { return Ok(()) };
            let word = word.to_ascii_lowercase();
            if !matches!(word.as_str(), "fill" | "fill_left" | "fill_right") || *self.peek_after() != Token::Symbol("(") {
                return Ok(());
            }
            let (_, at) = self.next();
            if binary.op.is_set() {
                return Err(ParseError::new(at, "filling in missing series not allowed for set operators"));
            }
            self.expect_symbol("(", "fill modifier")?;
            let negative = self.is_symbol("-");
            if negative || self.is_symbol("+") {
                self.next();
            }
            let value = match self.next() {
                (Token::Number(value), _) => value,
                (Token::Duration(nanos), _) => nanos as f64 / 1e9,
                (token, span) => return Err(ParseError::new(span, format!("unexpected {} in fill modifier", token.describe()))),
            };
            let value = Some(if negative { -value } else { value });
            self.expect_symbol(")", "fill modifier")?;
            if word != "fill_right" {
                binary.fill_left = value;
            }
            if word != "fill_left" {
                binary.fill_right = value;
            }
        }
    }
}
