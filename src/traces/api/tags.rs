//! Names and values of tags, both versions (contracts/tempo.md 1.5).

use super::error::ApiError;
use super::search::check_size;
use super::{Api, time};
use crate::traces::schema::AttributeScope;
use crate::traces::tags::{Lenient, Names, names, values};
use crate::traces::traceql::ast::{Field, Intrinsic, KIND_WORDS, STATUS_WORDS, Scope};
use crate::traces::traceql::eval::Value as Found;
use crate::traces::traceql::parse_field;
use crate::web::{Params, json_response};
use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Offered as names beside the attributes.
const INTRINSICS: [&str; 25] = [
    "duration",
    "event:name",
    "event:timeSinceStart",
    "instrumentation:name",
    "instrumentation:version",
    "kind",
    "link:spanID",
    "link:traceID",
    "name",
    "rootName",
    "rootServiceName",
    "span:duration",
    "span:id",
    "span:kind",
    "span:name",
    "span:parentID",
    "span:status",
    "span:statusMessage",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:id",
    "trace:rootName",
    "trace:rootService",
    "traceDuration",
];

/// Which names are asked for.
struct Wanted {
    scopes: Vec<AttributeScope>,
    intrinsics: bool,
    by_name: bool,
}

const SCOPES: [(&str, AttributeScope); 5] = [
    ("span", AttributeScope::Span),
    ("resource", AttributeScope::Resource),
    ("event", AttributeScope::Event),
    ("link", AttributeScope::Link),
    ("instrumentation", AttributeScope::Instrumentation),
];

fn wanted(params: &Params) -> Result<Wanted, ApiError> {
    let named = |scopes, intrinsics| Wanted { scopes, intrinsics, by_name: true };
    match params.non_empty("scope").unwrap_or("none") {
        "none" => Ok(Wanted { scopes: SCOPES.map(|(_, scope)| scope).to_vec(), intrinsics: true, by_name: false }),
        "intrinsic" => Ok(named(Vec::new(), true)),
        "trace" => Ok(named(Vec::new(), false)),
        name => match SCOPES.iter().find(|(n, _)| *n == name) {
            Some((_, scope)) => Ok(named(vec![*scope], false)),
            None => Err(ApiError::bad_request(format!("invalid scope: {name}"))),
        },
    }
}

fn filter(params: &Params) -> Result<Lenient, ApiError> {
    let text = params.non_empty("q").unwrap_or("");
    check_size(text)?;
    Lenient::parse(text).map_err(ApiError::bad_request)
}

/// 0 and nonsense mean no limit.
fn limit(params: &Params, name: &str) -> usize {
    params.non_empty(name).and_then(|text| text.parse().ok()).filter(|n| *n > 0).unwrap_or(usize::MAX)
}

async fn names_of(api: &Api, params: &Params, wanted: &Wanted) -> Result<Names, ApiError> {
    let range = time::tags_range(params, api.clock.now())?;
    let (filter, scopes) = (filter(params)?, wanted.scopes.clone());
    api.query("tempo_tags", params, move |ctx, sources| names(ctx, sources, range, &filter, &scopes)).await
}

/// The names of each scope that has some.
pub async fn scoped_names(api: &Api, params: &Params) -> Result<Vec<(&'static str, Vec<String>)>, ApiError> {
    let max = limit(params, "limit");
    let wanted = wanted(params)?;
    let mut names = names_of(api, params, &wanted).await?;
    let mut scopes = Vec::new();
    for (name, scope) in SCOPES {
        let tags: Vec<String> = names.remove(&scope).into_iter().flatten().take(max).collect();
        if !tags.is_empty() {
            scopes.push((name, tags));
        }
    }
    if wanted.intrinsics {
        scopes.push(("intrinsic", INTRINSICS.map(str::to_owned).to_vec()));
    }
    Ok(scopes)
}

pub async fn names_v2(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let scopes: Vec<Value> =
        scoped_names(&api, &params).await?.into_iter().map(|(name, tags)| json!({ "name": name, "tags": tags })).collect();
    Ok(json_response(StatusCode::OK, json!({ "scopes": scopes, "metrics": {} }).to_string()))
}

/// The names of all scopes together.
pub async fn plain_names(api: &Api, params: &Params) -> Result<Vec<String>, ApiError> {
    let max = limit(params, "limit");
    let wanted = wanted(params)?;
    let mut all: BTreeSet<String> = names_of(api, params, &wanted).await?.into_values().flatten().collect();
    if wanted.intrinsics && wanted.by_name {
        all.extend(INTRINSICS.map(str::to_owned));
    }
    Ok(all.into_iter().take(max).collect())
}

pub async fn names_v1(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let tags = plain_names(&api, &params).await?;
    Ok(json_response(StatusCode::OK, json!({ "tagNames": tags, "metrics": {} }).to_string()))
}

