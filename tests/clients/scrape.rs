//! Scraping: the same target, which exposes with Prometheus's own client, is scraped by monocle and by a real Prometheus.

use super::prometheus::{self, Prometheus, elements};
use super::support::Server;
use super::{ask, installed, python};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// For what takes a few scrapes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

struct Target {
    child: Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
    port: u64,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target {
    fn start(port: u64) -> Target {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/expose.py");
        let mut command = python();
        command.arg(script).arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
        let said: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        Target { child, answers, port: said["port"].as_u64().unwrap() }
    }

    fn remove(&mut self) {
        writeln!(self.child.stdin.as_mut().unwrap(), "remove").unwrap();
        assert_eq!(self.answers.next().unwrap().unwrap(), "done");
    }
}

fn query(server: &Server, query: &str) -> BTreeMap<String, String> {
    elements(&ask(server, "prometheus", "/api/v1/query", &[("query", query)]))
}

/// Asks until `done`.
fn wait(server: &Server, text: &str, done: impl Fn(&BTreeMap<String, String>) -> bool) -> BTreeMap<String, String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = query(server, text);
        if done(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{text}: {answer:?}; monocle said:\n{}", server.log());
        sleep(Duration::from_millis(200));
    }
}

const RULES: &str = r#"
relabel_configs = [{ source_labels = ["__address__"], regex = "(.*):.*", target_label = "host" }]
metric_relabel_configs = [
  { source_labels = ["__name__"], regex = "dropped_.*", action = "drop" },
  { source_labels = ["verb"], target_label = "verb", action = "uppercase" },
]
"#;

fn job(name: &str, port: u64, more: &str) -> String {
    format!("[[scrape]]\njob_name = \"{name}\"\nscrape_interval = \"1s\"\ntargets = [\"127.0.0.1:{port}\"]\n{more}\n")
}

/// Labels without `job`, which tells the jobs apart, and values; series about the scrape are left out.
fn contents(answer: &BTreeMap<String, String>) -> BTreeSet<(String, String)> {
    let bare = |labels: &String| {
        let mut labels: BTreeMap<String, String> = serde_json::from_str(labels).unwrap();
        labels.remove("job");
        labels
    };
    let kept = answer.iter().map(|(labels, value)| (bare(labels), value.clone()));
    kept.filter(|(labels, _)| !labels["__name__"].starts_with("scrape_")).map(|(labels, value)| (format!("{labels:?}"), value)).collect()
}

#[test]
fn a_prometheus_that_scrapes_the_same_has_the_same() {
    if !installed("prometheus_client") || !prometheus::installed() {
        return;
    }
    let target = Target::start(0);
    let home = tempfile::tempdir().unwrap();
    let text = format!("{RULES}\nscrape_protocols = [\"PrometheusText0.0.4\"]\n");
    let config = [job("app", target.port, RULES), job("text", target.port, &text)].concat();
    std::fs::write(home.path().join("monocle.toml"), config).unwrap();
    let server = Server::start(home.path(), &[]);
    let theirs = Prometheus::start(home.path(), &[], |_| {
        format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs:\n\
             - job_name: app\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n\
             \x20 relabel_configs: [{{source_labels: [__address__], regex: '(.*):.*', target_label: host}}]\n\
             \x20 metric_relabel_configs:\n\
             \x20 - {{source_labels: [__name__], regex: 'dropped_.*', action: drop}}\n\
             \x20 - {{source_labels: [verb], target_label: verb, action: uppercase}}\n",
            target.port
        )
    });
    let ours = wait(&server, "{job=\"app\"}", |answer| answer.len() > 20);
    let deadline = Instant::now() + LIMIT;
    let reference = loop {
        let clock = ask(&server, "prometheus", "/api/v1/query", &[("query", "time()")]);
        let now = clock["data"]["result"][0].as_f64().unwrap();
        let answer = theirs.query("{job=\"app\"}", now).map(|answer| elements(&answer)).unwrap_or_default();
        if answer.len() >= ours.len() {
            break answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        sleep(Duration::from_millis(200));
    };
    assert_eq!(contents(&ours), contents(&reference));
    let text = wait(&server, "{job=\"text\"}", |answer| answer.len() >= ours.len());
    assert_eq!(contents(&text), contents(&ours), "both text formats say the same");
    for name in ["scrape_samples_scraped", "scrape_samples_post_metric_relabeling"] {
        let of = |answer: &BTreeMap<String, String>| {
            answer.iter().find(|(labels, _)| labels.contains(&format!("\"{name}\""))).map(|(_, value)| value.clone())
        };
        assert!(of(&ours).is_some() && of(&ours) == of(&reference), "{name}");
    }
    let exemplars = ask(&server, "prometheus", "/api/v1/query_exemplars", &[("query", "requests_total{job=\"app\"}")]);
    assert_eq!(exemplars["data"][0]["exemplars"][0]["labels"]["trace_id"], "abc", "{exemplars}");
    let metadata = ask(&server, "prometheus", "/api/v1/metadata", &[]);
    let described = |name: &str| metadata["data"][name][0]["type"].as_str().unwrap_or("").to_owned();
    assert_eq!(
        ["requests_total", "latency_seconds", "size_bytes", "temperature_celsius"].map(described),
        ["counter", "histogram", "summary", "gauge"],
        "{metadata}"
    );
}

