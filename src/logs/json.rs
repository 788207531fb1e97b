//! A JSON scanner over a line: no tree is built, numbers keep their text, and what came before a mistake has been
//! seen by then. Nesting is bounded.

use std::borrow::Cow;

/// Objects and arrays inside each other.
const DEPTH_MAX: usize = 128;

/// Texts that Loki's users know from `__error_details__`.
const MALFORMED: &str = "Malformed JSON error";
const OBJECT: &str = "Value looks like object, but can't find closing '}' symbol";
const ARRAY: &str = "Value is array, but can't find closing ']' symbol";
const STRING: &str = "Value is string, but can't find closing '\"' symbol";
const NUMBER: &str = "Value looks like Number/Boolean/None, but can't find its end: ',' or '}' symbol";
const UNKNOWN: &str = "Unknown value type";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    pub what: &'static str,
    pub at: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// Unescaped; invalid surrogates are U+FFFD.
    String(Cow<'a, str>),
    /// As written.
    Number(&'a str),
    Bool(bool),
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    Scalar,
}

/// Whether to go on with the next member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Go,
    Stop,
}

pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0, depth: 0 }
    }

    fn error<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { what, at: self.at })
    }

    fn space(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    }

    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return self.error(what);
        }
        self.at += 1;
        Ok(())
    }

    /// What the next value is.
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(_) => Ok(Kind::Scalar),
            None => self.error(MALFORMED),
        }
    }

    /// Calls `member` for each key; it must consume the value. Stops where `member` says so, without reading on.
    pub fn object(&mut self, member: &mut dyn FnMut(&mut Self, &str) -> Result<Flow, JsonError>) -> Result<Flow, JsonError> {
        self.enter(b'{')?;
        if self.leave(b'}') {
            return Ok(Flow::Go);
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.error(OBJECT);
            }
            let key = self.string()?;
            self.expect(b':', MALFORMED)?;
            if member(self, &key)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            if self.leave(b'}') {
                return Ok(Flow::Go);
            }
            self.expect(b',', OBJECT)?;
        }
    }

    /// Calls `element` for each element; it must consume it.
    pub fn array(&mut self, element: &mut dyn FnMut(&mut Self, usize) -> Result<Flow, JsonError>) -> Result<Flow, JsonError> {
        self.enter(b'[')?;
        if self.leave(b']') {
            return Ok(Flow::Go);
        }
        for index in 0.. {
            if element(self, index)? == Flow::Stop {
                return Ok(Flow::Stop);
            }
            if self.leave(b']') {
                break;
            }
            self.expect(b',', ARRAY)?;
        }
        Ok(Flow::Go)
    }

    fn enter(&mut self, open: u8) -> Result<(), JsonError> {
        self.expect(open, OBJECT)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.error("nested too deeply") } else { Ok(()) }
    }

    fn leave(&mut self, close: u8) -> bool {
        let closes = self.peek() == Some(close);
        if closes {
            self.at += 1;
            self.depth -= 1;
        }
        closes
    }

    /// The next value, which must not be an object or array.
    pub fn scalar(&mut self) -> Result<Scalar<'a>, JsonError> {
        match self.peek() {
            Some(b'"') => Ok(Scalar::String(self.string()?)),
            Some(b't') => self.word("true", Scalar::Bool(true)),
            Some(b'f') => self.word("false", Scalar::Bool(false)),
            Some(b'n') => self.word("null", Scalar::Null),
            Some(b'-' | b'0'..=b'9') => {
                let rest = &self.text[self.at..];
                let length = rest.bytes().take_while(|b| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).count();
                if rest[..length].parse::<f64>().is_err() {
                    return self.error(NUMBER);
                }
                self.at += length;
                Ok(Scalar::Number(&rest[..length]))
            }
            Some(_) => self.error(UNKNOWN),
            None => self.error(MALFORMED),
        }
    }

    fn word(&mut self, word: &str, value: Scalar<'a>) -> Result<Scalar<'a>, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return self.error(UNKNOWN);
        }
        self.at += word.len();
        Ok(value)
    }

    /// Skips the next value and returns its text.
    pub fn raw(&mut self) -> Result<&'a str, JsonError> {
        self.space();
        let from = self.at;
        match self.kind()? {
            Kind::Object => drop(self.object(&mut |s, _| s.raw().map(|_| Flow::Go))?),
            Kind::Array => drop(self.array(&mut |s, _| s.raw().map(|_| Flow::Go))?),
            Kind::Scalar => drop(self.scalar()?),
        }
        Ok(&self.text[from..self.at])
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let from = self.at + 1;
        let bytes = self.text.as_bytes();
        let Some(stop) = memchr::memchr2(b'"', b'\\', &bytes[from..]) else {
            return self.error(STRING);
        };
        if bytes[from + stop] == b'"' {
            self.at = from + stop + 1;
            return Ok(Cow::Borrowed(&self.text[from..from + stop]));
        }
        let mut out = self.text[from..from + stop].to_owned();
        self.at = from + stop;
        loop {
            let from = self.at;
            let Some(stop) = memchr::memchr2(b'"', b'\\', &bytes[from..]) else {
                return self.error(STRING);
            };
            out.push_str(&self.text[from..from + stop]);
            self.at = from + stop + 1;
            if bytes[from + stop] == b'"' {
                return Ok(Cow::Owned(out));
            }
            self.escape(&mut out)?;
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), JsonError> {
        let c = match self.text.as_bytes().get(self.at) {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(*c),
            Some(b'u') => {
                let high = self.unit(self.at + 1)?;
                self.at += 4;
                let low = (0xd800..0xdc00).contains(&high) && self.text[self.at + 1..].starts_with("\\u");
                match if low { self.unit(self.at + 3).ok() } else { None } {
                    Some(low @ 0xdc00..0xe000) => {
                        self.at += 6;
                        char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).unwrap_or('\u{fffd}')
                    }
                    _ => char::from_u32(high).unwrap_or('\u{fffd}'),
                }
            }
            _ => return self.error(MALFORMED),
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    /// Four hex digits.
    fn unit(&self, at: usize) -> Result<u32, JsonError> {
        let digits = self.text.get(at..at + 4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        digits.and_then(|d| u32::from_str_radix(d, 16).ok()).ok_or(JsonError { what: MALFORMED, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(text: &str) -> (Vec<String>, bool) {
        let mut seen = Vec::new();
        let mut scanner = Scanner::new(text);
        let result = scanner.object(&mut |s, key| {
            let raw = s.raw()?;
            seen.push(format!("{key}={raw}"));
            Ok(Flow::Go)
        });
        (seen, result.is_ok())
    }

    #[test]
    fn members_come_in_order_and_before_a_mistake() {
        assert_eq!(
            keys(r#" {"a": 1.50, "b":[1,{"c":"}"}], "d":null} "#),
            (vec!["a=1.50".into(), r#"b=[1,{"c":"}"}]"#.into(), "d=null".into()], true)
        );
        assert_eq!(keys(r#"{"a":1,"b":}"#), (vec!["a=1".into()], false));
        assert_eq!(keys(""), (vec![], false));
        assert!(!keys(&"{\"a\":".repeat(500)).1);
    }

    #[test]
    fn strings_are_unescaped() {
        let text = r#""a\"b\u00e9\ud83d\ude00\ud800x\/\n""#;
        assert_eq!(Scanner::new(text).scalar(), Ok(Scalar::String("a\"bé😀\u{fffd}x/\n".into())));
        for bad in [r#""a"#, r#""\x""#, r#""\u12""#, r#""\u12é4""#, "tru", "-", "1e"] {
            assert!(Scanner::new(bad).scalar().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_scanned_without_panic(text in "[{}\\[\\]\":,\\\\u0-9a-fént .-]{0,64}") {
            let _ = keys(&text);
            let _ = Scanner::new(&text).raw();
        }
    }
}
