//! Runs TraceQL corpora shaped like the upstream one: a YAML file whose top-level keys say what becomes of the queries below
//! them. From `MONOCLE_CONFORMANCE/traceql`, or `../shared/conformance/upstream/traceql`, where `.ci/floor` must be met.

#![allow(clippy::print_stdout, reason = "what a runner is for")]

use monocle::traces::traceql::{CheckError, check, parse};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let named = std::env::var_os("MONOCLE_CONFORMANCE").map(|dir| PathBuf::from(dir).join("traceql"));
    let shared = root.join("../shared/conformance/upstream/traceql");
    let own = named.is_none();
    let directory = named.unwrap_or(shared);
    let Some(files) = corpora(&directory) else {
        println!("traceql: skipped, there is nothing at {}", directory.display());
        return ExitCode::SUCCESS;
    };
    let (mut passed, mut total) = (0, 0);
    for file in files {
        let (good, all) = run(&file);
        passed += good;
        total += all;
    }
    println!("traceql: {passed} of {total} pass");
    let floor = if own { floor(root) } else { 0 };
    if passed < floor {
        println!("traceql: below the floor of {floor}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// The YAML files of a directory, in order; `None` if there are none.
fn corpora(directory: &Path) -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).ok()?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml" || e == "yml"));
    files.sort();
    (!files.is_empty()).then_some(files)
}

fn floor(root: &Path) -> usize {
    let text = std::fs::read_to_string(root.join(".ci/floor")).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("traceql ")?.trim().parse().ok()).unwrap_or(0)
}

fn run(file: &Path) -> (usize, usize) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let corpus: serde_yaml_ng::Mapping = match serde_yaml_ng::from_str(&text) {
        Ok(corpus) => corpus,
        Err(error) => {
            println!("traceql: {} is not a corpus: {error}", file.display());
            return (0, 1);
        }
    };
    let (mut passed, mut total) = (0, 0);
    for (kind, queries) in &corpus {
        let kind = kind.as_str().unwrap_or_default();
        if kind == "dump" {
            continue;
        }
        for query in queries.as_sequence().into_iter().flatten().filter_map(|q| q.as_str()) {
            total += 1;
            match judge(kind, query) {
                Ok(()) => passed += 1,
                Err(why) => println!("  {kind}: {query}\n      {why}"),
            }
        }
    }
    (passed, total)
}

/// Why a query does not do what its key says.
fn judge(kind: &str, text: &str) -> Result<(), String> {
    let query = match (kind, parse(text)) {
        ("parse_fails", Err(_)) => return Ok(()),
        ("parse_fails", Ok(query)) => return Err(format!("parses as {query}")),
        (_, Err(error)) => return Err(error.to_string()),
        (_, Ok(query)) => query,
    };
    let checked = check(&query);
    match (kind, &checked) {
        ("valid", Ok(())) | ("unsupported", Err(CheckError::Unsupported(_))) => {}
        ("validate_fails", Err(CheckError::Invalid(_))) => return Ok(()),
        _ => return Err(format!("checked: {checked:?}")),
    }
    let printed = query.to_string();
    match parse(&printed) {
        Ok(again) if again == query => Ok(()),
        other => Err(format!("printed as {printed}, which gives {other:?}")),
    }
}
