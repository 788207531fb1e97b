use super::{Entry, errors};
use crate::logs::json::{Flow, JsonError, Kind, Scalar, Scanner};
use crate::logs::logfmt;
use crate::logs::logql::parse::ParseError;
use std::borrow::Cow;
use std::collections::HashMap;

/// A name in Loki's alphabet, as parsers make them: no collapsing, unlike names of structured metadata.
fn push_sanitised(out: &mut String, name: &str) {
    let name = name.trim();
    if out.is_empty() && name.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
        out.push('_');
    }
    out.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }));
}

pub fn sanitise(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    push_sanitised(&mut out, name);
    out
}

pub enum Json {
    /// Every scalar of the object.
    All,
    Fields(Vec<(String, Vec<PathPart>)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPart {
    Key(String),
    Index(usize),
}

impl Json {
    pub fn compile(fields: &[(String, String)]) -> Result<Json, ParseError> {
        if fields.is_empty() {
            return Ok(Json::All);
        }
        let field = |(name, path): &(String, String)| Ok((name.clone(), parse_path(path)?));
        fields.iter().map(field).collect::<Result<_, _>>().map(Json::Fields)
    }

    pub fn process(&self, entry: &mut Entry<'_>) {
        if entry.is_satisfied() {
            return;
        }
        let line = std::mem::take(&mut entry.line);
        let result = match self {
            Json::All => all(&line, entry),
            Json::Fields(fields) => fields_of(&line, fields, entry),
        };
        entry.line = line;
        if let Err(error) = result {
            entry.labels.set_error(errors::JSON, error.what);
        }
    }
}

fn all(line: &str, entry: &mut Entry<'_>) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(line);
    let mut prefix = String::new();
    members(&mut scanner, &mut prefix, entry)?;
    Ok(())
}

/// Flattens nested objects with `_`; arrays and null are skipped.
fn members(scanner: &mut Scanner<'_>, prefix: &mut String, entry: &mut Entry<'_>) -> Result<Flow, JsonError> {
    let outer = prefix.len();
    scanner.object(&mut |s, key| {
        prefix.truncate(outer);
        if outer > 0 {
            prefix.push('_');
        }
        push_sanitised(prefix, key);
        match s.kind()? {
            Kind::Object => return members(s, prefix, entry),
            Kind::Array => return s.raw().map(|_| Flow::Go),
            Kind::Scalar if !entry.is_wanted(prefix) => return s.scalar().map(|_| Flow::Go),
            Kind::Scalar => {
                let value = match s.scalar()? {
                    Scalar::String(text) => text.into_owned(),
                    Scalar::Number(text) => text.to_owned(),
                    Scalar::Bool(b) => b.to_string(),
                    Scalar::Null => return Ok(Flow::Go),
                };
                if !prefix.is_empty() {
                    entry.extract(prefix, value, false);
                }
            }
        }
        Ok(if entry.is_satisfied() { Flow::Stop } else { Flow::Go })
    })
}

/// `a.b[0]["k-1"].c`
pub fn parse_path(path: &str) -> Result<Vec<PathPart>, ParseError> {
    let error = |why: &str| ParseError::new(format!("cannot parse expression [{path}]: {why}"));
    let mut parts = Vec::new();
    let mut rest = path.trim();
    if rest.is_empty() {
        return Err(error("empty path"));
    }
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (part, after) = if let Some(text) = inside.strip_prefix('"') {
                let end = text.find("\"]").ok_or_else(|| error("missing closing bracket"))?;
                (PathPart::Key(text[..end].replace("\\\"", "\"")), &text[end + 2..])
            } else {
                let (digits, after) = inside.split_once(']').ok_or_else(|| error("missing closing bracket"))?;
                (PathPart::Index(digits.trim().parse().map_err(|_| error("index is not a number"))?), after)
            };
            parts.push(part);
            rest = after;
            continue;
        }
        if !parts.is_empty() {
            rest = rest.strip_prefix('.').ok_or_else(|| error("expected `.` or `[`"))?;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let key = &rest[..end];
        let legal = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || c == '@' || c == '$';
        if key.is_empty() || !key.chars().all(legal) || key.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(error("unexpected character"));
        }
        parts.push(PathPart::Key(key.to_owned()));
        rest = &rest[end..];
    }
    Ok(parts)
}

fn fields_of(line: &str, fields: &[(String, Vec<PathPart>)], entry: &mut Entry<'_>) -> Result<(), JsonError> {
    if !line.is_empty() && !line.starts_with(['"', '{', '[']) {
        return Err(JsonError { what: "expected an object or array", at: 0 });
    }
    for (name, path) in fields {
        let value = if line.is_empty() { None } else { look_up(&mut Scanner::new(line), path)? };
        entry.extract(name, value.unwrap_or_default(), true);
    }
    Ok(())
}

