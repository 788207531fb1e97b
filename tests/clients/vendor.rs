//! What OTLP brings is sent on to a vendor that speaks gRPC with TLS, as Python's own gRPC has it.

use super::support::Server;
use super::{installed, python};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Vendor {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    port: u64,
}

impl Vendor {
    fn start(home: &Path) -> Vendor {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/vendor.py");
        let mut child = python().arg(script).arg(home).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut vendor = Vendor { child, lines, port: 0 };
        vendor.port = vendor.next()["port"].as_u64().unwrap();
        vendor
    }

    /// The next call that it had.
    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(text: &str) -> Vec<u8> {
    let body = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": text}}]}]}]});
    body.to_string().into_bytes()
}

#[test]
fn a_vendor_gets_all_signals_over_grpc_with_tls() {
    if !installed("grpc, cryptography, google.rpc.status_pb2, opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut vendor = Vendor::start(home.path());
    let file = |name: &str| home.path().join(name).display().to_string();
    let variables = [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*format!("localhost:{}", vendor.port)),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret,x-team=a%20b"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &file("ca.pem")),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &file("client.pem")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &file("client.key")),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "20000"),
    ];
    let data = tempfile::tempdir().unwrap();
    let ours = Server::start_with(data.path(), &[], &variables);
    let send = |listener: &str, path: &str, body: &[u8]| {
        let answer = ours.post(listener, path, "application/json", body);
        assert!(matches!(answer.status, 200 | 204), "{path}: {}", String::from_utf8_lossy(&answer.body));
    };
    let sent = Instant::now();
    send("otlp_http", "/v1/logs", &log("first"));
    let first = vendor.next();
    assert_eq!(first["said"], json!(["first"]));
    assert_eq!((&first["metadata"]["api-key"], &first["metadata"]["x-team"]), (&json!("s3cret"), &json!("a b")));
    assert!(first["metadata"]["via"].as_str().unwrap().contains("monocle-"), "{first}");
    assert!(first["metadata"]["user-agent"].as_str().unwrap().starts_with("monocle/"), "{first}");
    let left = first["seconds"].as_f64().unwrap();
    assert!((10.0..=20.0).contains(&left), "the deadline is told: {left} s");
    assert_eq!(vendor.next()["said"], json!(["first"]));
    assert!(sent.elapsed() >= Duration::from_secs(1), "the wait that it asks for is kept");
    assert!(ours.log().contains("it answers UNAVAILABLE: warming up"), "{}", ours.log());

    send("otlp_http", "/v1/logs", &log("refused"));
    assert_eq!(vendor.next()["said"], json!(["refused"]));
    // Loki's way in for OTLP is one, too.
    send("loki", "/otlp/v1/logs", &log("by loki's path"));
    assert_eq!(vendor.next()["said"], json!(["by loki's path"]));
    assert!(ours.log().contains("it answers UNAUTHENTICATED: no such key: ä"), "a refusal is not tried again: {}", ours.log());
    let span = json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
        "name": "pay", "startTimeUnixNano": "1773144000000000000", "endTimeUnixNano": "1773144000100000000"}]}]}]});
    send("otlp_http", "/v1/traces", span.to_string().as_bytes());
    assert_eq!(vendor.next()["said"], json!(["0af7651916cd43dd8448eb211c80319c"]));
    let point = json!({"timeUnixNano": "1773144000000000000", "asDouble": 21.5});
    let metric = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "temperature", "gauge": {"dataPoints": [point]}}]}]}]});
    send("otlp_http", "/v1/metrics", metric.to_string().as_bytes());
    assert_eq!(vendor.next()["said"], json!(["temperature"]));
    assert!(!ours.log().contains("s3cret"), "keys are not logged");
    assert!(ours.stop().success());
}
