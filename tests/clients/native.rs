//! Native histograms and remote read with a real Prometheus: one scrapes native histograms and writes them to monocle; both
//! give the same answers; and one without data of its own reads everything from monocle.

use super::ask;
use super::prometheus::{self, Prometheus};
use super::support::Server;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(90);

fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
    out
}

fn number(field: u64, number: u64) -> Vec<u8> {
    [varint(field << 3), varint(number)].concat()
}

fn signed(field: u64, n: i64) -> Vec<u8> {
    number(field, (n << 1 ^ n >> 63).cast_unsigned())
}

fn double(field: u64, value: f64) -> Vec<u8> {
    [&varint(field << 3 | 1)[..], &value.to_le_bytes()].concat()
}

fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2)[..], &varint(content.len() as u64), content].concat()
}

/// Spans and differences of the counts by index: the fields of one side of an `io.prometheus.client.Histogram`.
fn side((span, delta): (u64, u64), buckets: &BTreeMap<i64, i64>) -> Vec<u8> {
    let (mut out, mut deltas) = (Vec::new(), Vec::new());
    let (mut next, mut last) = (0, 0);
    for (index, count) in buckets {
        out.extend(bytes(span, &[signed(1, index - next), number(2, 1)].concat()));
        deltas.extend(signed(delta, count - last));
        (next, last) = (index + 1, *count);
    }
    [out, deltas].concat()
}

/// What the target exposes at its `scrape`th scrape: a histogram that grows, gets new buckets, and starts again.
fn family(scrape: i64) -> Vec<u8> {
    let grown = 20 + scrape % 9;
    let positive: BTreeMap<i64, i64> =
        [(-3, grown), (-2, 2 * grown), (4, 3 * grown), (5, grown * grown), (grown, grown)].into_iter().collect();
    let negative: BTreeMap<i64, i64> = [(2, grown)].into_iter().collect();
    let zero = 2 * grown;
    let count = positive.values().chain(negative.values()).sum::<i64>() + zero;
    let histogram = [
        number(1, count.cast_unsigned()),
        double(2, 1.25 * grown as f64),
        signed(5, 3),
        double(6, 1e-3),
        number(7, zero.cast_unsigned()),
        side((9, 10), &negative),
        side((12, 13), &positive),
    ];
    let label = bytes(1, &[bytes(1, b"code"), bytes(2, b"200")].concat());
    let metric = bytes(4, &[label, bytes(7, &histogram.concat())].concat());
    let family = [bytes(1, b"rpc_seconds"), bytes(2, b"Calls."), number(3, 4), metric].concat();
    [varint(family.len() as u64), family].concat()
}

/// Serves until the test ends.
fn target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for (scrape, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4096]);
            let body = family(scrape as i64);
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: application/vnd.google.protobuf; \
                 proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

/// Prometheus with native histograms, which writes what it scrapes to `server`.
fn sender(home: &Path, target: &str, server: &Server) -> Prometheus {
    Prometheus::start(home, &["--enable-feature=native-histograms"], |address| {
        format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: native, static_configs: [{{targets: ['{target}', '{address}']}}]}}]\n\
             remote_write: [{{url: '{}/api/v1/write', send_native_histograms: true, queue_config: {{batch_send_deadline: 200ms}}}}]\n",
            server.url("prometheus")
        )
    })
}

/// Prometheus that has nothing and reads everything from `server`.
fn reader(home: &Path, server: &Server) -> Prometheus {
    Prometheus::start(home, &["--enable-feature=native-histograms"], |_| {
        format!("remote_read: [{{url: '{}/api/v1/read', read_recent: true}}]\n", server.url("prometheus"))
    })
}

/// Elements by their labels, or series.
fn result(answer: &Value) -> BTreeMap<String, Value> {
    let all = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
    all.iter().map(|e| (e["metric"].to_string(), e.clone())).collect()
}

/// Equal but for the last digits of numbers: sums are compensated here, and were not in every release.
fn alike(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_str().and_then(|text| text.parse::<f64>().ok()).or_else(|| v.as_f64());
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b))),
        _ => match (number(a), number(b)) {
            (Some(a), Some(b)) => a == b || (a - b).abs() <= 1e-12 * a.abs().max(b.abs()),
            _ => a == b,
        },
    }
}

