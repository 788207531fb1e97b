//! Runs scripts in Prometheus's test language over the engine with a storage in memory (contracts/prometheus.md 6).
//!
//! Reads `*.test` of the directory `promql` below `MONOCLE_CONFORMANCE`, or below the conformance data beside the
//! repository; without either it says so and passes. Each evaluation is a case: it passes if its result and notes are as
//! expected, at other times with pinned selectors, and as a step of a range query.

#![allow(clippy::print_stdout)]

#[path = "promql/check.rs"]
mod check;
#[path = "promql/compare.rs"]
mod compare;
#[path = "promql/script.rs"]
mod script;
#[path = "promql/series.rs"]
mod series;
#[path = "promql/storage.rs"]
mod storage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the scripts are, and whether the floor applies to them.
fn corpus() -> Option<(PathBuf, bool)> {
    if let Some(named) = std::env::var_os("MONOCLE_CONFORMANCE") {
        return Some((PathBuf::from(named).join("promql"), false));
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/upstream/promql");
    shared.is_dir().then_some((shared, true))
}

/// The line `promql N` of `.ci/floor`.
fn floor() -> usize {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/floor")).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("promql ")?.trim().parse().ok()).unwrap_or(0)
}

fn main() -> ExitCode {
    let Some((directory, has_floor)) = corpus() else {
        println!("promql: skipped, there is no ../shared/conformance and MONOCLE_CONFORMANCE is not set");
        return ExitCode::SUCCESS;
    };
    let show: usize = std::env::var("MONOCLE_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let only = std::env::var("MONOCLE_ONLY").unwrap_or_default();
    let mut files: Vec<PathBuf> = match std::fs::read_dir(&directory) {
        Ok(entries) => entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "test")).collect(),
        Err(error) => {
            println!("promql: cannot read {}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
    };
    files.sort();
    files.retain(|f| f.to_string_lossy().contains(&only));
    let reports: Vec<check::Report> = std::thread::scope(|scope| {
        let half = files.len().div_ceil(2).max(1);
        let workers: Vec<_> =
            files.chunks(half).map(|part| scope.spawn(move || part.iter().map(|f| check::run_file(f)).collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap_or_default()).collect()
    });
    let (mut passed, mut total) = (0, 0);
    for report in reports {
        println!("{}: {}/{}", report.name, report.passed, report.total);
        for failure in report.failures.iter().take(show) {
            println!("    {failure}");
        }
        passed += report.passed;
        total += report.total;
    }
    println!("promql: {passed} of {total} pass");
    let floor = if has_floor && only.is_empty() { floor() } else { 0 };
    if passed < floor {
        println!("promql: fewer than the {floor} of .ci/floor");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
