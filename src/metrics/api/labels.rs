//! Label names, label values and series (contracts/prometheus.md 1.5).

use super::error::ApiError;
use super::json::{push_labels, string_list, success};
use super::{Api, params};
use crate::metrics::promql::{Interval, Selector};
use crate::metrics::select::Querier;
use crate::model::{Labels, Matcher};
use crate::query::QueryError;
use crate::web::Params;
use axum::extract::{Path, State};
use axum::response::Response;
use std::collections::BTreeSet;

const TRUNCATED: &str = "results truncated due to limit";

struct Request {
    selectors: Vec<Selector>,
    interval: Interval,
    limit: usize,
}

impl Request {
    fn new(params: &Params) -> Result<Request, ApiError> {
        let limit = params::limit(params)?;
        let from = params::optional_time(params, "start", i64::MIN)?;
        let to = params::optional_time(params, "end", i64::MAX)?;
        Ok(Request { selectors: params::selectors(params)?, interval: Interval { from, to }, limit })
    }

    /// Visits the labels of every series that some selector, if there are any, selects.
    fn visit(&self, querier: &Querier, mut visit: impl FnMut(&Labels)) -> Result<(), QueryError> {
        if self.selectors.is_empty() {
            return querier.series(&[], self.interval, |labels, _| visit(labels));
        }
        for selector in &self.selectors {
            let matchers: &[Matcher] = &selector.matchers;
            querier.series(matchers, self.interval, |labels, _| visit(labels))?;
        }
        Ok(())
    }
}

fn limited(found: BTreeSet<String>, limit: usize) -> Response {
    let truncated = limit > 0 && found.len() > limit;
    let kept = if limit == 0 { usize::MAX } else { limit };
    let texts: Vec<String> = found.into_iter().take(kept).collect();
    let warnings = if truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    success(&string_list(&texts), &warnings, &[])
}

pub async fn names(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let request = Request::new(&params)?;
        let limit = request.limit;
        let found = api.read(&params, None, move |querier| {
            let mut found = BTreeSet::new();
            request.visit(querier, |labels| {
                for (name, _) in labels.iter().filter(|(n, _)| !found.contains(*n)).map(|(n, v)| (n.to_owned(), v)).collect::<Vec<_>>() {
                    found.insert(name);
                }
            })?;
            Ok(found)
        });
        Ok(limited(found.await?, limit))
    };
    api.answer(work).await
}

pub async fn values(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Response {
    let work = async {
        let name = unescaped(&name);
        if name.is_empty() {
            return Err(ApiError::BadData(format!("invalid label name: {name:?}")));
        }
        let request = Request::new(&params)?;
        let limit = request.limit;
        let found = api.read(&params, None, move |querier| {
            let mut found = BTreeSet::new();
            request.visit(querier, |labels| {
                if let Some(value) = labels.get(&name).filter(|v| !found.contains(*v)) {
                    found.insert(value.to_owned());
                }
            })?;
            Ok(found)
        });
        Ok(limited(found.await?, limit))
    };
    api.answer(work).await
}

pub async fn series(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        if params.all("match[]").next().is_none() {
            return Err(ApiError::BadData("no match[] parameter provided".to_owned()));
        }
        let request = Request::new(&params)?;
        let limit = request.limit;
        let found = api.read(&params, None, move |querier| {
            let mut found: BTreeSet<Labels> = BTreeSet::new();
            request.visit(querier, |labels| {
                if !found.contains(labels) {
                    found.insert(labels.clone());
                }
            })?;
            Ok(found)
        });
        let found = found.await?;
        let truncated = limit > 0 && found.len() > limit;
        let kept = if limit == 0 { usize::MAX } else { limit };
        let mut data = String::from("[");
        for (i, labels) in found.iter().take(kept).enumerate() {
            if i > 0 {
                data.push(',');
            }
            push_labels(&mut data, labels);
        }
        data.push(']');
        let warnings = if truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
        Ok(success(&data, &warnings, &[]))
    };
    api.answer(work).await
}

/// `U__http_2e_status` as `http.status`; a name that cannot be decoded stays as it is.
fn unescaped(name: &str) -> String {
    let decode = |mut rest: &str| -> Option<String> {
        let mut out = String::new();
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            if c != '_' {
                out.push(c);
                continue;
            }
            if let Some(after) = rest.strip_prefix('_') {
                out.push('_');
                rest = after;
                continue;
            }
            let (hex, after) = rest.split_once('_')?;
            out.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
            rest = after;
        }
        Some(out)
    };
    name.strip_prefix("U__").and_then(decode).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn label_names_in_paths() {
        assert_eq!(unescaped("U__http_2e_status"), "http.status");
        assert_eq!(unescaped("U__a__b"), "a_b");
        assert_eq!(unescaped("U__bad_zz_"), "U__bad_zz_");
        assert_eq!(unescaped("job"), "job");
    }
}
