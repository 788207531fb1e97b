//! A real Prometheus as the sender of remote write: `MONOCLE_SENDER` names the binary, else `prometheus` (Debian's package).

use super::ask;
use super::support::{Answer, Server, ask_at};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Starting, a dozen scrapes and sending on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

fn binary() -> std::ffi::OsString {
    std::env::var_os("MONOCLE_SENDER").unwrap_or_else(|| "prometheus".into())
}

pub fn installed() -> bool {
    let has = Command::new(binary()).arg("--version").output().is_ok_and(|o| o.status.success());
    let required = std::env::var("MONOCLE_CLIENTS").is_ok_and(|v| v == "required");
    assert!(has || !required, "there is no prometheus, and MONOCLE_CLIENTS=required");
    if !has {
        eprintln!("skipped: there is no prometheus");
    }
    has
}

/// A Prometheus that runs until it is dropped.
pub struct Prometheus {
    child: Child,
    address: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    /// Scrapes itself every second, and writes what it has to `server`.
    fn sending(home: &Path, server: &Server) -> Prometheus {
        Prometheus::start(home, &[], |address| {
            format!(
                "global: {{scrape_interval: 1s}}\n\
                 scrape_configs: [{{job_name: sender, static_configs: [{{targets: ['{address}']}}]}}]\n\
                 remote_write: [{{url: '{}/api/v1/write', queue_config: {{batch_send_deadline: 200ms}}, metadata_config: {{send_interval: 1s}}}}]\n",
                server.url("prometheus")
            )
        })
    }

    /// With the configuration that `config` makes of its own address.
    pub fn start(home: &Path, flags: &[&str], config: impl FnOnce(&str) -> String) -> Prometheus {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let config = config(&address);
        let file = home.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(binary())
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", home.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, address }
    }

    pub fn query(&self, query: &str, time: f64) -> Option<Value> {
        self.ask("/api/v1/query", &[("query", query), ("time", &format!("{time:.3}"))])
    }

    /// None while it does not listen yet.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let path = format!("{path}?{}", query.extend_pairs(parameters).finish());
        ask_at(&self.address, "GET", &path, None).ok().map(|answer: Answer| answer.json())
    }
}

/// The elements of a vector by their labels.
pub fn elements(answer: &Value) -> BTreeMap<String, String> {
    let element = |e: &Value| (e["metric"].to_string(), e["value"][1].as_str().unwrap_or("").to_owned());
    answer["data"]["result"].as_array().map(|all| all.iter().map(element).collect()).unwrap_or_default()
}

const COUNTER: &str = "prometheus_tsdb_head_samples_appended_total";

#[test]
fn what_a_prometheus_sends_gives_the_rates_that_it_gives_itself() {
    if !installed() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let sender = Prometheus::sending(home.path(), &server);
    let deadline = Instant::now() + LIMIT;
    let ours = |query: &str, time: &str| ask(&server, "prometheus", "/api/v1/query", &[("query", query), ("time", time)]);
    // Fifteen seconds of samples, and a scrape after them, so that everything before it has arrived. The time lies between
    // two scrapes: before 3.0, a window also had the sample at its very start.
    let until = loop {
        assert!(Instant::now() < deadline, "nothing arrives; monocle said:\n{}", server.log());
        sleep(Duration::from_millis(300));
        let answer = ask(
            &server,
            "prometheus",
            "/api/v1/query",
            &[("query", &format!("timestamp({COUNTER}) and count_over_time({COUNTER}[5m]) > 15"))],
        );
        if let Some(newest) = elements(&answer).into_values().next() {
            break newest.parse::<f64>().unwrap() - 1.4;
        }
    };
    let time = format!("{until:.3}");
    for query in [
        format!("rate({COUNTER}[10s])"),
        "rate(prometheus_http_request_duration_seconds_bucket[10s])".to_owned(),
        "sum by (handler) (rate(prometheus_http_response_size_bytes_sum[10s]))".to_owned(),
        "up".to_owned(),
        "count({__name__=~\".+\"})".to_owned(),
    ] {
        let answer = sender.query(&query, until).unwrap();
        let theirs = elements(&answer);
        assert!(!theirs.is_empty(), "{query}: {answer}");
        assert_eq!(elements(&ours(&query, &time)), theirs, "{query}");
    }
    let metadata = ask(&server, "prometheus", "/api/v1/metadata", &[("metric", COUNTER)]);
    assert_eq!(metadata["data"][COUNTER][0]["type"], "counter", "{metadata}");
}
