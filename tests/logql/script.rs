//! The format of `logqltest` files (contracts/loki.md 4.1).

use monocle::logs::logql::eval::Steps;
use monocle::logs::{Group, LogRows, Metadata, RowsBuilder};
use monocle::model::{Labels, time};
use regex::Regex;
use std::sync::Arc;

pub enum Command {
    Clear,
    Load(LogRows),
    Eval(Eval),
}

pub struct Eval {
    pub line: usize,
    pub query: String,
    pub steps: Steps,
    pub expectation: Expectation,
    pub ordered: bool,
}

pub enum Expectation {
    Scalar(f64),
    /// Labels, and a point or a gap for each step.
    Series(Vec<(Labels, Vec<Option<f64>>)>),
    Fail(Regex),
}

/// 2026-01-01T00:00:00Z
const EPOCH: i64 = 1_767_225_600 * time::SECOND;

/// Without a comment; `#` in quotes is none.
fn stripped(line: &str) -> &str {
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') => return line[..at].trim_end(),
            (None, '"' | '`') => quote = Some(c),
            (Some(q), c) if q == c => quote = None,
            _ => {}
        }
    }
    line.trim_end()
}

pub fn parse_script(text: &str) -> Vec<Result<Command, String>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = (at + 1, stripped(lines[at]).trim());
        at += 1;
        if line.is_empty() {
            continue;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if word == "clear" {
            commands.push(Ok(Command::Clear));
            continue;
        }
        let mut block = Vec::new();
        while at < lines.len() && !lines[at].trim().is_empty() {
            if !lines[at].trim_start().starts_with('#') {
                if !lines[at].starts_with([' ', '\t']) {
                    break;
                }
                let content = stripped(lines[at]).trim();
                if !content.is_empty() {
                    block.push(content);
                }
            }
            at += 1;
        }
        let command = match word {
            "load" => {
                let mut rows = RowsBuilder::default();
                block.iter().try_for_each(|line| load(line, &mut rows)).map(|()| Command::Load(rows.finish()))
            }
            "eval" => eval(rest, &block, number).map(Command::Eval),
            other => Err(format!("unknown command {other:?}")),
        };
        commands.push(command.map_err(|e| format!("line {number}: {e}")));
    }
    commands
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a fixed pattern")
}

fn duration(text: &str) -> Result<i64, String> {
    time::parse_go_duration(text).ok_or_else(|| format!("not a duration: {text:?}"))
}

/// Labels up to the first `}`, and the rest. Empty values stay with `keep_empty`.
fn labels(text: &str, keep_empty: bool) -> Result<(Labels, &str), String> {
    let (inside, rest) = text.strip_prefix('{').and_then(|t| t.split_once('}')).ok_or_else(|| format!("no labels in {text:?}"))?;
    let pairs = pattern(r#"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)""#);
    let mut out: Vec<(String, String)> = Vec::new();
    for pair in pairs.captures_iter(inside) {
        let value = monocle::model::quote::unquote(&pair[2], '"').ok_or("bad escape in a label value")?;
        let value = String::from_utf8(value).map_err(|e| e.to_string())?;
        if keep_empty || !value.is_empty() {
            out.push((pair[1].to_owned(), value));
        }
    }
    out.sort();
    Ok((Labels::from_sorted(out.iter().map(|(n, v)| (n.as_str(), v.as_str()))), rest))
}

/// `{labels} "line" @ START [repeat every STEP for COUNT] [metadata k="v"]`
fn load(text: &str, rows: &mut RowsBuilder) -> Result<(), String> {
    let (labels, rest) = labels(text, false)?;
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '`')).ok_or("no line")?;
    let (line, rest) = rest[1..].split_once(quote).ok_or("unterminated line")?;
    let start = pattern(r"^\s*@\s*(\S+)").captures(rest).ok_or("no time")?;
    let from = duration(&start[1])?;
    let mut rest = &rest[start[0].len()..];
    let (mut step, mut count) = (0, 1);
    if let Some(repeat) = pattern(r"^\s*\[repeat every\s+(\S+)\s+for\s+(\d+)\]").captures(rest) {
        (step, count) = (duration(&repeat[1])?, repeat[2].parse().map_err(|_| "bad count")?);
        rest = &rest[repeat[0].len()..];
    }
    let mut metadata: Vec<(u32, String)> = Vec::new();
    if let Some(given) = pattern(r"^\s*\[metadata\s+(.*?)\]").captures(rest) {
        for pair in pattern(r#"(?:"([^"]*)"|([^\s"=]+))="([^"]*)""#).captures_iter(&given[1]) {
            let name = pair.get(1).or_else(|| pair.get(2)).map_or("", |m| m.as_str());
            metadata.push((rows.name(name), pair[3].to_owned()));
        }
        rest = &rest[given[0].len()..];
    }
    if !rest.trim().is_empty() {
        return Err(format!("left over: {rest:?}"));
    }
    rows.begin(&Arc::new(Group::new(labels, Metadata::default())));
    for i in 0..count {
        metadata.iter().for_each(|(name, value)| rows.set(*name, value));
        let line = line.replace("{{.i}}", &i.to_string());
        rows.entry(0, EPOCH + from + i * step, &line).map_err(|_| "no room")?;
    }
    Ok(())
}

