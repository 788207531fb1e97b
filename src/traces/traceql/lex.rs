//! Lexical rules: contracts/tempo.md 4.1.

use super::ast::{Field, Scope};
use super::token::{ParseError, Position, Token};
use crate::model::{quote, time};

/// Longest first where one begins another.
const SYMBOLS: [&str; 34] = [
    "&>>", "&<<", "!>>", "!<<", "&>", "&<", "&~", "!>", "!<", "!~", "!=", "&&", "||", ">>", "<<", ">=", "<=", "=~", "=", ">", "<", "~",
    "!", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", ",",
];

pub fn tokens(text: &str) -> Result<Vec<(Token, Position)>, ParseError> {
    let mut lexer = Lexer { rest: text, at: Position { line: 1, column: 1 } };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blank()?;
        let at = lexer.at;
        let token = lexer.token()?;
        let end = token == Token::End;
        tokens.push((token, at));
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Lexer<'a> {
    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError { at: self.at, message: message.into() }
    }

    /// Takes the first `bytes` bytes, which end at a character.
    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        for c in taken.chars() {
            if c == '\n' {
                self.at = Position { line: self.at.line + 1, column: 1 };
            } else {
                self.at.column += 1;
            }
        }
        self.rest = rest;
        taken
    }

    fn skip_blank(&mut self) -> Result<(), ParseError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.take(end);
            } else if let Some(inside) = self.rest.strip_prefix("/*") {
                let end = inside.find("*/").ok_or_else(|| self.error("comment not terminated"))?;
                self.take(end + 4);
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Token, ParseError> {
        let Some(first) = self.rest.chars().next() else { return Ok(Token::End) };
        match first {
            '"' | '`' => self.string(first),
            '0'..='9' => self.number(),
            '.' => self.dot(),
            c if c.is_alphabetic() || c == '_' => self.word(),
            '|' if !self.rest.starts_with("||") => {
                self.take(1);
                Ok(Token::Symbol("|"))
            }
            c => {
                let symbol = SYMBOLS.into_iter().find(|s| self.rest.starts_with(s));
                let symbol = symbol.ok_or_else(|| self.error(format!("syntax error: unexpected {c:?}")))?;
                self.take(symbol.len());
                Ok(Token::Symbol(symbol))
            }
        }
    }

    fn string(&mut self, delimiter: char) -> Result<Token, ParseError> {
        let inside = &self.rest[1..];
        let mut escaped = false;
        let end = inside.find(|c| {
            let end = c == delimiter && !escaped;
            escaped = delimiter == '"' && c == '\\' && !escaped;
            end
        });
        let end = end.ok_or_else(|| self.error("literal not terminated"))?;
        let bytes = quote::unquote(&inside[..end], delimiter);
        let text = bytes.and_then(|b| String::from_utf8(b).ok()).ok_or_else(|| self.error("invalid escape in a string"))?;
        self.take(end + 2);
        Ok(Token::String(text))
    }

    /// A number or a duration, without a sign.
    fn number(&mut self) -> Result<Token, ParseError> {
        let mut before = ' ';
        let mut exponent = true;
        let end = self.rest.find(|c: char| {
            let signed = exponent && matches!(before, 'e' | 'E') && matches!(c, '+' | '-');
            let inside = c.is_ascii_alphanumeric() || matches!(c, '.' | 'µ' | 'μ') || signed;
            exponent &= c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
            before = c;
            !inside
        });
        let text = &self.rest[..end.unwrap_or(self.rest.len())];
        let token = literal(text).ok_or_else(|| self.error(format!("syntax error: bad number {text}")))?;
        self.take(text.len());
        Ok(token)
    }

    /// `.5`, `.24h` or `.name`.
    fn dot(&mut self) -> Result<Token, ParseError> {
        if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            let end = self.rest.find(ends_name).unwrap_or(self.rest.len());
            if let Some(token) = literal(&self.rest[..end]) {
                self.take(end);
                return Ok(token);
            }
        }
        self.attribute(Scope::Any, false)
    }

    fn word(&mut self) -> Result<Token, ParseError> {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        if !self.rest[end..].starts_with('.') {
            self.take(end);
            return Ok(Token::Word(word.to_owned()));
        }
        let Some(scope) = Scope::parse(word) else {
            if word != "parent" {
                return Err(self.error(format!("unknown identifier: {word}")));
            }
            self.take(end);
            for (prefix, scope) in [(".span.", Scope::Span), (".resource.", Scope::Resource)] {
                if self.rest.starts_with(prefix) {
                    self.take(prefix.len() - 1);
                    return self.attribute(scope, true);
                }
            }
            return self.attribute(Scope::Any, true);
        };
        self.take(end);
        self.attribute(scope, false)
    }

    /// From the dot on.
    fn attribute(&mut self, scope: Scope, parent: bool) -> Result<Token, ParseError> {
        self.take(1);
        let mut name = String::new();
        while let Some(c) = self.rest.chars().next() {
            if c == '"' {
                self.quoted_part(&mut name)?;
            } else if ends_name(c) {
                break;
            } else {
                name.push_str(self.take(c.len_utf8()));
            }
        }
        if name.is_empty() {
            let next = self.rest.chars().next().map_or("$end".to_owned(), |c| c.to_string());
            return Err(self.error(format!("syntax error: unexpected {next}, expecting IDENTIFIER")));
        }
        Ok(Token::Attribute(Field::Attribute { scope, parent, name }))
    }

    /// A part in quotes: only the quote and the backslash are escaped, everything else stands for itself.
    fn quoted_part(&mut self, name: &mut String) -> Result<(), ParseError> {
        self.take(1);
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(self.error("syntax error: unexpected $end, expecting \""));
            };
            self.take(c.len_utf8());
            match c {
                '"' => return Ok(()),
                '\\' => match self.rest.chars().next() {
                    Some(c @ ('"' | '\\')) => {
                        self.take(1);
                        name.push(c);
                    }
                    _ => return Err(self.error("syntax error: invalid escape in a quoted attribute name")),
                },
                c => name.push(c),
            }
        }
    }
}

