//! A bucket over HTTP: a real S3 server (moto) behind a proxy of our own that is slow, refuses, cuts connections and changes
//! bytes. Everything that was acknowledged is answered, from here or from the bucket alone.
//!
//! Needs `moto[s3,server]` in the Python that `MONOCLE_PYTHON` names, or in `~/.cache/monocle-venv`; without it the tests say
//! so and skip, and under `MONOCLE_CLIENTS=required` they fail.

#[path = "bucket/moto.rs"]
mod moto;
#[path = "bucket/proxy.rs"]
mod proxy;
#[path = "bucket/sql.rs"]
mod sql;
mod support;
#[path = "bucket/tls.rs"]
mod tls;

use moto::Moto;
use proxy::{Fault, Proxy};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::Server;

const WAIT: Duration = Duration::from_secs(60);

fn start(home: &Path, endpoint: &str, prefix: &str, flags: &[&str]) -> Server {
    let (url, endpoint) = (format!("s3://bucket/{prefix}"), format!("http://{endpoint}"));
    let flags = [&["--s3", &url, "--s3-endpoint", &endpoint, "--s3-region", "us-east-1"][..], flags].concat();
    Server::start(home, &flags)
}

const FROM: u64 = 1_773_144_000;

/// `count` lines of stream `{part="…"}`, one a second.
fn push(server: &Server, part: &str, count: u64) {
    let values: Vec<String> = (0..count).map(|n| format!(r#"["{}","{part} line {n}"]"#, (FROM + n) * 1_000_000_000)).collect();
    let body = format!(r#"{{"streams":[{{"stream":{{"part":"{part}"}},"values":[{}]}}]}}"#, values.join(","));
    let answer = server.post("loki", "/loki/api/v1/push", "application/json", body.as_bytes());
    assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
}

/// Of a large line.
const LARGE_BYTES: usize = 100_000;

/// Lines of noise, which does not compress to less than three quarters.
fn push_large(server: &Server, part: &str, count: u64) {
    let mut noise = 0x9E37_79B9_7F4A_7C15u64;
    let mut line = || {
        let symbols = (0..LARGE_BYTES).map(|_| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[(noise >> 40) as usize % 64])
        });
        symbols.collect::<String>()
    };
    for first in (0..count).step_by(50) {
        let values: Vec<_> =
            (first..count.min(first + 50)).map(|n| serde_json::json!([format!("{}000000000", FROM + n), line()])).collect();
        let body = serde_json::json!({"streams": [{"stream": {"part": part}, "values": values}]}).to_string();
        let answer = server.post("loki", "/loki/api/v1/push", "application/json", body.as_bytes());
        assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
    }
}

fn ask(server: &Server, part: &str) -> serde_json::Value {
    let path = format!(
        "/loki/api/v1/query_range?query=%7Bpart%3D%22{part}%22%7D&start={}&end={}&limit=5000",
        (FROM - 10) * 1_000_000_000,
        (FROM + 10_000) * 1_000_000_000
    );
    server.get("loki", &path).json()
}

fn lines(server: &Server, part: &str) -> usize {
    let answer = ask(server, part);
    let streams = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    streams.iter().map(|stream| stream["values"].as_array().unwrap().len()).sum()
}

fn flush(server: &Server) {
    let answer = server.post("prometheus", "/-/flush", "text/plain", b"");
    assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = String::from_utf8(server.get("prometheus", "/metrics").body).unwrap();
    let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    let values = text.lines().filter(is_it).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

fn until(what: &str, server: &Server, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not after {WAIT:?}; monocle said:\n{}", server.log());
        sleep(Duration::from_millis(50));
    }
}

/// Returns when so many blocks were uploaded and none has waited for two seconds: one that was merged meanwhile counts, too, and
/// is perhaps not the one that is waited for.
fn uploaded(server: &Server, blocks: f64) {
    until("upload", server, || metric(server, "monocle_bucket_uploaded_blocks_total") >= blocks);
    let mut idle = 0;
    until("upload of all", server, || {
        idle = if metric(server, "monocle_bucket_waiting_blocks") == 0.0 { idle + 1 } else { 0 };
        idle > 40
    });
}

fn lose(home: &Path) {
    fs::remove_dir_all(home.join("data")).unwrap();
}

#[test]
fn the_bucket_alone_gives_everything_back_whatever_happened_on_the_way_up() {
    let Some(moto) = Moto::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&moto.address);
    let server = start(home.path(), &proxy.address, "up", &[]);
    for (part, fault) in [
        ("slow", Fault::Slow),
        ("busy", Fault::Busy),
        ("cut", Fault::CutRequests),
        ("lost", Fault::CutAnswers),
        ("wrong", Fault::WrongRequests),
    ] {
        let before = metric(&server, "monocle_bucket_uploaded_blocks_total");
        proxy.set(fault);
        push(&server, part, 500);
        flush(&server);
        until("fault", &server, || proxy.hits(fault) >= 3);
        assert_eq!(lines(&server, part), 500, "ingest and queries do not mind: {part}");
        proxy.set(Fault::None);
        uploaded(&server, before + 1.0);
    }
    // Killed, so that nothing is put in order at the end.
    server.kill9();
    lose(home.path());
    let server = start(home.path(), &proxy.address, "up", &[]);
    for part in ["slow", "busy", "cut", "lost", "wrong"] {
        assert_eq!(lines(&server, part), 500, "{part}");
    }
    assert!(server.stop().success());
}

