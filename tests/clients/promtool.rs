//! Prometheus's own tool as a client; it lies beside `prometheus`, or is named by `MONOCLE_PROMTOOL`.

use super::support::Server;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn binary() -> PathBuf {
    let beside = || PathBuf::from(std::env::var_os("MONOCLE_SENDER").unwrap_or_else(|| "prometheus".into())).with_file_name("promtool");
    std::env::var_os("MONOCLE_PROMTOOL").map_or_else(beside, PathBuf::from)
}

fn installed() -> bool {
    let has = Command::new(binary()).arg("--version").output().is_ok_and(|o| o.status.success());
    let required = std::env::var("MONOCLE_CLIENTS").is_ok_and(|v| v == "required");
    assert!(has || !required, "there is no promtool, and MONOCLE_CLIENTS=required");
    if !has {
        eprintln!("skipped: there is no promtool");
    }
    has
}

/// Whether it succeeded, and what it said.
fn promtool(arguments: &[&str], input: &[u8]) -> (bool, String) {
    let mut command = Command::new(binary());
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn promtool_queries_and_finds_nothing_wrong_with_our_own_metrics() {
    if !installed() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &["--self-scrape", "--scrape-interval", "1s"]);
    let url = server.url("prometheus");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !promtool(&["query", "instant", &url, "count_over_time(up[1m]) > 2"], b"").1.contains("=>") {
        assert!(Instant::now() < deadline, "nothing is scraped; monocle said:\n{}", server.log());
        sleep(Duration::from_millis(200));
    }
    for (arguments, want) in [
        (&["query", "instant", &url, "up"][..], "up{"),
        (&["query", "range", "--step=1s", &url, "up"], "1 @["),
        (&["query", "series", "--match=up", &url], "__name__=\"up\""),
        (&["query", "labels", &url, "job"], "monocle"),
    ] {
        let (success, said) = promtool(arguments, b"");
        assert!(success && said.contains(want), "{arguments:?}: {said}");
    }
    let (success, said) = promtool(&["query", "instant", &url, "up{"], b"");
    assert!(!success && said.contains("parse error"), "{said}");
    let (_, said) = promtool(&["check", "metrics"], &server.get("prometheus", "/metrics").body);
    assert!(!said.contains("no help text") && !said.contains("error"), "{said}");
}
