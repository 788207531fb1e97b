//! Search by tags, as it was before TraceQL (contracts/tempo.md 1.4).

use super::error::ApiError;
use crate::model::time::parse_go_duration;
use crate::model::{Attribute, AttributeValue, quote};
use crate::query::{Context, QueryError};
use crate::traces::columns::Projection;
use crate::traces::find::{Bounds, FoundTrace, summary};
use crate::traces::schema::AttributeScope;
use crate::traces::source::{Sources, steps};
use crate::traces::span::{Span, attribute};
use crate::traces::trace::Trace;
use crate::traces::traceql::Inspected;
use crate::traces::traceql::ast::STATUS_WORDS;
use crate::web::Params;

#[derive(Debug, Default, PartialEq)]
pub struct Legacy {
    tags: Vec<(String, String)>,
    min_duration: Option<i64>,
    max_duration: Option<i64>,
}

/// Parameters that are never tags.
const RESERVED: [&str; 8] = ["q", "tags", "start", "end", "limit", "spss", "minDuration", "maxDuration"];

/// Traces that are read at a time.
const STEP: usize = 1024;

impl Legacy {
    pub fn parse(params: &Params) -> Result<Legacy, ApiError> {
        let mut tags = Vec::new();
        let named = ["tags", "start", "end"].iter().any(|name| params.non_empty(name).is_some());
        if let Some(text) = params.non_empty("tags") {
            tags = parse_tags(text)?;
        } else if !named {
            let others = params.iter().filter(|(name, value)| !RESERVED.contains(name) && !value.is_empty());
            tags.extend(others.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let duration = |name: &str| match params.non_empty(name) {
            None => Ok(None),
            Some(text) => match parse_go_duration(text) {
                Some(duration) => Ok(Some(duration)),
                None => Err(ApiError::bad_request(format!("invalid {name}: time: invalid duration {}", quote::quote(text)))),
            },
        };
        let (min_duration, max_duration) = (duration("minDuration")?, duration("maxDuration")?);
        if min_duration.zip(max_duration).is_some_and(|(min, max)| max <= min) {
            return Err(ApiError::bad_request("invalid maxDuration: must be greater than minDuration"));
        }
        Ok(Legacy { tags, min_duration, max_duration })
    }

    pub fn run(&self, ctx: &Context, sources: &Sources, bounds: Bounds) -> Result<(Vec<FoundTrace>, Inspected), QueryError> {
        let mut projection = Projection::none();
        projection.add_columns(&["name", "duration_ns", "status_code", "parent_span_id"]);
        projection.add_attribute(AttributeScope::Resource, "service.name");
        for (key, _) in &self.tags {
            projection.add_attribute(AttributeScope::Span, key);
            projection.add_attribute(AttributeScope::Resource, key);
        }
        let mut found = Vec::new();
        let mut inspected = Inspected::default();
        for step in steps(&sources.traces(ctx, bounds.range)?, STEP) {
            for trace in sources.load(ctx, step, &projection)? {
                ctx.check()?;
                inspected.traces += 1;
                inspected.spans += trace.spans.len() as u64;
                if self.matches(&trace) {
                    ctx.reserve(size_of::<FoundTrace>() as u64 + 256)?;
                    // Which services took part is told of traces found by TraceQL only.
                    found.push(FoundTrace { services: Default::default(), ..summary(&trace) });
                }
                if found.len() == bounds.limit {
                    return Ok((found, inspected));
                }
            }
        }
        Ok((found, inspected))
    }

    fn matches(&self, trace: &Trace) -> bool {
        let duration = trace.duration();
        if self.min_duration.is_some_and(|min| duration < min) || self.max_duration.is_some_and(|max| duration > max) {
            return false;
        }
        let (of_trace, of_spans): (Vec<_>, Vec<_>) = self.tags.iter().partition(|(key, _)| is_of_trace(key));
        let root = trace.root();
        let trace_holds = of_trace.iter().all(|(key, value)| match key.as_str() {
            "root.name" => root.is_some_and(|r| r.name.contains(value.as_str())),
            _ => root.and_then(|r| r.resource.service_name()).is_some_and(|s| s.contains(value.as_str())),
        });
        trace_holds && (of_spans.is_empty() || within_one_resource(trace, &of_spans))
    }
}

fn is_of_trace(key: &str) -> bool {
    matches!(key, "root.name" | "root.service.name")
}

/// Attribute tags must meet within one resource, though not on one span.
fn within_one_resource(trace: &Trace, tags: &[&(String, String)]) -> bool {
    let mut groups: Vec<Vec<&Span>> = Vec::new();
    for span in &trace.spans {
        match groups.iter_mut().find(|g| g[0].resource == span.resource) {
            Some(group) => group.push(span),
            None => groups.push(vec![span]),
        }
    }
    groups.iter().any(|group| tags.iter().all(|(key, value)| group.iter().any(|span| has(span, key, value))))
}

fn has(span: &Span, key: &str, wanted: &str) -> bool {
    match key {
        "name" => span.name.contains(wanted),
        "service.name" => span.resource.service_name().is_some_and(|s| s.contains(wanted)),
        "status.code" => STATUS_WORDS.iter().position(|w| *w == wanted).and_then(|n| i32::try_from(n).ok()) == Some(span.status_code),
        "error" if wanted == "true" => span.status_code == crate::traces::span::STATUS_ERROR || holds(&span.attributes, key, wanted),
        _ => holds(&span.attributes, key, wanted) || holds(&span.resource.attributes, key, wanted),
    }
}

fn holds(attributes: &[Attribute], key: &str, wanted: &str) -> bool {
    match attribute(attributes, key) {
        Some(AttributeValue::String(s)) => s == wanted,
        Some(AttributeValue::Bool(b)) => wanted.parse() == Ok(*b),
        Some(AttributeValue::Int(n)) => wanted.parse() == Ok(*n),
        Some(AttributeValue::Double(d)) => wanted.parse() == Ok(*d),
        Some(AttributeValue::Array(values)) => values.iter().any(|v| matches!(v, AttributeValue::String(s) if s == wanted)),
        _ => false,
    }
}

/// logfmt: `k=v k2="v 2"`.
fn parse_tags(text: &str) -> Result<Vec<(String, String)>, ApiError> {
    let mut tags: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    let bad = |message: &str, rest: &str| ApiError::bad_request(format!("invalid tags: {message} at pos {}", text.len() - rest.len() + 1));
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace() || c == '"').unwrap_or(rest.len());
        let key = &rest[..end];
        if key.is_empty() {
            return Err(bad("unexpected character", rest));
        }
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            None if rest.starts_with('"') => return Err(bad("unexpected '\"'", rest)),
            None => String::new(),
            Some(after) => {
                let (value, after) = parse_value(after).ok_or_else(|| bad("unterminated quoted value", rest))?;
                rest = after;
                value
            }
        };
        if tags.iter().any(|(k, _)| k == key) {
            return Err(ApiError::bad_request(format!("invalid tags: tag {key} has been set twice")));
        }
        tags.push((key.to_owned(), value));
        rest = rest.trim_start();
    }
    Ok(tags)
}

