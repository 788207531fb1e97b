//! `patterns` (contracts/loki.md 1.10).

use super::answer::push_string;
use super::params::{bounds, step};
use super::{Api, json};
use crate::logs::logql::parse_selector;
use crate::model::TimeRange;
use crate::query::QueryError;
use crate::web::Params;
use axum::extract::State;
use axum::response::Response;
use std::fmt::Write as _;

pub async fn patterns(State(api): State<Api>, params: Params) -> Response {
    let (now, known, asked) = (api.clock.now(), api.patterns.clone(), params.clone());
    api.answer(&params, move |view, _| {
        let (start, end) = bounds(&asked, now)?;
        let step = step(&asked, start, end)?;
        let matchers = parse_selector(asked.get("query").unwrap_or("")).map_err(|e| QueryError::Parse(e.to_string()))?;
        let mut out = String::from(r#"{"status":"success","data":["#);
        let found = known.find(&view.tenant, &matchers, TimeRange::new(start, end), step);
        for (i, one) in found.iter().enumerate() {
            out.push_str(if i > 0 { r#",{"pattern":"# } else { r#"{"pattern":"# });
            push_string(&mut out, &one.pattern);
            out.push_str(r#","level":"#);
            push_string(&mut out, &one.level);
            out.push_str(r#","samples":["#);
            for (i, (at, count)) in one.samples.iter().enumerate() {
                let _ = write!(out, "{}[{at},{count}]", if i > 0 { "," } else { "" });
            }
            out.push_str("]}");
        }
        out.push_str("]}\n");
        Ok(json(out))
    })
    .await
}
