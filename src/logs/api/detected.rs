//! What fields and labels there are, found by looking at some entries (contracts/loki.md 1.11).

use super::answer::push_string;
use super::distinct::Distinct;
use super::labels::{closed, selector};
use super::params::{bounds, count};
use super::{Api, invalid, json};
use crate::logs::json::{Flow, JsonError, Kind, Scalar, Scanner};
use crate::logs::logfmt::Logfmt;
use crate::logs::logql::ast::{Expr, Stage};
use crate::logs::logql::eval::{Direction, Engine, FoundEntry, LogQuery, Stats, run_log};
use crate::logs::logql::pipeline::{Category, sanitise};
use crate::logs::logql::{convert, parse};
use crate::logs::source::each_run;
use crate::model::TimeRange;
use crate::query::{Context, QueryError};
use crate::storage::View;
use crate::web::Params;
use axum::extract::{Path, State};
use axum::response::Response;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

pub async fn labels(State(api): State<Api>, params: Params) -> Response {
    let (now, asked) = (api.clock.now(), params.clone());
    api.answer(&params, move |view, ctx| {
        let (start, end) = bounds(&asked, now)?;
        let matchers = selector(asked.get("query"))?;
        let mut values: BTreeMap<String, Values> = BTreeMap::new();
        each_run(view, closed(start, end), &matchers, ctx, |run| {
            for (name, value) in run.labels.iter() {
                match values.get_mut(name) {
                    Some(values) => values.add(value, ctx)?,
                    None => values.entry(name.to_owned()).or_default().add(value, ctx)?,
                }
            }
            Ok(())
        })?;
        let mut out = String::from(r#"{"detectedLabels":["#);
        let shown = values.iter().filter(|(name, values)| values.are_telling(name));
        for (i, (name, values)) in shown.enumerate() {
            out.push_str(if i > 0 { r#",{"label":"# } else { r#"{"label":"# });
            push_string(&mut out, name);
            let _ = write!(out, r#","cardinality":{}}}"#, values.hashes.count());
        }
        out.push_str("]}\n");
        Ok(json(out))
    })
    .await
}

/// Values of one label that are counted exactly; of more, the number is an estimate (within 5 % nearly always).
const COUNTED_MAX: usize = 4_096;
/// Memory of one counted value.
const COUNTED_BYTES: u64 = 16;

/// The values of one label: how many there are, and of what kind, without the values themselves, which may be a million.
struct Values {
    hashes: Distinct,
    has_other_than_number: bool,
    has_other_than_uuid: bool,
    has_other_than_bit: bool,
}

impl Default for Values {
    fn default() -> Values {
        Values { hashes: Distinct::new(COUNTED_MAX), has_other_than_number: false, has_other_than_uuid: false, has_other_than_bit: false }
    }
}

impl Values {
    fn add(&mut self, value: &str, ctx: &Context) -> Result<(), QueryError> {
        let counted = self.hashes.is_exact();
        if self.hashes.add(xxhash_rust::xxh3::xxh3_64(value.as_bytes())) && counted {
            ctx.reserve(COUNTED_BYTES)?;
        } else if counted {
            return Ok(());
        }
        self.has_other_than_number = self.has_other_than_number || value.parse::<f64>().is_err();
        self.has_other_than_uuid = self.has_other_than_uuid || !is_uuid(value);
        self.has_other_than_bit = self.has_other_than_bit || !matches!(value, "0" | "1");
        Ok(())
    }

    /// Labels whose values are all numbers or all UUIDs tell people nothing.
    fn are_telling(&self, name: &str) -> bool {
        matches!(name, "cluster" | "namespace" | "instance" | "pod")
            || !self.has_other_than_bit
            || (self.has_other_than_number && self.has_other_than_uuid)
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().enumerate().all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

#[derive(Default)]
struct Field {
    kind: &'static str,
    values: BTreeSet<String>,
    /// Names of parsers; none for structured metadata alone.
    parsers: BTreeSet<&'static str>,
    path: Vec<String>,
}

const LINES_DEFAULT: usize = 100;
const FIELDS_DEFAULT: usize = 1000;

pub async fn fields(State(api): State<Api>, params: Params) -> Response {
    let (now, asked) = (api.clock.now(), params.clone());
    api.answer(&params, move |view, ctx| {
        let (fields, limit) = detect(view, ctx, &asked, now)?;
        if fields.is_empty() {
            return Ok(json("{}\n".into()));
        }
        let mut out = String::from(r#"{"fields":["#);
        for (i, (name, field)) in fields.iter().take(limit).enumerate() {
            out.push_str(if i > 0 { r#",{"label":"# } else { r#"{"label":"# });
            push_string(&mut out, name);
            let parsers = if field.parsers.is_empty() { "null".to_owned() } else { serde_json::json!(field.parsers).to_string() };
            let _ = write!(out, r#","type":"{}","cardinality":{},"parsers":{parsers}"#, field.kind, field.values.len());
            if !field.path.is_empty() {
                out.push_str(r#","jsonPath":"#);
                super::answer::push_strings(&mut out, field.path.iter().map(String::as_str));
            }
            out.push('}');
        }
        let _ = writeln!(out, r#"],"limit":{limit}}}"#);
        Ok(json(out))
    })
    .await
}

pub async fn values(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Response {
    let (now, asked) = (api.clock.now(), params.clone());
    api.answer(&params, move |view, ctx| {
        let (mut fields, limit) = detect(view, ctx, &asked, now)?;
        let Some(field) = fields.remove(&name).filter(|f| !f.values.is_empty()) else { return Ok(json("{}\n".into())) };
        let mut out = String::from(r#"{"values":"#);
        super::answer::push_strings(&mut out, field.values.iter().take(limit).map(String::as_str));
        let _ = writeln!(out, r#","limit":{limit}}}"#);
        Ok(json(out))
    })
    .await
}

type Fields = BTreeMap<String, Field>;

fn detect(view: &View<crate::logs::LogsSpec>, ctx: &Context, params: &Params, now: i64) -> Result<(Fields, usize), QueryError> {
    let (start, end) = bounds(params, now)?;
    let lines = count(params, "line_limit", LINES_DEFAULT)?;
    let limit = match params.non_empty("limit") {
        Some(_) => count(params, "limit", FIELDS_DEFAULT)?,
        None => count(params, "field_limit", FIELDS_DEFAULT)?,
    };
    let Expr::Log(log) = parse(params.get("query").unwrap_or("")).map_err(|e| QueryError::Parse(e.to_string()))? else {
        return Err(invalid("only log selector is supported"));
    };
    let stage_parser = |s: &Stage| match s {
        Stage::Json(_) | Stage::Unpack => Some("json"),
        Stage::Logfmt { .. } => Some("logfmt"),
        Stage::Regexp(_) => Some("regexp"),
        Stage::Pattern(_) => Some("pattern"),
        _ => None,
    };
    let parsers: Vec<&'static str> = log.stages.iter().filter_map(stage_parser).collect();
    let query = LogQuery { range: TimeRange::new(start, end), direction: Direction::Backward, limit: lines, interval: 0 };
    let entries = run_log(&Engine { view, ctx, now }, &log, &query, &mut Stats::default())?;
    let mut fields = Fields::new();
    for entry in &entries {
        look_at(entry, &parsers, &mut fields);
    }
    Ok((fields, limit))
}

fn look_at(entry: &FoundEntry, parsers: &[&'static str], fields: &mut Fields) {
    for (name, value, category) in &entry.labels {
        match category {
            Category::Stream => {}
            Category::Metadata => note(fields, name, value, value.clone()),
            Category::Parsed if name.starts_with("__error") => {}
            Category::Parsed => {
                note(fields, name, value, pasteable(value));
                if let Some(field) = fields.get_mut(name) {
                    field.parsers.extend(parsers);
                }
            }
        }
    }
    let mut found = Vec::new();
    let trimmed = entry.line.trim();
    let parser = if trimmed.starts_with('{') && json_members(&mut Scanner::new(trimmed), &mut Vec::new(), &mut found).is_ok() {
        "json"
    } else {
        found.clear();
        let pairs = Logfmt::new(&entry.line).flatten().filter_map(|p| Some((p.key, p.value?)));
        found.extend(pairs.filter(|(_, v)| !v.is_empty()).map(|(k, v)| (vec![k.to_owned()], v.into_owned())));
        "logfmt"
    };
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (path, value) in found {
        let mut name = sanitise(&path.join("_"));
        if entry.labels.iter().any(|(n, _, c)| *n == name && *c == Category::Stream) {
            name.push_str("_extracted");
        }
        if name.is_empty() || !seen.insert(name.clone()) {
            continue;
        }
        let metadata = entry.labels.iter().any(|(n, _, c)| *n == name && *c == Category::Metadata);
        if !metadata {
            note(fields, &name, &value, pasteable(&value));
        }
        if let Some(field) = fields.get_mut(&name) {
            field.parsers.insert(parser);
            if parser == "json" {
                field.path = path;
            }
        }
    }
}

fn note(fields: &mut Fields, name: &str, value: &str, shown: String) {
    let field = fields.entry(name.to_owned()).or_default();
    field.kind = kind_of(value);
    field.values.insert(shown);
}

/// A size that was parsed from a line in the form in which a filter reads it.
fn pasteable(value: &str) -> String {
    if kind_of(value) == "bytes" { si_bytes(value) } else { value.to_owned() }
}

/// Bytes of paths and values that are looked at of one line: where keys are long, each of many members has a long path.
const MEMBERS_MAX_BYTES: usize = 4 << 20;

fn json_members(s: &mut Scanner<'_>, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) -> Result<Flow, JsonError> {
    let mut left = MEMBERS_MAX_BYTES;
    members(s, path, found, &mut left)
}

fn members(
    s: &mut Scanner<'_>,
    path: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
    left: &mut usize,
) -> Result<Flow, JsonError> {
    s.object(&mut |s, key| {
        *left = left.saturating_sub(24 * path.len() + path.iter().map(String::len).sum::<usize>() + key.len());
        if *left == 0 {
            return Ok(Flow::Stop);
        }
        path.push(key.to_owned());
        match s.kind()? {
            Kind::Object if members(s, path, found, left)? == Flow::Stop => return Ok(Flow::Stop),
            Kind::Object => {}
            Kind::Array => drop(s.raw()?),
            Kind::Scalar => match s.scalar()? {
                Scalar::String(text) => found.push((path.clone(), text.into_owned())),
                Scalar::Number(text) => found.push((path.clone(), text.to_owned())),
                Scalar::Bool(b) => found.push((path.clone(), b.to_string())),
                Scalar::Null => {}
            },
        }
        path.pop();
        Ok(Flow::Go)
    })
}

fn kind_of(value: &str) -> &'static str {
    if value.parse::<i64>().is_ok() {
        "int"
    } else if convert::parse_float(value).is_ok() {
        "float"
    } else if matches!(value, "t" | "T" | "TRUE" | "true" | "True" | "f" | "F" | "FALSE" | "false" | "False") {
        "boolean"
    } else if convert::parse_duration(value).is_ok() {
        "duration"
    } else if convert::parse_bytes(value).is_ok() {
        "bytes"
    } else {
        "string"
    }
}

/// `1.5MB`: what a filter can read again.
fn si_bytes(value: &str) -> String {
    let Ok(bytes) = convert::parse_bytes(value) else { return value.to_owned() };
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let power = ((bytes as f64).ln() / 1000f64.ln()).floor().clamp(0.0, 6.0);
    let scaled = (bytes as f64 / 1000f64.powf(power) * 10.0 + 0.5).floor() / 10.0;
    let unit = units[power as usize];
    if scaled < 10.0 { format!("{scaled:.1}{unit}") } else { format!("{scaled:.0}{unit}") }
}
