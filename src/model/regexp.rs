//! RE2 patterns, as all three query languages take them, on Rust's `regex` (which guarantees linear time as RE2 does).
//!
//! The syntaxes differ in places that users meet daily, so a pattern is rewritten first: Perl classes are ASCII,
//! `\Q..\E` quotes, `[` inside a class and `{` without a count are literal, set operators inside a class do not exist.

use regex::Regex;
use regex_syntax::hir::{Hir, HirKind};

/// Compiled programs above this size are refused, so that one pattern cannot take the memory of a query.
const SIZE_MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexpError(String);

/// Anchored at both ends, and a dot matches a newline: label matchers of Prometheus and Loki, and TraceQL.
pub fn compile_anchored(pattern: &str) -> Result<Regex, RegexpError> {
    compile_rewritten(&format!("^(?s:{})$", rewrite(pattern)))
}

/// As written: line filters and parsers of LogQL.
pub fn compile(pattern: &str) -> Result<Regex, RegexpError> {
    compile_rewritten(&rewrite(pattern))
}

/// Alternatives of which more than this are not looked at.
const ALTERNATIVES_MAX: usize = 32;

/// Texts that whatever the pattern matches must contain: alternatives, of one of which it contains all. An alternative
/// without texts may be anything.
pub fn required_texts(regex: &Regex) -> Vec<Vec<String>> {
    let Ok(hir) = regex_syntax::parse(regex.as_str()) else { return vec![Vec::new()] };
    let mut top = &hir;
    while let HirKind::Capture(capture) = top.kind() {
        top = &capture.sub;
    }
    let texts = |hir: &Hir| {
        let mut out = Vec::new();
        required(hir, &mut out);
        out
    };
    match top.kind() {
        HirKind::Alternation(branches) if branches.len() <= ALTERNATIVES_MAX => branches.iter().map(texts).collect(),
        _ => vec![texts(top)],
    }
}

/// The parser bounds how deep this goes.
fn required(hir: &Hir, out: &mut Vec<String>) {
    match hir.kind() {
        HirKind::Literal(literal) => out.extend(std::str::from_utf8(&literal.0).ok().map(str::to_owned)),
        HirKind::Capture(capture) => required(&capture.sub, out),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| required(part, out)),
        _ => {}
    }
}

fn compile_rewritten(pattern: &str) -> Result<Regex, RegexpError> {
    regex::RegexBuilder::new(pattern).size_limit(SIZE_MAX_BYTES).build().map_err(|e| RegexpError(cause(&e)))
}

/// The last line of the crate's message is the cause; the lines before it draw the rewritten pattern.
fn cause(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    match last.trim_start_matches("error: ") {
        "unclosed group" => "missing closing )".to_owned(),
        "unopened group" => "unexpected )".to_owned(),
        "unclosed character class" => "missing closing ]".to_owned(),
        "repetition operator missing expression" => "missing argument to repetition operator".to_owned(),
        other => other.to_owned(),
    }
}

fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => rewrite_escape(&mut out, after, in_class),
            '[' if in_class => match posix_class(rest) {
                Some(class) => {
                    out.push_str(class);
                    &rest[class.len()..]
                }
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            '[' => {
                in_class = true;
                out.push('[');
                open_class(&mut out, after)
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
                after
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
                after
            }
            '{' if !in_class && !is_count(after) => {
                out.push_str("\\{");
                after
            }
            c => {
                out.push(c);
                after
            }
        };
    }
    out
}

/// After `[`: a negation, and a `]` that stands first and is therefore literal.
fn open_class<'a>(out: &mut String, mut rest: &'a str) -> &'a str {
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    rest
}

fn rewrite_escape<'a>(out: &mut String, after: &'a str, in_class: bool) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[c.len_utf8()..];
    let (inside, whole) = match c {
        'd' => ("0-9", "[0-9]"),
        'w' => ("0-9A-Za-z_", "[0-9A-Za-z_]"),
        's' => ("\\t\\n\\x0c\\r ", "[\\t\\n\\x0c\\r ]"),
        'D' => ("[^0-9]", "[^0-9]"),
        'W' => ("[^0-9A-Za-z_]", "[^0-9A-Za-z_]"),
        'S' => ("[^\\t\\n\\x0c\\r ]", "[^\\t\\n\\x0c\\r ]"),
        'b' if !in_class => ("", "(?-u:\\b)"),
        'B' if !in_class => ("", "(?-u:\\B)"),
        'Q' => {
            let (literal, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(literal));
            return rest;
        }
        '<' | '>' => {
            out.push(c);
            return rest;
        }
        _ => {
            out.push('\\');
            out.push(c);
            return rest;
        }
    };
    out.push_str(if in_class { inside } else { whole });
    rest
}

/// `[:alpha:]` at the start of `text`.
fn posix_class(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("[:")?;
    let end = inner.find(":]")?;
    let name = inner[..end].strip_prefix('^').unwrap_or(&inner[..end]);
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase())).then(|| &text[..end + 4])
}

/// `3}`, `3,}` or `3,5}`: what makes the brace before it a repetition.
fn is_count(text: &str) -> bool {
    let Some((count, _)) = text.split_once('}') else { return false };
    let (low, high) = count.split_once(',').unwrap_or((count, ""));
    !low.is_empty() && low.bytes().all(|b| b.is_ascii_digit()) && high.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_match_must_contain() {
        let texts = |pattern: &str| required_texts(&compile(pattern).unwrap());
        assert_eq!(texts(r"user=\w+ (failed: )+.*port \d"), [["user=", " ", "failed: ", "port "]]);
        assert_eq!(texts("(error|fatal .* disk)"), [vec!["error"], vec!["fatal ", " disk"]]);
        assert_eq!(texts("(?i)error x?"), [[" "]]);
        assert_eq!(texts("a(b|c)d*"), [["a"]]);
        assert_eq!(texts(".*"), [Vec::<String>::new()]);
    }

    #[test]
    fn re2_spellings_that_rust_reads_otherwise() {
        let hit = |pattern: &str, text: &str| compile_anchored(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).is_match(text);
        assert!(hit(r"\Qa.b\E+", "a.bb") && !hit(r"\Qa.b\E", "axb"));
        assert!(hit("[[]x", "[x") && hit("[]a]+", "]a") && hit("[a&&b]+", "a&b"));
        assert!(hit("a{", "a{") && hit("a{2}", "aa") && hit("/v1/{id}", "/v1/{id}"));
        assert!(hit(r"\d+", "12") && !hit(r"\d", "٣") && hit(r"[\w-]+", "a-b_c") && hit(r"[^\s]+", "xy"));
        assert!(hit(r"\W", "é") && hit(r"[[:alpha:]]+", "abc") && hit(".+", "a\nb") && hit(r"\bfoo\b", "foo"));
        assert!(hit("", "") && hit("a|b", "b") && !hit("a|b", "ab"));
    }

    #[test]
    fn errors_are_one_line() {
        assert_eq!(compile("(").unwrap_err().to_string(), "error parsing regexp: missing closing )");
        assert!(!compile("*").unwrap_err().to_string().contains('\n'));
    }
}
