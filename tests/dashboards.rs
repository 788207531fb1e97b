//! What Grafana is provisioned with: every query of every panel, link and variable is one that the real binary answers, and
//! shows something where there is what the dashboard is about: a host, a JVM, servers, monocle itself, and the shop of
//! `../shared/conformance` at present times.

#[path = "support/families.rs"]
mod families;
mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use support::{Answer, Server};

fn provisioning() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/grafana/provisioning")
}

fn dashboards() -> Vec<(String, Value)> {
    let files = fs::read_dir(provisioning().join("dashboards")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let read: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), read)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn data_sources() -> Value {
    let text = fs::read_to_string(provisioning().join("datasources/monocle.yaml")).unwrap();
    serde_yaml_ng::from_str(&text).unwrap()
}

/// As Grafana writes them into a query of this dashboard when everything is chosen.
fn substituted(query: &str, dashboard: &Value) -> String {
    let mut query = query.to_owned();
    for (name, value) in [("$__rate_interval", "5m"), ("$__range", "1h"), ("$$__tags", "service=\"cart\"")] {
        query = query.replace(name, value);
    }
    for variable in dashboard["templating"]["list"].as_array().into_iter().flatten() {
        let name = format!("${}", variable["name"].as_str().unwrap());
        query = query.replace(&name, variable["allValue"].as_str().unwrap());
    }
    assert!(!query.contains('$'), "an unknown variable: {query}");
    query
}

fn seconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the shop is loaded at present times")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn ask(server: &Server, listener: &str, path: &str, parameters: &[(&str, &str)]) -> Answer {
    let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    server.get(listener, &format!("{path}?{query}"))
}

/// Runs a query as Grafana does for a panel of an hour, and returns how many series, lines or traces came.
fn run(server: &Server, kind: &str, query: &str, instant: bool) -> usize {
    let now = seconds();
    let (start, end) = ((now - 3_600).to_string(), now.to_string());
    let range = [("start", start.as_str()), ("end", end.as_str()), ("step", "60")];
    let answer = match kind {
        "prometheus" if instant => ask(server, "prometheus", "/api/v1/query", &[("query", query), ("time", &end)]),
        "prometheus" => ask(server, "prometheus", "/api/v1/query_range", &[&[("query", query)][..], &range].concat()),
        "loki" => ask(server, "loki", "/loki/api/v1/query_range", &[&[("query", query)][..], &range].concat()),
        "tempo" => ask(server, "tempo", "/api/search", &[("q", query), ("start", &start), ("end", &end)]),
        other => panic!("a data source {other:?}"),
    };
    assert_eq!(answer.status, 200, "{kind}: {query}: {}", String::from_utf8_lossy(&answer.body));
    let answer = answer.json();
    let found = if kind == "tempo" { &answer["traces"] } else { &answer["data"]["result"] };
    found.as_array().unwrap_or_else(|| panic!("{kind}: {query}: {answer}")).len()
}

/// `label_values(SELECTOR, LABEL)`, as Grafana's Prometheus data source reads it.
fn run_variable(server: &Server, query: &str, dashboard: &Value) {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap_or_else(|| panic!("{query}"));
    let (selector, label) = inner.rsplit_once(',').unwrap();
    let path = format!("/api/v1/label/{}/values", label.trim());
    let answer = ask(server, "prometheus", &path, &[("match[]", &substituted(selector.trim(), dashboard))]);
    assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
}

/// Loads the shop; whether it is there.
fn load_shop(server: &Server, home: &Path) -> bool {
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    if !conformance.join("make_dataset.py").exists() {
        eprintln!("skipped: there is no ../shared/conformance, which makes the shop: nothing is shown");
        return false;
    }
    let python = std::env::var("MONOCLE_PYTHON").unwrap_or_else(|_| "python3".into());
    let shop = home.join("shop");
    let call = |script: &str, arguments: &[&str]| {
        let mut command = Command::new(&python);
        let output = command.arg(conformance.join(script)).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let shop = shop.to_str().unwrap();
    call("make_dataset.py", &[shop, &(seconds() - 1_900).to_string()]);
    let (otlp, push) = (server.url("otlp_http"), server.url("loki"));
    call("conform.py", &["load", "--dataset", shop, "--otlp", &otlp, "--push", &push]);
    true
}

/// A span of now, since the metrics of spans leave out old ones.
fn send_span(server: &Server) {
    let now = seconds();
    let span = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"cart"}}}}]}},"scopeSpans":[{{"spans":[
        {{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"pay","kind":2,"startTimeUnixNano":"{now}000000000",
        "endTimeUnixNano":"{now}100000000","status":{{"code":2}}}}]}}]}}]}}"#
    );
    assert_eq!(server.post("otlp_http", "/v1/traces", "application/json", span.as_bytes()).status, 200);
}

