//! Series lines: labels, then values (contract 6.3).

use monocle::metrics::STALE_NAN;
use monocle::metrics::promql::{Histogram, ResetHint, parse_selector};
use monocle::model::Labels;
use monocle::model::time::{MILLI, parse_prometheus_duration};

#[derive(Debug, Clone)]
pub enum Value {
    Gap,
    Float(f64),
    /// And whether the literal names a reset hint.
    Histogram(Histogram, bool),
}

/// The labels of a line, and the rest of it.
pub fn labels(line: &str) -> Result<(Labels, &str), String> {
    let end = labels_end(line);
    let (head, rest) = line.split_at(end);
    if head.trim() == "{}" {
        return Ok((Labels::empty(), rest));
    }
    let selector = parse_selector(head).map_err(|e| format!("{head:?}: {}", e.message))?;
    Ok((Labels::from_pairs(selector.matchers.iter().map(|m| (m.name.clone(), m.value.clone()))), rest))
}

fn labels_end(line: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    let mut inside = false;
    for (at, c) in line.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' => inside = true,
                '}' => return at + 1,
                c if c.is_whitespace() && !inside => {
                    // A blank may stand between name and brace, but then no value starts with a single brace.
                    let rest = line[at..].trim_start();
                    let opens_labels = rest.starts_with('{') && !rest.starts_with("{{");
                    if !opens_labels {
                        return at;
                    }
                }
                _ => {}
            },
        }
    }
    line.len()
}

/// Words outside of histogram literals.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c.is_whitespace() && depth == 0 {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

pub fn values(text: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for word in words(text) {
        item(&word, &mut values)?;
    }
    Ok(values)
}

fn item(word: &str, values: &mut Vec<Value>) -> Result<(), String> {
    let bad = || format!("bad value {word:?}");
    if let Some(rest) = word.strip_prefix('_') {
        let count = if rest.is_empty() { 1 } else { rest.strip_prefix('x').and_then(|n| n.parse().ok()).ok_or_else(bad)? };
        values.extend(std::iter::repeat_n(Value::Gap, count));
        return Ok(());
    }
    if word.starts_with("{{") {
        return histogram_item(word, values);
    }
    if let Some(rest) = word.strip_prefix("stale") {
        let more: usize = if rest.is_empty() { 0 } else { rest.strip_prefix('x').and_then(|n| n.parse().ok()).ok_or_else(bad)? };
        values.extend(std::iter::repeat_n(Value::Float(f64::from_bits(STALE_NAN)), more + 1));
        return Ok(());
    }
    let (body, more) = match word.rsplit_once('x') {
        Some((body, count)) => (body, count.parse::<usize>().map_err(|_| bad())?),
        None => (word, 0),
    };
    let split = body.char_indices().skip(1).find(|(at, c)| matches!(c, '+' | '-') && !body[..*at].ends_with(['e', 'E']));
    let (start, delta) = match split {
        Some((at, sign)) => {
            let delta: f64 = number(&body[at + 1..]).ok_or_else(bad)?;
            (number(&body[..at]).ok_or_else(bad)?, if sign == '-' { -delta } else { delta })
        }
        None => (number(body).ok_or_else(bad)?, 0.0),
    };
    let mut value = start;
    for _ in 0..=more {
        values.push(Value::Float(value));
        value += delta;
    }
    Ok(())
}

pub fn number(text: &str) -> Option<f64> {
    match text.to_ascii_lowercase().as_str() {
        "inf" | "+inf" => Some(f64::INFINITY),
        "-inf" => Some(f64::NEG_INFINITY),
        "nan" | "+nan" | "-nan" => Some(f64::NAN),
        lower if lower.starts_with("0x") => i64::from_str_radix(&lower[2..], 16).ok().map(|n| n as f64),
        other => other.parse().ok(),
    }
}

