use super::value::Value;
use super::{Input, dates, printf, text};
use crate::logs::logql::convert;
use std::cmp::Ordering;
use std::collections::BTreeMap;

const NAMES: [&str; 84] = [
    "__line__",
    "__timestamp__",
    "Replace",
    "Trim",
    "TrimLeft",
    "TrimRight",
    "TrimPrefix",
    "TrimSuffix",
    "TrimSpace",
    "ToLower",
    "ToUpper",
    "lower",
    "upper",
    "title",
    "trim",
    "trimAll",
    "trimPrefix",
    "trimSuffix",
    "replace",
    "repeat",
    "trunc",
    "substr",
    "contains",
    "hasPrefix",
    "hasSuffix",
    "indent",
    "nindent",
    "default",
    "alignLeft",
    "alignRight",
    "b64enc",
    "b64dec",
    "urlencode",
    "urldecode",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "count",
    "int",
    "float64",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "addf",
    "subf",
    "mulf",
    "divf",
    "max",
    "min",
    "maxf",
    "minf",
    "ceil",
    "floor",
    "round",
    "bytes",
    "duration",
    "duration_seconds",
    "fromJson",
    "date",
    "toDate",
    "toDateInZone",
    "now",
    "unixEpoch",
    "unixEpochMillis",
    "unixEpochNanos",
    "unixToTime",
    "printf",
    "print",
    "println",
    "len",
    "index",
    "slice",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "not",
    "html",
    "urlquery",
];

pub fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What a call costs beside its arguments, in bytes that could be copied meanwhile.
pub fn cost(name: &str) -> usize {
    if matches!(name, "regexReplaceAll" | "regexReplaceAllLiteral" | "count") { 64 << 10 } else { 0 }
}

/// A label, `""` if it is absent.
pub fn label(input: &Input<'_>, name: &str) -> String {
    if let Some(value) = input.labels.get(name) {
        return value.to_owned();
    }
    if !name.starts_with("__error") {
        return String::new();
    }
    let found = input.labels.output().find(|(n, _, _)| *n == name);
    found.map_or_else(String::new, |(_, value, _)| value.to_owned())
}

pub fn labels_as_map(input: &Input<'_>) -> Value {
    Value::Map(input.labels.output().map(|(n, v, _)| (n.to_owned(), Value::Text(v.to_owned()))).collect())
}

type Called = Result<Value, String>;

fn argument(arguments: &[Value], at: usize) -> Result<&Value, String> {
    arguments.get(at).ok_or_else(|| format!("wrong number of args: want at least {} got {}", at + 1, arguments.len()))
}

/// A piece of text; what is not text has the wrong type for a function that wants it.
pub fn text_argument(arguments: &[Value], at: usize) -> Result<String, String> {
    match argument(arguments, at)? {
        Value::Text(s) => Ok(s.clone()),
        Value::Nil => Err("invalid value; expected string".into()),
        other => Err(format!("wrong type for value; expected string; got {}", other.kind())),
    }
}

pub fn call(name: &str, arguments: &[Value], input: &Input<'_>) -> Called {
    match name {
        "__line__" => Ok(Value::Text(input.line.to_owned())),
        "__timestamp__" => Ok(Value::Time(input.ts)),
        "now" => Ok(Value::Time(input.now)),
        "int" | "float64" | "add" | "sub" | "mul" | "div" | "mod" | "addf" | "subf" | "mulf" | "divf" | "max" | "min" | "maxf" | "minf"
        | "ceil" | "floor" | "round" => numeric(name, arguments),
        "bytes" => converted(arguments, |t| convert::parse_bytes(t).map(|n| n as f64)),
        "duration" | "duration_seconds" => converted(arguments, |t| convert::parse_duration(t).map(|n| n as f64 / 1e9)),
        "fromJson" => {
            let text = text_argument(arguments, 0)?;
            Ok(serde_json::from_str(&text).map_or(Value::Nil, from_json))
        }
        "date" | "toDate" | "toDateInZone" | "unixEpoch" | "unixEpochMillis" | "unixEpochNanos" | "unixToTime" => {
            dates::call(name, arguments)
        }
        "printf" => {
            let format = text_argument(arguments, 0)?;
            printf::format(&format, arguments.get(1..).unwrap_or(&[])).map(Value::Text)
        }
        "print" => Ok(Value::Text(arguments.iter().map(Value::print).collect())),
        "println" => Ok(Value::Text(arguments.iter().map(Value::print).collect::<Vec<_>>().join(" ") + "\n")),
        "len" => length(argument(arguments, 0)?, input),
        "index" => index(arguments, input),
        "slice" => slice(arguments),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments),
        "not" => Ok(Value::Bool(!argument(arguments, 0)?.truth())),
        "default" => {
            let value = arguments.get(1).cloned().unwrap_or(Value::Nil);
            if value.truth() { Ok(value) } else { argument(arguments, 0).cloned() }
        }
        _ => text::call(name, arguments),
    }
}

fn converted(arguments: &[Value], parse: impl Fn(&str) -> Result<f64, String>) -> Called {
    parse(&text_argument(arguments, 0)?).map(Value::Float)
}