const MINUTES: u64 = 6;

/// A metric as OTLP has it, for each set of attributes with a point a minute that counts up.
fn metric(name: &str, unit: &str, kind: &str, sets: &[&[(&str, &str)]]) -> Value {
    let now = seconds();
    let point = |attributes: &[(&str, &str)], minute: u64| {
        let attributes: Vec<Value> = attributes.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
        let time = format!("{}000000000", now - 60 * (MINUTES - minute) + 50);
        let (start, one, three) = (format!("{}000000000", now - 3_600), minute.to_string(), (3 * minute).to_string());
        let mut point = json!({"attributes": attributes, "startTimeUnixNano": start, "timeUnixNano": time});
        let more = match kind {
            "histogram" => json!({"count": three, "sum": minute, "explicitBounds": [0.1, 1.0], "bucketCounts": [one, one, one]}),
            "exponential" => json!({"count": three, "sum": minute, "scale": 0, "zeroCount": "0",
                "positive": {"offset": -1, "bucketCounts": [one, one, one]}}),
            _ => json!({"asDouble": minute}),
        };
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        point
    };
    let points: Vec<Value> = sets.iter().flat_map(|set| (1..=MINUTES).map(|minute| point(set, minute))).collect();
    let (field, data) = match kind {
        "gauge" => ("gauge", json!({"dataPoints": points})),
        "histogram" => ("histogram", json!({"aggregationTemporality": 2, "dataPoints": points})),
        "exponential" => ("exponentialHistogram", json!({"aggregationTemporality": 2, "dataPoints": points})),
        _ => ("sum", json!({"aggregationTemporality": 2, "isMonotonic": kind == "counter", "dataPoints": points})),
    };
    json!({"name": name, "unit": unit, field: data})
}