fn histogram_item(word: &str, values: &mut Vec<Value>) -> Result<(), String> {
    let bad = || format!("bad histogram {word:?}");
    let end = word.find("}}").ok_or_else(bad)? + 2;
    let (start, hinted) = histogram(&word[2..end - 2])?;
    let rest = &word[end..];
    if rest.is_empty() {
        values.push(Value::Histogram(start, hinted));
        return Ok(());
    }
    if let Some(count) = rest.strip_prefix('x') {
        let more: usize = count.parse().map_err(|_| bad())?;
        values.extend(std::iter::repeat_n(Value::Histogram(start, hinted), more + 1));
        return Ok(());
    }
    let subtract = rest.starts_with('-');
    let delta_end = rest.find("}}").ok_or_else(bad)? + 2;
    let (delta, _) = histogram(&rest[3..delta_end - 2])?;
    let more: usize = rest[delta_end..].strip_prefix('x').and_then(|n| n.parse().ok()).ok_or_else(bad)?;
    let mut current = start;
    for _ in 0..=more {
        values.push(Value::Histogram(current.clone(), hinted));
        let hint = current.hint;
        let outcome = if subtract { current.sub(&delta) } else { current.add(&delta) };
        outcome.map_err(|_| bad())?;
        current.compact();
        if hint != ResetHint::Unknown {
            current.hint = hint;
        }
    }
    Ok(())
}

fn histogram(text: &str) -> Result<(Histogram, bool), String> {
    let mut h = Histogram::default();
    let (mut offset, mut n_offset) = (0i32, 0i32);
    let (mut buckets, mut n_buckets) = (Vec::new(), Vec::new());
    let mut hinted = false;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or_else(|| format!("bad histogram {text:?}"))?;
        let after = after.trim_start();
        let (value, next) = if let Some(list) = after.strip_prefix('[') {
            let end = list.find(']').ok_or("unclosed list")?;
            (&list[..end], &list[end + 1..])
        } else {
            let end = after.find(char::is_whitespace).unwrap_or(after.len());
            after.split_at(end)
        };
        let float = || number(value.trim()).ok_or_else(|| format!("bad number {value:?}"));
        let int = || value.trim().parse::<i32>().map_err(|e| e.to_string());
        let list =
            || value.split_whitespace().map(|n| number(n).ok_or_else(|| format!("bad number {n:?}"))).collect::<Result<Vec<f64>, _>>();
        match key.trim() {
            "schema" => h.schema = int()?,
            "count" => h.count = float()?,
            "sum" => h.sum = float()?,
            "z_bucket" => h.zero_count = float()?,
            "z_bucket_w" => h.zero_threshold = float()?,
            "offset" => offset = int()?,
            "n_offset" => n_offset = int()?,
            "buckets" => buckets = list()?,
            "n_buckets" => n_buckets = list()?,
            "custom_values" => h.custom = list()?.into(),
            "counter_reset_hint" => {
                hinted = true;
                h.hint = match value.trim() {
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    "gauge" => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            other => return Err(format!("unknown key {other:?}")),
        }
        rest = next.trim_start();
    }
    h.positive = (offset..).zip(buckets).collect();
    h.negative = (n_offset..).zip(n_buckets).collect();
    Ok((h, hinted))
}

/// Start times of an `@st` line, relative to each sample's own time; milliseconds.
pub fn starts(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut starts = Vec::new();
    for word in words(text) {
        let bad = || format!("bad start time {word:?}");
        if let Some(rest) = word.strip_prefix('_') {
            let count = if rest.is_empty() { 1 } else { rest.strip_prefix('x').and_then(|n| n.parse().ok()).ok_or_else(bad)? };
            starts.extend(std::iter::repeat_n(None, count));
            continue;
        }
        let (body, more) = match word.rsplit_once('x') {
            Some((body, count)) => (body, count.parse::<usize>().map_err(|_| bad())?),
            None => (word.as_str(), 0),
        };
        let split = body.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-')).map(|(at, _)| at);
        let (start, delta) = match split {
            Some(at) => (signed(&body[..at]).ok_or_else(bad)?, signed(&body[at..]).ok_or_else(bad)?),
            None => (signed(body).ok_or_else(bad)?, 0),
        };
        starts.extend((0..=more as i64).map(|n| Some(start + n * delta)));
    }
    Ok(starts)
}

fn signed(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    parse_prometheus_duration(text).map(|n| sign * n / MILLI)
}
