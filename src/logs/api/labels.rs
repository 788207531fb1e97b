//! Labels, their values, and series: from the streams alone (contracts/loki.md 1.8).

use super::answer::{push_object, push_strings};
use super::params::bounds;
use super::{Api, invalid, json};
use crate::logs::logql::parse_selector;
use crate::logs::source::{each_run, matches};
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::QueryError;
use crate::web::Params;
use axum::extract::{Path, State};
use axum::response::Response;
use std::collections::BTreeSet;

/// The matchers of an optional selector; none for `{}`, too.
pub fn selector(query: Option<&str>) -> Result<Vec<Matcher>, QueryError> {
    match query.map(str::trim) {
        None | Some("") => Ok(Vec::new()),
        Some(query) => parse_selector(query).map_err(|e| QueryError::Parse(e.to_string())),
    }
}

/// Both bounds inclusive: metadata is coarse.
pub fn closed(start: i64, end: i64) -> TimeRange {
    TimeRange::new(start, end.saturating_add(1))
}

/// An answer without results has no `data`.
fn listed(texts: &BTreeSet<String>, max: usize) -> String {
    let mut out = String::from(r#"{"status":"success""#);
    if texts.len() > max {
        out.push_str(&format!(r#","warnings":["only the first {max} of {} values are listed"]"#, texts.len()));
    }
    if !texts.is_empty() {
        out.push_str(r#","data":"#);
        push_strings(&mut out, texts.iter().take(max).map(String::as_str));
    }
    out.push_str("}\n");
    out
}

pub async fn names(State(api): State<Api>, params: Params) -> Response {
    collect(&api, &params, |labels, names| {
        for (name, _) in labels.iter() {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
        }
    })
    .await
}

pub async fn values(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Response {
    collect(&api, &params, move |labels, values| {
        if let Some(value) = labels.get(&name) {
            values.insert(value.to_owned());
        }
    })
    .await
}

async fn collect(api: &Api, params: &Params, mut add: impl FnMut(&Labels, &mut BTreeSet<String>) + Send + 'static) -> Response {
    let (now, max, asked) = (api.clock.now(), api.config().label_values_max, params.clone());
    api.answer(params, move |view, _| {
        let (start, end) = bounds(&asked, now)?;
        let matchers = selector(asked.get("query"))?;
        let mut texts = BTreeSet::new();
        each_run(view, closed(start, end), |run| {
            if matches(&run.labels, &matchers) {
                add(&run.labels, &mut texts);
            }
        })?;
        Ok(json(listed(&texts, max)))
    })
    .await
}

pub async fn series(State(api): State<Api>, params: Params) -> Response {
    let (now, asked) = (api.clock.now(), params.clone());
    api.answer(&params, move |view, ctx| {
        let (start, end) = bounds(&asked, now)?;
        let groups: Vec<&str> = asked.all("match").chain(asked.all("match[]")).collect();
        let mut selectors = Vec::new();
        for group in &groups {
            let matchers = selector(Some(group))?;
            if matchers.is_empty() && groups.len() > 1 {
                return Err(invalid(format!("0 matchers in group: {group}")));
            }
            selectors.push(matchers);
        }
        let mut found = BTreeSet::new();
        each_run(view, closed(start, end), |run| {
            if selectors.is_empty() || selectors.iter().any(|s| matches(&run.labels, s)) {
                found.insert(run.labels.clone());
            }
        })?;
        ctx.check()?;
        let mut out = String::from(r#"{"status":"success","data":["#);
        for (i, labels) in found.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_object(&mut out, labels.iter());
        }
        out.push_str("]}\n");
        Ok(json(out))
    })
    .await
}
