//! SQL over what only a bucket has.

use super::moto::Moto;
use super::proxy::{Fault, Proxy};
use super::support::Server;
use super::{FROM, LARGE_BYTES, flush, lose, metric, push_large, start, until, uploaded};
use serde_json::{Value, json};
use std::path::Path;

/// Of each signal.
const ITEMS: u64 = 300;

/// Lines that are more than the cache holds.
const LARGE: u64 = 400;

/// A tenth of it is for what was read of the bucket.
const DISK: &str = "256MiB";
const CACHE_BYTES: u64 = (256 << 20) / 10;

fn send(server: &Server) {
    let time = |n: u64| format!("{}000000000", FROM + n);
    let line =
        |n: u64| json!({"timeUnixNano": time(n), "traceId": format!("{:032x}", n + 1), "body": {"stringValue": format!("line {n} ")}});
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "far"}}]});
    let span = |n: u64| {
        let end = FROM * 1_000_000_000 + n * 1_000_000_000 + 5;
        json!({"traceId": format!("{:032x}", n + 1), "spanId": format!("{:016x}", n + 1), "name": "step", "kind": 2,
            "startTimeUnixNano": time(n), "endTimeUnixNano": end.to_string(), "status": {"code": if n.is_multiple_of(3) { 2 } else { 0 }},
            "events": [{"timeUnixNano": time(n), "name": "exception"}],
            "links": [{"traceId": format!("{:032x}", n + 2), "spanId": "00000000000000ff"}]})
    };
    let point = |n: u64| json!({"timeUnixNano": time(n), "asDouble": n as f64});
    let export = |signal: &str, body: Value| {
        let answer = server.post("otlp_http", &format!("/v1/{signal}"), "application/json", body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    };
    let spans: Vec<Value> = (0..ITEMS).map(span).collect();
    export("traces", json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}));
    let points: Vec<Value> = (0..ITEMS).map(point).collect();
    let metrics = json!([{"name": "orders", "gauge": {"dataPoints": points}}]);
    export("metrics", json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": metrics}]}]}));
    let records: Vec<Value> = (0..ITEMS).map(line).collect();
    export("logs", json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}));
    push_large(server, "large", LARGE);
}

/// Status, head and JSON of an answer.
fn ask(server: &Server, statement: &str) -> (u16, String, Value) {
    let answer = server.post("prometheus", "/sql", "text/plain", statement.as_bytes());
    (answer.status, answer.head.clone(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn sql(server: &Server, statement: &str) -> Value {
    let (status, head, answer) = ask(server, statement);
    assert_eq!((status, head.contains("x-monocle-warning")), (200, false), "{statement}: {answer}; monocle said:\n{}", server.log());
    answer
}

const COUNTS: &str = "select (select count(*) from metrics where name = 'orders') m, (select count(*) from logs) l,
    (select count(*) from spans) s, (select count(*) from traces) t, (select count(*) from events) e, (select count(*) from links) k";

fn check(server: &Server) {
    assert_eq!(sql(server, COUNTS), json!([{"m": ITEMS, "l": ITEMS + LARGE, "s": ITEMS, "t": ITEMS, "e": ITEMS, "k": ITEMS}]));
    let sum = (ITEMS * (ITEMS - 1) / 2) as f64;
    let bounded = "select sum(value) v, max(value) x from metrics where name = 'orders' and \"label.job\" = 'far'";
    assert_eq!(sql(server, bounded), json!([{"v": sum, "x": (ITEMS - 1) as f64}]));
    let joined = "select count(*) n from logs l join spans s on l.trace_id = s.trace_id where s.status = 'error' and l.line like 'line 3%'";
    let both = (0..ITEMS).filter(|n| n.is_multiple_of(3) && n.to_string().starts_with('3')).count();
    assert_eq!(sql(server, joined), json!([{"n": both}]));
    let one = format!("select name, service_name from spans where trace_id = '{:032x}'", 7);
    assert_eq!(sql(server, &one), json!([{"name": "step", "service_name": "far"}]));
}

fn bytes_in(directory: &Path) -> u64 {
    let files = std::fs::read_dir(directory).unwrap().flatten().filter_map(|file| file.metadata().ok());
    files.map(|file| file.len()).sum()
}

#[test]
fn sql_reads_what_only_the_bucket_has_through_a_bounded_cache() {
    let Some(moto) = Moto::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&moto.address);
    let flags = ["--disk", DISK];
    let server = start(home.path(), &proxy.address, "sql", &flags);
    send(&server);
    flush(&server);
    uploaded(&server, 3.0);
    assert!(server.stop().success());

    lose(home.path());
    let server = start(home.path(), &proxy.address, "sql", &flags);
    check(&server);
    let fetches = || metric(&server, "monocle_bucket_fetches_total");
    let first = fetches();
    assert!(first >= 3.0, "{first}");
    // What is small stays.
    let small = "select sum(value) v from metrics where name = 'orders'";
    sql(&server, small);
    let before = fetches();
    sql(&server, small);
    assert_eq!(fetches(), before, "the cache has it");
    // All lines are more than the cache holds.
    let whole = "select count(*) n, max(length(line)) x from logs";
    assert_eq!(sql(&server, whole), json!([{"n": ITEMS + LARGE, "x": LARGE_BYTES}]));
    let kept = bytes_in(&home.path().join("data").join("cache"));
    assert!((1..=CACHE_BYTES).contains(&kept), "{kept}");
    assert!(metric(&server, "monocle_bucket_fetched_bytes_total") > CACHE_BYTES as f64);

    // The first to find out is told so, and who comes later gets what there is, with a warning.
    proxy.set(Fault::Refuse);
    let (status, head, answer) = ask(&server, whole);
    let told = answer["error"].as_str().unwrap_or_default().to_owned() + &head;
    assert!([200, 500].contains(&status) && told.contains("bucket does not answer"), "{status} {told}");
    until("noticed", &server, || metric(&server, "monocle_bucket_up") == 0.0);
    let (status, head, answer) = ask(&server, "select count(*) n from logs");
    assert_eq!((status, answer), (200, json!([{"n": 0}])), "{head}");
    assert!(head.contains("x-monocle-warning: the bucket does not answer"), "{head}");
    proxy.set(Fault::None);
    until("back", &server, || metric(&server, "monocle_bucket_up") == 1.0);
    check(&server);
    assert!(server.stop().success());
}
