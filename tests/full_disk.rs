//! The real process on a small file system of its own: it never fills it, and when others do, nothing is lost, reads go on,
//! and writes are refused until there is room. Skipped where this user may not mount a tmpfs.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a test of the real process in real time, which says what it did")]

#[path = "crash/client.rs"]
mod client;
mod support;

use base64::Engine;
use client::{Client, Outcome, Transport};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::Server;

const VOLUME_MIB: u64 = 64;

/// Room is noticed by then, on a busy machine, too.
const LIMIT: Duration = Duration::from_secs(30);

/// A tmpfs, unmounted when dropped.
struct Volume(PathBuf);

impl Volume {
    fn mount(at: &Path) -> Option<Volume> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={VOLUME_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Volume(at.to_owned()))
    }

    /// Writes until nothing more goes.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = fs::File::create(&path).unwrap();
        for piece in [vec![7; 1 << 20], vec![7; 1]] {
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Status and head of the answer.
fn post(server: &Server, listener: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address(listener)).unwrap();
    let head = format!("POST {path} HTTP/1.0\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), head)
}

const LINES: u64 = 10;

/// Some lines of 100 kB that do not compress well, at second `second`.
fn lines(service: &str, second: u64, noise: &mut u64) -> Vec<u8> {
    let mut line = || {
        let symbol = |noise: &mut u64| {
            *noise ^= *noise << 13;
            *noise ^= *noise >> 7;
            *noise ^= *noise << 17;
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(*noise >> 40) as usize % 64])
        };
        (0..100_000).map(|_| symbol(noise)).collect::<String>()
    };
    let record = |line: String, at: u64| serde_json::json!({"timeUnixNano": format!("{second}{at:09}"), "body": {"stringValue": line}});
    let records: Vec<_> = (0..LINES).map(|at| record(line(), at)).collect();
    let resource = serde_json::json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    serde_json::json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}).to_string().into_bytes()
}

/// Lines of a service in the seconds from `from` to before `to`.
fn count(server: &Server, service: &str, from: u64, to: u64) -> u64 {
    let range = to - from;
    let query = format!("sum(count_over_time(%7Bservice_name%3D%22{service}%22%7D%5B{range}s%5D))");
    // The range of a count is open at its start and closed at its end.
    let answer = server.get("loki", &format!("/loki/api/v1/query?query={query}&time={}999999999", to - 1));
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    answer.json()["data"]["result"][0]["value"][1].as_str().map_or(0, |n| n.parse().unwrap())
}

/// One write by each protocol over HTTP, at second `second`.
fn every_protocol(server: &Server, second: u64) -> Vec<(&'static str, u16, String)> {
    let time = format!("{second}000000000");
    let span = serde_json::json!({"traceId": format!("{second:032x}"), "spanId": format!("{second:016x}"), "name": "n",
        "startTimeUnixNano": time, "endTimeUnixNano": time});
    let traces = serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let point = serde_json::json!({"timeUnixNano": time, "asDouble": 1.5});
    let metrics = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "full_disk", "gauge": {"dataPoints": [point]}}]}]}]});
    let push = serde_json::json!({"streams": [{"stream": {"service_name": "pushed"}, "values": [[time, "line"]]}]}).to_string();
    // WriteRequest { timeseries { labels { __name__ = up }, samples { value = 1.0, timestamp } } }.
    let mut sample = vec![0x09];
    sample.extend(1f64.to_le_bytes());
    sample.push(0x10);
    let mut millis = second * 1000;
    while millis > 0 {
        sample.push((millis & 127) as u8 | if millis > 127 { 128 } else { 0 });
        millis >>= 7;
    }
    let field = |number: u8, inside: &[u8]| [&[number << 3 | 2, inside.len() as u8], inside].concat();
    let label = [field(1, b"__name__"), field(2, b"up")].concat();
    let series = [field(1, &label), field(2, &sample)].concat();
    let write = snap::raw::Encoder::new().compress_vec(&field(1, &series)).unwrap();
    let json = "application/json";
    let post = |name, listener, path, kind, body: &[u8]| {
        let (status, head) = post(server, listener, path, kind, body);
        (name, status, head)
    };
    vec![
        post("otlp traces", "otlp_http", "/v1/traces", json, traces.as_bytes()),
        post("otlp metrics", "otlp_http", "/v1/metrics", json, metrics.to_string().as_bytes()),
        post("loki push", "loki", "/loki/api/v1/push", json, push.as_bytes()),
        post("remote write", "prometheus", "/api/v1/write", "application/x-protobuf", &write),
    ]
}

