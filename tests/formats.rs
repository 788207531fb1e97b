//! What earlier versions stored is read by this one. Each directory in `tests/formats/` is a data directory as a version left
//! it when it was killed: blocks, frames in the write-ahead log, catalog; `answers.json` beside it has questions and what that
//! version answered.
//!
//! A version that changes what it writes adds a directory, and never changes one that is there: with
//! `MONOCLE_FORMATS_NEW=NAME cargo test --test formats`, the test makes `tests/formats/NAME` from the requests below.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use support::Server;

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// Of 2026-03-10 12:00 UTC on.
const SECOND: u64 = 1_773_144_000;

fn at(second: u64) -> String {
    ((SECOND + second) * 1_000_000_000).to_string()
}

/// One request of each signal; those of different rounds have other times and ids.
fn send(server: &Server, round: u64) {
    let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let points = |n: u64| json!([{"timeUnixNano": at(round * 15), "asDouble": n as f64 + 0.5, "attributes": [{"key": "n", "value": {"intValue": n.to_string()}}]}]);
    let histogram = json!([{"timeUnixNano": at(round * 15), "count": "3", "sum": 4.5, "scale": 1, "zeroCount": "0",
        "positive": {"offset": 0, "bucketCounts": ["1", "2"]}}]);
    let metrics = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
        {"name": "load", "gauge": {"dataPoints": points(round)}},
        {"name": "took", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": histogram}},
    ]}]}]});
    let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [
        {"timeUnixNano": at(round), "severityText": "WARN", "body": {"stringValue": format!("line {round}")},
            "attributes": [{"key": "order", "value": {"intValue": round.to_string()}}]},
    ]}]}]});
    let (trace, span) = (format!("{:032x}", round + 1), format!("{:016x}", round + 1));
    let traces = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [
        {"traceId": trace, "spanId": span, "name": format!("GET /{round}"), "kind": 2, "startTimeUnixNano": at(round),
            "endTimeUnixNano": at(round + 1), "attributes": [{"key": "http.status", "value": {"intValue": "200"}}],
            "events": [{"timeUnixNano": at(round), "name": "started"}]},
    ]}]}]});
    for (path, body) in [("/v1/metrics", metrics), ("/v1/logs", logs), ("/v1/traces", traces)] {
        let answer = server.post("otlp_http", path, "application/json", body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    }
}

fn questions() -> Vec<(&'static str, String)> {
    let (from, to) = (SECOND - 60, SECOND + 120);
    vec![
        ("prometheus", format!("/api/v1/query_range?query=load&start={SECOND}&end={to}&step=15")),
        ("prometheus", format!("/api/v1/query?query=histogram_quantile(0.5,took_seconds)&time={}", SECOND + 20)),
        ("prometheus", format!("/api/v1/labels?start={from}&end={to}")),
        ("loki", format!("/loki/api/v1/query_range?query=%7Bservice_name%3D%22shop%22%7D&start={from}000000000&end={to}000000000")),
        ("tempo", format!("/api/v2/traces/{:032x}", 1)),
        ("tempo", format!("/api/v2/traces/{:032x}", 2)),
        ("tempo", format!("/api/search?q=%7Bspan.http.status%3D200%7D&start={from}&end={to}")),
    ]
}

/// What is measured anew with every answer is left out.
fn without_statistics(mut answer: Value) -> Value {
    for path in ["/metrics", "/data/stats"] {
        if let Some(found) = answer.pointer_mut(path) {
            *found = Value::Null;
        }
    }
    answer
}

fn answers(server: &Server) -> Vec<Value> {
    questions().into_iter().map(|(api, path)| json!([api, path, without_statistics(server.get(api, &path).json())])).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let mut bytes = fs::read(entry.path()).unwrap();
            if target.extension().is_some_and(|extension| extension == "wal") {
                // Segments are reserved in zeros.
                bytes.truncate(bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1));
            }
            fs::write(target, bytes).unwrap();
        }
    }
}

fn make(name: &str) {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    send(&server, 0);
    // Its blocks and a catalog that is one file; then frames that no block covers.
    assert!(server.stop().success());
    let server = Server::start(home.path(), &[]);
    send(&server, 1);
    let answered = answers(&server);
    server.kill9();
    let target = formats().join(name);
    assert!(!target.exists(), "{} is there already, and is never changed", target.display());
    copy(&home.path().join("data"), &target.join("data"));
    for transient in ["addresses.json", "lock", "catalog.db-shm"] {
        let _ = fs::remove_file(target.join("data").join(transient));
    }
    fs::write(target.join("answers.json"), serde_json::to_string_pretty(&answered).unwrap()).unwrap();
}

#[test]
fn what_earlier_versions_stored_is_read() {
    if let Ok(name) = std::env::var("MONOCLE_FORMATS_NEW") {
        make(&name);
    }
    let mut read = 0;
    for entry in fs::read_dir(formats()).unwrap() {
        let version = entry.unwrap().path();
        let home = tempfile::tempdir().unwrap();
        copy(&version.join("data"), &home.path().join("data"));
        let expected: Vec<Value> = serde_json::from_slice(&fs::read(version.join("answers.json")).unwrap()).unwrap();
        assert!(expected.len() >= 7);
        let server = Server::start(home.path(), &[]);
        for question in &expected {
            let (api, path) = (question[0].as_str().unwrap(), question[1].as_str().unwrap());
            assert_eq!(without_statistics(server.get(api, path).json()), question[2], "{}: {api} {path}", version.display());
        }
        assert!(server.stop().success());
        read += 1;
    }
    assert!(read > 0, "no version in {}", formats().display());
}
