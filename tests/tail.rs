//! Tails of a running monocle with a WebSocket client: one that reads has every line, one that does not is told what it
//! missed and holds nobody up, and there are only so many.

mod support;

use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::time::Duration;
use support::Server;
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

const LINE_BYTES: usize = 2_000;
const LINES: u64 = 500;
const REQUESTS: u64 = 60;
/// Nobody waits longer for a frame.
const PATIENCE: Duration = Duration::from_secs(60);

async fn tail(server: &Server, query: &str) -> Client {
    let query: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    let url = format!("ws://{}/loki/api/v1/tail?query={query}&start=0", server.address("loki"));
    connect_async(url).await.unwrap().0
}

/// The next text, or the reason for which the server closes.
async fn next(client: &mut Client) -> Result<serde_json::Value, String> {
    loop {
        match tokio::time::timeout(PATIENCE, client.next()).await.unwrap().unwrap().unwrap() {
            Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => return Err(frame.unwrap().reason.to_string()),
            _ => {}
        }
    }
}

/// What a client was sent up to the line that begins with the word `end`: the first word of each line, and how many entries it
/// was told by name that it missed.
async fn read_to(client: &mut Client, end: &str) -> (Vec<String>, usize) {
    let (mut words, mut named) = (Vec::new(), 0);
    loop {
        let frame = next(client).await.unwrap();
        named += frame["dropped_entries"].as_array().map_or(0, Vec::len);
        for stream in frame["streams"].as_array().unwrap() {
            let line = stream["values"][0][1].as_str().unwrap();
            words.push(line.split(' ').next().unwrap().to_owned());
        }
        if words.iter().any(|word| word == end) {
            return (words, named);
        }
    }
}

/// Pushes lines whose times begin `second` seconds after noon.
fn push(server: &Server, second: u64, lines: impl Iterator<Item = String>) {
    let values: Vec<_> = lines
        .enumerate()
        .map(|(n, line)| serde_json::json!([(1_773_144_000_000_000_000 + second * 1_000_000_000 + n as u64).to_string(), line]))
        .collect();
    let body = serde_json::json!({ "streams": [{ "stream": { "app": "x" }, "values": values }] });
    let answer = server.post("loki", "/loki/api/v1/push", "application/json", body.to_string().as_bytes());
    assert_eq!(answer.status, 204, "{}", String::from_utf8_lossy(&answer.body));
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = String::from_utf8(server.get("prometheus", "/metrics").body).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_has_all_and_who_does_not_is_told_and_holds_nobody_up() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--tails-max", "2"]);
    let mut silent = tail(&server, r#"{app="x"}"#).await;
    let mut reading = tail(&server, r#"{app="x"} |= "7-""#).await;
    // Both are there: the third is one too many.
    while metric(&server, "monocle_tails") < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = next(&mut tail(&server, r#"{app="x"}"#).await).await.unwrap_err();
    assert_eq!(refused, "max concurrent tail requests limit exceeded, count > limit (3 > 2)");
    let mut wanted = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for request in 0..REQUESTS {
        let line = |n: u64| format!("{}-{n} {}", n % 10, "x".repeat(LINE_BYTES));
        let numbers = request * LINES..(request + 1) * LINES;
        let end = format!("7-end-{request}");
        block_in_place(|| push(&server, request, numbers.clone().map(line).chain([end.clone()])));
        let (words, named) = read_to(&mut reading, &end).await;
        assert_eq!(named, 0);
        seen.extend(words);
        wanted.extend(numbers.filter(|n| n % 10 == 7).map(|n| format!("7-{n}")).chain([end]));
    }
    assert_eq!(seen, wanted);
    let all = REQUESTS * (LINES + 1);
    assert!(metric(&server, "monocle_tail_missed_entries_total") > all / 2, "60 MB fit nowhere");
    // Once the silent one reads, it has what waited for it, is told what it missed, and has what comes then.
    let (mut held, mut named) = (BTreeSet::new(), 0);
    for round in 0.. {
        let word = format!("after-{round}");
        block_in_place(|| push(&server, REQUESTS + round, [word].into_iter()));
        let frame = next(&mut silent).await.unwrap();
        named += frame["dropped_entries"].as_array().map_or(0, Vec::len);
        let streams = frame["streams"].as_array().unwrap();
        held.extend(streams.iter().map(|s| s["values"][0][1].as_str().unwrap().split(' ').next().unwrap().to_owned()));
        if held.iter().any(|word| word.starts_with("after-")) {
            break;
        }
    }
    let (after, before): (Vec<&String>, Vec<&String>) = held.iter().partition(|word| word.starts_with("after-"));
    assert!(named > 0 && !after.is_empty());
    let missed = metric(&server, "monocle_tail_missed_entries_total");
    assert!(before.len() as u64 + missed >= all, "{} were read and {missed} missed of {all}", before.len());
}
