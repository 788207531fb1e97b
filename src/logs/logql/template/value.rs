use super::dates;
use std::collections::BTreeMap;

/// A value of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `nil`, and what a JSON object does not have.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Nanoseconds since the epoch.
    Time(i64),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    /// The labels: looked up when a name is asked for.
    Labels,
}

impl Value {
    pub fn truth(&self) -> bool {
        match self {
            Value::Nil => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Text(s) => !s.is_empty(),
            Value::Time(_) | Value::Labels => true,
            Value::List(l) => !l.is_empty(),
            Value::Map(m) => !m.is_empty(),
        }
    }

    /// Memory that a copy of it takes, roughly.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Text(s) => s.len(),
            Value::List(items) => items.iter().map(|v| 16 + v.bytes()).sum(),
            Value::Map(members) => members.iter().map(|(k, v)| 32 + k.len() + v.bytes()).sum(),
            _ => 0,
        }
    }

    /// As Go's `%v` prints it.
    pub fn print(&self) -> String {
        match self {
            Value::Nil => "<no value>".into(),
            Value::Bool(b) => b.to_string(),
            Value::Int(i) => i.to_string(),
            Value::Float(f) => go_float(*f),
            Value::Text(s) => s.clone(),
            Value::Time(t) => dates::format("2006-01-02 15:04:05.999999999 -0700 MST", *t),
            Value::List(items) => format!("[{}]", items.iter().map(Value::print).collect::<Vec<_>>().join(" ")),
            Value::Map(members) => {
                let member = |(k, v): (&String, &Value)| format!("{k}:{}", v.print());
                format!("map[{}]", members.iter().map(member).collect::<Vec<_>>().join(" "))
            }
            Value::Labels => "map[]".into(),
        }
    }

    pub fn kind(&self) -> &'static str {
        match self {
            Value::Nil => "nil",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Time(_) => "time.Time",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
            Value::Labels => "map[string]string",
        }
    }

    /// Numbers as they are, text read as a number, else 0.
    pub fn as_int(&self) -> i64 {
        match self {
            Value::Int(i) => *i,
            Value::Float(f) => *f as i64,
            Value::Bool(b) => i64::from(*b),
            Value::Text(s) => s.trim().parse::<i64>().unwrap_or_else(|_| s.trim().parse::<f64>().map_or(0, |f| f as i64)),
            _ => 0,
        }
    }

    pub fn as_float(&self) -> f64 {
        match self {
            Value::Int(i) => *i as f64,
            Value::Float(f) => *f,
            Value::Bool(b) => f64::from(u8::from(*b)),
            Value::Text(s) => s.trim().parse().unwrap_or(0.0),
            _ => 0.0,
        }
    }
}

/// Go's `%v` of a float64: the shortest form, with an exponent below 1e-4 and from 1e6 on.
pub fn go_float(v: f64) -> String {
    if !v.is_finite() || v == 0.0 {
        return crate::model::number::plain_float(v);
    }
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{v}");
    }
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