#[test]
fn reads_survive_what_a_network_does() {
    let Some(moto) = Moto::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&moto.address);
    let server = start(home.path(), &proxy.address, "reads", &[]);
    push(&server, "far", 2_000);
    assert!(server.stop().success(), "a stop in order uploads what it has cut");
    for fault in [Fault::Slow, Fault::SometimesBusy, Fault::SometimesCutAnswers, Fault::SometimesWrongAnswers] {
        lose(home.path());
        let server = start(home.path(), &proxy.address, "reads", &[]);
        proxy.set(fault);
        assert_eq!(lines(&server, "far"), 2_000, "{fault:?}");
        assert!(proxy.hits(fault) >= 1, "{fault:?} was not met");
        proxy.set(Fault::None);
        assert!(server.stop().success());
    }
}

#[test]
fn a_bucket_that_is_down_is_said_and_comes_back() {
    let Some(moto) = Moto::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&moto.address);
    let server = start(home.path(), &proxy.address, "down", &[]);
    push(&server, "far", 100);
    assert!(server.stop().success());
    lose(home.path());
    let server = start(home.path(), &proxy.address, "down", &[]);
    proxy.set(Fault::Refuse);
    until("noticed", &server, || metric(&server, "monocle_bucket_up") == 0.0);
    push(&server, "near", 100);
    flush(&server);
    let asked = Instant::now();
    assert_eq!(lines(&server, "near"), 100);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let answer = ask(&server, "far");
    assert!(answer["warnings"][0].as_str().is_some_and(|text| text.contains("bucket does not answer")), "{answer}");
    let path = format!("/api/v1/query?query=up&time={FROM}");
    assert_eq!(server.get("prometheus", &path).status, 200);
    proxy.set(Fault::None);
    until("back", &server, || metric(&server, "monocle_bucket_up") == 1.0);
    assert_eq!(lines(&server, "far"), 100);
    assert!(ask(&server, "far")["warnings"].is_null());
    uploaded(&server, 1.0);
    assert!(!server.log().contains("the clock of this machine"), "{}", server.log());
    server.kill9();
    proxy.set(Fault::OldDates);
    let server = start(home.path(), &proxy.address, "down", &[]);
    assert!(server.log().contains("the clock of this machine is ahead of the bucket's"), "{}", server.log());
    server.kill9();
}

