//! Quoted strings as Go writes and reads them: all three query languages and both label printers use them.

use std::fmt::Write as _;

/// `text` in double quotes with Go's `%q` escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x10000 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
    out
}

/// An approximation of Go's `strconv.IsPrint` that errs towards printing: control, format and space characters other
/// than the ASCII blank are escaped.
fn is_printable(c: char) -> bool {
    c == ' '
        || !(c.is_control()
            || c.is_whitespace()
            || matches!(c as u32, 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff | 0xe000..=0xf8ff | 0xfff0..=0xfffb))
}

/// Reads the inside of a string that was delimited by `quote` (`"`, `'` or a backtick), with Go's escapes; a
/// backtick string has none. The result is bytes, because `\xFF` need not be UTF-8. `None` for a bad escape.
pub fn unquote(inside: &str, quote: char) -> Option<Vec<u8>> {
    if quote == '`' {
        return Some(inside.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c == '\n' {
            return None;
        }
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escaped = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            q @ ('"' | '\'') if q == quote => q as u8,
            'x' => u8::try_from(digits(&mut chars, 2, 16)?).ok()?,
            d @ '0'..='7' => {
                let rest = digits(&mut chars, 2, 8)?;
                u8::try_from(d.to_digit(8)? * 64 + rest).ok()?
            }
            u @ ('u' | 'U') => {
                let code = digits(&mut chars, if u == 'u' { 4 } else { 8 }, 16)?;
                out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(escaped);
    }
    Some(out)
}

fn digits(chars: &mut std::str::Chars<'_>, count: u32, radix: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |n, _| Some(n.checked_mul(radix)? + chars.next()?.to_digit(radix)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quote("a\"b\\\n\u{1}é"), r#""a\"b\\\n\x01é""#);
        assert_eq!(quote("\u{200b}"), r#""\u200b""#);
    }

    #[test]
    fn unquoting_is_gos() {
        assert_eq!(unquote(r#"a\"b"#, '"').unwrap(), b"a\"b");
        assert_eq!(unquote(r"\xff\377\u00e9", '"').unwrap(), [0xff, 0xff, 0xc3, 0xa9]);
        assert_eq!(unquote(r"a\d", '`').unwrap(), br"a\d");
        for bad in [r"\d", r"\'", r"\x1", r"\400", "a\nb", "\\"] {
            assert_eq!(unquote(bad, '"'), None, "{bad}");
        }
    }
}
