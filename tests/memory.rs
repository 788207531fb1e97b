//! The real binary with little memory: bodies of the smallest parts that there are, which are a few bytes on the wire and hundreds in
//! memory each, or which say a long text a million times. Each is taken, or refused in its protocol's words; the process stays
//! small, and goes on.

mod support;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{Answer, Server};

/// The whole process's, of which requests get a part.
const MEMORY: &str = "256MiB";

/// What the process may take beyond what it takes when it is idle.
const GROWTH_MAX: u64 = 224 << 20;

/// As many as fit into a body that is small enough to be decoded.
const BODY_BYTES: usize = 3 << 20;

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A message or text.
fn field(tag: u8, inner: impl AsRef<[u8]>) -> Vec<u8> {
    let inner = inner.as_ref();
    [&[tag << 3 | 2][..], &varint(inner.len()), inner].concat()
}

/// `part` again and again.
fn many(part: impl AsRef<[u8]>) -> Vec<u8> {
    let part = part.as_ref();
    part.repeat(BODY_BYTES / part.len())
}

fn text_attribute(key: &str, value: &str) -> Vec<u8> {
    [field(1, key), field(2, field(1, value))].concat()
}

/// An export request of one resource and what it says.
fn otlp(service: &str, said: Vec<u8>) -> Vec<u8> {
    field(1, [field(1, field(1, text_attribute("service.name", service))), field(2, said)].concat())
}

/// The highest that resident memory was, bytes.
fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