#[test]
fn what_is_not_there_any_more_is_stale_at_once_and_up_goes_on_after_a_kill() {
    if !installed("prometheus_client") {
        return;
    }
    let mut target = Target::start(0);
    let port = target.port;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("monocle.toml"), job("app", port, "")).unwrap();
    let server = Server::start(home.path(), &["--self-scrape", "--scrape-interval", "1s"]);
    wait(&server, "count(requests_total)", |answer| answer.values().any(|v| v == "2"));
    target.remove();
    wait(&server, "count(requests_total)", |answer| answer.values().any(|v| v == "1"));
    let health = |server: &Server| {
        let answer = ask(server, "prometheus", "/api/v1/targets", &[("scrapePool", "app")]);
        answer["data"]["activeTargets"][0].clone()
    };
    assert_eq!((&health(&server)["health"], &health(&server)["lastError"]), (&"up".into(), &"".into()));
    let families = ask(&server, "prometheus", "/api/v1/targets/metadata", &[("match_target", "{job=\"app\"}"), ("metric", "requests")]);
    assert_eq!((&families["data"][0]["type"], &families["data"][0]["help"]), (&"counter".into(), &"Requests\nby \"path\".".into()));
    assert_eq!(ask(&server, "prometheus", "/api/v1/scrape_pools", &[])["data"]["scrapePools"], serde_json::json!(["app", "monocle"]));
    drop(target);
    wait(&server, "up{job=\"app\"}", |answer| answer.values().eq(["0"]));
    assert!(query(&server, "requests_total or latency_seconds_count").is_empty(), "stale with the failed scrape");
    assert_eq!(health(&server)["health"], "down");
    assert!(health(&server)["lastError"].as_str().unwrap().contains("refused"), "{}", health(&server));
    let mut target = Target::start(port);
    wait(&server, "up{job=\"app\"} and on(job) requests_total", |answer| answer.values().eq(["1"]));
    // Its own metrics come without a network, from the same process.
    wait(&server, "monocle_scrapes_total{job=\"monocle\",outcome=\"ok\"}", |answer| answer.len() == 1);
    let before: f64 = query(&server, "count_over_time(up{job=\"app\"}[5m])").into_values().next().unwrap().parse().unwrap();
    server.kill9();
    let server = Server::start(home.path(), &[]);
    wait(&server, "count_over_time(up{job=\"app\"}[5m])", |answer| {
        answer.values().next().is_some_and(|value| value.parse::<f64>().unwrap() > before + 1.0)
    });
    target.remove();
    assert!(server.stop().success());
}
