//! A bucket behind TLS, whose server a company's own authority vouches for, and blocks that go up in parts.

use super::moto::Moto;
use super::support::Server;
use super::{flush, lines, lose, metric, push_large, uploaded};
use std::path::Path;
use std::process::{Command, Output};

/// They take more than one part of an upload.
const LINES: u64 = 300;

fn flags(endpoint: &str) -> [&str; 6] {
    ["--s3", "s3://bucket/tls", "--s3-endpoint", endpoint, "--s3-region", "us-east-1"]
}

/// `monocle` with these words and the bucket.
fn run(home: &Path, words: &[&str], endpoint: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_monocle"))
        .args(words)
        .args(["--data"])
        .arg(home.join("data"))
        .args(flags(endpoint))
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_bucket_behind_tls_takes_large_blocks_and_gives_everything_back() {
    let home = tempfile::tempdir().unwrap();
    let Some(moto) = Moto::start_with_tls(home.path()) else { return };
    let (endpoint, bundle) = (format!("https://{}", moto.address), home.path().join("ca.pem").display().to_string());
    let trusting = [("AWS_CA_BUNDLE", bundle.as_str())];

    let doubted = run(home.path(), &["serve"], &endpoint, &[]);
    assert!(!doubted.status.success() && said(&doubted).contains("AWS_CA_BUNDLE"), "{}", said(&doubted));
    let wrong = run(home.path(), &["serve"], &endpoint, &[("AWS_CA_BUNDLE", "/does/not/exist")]);
    assert!(!wrong.status.success() && said(&wrong).contains("AWS_CA_BUNDLE: /does/not/exist"), "{}", said(&wrong));

    let server = Server::start_with(home.path(), &flags(&endpoint), &trusting);
    push_large(&server, "large", LINES);
    flush(&server);
    uploaded(&server, 1.0);
    assert_eq!(lines(&server, "large"), LINES as usize);
    let bytes = metric(&server, "monocle_bucket_uploaded_bytes_total");
    assert!(bytes > 17e6, "{bytes} bytes are one part");
    assert!(server.stop().success());

    let verified = run(home.path(), &["verify"], &endpoint, &trusting);
    let words = said(&verified);
    assert!(verified.status.success() && words.contains(" 0 errors") && !words.contains(" 0 in the bucket"), "{words}");

    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(home.path().join("data").join(file));
    }
    let rebuilt = run(home.path(), &["catalog", "rebuild"], &endpoint, &trusting);
    assert!(rebuilt.status.success() && said(&rebuilt).contains(&format!(" {LINES} items")), "{}", said(&rebuilt));
    let server = Server::start_with(home.path(), &flags(&endpoint), &trusting);
    assert_eq!(lines(&server, "large"), LINES as usize, "after a rebuild");
    assert!(server.stop().success());

    lose(home.path());
    let server = Server::start_with(home.path(), &flags(&endpoint), &trusting);
    assert_eq!(lines(&server, "large"), LINES as usize, "from the bucket alone");
    assert!(server.stop().success());
}
