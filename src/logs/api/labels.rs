//! Labels, their values, and series: from the streams alone (contracts/loki.md 1.8).

use super::answer::{push_object, push_strings};
use super::params::bounds;
use super::{Api, invalid, json};
use crate::logs::logql::parse_selector;
use crate::logs::source::each_run;
use crate::logs::spec::LogsSpec;
use crate::model::{Labels, Matcher, TimeRange};
use crate::query::{Context, QueryError};
use crate::storage::View;
use crate::web::Params;
use axum::extract::{Path, State};
use axum::response::Response;
use std::borrow::Borrow;
use std::cmp::Ordering;
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

/// The first of things in their order, of as many as there may be: never holds more than it lists.
pub struct First<T> {
    things: BTreeSet<T>,
    max: usize,
    has_more: bool,
}

pub type FirstTexts = First<String>;

impl<T: Ord> First<T> {
    fn new(max: usize) -> First<T> {
        First { things: BTreeSet::new(), max, has_more: false }
    }

    fn add<Q: Ord + ToOwned<Owned = T> + ?Sized>(&mut self, thing: &Q)
    where
        T: Borrow<Q>,
    {
        if self.things.len() >= self.max {
            match self.things.last().map(|last| last.borrow().cmp(thing)) {
                Some(Ordering::Equal) => return,
                Some(Ordering::Greater) if self.things.contains(thing) => return,
                Some(Ordering::Greater) => drop(self.things.pop_last()),
                _ => {
                    self.has_more = true;
                    return;
                }
            }
            self.has_more = true;
        } else if self.things.contains(thing) {
            return;
        }
        self.things.insert(thing.to_owned());
    }

    /// Says so if there are more than are listed.
    fn warning(&self, of: &str) -> String {
        if !self.has_more {
            return String::new();
        }
        format!(r#","warnings":["there are more than {max} {of}: only the first {max} are listed"]"#, max = self.max)
    }
}

impl FirstTexts {
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.things.iter().map(String::as_str)
    }

    /// An answer without results has no `data`.
    fn answer(&self) -> String {
        let mut out = format!(r#"{{"status":"success"{}"#, self.warning("values"));
        if !self.things.is_empty() {
            out.push_str(r#","data":"#);
            push_strings(&mut out, self.texts());
        }
        out.push_str("}\n");
        out
    }
}

pub async fn names(State(api): State<Api>, params: Params) -> Response {
    listed(&api, &params, None).await
}

pub async fn values(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Response {
    listed(&api, &params, Some(name)).await
}

async fn listed(api: &Api, params: &Params, of: Option<String>) -> Response {
    let (now, max, asked) = (api.clock.now(), api.config().label_values_max, params.clone());
    api.answer(params, move |view, ctx| Ok(json(each_name(view, ctx, &asked, now, of.as_deref(), max)?.answer()))).await
}

/// The names of labels, or the values of the label `of`.
pub fn each_name(
    view: &View<LogsSpec>,
    ctx: &Context,
    params: &Params,
    now: i64,
    of: Option<&str>,
    max: usize,
) -> Result<FirstTexts, QueryError> {
    let (start, end) = bounds(params, now)?;
    let matchers = selector(params.get("query"))?;
    let mut found = FirstTexts::new(max);
    each_run(view, closed(start, end), &matchers, ctx, |run| {
        match of {
            Some(name) => run.labels.get(name).into_iter().for_each(|value| found.add(value)),
            None => run.labels.iter().for_each(|(name, _)| found.add(name)),
        }
        Ok(())
    })?;
    Ok(found)
}

/// At most as many as a label endpoint lists, with a warning if there are more.
pub async fn series(State(api): State<Api>, params: Params) -> Response {
    let (now, max, asked) = (api.clock.now(), api.config().label_values_max, params.clone());
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
        if selectors.is_empty() {
            selectors.push(Vec::new());
        }
        let mut found = First::<Labels>::new(max);
        for matchers in &selectors {
            each_run(view, closed(start, end), matchers, ctx, |run| {
                found.add(&run.labels);
                Ok(())
            })?;
        }
        let mut out = format!(r#"{{"status":"success"{},"data":["#, found.warning("series"));
        for (i, labels) in found.things.iter().enumerate() {
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
