//! Tokens to a tree, by recursive descent with bounded depth (contracts/loki.md 3.2). Positions and texts of errors
//! are Loki's as far as 3.12 gives them.

mod metric;
mod stages;

use super::ast::{Expr, LogExpr, LogRange, MetricExpr};
use super::lex::{Lexeme, Token, lex};
use super::pipeline::Pipeline;
use crate::logs::erase::may_delete_by;
use crate::model::{MatchOp, Matcher, regexp};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// Line and column, where there is a place.
    position: Option<(usize, usize)>,
    message: String,
}

impl ParseError {
    pub fn at(line: usize, column: usize, message: impl Into<String>) -> ParseError {
        ParseError { position: Some((line, column)), message: message.into() }
    }

    pub fn new(message: impl Into<String>) -> ParseError {
        ParseError { position: None, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "parse error at line {line}, col {column}: {}", self.message),
            None => write!(f, "parse error : {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// Bytes of a query's text.
const QUERY_MAX_BYTES: usize = 131_072;
/// Parentheses, aggregations and operators inside each other.
const DEPTH_MAX: usize = 128;

/// Binary operators in one query at most: a chain of them is parsed in a loop, but makes the tree deep.
const OPERATORS_MAX: usize = 250;

const NO_SELECTIVE_MATCHER: &str = "queries require at least one regexp or equality matcher that does not have an empty-compatible value. \
     For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

/// A whole query, checked: every pipeline in it compiles.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.expression(0)?;
    parser.end()?;
    match &expr {
        Expr::Log(log) => check_log(log)?,
        Expr::Metric(metric) => check_metric(metric)?,
    }
    Ok(expr)
}

/// What a delete may select by: a selector, empty-compatible matchers included, with line and label filters
/// (contracts/loki.md 1.15).
pub fn parse_delete(query: &str) -> Result<LogExpr, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.expression(0)?;
    parser.end()?;
    match expr {
        Expr::Log(log) if log.stages.iter().all(may_delete_by) => Pipeline::compile(&log.stages, None).map(|_| log),
        _ => Err(ParseError::new("deletes select by labels, line filters and label filters only")),
    }
}

/// `{a="b"}` alone, as metadata endpoints take it; `{}` and empty-compatible matchers are fine.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(query)?;
    let matchers = parser.selector()?;
    if !parser.is_end() {
        return Err(ParseError::new("only label matchers are supported"));
    }
    Ok(matchers)
}

fn check_log(log: &LogExpr) -> Result<(), ParseError> {
    let selective = |m: &Matcher| matches!(m.op, MatchOp::Equal | MatchOp::Regex) && !m.matches_empty();
    if !log.matchers.iter().any(selective) {
        return Err(ParseError::new(NO_SELECTIVE_MATCHER));
    }
    Pipeline::compile(&log.stages, None).map(drop)
}

fn check_range(range: &LogRange) -> Result<(), ParseError> {
    check_log(&range.log)?;
    Pipeline::compile(&range.log.stages, range.unwrap.as_ref()).map(drop)
}

fn check_metric(metric: &MetricExpr) -> Result<(), ParseError> {
    let mut result = Ok(());
    metric.walk(&mut |m| {
        if let (MetricExpr::Range(aggregation), Ok(())) = (m, &result) {
            result = check_range(&aggregation.range);
        }
    });
    result
}

struct Parser {
    lexemes: Vec<Lexeme>,
    at: usize,
    depth: usize,
    operators: usize,
    /// Of all regular expressions so far.
    weight: u64,
}

/// States of all regular expressions of a query, and what even the smallest one counts: its caches take memory, too.
const REGEXES_MAX_WEIGHT: u64 = 1 << 22;
const REGEX_MIN_WEIGHT: u64 = 1 << 14;

impl Parser {
    fn new(query: &str) -> Result<Parser, ParseError> {
        if query.len() >= QUERY_MAX_BYTES {
            return Err(ParseError::new(format!("input size too long ({} > {QUERY_MAX_BYTES})", query.len())));
        }
        let lexemes = lex(query)?;
        if lexemes.len() == 1 {
            return Err(ParseError::new("syntax error: unexpected $end"));
        }
        Ok(Parser { lexemes, at: 0, depth: 0, operators: 0, weight: 0 })
    }