fn send_metrics(server: &Server, resource: &[(&str, &str)], metrics: &[Value]) {
    let resource: Vec<Value> = resource.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
    let body = json!({"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [{"metrics": metrics}]}]}).to_string();
    let answer = server.post("otlp_http", "/v1/metrics", "application/json", body.as_bytes());
    assert_eq!((answer.status, answer.body.as_slice()), (200, &b"{}"[..]), "{}", String::from_utf8_lossy(&answer.body));
}

/// As the Collector's hostmetrics receiver says it, and as node_exporter does.
fn send_host(server: &Server) {
    let cpu: &[&[(&str, &str)]] = &[&[("cpu", "cpu0"), ("state", "idle")], &[("cpu", "cpu0"), ("state", "user")]];
    let memory: &[&[(&str, &str)]] = &[&[("state", "used")], &[("state", "free")]];
    let filesystem: &[&[(&str, &str)]] = &[&[("mountpoint", "/"), ("state", "used")], &[("mountpoint", "/"), ("state", "free")]];
    let disk: &[&[(&str, &str)]] = &[&[("device", "sda"), ("direction", "read")], &[("device", "sda"), ("direction", "write")]];
    let network: &[&[(&str, &str)]] = &[&[("device", "eth0"), ("direction", "receive")], &[("device", "eth0"), ("direction", "transmit")]];
    let collector = [
        metric("system.cpu.time", "s", "counter", cpu),
        metric("system.cpu.load_average.1m", "{thread}", "gauge", &[&[]]),
        metric("system.memory.usage", "By", "updown", memory),
        metric("system.filesystem.usage", "By", "updown", filesystem),
        metric("system.disk.io", "By", "counter", disk),
        metric("system.network.io", "By", "counter", network),
        metric("system.network.errors", "{errors}", "counter", network),
        metric("system.network.dropped", "{packets}", "counter", network),
    ];
    send_metrics(server, &[("host.name", "here")], &collector);
    let volume: &[(&str, &str)] = &[("mountpoint", "/"), ("fstype", "ext4")];
    let node = [
        metric("node_cpu_seconds", "", "counter", &[&[("cpu", "0"), ("mode", "idle")], &[("cpu", "0"), ("mode", "user")]]),
        metric("node_load1", "", "gauge", &[&[]]),
        metric("node_memory_MemAvailable_bytes", "", "gauge", &[&[]]),
        metric("node_memory_MemTotal_bytes", "", "gauge", &[&[]]),
        metric("node_filesystem_avail_bytes", "", "gauge", &[volume]),
        metric("node_filesystem_size_bytes", "", "gauge", &[volume]),
        metric("node_disk_read_bytes", "", "counter", &[&[("device", "sda")]]),
        metric("node_disk_written_bytes", "", "counter", &[&[("device", "sda")]]),
        metric("node_network_receive_bytes", "", "counter", &[&[("device", "eth0")]]),
        metric("node_network_transmit_bytes", "", "counter", &[&[("device", "eth0")]]),
        metric("node_network_receive_errs", "", "counter", &[&[("device", "eth0")]]),
        metric("node_network_transmit_errs", "", "counter", &[&[("device", "eth0")]]),
        metric("node_network_receive_drop", "", "counter", &[&[("device", "eth0")]]),
        metric("node_network_transmit_drop", "", "counter", &[&[("device", "eth0")]]),
    ];
    send_metrics(server, &[("service.name", "node"), ("service.instance.id", "there:9100")], &node);
}

/// As OpenTelemetry's Java agent says it, that of a service which also answers RPCs.
fn send_jvm(server: &Server) {
    let pools: &[&[(&str, &str)]] = &[
        &[("jvm.memory.type", "heap"), ("jvm.memory.pool.name", "G1 Eden Space")],
        &[("jvm.memory.type", "non_heap"), ("jvm.memory.pool.name", "Metaspace")],
    ];
    let call: &[(&str, &str)] = &[("rpc.system", "grpc"), ("rpc.method", "Pay")];
    let metrics = [
        metric("jvm.memory.used", "By", "updown", pools),
        metric("jvm.memory.committed", "By", "updown", pools),
        metric("jvm.memory.limit", "By", "updown", pools),
        metric("jvm.memory.used_after_last_gc", "By", "updown", pools),
        metric("jvm.gc.duration", "s", "histogram", &[&[("jvm.gc.name", "G1"), ("jvm.gc.action", "end of minor GC")]]),
        metric("jvm.thread.count", "{thread}", "updown", &[&[("jvm.thread.state", "runnable")]]),
        metric("jvm.class.count", "{class}", "updown", &[&[]]),
        metric("jvm.cpu.time", "s", "counter", &[&[]]),
        metric("jvm.cpu.count", "{cpu}", "updown", &[&[]]),
        metric("jvm.cpu.recent_utilization", "1", "gauge", &[&[]]),
        metric("rpc.server.duration", "ms", "histogram", &[call]),
    ];
    let service = |name: &'static str| [("service.name", name), ("service.instance.id", "1")];
    send_metrics(server, &service("booking"), &metrics);
    send_metrics(server, &service("classic"), &[metric("rpc.server.duration", "s", "histogram", &[call])]);
    send_metrics(server, &service("native"), &[metric("rpc.server.duration", "s", "exponential", &[call])]);
}

/// Panels about what has not happened here, or is not used.
const QUIET: [&str; 16] = [
    "monocle-itself: Refused items A",
    "monocle-itself: Time for cuts A",
    "monocle-itself: Time for merges A",
    "monocle-itself: Failed maintenance A",
    "monocle-itself: Damaged frames A",
    "monocle-itself: Failed queries A",
    "monocle-itself: Blocks to upload A",
    "monocle-itself: Bucket A",
    "monocle-itself: Dropped by derived metrics A",
    "monocle-itself: Forwarded A",
    "monocle-itself: Not forwarded A",
    "monocle-itself: Sync of the log A",
    "monocle-itself: Duration, 95th percentile A",
    "monocle-itself: Queries A",
    "monocle-red: Failed calls A",
    "monocle-red: Operations that fail most A",
];

/// What only the shop has.
const OF_SHOP: [&str; 7] = ["Requests A", "Failed with 5xx A", "Duration A", "Duration B", "Duration C", "Calls A", "Errors A"];

#[test]
fn every_query_is_answered() {
    let home = tempfile::tempdir().unwrap();
    let flags = ["--self-scrape", "on", "--scrape-interval", "1s", "--derive-interval", "1s"];
    let server = Server::start(home.path(), &flags);
    let has_shop = load_shop(&server, home.path());
    send_span(&server);
    send_host(&server);
    send_jvm(&server);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let uids = BTreeSet::from(["prometheus", "loki", "tempo"]);
    let mut queries = 0;
    let mut empty = Vec::new();
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], file.as_str(), "the uid is the file's name");
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: two panels {}", panel["id"]);
            for target in panel["targets"].as_array().into_iter().flatten() {
                let source = target["datasource"]["uid"].as_str().unwrap();
                assert!(uids.contains(source) && panel["datasource"]["uid"] == source, "{file}: {panel}");
                let Some(query) = target["expr"].as_str().or(target["query"].as_str()) else { continue };
                queries += 1;
                if run(&server, source, &substituted(query, &dashboard), target["instant"] == true) == 0 {
                    empty.push(format!("{file}: {} {}", panel["title"].as_str().unwrap(), target["refId"].as_str().unwrap()));
                }
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            run_variable(&server, variable["query"]["query"].as_str().unwrap(), &dashboard);
        }
    }
    assert!(queries > 70, "{queries} queries");
    empty.retain(|panel| !QUIET.contains(&panel.as_str()));
    if !has_shop {
        empty.retain(|panel| {
            !panel.strip_prefix("monocle-red: ").is_some_and(|panel| OF_SHOP.contains(&panel) || panel.starts_with("Routes"))
        });
    }
    assert!(empty.is_empty(), "these show nothing: {empty:#?}");
    for source in data_sources()["datasources"].as_array().unwrap() {
        assert!(uids.contains(source["uid"].as_str().unwrap()));
        for query in source["jsonData"]["tracesToMetrics"]["queries"].as_array().into_iter().flatten() {
            run(&server, "prometheus", &substituted(query["query"].as_str().unwrap(), &Value::Null), false);
        }
    }
}

