//! `query_exemplars` (contracts/prometheus.md 1.6).

use super::error::ApiError;
use super::json::{push_labels, push_time, success};
use super::{Api, params};
use crate::metrics::promql::{Interval, parse};
use crate::metrics::rows::Exemplar;
use crate::model::Labels;
use crate::model::number::sample_float;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub async fn exemplars(State(api): State<Api>, params: Params) -> Response {
    let work = async {
        let from = params::optional_time(&params, "start", i64::MIN)?;
        let to = params::optional_time(&params, "end", i64::MAX)?;
        if to < from {
            return Err(ApiError::BadData("end timestamp must not be before start timestamp".to_owned()));
        }
        let text = params.get("query").unwrap_or("");
        let expr = parse(text).map_err(|e| ApiError::BadData(e.render(text)))?;
        let found = api.read(&params, None, move |querier| {
            let mut all: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
            for selector in expr.selectors() {
                for (labels, exemplars) in querier.exemplars(&selector.matchers, Interval { from, to })? {
                    all.entry(labels).or_insert(exemplars);
                }
            }
            Ok(all)
        });
        Ok(success(&json(&found.await?), &[], &[]))
    };
    api.answer(work).await
}

fn json(all: &BTreeMap<Labels, Vec<Exemplar>>) -> String {
    let mut out = String::from("[");
    for (i, (labels, exemplars)) in all.iter().enumerate() {
        out.push_str(if i > 0 { ",{\"seriesLabels\":" } else { "{\"seriesLabels\":" });
        push_labels(&mut out, labels);
        out.push_str(",\"exemplars\":[");
        for (i, exemplar) in exemplars.iter().enumerate() {
            out.push_str(if i > 0 { ",{\"labels\":" } else { "{\"labels\":" });
            push_labels(&mut out, &exemplar.labels);
            let _ = write!(out, ",\"value\":\"{}\",\"timestamp\":", sample_float(exemplar.value));
            push_time(&mut out, exemplar.ts);
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
    out
}
