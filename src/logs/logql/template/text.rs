use super::execute::OUTPUT_MAX_BYTES;
use super::functions::text_argument;
use super::value::Value;
use base64::Engine as _;
use std::time::{Duration, Instant};

/// Functions over text.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let s = |at: usize| text_argument(arguments, at);
    let int = |at: usize| arguments.get(at).map(Value::as_int).ok_or_else(|| "wrong number of args".to_owned());
    let text = match name {
        "Replace" => {
            let most = usize::try_from(int(3)?).unwrap_or(usize::MAX);
            replaced(&s(0)?, &s(1)?, &s(2)?, most)?
        }
        "Trim" => trim(&s(0)?, &s(1)?, true, true),
        "TrimLeft" => trim(&s(0)?, &s(1)?, true, false),
        "TrimRight" => trim(&s(0)?, &s(1)?, false, true),
        "TrimPrefix" => prefixless(&s(0)?, &s(1)?),
        "TrimSuffix" => suffixless(&s(0)?, &s(1)?),
        "TrimSpace" | "trim" => s(0)?.trim().to_owned(),
        "ToLower" | "lower" => s(0)?.to_lowercase(),
        "ToUpper" | "upper" => s(0)?.to_uppercase(),
        "title" => title(&s(0)?),
        "trimAll" => trim(&s(1)?, &s(0)?, true, true),
        "trimPrefix" => prefixless(&s(1)?, &s(0)?),
        "trimSuffix" => suffixless(&s(1)?, &s(0)?),
        "replace" => replaced(&s(2)?, &s(0)?, &s(1)?, usize::MAX)?,
        "repeat" => repeat(int(0)?, &s(1)?)?,
        "trunc" => truncate(int(0)?, &s(1)?),
        "substr" => substring(int(0)?, int(1)?, &s(2)?)?,
        "contains" => return Ok(Value::Bool(s(1)?.contains(&s(0)?))),
        "hasPrefix" => return Ok(Value::Bool(s(1)?.starts_with(&s(0)?))),
        "hasSuffix" => return Ok(Value::Bool(s(1)?.ends_with(&s(0)?))),
        "indent" => indent(int(0)?, &s(1)?)?,
        "nindent" => format!("\n{}", indent(int(0)?, &s(1)?)?),
        "alignLeft" | "alignRight" => align(int(0)?, &s(1)?, name == "alignLeft")?,
        "b64enc" => base64::engine::general_purpose::STANDARD.encode(s(0)?),
        "b64dec" => match base64::engine::general_purpose::STANDARD.decode(s(0)?) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => error.to_string(),
        },
        "urlencode" | "urlquery" => form_urlencoded::byte_serialize(s(0)?.as_bytes()).collect(),
        "urldecode" => url_decode(&s(0)?)?,
        "html" => escape_html(&s(0)?),
        "regexReplaceAll" | "regexReplaceAllLiteral" => {
            let regex = crate::model::regexp::compile(&s(0)?).map_err(|e| e.to_string())?;
            regex_replaced(&regex, &s(1)?, &s(2)?, name == "regexReplaceAllLiteral")?
        }
        "count" => {
            let regex = crate::model::regexp::compile(&s(0)?).map_err(|e| e.to_string())?;
            return count(&regex, &s(1)?).map(Value::Int);
        }
        other => return Err(format!("function {other:?} not defined")),
    };
    Ok(Value::Text(text))
}

/// Looking for all matches can take the square of the text's length, where each match is known only at the end of the text;
/// so nobody waits for longer than this.
const PATIENCE: Duration = Duration::from_millis(200);
/// Matches between two looks at the time.
const MATCHES: usize = 16;

fn in_time(since: Instant, matches: usize) -> Result<(), String> {
    if matches.is_multiple_of(MATCHES) && since.elapsed() > PATIENCE { Err("takes too long".into()) } else { Ok(()) }
}

fn count(regex: &regex::Regex, s: &str) -> Result<i64, String> {
    let (since, mut count) = (Instant::now(), 0);
    for _ in regex.find_iter(s) {
        count += 1;
        in_time(since, count)?;
    }
    Ok(count as i64)
}

const TOO_LONG: &str = "result is too long";

/// The first `most` of `old` replaced by `new`.
fn replaced(s: &str, old: &str, new: &str, most: usize) -> Result<String, String> {
    let count = s.matches(old).take(most).count();
    if s.len().saturating_add(count.saturating_mul(new.len())) > OUTPUT_MAX_BYTES {
        return Err(TOO_LONG.into());
    }
    Ok(s.replacen(old, new, most))
}