#[test]
fn two_data_directories_never_mix() {
    let Some(moto) = Moto::start() else { return };
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let owner = start(first.path(), &moto.address, "mine", &[]);
    push(&owner, "one", 10);
    // A directory of its own with data, and an empty one while the owner lives.
    let other = Server::start(second.path(), &[]);
    push(&other, "two", 10);
    assert!(other.stop().success());
    let said = refused(second.path(), &moto.address, "mine");
    assert!(said.contains("belongs to another data directory"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let said = refused(empty.path(), &moto.address, "mine");
    assert!(said.contains("in use by another running monocle"), "{said}");
    assert!(owner.stop().success());
    let owner = start(empty.path(), &moto.address, "mine", &[]);
    assert_eq!(lines(&owner, "one"), 10);
    let said = refused(first.path(), &moto.address, "mine");
    assert!(said.contains("belongs to another data directory"), "{said}");
    assert!(owner.stop().success());
}

/// What a start says that ends at once.
fn refused(home: &Path, endpoint: &str, prefix: &str) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_monocle"))
        .args(["serve", "--listen", "127.0.0.1", "--data"])
        .arg(home.join("data"))
        .args(["--s3", &format!("s3://bucket/{prefix}"), "--s3-endpoint", &format!("http://{endpoint}")])
        .args(["--otlp-grpc", "--otlp-http", "--prometheus", "--loki", "--tempo", "--web"].iter().flat_map(|flag| [*flag, "0"]))
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .output()
        .unwrap();
    assert!(!done.status.success());
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn killed_during_uploads_it_loses_nothing_and_leaves_no_half_block() {
    let Some(moto) = Moto::start() else { return };
    let home = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(&moto.address);
    let rounds: u64 = std::env::var("MONOCLE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    for round in 0..rounds {
        let server = start(home.path(), &proxy.address, "kill", &[]);
        until("owned", &server, || metric(&server, "monocle_bucket_owned") == 1.0);
        let served = proxy.served();
        push(&server, &format!("round{round}"), 300);
        flush(&server);
        // Each time a request later: HEAD and PUT of each file, then meta.json.
        until("request", &server, || proxy.served() >= served + 1 + round as usize);
        server.kill9();
    }
    let server = start(home.path(), &proxy.address, "kill", &[]);
    until("owned", &server, || metric(&server, "monocle_bucket_owned") == 1.0);
    for round in 0..rounds {
        assert_eq!(lines(&server, &format!("round{round}")), 300);
    }
    until("all up", &server, || moto.keys("kill/blocks/").iter().filter(|key| key.ends_with("meta.json")).count() == rounds as usize);
    assert!(server.stop().success());
    lose(home.path());
    let server = start(home.path(), &proxy.address, "kill", &[]);
    for round in 0..rounds {
        assert_eq!(lines(&server, &format!("round{round}")), 300, "from the bucket alone");
    }
}

/// Of one upload: HEAD, PUT and HEAD of each file, `meta.json`, and those of the owner between them.
const REQUESTS: usize = 12;

/// A block a request: the first one goes up while its first request fails, the next one while its second does.
#[test]
fn each_request_of_an_upload_may_fail_and_the_bucket_alone_gives_everything_back() {
    let Some(moto) = Moto::start() else { return };
    let faults = [Fault::Busy, Fault::CutRequests, Fault::CutAnswers, Fault::WrongRequests];
    let points: usize = std::thread::scope(|scope| {
        let threads = faults.map(|fault| {
            let address = moto.address.clone();
            scope.spawn(move || each_request_meets(fault, &address))
        });
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    eprintln!("{points} requests to the bucket failed");
    assert!(points >= 20);
}

fn each_request_meets(fault: Fault, moto: &str) -> usize {
    let home = tempfile::tempdir().unwrap();
    let (proxy, prefix) = (Proxy::start(moto), format!("each{fault:?}"));
    let server = start(home.path(), &proxy.address, &prefix, &[]);
    until("owned", &server, || metric(&server, "monocle_bucket_owned") == 1.0);
    let mut points = 0;
    for number in 0..REQUESTS {
        let before = metric(&server, "monocle_bucket_uploaded_blocks_total");
        push(&server, &format!("part{number}"), 20);
        proxy.strike(fault, number + 1);
        flush(&server);
        until("upload", &server, || metric(&server, "monocle_bucket_uploaded_blocks_total") > before);
        points += proxy.hits(fault);
        proxy.set(Fault::None);
    }
    until("upload of all", &server, || metric(&server, "monocle_bucket_waiting_blocks") == 0.0);
    for part in 0..REQUESTS {
        assert_eq!(lines(&server, &format!("part{part}")), 20, "{fault:?}");
    }
    server.kill9();
    lose(home.path());
    let server = start(home.path(), &proxy.address, &prefix, &[]);
    for part in 0..REQUESTS {
        assert_eq!(lines(&server, &format!("part{part}")), 20, "from the bucket alone, {fault:?}");
    }
    server.kill9();
    points
}
