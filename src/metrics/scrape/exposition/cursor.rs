//! A place in a text, and the tokens that both text formats have.

use super::Malformed;

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or("")
    }

    /// Whether `byte`, which is ASCII, was next; then it is behind.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.at += usize::from(is);
        is
    }

    pub(super) fn starts_with(&self, expected: &str) -> bool {
        self.text[self.at..].starts_with(expected)
    }

    pub(super) fn skip_text(&mut self, expected: &str) -> bool {
        let is = self.starts_with(expected);
        self.at += if is { expected.len() } else { 0 };
        is
    }

    /// Spaces and tabs; how many.
    pub(super) fn blanks(&mut self) -> usize {
        self.run(|b| b == b' ' || b == b'\t').len()
    }

    /// The longest run of bytes that satisfy `is`, all or none of a character's.
    pub(super) fn run(&mut self, is: impl Fn(u8) -> bool) -> &'a str {
        let start = self.at;
        let rest = &self.text.as_bytes()[start..];
        self.at += rest.iter().position(|b| !is(*b)).unwrap_or(rest.len());
        self.since(start)
    }

    /// Up to a blank or the end of the line.
    pub(super) fn word(&mut self) -> &'a str {
        self.run(|b| !matches!(b, b' ' | b'\t' | b'\n'))
    }

    /// Up to the end of the line, and behind it.
    pub(super) fn line(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let end = memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len());
        self.at = (self.at + end + 1).min(self.text.len());
        &rest[..end]
    }

    /// What stands between quotes, as it stands there. The next byte is the quote that opens.
    pub(super) fn quoted(&mut self) -> Result<&'a str, Malformed> {
        self.at += 1;
        let start = self.at;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let Some(next) = memchr::memchr2(b'"', b'\\', rest) else { return Err(self.malformed("a quote is not closed")) };
            self.at += next + 1;
            if rest[next] == b'"' {
                return Ok(&self.text[start..self.at - 1]);
            }
            // What is escaped may be a character of several bytes, none of which is a quote.
            self.at = (self.at + 1).min(self.text.len());
            while !self.text.is_char_boundary(self.at) {
                self.at += 1;
            }
        }
    }

    /// Says what is wrong, and where.
    pub(super) fn malformed(&self, what: &str) -> Malformed {
        let at = self.at.min(self.text.len());
        let line = memchr::memchr_iter(b'\n', &self.text.as_bytes()[..at]).count() + 1;
        let rest: String = self.text.get(at..).unwrap_or("").chars().take_while(|c| *c != '\n').take(40).collect();
        let got = if rest.is_empty() { "the end of the line".to_owned() } else { format!("{rest:?}") };
        Malformed(format!("line {line}: {what}, got {got}"))
    }
}