fn regex_replaced(regex: &regex::Regex, s: &str, replacement: &str, literal: bool) -> Result<String, String> {
    let groups = if literal { 0 } else { replacement.matches('$').count() };
    let mut out = String::new();
    let (since, mut last) = (Instant::now(), 0);
    for (at, captures) in regex.captures_iter(s).enumerate() {
        in_time(since, at + 1)?;
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&s[last..whole.start()]);
        last = whole.end();
        // A group is a part of the match.
        if out.len() + replacement.len() + groups.saturating_mul(whole.len()) > OUTPUT_MAX_BYTES {
            return Err(TOO_LONG.into());
        }
        if literal {
            out.push_str(replacement);
        } else {
            captures.expand(replacement, &mut out);
        }
    }
    out.push_str(&s[last..]);
    Ok(out)
}

fn trim(s: &str, cut: &str, left: bool, right: bool) -> String {
    let in_cut = |c: char| cut.contains(c);
    let s = if left { s.trim_start_matches(in_cut) } else { s };
    if right { s.trim_end_matches(in_cut) } else { s }.to_owned()
}

fn prefixless(s: &str, prefix: &str) -> String {
    s.strip_prefix(prefix).unwrap_or(s).to_owned()
}

fn suffixless(s: &str, suffix: &str) -> String {
    s.strip_suffix(suffix).unwrap_or(s).to_owned()
}

/// The first letter of each word in upper case.
fn title(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    let mut in_word = false;
    for c in s.chars() {
        if in_word {
            out.push(c)
        } else {
            out.extend(c.to_uppercase())
        }
        in_word = c.is_alphanumeric() || c == '_' || c == '\'';
    }
    out
}

fn repeat(n: i64, s: &str) -> Result<String, String> {
    let n = usize::try_from(n).map_err(|_| "strings: negative Repeat count")?;
    if s.len().saturating_mul(n) > OUTPUT_MAX_BYTES {
        return Err(TOO_LONG.into());
    }
    Ok(s.repeat(n))
}

/// Bytes; a cut inside a character leaves U+FFFD.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn truncate(n: i64, s: &str) -> String {
    let count = usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
    if count >= s.len() {
        return s.to_owned();
    }
    if n < 0 { lossy(&s.as_bytes()[s.len() - count..]) } else { lossy(&s.as_bytes()[..count]) }
}

fn substring(start: i64, end: i64, s: &str) -> Result<String, String> {
    let out_of_range = || "runtime error: slice bounds out of range".to_owned();
    let length = s.len() as i64;
    let (from, to) = if start < 0 {
        (0, end)
    } else if end < 0 || end > length {
        (start, length)
    } else {
        (start, end)
    };
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok()).ok_or_else(out_of_range)?;
    s.as_bytes().get(range.0..range.1).map(lossy).ok_or_else(out_of_range)
}

fn indent(n: i64, s: &str) -> Result<String, String> {
    let pad = repeat(n, " ")?;
    let lines = s.matches('\n').count() + 1;
    if pad.len().saturating_mul(lines) > OUTPUT_MAX_BYTES {
        return Err(TOO_LONG.into());
    }
    Ok(format!("{pad}{}", s.replace('\n', &format!("\n{pad}"))))
}

/// Exactly `n` characters: padded with blanks, or cut.
fn align(n: i64, s: &str, left: bool) -> Result<String, String> {
    let Ok(width) = usize::try_from(n) else { return Ok(s.to_owned()) };
    if width > OUTPUT_MAX_BYTES {
        return Err(TOO_LONG.into());
    }
    let count = s.chars().count();
    Ok(match (left, count < width) {
        (true, true) => format!("{s}{}", " ".repeat(width - count)),
        (false, true) => format!("{}{s}", " ".repeat(width - count)),
        (true, false) => s.chars().take(width).collect(),
        (false, false) => s.chars().skip(count - width).collect(),
    })
}

fn url_decode(s: &str) -> Result<String, String> {
    let spaced = s.replace('+', " ");
    let bytes = spaced.as_bytes();
    for (at, _) in spaced.match_indices('%') {
        if bytes.get(at + 1..at + 3).is_none_or(|d| !d.iter().all(u8::is_ascii_hexdigit)) {
            let bad = lossy(&bytes[at..(at + 3).min(bytes.len())]);
            return Err(format!("invalid URL escape {bad:?}"));
        }
    }
    Ok(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn escape_html(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
