//! The real binary and foreign programs: OpenTelemetry's Python SDK sends, Prometheus remote-writes, and DuckDB,
//! pyarrow and Polars read the files.
//!
//! `MONOCLE_PYTHON` names the interpreter (else `python3`), with `tests/clients/requirements.txt` installed. What is not
//! installed is skipped by name; under `MONOCLE_CLIENTS=required` it fails instead.

#[path = "clients/native.rs"]
mod native;
#[path = "clients/prometheus.rs"]
mod prometheus;
#[path = "clients/promtool.rs"]
mod promtool;
#[path = "clients/scrape.rs"]
mod scrape;
mod support;
#[path = "clients/vendor.rs"]
mod vendor;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use support::Server;

fn python() -> Command {
    Command::new(std::env::var_os("MONOCLE_PYTHON").unwrap_or_else(|| "python3".into()))
}

/// Whether the interpreter has these modules. Says what is skipped, or fails if skipping is not allowed.
fn installed(modules: &str) -> bool {
    let has = python().args(["-c", &format!("import {modules}")]).output().is_ok_and(|o| o.status.success());
    let required = std::env::var("MONOCLE_CLIENTS").is_ok_and(|v| v == "required");
    assert!(has || !required, "python has no {modules}, and MONOCLE_CLIENTS=required");
    if !has {
        eprintln!("skipped: python has no {modules}");
    }
    has
}

/// Runs a script of `tests/clients/` and returns the JSON that it prints.
fn run(script: &str, argument: &str, environment: &[(&str, &str)]) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let output = python().arg(path).arg(argument).envs(environment.iter().copied()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}\n{out}{err}", output.status);
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{script}: {e}\n{out}{err}"))
}