struct Case {
    what: &'static str,
    listener: &'static str,
    path: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

fn case(what: &'static str, path: &'static str, body: Vec<u8>) -> Case {
    Case { what, listener: "otlp_http", path, content_type: "application/x-protobuf", body }
}

fn spans() -> Vec<Case> {
    let span = |rest: Vec<u8>| otlp("x", field(2, [field(1, [7; 16]), field(2, [7; 8]), rest].concat()));
    vec![
        case("spans", "/v1/traces", otlp("x", many(field(2, "")))),
        case("events", "/v1/traces", span(many(field(11, "")))),
        case("links", "/v1/traces", span(many(field(13, "")))),
        case("attributes", "/v1/traces", span(many(field(9, "")))),
        case("scopes", "/v1/traces", field(1, [field(1, ""), many(field(2, ""))].concat())),
    ]
}

fn records() -> Vec<Case> {
    vec![
        case("records", "/v1/logs", otlp("x", many(field(2, "")))),
        case("attributes", "/v1/logs", otlp("x", field(2, many(field(6, ""))))),
        case("an array", "/v1/logs", otlp("x", field(2, field(5, field(5, many(field(1, ""))))))),
        Case {
            content_type: "application/json",
            ..case("JSON", "/v1/logs", json(r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":["#, "{},", "{}]}]}]}"))
        },
    ]
}

fn json(head: &str, part: &str, tail: &str) -> Vec<u8> {
    [head.as_bytes(), &many(part), tail.as_bytes()].concat()
}

fn points() -> Vec<Case> {
    let metric = |service: &str, kind: u8, data: Vec<u8>| otlp(service, field(2, [field(1, "m"), field(kind, data)].concat()));
    let timed = |rest: Vec<u8>| [&[0x19, 0, 0, 0, 0, 0, 0, 0, 1][..], &rest].concat();
    let cumulative = |points: Vec<u8>| [points, vec![0x10, 2]].concat();
    let bounds: Vec<u8> = (0..2_000).flat_map(|bound| f64::from(bound).to_le_bytes()).collect();
    let buckets = [field(6, [0; 2_001 * 8]), field(7, bounds)].concat();
    vec![
        case("points", "/v1/metrics", metric("x", 5, many(field(1, "")))),
        case("exemplars", "/v1/metrics", metric("x", 5, field(1, timed(many(field(5, "")))))),
        case("exponential histograms", "/v1/metrics", metric("x", 10, cumulative(many(field(1, ""))))),
        case("histograms", "/v1/metrics", metric("x", 9, cumulative(many(field(1, ""))))),
        case("summaries", "/v1/metrics", metric("x", 11, many(field(1, "")))),
        case("quantiles", "/v1/metrics", metric("x", 11, field(1, timed(many(field(6, "")))))),
        case("buckets of a long name", "/v1/metrics", metric(&"x".repeat(1 << 20), 9, cumulative(field(1, timed(buckets))))),
    ]
}

fn writes() -> Vec<Case> {
    let pack = |body: Vec<u8>| snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let first = |what, body| Case { listener: "prometheus", ..case(what, "/api/v1/write", pack(body)) };
    let second = |what, body| Case { content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request", ..first(what, body) };
    let name = field(1, [field(1, "__name__"), field(2, "a")].concat());
    let series = |rest: Vec<u8>| field(1, [name.clone(), rest].concat());
    let symbols = [field(4, ""), field(4, "__name__"), field(4, "a")].concat();
    let referred = |rest: Vec<u8>| [symbols.clone(), field(5, [field(1, [1, 2]), rest].concat())].concat();
    // Ten thousand names, all with the same value of a megabyte.
    let names: Vec<u8> = (0..10_000).flat_map(|n| field(4, format!("n{n}"))).collect();
    let pairs: Vec<u8> = (0..10_000).flat_map(|n| [varint(4 + n), varint(3)].concat()).collect();
    let long = [symbols.clone(), field(4, "x".repeat(1 << 20)), names].concat();
    let sample = field(2, [0x10, 1]);
    vec![
        first("samples", series(many(field(2, "")))),
        first("labels", field(1, many(field(1, "")))),
        first("exemplars", series(many(field(3, "")))),
        first("histograms", series(many(field(4, "")))),
        second("symbols", many(field(4, ""))),
        second("references", referred(many(field(1, [1, 2])))),
        second("exemplars", referred([sample.clone(), many(field(4, ""))].concat())),
        second("packed references", referred(field(1, [1, 2].repeat(BODY_BYTES)))),
        second("samples", referred(many(field(2, "")))),
        second("histograms", referred(many(field(3, "")))),
        second(
            "a long value",
            [long.clone(), field(5, [field(1, [vec![1, 2], pairs.clone()].concat()), sample.clone()].concat())].concat(),
        ),
        second("a long value in an exemplar", [long.clone(), field(5, [field(1, [1, 2]), field(4, field(1, &pairs))].concat())].concat()),
        second("a long value, twice", [long, field(5, [field(1, [pairs.clone(), pairs].concat()), sample].concat())].concat()),
    ]
}

fn lines() -> Vec<Case> {
    let pack = |body: Vec<u8>| snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let labels = field(1, r#"{a="b"}"#);
    let push = |what, body| Case { listener: "loki", ..case(what, "/loki/api/v1/push", body) };
    let in_json = |what, body| Case { content_type: "application/json", ..push(what, body) };
    vec![
        push("entries", pack(field(1, [labels.clone(), many(field(2, ""))].concat()))),
        push("metadata", pack(field(1, [labels, field(2, many(field(3, "")))].concat()))),
        in_json("entries in JSON", json(r#"{"streams":[{"stream":{"a":"b"},"values":["#, r#"["1",""],"#, r#"["1",""]]}]}"#)),
        in_json("streams in JSON", json(r#"{"streams":["#, "{},", "{}]}")),
    ]
}

#[test]
fn bodies_of_many_small_parts_take_no_more_memory_than_requests_may() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--memory", MEMORY]);
    // What the request before has taken is given back within a second or two.
    let send = |case: &Case| -> Answer {
        let answers = (0..100).map(|_| {
            let answer = server.post(case.listener, case.path, case.content_type, &case.body);
            let comes_back = answer.status == 503;
            comes_back.then(|| sleep(Duration::from_millis(100)));
            (comes_back, answer)
        });
        answers.skip_while(|(comes_back, _)| *comes_back).map(|(_, answer)| answer).next().expect("it is refused for good")
    };
    let idle = peak(&server);
    let mut refused = 0;
    for case in [spans(), records(), points(), writes(), lines()].into_iter().flatten() {
        let before = Instant::now();
        let answer = send(&case);
        let grown = peak(&server).saturating_sub(idle);
        let what = format!("{} {}: {} {}", case.path, case.what, answer.status, String::from_utf8_lossy(&answer.body));
        assert!([200, 204, 400, 413].contains(&answer.status), "{what}");
        assert!(grown <= GROWTH_MAX, "{what}\nthe process grew by {} MiB", grown >> 20);
        refused += usize::from(answer.status == 413);
        eprintln!("{} {}: {} in {:?}, {} MiB so far", case.path, case.what, answer.status, before.elapsed(), grown >> 20);
    }
    assert!(refused > 5, "{refused}: nothing was too large");
    let line = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"still here"}}]}]}]}"#;
    let usual = Case { content_type: "application/json", ..case("usual", "/v1/logs", line.into()) };
    assert_eq!(send(&usual).status, 200);
}
