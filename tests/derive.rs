//! The real binary: spans of now become span metrics and a service graph that Grafana's queries find, and a kill neither
//! doubles nor resets what they say.
#![expect(clippy::disallowed_methods, reason = "spans count only near the time of the clock")]

mod support;

use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::Server;

fn nanos() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// Service, id, parent, kind, milliseconds, attribute.
type Of<'a> = (&'a str, u64, u64, u64, u64, Option<(&'a str, &'a str)>);

/// One trace, all of whose spans end now. The span `cart` fails.
fn send(server: &Server, trace: u64, spans: &[Of<'_>]) {
    let now = nanos();
    let resources: Vec<Value> = spans
        .iter()
        .map(|(service, id, parent, kind, millis, attribute)| {
            let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
            let span = json!({
                "traceId": format!("{trace:032x}"), "spanId": format!("{id:016x}"), "name": format!("in {service}"), "kind": kind,
                "parentSpanId": if *parent == 0 { String::new() } else { format!("{parent:016x}") },
                "startTimeUnixNano": (now - millis * 1_000_000).to_string(), "endTimeUnixNano": now.to_string(),
                "attributes": attribute.map(|(key, value)| text(key, value)).into_iter().collect::<Vec<_>>(),
                "status": {"code": if *service == "cart" { 2 } else { 0 }},
            });
            json!({"resource": {"attributes": [text("service.name", service)]}, "scopeSpans": [{"spans": [span]}]})
        })
        .collect();
    let answer = server.post("otlp_http", "/v1/traces", "application/json", json!({"resourceSpans": resources}).to_string().as_bytes());
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]));
}

/// The browser's request to `web`, which calls `cart`, which asks a database.
fn shop(server: &Server, trace: u64) {
    send(
        server,
        trace,
        &[
            ("web", 1, 0, 2, 300, None),
            ("web", 2, 1, 3, 150, None),
            ("cart", 3, 2, 2, 90, None),
            ("cart", 4, 3, 3, 20, Some(("db.system", "redis"))),
        ],
    );
}

fn ask(server: &Server, path: &str, parameters: &[(&str, &str)]) -> Value {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let answer = server.get("prometheus", &format!("{path}?{}", query.extend_pairs(parameters).finish()));
    assert_eq!(answer.status, 200, "{parameters:?}: {}", String::from_utf8_lossy(&answer.body));
    answer.json()["data"].clone()
}

/// The values of an instant query, by the named labels.
fn values(server: &Server, query: &str, labels: &[&str]) -> Vec<(Vec<String>, f64)> {
    let answer = ask(server, "/api/v1/query", &[("query", query)]);
    let row = |series: &Value| {
        let names = labels.iter().map(|label| series["metric"][label].as_str().unwrap_or_default().to_owned());
        (names.collect(), series["value"][1].as_str().unwrap().parse().unwrap())
    };
    let mut rows: Vec<_> = answer["result"].as_array().unwrap().iter().map(row).collect();
    rows.sort_by(|a: &(Vec<String>, f64), b| a.0.cmp(&b.0));
    rows
}

/// Waits until `query` gives `wanted`.
fn wait_for(server: &Server, query: &str, wanted: f64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let got = values(server, query, &[]);
        if got.first().is_some_and(|(_, value)| *value == wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{query}: {got:?}, not {wanted}; monocle said:\n{}", server.log());
        sleep(Duration::from_millis(200));
    }
}

const FLAGS: [&str; 2] = ["--derive-interval", "1s"];

const EDGES: [[&str; 3]; 3] = [["cart", "database", "redis"], ["user", "virtual_node", "web"], ["web", "", "cart"]];