    /// The last lexeme is always the end, and is never passed.
    fn here(&self) -> &Lexeme {
        &self.lexemes[self.at.min(self.lexemes.len() - 1)]
    }

    fn token(&self) -> &Token {
        &self.here().token
    }

    fn ahead(&self, by: usize) -> &Token {
        &self.lexemes[(self.at + by).min(self.lexemes.len() - 1)].token
    }

    fn is_end(&self) -> bool {
        *self.token() == Token::End
    }

    fn end(&self) -> Result<(), ParseError> {
        if self.is_end() { Ok(()) } else { Err(self.unexpected(&[])) }
    }

    fn advance(&mut self) -> Token {
        let token = self.token().clone();
        self.at += 1;
        token
    }

    fn unexpected(&self, expected: &[&str]) -> ParseError {
        let mut message = format!("syntax error: unexpected {}", self.token().name());
        if !expected.is_empty() {
            message.push_str(", expecting ");
            message.push_str(&expected.join(" or "));
        }
        ParseError::at(self.here().line, self.here().column, message)
    }

    fn is(&self, punct: &str) -> bool {
        matches!(self.token(), Token::Punct(p) if *p == punct)
    }

    fn is_keyword(&self, word: &str) -> bool {
        matches!(self.token(), Token::Keyword(k) if *k == word)
    }

    fn take(&mut self, punct: &str) -> bool {
        let found = self.is(punct);
        self.at += usize::from(found);
        found
    }

    fn take_keyword(&mut self, word: &str) -> bool {
        let found = self.is_keyword(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, punct: &str, expected: &[&str]) -> Result<(), ParseError> {
        if self.take(punct) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn identifier(&mut self, expected: &[&str]) -> Result<String, ParseError> {
        match self.token() {
            Token::Ident(name) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn string(&mut self, expected: &[&str]) -> Result<String, ParseError> {
        match self.token() {
            Token::String(text) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Counts one level of nesting while `inner` runs.
    fn nested<T>(&mut self, inner: impl FnOnce(&mut Parser) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth >= DEPTH_MAX || self.operators > OPERATORS_MAX {
            return Err(ParseError::at(self.here().line, self.here().column, "query is nested too deeply"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{", &[])?;
        let mut matchers = Vec::new();
        if self.take("}") {
            return Ok(matchers);
        }
        loop {
            let expected: &[&str] = if matchers.is_empty() { &["IDENTIFIER", "}"] } else { &["IDENTIFIER"] };
            let name = self.identifier(expected)?;
            let op = self.match_op().ok_or_else(|| self.unexpected(&["=", "=~", "!=", "!~"]))?;
            let value = self.string(&["STRING"])?;
            matchers.push(self.matcher(name, op, value)?);
            if self.take("}") {
                return Ok(matchers);
            }
            self.expect(",", &["}", ","])?;
        }
    }

    fn matcher(&mut self, name: String, op: MatchOp, value: String) -> Result<Matcher, ParseError> {
        if matches!(op, MatchOp::Regex | MatchOp::NotRegex) {
            self.weigh(&value)?;
        }
        Matcher::new(name, op, value).map_err(|e| ParseError::new(e.to_string()))
    }

    /// To be called before a regular expression is compiled.
    fn weigh(&mut self, pattern: &str) -> Result<(), ParseError> {
        self.weight = self.weight.saturating_add(regexp::weight(pattern).max(REGEX_MIN_WEIGHT));
        if self.weight > REGEXES_MAX_WEIGHT {
            return Err(ParseError::new("too many or too large regular expressions in one query"));
        }
        Ok(())
    }

    fn match_op(&mut self) -> Option<MatchOp> {
        let op = match self.token() {
            Token::Punct("=") => MatchOp::Equal,
            Token::Punct("!=") => MatchOp::NotEqual,
            Token::Punct("=~") => MatchOp::Regex,
            Token::Punct("!~") => MatchOp::NotRegex,
            _ => return None,
        };
        self.at += 1;
        Some(op)
    }
}

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
