//! What Grafana is provisioned with: every query of every panel, link and variable is one that the real binary answers, and
//! those about monocle itself name metrics that it has. With the shop of `../shared/conformance` at present times, the
//! dashboard of requests, errors and durations also shows something.

mod support;

use serde_json::Value;
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

#[test]
fn every_query_is_answered() {
    let home = tempfile::tempdir().unwrap();
    let flags = ["--self-scrape", "on", "--scrape-interval", "1s", "--derive-interval", "1s"];
    let server = Server::start(home.path(), &flags);
    let has_shop = load_shop(&server, home.path());
    send_span(&server);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let uids = BTreeSet::from(["prometheus", "loki", "tempo"]);
    let mut queries = 0;
    let mut empty = Vec::new();
    for (file, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], file.as_str(), "the uid is the file's name");
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: two panels {}", panel["id"]);
            let mut shown = 0;
            for target in panel["targets"].as_array().into_iter().flatten() {
                let source = target["datasource"]["uid"].as_str().unwrap();
                assert!(uids.contains(source) && panel["datasource"]["uid"] == source, "{file}: {panel}");
                let Some(query) = target["expr"].as_str().or(target["query"].as_str()) else { continue };
                shown += run(&server, source, &substituted(query, &dashboard), target["instant"] == true);
                queries += 1;
            }
            if shown == 0 && panel["type"] != "row" && panel["type"] != "nodeGraph" {
                empty.push(format!("{file}: {}", panel["title"].as_str().unwrap()));
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            run_variable(&server, variable["query"]["query"].as_str().unwrap(), &dashboard);
        }
    }
    assert!(queries > 70, "{queries} queries");
    // What is sent here has to be seen; the rest is about machines, JVMs, and what has not happened.
    let seen =
        ["monocle-itself: Acknowledged items", "monocle-itself: Received", "monocle-itself: Write-ahead log", "monocle-red: Failed traces"];
    let of_shop = [
        "monocle-red: Requests",
        "monocle-red: Duration",
        "monocle-red: Routes, by requests a second",
        "monocle-red: Calls",
        "monocle-red: Errors",
    ];
    for panel in seen.iter().chain(of_shop.iter().filter(|_| has_shop)) {
        assert!(!empty.iter().any(|e| e == panel), "{panel} is empty; so are {empty:?}");
    }
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

/// The families of `src/telemetry`: each registration has a name, and perhaps a unit, which becomes its end.
fn own_metrics() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry");
    let files = fs::read_dir(directory).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let text: String = files.collect();
    let calls = text.split("registry.register").skip(1).map(|call| call.split(");").next().unwrap());
    calls
        .filter_map(|call| {
            let name = call.split('"').nth(1)?;
            let unit = [("Unit::Bytes", "_bytes"), ("Unit::Seconds", "_seconds")].iter().find(|(unit, _)| call.contains(unit));
            Some(format!("monocle_{name}{}", unit.map_or("", |(_, end)| end)))
        })
        .collect()
}

#[test]
fn queries_about_monocle_name_metrics_that_it_has() {
    let families = own_metrics();
    assert!(families.contains("monocle_wal_sync_seconds") && families.len() > 30, "{families:?}");
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
        assert!(families.contains(family), "there is no {name}; there are {families:?}");
    }
}
