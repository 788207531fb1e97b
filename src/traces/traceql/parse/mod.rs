//! Tokens to a tree: the grammar of contracts/tempo.md 4.2, by precedence climbing. What stands between two `|` is read as
//! one expression whose operands may be spansets, scalars, numbers or whole metrics queries; which of them an operator
//! takes is decided when it is applied.

mod element;
mod expr;
mod metrics;

use super::ast::{Body, Field, Intrinsic, Query, Static};
use super::lex;
use super::token::{ParseError, Position, Token};

/// Brackets and prefix operators inside each other.
const DEPTH_MAX: usize = 100;

/// Binary operators in one query: it bounds the depth of the tree, which is walked by recursion.
const OPERATORS_MAX: usize = 1_000;

pub fn parse(text: &str) -> Result<Query, ParseError> {
    let mut parser = Parser::new(text)?;
    let body = parser.body()?;
    let mut hints = Vec::new();
    while parser.eat_word("with") {
        hints = parser.hints()?;
    }
    parser.end()?;
    Ok(Query { body, hints })
}

/// An attribute or intrinsic alone: the name of a tag (contracts/tempo.md 1.5).
pub fn parse_field(text: &str) -> Result<Field, ParseError> {
    let mut parser = Parser::new(text)?;
    let field = parser.field()?;
    parser.end()?;
    Ok(field)
}

struct Parser {
    tokens: Vec<(Token, Position)>,
    next: usize,
    depth: usize,
    operators: usize,
}

type Parsed<T> = Result<T, ParseError>;

impl Parser {
    fn new(text: &str) -> Parsed<Parser> {
        Ok(Parser { tokens: lex::tokens(text)?, next: 0, depth: 0, operators: 0 })
    }

    /// There is always a token: the last one is `End` and is never passed.
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn peek_after(&self) -> &Token {
        &self.tokens[(self.next + 1).min(self.tokens.len() - 1)].0
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if token != Token::End {
            self.next += 1;
        }
        token
    }

    fn at(&self) -> Position {
        self.tokens[self.next].1
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(s) if *s == symbol)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let eaten = self.is_symbol(symbol);
        self.next += usize::from(eaten);
        eaten
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let eaten = matches!(self.peek(), Token::Word(w) if w == word);
        self.next += usize::from(eaten);
        eaten
    }

    fn expect(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.eat(symbol) { Ok(()) } else { Err(self.unexpected(&format!(", expecting {symbol}"))) }
    }

    fn error_at(&self, at: Position, message: impl Into<String>) -> ParseError {
        ParseError { at, message: message.into() }
    }

    /// The error that the next token cannot stand here.
    fn unexpected(&self, expecting: &str) -> ParseError {
        let message = match self.peek() {
            Token::Word(word) if !is_known(word) => format!("unknown identifier: {word}"),
            token => format!("syntax error: unexpected {token}{expecting}"),
        };
        self.error_at(self.at(), message)
    }

    fn end(&self) -> Parsed<()> {
        if *self.peek() == Token::End { Ok(()) } else { Err(self.unexpected("")) }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error_at(self.at(), format!("query is nested deeper than {DEPTH_MAX} levels")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return Err(self.error_at(self.at(), format!("query has more than {OPERATORS_MAX} operators")));
        }
        Ok(())
    }

    /// An attribute or an intrinsic.
    fn field(&mut self) -> Parsed<Field> {
        let field = match self.peek() {
            Token::Attribute(field) => Some(field.clone()),
            Token::Word(word) => Intrinsic::parse(word).map(Field::Intrinsic),
            _ => None,
        };
        let field = field.ok_or_else(|| self.unexpected(", expecting an attribute"))?;
        self.advance();
        Ok(field)
    }

    fn fields(&mut self) -> Parsed<Vec<Field>> {
        self.expect("(")?;
        let mut fields = vec![self.field()?];
        while self.eat(",") {
            fields.push(self.field()?);
        }
        self.expect(")")?;
        Ok(fields)
    }

    /// A constant without a sign; `nil` is none.
    fn literal(&mut self) -> Option<Static> {
        let literal = match self.peek() {
            Token::Int(n) => Static::Int(*n),
            Token::Float(f) => Static::Float(*f),
            Token::Duration(d) => Static::Duration(*d),
            Token::String(s) => Static::String(s.clone()),
            Token::Word(word) => Static::parse_word(word).filter(|s| *s != Static::Nil)?,
            Token::Attribute(_) | Token::Symbol(_) | Token::End => return None,
        };
        self.advance();
        Some(literal)
    }

    fn hints(&mut self) -> Parsed<Vec<(String, Static)>> {
        let mut hints = Vec::new();
        self.expect("(")?;
        loop {
            let Token::Word(name) = self.peek().clone() else { return Err(self.unexpected(", expecting IDENTIFIER")) };
            self.advance();
            self.expect("=")?;
            let value = self.literal().ok_or_else(|| self.unexpected(""))?;
            hints.push((name, value));
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(hints)
    }

    fn body(&mut self) -> Parsed<Body> {
        let element = self.expression(0)?;
        self.body_of(element)
    }
}

/// Words that have a meaning somewhere: as the wrong token they are a syntax error, any other word is unknown.
fn is_known(word: &str) -> bool {
    const WORDS: [&str; 20] = [
        "with",
        "by",
        "select",
        "coalesce",
        "count",
        "min",
        "max",
        "avg",
        "sum",
        "rate",
        "count_over_time",
        "min_over_time",
        "max_over_time",
        "avg_over_time",
        "sum_over_time",
        "histogram_over_time",
        "quantile_over_time",
        "compare",
        "topk",
        "bottomk",
    ];
    WORDS.contains(&word) || Intrinsic::parse(word).is_some() || Static::parse_word(word).is_some()
}