/// A value with the name of its type.
pub type TypedValue = (&'static str, String);

fn typed(value: &Found<'_>) -> TypedValue {
    let name = match value {
        Found::Int(_) | Found::Status(_) | Found::Kind(_) => "int",
        Found::Float(_) => "float",
        Found::Bool(_) => "bool",
        Found::Duration(_) => "duration",
        Found::Nil | Found::String(_) | Found::Array(_) => "string",
    };
    let text = match value {
        Found::Status(number) | Found::Kind(number) => number.to_string(),
        value => value.text(),
    };
    (name, text)
}

/// What needs no look at the data: keywords, and values too many or too fine to offer. Without a filter, status and kind
/// are the numbers of OTLP that are stored, as the reference lists them; Grafana always sends a filter, if only `{}`.
fn fixed(field: &Field, filtered: bool) -> Option<Vec<TypedValue>> {
    let keywords = |words: &[&str]| Some(words.iter().map(|w| ("keyword", (*w).to_owned())).collect());
    let Field::Intrinsic(intrinsic) = field else { return None };
    match intrinsic {
        Intrinsic::Status | Intrinsic::Kind if !filtered => None,
        Intrinsic::Status => keywords(&STATUS_WORDS),
        Intrinsic::Kind => keywords(&KIND_WORDS),
        Intrinsic::Name
        | Intrinsic::StatusMessage
        | Intrinsic::RootName
        | Intrinsic::RootService
        | Intrinsic::EventName
        | Intrinsic::InstrumentationName
        | Intrinsic::InstrumentationVersion => None,
        Intrinsic::Duration
        | Intrinsic::TraceDuration
        | Intrinsic::EventTimeSinceStart
        | Intrinsic::Parent
        | Intrinsic::NestedSetLeft
        | Intrinsic::NestedSetRight
        | Intrinsic::NestedSetParent
        | Intrinsic::TraceId
        | Intrinsic::SpanId
        | Intrinsic::ParentId
        | Intrinsic::ChildCount
        | Intrinsic::LinkTraceId
        | Intrinsic::LinkSpanId => Some(Vec::new()),
    }
}

fn answer_values(values: &[Value]) -> Response {
    json_response(StatusCode::OK, json!({ "tagValues": values, "metrics": {} }).to_string())
}

pub async fn values_v2(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Result<Response, ApiError> {
    let values = typed_values(&api, &name, &params).await?;
    Ok(answer_values(&values.iter().map(|(kind, value)| json!({ "type": kind, "value": value })).collect::<Vec<_>>()))
}

/// The values of a field of TraceQL.
pub async fn typed_values(api: &Api, name: &str, params: &Params) -> Result<Vec<TypedValue>, ApiError> {
    let field = parse_field(name).map_err(|mut error| {
        // The reference reads the name between braces, and counts them.
        error.at.column += usize::from(error.at.line == 1);
        ApiError::bad_request(format!("please provide a valid tagName: failed to parse identifier {name}: {error}"))
    })?;
    let range = time::tags_range(params, api.clock.now())?;
    let (filter, max) = (filter(params)?, limit(params, "limit"));
    if let Some(mut values) = fixed(&field, params.non_empty("q").is_some()) {
        values.truncate(max);
        return Ok(values);
    }
    let found = api.query("tempo_tag_values", params, move |ctx, sources| values(ctx, sources, range, &filter, &field, max)).await?;
    Ok(found.iter().filter(|v| !is_empty(v)).map(typed).collect())
}

/// A span without a status message, or a root that has not come, offers no value.
fn is_empty(value: &Found<'_>) -> bool {
    matches!(value, Found::String(text) if text.is_empty())
}

pub async fn values_v1(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Result<Response, ApiError> {
    let values = plain_values(&api, &name, &params).await?;
    Ok(answer_values(&values.into_iter().map(Value::from).collect::<Vec<_>>()))
}

/// The values of a name without scope, as text.
pub async fn plain_values(api: &Api, name: &str, params: &Params) -> Result<Vec<String>, ApiError> {
    let range = time::tags_range(params, api.clock.now())?;
    let max = limit(params, "limit");
    let field = match name {
        "status.code" => return Ok(STATUS_WORDS.map(str::to_owned).to_vec()),
        "error" => return Ok(vec!["true".to_owned()]),
        "name" => Field::Intrinsic(Intrinsic::Name),
        "root.name" => Field::Intrinsic(Intrinsic::RootName),
        "root.service.name" => Field::Intrinsic(Intrinsic::RootService),
        _ => Field::Attribute { scope: Scope::Any, parent: false, name: name.to_owned() },
    };
    let all = Lenient::parse("").map_err(ApiError::bad_request)?;
    let found = api.query("tempo_tag_values", params, move |ctx, sources| values(ctx, sources, range, &all, &field, max)).await?;
    let texts: BTreeSet<String> = found.iter().filter(|v| !is_empty(v)).map(Found::text).collect();
    Ok(texts.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_intrinsics_are_those_of_the_contract_in_order() {
        assert!(INTRINSICS.is_sorted());
        assert!(INTRINSICS.iter().all(|name| parse_field(name).is_ok()));
    }

    #[test]
    fn an_unknown_scope_is_refused() {
        let params = |scope: &str| Params::from_pairs([("scope", scope)]);
        assert_eq!(wanted(&params("x")).err().unwrap().message, "invalid scope: x");
        assert_eq!(wanted(&params("")).ok().unwrap().scopes.len(), 5);
    }
}
