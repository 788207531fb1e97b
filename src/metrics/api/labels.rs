//! Label names, label values and series (contracts/prometheus.md 1.5).

use super::error::ApiError;
use super::json::{list, push_labels, push_string, success_in_pieces};
use super::{Api, params};
use crate::metrics::promql::{Interval, Selector};
use crate::metrics::select::Querier;
use crate::model::{Labels, Matcher};
use crate::query::QueryError;
use crate::web::Params;
use axum::extract::rejection::PathRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use std::collections::{BTreeSet, HashMap};

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

    /// The matchers of each selector; if there is none, of one that selects everything.
    fn matcher_sets(&self) -> impl Iterator<Item = &[Matcher]> {
        let everything = self.selectors.is_empty().then_some(&[][..]);
        everything.into_iter().chain(self.selectors.iter().map(|s| &s.matchers[..]))
    }

    /// Visits the labels of every series that some selector, if there are any, selects.
    fn visit(&self, querier: &Querier, mut visit: impl FnMut(&Labels)) -> Result<(), QueryError> {
        self.matcher_sets().try_for_each(|matchers| querier.series(matchers, self.interval, |labels, _| visit(labels)))
    }

    /// Values of a label. With a limit, each selector gives one more than that, those of the series that were created
    /// first, as Prometheus takes them from its head.
    fn values(&self, querier: &Querier, name: &str) -> Result<BTreeSet<String>, QueryError> {
        let mut found = BTreeSet::new();
        for matchers in self.matcher_sets() {
            let mut created: HashMap<String, i64> = HashMap::new();
            querier.series_facts(matchers, self.interval, |series| {
                let Some(value) = series.labels.get(name) else { return };
                match created.get_mut(value) {
                    Some(first) => *first = series.created.min(*first),
                    None => {
                        created.insert(value.to_owned(), series.created);
                    }
                }
            })?;
            let mut values: Vec<(i64, String)> = created.into_iter().map(|(value, created)| (created, value)).collect();
            if self.limit > 0 && values.len() > self.limit {
                values.sort_unstable();
                values.truncate(self.limit + 1);
            }
            found.extend(values.into_iter().map(|(_, value)| value));
        }
        Ok(found)
    }

    /// Label sets of series: in the order of their creation if there is one selector, else by labels.
    fn series(&self, querier: &Querier) -> Result<Vec<Labels>, QueryError> {
        let mut found: HashMap<Labels, i64> = HashMap::new();
        for matchers in self.matcher_sets() {
            querier.series_facts(matchers, self.interval, |series| match found.get_mut(series.labels) {
                Some(first) => *first = series.created.min(*first),
                None => {
                    found.insert(series.labels.clone(), series.created);
                }
            })?;
        }
        let by_creation = self.selectors.len() < 2;
        let mut found: Vec<(i64, Labels)> =
            found.into_iter().map(|(labels, created)| (if by_creation { created } else { 0 }, labels)).collect();
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, labels)| labels).collect())
    }
}

fn limited(found: BTreeSet<String>, limit: usize) -> Response {
    let truncated = limit > 0 && found.len() > limit;
    let kept = if limit == 0 { usize::MAX } else { limit };
    let texts: Vec<String> = found.into_iter().take(kept).collect();
    let warnings = if truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
    success_in_pieces(list(texts, |out, text| push_string(out, text)), warnings, Vec::new())
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

pub async fn values(State(api): State<Api>, name: Result<Path<String>, PathRejection>, uri: OriginalUri, params: Params) -> Response {
    let work = async {
        let Ok(Path(name)) = name else {
            let written = uri.path().rsplit('/').nth(1).unwrap_or_default();
            return Err(ApiError::BadData(format!(
                "invalid label name: \"{}\"",
                percent_decode_str(written).collect::<Vec<u8>>().escape_ascii()
            )));
        };
        let name = unescaped(&name);
        if name.is_empty() {
            return Err(ApiError::BadData(format!("invalid label name: {name:?}")));
        }
        let request = Request::new(&params)?;
        let limit = request.limit;
        let found = api.read(&params, None, move |querier| request.values(querier, &name));
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
        let mut found = api.read(&params, None, move |querier| request.series(querier)).await?;
        let truncated = limit > 0 && found.len() > limit;
        if truncated {
            found.truncate(limit);
        }
        let warnings = if truncated { vec![TRUNCATED.to_owned()] } else { Vec::new() };
        Ok(success_in_pieces(list(found, push_labels), warnings, Vec::new()))
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
