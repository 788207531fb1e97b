//! Tokens of LogQL (contracts/loki.md 3.1).

use super::parse::ParseError;
use crate::model::{quote, time};

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Ident(String),
    /// A function or a reserved word, in lower case.
    Function(&'static str),
    Keyword(&'static str),
    String(String),
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    Bytes(u64),
    /// `[5m]`, nanoseconds.
    Range(i64),
    /// `--strict`, without the dashes.
    Flag(String),
    Punct(&'static str),
    End,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Lexeme {
    pub token: Token,
    /// 1-based; 0 for ranges, as Loki has it.
    pub line: usize,
    /// 1-based byte.
    pub column: usize,
}

impl Token {
    /// What error messages call it.
    pub fn name(&self) -> String {
        match self {
            Token::Ident(_) => "IDENTIFIER".into(),
            Token::Function(name) => name.to_ascii_uppercase(),
            Token::Keyword(word) | Token::Punct(word) => (*word).to_owned(),
            Token::String(_) => "STRING".into(),
            Token::Number(_) => "NUMBER".into(),
            Token::Duration(_) => "DURATION".into(),
            Token::Bytes(_) => "BYTES".into(),
            Token::Range(_) => "RANGE".into(),
            Token::Flag(_) => "PARSER_FLAG".into(),
            Token::End => "$end".into(),
        }
    }
}

/// Words that are never identifiers.
const RESERVED: [&str; 24] = [
    "by",
    "without",
    "bool",
    "unwrap",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "ip",
    "decolorize",
    "drop",
    "keep",
    "label_replace",
];

/// Words that are functions only before `(`, `by` or `without`.
const FUNCTIONS: [&str; 31] = [
    "rate",
    "rate_counter",
    "count_over_time",
    "bytes_over_time",
    "bytes_rate",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "quantile_over_time",
    "first_over_time",
    "last_over_time",
    "absent_over_time",
    "sum",
    "avg",
    "count",
    "min",
    "max",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "approx_topk",
    "sort",
    "sort_desc",
    "vector",
    "bytes",
    "duration",
    "duration_seconds",
];

/// Longer ones first.
const PUNCTUATION: [&str; 29] = [
    "!=", "!~", "!>", "|=", "|~", "|>", "=~", "==", ">=", "<=", "{", "}", "(", ")", ",", "=", ">", "<", "|", "+", "-", "*", "/", "%", "^",
    "[", "]", ".", ":",
];

pub fn lex(query: &str) -> Result<Vec<Lexeme>, ParseError> {
    let mut lexer = Lexer { text: query, at: 0, line: 1, line_start: 0 };
    let mut out = Vec::new();
    loop {
        let lexeme = lexer.next()?;
        let end = lexeme.token == Token::End;
        out.push(lexeme);
        if end {
            return Ok(out);
        }
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
}

fn is_ident(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn column(&self) -> usize {
        self.at - self.line_start + 1
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::at(self.line, self.column(), message)
    }

    /// Blanks and comments.
    fn skip(&mut self) {
        while let Some(c) = self.rest().chars().next() {
            if c == '\n' {
                self.line += 1;
                self.line_start = self.at + 1;
            } else if c == '#' {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                continue;
            } else if !c.is_whitespace() {
                return;
            }
            self.at += c.len_utf8();
        }
    }

    fn next(&mut self) -> Result<Lexeme, ParseError> {
        self.skip();
        let (line, column) = (self.line, self.column());
        let lexeme = |token| Ok(Lexeme { token, line, column });
        let Some(c) = self.rest().chars().next() else { return lexeme(Token::End) };
        if c == '"' || c == '`' {
            return self.string(c).and_then(lexeme);
        }
        let digit_after = self.rest().as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        if c.is_ascii_digit() || (c == '.' && digit_after) {
            return self.number().and_then(lexeme);
        }
        if c == '_' || c.is_alphabetic() {
            return lexeme(self.word());
        }
        if c == '[' {
            return Ok(Lexeme { token: self.range()?, line: 0, column });
        }
        if c == '-' {
            if let Some(flag) = self.flag() {
                return lexeme(Token::Flag(flag));
            }
            if let Some(duration) = self.duration(1) {
                return lexeme(Token::Duration(duration));
            }
        }
        match PUNCTUATION.iter().find(|p| self.rest().starts_with(**p)) {
            Some(p) => {
                self.at += p.len();
                lexeme(Token::Punct(p))
            }
            None => Err(self.error(format!("syntax error: unexpected {c:?}"))),
        }
    }

    fn string(&mut self, delimiter: char) -> Result<Token, ParseError> {
        let inside = &self.rest()[1..];
        let mut escaped = false;
        for (at, c) in inside.char_indices() {
            if escaped {
                escaped = false;
            } else if c == '\\' && delimiter == '"' {
                escaped = true;
            } else if c == '\n' && delimiter == '"' {
                break;
            } else if c == delimiter {
                let bytes = quote::unquote(&inside[..at], delimiter).ok_or_else(|| self.error("invalid char escape"))?;
                let value = String::from_utf8(bytes).map_err(|_| self.error("invalid UTF-8 encoding"))?;
                self.advance(at + 2);
                return Ok(Token::String(value));
            }
        }
        Err(self.error("literal not terminated"))
    }

    /// Moves on over text that may hold line ends.
    fn advance(&mut self, bytes: usize) {
        let passed = &self.text[self.at..self.at + bytes];
        if let Some(last) = passed.rfind('\n') {
            self.line += passed.matches('\n').count();
            self.line_start = self.at + last + 1;
        }
        self.at += bytes;
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let end = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        let lower = word.to_ascii_lowercase();
        // A label may be called `ip`: with a parenthesis it is the filter.
        if let Some(reserved) = RESERVED.iter().find(|r| **r == lower)
            && (*reserved != "ip" || self.rest().trim_start().starts_with('('))
        {
            return Token::Keyword(reserved);
        }
        match FUNCTIONS.iter().find(|f| **f == lower) {
            Some(function) if self.calls() => Token::Function(function),
            _ => Token::Ident(word.to_owned()),
        }
    }

    /// Whether `(`, `by` or `without` follows.
    fn calls(&self) -> bool {
        let rest = self.rest().trim_start();
        let end = rest.find(|c| !is_ident(c)).unwrap_or(rest.len());
        rest.starts_with('(') || ["by", "without"].iter().any(|w| rest[..end].eq_ignore_ascii_case(w))
    }

    fn flag(&mut self) -> Option<String> {
        let name = self.rest().strip_prefix("--")?;
        let end = name.find(|c: char| !(c.is_ascii_alphabetic() || c == '-')).unwrap_or(name.len());
        let name = &name[..end];
        if !matches!(name, "strict" | "keep-empty") {
            return None;
        }
        self.at += end + 2;
        Some(name.to_owned())
    }

    /// A duration of which the sign or the first digits are `prefix` bytes long.
    fn duration(&mut self, prefix: usize) -> Option<i64> {
        let rest = self.rest();
        let more = rest[prefix..].find(|c: char| !(c.is_numeric() || c == '.' || "nuµmshdwy".contains(c)));
        let end = more.map_or(rest.len(), |m| prefix + m);
        let text = &rest[..end];
        if end == prefix || text == "-" {
            return None;
        }
        let value = time::parse_prometheus_duration(text).or_else(|| time::parse_go_duration(text))?;
        self.at += end;
        Some(value)
    }

    fn bytes(&mut self, prefix: usize) -> Option<u64> {
        let rest = self.rest();
        let more = rest[prefix..].find(|c: char| !(c.is_numeric() || c == '.' || "BikKMGTP".contains(c)));
        let end = more.map_or(rest.len(), |m| prefix + m);
        if end == prefix {
            return None;
        }
        let value = super::convert::parse_bytes(&rest[..end]).ok()?;
        self.at += end;
        Some(value)
    }

    fn number(&mut self) -> Result<Token, ParseError> {
        let rest = self.rest();
        let length = number_length(rest);
        if rest[..length].bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            if let Some(duration) = self.duration(length) {
                return Ok(Token::Duration(duration));
            }
            if let Some(bytes) = self.bytes(length) {
                return Ok(Token::Bytes(bytes));
            }
        }
        self.at += length;
        Ok(Token::Number(rest[..length].to_owned()))
    }

    fn range(&mut self) -> Result<Token, ParseError> {
        let error = |message: String| ParseError::at(0, self.column(), message);
        let Some(end) = self.rest().find(']') else { return Err(error("missing closing ']' in duration".into())) };
        let inside = &self.rest()[1..end];
        if inside.contains(char::is_whitespace) || inside.contains(['[', '{', '(', ')']) {
            return Err(error("missing closing ']' in duration".into()));
        }
        let range = time::parse_prometheus_duration(inside).filter(|_| inside != "0").ok_or_else(|| error(duration_error(inside)))?;
        self.at += end + 1;
        Ok(Token::Range(range))
    }
}

/// Why text is not a duration, in Go's words.
fn duration_error(text: &str) -> String {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit_end = text[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(text.len(), |e| digits + e);
    let unit = &text[digits..unit_end];
    if digits == 0 {
        format!("invalid duration {text:?}")
    } else if unit.is_empty() {
        format!("missing unit in duration {text:?}")
    } else if !matches!(unit, "y" | "w" | "d" | "h" | "m" | "s" | "ms") {
        format!("unknown unit {unit:?} in duration {text:?}")
    } else {
        format!("not a valid duration string: {text:?}")
    }
}

/// Bytes of the Go number at the start of `text`: `1`, `1.5e-3`, `0x1p4`, `0b1`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let prefixed = bytes.first() == Some(&b'0') && bytes.get(1).is_some_and(|b| matches!(b | 0x20, b'x' | b'o' | b'b'));
    let hex = prefixed && bytes[1] | 0x20 == b'x';
    // `0B` is zero bytes, not a number without digits.
    if prefixed && bytes.get(2).is_none_or(|b| !b.is_ascii_hexdigit()) {
        return 1;
    }
    let mut at = if prefixed { 2 } else { 0 };
    while let Some(b) = bytes.get(at) {
        let exponent = if hex { b | 0x20 == b'p' } else { b | 0x20 == b'e' };
        let signed = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        if exponent && bytes.get(at + 1 + signed).is_some_and(u8::is_ascii_digit) {
            at += 1 + signed;
        } else if !(b.is_ascii_digit() || *b == b'.' || (hex && b.is_ascii_hexdigit())) {
            break;
        }
        at += 1;
    }
    at
}
