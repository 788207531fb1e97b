//! What OTLP brings is sent on: to a second monocle as the vendor, which is down for a while, and to vendors that refuse, ask to
//! wait, or do not answer at all.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};
use support::Server;

const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        sleep(Duration::from_millis(50));
    }
}

/// A port that nothing has at the moment.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

const RESOURCE: &str = r#""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]}"#;

fn log(text: &str) -> Vec<u8> {
    format!(
        r#"{{"resourceLogs":[{{{RESOURCE},"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"1773144000000000000","body":{{"stringValue":"{text}"}}}}]}}]}}]}}"#
    )
    .into_bytes()
}

fn send_log(server: &Server, text: &str) {
    let answer = server.post("otlp_http", "/v1/logs", "application/json", &log(text));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

fn lines(server: &Server) -> Vec<String> {
    let path =
        "/loki/api/v1/query_range?query=%7Bservice_name%3D%22shop%22%7D&start=1773143990000000000&end=1773144010000000000&limit=1000";
    let answer = server.get("loki", path).json();
    let streams = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let mut lines: Vec<String> = streams
        .iter()
        .flat_map(|s| s["values"].as_array().cloned().unwrap_or_default())
        .map(|v| v[1].as_str().unwrap_or_default().to_owned())
        .collect();
    lines.sort();
    lines
}

/// The value of one of monocle's own metrics, 0 if it is not there.
fn metric(server: &Server, line: &str) -> u64 {
    let text = String::from_utf8(server.get("prometheus", "/metrics").body).unwrap();
    let found = text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or(0)
}

#[test]
fn a_vendor_has_all_signals_and_gets_what_came_while_it_was_down() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let vendor = Server::start(far.path(), &["--otlp-http", &port]);
    let ours = Server::start_with(near.path(), &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    assert!(ours.log().contains(&format!("{endpoint}/v1/traces")), "said at start: {}", ours.log());
    send_log(&ours, "one");
    let span = format!(
        r#"{{"resourceSpans":[{{{RESOURCE},"scopeSpans":[{{"spans":[{{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
        "name":"pay","startTimeUnixNano":"1773144000000000000","endTimeUnixNano":"1773144000100000000"}}]}}]}}]}}"#
    );
    assert_eq!(ours.post("otlp_http", "/v1/traces", "application/json", span.as_bytes()).status, 200);
    let sample = format!(
        r#"{{"resourceMetrics":[{{{RESOURCE},"scopeMetrics":[{{"metrics":[{{"name":"temperature","gauge":{{"dataPoints":[
        {{"timeUnixNano":"1773144000000000000","asDouble":21.5}}]}}}}]}}]}}]}}"#
    );
    // The page's own port takes OTLP, too, and what comes there goes on as well.
    assert_eq!(ours.post("prometheus", "/v1/metrics", "application/json", sample.as_bytes()).status, 200);
    until("the log is at the vendor", || lines(&vendor) == ["one"]);
    until("so is the trace", || vendor.get("tempo", "/api/traces/0af7651916cd43dd8448eb211c80319c").status == 200);
    let asked = "/api/v1/query?query=temperature&time=1773144001";
    until("and the sample", || vendor.get("prometheus", asked).json()["data"]["result"][0]["value"][1] == "21.5");

    vendor.kill9();
    let refused = ours.post("otlp_http", "/v1/logs", "application/json", b"{\"resourceLogs\":7}");
    assert_eq!(refused.status, 400);
    send_log(&ours, "two");
    send_log(&ours, "three");
    until("that it is down is said", || ours.log().contains("forwarding fails"));
    let vendor = Server::start(far.path(), &["--otlp-http", &port]);
    until("what came meanwhile is there", || lines(&vendor) == ["one", "three", "two"]);
    until("and that is said", || ours.log().contains("forwarding works again"));
    assert_eq!(metric(&ours, "monocle_forward_requests_total{signal=\"logs\"}"), 3);
    assert!(metric(&ours, "monocle_forward_retries_total{signal=\"logs\"}") > 0);
    assert!(ours.stop().success());
    assert_eq!(lines(&vendor), ["one", "three", "two"]);
}

/// A vendor that answers each request with the next of `answers`, the last one for ever, and hands over what came.
fn fake(answers: &'static [&'static str]) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = channel();
    spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let Ok(request) = read_request(stream.as_ref().unwrap()) else { continue };
            let answer = answers[n.min(answers.len() - 1)];
            let _ = stream.unwrap().write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
            if tell.send(request).is_err() {
                return;
            }
        }
    });
    (address, told)
}

fn read_request(mut stream: &TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let (mut all, mut buffer) = (Vec::new(), [0; 65_536]);
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(std::io::Error::other("ended early"));
        }
        all.extend_from_slice(&buffer[..n]);
        let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned));
        let length: usize = length.and_then(|l| l.parse().ok()).unwrap_or(0);
        if all.len() >= end + 4 + length {
            return Ok((head, all[end + 4..].to_vec()));
        }
    }
}

