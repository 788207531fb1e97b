use crate::logs::json::{Flow, Kind, Scalar, Scanner};

/// A placeholder, as LogQL's pattern filters write it.
pub const WILD: &str = "<_>";
/// Longer lines are not looked at.
const LINE_MAX_BYTES: usize = 3_000;
const TOKENS_MIN: usize = 4;
const TOKENS_MAX: usize = 80;
/// Members of a JSON line that may hold its text, in this order.
const MESSAGE_NAMES: [&str; 6] = ["log", "message", "msg", "msg_", "_msg", "content"];
/// Keys of logfmt whose values are times or ids.
const VARIABLE_KEYS: [&str; 5] = ["ts", "t", "traceID", "time", "timestamp"];

/// How the lines of a stream are taken apart; its first line decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Logfmt,
    Plain,
}

/// A token, and how many spaces follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub spaces: u32,
}

impl Format {
    pub fn of(line: &str) -> Format {
        let trimmed = line.trim();
        if trimmed.starts_with('{') && trimmed.ends_with('}') {
            Format::Json
        } else if logfmt(line).iter().filter(|t| t.text.len() > 1 && t.text.ends_with('=')).count() >= 2 {
            Format::Logfmt
        } else {
            Format::Plain
        }
    }

    /// `None` for a line that has no useful pattern. Linear in the line.
    pub fn tokens(self, line: &str) -> Option<Vec<Token<'_>>> {
        if line.len() > LINE_MAX_BYTES {
            return None;
        }
        let tokens = match self {
            Format::Json => {
                let mut tokens = plain(message(line)?);
                // What stands around the message belongs to it, without a space.
                tokens.insert(0, Token { text: WILD, spaces: 0 });
                tokens.push(Token { text: WILD, spaces: 0 });
                tokens
            }
            Format::Logfmt => logfmt(line),
            Format::Plain => plain(line),
        };
        let around = if self == Format::Json { 2 } else { 0 };
        (TOKENS_MIN + around..=TOKENS_MAX + around).contains(&tokens.len()).then_some(tokens)
    }
}

/// The text of a JSON line as it stands there; `None` if it has escapes, since a pattern would not be found again.
fn message(line: &str) -> Option<&str> {
    let mut best: Option<(usize, &str)> = None;
    let mut scanner = Scanner::new(line.trim());
    let scanned = scanner.object(&mut |s, key| {
        if s.kind()? != Kind::Scalar {
            return s.raw().map(|_| Flow::Go);
        }
        if let Scalar::String(std::borrow::Cow::Borrowed(text)) = s.scalar()?
            && let Some(rank) = MESSAGE_NAMES.iter().position(|n| *n == key)
            && best.is_none_or(|(other, _)| rank < other)
        {
            best = Some((rank, text));
        }
        Ok(Flow::Go)
    });
    scanned.ok()?;
    best.map(|(_, text)| text)
}

fn spaces(text: &str) -> u32 {
    text.bytes().take_while(|b| *b == b' ').count() as u32
}

/// Words, and everything that separates them but spaces as tokens of their own.
fn plain(line: &str) -> Vec<Token<'_>> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/') || !c.is_ascii();
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        if tokens.len() > TOKENS_MAX {
            break;
        }
        let length = if is_word(first) { rest.find(|c: char| !is_word(c)).unwrap_or(rest.len()) } else { first.len_utf8() };
        let (text, after) = if first == ' ' { ("", rest) } else { rest.split_at(length) };
        let spaces = spaces(after);
        rest = &after[spaces as usize..];
        tokens.push(Token { text, spaces });
    }
    tokens
}

/// `key=` and value in turn; a value in quotes is one token with them. Words without `=` are tokens, too.
fn logfmt(line: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while !rest.is_empty() && tokens.len() <= TOKENS_MAX {
        let end = rest.find([' ', '=']).unwrap_or(rest.len());
        let has_value = rest[end..].starts_with('=');
        let (key, after) = rest.split_at(end + usize::from(has_value));
        let gap = spaces(after);
        tokens.push(Token { text: key, spaces: gap });
        rest = &after[gap as usize..];
        if !has_value || gap > 0 || rest.is_empty() {
            continue;
        }
        let (value, after) = rest.split_at(value_length(rest));
        let gap = spaces(after);
        let is_variable = VARIABLE_KEYS.contains(&&key[..key.len() - 1]);
        tokens.push(Token { text: if is_variable { WILD } else { value }, spaces: gap });
        rest = &after[gap as usize..];
    }
    tokens
}

fn value_length(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find(' ').unwrap_or(text.len()).max(1);
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(format: Format, line: &str) -> Vec<&str> {
        format.tokens(line).unwrap_or_default().iter().map(|t| t.text).collect()
    }

    #[test]
    fn lines_are_taken_apart_by_their_form() {
        assert_eq!(Format::of(r#" {"a":1} "#), Format::Json);
        assert_eq!(Format::of("level=info msg=x"), Format::Logfmt);
        assert_eq!(Format::of("GET /a?b=c took 5ms"), Format::Plain);
        assert_eq!(texts(Format::Plain, "GET /a/b.c:80 (x-y) took"), ["GET", "/a/b.c:80", "(", "x-y", ")", "took"]);
        assert_eq!(texts(Format::Logfmt, r#"ts=1 level=info msg="a b" up"#), ["ts=", "<_>", "level=", "info", "msg=", "\"a b\"", "up"]);
        assert_eq!(texts(Format::Json, r#"{"n":{"msg":"no"},"msg":"one two three four"}"#), ["<_>", "one", "two", "three", "four", "<_>"]);
        assert_eq!(Format::Json.tokens(r#"{"msg":"with \"escapes\" in it"}"#), None);
        assert_eq!(Format::Plain.tokens("too few words"), None);
        assert_eq!(Format::Plain.tokens(&"x ".repeat(81)), None);
    }

    proptest! {
        #[test]
        fn any_line_is_taken_apart_without_loss(line in any::<String>()) {
            for tokens in [plain(&line), logfmt(&line)] {
                if tokens.len() <= TOKENS_MAX && !tokens.iter().any(|t| t.text == WILD) {
                    let again: String = tokens.iter().map(|t| format!("{}{}", t.text, " ".repeat(t.spaces as usize))).collect();
                    prop_assert_eq!(&again, &line);
                }
            }
            let _ = Format::of(&line).tokens(&line);
            let _ = Format::Json.tokens(&line);
        }
    }
}