fn parse_value(text: &str) -> Option<(String, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut escaped = false;
    let end = inside.find(|c| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end
    })?;
    let value = quote::unquote(&inside[..end], '"')?;
    Some((String::from_utf8(value).ok()?, &inside[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_logfmt() {
        let tags = parse_tags(r#"service.name=cart k2="v \"2\"" empty="#).unwrap();
        let pairs: Vec<(&str, &str)> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("service.name", "cart"), ("k2", "v \"2\""), ("empty", "")]);
        assert_eq!(parse_tags("a=1 a=2").unwrap_err().message, "invalid tags: tag a has been set twice");
        assert!(parse_tags(r#"a="x"#).unwrap_err().message.starts_with("invalid tags: unterminated"));
        assert!(parse_tags("=x").is_err());
    }

    #[test]
    fn other_parameters_are_tags_only_if_nothing_names_a_search() {
        let parse = |pairs: &[(&str, &str)]| Legacy::parse(&Params::from_pairs(pairs.iter().copied())).unwrap();
        assert_eq!(parse(&[("cluster", "a"), ("limit", "3")]).tags, [("cluster".to_owned(), "a".to_owned())]);
        assert_eq!(parse(&[("cluster", "a"), ("start", "1")]).tags, []);
        let error = Legacy::parse(&Params::from_pairs([("minDuration", "2s"), ("maxDuration", "1s")])).unwrap_err();
        assert_eq!(error.message, "invalid maxDuration: must be greater than minDuration");
    }
}