/// One export of each signal over each transport of OTLP, as the SDKs make them.
fn every_transport(server: &Server, second: u64) -> Vec<(String, Transport, Outcome)> {
    let transports = [(Transport::Grpc, "otlp_grpc"), (Transport::Http, "otlp_http")];
    let export = |(transport, listener), signal| {
        let (signal, body) = client::request(signal, "exported", second * 1_000, &[0, 1]);
        let outcome = Client::connect(transport, server.address(listener)).unwrap().export(signal, body).unwrap();
        (format!("signal {signal} over {transport:?}"), transport, outcome)
    };
    transports.into_iter().flat_map(|by| (0..3).map(move |signal| export(by, signal))).collect()
}

/// The sender is told to come again: UNAVAILABLE with RetryInfo, 503 with Retry-After.
/// Source: OTLP specification, "Failures".
fn is_retryable(transport: Transport, outcome: &Outcome) -> bool {
    match transport {
        Transport::Http => outcome.status == "503" && !outcome.details.is_empty(),
        Transport::Grpc => {
            let details = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&outcome.details).unwrap();
            outcome.status == "14" && String::from_utf8_lossy(&details).contains("google.rpc.RetryInfo")
        }
    }
}

#[test]
fn the_volume_never_fills_because_of_us_and_a_full_one_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let Some(volume) = Volume::mount(&home.path().join("data")) else {
        println!("skipped: this user may not mount a tmpfs");
        return;
    };
    let server = Server::start(home.path(), &["--disk", "20GiB"]);
    let mut noise = 0x9E37_79B9_7F4A_7C15;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let base = now - 7_200;
    let mut send =
        |server: &Server, second: u64| post(server, "otlp_http", "/v1/logs", "application/json", &lines("full", second, &mut noise));

    // Twice as much as there is room for.
    let mut sent: Vec<u64> = Vec::new();
    let (mut second, mut refused, mut least_free) = (base, 0, u64::MAX);
    while (sent.len() as u64) < 2 * VOLUME_MIB {
        let (status, head) = send(&server, second);
        match status {
            200 => sent.push(second),
            _ => {
                assert_eq!((status, head.contains("retry-after")), (503, true), "{head}");
                refused += 1;
                assert!(refused < 1_000, "nothing goes any more; monocle said:\n{}", server.log());
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        second += 1;
        least_free = least_free.min(free_bytes(&volume.0));
    }
    let newest = sent[sent.len() - 15];
    let of_newest = sent.iter().filter(|s| **s >= newest).count() as u64 * LINES;
    assert_eq!(count(&server, "full", newest, second), of_newest, "the newest are all there");
    let all = count(&server, "full", base, second);
    assert!(all < sent.len() as u64 * LINES, "the oldest went");
    assert!(least_free > 0, "the volume was full");
    println!("{} MB sent, {refused} refused, {all} lines kept, never less than {} kB free", sent.len(), least_free >> 10);

    // Now others fill it.
    let ballast = volume.fill();
    let deadline = Instant::now() + LIMIT;
    while send(&server, second).0 == 200 {
        second += 1;
        assert!(Instant::now() < deadline, "a full disk is not noticed");
    }
    for (name, status, head) in every_protocol(&server, second) {
        // How long depends on what ran out first: the disk, or the memory of requests that wait for it.
        assert_eq!((status, head.contains("retry-after: ")), (503, true), "{name}: {head}");
    }
    for (name, transport, outcome) in every_transport(&server, second) {
        let said = format!("{name}: {} {}", outcome.status, outcome.details);
        assert!(!outcome.is_taken && is_retryable(transport, &outcome), "{said}");
    }
    let kept = count(&server, "full", base, second);
    assert!(kept >= of_newest, "reads go on");
    assert_eq!(server.get("prometheus", "/ready").status, 200);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(count(&server, "full", base, second), kept, "what others take makes nothing go");

    // And leave again.
    fs::remove_file(ballast).unwrap();
    let deadline = Instant::now() + LIMIT;
    second += 1;
    while send(&server, second).0 != 200 {
        assert!(Instant::now() < deadline, "writes do not resume; monocle said:\n{}", server.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    for (name, status, head) in every_protocol(&server, second) {
        assert!([200, 204].contains(&status), "{name}: {head}");
    }
    for (name, _, outcome) in every_transport(&server, second) {
        assert!(outcome.is_taken, "{name}: {} {}", outcome.status, outcome.details);
    }
    assert_eq!(count(&server, "full", second, second + 1), LINES);
    server.kill9();
    let server = Server::start(home.path(), &["--disk", "20GiB"]);
    assert_eq!(count(&server, "full", second, second + 1), LINES);
    // Two records, which came by two ways and are the same.
    assert_eq!(count(&server, "exported", second, second + 1), 2);
    assert!(server.stop().success());
    let verified = Command::new(env!("CARGO_BIN_EXE_monocle")).args(["verify", "--data"]).arg(&volume.0).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

fn free_bytes(path: &Path) -> u64 {
    let out = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(path).output().unwrap().stdout;
    String::from_utf8_lossy(&out).split_whitespace().map(|n| n.parse::<u64>().unwrap()).product()
}
