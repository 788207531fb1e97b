use super::ip::IpPattern;
use super::{Entry, errors};
use crate::logs::logql::ast::{Comparison, LabelFilter};
use crate::logs::logql::convert;
use crate::logs::logql::parse::ParseError;
use crate::model::{MatchOp, Matcher};

/// A label filter (contracts/loki.md 3.5).
pub enum Filter {
    Matcher(Matcher),
    Ip { name: String, negative: bool, pattern: IpPattern },
    Number { name: String, op: Comparison, value: f64 },
    Duration { name: String, op: Comparison, value: i64 },
    Bytes { name: String, op: Comparison, value: u64 },
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

impl Filter {
    pub fn compile(filter: &LabelFilter) -> Result<Filter, ParseError> {
        Ok(match filter {
            LabelFilter::Matcher(m) => Filter::Matcher(m.clone()),
            LabelFilter::Ip { name, negative, pattern } => {
                let parsed = IpPattern::parse(pattern)
                    .ok_or_else(|| ParseError::new(format!("ip: invalid pattern: {}", crate::model::quote::quote(pattern))))?;
                Filter::Ip { name: name.clone(), negative: *negative, pattern: parsed }
            }
            LabelFilter::Number { name, op, value } => Filter::Number { name: name.clone(), op: *op, value: *value },
            LabelFilter::Duration { name, op, value } => Filter::Duration { name: name.clone(), op: *op, value: *value },
            LabelFilter::Bytes { name, op, value } => Filter::Bytes { name: name.clone(), op: *op, value: *value },
            LabelFilter::And(a, b) => Filter::And(Box::new(Filter::compile(a)?), Box::new(Filter::compile(b)?)),
            LabelFilter::Or(a, b) => Filter::Or(Box::new(Filter::compile(a)?), Box::new(Filter::compile(b)?)),
        })
    }

    /// Adds labels and values, none of them empty, that an entry must have to be kept. A name that ends as those of labels
    /// that lost their place is none of them: it may mean a label of another name.
    pub fn required(&self, out: &mut Vec<(String, String)>) {
        match self {
            Filter::Matcher(m) if m.op == MatchOp::Equal && !m.value.is_empty() && !m.name.ends_with("_extracted") => {
                out.push((m.name.clone(), m.value.clone()));
            }
            Filter::And(a, b) => {
                a.required(out);
                b.required(out);
            }
            _ => {}
        }
    }

    pub fn keeps(&self, entry: &mut Entry<'_>) -> bool {
        match self {
            Filter::Matcher(m) => m.matches(entry.labels.value(&m.name)),
            Filter::Ip { name, negative, pattern } => {
                if entry.labels.error().is_some() {
                    return true;
                }
                entry.labels.get(name).is_some_and(|v| pattern.found_in(v) != *negative)
            }
            Filter::Number { name, op, value } => compare(entry, name, *op, *value, convert::parse_float),
            Filter::Duration { name, op, value } => compare(entry, name, *op, *value, convert::parse_duration),
            Filter::Bytes { name, op, value } => compare(entry, name, *op, *value, convert::parse_bytes),
            Filter::And(a, b) => {
                let (a, b) = (a.keeps(entry), b.keeps(entry));
                a && b
            }
            Filter::Or(a, b) => a.keeps(entry) || b.keeps(entry),
        }
    }
}

/// An absent label drops the entry; one that cannot be converted keeps it and marks it.
fn compare<T: PartialOrd>(entry: &mut Entry<'_>, name: &str, op: Comparison, wanted: T, parse: fn(&str) -> Result<T, String>) -> bool {
    let Some(text) = entry.labels.get(name) else { return false };
    match parse(text) {
        Ok(value) => op.holds(value, wanted),
        Err(details) => {
            entry.labels.set_error(errors::LABEL_FILTER, details);
            true
        }
    }
}