/// To a monocle's port for gRPC, and over HTTP for one of the signals.
#[test]
fn grpc_and_http_may_be_mixed_by_signal() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let vendor = Server::start(far.path(), &["--otlp-grpc", &port]);
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*format!("http://127.0.0.1:{port}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &*vendor.url("otlp_http")),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf"),
    ];
    let ours = Server::start_with(near.path(), &[], &variables);
    send_log(&ours, "one");
    until("the log is at the vendor", || lines(&vendor) == ["one"]);
    let sample = format!(
        r#"{{"resourceMetrics":[{{{RESOURCE},"scopeMetrics":[{{"metrics":[{{"name":"temperature","gauge":{{"dataPoints":[
        {{"timeUnixNano":"1773144000000000000","asDouble":21.5}}]}}}}]}}]}}]}}"#
    );
    assert_eq!(ours.post("otlp_http", "/v1/metrics", "application/json", sample.as_bytes()).status, 200);
    let asked = "/api/v1/query?query=temperature&time=1773144001";
    until("and the sample", || vendor.get("prometheus", asked).json()["data"]["result"][0]["value"][1] == "21.5");
    vendor.kill9();
    send_log(&ours, "two");
    until("that it is down is said", || ours.log().contains("forwarding fails"));
    let vendor = Server::start(far.path(), &["--otlp-grpc", &port]);
    until("what came meanwhile is there", || lines(&vendor) == ["one", "two"]);
    // Loki's way in for OTLP is one, too.
    assert_eq!(ours.post("loki", "/otlp/v1/logs", "application/json", &log("three")).status, 204);
    until("and what came there", || lines(&vendor) == ["one", "three", "two"]);
    assert!(ours.stop().success());
}

#[test]
fn requests_go_as_they_came_with_the_headers_that_the_vendor_wants() {
    let home = tempfile::tempdir().unwrap();
    let (vendor, told) = fake(&["503 Service Unavailable\r\nRetry-After: 1", "200 OK", "401 Unauthorized", "200 OK"]);
    let variables = [
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &*format!("http://{vendor}/in/logs")),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20c2VjcmV0,x-team=shop"),
    ];
    let ours = Server::start_with(home.path(), &[], &variables);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&log("packed")).unwrap();
    let packed = gzip.finish().unwrap();
    let sent = Instant::now();
    post_packed(ours.address("otlp_http"), &packed);
    let (head, body) = told.recv_timeout(PATIENCE).unwrap();
    let lower = head.to_ascii_lowercase();
    assert!(head.starts_with("POST /in/logs HTTP/1.1"), "{head}");
    for header in
        ["authorization: basic c2vjcmv0", "x-team: shop", "content-type: application/json", "content-encoding: gzip", "via: 1.1 monocle-"]
    {
        assert!(lower.contains(header), "{header} in {head}");
    }
    assert_eq!(body, packed, "to the byte");
    let (again, _) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(again, head);
    assert!(sent.elapsed() >= Duration::from_secs(1), "the vendor's wait is kept");
    send_log(&ours, "refused");
    told.recv_timeout(PATIENCE).unwrap();
    until("a refusal is counted", || metric(&ours, "monocle_forward_dropped_total{signal=\"logs\",reason=\"refused\"}") == 1);
    assert!(ours.log().contains("401 Unauthorized"), "{}", ours.log());
    assert!(!ours.log().contains("c2Vj"), "keys are not logged");
    send_log(&ours, "after");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().1, log("after"));
}

fn post_packed(address: &str, body: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "POST /v1/logs HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}

#[test]
fn a_vendor_that_does_not_answer_holds_up_nobody() {
    let home = tempfile::tempdir().unwrap();
    // It takes connections, in the kernel's backlog, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    // A queue of a thirty-second of it.
    let ours = Server::start_with(home.path(), &["--memory", "256MiB"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let long = "x".repeat(200_000);
    for n in 0..60 {
        send_log(&ours, &format!("{n} {long}"));
    }
    let dropped = || metric(&ours, "monocle_forward_dropped_total{signal=\"logs\",reason=\"queue_full\"}");
    assert!((17..=21).contains(&dropped()), "{} of 60 did not fit", dropped());
    assert!(ours.log().contains("the queue is full"));
    assert_eq!(lines(&ours).len(), 60);
    let stopping = Instant::now();
    assert!(ours.stop().success());
    assert!(stopping.elapsed() < Duration::from_secs(20));
}

#[test]
fn nothing_is_sent_in_a_circle() {
    let home = tempfile::tempdir().unwrap();
    let port = free_port();
    let ours =
        Server::start_with(home.path(), &["--otlp-http", &port], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://localhost:{port}"))]);
    assert!(ours.log().contains("that is this monocle itself"), "{}", ours.log());
    send_log(&ours, "once");
    assert_eq!(metric(&ours, "monocle_ingest_requests_total{signal=\"logs\"}"), 1);
    drop(ours);

    // Two that send to each other: what comes back is known by its Via header.
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (port_a, port_b) = (free_port(), free_port());
    let to = |port: &str| format!("http://127.0.0.1:{port}");
    let a = Server::start_with(a.path(), &["--otlp-http", &port_a], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &to(&port_b))]);
    let b = Server::start_with(b.path(), &["--otlp-http", &port_b], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &to(&port_a))]);
    send_log(&a, "round");
    until("it is stopped", || metric(&a, "monocle_forward_dropped_total{signal=\"logs\",reason=\"loop\"}") == 1);
    assert_eq!((lines(&a), lines(&b)), (vec!["round".to_owned()], vec!["round".to_owned()]));
    assert_eq!(metric(&b, "monocle_ingest_requests_total{signal=\"logs\"}"), 1);
}
