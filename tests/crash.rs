//! Kills the process with SIGKILL at random moments while OTLP clients send over gRPC and HTTP, starts it again, and
//! looks for every acknowledged item through the three APIs: each must be there, none twice.
//!
//! `MONOCLE_KILLS=300 cargo test --test crash` for more than the 30 kills of an ordinary run.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a test of the real process in real time, which says what it did")]

#[path = "crash/client.rs"]
mod client;
mod support;

use client::{Client, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::Server;

/// What one client sent under one service name: item numbers that were sent, and those that were acknowledged.
#[derive(Debug, Default, Clone)]
struct Ledger {
    sent: BTreeSet<u64>,
    acknowledged: BTreeSet<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Signal {
    Metrics,
    Logs,
    Traces,
}

const SIGNALS: [Signal; 3] = [Signal::Metrics, Signal::Logs, Signal::Traces];

/// Items in a request: enough that a request which is stored in part would be noticed.
const ITEMS: u64 = 7;

type Ledgers = BTreeMap<(Signal, String), Ledger>;

#[test]
fn every_acknowledged_item_survives_sigkill_and_none_is_doubled() {
    let kills: u64 = std::env::var("MONOCLE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    let home = tempfile::tempdir().unwrap();
    // Each round has a window of time of its own, none of them in the future; each item is a millisecond of its own.
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let base_of = |round: u64| now_ms - (kills + 1 - round) * WINDOW_S * 1000;
    let mut all: Vec<Ledgers> = Vec::new();
    let mut total = 0;
    for round in 0..kills {
        // A short age makes cuts, and so kills in the middle of them, frequent.
        let server = Server::start(home.path(), &["--cut-after", "300ms"]);
        let ledgers = load_until_killed(server, round, base_of(round));
        let acknowledged: usize = ledgers.values().map(|l| l.acknowledged.len()).sum();
        total += acknowledged;
        if round.is_multiple_of(3) {
            // Killed again while it replays.
            let server = Server::spawn(home.path(), &["--cut-after", "300ms"], &[]);
            std::thread::sleep(Duration::from_millis(random_below(80)));
            server.kill9();
        }
        let server = Server::start(home.path(), &["--cut-after", "300ms"]);
        check(&server, &ledgers, base_of(round), round);
        // Everything of a round some way back: cuts and kills since then must not have touched it.
        if let Some(old) = round.checked_sub(5) {
            check(&server, &all[old as usize], base_of(old), round);
        }
        all.push(ledgers);
        server.kill9();
    }
    let check_all = |server: &Server| (0..).zip(&all).for_each(|(round, ledgers)| check(server, ledgers, base_of(round), kills));
    let server = Server::start(home.path(), &[]);
    check_all(&server);
    assert!(server.stop().success());
    let server = Server::start(home.path(), &[]);
    check_all(&server);
    println!("{kills} kills, {total} acknowledged items, all found, none twice");
    assert!(total as u64 > kills * ITEMS, "the clients hardly got anything acknowledged: {total}");
}

/// Not a random number, but nobody has arranged it.
fn random_below(bound: u64) -> u64 {
    u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()) / 1000 % bound
}

/// Six clients send until the server dies: in every fourth round within 20 ms, while the first writes after a start are
/// under way, and otherwise within 600 ms.
fn load_until_killed(server: Server, round: u64, base_ms: u64) -> Ledgers {
    let stop = Arc::new(AtomicBool::new(false));
    let ledgers = Arc::new(Mutex::new(Ledgers::new()));
    let mut clients = Vec::new();
    for signal in SIGNALS {
        for transport in [Transport::Grpc, Transport::Http] {
            let service = format!("{transport:?}-{round}").to_lowercase();
            let address = server.address(if transport == Transport::Grpc { "otlp_grpc" } else { "otlp_http" }).to_owned();
            let (stop, ledgers) = (stop.clone(), ledgers.clone());
            clients.push(std::thread::spawn(move || {
                let ledger = send(signal, transport, &address, &service, base_ms, &stop);
                ledgers.lock().unwrap().insert((signal, service), ledger);
            }));
        }
    }
    std::thread::sleep(Duration::from_millis(random_below(if round.is_multiple_of(4) { 20 } else { 600 })));
    server.kill9();
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    Arc::try_unwrap(ledgers).unwrap().into_inner().unwrap()
}

fn send(signal: Signal, transport: Transport, address: &str, service: &str, base_ms: u64, stop: &AtomicBool) -> Ledger {
    let mut ledger = Ledger::default();
    let Ok(mut client) = Client::connect(transport, address) else { return ledger };
    for request in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let items: Vec<u64> = (request * ITEMS..(request + 1) * ITEMS).collect();
        let (path, body) = client::request(signal as usize, service, base_ms, &items);
        ledger.sent.extend(&items);
        match client.export(path, body) {
            Ok(outcome) if outcome.is_taken => ledger.acknowledged.extend(&items),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    ledger
}

/// Each acknowledged item is found once; each other one that was sent is found at most once; nothing else is found.
fn check(server: &Server, ledgers: &Ledgers, base_ms: u64, round: u64) {
    for ((signal, service), ledger) in ledgers {
        let found = match signal {
            Signal::Metrics => samples(server, service, base_ms),
            Signal::Logs => lines(server, service, base_ms),
            Signal::Traces => spans(server, service, base_ms, ledger),
        };
        let context = format!("{signal:?} of {service} in round {round}");
        let unique: BTreeSet<u64> = found.iter().copied().collect();
        assert_eq!(unique.len(), found.len(), "{context}: an item is there twice");
        let lost: Vec<_> = ledger.acknowledged.difference(&unique).take(10).collect();
        assert!(lost.is_empty(), "{context}: acknowledged and lost: {lost:?}, of {}", ledger.acknowledged.len());
        assert!(unique.is_subset(&ledger.sent), "{context}: found what was never sent");
    }
}

/// What a client can send in a round ends well within this time.
const WINDOW_S: u64 = 60;

fn samples(server: &Server, service: &str, base_ms: u64) -> Vec<u64> {
    let query = format!("crash_item%7Bservice_name%3D%22{service}%22%7D%5B{}s%5D", WINDOW_S + 1);
    let time = base_ms / 1000 + WINDOW_S;
    let answer = server.get("prometheus", &format!("/api/v1/query?query={query}&time={time}"));
    let json = answer.json();
    let Some(series) = json["data"]["result"].as_array() else { panic!("{json}") };
    assert!(series.len() <= 1, "{json}");
    let points = series.iter().flat_map(|s| s["values"].as_array().unwrap());
    points
        .map(|p| {
            let item: u64 = p[1].as_str().unwrap().parse().unwrap();
            let at = (p[0].as_f64().unwrap() * 1000.0).round() as u64;
            assert_eq!(at, base_ms + item, "a sample moved in time");
            item
        })
        .collect()
}

fn lines(server: &Server, service: &str, base_ms: u64) -> Vec<u64> {
    // A page at a time, as Grafana does: the end is exclusive.
    let mut found = Vec::new();
    let mut end = (base_ms + WINDOW_S * 1000) * 1_000_000;
    loop {
        let query = format!("query=%7Bservice_name%3D%22{service}%22%7D&limit=1000&start={}&end={end}", base_ms * 1_000_000);
        let json = server.get("loki", &format!("/loki/api/v1/query_range?{query}")).json();
        let Some(streams) = json["data"]["result"].as_array() else { panic!("{json}") };
        let page: Vec<(u64, u64)> = streams
            .iter()
            .flat_map(|s| s["values"].as_array().unwrap())
            .map(|v| (v[0].as_str().unwrap().parse().unwrap(), v[1].as_str().unwrap().strip_prefix("item ").unwrap().parse().unwrap()))
            .collect();
        let Some(oldest) = page.iter().map(|(time, _)| *time).min() else { return found };
        found.extend(page.iter().map(|(_, item)| *item));
        end = oldest;
    }
}

/// Each request is a trace: search finds it, and lookup gives its spans.
fn spans(server: &Server, service: &str, base_ms: u64, ledger: &Ledger) -> Vec<u64> {
    let (start, end) = (base_ms / 1000, base_ms / 1000 + WINDOW_S);
    let query = format!("q=%7Bresource.service.name%3D%22{service}%22%7D&limit=20000&spss=100&start={start}&end={end}");
    let json = server.get("tempo", &format!("/api/search?{query}")).json();
    let Some(traces) = json["traces"].as_array() else { panic!("{json}") };
    let searched: BTreeSet<String> = traces.iter().map(|t| format!("{:0>32}", t["traceID"].as_str().unwrap())).collect();
    assert_eq!(searched.len(), traces.len(), "a trace is in the answer twice");
    let mut found = Vec::new();
    for t in traces {
        for set in t["spanSets"].as_array().unwrap() {
            found.extend(
                set["spans"].as_array().unwrap().iter().map(|s| u64::from_str_radix(s["spanID"].as_str().unwrap(), 16).unwrap() - 1),
            );
        }
    }
    if let Some(item) = ledger.acknowledged.last() {
        let id = client::trace_id(service, item / ITEMS);
        let json = server.get("tempo", &format!("/api/traces/{id}")).json();
        let names = json.to_string().matches("\"crash\"").count();
        assert_eq!(names as u64, ITEMS, "lookup of {id}: {json}");
    }
    found
}
