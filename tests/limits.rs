//! The real binary: a tenant at its limits is told so in the form that its protocol sends again, keeps what it has, and stands
//! in nobody's way.

#![expect(clippy::disallowed_methods, reason = "a test of the real process in real time")]

mod support;

use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::{Answer, Server};

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()
}

/// One point of each of these gauges.
fn gauges(names: &[&str]) -> Value {
    let metric = |name: &&str| json!({"name": name, "gauge": {"dataPoints": [{"timeUnixNano": now().to_string(), "asDouble": 1.0}]}});
    json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": names.iter().map(metric).collect::<Vec<_>>()}]}]})
}

fn lines(apps: &[&str], line: &str) -> Value {
    let stream = |app: &&str| json!({"stream": {"app": app}, "values": [[now().to_string(), line]]});
    json!({"streams": apps.iter().map(stream).collect::<Vec<_>>()})
}

fn post(server: &Server, listener: &str, path: &str, body: &Value) -> Answer {
    server.post(listener, path, "application/json", body.to_string().as_bytes())
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn counted(server: &Server, query: &str) -> Value {
    let query: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    server.get("prometheus", &format!("/api/v1/query?query={query}")).json()["data"]["result"][0]["value"][1].clone()
}

fn refused(server: &Server, signal: &str, reason: &str) -> u64 {
    let metrics = text(&server.get("prometheus", "/metrics"));
    let has = |line: &&str| line.starts_with("monocle_") && line.contains(&format!("{signal:?}")) && line.contains(&format!("{reason:?}"));
    metrics.lines().filter(has).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn new_series_and_streams_beyond_the_limit_are_refused_and_old_ones_go_on() {
    let home = tempfile::tempdir().unwrap();
    let flags = ["--tenant-series", "3", "--tenant-streams", "2", "--derive", "off"];
    let server = Server::start(home.path(), &flags);
    let answer = post(&server, "otlp_http", "/v1/metrics", &gauges(&["a", "b", "c", "d", "e"]));
    let partial = answer.json()["partialSuccess"].clone();
    assert_eq!((answer.status, &partial["rejectedDataPoints"]), (200, &json!("2")), "{partial}");
    let message = partial["errorMessage"].as_str().unwrap();
    assert!(message.starts_with("2 too_many_series: per-user series limit of 3 exceeded (err-mimir-max-series-per-user)"), "{message}");

    let answer = post(&server, "loki", "/loki/api/v1/push", &lines(&["x", "y", "z"], "one"));
    assert_eq!(answer.status, 400, "two of three are stored");
    assert!(text(&answer).starts_with("maximum active stream limit exceeded when trying to create stream {app=\"z\""), "{}", text(&answer));
    let answer = post(&server, "loki", "/loki/api/v1/push", &lines(&["z"], "two"));
    assert_eq!(answer.status, 429, "nothing is stored: {}", text(&answer));
    assert_eq!(post(&server, "loki", "/loki/api/v1/push", &lines(&["x", "y"], "two")).status, 204);
    assert_eq!((refused(&server, "metrics", "too_many_series"), refused(&server, "logs", "too_many_streams")), (2, 2));

    server.kill9();
    let server = Server::start(home.path(), &flags);
    assert_eq!(counted(&server, "count({__name__=~\"[a-e]\"})"), "3");
    assert_eq!(post(&server, "otlp_http", "/v1/metrics", &gauges(&["a", "b", "c"])).json(), json!({}));
    let all = server.get("loki", "/loki/api/v1/query_range?query=%7Bapp%3D~%22.%2B%22%7D&since=1h").json();
    let values: usize = all["data"]["result"].as_array().unwrap().iter().map(|s| s["values"].as_array().unwrap().len()).sum();
    assert_eq!(values, 4);
}

#[test]
fn beyond_its_rate_a_tenant_is_told_when_to_come_back() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("monocle.toml"), "tenant-rate = \"20KiB\"\n").unwrap();
    let server = Server::start(home.path(), &[]);
    let large = "x".repeat(50_000);
    // Each signal has its own: one request of any size goes, and then its debt is to be paid.
    assert_eq!(post(&server, "loki", "/loki/api/v1/push", &lines(&["x"], &large)).status, 204);
    let answer = post(&server, "loki", "/loki/api/v1/push", &lines(&["x"], "next"));
    assert_eq!((answer.status, answer.head.contains("retry-after: ")), (429, true), "{} {}", answer.head, text(&answer));
    assert!(text(&answer).contains("ingestion rate limit of 20480 bytes/s exceeded (--tenant-rate)"), "{}", text(&answer));
    let answer = post(&server, "otlp_http", "/v1/logs", &json!({"resourceLogs": []}));
    assert_eq!((answer.status, answer.head.contains("retry-after: ")), (429, true), "{} {}", answer.head, text(&answer));
    let points = gauges(&[large.as_str(); 2]);
    assert_eq!(post(&server, "otlp_http", "/v1/metrics", &points).status, 200);
    // What Prometheus would drop when answered with 429.
    let answer = server.post("prometheus", "/api/v1/write", "application/x-protobuf", &[0]);
    assert_eq!((answer.status, answer.head.contains("retry-after: ")), (503, true), "{} {}", answer.head, text(&answer));
    assert_eq!((refused(&server, "logs", "rate_limited"), refused(&server, "metrics", "rate_limited")), (2, 1));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(post(&server, "loki", "/loki/api/v1/push", &lines(&["x"], "next")).status, 204);
}