#[test]
fn links_lead_to_data_sources_that_are_there() {
    let sources = data_sources();
    let sources = sources["datasources"].as_array().unwrap();
    let uids: BTreeSet<&str> = sources.iter().map(|s| s["uid"].as_str().unwrap()).collect();
    let of = |uid: &str| &sources.iter().find(|s| s["uid"] == uid).unwrap()["jsonData"];
    let links = [
        &of("prometheus")["exemplarTraceIdDestinations"][0]["datasourceUid"],
        &of("loki")["derivedFields"][0]["datasourceUid"],
        &of("tempo")["tracesToLogsV2"]["datasourceUid"],
        &of("tempo")["tracesToMetrics"]["datasourceUid"],
        &of("tempo")["serviceMap"]["datasourceUid"],
    ];
    for link in links {
        assert!(uids.contains(link.as_str().unwrap()), "{link}");
    }
}

#[test]
fn queries_about_monocle_name_metrics_that_it_has() {
    let families = families::families();
    assert!(families.contains_key("monocle_wal_sync_seconds") && families.len() > 30, "{families:?}");
    let (_, own) = dashboards().into_iter().find(|(file, _)| file == "monocle-itself").unwrap();
    let text: String = own["panels"].as_array().unwrap().iter().map(|panel| panel["targets"].to_string()).collect();
    let mut named = BTreeSet::new();
    for at in text.match_indices("monocle_").map(|(at, _)| at) {
        let end = text[at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap();
        named.insert(text[at..at + end].to_owned());
    }
    assert!(named.len() > 15, "{named:?}");
    for name in named {
        let family = ["_total", "_count", "_sum", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        assert!(families.contains_key(family), "there is no {name}; there are {families:?}");
    }
}