/// The value at `path` as text; `None` if it is not there.
fn look_up(scanner: &mut Scanner<'_>, path: &[PathPart]) -> Result<Option<String>, JsonError> {
    let kind = scanner.kind()?;
    let Some((part, deeper)) = path.split_first() else {
        return match kind {
            Kind::Scalar => Ok(match scanner.scalar()? {
                Scalar::String(text) => Some(text.into_owned()),
                Scalar::Number(text) => Some(text.to_owned()),
                Scalar::Bool(b) => Some(b.to_string()),
                Scalar::Null => None,
            }),
            _ => scanner.raw().map(|raw| Some(raw.to_owned())),
        };
    };
    let mut found = None;
    match (kind, part) {
        (Kind::Object, PathPart::Key(wanted)) => {
            scanner.object(&mut |s, key| {
                if key != wanted {
                    return s.raw().map(|_| Flow::Go);
                }
                found = look_up(s, deeper)?;
                Ok(Flow::Stop)
            })?;
        }
        (Kind::Array, PathPart::Index(wanted)) => {
            scanner.array(&mut |s, index| {
                if index != *wanted {
                    return s.raw().map(|_| Flow::Go);
                }
                found = look_up(s, deeper)?;
                Ok(Flow::Stop)
            })?;
        }
        _ => drop(scanner.raw()?),
    }
    Ok(found)
}

/// `unpack`: the members of an object of strings become labels, and `_entry` the line.
pub fn unpack(entry: &mut Entry<'_>) {
    if entry.line.is_empty() {
        return;
    }
    let line = std::mem::take(&mut entry.line);
    let mut packed = None;
    let mut pairs = Vec::new();
    let mut scanner = Scanner::new(&line);
    let result = if line.starts_with('{') {
        scanner.object(&mut |s, key| {
            if s.kind()? != Kind::Scalar {
                return s.raw().map(|_| Flow::Go);
            }
            if let Scalar::String(value) = s.scalar()? {
                if key == "_entry" {
                    packed = Some(value.into_owned());
                } else {
                    pairs.push((sanitise(key), value.into_owned()));
                }
            }
            Ok(Flow::Go)
        })
    } else {
        Err(JsonError { what: "expecting json object(6), but it is not", at: 0 })
    };
    entry.line = line;
    match (result, packed) {
        (Err(error), _) => entry.labels.set_error(errors::JSON, error.what),
        (Ok(_), Some(packed)) => {
            for (name, value) in pairs.into_iter().filter(|(n, _)| !n.is_empty()) {
                entry.labels.set_parsed(&name, Cow::Owned(value), false);
            }
            entry.line = Cow::Owned(packed);
        }
        (Ok(_), None) => {}
    }
}

pub struct Logfmt {
    strict: bool,
    keep_empty: bool,
    /// Label and key; none extracts everything.
    fields: Vec<(String, String)>,
    /// Which fields have a key.
    by_key: HashMap<String, Vec<usize>>,
}

impl Logfmt {
    pub fn new(strict: bool, keep_empty: bool, fields: &[(String, String)]) -> Logfmt {
        let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
        fields.iter().enumerate().for_each(|(at, (_, key))| by_key.entry(key.clone()).or_default().push(at));
        Logfmt { strict, keep_empty, fields: fields.to_vec(), by_key }
    }

    pub fn process(&self, entry: &mut Entry<'_>) {
        if entry.is_satisfied() {
            return;
        }
        let line = std::mem::take(&mut entry.line);
        let mut values: Vec<Option<String>> = vec![None; self.fields.len()];
        for pair in logfmt::Logfmt::new(&line) {
            let pair = match pair {
                Ok(pair) => pair,
                Err(error) if self.strict => {
                    entry.labels.set_error(errors::LOGFMT, error.to_string());
                    break;
                }
                Err(_) => continue,
            };
            let value = pair.value.unwrap_or_default();
            for at in self.by_key.get(pair.key).into_iter().flatten() {
                values[*at].get_or_insert_with(|| value.clone().into_owned());
            }
            if self.fields.is_empty() && (self.keep_empty || !value.is_empty()) {
                let name = sanitise(pair.key);
                if !name.is_empty() && entry.is_wanted(&name) {
                    entry.extract(&name, value.into_owned(), false);
                    if entry.is_satisfied() {
                        break;
                    }
                }
            }
        }
        entry.line = line;
        for ((name, _), value) in self.fields.iter().zip(values) {
            entry.extract(name, value.unwrap_or_default(), true);
        }
    }
}

pub struct RegexpParser {
    regex: regex::Regex,
    /// Group and label.
    names: Vec<(usize, String)>,
}

impl RegexpParser {
    pub fn compile(pattern: &str) -> Result<RegexpParser, ParseError> {
        let error = |why: &str| ParseError::new(format!("invalid regexp parser: {why}"));
        if let Some(name) = duplicate_group(pattern) {
            return Err(error(&format!("duplicate extracted label name '{name}'")));
        }
        let regex = crate::model::regexp::compile(pattern).map_err(|e| error(&e.to_string()))?;
        let names: Vec<(usize, String)> =
            regex.capture_names().enumerate().filter_map(|(at, name)| name.map(|n| (at, n.to_owned()))).collect();
        if names.is_empty() {
            return Err(error("at least one named capture must be supplied"));
        }
        Ok(RegexpParser { regex, names })
    }

    pub fn process(&self, entry: &mut Entry<'_>) {
        let line = std::mem::take(&mut entry.line);
        if let Some(captures) = self.regex.captures(&line) {
            for (at, name) in &self.names {
                let value = captures.get(*at).map_or("", |m| m.as_str());
                entry.extract(&sanitise(name), value.to_owned(), false);
            }
        }
        entry.line = line;
    }
}

/// The regex engine would refuse two groups with one name in words of its own.
fn duplicate_group(pattern: &str) -> Option<&str> {
    let mut seen: Vec<&str> = Vec::new();
    for piece in pattern.split("(?P<").skip(1) {
        let name = piece.split('>').next()?;
        if seen.contains(&name) {
            return Some(name);
        }
        seen.push(name);
    }
    None
}