fn same(query: &str, ours: &Value, theirs: &Value) {
    let (ours, theirs) = (result(ours), result(theirs));
    assert!(!theirs.is_empty(), "{query}");
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{query}");
    for (labels, element) in &theirs {
        assert!(alike(&ours[labels], element), "{query} {labels}\nours   {}\ntheirs {element}", ours[labels]);
    }
}

/// The quantile as it was before 3.0, where buckets were interpolated linearly, of one by today's rule; schema 3.
fn linear(quantile: f64) -> f64 {
    let upper = ((quantile.log2() * 8.0 - 1e-12).ceil() / 8.0).exp2();
    let lower = upper / 0.125f64.exp2();
    lower + (upper - lower) * (quantile / lower).log2() / (upper / lower).log2()
}

#[test]
fn native_histograms_of_a_prometheus_answer_as_its_own_and_are_read_back_by_another() {
    if !prometheus::installed() {
        return;
    }
    let homes = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let server = Server::start(homes[0].path(), &[]);
    let sender = sender(homes[1].path(), &target(), &server);
    let reader = reader(homes[2].path(), &server);
    let deadline = Instant::now() + LIMIT;
    let ours = |query: &str, time: &str| ask(&server, "prometheus", "/api/v1/query", &[("query", query), ("time", time)]);
    // More than one reset, and a scrape after them, so that everything before it has arrived. The time lies between two scrapes.
    let until = loop {
        assert!(Instant::now() < deadline, "nothing arrives; monocle said:\n{}", server.log());
        sleep(Duration::from_millis(300));
        let text = "timestamp(rpc_seconds) and count_over_time(rpc_seconds[5m]) > 20";
        let answer = ask(&server, "prometheus", "/api/v1/query", &[("query", text)]);
        if let Some(newest) = answer["data"]["result"][0]["value"][1].as_str() {
            break newest.parse::<f64>().unwrap() - 1.4;
        }
    };
    let time = format!("{until:.3}");
    for query in [
        "rpc_seconds",
        "rate(rpc_seconds[10s])",
        "increase(rpc_seconds[15s])",
        "histogram_count(rate(rpc_seconds[15s]))",
        "histogram_sum(increase(rpc_seconds[10s]))",
        "histogram_fraction(0.5, 2, rate(rpc_seconds[15s]))",
        "sum by (code) (rate(rpc_seconds[12s]))",
        "sum without (instance) (rpc_seconds)",
        "count_over_time(rpc_seconds[15s])",
    ] {
        same(query, &ours(query, &time), &sender.query(query, until).unwrap());
    }
    for quantile in ["0.6", "0.9", "0.99"] {
        let query = format!("histogram_quantile({quantile}, rate(rpc_seconds[15s]))");
        let value = |answer: &Value| answer["data"]["result"][0]["value"][1].as_str().unwrap().parse::<f64>().unwrap();
        let (ours, theirs) = (value(&ours(&query, &time)), value(&sender.query(&query, until).unwrap()));
        assert!((linear(ours) - theirs).abs() < 1e-9, "{query}: {ours} is linearly {}, not {theirs}", linear(ours));
    }
    // The reader of 2.42 leaves histograms out of what it is answered.
    for query in [
        "up[15s]",
        "rate(prometheus_tsdb_head_samples_appended_total[10s])",
        "sum by (handler) (rate(prometheus_http_response_size_bytes_sum[10s]))",
        "count by (job) ({__name__=~\"go_.*\", instance!=\"\"})",
    ] {
        same(query, &ours(query, &time), &reader.query(query, until).unwrap());
    }
    let sorted = |mut answer: Value| {
        answer["data"].as_array_mut().unwrap().sort_by_key(Value::to_string);
        answer["data"].take()
    };
    let range = [("match[]", "{__name__=~\"rpc.*|up\"}"), ("start", &format!("{}", until - 60.0)), ("end", &time)];
    let series = sorted(ask(&server, "prometheus", "/api/v1/series", &range));
    assert_eq!(sorted(reader.ask("/api/v1/series", &range).unwrap()), series);
}
