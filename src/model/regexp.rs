//! RE2 patterns, as all three query languages take them, on Rust's `regex` (which guarantees linear time as RE2 does).
//!
//! The syntaxes differ in places that users meet daily, so a pattern is rewritten first: Perl classes are ASCII,
//! `\Q..\E` quotes, `[` inside a class and `{` without a count are literal, set operators inside a class do not exist.

use regex::Regex;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{Extractor, Seq};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Compiled programs above this size are refused, so that one pattern cannot take the memory of a query.
const SIZE_MAX_BYTES: usize = 16 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexpError(String);

/// Anchored at both ends, and a dot matches a newline: label matchers of Prometheus and Loki, and TraceQL.
pub fn compile_anchored(pattern: &str) -> Result<Regex, RegexpError> {
    compile_rewritten(&format!("^(?s:{})$", rewrite(pattern)))
}

/// A pattern that is anchored at both ends, in the form that is quickest to try.
#[derive(Debug, Clone)]
pub enum Anchored {
    /// It matches these texts, sorted, and no others.
    Values(Vec<Box<str>>),
    /// Whatever matches begins with `prefix`.
    Regex { prefix: Box<str>, regex: Regex },
}

impl Anchored {
    /// As [`compile_anchored`], with the same errors.
    pub fn new(pattern: &str) -> Result<Anchored, RegexpError> {
        let rewritten = rewrite(pattern);
        let parsed = ParserBuilder::new().dot_matches_new_line(true).build().parse(&rewritten);
        let Ok(parsed) = parsed else {
            // What is faulty by itself may be none between the anchors.
            compile_rewritten(&rewritten)?;
            return Ok(Anchored::Regex { prefix: Box::default(), regex: compile_anchored(pattern)? });
        };
        let literals = literals(&parsed);
        if let Some(values) = exact(&literals) {
            return Ok(Anchored::Values(values));
        }
        let prefix = literals.longest_common_prefix().and_then(|p| std::str::from_utf8(p).ok()).unwrap_or_default();
        Ok(Anchored::Regex { prefix: prefix.into(), regex: compile_anchored(pattern)? })
    }

    pub fn is_match(&self, text: &str) -> bool {
        match self {
            Anchored::Values(values) => values.binary_search_by(|v| (**v).cmp(text)).is_ok(),
            Anchored::Regex { prefix, regex } => text.starts_with(&**prefix) && regex.is_match(text),
        }
    }
}

/// Texts that a pattern lists: at most so many, and so long.
const VALUES_MAX: usize = 10_000;
const VALUE_MAX_BYTES: usize = 1_000;

fn literals(pattern: &Hir) -> Seq {
    if !pattern.properties().look_set().is_empty() {
        return Seq::infinite();
    }
    Extractor::new().limit_total(VALUES_MAX).limit_literal_len(VALUE_MAX_BYTES).extract(pattern)
}

/// The texts, if they are all that matches.
fn exact(literals: &Seq) -> Option<Vec<Box<str>>> {
    let all = literals.literals().filter(|all| all.iter().all(|l| l.is_exact()))?;
    let mut values = all.iter().map(|l| std::str::from_utf8(l.as_bytes()).ok().map(Box::from)).collect::<Option<Vec<Box<str>>>>()?;
    values.sort_unstable();
    values.dedup();
    Some(values)
}

/// As written: line filters and parsers of LogQL.
pub fn compile(pattern: &str) -> Result<Regex, RegexpError> {
    compile_rewritten(&rewrite(pattern))
}

/// What a compiled pattern costs in memory, roughly in states of its automaton: known before it is compiled, so that a query with
/// very many or very large ones can be refused. 0 for one that is no pattern.
pub fn weight(pattern: &str) -> u64 {
    regex_syntax::parse(&rewrite(pattern)).map_or(0, |hir| states(&hir))
}

/// The parser bounds how deep this goes.
fn states(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(Class::Unicode(class)) => 2 * class.ranges().len() as u64,
        HirKind::Class(Class::Bytes(class)) => class.ranges().len() as u64,
        HirKind::Repetition(r) => states(&r.sub).saturating_mul(u64::from(r.max.unwrap_or(r.min + 1).max(1))),
        HirKind::Capture(capture) => 2 + states(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().fold(1, |sum, part| sum.saturating_add(states(part))),
    }
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
    use proptest::prelude::*;

    #[test]
    fn weights_grow_with_what_is_compiled() {
        let [small, large] = ["user=.*", r"(\pL{50}){20}"].map(weight);
        assert!(small < 50 && large > 100_000, "{small} {large}");
        assert_eq!(weight("("), 0);
        assert!(weight("(((((a{100}){100}){100}){100}){100}){100}") >= 1_000_000_000_000);
    }

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

    fn part() -> impl Strategy<Value = String> {
        prop_oneof![Just("a"), Just("b"), Just("[ab]"), Just("é"), Just("."), Just("a*"), Just("b?"), Just("(?i)A"), Just("\\b"), Just("")]
            .prop_map(str::to_owned)
            .prop_recursive(4, 24, 4, |inner| {
                prop_oneof![
                    proptest::collection::vec(inner.clone(), 1..4).prop_map(|all| format!("({})", all.join("|"))),
                    proptest::collection::vec(inner.clone(), 1..4).prop_map(|all| all.concat()),
                    (inner, prop_oneof![Just("{2}"), Just("{0,2}"), Just("+"), Just("??")]).prop_map(|(i, n)| format!("(?:{i}){n}")),
                ]
            })
    }

    proptest! {
        #[test]
        fn the_quick_form_matches_what_the_pattern_does(pattern in part(), texts in proptest::collection::vec("[abAé]{0,5}", 20)) {
            if let (Ok(quick), Ok(regex)) = (Anchored::new(&pattern), compile_anchored(&pattern)) {
                for text in &texts {
                    prop_assert_eq!(quick.is_match(text), regex.is_match(text), "{} on {}", pattern, text);
                }
            }
        }
    }

    #[test]
    fn lists_of_texts_need_no_regex() {
        let values = |pattern: &str| match Anchored::new(pattern).unwrap() {
            Anchored::Values(values) => values.join(" "),
            Anchored::Regex { prefix, .. } => format!("{prefix}..."),
        };
        for (pattern, want) in [("b|a|b", "a b"), ("x(1|22)?y", "x1y x22y xy"), ("5..", "5..."), ("abc.+|abd", "ab..."), (r"a\.b", "a.b")] {
            assert_eq!(values(pattern), want, "{pattern}");
        }
        let many: Vec<String> = (0..500).map(|n| format!("pod-{n:04}")).collect();
        assert_eq!(values(&many.join("|")).split(' ').count(), 500);
        assert!(Anchored::new("a)(b").is_err());
    }

    #[test]
    fn errors_are_one_line() {
        assert_eq!(compile("(").unwrap_err().to_string(), "error parsing regexp: missing closing )");
        assert!(!compile("*").unwrap_err().to_string().contains('\n'));
    }
}
