//! The page in headless Chromium, against the real binary with the shop of `../shared/conformance` at present times.
//! `ui/tests/browser.mjs` says what is looked at; screenshots are left in `target/tmp/screenshots`.
//!
//! Skipped by name without Node, Chromium, `ui/node_modules` or the shop; under `MONOCLE_CLIENTS=required` only the last
//! may be missing.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use support::Server;

fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("MONOCLE_CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.exists())
}

/// What is not there, unless it must be.
fn missing(what: &str) {
    assert!(!std::env::var("MONOCLE_CLIENTS").is_ok_and(|v| v == "required"), "there is no {what}, and MONOCLE_CLIENTS=required");
    eprintln!("skipped: there is no {what}");
}

#[test]
fn the_page_in_a_browser() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let conformance = top.join("../shared/conformance");
    if !conformance.join("make_dataset.py").exists() {
        eprintln!("skipped: there is no ../shared/conformance, which makes the shop");
        return;
    }
    if !Command::new("node").arg("--version").output().is_ok_and(|o| o.status.success()) {
        return missing("node");
    }
    let Some(chromium) = chromium() else { return missing("chromium") };
    if !top.join("ui/node_modules/playwright-core").exists() {
        return missing("ui/node_modules/playwright-core (npm ci in ui/)");
    }
    let home = tempfile::tempdir().unwrap();
    let server = Server::start(home.path(), &[]);
    let shop = home.path().join("shop");
    #[expect(clippy::disallowed_methods, reason = "the shop is loaded at present times")]
    let half_an_hour_ago = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 1_800;
    let python = std::env::var("MONOCLE_PYTHON").unwrap_or_else(|_| "python3".into());
    let (made, conform) = (conformance.join("make_dataset.py"), conformance.join("conform.py"));
    let load = format!(
        "{python} {made} {shop} {half_an_hour_ago} && {python} {conform} load --dataset {shop} --otlp {otlp} --push {loki}",
        made = made.display(),
        shop = shop.display(),
        conform = conform.display(),
        otlp = server.url("otlp_http"),
        loki = server.url("loki"),
    );
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
    let mut node = Command::new("node");
    node.arg(top.join("ui/tests/browser.mjs")).arg(server.url("web")).arg(&shots).arg(chromium).env("MONOCLE_LOAD", load);
    let output = node.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\nscreenshots are in {}", shots.display());
    eprintln!("{said}");
}
