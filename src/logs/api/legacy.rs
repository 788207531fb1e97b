//! Loki's first API, under `/api/prom` (contracts/loki.md 1.2).

use super::answer::{self, push_string, push_strings};
use super::labels::each_name;
use super::params::{bounds, count, direction};
use super::query::{check_length, check_limit, parsed};
use super::{Api, invalid, json};
use crate::logs::logql::ast::Expr;
use crate::logs::logql::eval::{Engine, FoundEntry, LogQuery, Stats, run_log};
use crate::model::{Labels, TimeRange, time};
use crate::web::Params;
use axum::extract::{Path, State};
use axum::response::Response;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

const LIMIT_DEFAULT: usize = 100;

/// Log queries only.
pub async fn query(State(api): State<Api>, params: Params) -> Response {
    let (now, config, asked) = (api.clock.now(), api.door.store().spec().config().clone(), params.clone());
    api.answer(&params, move |view, ctx| {
        let (start, end) = bounds(&asked, now)?;
        let (limit, direction) = (count(&asked, "limit", LIMIT_DEFAULT)?, direction(&asked)?);
        check_length(start, end, &config)?;
        let Expr::Log(log) = parsed(&asked)? else {
            return Err(invalid("legacy endpoints only support streams result type"));
        };
        check_limit(limit, &config)?;
        let started = Instant::now();
        let query = LogQuery { range: TimeRange::new(start, end), direction, limit, interval: 0 };
        let mut stats = Stats::default();
        let entries = run_log(&Engine { view, ctx, now }, &log, &query, &mut stats)?;
        Ok(json(streams(&entries, &answer::stats(&stats, entries.len(), started.elapsed()))))
    })
    .await
}

fn streams(entries: &[FoundEntry], stats: &str) -> String {
    let mut groups: BTreeMap<String, Vec<&FoundEntry>> = BTreeMap::new();
    for entry in entries {
        let labels = Labels::from_sorted(answer::shown_in_stream(entry, None)).to_string();
        groups.entry(labels).or_default().push(entry);
    }
    let mut out = String::from(r#"{"streams":["#);
    for (i, (labels, group)) in groups.iter().enumerate() {
        out.push_str(if i > 0 { r#",{"labels":"# } else { r#"{"labels":"# });
        push_string(&mut out, labels);
        out.push_str(r#","entries":["#);
        for (i, entry) in group.iter().enumerate() {
            let _ = write!(out, r#"{}{{"ts":"{}","line":"#, if i > 0 { "," } else { "" }, time::format_rfc3339(entry.ts));
            push_string(&mut out, &entry.line);
            out.push('}');
        }
        out.push_str("]}");
    }
    let _ = writeln!(out, r#"],"stats":{stats}}}"#);
    out
}

pub async fn names(State(api): State<Api>, params: Params) -> Response {
    listed(&api, &params, None).await
}

pub async fn values(State(api): State<Api>, Path(name): Path<String>, params: Params) -> Response {
    listed(&api, &params, Some(name)).await
}

async fn listed(api: &Api, params: &Params, of: Option<String>) -> Response {
    let (now, max, asked) = (api.clock.now(), api.config().label_values_max, params.clone());
    api.answer(params, move |view, ctx| {
        let found = each_name(view, ctx, &asked, now, of.as_deref(), max)?;
        let mut out = String::from(r#"{"values":"#);
        push_strings(&mut out, found.texts());
        out.push_str("}\n");
        Ok(json(out))
    })
    .await
}
