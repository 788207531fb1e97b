//! Starts the real binary for tests that ask it from outside, as its users do, and speaks plain HTTP to it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A debug build on a busy machine may take its time to replay.
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// A running monocle on free ports of 127.0.0.1. Killed when dropped.
pub struct Server {
    child: Child,
    home: PathBuf,
    addresses: serde_json::Value,
}

/// What a listener answered.
pub struct Answer {
    pub status: u16,
    /// Its headers, in lower case.
    #[allow(dead_code, reason = "each test program has this module for itself, and not all look at headers")]
    pub head: String,
    pub body: Vec<u8>,
}

impl Server {
    /// Starts the binary in `home` (data in `home/data`, output in `home/log`) with `flags` after those that every test
    /// needs, and returns when it is ready.
    pub fn start(home: &Path, flags: &[&str]) -> Server {
        Server::start_with(home, flags, &[])
    }

    /// As [`Server::start`], with variables.
    pub fn start_with(home: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut server = Server::spawn(home, flags, variables);
        server.wait_ready(&home.join("data").join("addresses.json"));
        server
    }

    /// As [`Server::start_with`], but does not wait: nothing can be asked of it, but it can be killed while it starts. A listener that
    /// `flags` name is where they say, every other one on a free port.
    pub fn spawn(home: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Server {
        let listeners = ["--otlp-grpc", "--otlp-http", "--prometheus", "--loki", "--tempo", "--web"];
        let free = listeners.iter().filter(|listener| !flags.contains(listener)).flat_map(|flag| [*flag, "0"]);
        let data = home.join("data");
        // A file of the run before would give its ports, not ours.
        let _ = fs::remove_file(data.join("addresses.json"));
        let log = || OpenOptions::new().create(true).append(true).open(home.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_monocle"))
            .args(["serve", "--listen", "127.0.0.1", "--retention", "off", "--data"])
            .arg(&data)
            .args(free)
            .args(flags)
            .current_dir(home)
            .env_clear()
            // Of a server that only tests have.
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout::<File>(log())
            .stderr::<File>(log())
            .spawn()
            .unwrap();
        Server { child, home: home.to_owned(), addresses: serde_json::Value::Null }
    }

    fn wait_ready(&mut self, addresses: &Path) {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("monocle ended ({status}) before it was ready; it said:\n{}", self.log());
            }
            if self.addresses.is_null() {
                let text = fs::read(addresses).unwrap_or_default();
                // Perhaps half written: then it is read again.
                self.addresses = serde_json::from_slice(&text).unwrap_or_default();
            } else if self.try_ask("GET", "prometheus", "/ready", None).is_ok_and(|a| a.status == 200) {
                return;
            }
            assert!(Instant::now() < deadline, "monocle is not ready after {START_LIMIT:?}; it said:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Its number in `/proc`.
    #[allow(dead_code, reason = "each test program has this module for itself, and not all look at the process")]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// `HOST:PORT` of a listener, by its key in `addresses.json`: `otlp_grpc`, `otlp_http`, `prometheus`, `loki`, `tempo`, `web`.
    pub fn address(&self, listener: &str) -> &str {
        self.addresses[listener].as_str().unwrap_or_else(|| panic!("no listener {listener} in {}", self.addresses))
    }

    pub fn url(&self, listener: &str) -> String {
        format!("http://{}", self.address(listener))
    }

    /// The path holds its query, percent-encoded.
    pub fn get(&self, listener: &str, path: &str) -> Answer {
        self.try_ask("GET", listener, path, None).unwrap_or_else(|e| panic!("GET {listener} {path}: {e}; monocle said:\n{}", self.log()))
    }

    pub fn post(&self, listener: &str, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.try_ask("POST", listener, path, Some((content_type, body)))
            .unwrap_or_else(|e| panic!("POST {listener} {path}: {e}; monocle said:\n{}", self.log()))
    }

    /// HTTP/1.0, so that the body simply ends where the connection does. An error is one of the connection: a crash test may
    /// expect it.
    pub fn try_ask(&self, method: &str, listener: &str, path: &str, body: Option<(&str, &[u8])>) -> std::io::Result<Answer> {
        ask_at(self.address(listener), method, path, body)
    }

    /// Ends it as a power cut does, as far as a process can.
    pub fn kill9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        // The shell's own `kill` is there wherever a shell is.
        let sent = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "monocle has not stopped after {STOP_LIMIT:?}; it said:\n{}", self.log());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`Server::try_ask`], of any server at `HOST:PORT`.
pub fn ask_at(address: &str, method: &str, path: &str, body: Option<(&str, &[u8])>) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let (content_type, body) = body.unwrap_or(("text/plain", b""));
    let head =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| std::io::Error::other(format!("not an HTTP answer: {:?}", String::from_utf8_lossy(&answer))))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let status = std::str::from_utf8(&answer[..end]).ok()?.split(' ').nth(1)?.parse().ok()?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    Some(Answer { status, head, body: answer[end + 4..].to_vec() })
}

impl Answer {
    /// The body as JSON; panics with the body if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

/// One log line over OTLP is there after a kill, and after a clean stop. Every test program that uses this module runs this
/// first, so a server that does not start at all is told apart from what the program is about.
#[test]
fn the_binary_starts_survives_and_stops() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let body = br#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"smoke"}}]},
        "scopeLogs":[{"logRecords":[{"timeUnixNano":"1773144000000000000","body":{"stringValue":"still here"}}]}]}]}"#;
    let answer = server.post("otlp_http", "/v1/logs", "application/json", body);
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let line = |server: &Server| {
        let path = "/loki/api/v1/query_range?query=%7Bservice_name%3D%22smoke%22%7D&start=1773143990000000000&end=1773144010000000000";
        server.get("loki", path).json()["data"]["result"][0]["values"][0][1].clone()
    };
    assert_eq!(line(&server), "still here");
    server.kill9();
    let server = Server::start(home.path(), &[]);
    assert_eq!(line(&server), "still here");
    assert!(server.url("loki").starts_with("http://127.0.0.1:"));
    assert!(server.stop().success());
    let server = Server::start(home.path(), &[]);
    assert_eq!(line(&server), "still here");
}