/// What ends an attribute name outside quotes.
pub fn ends_name(c: char) -> bool {
    c.is_whitespace() || matches!(c, '{' | '}' | '(' | ')' | '=' | '~' | '!' | '<' | '>' | '&' | '|' | '^' | ',')
}

fn literal(text: &str) -> Option<Token> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Token::Int);
    }
    let is_float = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if is_float {
        return text.parse().ok().filter(|f: &f64| f.is_finite()).map(Token::Float);
    }
    time::parse_prometheus_duration(text).or_else(|| time::parse_go_duration(text)).map(Token::Duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lex(text: &str) -> Vec<Token> {
        tokens(text).unwrap_or_else(|e| panic!("{text}: {e}")).into_iter().map(|(t, _)| t).collect()
    }

    fn attribute(scope: Scope, name: &str) -> Token {
        Token::Attribute(Field::Attribute { scope, parent: false, name: name.into() })
    }

    #[test]
    fn numbers_and_durations() {
        let cases = [
            ("5", Token::Int(5)),
            (".5", Token::Float(0.5)),
            ("1e3", Token::Float(1000.0)),
            ("1.5e-3", Token::Float(0.0015)),
            ("1d2h", Token::Duration(26 * 3_600_000_000_000)),
            ("1.5s", Token::Duration(1_500_000_000)),
            ("100µs", Token::Duration(100_000)),
            (".24h", Token::Duration(864_000_000_000)),
            ("1h15m30.918s", Token::Duration(4_530_918_000_000)),
        ];
        for (text, token) in cases {
            assert_eq!(lex(text), [token, Token::End], "{text}");
        }
        assert_eq!(lex("5-3"), [Token::Int(5), Token::Symbol("-"), Token::Int(3), Token::End]);
        assert!(tokens("99999999999999999999").is_err() && tokens("5x").is_err());
    }

    #[test]
    fn attribute_names_run_to_the_next_blank_or_operator() {
        assert_eq!(lex(".a-b/c:d")[0], attribute(Scope::Any, "a-b/c:d"));
        assert_eq!(lex(r#"span."foo bar".baz=1"#)[..2], [attribute(Scope::Span, "foo bar.baz"), Token::Symbol("=")]);
        assert_eq!(lex("resource.\"a\\\"b\\\\c\nd\"")[0], attribute(Scope::Resource, "a\"b\\c\nd"));
        assert_eq!(lex("span.name")[0], attribute(Scope::Span, "name"));
        let parent = Field::Attribute { scope: Scope::Span, parent: true, name: "x".into() };
        assert_eq!(lex("parent.span.x")[0], Token::Attribute(parent));
        assert!(tokens("span. = 1").is_err() && tokens("foo.bar").is_err());
    }

    #[test]
    fn words_symbols_comments_and_positions() {
        assert_eq!(lex("trace:id!~`x\\`")[..3], [Token::Word("trace:id".into()), Token::Symbol("!~"), Token::String("x\\".into())]);
        assert_eq!(lex("a&>>b /* c\n */ | // d")[..4].iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "&>>", "b", "|"]);
        let tokens = tokens("{\n  name }").unwrap();
        assert_eq!(tokens[1].1, Position { line: 2, column: 3 });
        assert_eq!(tokens[3].1, Position { line: 2, column: 9 });
    }
}
