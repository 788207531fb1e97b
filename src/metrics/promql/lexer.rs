//! Tokens with byte positions. Keywords are identifiers here: whether `by` is one depends on where it stands.

use super::ast::Span;
use super::parser::ParseError;
use crate::model::quote::unquote;
use crate::model::time::parse_prometheus_duration;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Names, keywords, functions; with colons only outside of brackets.
    Word(String),
    Number(f64),
    /// Nanoseconds.
    Duration(i64),
    Text(String),
    /// Operators and brackets.
    Symbol(&'static str),
    End,
}

impl Token {
    /// As error messages show it.
    pub(super) fn describe(&self) -> String {
        match self {
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                op @ ("and" | "or" | "unless" | "atan2") => format!("<op:{op}>"),
                "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" | "bool" | "offset" => {
                    format!("<{}>", word.to_ascii_lowercase())
                }
                _ => format!("identifier {word:?}"),
            },
            Token::Number(value) => format!("number {:?}", crate::model::number::plain_float(*value)),
            Token::Duration(nanos) => format!("duration {:?}", crate::model::time::format_prometheus_duration(*nanos)),
            Token::Text(text) => format!("string {text:?}"),
            Token::Symbol(symbol @ ("(" | ")" | "{" | "}" | "[" | "]" | "," | ":" | "=")) => format!("{symbol:?}"),
            Token::Symbol(symbol) => format!("<op:{symbol}>"),
            Token::End => "end of input".to_owned(),
        }
    }
}

const SYMBOLS: [&str; 27] = [
    "==", "!=", "=~", "!~", "<=", ">=", "</", ">/", "<", ">", "=", "+", "-", "*", "/", "%", "^", "@", "(", ")", "{", "}", "[", "]", ",",
    ":", "|",
];

/// The whole text as tokens; the last one is [`Token::End`].
pub(super) fn lex(text: &str) -> Result<Vec<(Token, Span)>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut brackets = 0usize;
    let mut braces = false;
    loop {
        at += blank(&text[at..]);
        let rest = &text[at..];
        let Some(first) = rest.chars().next() else { break };
        let (token, length) = match first {
            '"' | '\'' | '`' => string(rest, at, first)?,
            '0'..='9' => number(rest, at)?,
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest, at)?,
            'a'..='z' | 'A'..='Z' | '_' => word(rest, brackets == 0 && !braces),
            ':' if brackets == 0 && !braces && rest[1..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':') => {
                word(rest, true)
            }
            _ => match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
                // Inside braces `<` cannot start `</`, but nothing there begins with it anyway.
                Some(symbol) if *symbol != "|" => (Token::Symbol(symbol), symbol.len()),
                _ => return Err(ParseError::new(Span::new(at, at + first.len_utf8()), format!("unexpected character: {first:?}"))),
            },
        };
        match &token {
            Token::Symbol("[") => brackets += 1,
            Token::Symbol("]") => brackets = brackets.saturating_sub(1),
            Token::Symbol("{") => braces = true,
            Token::Symbol("}") => braces = false,
            _ => {}
        }
        tokens.push((token, Span::new(at, at + length)));
        at += length;
    }
    tokens.push((Token::End, Span::new(text.len(), text.len())));
    Ok(tokens)
}

/// Length of blanks and comments at the start of `text`.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        if !rest.starts_with('#') {
            return text.len() - rest.len();
        }
        rest = rest.find(['\n', '\r']).map_or("", |end| &rest[end..]);
    }
}

fn word(rest: &str, colons: bool) -> (Token, usize) {
    let belongs = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
    let word = &rest[..length];
    let token = match word.to_ascii_lowercase().as_str() {
        "inf" => Token::Number(f64::INFINITY),
        "nan" => Token::Number(f64::NAN),
        _ => Token::Word(word.to_owned()),
    };
    (token, length)
}

fn string(rest: &str, at: usize, quote: char) -> Result<(Token, usize), ParseError> {
    let error = |length: usize, message: &str| ParseError::new(Span::new(at, at + length), message.to_owned());
    let unterminated = if quote == '`' { "unterminated raw string" } else { "unterminated quoted string" };
    let mut escaped = false;
    for (position, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == '\n' && quote != '`' {
            return Err(error(position, unterminated));
        } else if c == quote {
            let bytes = unquote(&rest[1..position], quote).ok_or_else(|| error(position, "unknown escape sequence in string"))?;
            return Ok((Token::Text(String::from_utf8_lossy(&bytes).into_owned()), position + 1));
        }
    }
    Err(error(rest.len(), unterminated))
}

fn number(rest: &str, at: usize) -> Result<(Token, usize), ParseError> {
    let length = number_length(rest);
    let text = &rest[..length];
    let bad = |length: usize| ParseError::new(Span::new(at, at + length), format!("bad number or duration syntax: {:?}", &rest[..length]));
    let alphanumeric = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if rest[length..].starts_with(alphanumeric) {
        let whole = rest.find(|c| !alphanumeric(c)).unwrap_or(rest.len());
        return match parse_prometheus_duration(&rest[..whole]) {
            Some(nanos) => Ok((Token::Duration(nanos), whole)),
            None if is_duration_shape(&rest[..whole]) => {
                Err(ParseError::new(Span::new(at, at + whole), "duration out of range".to_owned()))
            }
            None => Err(bad(whole)),
        };
    }
    parse_number(text).map(|value| (Token::Number(value), length)).ok_or_else(|| bad(length))
}

fn is_duration_shape(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || b"ywdhms".contains(&b)) && text.ends_with(|c: char| c.is_ascii_alphabetic())
}

/// Length of the longest number at the start of `text`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    if text.len() > 2 && bytes[0] == b'0' && (bytes[1] | 0x20) == b'x' {
        return text.find(|c: char| !c.is_ascii_hexdigit() && c != '_' && !matches!(c, 'x' | 'X')).unwrap_or(text.len());
    }
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit() || **b == b'_').count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1);
    }
    if bytes.get(end).is_some_and(|b| b | 0x20 == b'e') {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let after = digits(end + 1 + sign);
        if after > end + 1 + sign {
            end = after;
        }
    }
    end
}

/// Go's base-0 integers, then floats: `0x1F`, `017`, `1_000`, `1e3`.
pub(super) fn parse_number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    let plain: String = lower.chars().filter(|c| *c != '_').collect();
    if plain.len() != lower.len() && (lower.starts_with('_') || lower.ends_with('_') || lower.contains("__")) {
        return None;
    }
    if let Some(hex) = plain.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|n| n as f64);
    }
    if plain.len() > 1
        && plain.starts_with('0')
        && plain.bytes().all(|b| b.is_ascii_digit())
        && let Ok(octal) = i64::from_str_radix(&plain[1..], 8)
    {
        return Some(octal as f64);
    }
    plain.parse().ok()
}
