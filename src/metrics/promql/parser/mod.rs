//! Recursive descent with precedence climbing. Depth is bounded, so that no query can exhaust the stack here or later.

mod duration;
mod operator;
mod primary;
mod selector;

use super::annotations::line_and_column;
use super::ast::{Expr, Kind, Selector, Span};
use super::check;
use super::lexer::{Token, lex};

/// Parentheses, arguments and signs inside each other at most: what the parser itself recurses into.
const NESTING_MAX: usize = 64;
/// Operators in one query at most: a chain of them is parsed in a loop, but makes the tree deep.
const OPERATORS_MAX: usize = 1_000;
/// Nodes on one path from the root of the tree at most: what everything else recurses into.
const DEPTH_MAX: usize = 250;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// `None` where no position can be told.
    pub span: Option<Span>,
    pub message: String,
}

impl ParseError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> ParseError {
        ParseError { span: Some(span), message: message.into() }
    }

    /// `1:5: parse error: ..`.
    pub fn render(&self, query: &str) -> String {
        match self.span {
            Some(span) => format!("{}: parse error: {}", line_and_column(query, span.start), self.message),
            None => format!("unknown position: parse error: {}", self.message),
        }
    }
}

/// Parses and type-checks a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    if parser.at_end() {
        return Err(ParseError { span: None, message: "no expression found in input".to_owned() });
    }
    let expr = parser.expr()?;
    parser.expect_end()?;
    check_depth(&expr)?;
    check::check(&expr)?;
    Ok(expr)
}

fn check_depth(expr: &Expr) -> Result<(), ParseError> {
    let mut level = vec![expr];
    for _ in 0..DEPTH_MAX {
        let mut below = Vec::new();
        level.iter().for_each(|e| e.for_each_child(&mut |child| below.push(child)));
        if below.is_empty() {
            return Ok(());
        }
        level = below;
    }
    Err(ParseError::new(expr.span, TOO_DEEP))
}

const TOO_DEEP: &str = "expression is nested too deeply";

/// Parses a series selector without modifiers, as `match[]` takes it.
pub fn parse_selector(text: &str) -> Result<Selector, ParseError> {
    let mut parser = Parser::new(text)?;
    if parser.at_end() {
        return Err(ParseError { span: None, message: "no expression found in input".to_owned() });
    }
    let selector = parser.selector()?;
    parser.expect_end()?;
    Ok(selector)
}

pub(super) struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
    operators: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Parser, ParseError> {
        Ok(Parser { tokens: lex(text)?, at: 0, depth: 0, operators: 0 })
    }

    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn peek_after(&self) -> &Token {
        let next = (self.at + 1).min(self.tokens.len() - 1);
        &self.tokens[next].0
    }

    fn span(&self) -> Span {
        self.tokens[self.at].1
    }

    /// End of the token before the next one.
    fn end(&self) -> usize {
        if self.at == 0 { 0 } else { self.tokens[self.at - 1].1.end }
    }

    fn next(&mut self) -> (Token, Span) {
        let token = self.tokens[self.at].clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn at_end(&self) -> bool {
        *self.peek() == Token::End
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    fn expect_symbol(&mut self, symbol: &str, context: &str) -> Result<(), ParseError> {
        if self.take_symbol(symbol) {
            return Ok(());
        }
        if self.at_end() && symbol == ")" {
            return Err(ParseError::new(self.span(), "unclosed left parenthesis"));
        }
        Err(self.unexpected(context))
    }

    fn expect_end(&self) -> Result<(), ParseError> {
        match self.peek() {
            Token::End => Ok(()),
            Token::Symbol(")") => Err(ParseError::new(self.span(), "unexpected right parenthesis ')'")),
            other => Err(ParseError::new(self.span(), format!("unexpected {}", other.describe()))),
        }
    }

    fn unexpected(&self, context: &str) -> ParseError {
        let context = if context.is_empty() { String::new() } else { format!(" in {context}") };
        ParseError::new(self.span(), format!("unexpected {}{context}", self.peek().describe()))
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= NESTING_MAX {
            return Err(ParseError::new(self.span(), TOO_DEEP));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn count_operator(&mut self) -> Result<(), ParseError> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX { Err(ParseError::new(self.span(), TOO_DEEP)) } else { Ok(()) }
    }

    fn expr(&mut self) -> Result<Expr, ParseError> {
        self.deeper(|p| p.binary(0))
    }

    /// `(a, "b", c)`.
    fn label_list(&mut self, context: &str) -> Result<Vec<String>, ParseError> {
        self.expect_symbol("(", context)?;
        let mut names = Vec::new();
        while !self.take_symbol(")") {
            match self.next() {
                (Token::Word(word) | Token::Text(word), _) => names.push(word),
                (Token::Number(value), _) if value.is_infinite() || value.is_nan() => {
                    names.push(if value.is_nan() { "nan".to_owned() } else { "inf".to_owned() });
                }
                (token, span) => {
                    let message = format!("unexpected {} in {context}, expected label", token.describe());
                    return Err(ParseError::new(span, message));
                }
            }
            if !self.take_symbol(",") && !self.is_symbol(")") {
                return Err(self.unexpected(&format!("{context}, expected \",\" or \")\"")));
            }
        }
        Ok(names)
    }

    fn node(kind: Kind, start: usize, end: usize) -> Expr {
        Expr::new(kind, start, end)
    }
}
