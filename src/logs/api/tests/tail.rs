//! Tails over real sockets.

use super::*;
use futures_util::StreamExt;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(house: &House) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = house.query.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn connect(address: SocketAddr, path: &str, params: &[(&str, &str)], flags: Option<&str>) -> Result<Client, u16> {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let mut request = format!("ws://{address}{path}?{query}").into_client_request().unwrap();
    if let Some(flags) = flags {
        request.headers_mut().insert("x-loki-response-encoding-flags", flags.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((client, _)) => Ok(client),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// The next frame with text, and how many pings came before it.
async fn next(client: &mut Client) -> (String, u32) {
    let mut pings = 0;
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), client.next()).await.unwrap().unwrap().unwrap();
        match message {
            Message::Text(text) => return (text.to_string(), pings),
            Message::Ping(_) => pings += 1,
            Message::Close(frame) => {
                let frame = frame.unwrap();
                return (format!("{} {}", u16::from(frame.code), frame.reason), pings);
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn push_line(house: &House, ts: &str, line: &str) {
    let body = serde_json::json!({ "streams": [{ "stream": { "app": "x" }, "values": [[ts, line, { "k": "v" }]] }] });
    assert_eq!(push(house, &body.to_string()).await.0, 204);
}

const TAIL: &str = "/loki/api/v1/tail";

#[tokio::test]
async fn a_tail_begins_with_what_there_is_and_goes_on_with_what_comes() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let address = listen(&house).await;
    for second in 1..4 {
        push_line(&house, &at(second), &format!("old {second}")).await;
    }
    let query = [("query", r#"{app="x"} != "skip""#), ("limit", "2")];
    let mut plain = connect(address, TAIL, &query, None).await.unwrap();
    let labels = r#"{"app":"x","detected_level":"unknown","k":"v","service_name":"x"}"#;
    let one = |second: i64, line: &str| format!(r#"{{"stream":{labels},"values":[["{}","{line}"]]}}"#, at(second));
    assert_eq!(next(&mut plain).await.0, format!(r#"{{"streams":[{},{}]}}"#, one(2, "old 2"), one(3, "old 3")));
    let mut by_category = connect(address, TAIL, &[("query", r#"{app="x"}"#), ("start", &at(3))], Some("categorize-labels")).await.unwrap();
    assert!(next(&mut by_category).await.0.contains("old 3"));
    push_line(&house, &at(4), "skip this").await;
    let stream = r#"{"app":"x","service_name":"x"}"#;
    let md = r#"{"structuredMetadata":{"detected_level":"unknown","k":"v"}}"#;
    let want =
        format!(r#"{{"streams":[{{"stream":{stream},"values":[["{}","skip this",{md}]]}}],"encodingFlags":["categorize-labels"]}}"#, at(4));
    assert_eq!(next(&mut by_category).await.0, want);
    push_line(&house, &at(5), "new").await;
    let acknowledged = std::time::Instant::now();
    assert_eq!(next(&mut plain).await.0, format!(r#"{{"streams":[{}]}}"#, one(5, "new")));
    assert!(acknowledged.elapsed() < Duration::from_secs(5));
    let mut legacy = connect(address, "/api/prom/tail", &[("query", r#"{app="x"}"#), ("limit", "1")], None).await.unwrap();
    let frame: Value = serde_json::from_str(&next(&mut legacy).await.0).unwrap();
    let printed = r#"{app="x", detected_level="unknown", k="v", service_name="x"}"#;
    assert_eq!(frame["streams"][0]["labels"], printed);
    assert_eq!(frame["streams"][0]["entries"], serde_json::json!([{ "ts": "2026-03-10T12:00:05Z", "line": "new" }]));
    plain.close(None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    push_line(&house, &at(6), "last").await;
    loop {
        let (text, pings) = next(&mut by_category).await;
        if text.contains("last") {
            assert!(pings >= 1);
            break;
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_lines_and_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let address = listen(&house).await;
    let mut client = connect(address, TAIL, &[("query", r#"{app="x"}"#)], None).await.unwrap();
    push_line(&house, &at(1), "first").await;
    assert!(next(&mut client).await.0.contains("first"));
    let line = "x".repeat(100_000);
    let (requests, lines) = (40, 10);
    for request in 0..requests {
        let values: Vec<Value> = (0..lines).map(|i| serde_json::json!([at(10 + request * lines + i), line])).collect();
        let body = serde_json::json!({ "streams": [{ "stream": { "app": "x" }, "values": values }] });
        assert_eq!(push(&house, &body.to_string()).await.0, 204);
    }
    let (mut received, mut dropped) = (0, 0);
    while received + dropped < requests * lines {
        let frame: Value = serde_json::from_str(&next(&mut client).await.0).unwrap();
        received += frame["streams"].as_array().unwrap().len() as i64;
        let named = frame["dropped_entries"].as_array().map_or(&[][..], |d| d);
        dropped += named.len() as i64;
        assert!(named.iter().all(|d| d["labels"]["app"] == "x" && d["timestamp"].is_string()), "{named:?}");
    }
    assert!(received + dropped == requests * lines && dropped > 0 && received > 0, "{received} received, {dropped} dropped");
}

#[tokio::test]
async fn bad_tails_are_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config { tails_max: 1, ..Config::default() });
    let address = listen(&house).await;
    let query = ("query", r#"{app="x"}"#);
    let refused: &[(&[(&str, &str)], &str)] = &[
        (&[query, ("delay_for", "6")], "delay_for can't be greater than 5\n"),
        (&[query, ("delay_for", "x")], "could not parse 'delay_for' parameter"),
        (&[query, ("delay_for", "-1")], "could not parse 'delay_for' parameter"),
        (&[query, ("limit", "0")], "limit must be a positive value\n"),
        (&[query, ("limit", "50001")], "max entries limit per query exceeded"),
        (&[query, ("start", "soon")], "could not parse 'start' parameter"),
        (&[("query", r#"rate({app="x"}[1m])"#)], "only log selector is supported\n"),
        (&[("query", "{")], "parse error at line 1, col 2"),
        (&[], "parse error : syntax error: unexpected $end"),
    ];
    for (params, text) in refused {
        assert_eq!(connect(address, TAIL, params, None).await.err(), Some(400), "{params:?}");
        let (status, body) = ask(&house, TAIL, params).await;
        assert!(status == 400 && body.starts_with(text), "{params:?}: {body}");
    }
    let (status, body) = ask(&house, TAIL, &[query, ("delay_for", "5")]).await;
    assert!(status == 400 && body.starts_with("tail needs a WebSocket"), "{body}");
    push_line(&house, &at(1), "line").await;
    let mut first = connect(address, TAIL, &[query, ("delay_for", "5")], None).await.unwrap();
    assert!(next(&mut first).await.0.contains("line"));
    let mut second = connect(address, TAIL, &[query], None).await.unwrap();
    let closed = next(&mut second).await.0;
    assert_eq!(closed, "1011 max concurrent tail requests limit exceeded, count > limit (2 > 1)");
}

#[tokio::test]
async fn the_first_api_has_its_own_forms() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let body = r#"{"streams":[{"labels":"{app=\"x\"}","entries":[{"ts":"2026-03-10T12:00:05.5Z","line":"old form"}]}]}"#;
    assert_eq!(post(&house.query, "/api/prom/push", "application/json", body).await, (204, String::new()));
    let bad = body.replace("2026-03-10T12:00:05.5Z", "5");
    let (status, text) = post(&house.query, "/api/prom/push", "application/json", bad).await;
    assert!(status == 400 && text.contains("is not in the form of RFC 3339"), "{text}");
    let (status, text) = post(&house.query, "/api/prom/push", "application/json", body.replace("{app=", "{app")).await;
    assert!(status == 400 && text.starts_with("error parsing labels '{app"), "{text}");
    let value = data(&house, "/api/prom/query", &[("query", r#"{app="x"}"#)]).await;
    let labels = r#"{app="x", detected_level="unknown", service_name="x"}"#;
    let entries = serde_json::json!([{ "ts": "2026-03-10T12:00:05.5Z", "line": "old form" }]);
    assert_eq!(value["streams"], serde_json::json!([{ "labels": labels, "entries": entries }]));
    assert!(value["stats"]["summary"].is_object());
    let (status, _) = ask(&house, "/api/prom/query", &[("query", r#"rate({app="x"}[1m])"#)]).await;
    assert_eq!(status, 400);
    assert_eq!(ask(&house, "/api/prom/label", &[]).await, (200, "{\"values\":[\"app\",\"service_name\"]}\n".into()));
    assert_eq!(ask(&house, "/api/prom/label/app/values", &[]).await, (200, "{\"values\":[\"x\"]}\n".into()));
    let series = data(&house, "/api/prom/series", &[("match[]", r#"{app="x"}"#)]).await;
    assert_eq!(series["data"], serde_json::json!([{ "app": "x", "service_name": "x" }]));
}

#[tokio::test]
async fn of_many_values_the_first_are_listed_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config { label_values_max: 3, ..Config::default() });
    let t = at(10);
    for pod in ["p5", "p1", "p4", "p2", "p3", "p1"] {
        let body = format!(r#"{{"streams":[{{"stream":{{"pod":"{pod}"}},"values":[["{t}","line"]]}}]}}"#);
        assert_eq!(push(&house, &body).await.0, 204);
    }
    let value = data(&house, "/loki/api/v1/label/pod/values", &[]).await;
    assert_eq!(value["data"], serde_json::json!(["p1", "p2", "p3"]));
    assert_eq!(value["warnings"], serde_json::json!(["there are more than 3 values: only the first 3 are listed"]));
    assert!(data(&house, "/loki/api/v1/labels", &[]).await.get("warnings").is_none());
    let labels = data(&house, "/loki/api/v1/detected_labels", &[]).await;
    assert!(labels["detectedLabels"].as_array().unwrap().contains(&serde_json::json!({ "label": "pod", "cardinality": 5 })));
}

#[tokio::test]
async fn loki_pages_that_people_look_at_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let (status, services) = ask(&house, "/services", &[]).await;
    assert!(status == 200 && services.lines().all(|l| l.ends_with(" => Running")), "{services}");
    let (status, config) = ask(&house, "/config", &[]).await;
    let config: serde_yaml_ng::Value = serde_yaml_ng::from_str(&config).unwrap();
    assert_eq!((status, config["limits_config"]["max_query_series"].as_u64()), (200, Some(10_000)));
    for path in ["/ring", "/ingester/ring", "/memberlist", "/log_level"] {
        assert_eq!(ask(&house, path, &[]).await.0, 200, "{path}");
    }
    for path in ["/flush", "/flush/tenant"] {
        assert_eq!(post(&house.query, path, "text/plain", "").await.0, 204, "{path}");
    }
    let (_, limits) = ask(&house, "/config/tenant/v1/limits", &[]).await;
    let limits: serde_yaml_ng::Value = serde_yaml_ng::from_str(&limits).unwrap();
    assert_eq!(limits["max_query_length"].as_str(), Some("30d1h"));
}