/// Asks with parameters, and gives the JSON of an answer that must be a success.
fn ask(server: &Server, listener: &str, path: &str, parameters: &[(&str, &str)]) -> Value {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let answer = server.get(listener, &format!("{path}?{}", query.extend_pairs(parameters).finish()));
    assert_eq!(answer.status, 200, "{path} {parameters:?}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()
}

/// The value of an instant PromQL query that has one sample.
fn sample(server: &Server, query: &str, time: &str) -> f64 {
    let answer = ask(server, "prometheus", "/api/v1/query", &[("query", query), ("time", time)]);
    let result = answer["data"]["result"].as_array().unwrap();
    assert_eq!(result.len(), 1, "{query}: {answer}");
    result[0]["value"][1].as_str().unwrap().parse().unwrap()
}

/// Everything that the SDK has sent is found through the three APIs.
fn sdk_speaks(protocol: &str, listener: &str, compression: Option<&str>) {
    if !installed("opentelemetry.sdk, opentelemetry.exporter.otlp.proto.grpc, opentelemetry.exporter.otlp.proto.http") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let service = format!("sdk-{protocol}");
    let endpoint = server.url(listener);
    let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_SERVICE_NAME", &service)];
    environment.extend(compression.map(|name| ("OTEL_EXPORTER_OTLP_COMPRESSION", name)));
    let sent = run("export.py", protocol, &environment);
    let (trace, seconds) = (sent["trace"].as_str().unwrap(), sent["seconds"].as_f64().unwrap());
    let (start, end) = (format!("{:.0}", seconds - 300.0), format!("{:.0}", seconds + 300.0));
    let now = format!("{:.3}", seconds + 1.0);

    let answer = server.get("tempo", &format!("/api/v2/traces/{trace}")).json();
    let resources = answer["trace"]["resourceSpans"].as_array().unwrap();
    let spans = resources.iter().flat_map(|r| r["scopeSpans"].as_array().unwrap()).flat_map(|s| s["spans"].as_array().unwrap());
    let mut names: Vec<&str> = spans.map(|s| s["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["charge", "checkout"]);
    let query = format!(r#"{{ resource.service.name = "{service}" && status = error }}"#);
    let found = ask(&server, "tempo", "/api/search", &[("q", &query), ("start", &start), ("end", &end)]);
    assert_eq!(found["traces"][0]["traceID"].as_str().unwrap().trim_start_matches('0'), trace.trim_start_matches('0'), "{found}");

    assert_eq!(sample(&server, &format!(r#"orders_total{{job="{service}",paid="true"}}"#), &now), 3.0);
    assert_eq!(sample(&server, &format!(r#"order_duration_seconds_sum{{job="{service}"}}"#), &now), 0.25);
    assert_eq!(sample(&server, &format!(r#"open_orders{{job="{service}"}}"#), &now), 2.0);

    let query = format!(r#"{{service_name="{service}"}} | trace_id = "{trace}""#);
    let (start, end) = (format!("{start}000000000"), format!("{end}000000000"));
    let found = ask(&server, "loki", "/loki/api/v1/query_range", &[("query", &query), ("start", &start), ("end", &end)]);
    assert_eq!(found["data"]["result"][0]["values"][0][1], "card declined for order 17", "{found}");
    assert!(server.stop().success());
}

#[test]
fn the_opentelemetry_sdk_sends_over_grpc() {
    sdk_speaks("grpc", "otlp_grpc", None);
}

#[test]
fn the_opentelemetry_sdk_sends_over_grpc_with_gzip() {
    sdk_speaks("grpc", "otlp_grpc", Some("gzip"));
}

#[test]
fn the_opentelemetry_sdk_sends_over_http() {
    sdk_speaks("http", "otlp_http", None);
}

#[test]
fn the_opentelemetry_sdk_sends_over_http_with_gzip() {
    sdk_speaks("http", "otlp_http", Some("gzip"));
}

/// The floats of a series, in order of time.
fn floats(server: &Server, selector: &str) -> Vec<String> {
    let answer = ask(server, "prometheus", "/api/v1/query", &[("query", &format!("{selector}[5m]"))]);
    let result = answer["data"]["result"].as_array().unwrap();
    assert_eq!(result.len(), 1, "{selector}: {answer}");
    result[0]["values"].as_array().unwrap().iter().map(|v| v[1].as_str().unwrap().to_owned()).collect()
}

/// Deltas are summed up: also across a cut, and across a kill of which the SDK knows nothing.
#[test]
fn delta_counters_of_the_sdk_give_the_rate_of_cumulative_ones() {
    if !installed("opentelemetry.sdk, opentelemetry.exporter.otlp.proto.http") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start(home.path(), &[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/temporality.py");
    let mut sdk = python().arg(script).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (mut orders, mut answers) = (sdk.stdin.take().unwrap(), BufReader::new(sdk.stdout.take().unwrap()).lines());
    for step in 1..=9 {
        writeln!(orders, "{}", server.url("otlp_http")).unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "exported");
        match step {
            3 => assert_eq!(server.post("prometheus", "/-/flush", "text/plain", b"").status, 204),
            2 | 5 => {
                server.kill9();
                server = Server::start(home.path(), &[]);
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(500)),
        }
    }
    drop(orders);
    assert!(sdk.wait().unwrap().success());
    for series in ["work_total", "took_seconds_sum", "took_seconds_count", "took_seconds_bucket{le=\"+Inf\"}"] {
        let of = |job: &str| match series.split_once('{') {
            Some((name, labels)) => format!("{name}{{job=\"{job}\",{labels}"),
            None => format!("{series}{{job=\"{job}\"}}"),
        };
        let (delta, cumulative) = (floats(&server, &of("delta")), floats(&server, &of("cumulative")));
        assert_eq!((delta.len(), &delta), (9, &cumulative), "{series}");
        let rate = |job: &str| {
            let answer = ask(&server, "prometheus", "/api/v1/query", &[("query", &format!("rate({}[5m])", of(job)))]);
            answer["data"]["result"][0]["value"][1].as_str().unwrap().parse::<f64>().unwrap()
        };
        // The two are collected some milliseconds apart.
        assert!((rate("delta") / rate("cumulative") - 1.0).abs() < 0.05, "{series}: {} and {}", rate("delta"), rate("cumulative"));
    }
}

const READERS: &str = "duckdb, pyarrow.parquet, polars";

/// Cuts everything into blocks, and checks that each reader counts `expected` rows in the files.
fn files_hold(server: &Server, home: &Path, expected: &Value) {
    let answer = server.post("prometheus", "/-/flush", "text/plain", b"");
    assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
    let counts = run("read_files.py", home.join("data").to_str().unwrap(), &[]);
    for reader in ["duckdb", "pyarrow", "polars"] {
        assert_eq!(counts[reader], *expected, "{reader}");
    }
}

fn post(server: &Server, listener: &str, path: &str, body: &[u8]) {
    let answer = server.post(listener, path, "application/json", body);
    let text = String::from_utf8_lossy(&answer.body);
    assert!(answer.status / 100 == 2 && !text.contains("rejected"), "{path}: {} {text}", answer.status);
}

/// Two services with a trace of two spans, three log records and a gauge of two points each.
fn small(server: &Server) {
    const TIME: u64 = 1_773_144_000;
    for service in 1..=2 {
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": format!("s{service}")}}]});
        let times = |n: u64| (0..n).map(|i| format!("{}000000000", TIME + 15 * i));
        let spans: Vec<Value> = times(2)
            .enumerate()
            .map(|(i, time)| {
                json!({"traceId": format!("{service:032x}"), "spanId": format!("{:016x}", i + 1), "name": "work", "kind": 1,
                    "startTimeUnixNano": time, "endTimeUnixNano": time})
            })
            .collect();
        let records: Vec<Value> = times(3).map(|time| json!({"timeUnixNano": time, "body": {"stringValue": "hello"}})).collect();
        let points: Vec<Value> = times(2).map(|time| json!({"timeUnixNano": time, "asDouble": 1.5})).collect();
        let traces = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
        let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
        let gauge = json!([{"name": "level", "gauge": {"dataPoints": points}}]);
        let metrics = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": gauge}]}]});
        for (path, body) in [("/v1/traces", traces), ("/v1/logs", logs), ("/v1/metrics", metrics)] {
            post(server, "otlp_http", path, body.to_string().as_bytes());
        }
    }
}

#[test]
fn foreign_readers_count_what_was_sent() {
    if !installed(READERS) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    small(&server);
    files_hold(&server, home.path(), &json!({"spans": 4, "logs": 6, "samples": 4, "hist": 0}));
    small(&server);
    // Sent again and cut into blocks of its own: a duplicate is in the files twice until they are merged, and counts once.
    let counted = sample(&server, r#"sum(count_over_time({__name__="level"}[1h]))"#, "1773145800");
    assert_eq!(counted, 4.0);
}

fn load(server: &Server, file: &Path, listener: &str, path: &str) {
    let file = std::fs::File::open(file).unwrap();
    for line in BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
        post(server, listener, path, line.unwrap().as_bytes());
    }
}

/// The thirty minutes of a shop in `../shared/conformance`, if it is there.
fn shop() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/dataset");
    if !directory.is_dir() {
        eprintln!("skipped: there is no {}", directory.display());
        return None;
    }
    Some(directory)
}

#[test]
fn foreign_readers_count_the_shop() {
    let Some(shop) = shop() else { return };
    if !installed(READERS) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    for (name, listener, path) in [
        ("traces", "otlp_http", "/v1/traces"),
        ("logs", "otlp_http", "/v1/logs"),
        ("metrics", "otlp_http", "/v1/metrics"),
        ("push", "loki", "/loki/api/v1/push"),
    ] {
        load(&server, &shop.join(format!("{name}.jsonl.gz")), listener, path);
    }
    let counted = samples_of_the_shop(&server);
    let answer = server.post("prometheus", "/-/flush", "text/plain", b"");
    assert_eq!(answer.status, 204);
    assert_eq!(samples_of_the_shop(&server), counted, "after the flush");
    // Nothing is left to be merged, so that no file goes while it is read.
    assert_eq!(server.post("prometheus", "/-/compact", "text/plain", b"").status, 204);
    assert_eq!(samples_of_the_shop(&server), counted, "in merged blocks");
    let counts = run("read_files.py", home.path().join("data").to_str().unwrap(), &[]);
    for reader in ["duckdb", "pyarrow", "polars"] {
        let rows = |table: &str| counts[reader][table].as_u64().unwrap();
        assert_eq!((rows("spans"), rows("logs")), (20_851, 12_071), "{reader}");
        assert_eq!(rows("samples") + rows("hist"), counted + STALENESS_MARKERS, "{reader}");
    }
    let counts = run("read_sql.py", &server.url("prometheus"), &[]);
    for form in ["arrow", "polars", "duckdb"] {
        let rows = |table: &str| counts[form][table].as_u64().unwrap();
        assert_eq!((rows("spans"), rows("logs"), rows("metrics")), (20_851, 12_071, counted), "{form}");
        let attached = [rows("traces"), rows("events"), rows("links"), rows("exemplars")];
        assert_eq!(attached, [3_815, 1_876, 952, 982], "{form}");
    }
    assert!(server.stop().success());
}

/// Two points of the shop have no value; they become markers, which no function counts.
const STALENESS_MARKERS: u64 = 2;

/// All samples, histograms included. Name by name, because `count_over_time` drops names and two series must not become one.
fn samples_of_the_shop(server: &Server) -> u64 {
    let names = ask(server, "prometheus", "/api/v1/label/__name__/values", &[]);
    let names = names["data"].as_array().unwrap();
    assert!(names.len() > 20, "{names:?}");
    let count = |name: &Value| sample(server, &format!("sum(count_over_time({{__name__={name}}}[1h]))"), "1773145800");
    names.iter().map(count).sum::<f64>() as u64
}

/// A client made from the messages' field numbers gets over gRPC what HTTP answers.
#[test]
fn streamed_answers_are_those_of_http() {
    let Some(shop) = shop() else { return };
    if !installed("grpc, grpc_tools") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    load(&server, &shop.join("traces.jsonl.gz"), "otlp_http", "/v1/traces");
    let result = run("stream.py", server.address("tempo"), &[("MONOCLE_TIME", "1773144900"), ("MONOCLE_SERVICE", "checkout")]);
    for method in
        ["Search", "SearchTags", "SearchTagsV2", "SearchTagValues", "SearchTagValuesV2", "MetricsQueryRange", "MetricsQueryInstant"]
    {
        assert!(result["compared"][method].as_u64().unwrap() > 3, "{result}");
    }
    let errors = &result["errors"];
    let parse = errors["parse over HTTP"].as_str().unwrap();
    assert!(parse.starts_with("invalid TraceQL query: parse error"), "{errors}");
    assert_eq!(errors["parse"], format!("INVALID_ARGUMENT: {parse}"));
    assert_eq!(
        errors["range"],
        "INVALID_ARGUMENT: error parsing date range: only one of start and end provided: must provide both or neither"
    );
    assert_eq!(errors["metrics"], "INVALID_ARGUMENT: compiling query: not a metrics query");
    assert_eq!(errors["method"], "UNIMPLEMENTED: unknown method Nothing for service tempopb.StreamingQuerier");
    // The plugin's health check: an answer without traces, and no error.
    assert_eq!(errors["health"], "OK");
}

/// A client of Zipkin or Jaeger sends a span, which is found by its trace's id.
fn foreign_client_sends(kind: &str, listener: &str, modules: &str) {
    if !installed(modules) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--zipkin", "0", "--jaeger-http", "0", "--jaeger-grpc", "0"]);
    let sent = run("zipkin_jaeger.py", kind, &[("MONOCLE_ADDRESS", server.address(listener))]);
    let answer = server.get("tempo", &format!("/api/v2/traces/{}", sent["trace"].as_str().unwrap())).json();
    let resource = &answer["trace"]["resourceSpans"][0];
    assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "shop", "{answer}");
    let span = &resource["scopeSpans"][0]["spans"][0];
    assert_eq!((&span["name"], &span["kind"]), (&json!("checkout"), &json!("SPAN_KIND_SERVER")), "{answer}");
    assert_eq!(span["status"]["code"], "STATUS_CODE_ERROR", "{answer}");
}

#[test]
fn zipkin_sends_json() {
    foreign_client_sends("zipkin", "zipkin", "py_zipkin");
}

#[test]
fn zipkin_sends_protobuf() {
    foreign_client_sends("zipkin-proto", "zipkin", "py_zipkin");
}

#[test]
fn jaeger_sends_thrift_over_http() {
    foreign_client_sends("jaeger-http", "jaeger_http", "thrift, jaeger_client.thrift_gen.jaeger.ttypes");
}

#[test]
fn jaeger_sends_over_grpc() {
    foreign_client_sends("jaeger-grpc", "jaeger_grpc", "grpc, grpc_tools");
}
