use super::ast::Field;
use std::fmt;

/// Where a token begins: both from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    String(String),
    /// A bare word, perhaps with a colon: a keyword, an intrinsic, the name of a hint, or unknown.
    Word(String),
    /// `.foo`, `span.foo` and so on.
    Attribute(Field),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// As error messages name a token.
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Int(_) => f.write_str("INTEGER"),
            Token::Float(_) => f.write_str("FLOAT"),
            Token::Duration(_) => f.write_str("DURATION"),
            Token::String(_) => f.write_str("STRING"),
            Token::Word(word) => f.write_str(word),
            Token::Attribute(field) => f.write_str(field.prefix()),
            Token::Symbol(symbol) => f.write_str(symbol),
            Token::End => f.write_str("$end"),
        }
    }
}

/// The query is not TraceQL (contracts/tempo.md 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    pub at: Position,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parse error at line {}, col {}: {}", self.at.line, self.at.column, self.message)
    }
}

impl std::error::Error for ParseError {}