fn numeric(name: &str, arguments: &[Value]) -> Called {
    let first = argument(arguments, 0)?;
    let ints = || arguments.iter().map(Value::as_int);
    let floats = || arguments.iter().map(Value::as_float);
    let by = || argument(arguments, 1).map(Value::as_int);
    Ok(match name {
        "int" => Value::Int(first.as_int()),
        "float64" => Value::Float(first.as_float()),
        "add" => Value::Int(ints().fold(0, i64::wrapping_add)),
        "sub" => Value::Int(first.as_int().wrapping_sub(by()?)),
        "mul" => Value::Int(ints().fold(1, i64::wrapping_mul)),
        "div" | "mod" if by()? == 0 => return Err("runtime error: integer divide by zero".into()),
        "div" => Value::Int(first.as_int().wrapping_div(by()?)),
        "mod" => Value::Int(first.as_int().wrapping_rem(by()?)),
        "addf" => Value::Float(floats().sum()),
        "subf" => Value::Float(floats().skip(1).fold(first.as_float(), |a, b| a - b)),
        "mulf" => Value::Float(floats().product()),
        "divf" => Value::Float(floats().skip(1).fold(first.as_float(), |a, b| a / b)),
        "max" => Value::Int(ints().fold(first.as_int(), i64::max)),
        "min" => Value::Int(ints().fold(first.as_int(), i64::min)),
        "maxf" => Value::Float(floats().fold(first.as_float(), f64::max)),
        "minf" => Value::Float(floats().fold(first.as_float(), f64::min)),
        "ceil" => Value::Float(first.as_float().ceil()),
        "floor" => Value::Float(first.as_float().floor()),
        _ => {
            let scale = 10f64.powi(i32::try_from(by()?).unwrap_or(0));
            let scaled = first.as_float() * scale;
            let rounded = if scaled - scaled.floor() >= 0.5 { scaled.ceil() } else { scaled.floor() };
            Value::Float(rounded / scale)
        }
    })
}

/// Numbers of JSON are floats.
fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(s) => Value::Text(s),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(members) => Value::Map(members.into_iter().map(|(k, v)| (k, from_json(v))).collect::<BTreeMap<_, _>>()),
    }
}

fn length(value: &Value, input: &Input<'_>) -> Called {
    let length = match value {
        Value::Text(s) => s.len(),
        Value::List(l) => l.len(),
        Value::Map(m) => m.len(),
        Value::Labels => input.labels.output().count(),
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::Int(length as i64))
}

fn index(arguments: &[Value], input: &Input<'_>) -> Called {
    let mut value = argument(arguments, 0)?.clone();
    for key in &arguments[1..] {
        value = match (&value, key) {
            (Value::Labels, Value::Text(name)) => Value::Text(label(input, name)),
            (Value::Map(members), Value::Text(name)) => members.get(name).cloned().unwrap_or(Value::Nil),
            (Value::List(items), Value::Int(at)) => {
                let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
                item.cloned().ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::Text(s), Value::Int(at)) => {
                let byte = usize::try_from(*at).ok().and_then(|at| s.as_bytes().get(at));
                Value::Int(i64::from(*byte.ok_or_else(|| format!("index out of range: {at}"))?))
            }
            (value, _) => return Err(format!("can't index item of type {}", value.kind())),
        };
    }
    Ok(value)
}

fn slice(arguments: &[Value]) -> Called {
    let bound = |at: usize, default: usize| match arguments.get(at) {
        None => Ok(default),
        Some(Value::Int(n)) => usize::try_from(*n).map_err(|_| format!("index out of range: {n}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.kind())),
    };
    match argument(arguments, 0)? {
        Value::Text(s) => {
            let (from, to) = (bound(1, 0)?, bound(2, s.len())?);
            let bytes = s.as_bytes().get(from..to).ok_or_else(|| format!("index out of range: {to}"))?;
            Ok(Value::Text(String::from_utf8_lossy(bytes).into_owned()))
        }
        Value::List(l) => {
            let (from, to) = (bound(1, 0)?, bound(2, l.len())?);
            l.get(from..to).map(|l| Value::List(l.to_vec())).ok_or_else(|| format!("index out of range: {to}"))
        }
        other => Err(format!("can't slice item of type {}", other.kind())),
    }
}

fn compare(name: &str, arguments: &[Value]) -> Called {
    let first = argument(arguments, 0)?;
    let second = argument(arguments, 1)?;
    let order = |a: &Value, b: &Value| match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.partial_cmp(b)),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.partial_cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.partial_cmp(b)),
        (Value::Time(a), Value::Time(b)) => Ok(a.partial_cmp(b)),
        (Value::Nil, Value::Nil) => Ok(Some(Ordering::Equal)),
        (Value::Nil, _) | (_, Value::Nil) if matches!(name, "eq" | "ne") => Ok(None),
        _ => Err("incompatible types for comparison".to_owned()),
    };
    let is = |wanted: &[Ordering]| order(first, second).map(|o| Value::Bool(o.is_some_and(|o| wanted.contains(&o))));
    match name {
        "eq" => {
            for other in &arguments[1..] {
                if order(first, other)? == Some(Ordering::Equal) {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        "ne" => order(first, second).map(|o| Value::Bool(o != Some(Ordering::Equal))),
        "lt" => is(&[Ordering::Less]),
        "le" => is(&[Ordering::Less, Ordering::Equal]),
        "gt" => is(&[Ordering::Greater]),
        _ => is(&[Ordering::Greater, Ordering::Equal]),
    }
}
