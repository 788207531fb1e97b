//! Go's `Printf`, as far as log lines need it.

use super::execute::OUTPUT_MAX_BYTES;
use super::value::{Value, go_float};
use crate::model::quote::quote;

/// Widths and precisions above this are malformed.
const WIDTH_MAX: usize = 4096;

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub fn format(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = format;
    let mut arguments = arguments.iter();
    let mut used_all = true;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if out.len() > OUTPUT_MAX_BYTES {
            return Err("result is too long".into());
        }
        let (flags, after) = flags(after, &mut arguments)?;
        let Some(verb) = after.chars().next() else {
            out.push_str("%!(NOVERB)");
            return Ok(out);
        };
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
            continue;
        }
        match arguments.next() {
            Some(value) => out.push_str(&pad(verb_text(verb, &flags, value), &flags, verb)),
            None => {
                used_all = false;
                out.push_str(&format!("%!{verb}(MISSING)"));
            }
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = arguments.map(|v| format!("{}={}", v.kind(), v.print())).collect();
    if used_all && !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn flags<'a>(mut rest: &'a str, arguments: &mut std::slice::Iter<'_, Value>) -> Result<(Flags, &'a str), String> {
    let mut flags = Flags::default();
    while let Some(c) = rest.chars().next() {
        match c {
            '-' => flags.minus = true,
            '+' => flags.plus = true,
            '0' => flags.zero = true,
            ' ' => flags.space = true,
            '#' => {}
            _ => break,
        }
        rest = &rest[1..];
    }
    let mut number = |rest: &mut &'a str| -> Result<Option<usize>, String> {
        if let Some(after) = rest.strip_prefix('*') {
            *rest = after;
            let width = arguments.next().map_or(0, Value::as_int);
            return usize::try_from(width).ok().filter(|w| *w <= WIDTH_MAX).map(Some).ok_or_else(|| "width is too large".to_owned());
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        *rest = after;
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().ok().filter(|w| *w <= WIDTH_MAX).map(Some).ok_or_else(|| "width is too large".to_owned())
    };
    flags.width = number(&mut rest)?;
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        flags.precision = Some(number(&mut rest)?.unwrap_or(0));
    }
    Ok((flags, rest))
}

fn verb_text(verb: char, flags: &Flags, value: &Value) -> String {
    let bad = || format!("%!{verb}({}={})", value.kind(), value.print());
    let signed = |text: String, negative: bool| match (negative, flags.plus, flags.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    };
    match (verb, value) {
        ('v' | 's', Value::Text(s)) => flags.precision.map_or_else(|| s.clone(), |p| s.chars().take(p).collect()),
        ('v', Value::Int(i)) => signed(i.to_string(), *i < 0),
        ('v', Value::Float(f)) if flags.precision.is_none() => signed(go_float(*f), *f < 0.0),
        ('v', value) => value.print(),
        ('d', Value::Int(i)) => signed(i.to_string(), *i < 0),
        ('x', Value::Int(i)) => format!("{i:x}"),
        ('X', Value::Int(i)) => format!("{i:X}"),
        ('o', Value::Int(i)) => format!("{i:o}"),
        ('b', Value::Int(i)) => format!("{i:b}"),
        ('c', Value::Int(i)) => u32::try_from(*i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
        ('x', Value::Text(s)) => s.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Text(s)) => s.bytes().map(|b| format!("{b:02X}")).collect(),
        ('q', Value::Text(s)) => quote(s),
        ('t', Value::Bool(b)) => b.to_string(),
        ('f' | 'F', Value::Float(f)) if f.is_finite() => signed(format!("{f:.*}", flags.precision.unwrap_or(6)), *f < 0.0),
        ('e', Value::Float(f)) if f.is_finite() => signed(exponent(*f, flags.precision.unwrap_or(6)), *f < 0.0),
        ('g', Value::Float(f)) => signed(go_float(*f), *f < 0.0),
        ('f' | 'F' | 'e', Value::Float(f)) => crate::model::number::plain_float(*f),
        ('T', value) => value.kind().to_owned(),
        ('s', Value::List(_) | Value::Map(_) | Value::Time(_)) => value.print(),
        _ => bad(),
    }
}

fn exponent(f: f64, precision: usize) -> String {
    let text = format!("{f:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn pad(text: String, flags: &Flags, verb: char) -> String {
    let (width, length) = (flags.width.unwrap_or(0), text.chars().count());
    if length >= width {
        return text;
    }
    let fill = width - length;
    if flags.minus {
        return text + &" ".repeat(fill);
    }
    if flags.zero && !matches!(verb, 's' | 'v' | 'q') {
        let digits = text.trim_start_matches(['-', '+']);
        let sign = &text[..text.len() - digits.len()];
        return format!("{sign}{}{digits}", "0".repeat(fill));
    }
    " ".repeat(fill) + &text
}