#[test]
fn what_grafana_asks_for_has_data() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &FLAGS);
    (1..=3).for_each(|trace| shop(&server, trace));
    // The same again, as a sender does whose answer got lost.
    shop(&server, 3);
    wait_for(&server, "sum(traces_spanmetrics_calls_total)", 12.0);
    (4..=5).for_each(|trace| shop(&server, trace));
    wait_for(&server, "sum(traces_spanmetrics_calls_total)", 20.0);

    let graph = values(
        &server,
        "group by (client, connection_type, server) (traces_service_graph_request_total)",
        &["client", "connection_type", "server"],
    );
    assert_eq!(
        graph.iter().map(|(labels, _)| labels.iter().map(String::as_str).collect()).collect::<Vec<Vec<_>>>(),
        EDGES.map(|e| e.to_vec())
    );
    for (metric, edges) in [("request_total", 3), ("request_failed_total", 2), ("request_server_seconds_sum", 3)] {
        let query = format!("sum by (client, server) (rate(traces_service_graph_{metric}[600s]))");
        let rates = values(&server, &query, &["client", "server"]);
        assert_eq!(rates.len(), edges, "{query}: {rates:?}");
        assert!(rates.iter().all(|(_, rate)| *rate > 0.0), "{query}: {rates:?}");
    }
    let quantile = "histogram_quantile(0.9, sum(rate(traces_service_graph_request_server_seconds_bucket[600s])) by (le, client, server))";
    assert_eq!(values(&server, quantile, &[]).len(), 3);
    let calls = r#"topk(5, sum(rate(traces_spanmetrics_calls_total{span_kind="SPAN_KIND_SERVER"}[600s])) by (span_name))"#;
    assert_eq!(values(&server, calls, &["span_name"]).iter().map(|(l, _)| l[0].as_str()).collect::<Vec<_>>(), ["in cart", "in web"]);
    let failed =
        r#"sum(rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR",span_name=~"in cart|in web"}[600s])) by (span_name)"#;
    assert_eq!(values(&server, failed, &["span_name"]).len(), 1);
    let slow = r#"histogram_quantile(.9, sum(rate(traces_spanmetrics_latency_bucket{span_name=~"in web"}[600s])) by (le))"#;
    let slow = values(&server, slow, &[])[0].1;
    assert!((0.256..=0.512).contains(&slow), "{slow}");
    // Classic histograms only: Grafana switches to native ones if the bare name has a series.
    let bare = ask(&server, "/api/v1/series", &[("match[]", "traces_service_graph_request_server_seconds")]);
    assert_eq!(bare, json!([]));
    let now = nanos() / 1_000_000_000;
    let exemplars = ask(
        &server,
        "/api/v1/query_exemplars",
        &[("query", "traces_spanmetrics_latency_bucket"), ("start", &(now - 600).to_string()), ("end", &(now + 60).to_string())],
    );
    let labels = &exemplars[0]["exemplars"][0]["labels"];
    assert_eq!(labels["traceID"].as_str().unwrap().len(), 32, "{exemplars}");
    assert_eq!(labels["traceID"], labels["trace_id"]);
    let first = ask(&server, "/api/v1/query", &[("query", "traces_spanmetrics_calls_total[10m]")]);
    for series in first["result"].as_array().unwrap() {
        assert_eq!((&series["values"][0][1], series["values"][0][0].as_f64().unwrap() % 60.0), (&json!("0"), 59.0), "{series}");
    }
    assert!(server.stop().success());
}

#[test]
fn a_kill_resets_counters_once_and_counts_nothing_twice() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &FLAGS);
    shop(&server, 1);
    wait_for(&server, "sum(traces_spanmetrics_calls_total)", 4.0);
    server.kill9();
    let server = Server::start(home.path(), &FLAGS);
    // Replayed spans are not counted again; these are.
    shop(&server, 2);
    shop(&server, 3);
    wait_for(&server, "sum(traces_spanmetrics_calls_total)", 8.0);
    let resets = values(&server, "resets(traces_spanmetrics_calls_total[10m])", &[]);
    assert!(resets.len() == 4 && resets.iter().all(|(_, n)| *n == 1.0), "{resets:?}");
    // A clean stop writes what was counted last.
    shop(&server, 4);
    assert!(server.stop().success());
    let server = Server::start(home.path(), &FLAGS);
    wait_for(&server, "sum(traces_spanmetrics_calls_total)", 12.0);
    assert!(server.stop().success());
}

#[test]
fn derived_metrics_can_be_off() {
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--derive", "off", "--derive-interval", "1s"]);
    shop(&server, 1);
    sleep(Duration::from_secs(3));
    assert_eq!(values(&server, r#"{__name__=~"traces_.*"}"#, &[]), []);
}
