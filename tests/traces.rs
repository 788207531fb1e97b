//! The real binary: a trace whose spans come late, over blocks, the head and a restart, is one trace to every question;
//! and what is too large is refused before it is stored, told, and stays readable in part.

mod support;

use serde_json::{Value, json};
use support::Server;

/// 2026-03-10 12:00:00 UTC.
const BASE: u64 = 1_773_144_000_000_000_000;
const SECOND: u64 = 1_000_000_000;
const TRACE: &str = "7d00000000000000000000000000beef";

/// Service, id, parent, seconds after `BASE` when it starts, seconds it takes.
type Of<'a> = (&'a str, u64, u64, u64, u64);

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn export(server: &Server, spans: impl IntoIterator<Item = (String, Value)>) -> Value {
    let resources: Vec<Value> = spans
        .into_iter()
        .map(|(service, span)| json!({"resource": {"attributes": [text("service.name", &service)]}, "scopeSpans": [{"spans": [span]}]}))
        .collect();
    let answer = server.post("otlp_http", "/v1/traces", "application/json", json!({"resourceSpans": resources}).to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

fn span(trace: &str, id: u64, parent: u64, start: u64, seconds: u64, attributes: &[Value]) -> Value {
    json!({
        "traceId": trace, "spanId": format!("{id:016x}"), "name": format!("step {id}"), "kind": 2, "attributes": attributes,
        "parentSpanId": if parent == 0 { String::new() } else { format!("{parent:016x}") },
        "startTimeUnixNano": (BASE + start * SECOND).to_string(), "endTimeUnixNano": (BASE + (start + seconds) * SECOND).to_string(),
    })
}

fn send(server: &Server, spans: &[Of<'_>]) {
    let spans =
        spans.iter().map(|(service, id, parent, start, seconds)| ((*service).to_owned(), span(TRACE, *id, *parent, *start, *seconds, &[])));
    assert_eq!(export(server, spans), json!({}));
}

fn ask(server: &Server, path: &str, query: &str) -> Value {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    let (start, end) = (BASE / SECOND - 60, BASE / SECOND + 900);
    let times = [("start", start.to_string()), ("end", end.to_string()), ("step", "960s".to_owned())];
    encoded.append_pair("q", query).extend_pairs(times.iter().map(|(name, value)| (*name, value.as_str())));
    let answer = server.get("tempo", &format!("{path}?{}", encoded.finish()));
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

fn flush(server: &Server) {
    assert_eq!(server.post("prometheus", "/-/flush", "text/plain", b"").status, 204);
}

/// `spans` are all that were sent; the root is one of them.
fn is_whole(server: &Server, spans: &[Of<'_>], when: &str) {
    let trace = server.get("tempo", &format!("/api/v2/traces/{TRACE}")).json();
    let resources = trace["trace"]["resourceSpans"].as_array().unwrap();
    let of_resource = |r: &Value| r["scopeSpans"][0]["spans"].as_array().unwrap().len();
    assert_eq!(resources.iter().map(of_resource).sum::<usize>(), spans.len(), "{when}: {trace}");

    let end = spans.iter().map(|(.., start, seconds)| start + seconds).max().unwrap();
    let found = ask(server, "/api/search", "{ resource.service.name = \"front\" }");
    assert_eq!(found["traces"][0]["rootTraceName"], "step 1", "{when}: {found}");
    assert_eq!(found["traces"][0]["durationMs"], end * 1000, "{when}: {found}");

    // Far apart in time, and in what holds them: each is below the root.
    let below = ask(server, "/api/search", "{ name = \"step 1\" } >> { resource.service.name != \"front\" }");
    assert_eq!(below["traces"][0]["spanSets"][0]["matched"], spans.len() - 1, "{when}: {below}");
    let last = spans.last().unwrap().1;
    let chain = ask(server, "/api/search", &format!("{{ name = \"step 1\" }} >> {{ name = \"step {last}\" }}"));
    assert_eq!(chain["traces"][0]["spanSets"][0]["matched"], 1, "{when}: {chain}");

    let counted = ask(server, "/api/metrics/query_range", "{ rootName = \"step 1\" && trace:duration > 1s } | count_over_time()");
    let samples = counted["series"][0]["samples"].as_array().unwrap();
    let sum: f64 = samples.iter().filter_map(|s| s["value"].as_f64()).sum();
    assert!((sum - spans.len() as f64).abs() < 1e-9, "{when}: {counted}");
}

#[test]
fn a_trace_that_comes_over_ten_minutes_is_one_trace() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    // The root comes last but one, and ends when all is done.
    let first: [Of<'_>; 2] = [("cart", 2, 1, 1, 5), ("db", 3, 2, 2, 1)];
    let second: [Of<'_>; 2] = [("cart", 4, 2, 240, 3), ("mail", 5, 4, 241, 1)];
    let third: [Of<'_>; 2] = [("front", 1, 0, 0, 600), ("mail", 6, 5, 599, 1)];
    let late: [Of<'_>; 1] = [("audit", 7, 6, 600, 2)];
    send(&server, &first);
    flush(&server);
    send(&server, &second);
    server.kill9();
    let server = Server::start(home.path(), &[]);
    flush(&server);
    send(&server, &third);
    let mut all = [first, second, third].concat();
    is_whole(&server, &all, "in two blocks and the head");
    server.kill9();
    let server = Server::start(home.path(), &[]);
    is_whole(&server, &all, "after a kill");
    send(&server, &late);
    all.extend(late);
    is_whole(&server, &all, "with one more");
    flush(&server);
    is_whole(&server, &all, "in blocks only");
    assert_eq!(server.post("prometheus", "/-/compact", "text/plain", b"").status, 204);
    is_whole(&server, &all, "compacted");
    assert!(server.stop().success());
    let server = Server::start(home.path(), &[]);
    is_whole(&server, &all, "after a clean stop");
}

#[test]
fn what_is_too_large_is_refused_told_and_readable_in_part() {
    let home = tempfile::tempdir().unwrap();
    let flags = ["--trace-max-spans", "10", "--attribute-max-bytes", "64", "--request-max-spans", "30"];
    let server = Server::start(home.path(), &flags);
    let many = |trace: &'static str, ids: std::ops::Range<u64>| ids.map(move |id| ("big".to_owned(), span(trace, id, 0, id, 1, &[])));

    let answer = export(&server, many(TRACE, 1..16));
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "4", "{answer}");
    assert!(answer["partialSuccess"]["errorMessage"].as_str().unwrap().contains("maximum size"), "{answer}");
    let answer = export(&server, many(TRACE, 16..18));
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "2", "a full trace takes nothing more: {answer}");
    let other = "7d00000000000000000000000000cafe";
    let answer = export(&server, (0..31).map(|n| ("many".to_owned(), span(&format!("{:032x}", n + 1), n + 1, 0, 1, 1, &[]))));
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");
    let long = "x".repeat(65);
    let spans = [span(other, 1, 0, 1, 1, &[text("long", &long)]), span(other, 2, 0, 1, 1, &[text("long", &long[1..])])];
    let answer = export(&server, spans.map(|span| ("long".to_owned(), span)));
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "1", "{answer}");

    let is_partial = |server: &Server, when: &str| {
        let trace = server.get("tempo", &format!("/api/v2/traces/{TRACE}")).json();
        assert_eq!(trace["status"], "PARTIAL", "{when}: {trace}");
        assert_eq!(trace["message"], "Trace exceeds maximum size of 10 spans, a partial trace is returned", "{when}");
        assert_eq!(trace["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len(), 10, "{when}: {trace}");
        let kept = ask(server, "/api/search", "{ span.long != nil }");
        assert_eq!(kept["traces"].as_array().unwrap().len(), 1, "{when}: {kept}");
    };
    is_partial(&server, "in the head");
    server.kill9();
    let server = Server::start(home.path(), &flags);
    is_partial(&server, "after a kill");
    flush(&server);
    is_partial(&server, "in a block");
}