fn eval(text: &str, block: &[&str], line: usize) -> Result<Eval, String> {
    let instant = pattern(r"^instant at (\S+)\s+(.*)$");
    let range = pattern(r"^range from (\S+) to (\S+) step (\S+)\s+(.*)$");
    let (steps, query) = if let Some(m) = instant.captures(text) {
        (Steps::instant(EPOCH + duration(&m[1])?), m[2].to_owned())
    } else if let Some(m) = range.captures(text) {
        let (start, end, step) = (duration(&m[1])?, duration(&m[2])?, duration(&m[3])?);
        (Steps { start: EPOCH + start, end: EPOCH + end, step, instant: false }, m[4].to_owned())
    } else {
        return Err(format!("malformed eval: {text:?}"));
    };
    let mut series = Vec::new();
    let (mut ordered, mut expectation) = (false, None);
    for content in block {
        if let Some(rest) = content.strip_prefix("expect ") {
            match rest.trim() {
                "ordered" => ordered = true,
                "empty" => {}
                "fail" => expectation = Some(Expectation::Fail(pattern(""))),
                rest => {
                    let text = rest.strip_prefix("fail msg:").map(|t| regex::escape(t.trim()));
                    let text = text.or_else(|| rest.strip_prefix("fail regex:").map(|t| t.trim().to_owned()));
                    let text = text.ok_or_else(|| format!("unknown expectation {rest:?}"))?;
                    expectation = Some(Expectation::Fail(Regex::new(&text).map_err(|e| e.to_string())?));
                }
            }
        } else if content.starts_with('{') {
            let (labels, points) = labels(content, true)?;
            series.push((labels, parse_points(points)?));
        } else if !content.starts_with("skip ") {
            expectation = Some(Expectation::Scalar(float(content)?));
        }
    }
    Ok(Eval { line, query, steps, expectation: expectation.unwrap_or(Expectation::Series(series)), ordered })
}

fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("not a number: {text:?}"))
}

/// `1 _ NaN 2+3x2`
fn parse_points(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut points = Vec::new();
    for word in text.split_whitespace() {
        let repeated = word.rsplit_once('x').and_then(|(base, n)| Some((base, n.parse::<u32>().ok()?)));
        match repeated {
            _ if word == "_" => points.push(None),
            None => points.push(Some(float(word)?)),
            Some((base, n)) => {
                let sign = base.char_indices().filter(|(at, c)| *at > 0 && matches!(c, '+' | '-')).map(|(at, _)| at).next_back();
                let (start, step) = match sign {
                    Some(at) => (float(&base[..at])?, float(&base[at..])?),
                    None => (float(base)?, 0.0),
                };
                points.extend((0..=n).map(|i| Some(start + f64::from(i) * step)));
            }
        }
    }
    Ok(points)
}
