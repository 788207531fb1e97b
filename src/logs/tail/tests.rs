use super::*;
use crate::logs::logql::ast::Expr;
use crate::logs::logql::parse;
use crate::logs::reference::{Given, rows_of};
use crate::model::MatchOp;
use std::time::Duration;

fn rows(streams: &[(&str, &[(i64, &str)])]) -> LogRows {
    let given: Vec<(Labels, Vec<Given<'_>>)> = streams
        .iter()
        .map(|(app, entries)| (Labels::from_pairs([("app", *app)]), entries.iter().map(|(ts, line)| (*ts, *line, &[][..])).collect()))
        .collect();
    rows_of(given.iter().map(|(labels, entries)| (labels.clone(), &entries[..])))
}

fn matchers() -> Vec<Matcher> {
    vec![Matcher::new("app", MatchOp::Equal, "x").unwrap()]
}

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn accept(tails: &Arc<Tails>, rows: &LogRows) {
    if let Some(notice) = tails.accepted(&tenant(), rows) {
        notice();
    }
}

#[tokio::test]
async fn a_tail_gets_its_own_streams_and_a_tenant_has_only_so_many() {
    let tails = Tails::new(crate::telemetry::Telemetry::default().query);
    let mut tail = tails.follow(&tenant(), &matchers(), 1).unwrap();
    let refused = tails.follow(&tenant(), &matchers(), 1).err().unwrap();
    assert_eq!(refused.to_string(), "max concurrent tail requests limit exceeded, count > limit (2 > 1)");
    assert!(tails.follow(&TenantId::parse("other").unwrap(), &matchers(), 1).is_ok());
    accept(&tails, &rows(&[("y", &[(1, "other")]), ("x", &[(3, "error b"), (2, "error a"), (4, "fine"), (2, "error a")])]));
    let mut arrival = tail.arrival().await.unwrap();
    tail.sift(&mut arrival);
    let Expr::Log(log) = parse(r#"{app="x"} |= "error" | line_format "<{{.app}}>""#).unwrap() else { panic!("a log query") };
    let found = filter(arrival, &log, &Context::new(tenant(), Duration::from_secs(9), 1 << 20), 0).unwrap();
    assert_eq!(found.iter().map(|e| (e.ts, e.line.as_str())).collect::<Vec<_>>(), [(2, "<x>"), (3, "<x>")]);
    accept(&tails, &rows(&[("x", &[(2, "error a")])]));
    let mut again = tail.arrival().await.unwrap();
    tail.sift(&mut again);
    assert!(again.rows.streams().is_empty());
    drop(tail);
    assert!(tails.accepted(&tenant(), &rows(&[("x", &[(1, "nobody")])])).is_none());
    assert!(tails.follow(&tenant(), &matchers(), 1).is_ok());
}

#[tokio::test]
async fn what_nobody_takes_is_missed_and_bounded_in_bytes() {
    let tails = Tails::new(crate::telemetry::Telemetry::default().query);
    let mut tail = tails.follow(&tenant(), &matchers(), 1).unwrap();
    let line = "x".repeat(1 << 20);
    for ts in 0..20 {
        accept(&tails, &rows(&[("x", &[(ts, &line)])]));
    }
    // Each entry is a little more than its line.
    let missed = tail.missed().take();
    assert_eq!((missed.count, missed.named[0].0), (13, 7));
    for _ in 0..7 {
        drop(tail.arrival().await.unwrap());
    }
    accept(&tails, &rows(&[("x", &[(99, "there is room again")])]));
    assert_eq!(tail.arrival().await.unwrap().rows.lines().ts(0), 99);
    assert_eq!(tail.missed().take().count, 0);
}

#[test]
fn of_missed_entries_a_bounded_number_is_named() {
    let mut missed = Missed::default();
    for ts in 0..3_000 {
        missed.add(ts, &Labels::empty());
    }
    let mut both = Missed::default();
    both.add(5, &Labels::empty());
    both.absorb(missed);
    assert_eq!((both.count, both.named.len()), (3_001, NAMED_MAX));
}
