//! House rules that a compiler does not know, checked by reading `src/`: which room may import which, where heavy crates
//! live, what nobody may call. ARCHITECTURE.md says why; this file is the authority on what.
//!
//! A finding names the file, the line and what to do instead. An exception is listed below with its reason, and fails when
//! nothing needs it any more.

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use rules::RULES;
use source::Source;
use std::path::Path;

/// A rule, the file that may break it, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

#[test]
fn the_sources_keep_the_house_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = source::read_all(root);
    assert!(sources.len() > 50, "only {} files found below {}/src", sources.len(), root.display());
    let mut findings = Vec::new();
    let mut used = vec![false; EXCEPTIONS.len()];
    for source in &sources {
        for rule in RULES {
            let exception = EXCEPTIONS.iter().position(|(name, path, _)| *name == rule.name && *path == source.path);
            for (line, text) in (rule.check)(source) {
                match exception {
                    Some(at) => used[at] = true,
                    None => findings.push(format!("{}:{line}: [{}] {text}", source.path, rule.name)),
                }
            }
        }
    }
    let stale = EXCEPTIONS.iter().zip(used).filter(|(_, used)| !used);
    findings.extend(stale.map(|((rule, path, _), _)| format!("{path}: the exception from [{rule}] is not needed any more: remove it")));
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
}

/// The lines at which `rule` finds something in `text`, if that were the file at `path`.
fn lines(rule: &str, path: &str, text: &str) -> Vec<usize> {
    let rule = RULES.iter().find(|r| r.name == rule).unwrap_or_else(|| panic!("no rule {rule}"));
    (rule.check)(&Source::new(path, text, false)).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn every_rule_has_a_test() {
    let text = include_str!("tidy.rs");
    for rule in RULES {
        assert!(text.contains(&format!("lines(\"{}\"", rule.name)), "rule {} is not fed a bad snippet", rule.name);
    }
}

#[test]
fn imports_go_down_only() {
    assert_eq!(lines("imports", "src/logs/api/tail.rs", "use crate::{\n  model::{Labels, time},\n  traces::TracesSpec,\n};"), [3]);
    assert_eq!(lines("imports", "src/storage/store.rs", "fn f(x: &crate::query::Pool) {}"), [1]);
    assert_eq!(lines("imports", "src/ingest/door.rs", "\nuse crate::query::Pool;"), [2]);
    assert_eq!(lines("imports", "src/model/ids.rs", "use crate::runtime::Clock;"), [1]);
    assert_eq!(lines("imports", "src/web/otlp.rs", "use crate::storage::Refusals;"), [1]);
    assert_eq!(lines("imports", "src/metrics/head.rs", "use super::super::logs::X;"), [1]);
    assert_eq!(lines("imports", "src/logs/mod.rs", "use super::metrics::X;"), [1]);
    assert_eq!(lines("imports", "src/shed/mod.rs", "use crate::model::Labels;"), [1], "a room that is not in the table");
    assert_eq!(lines("imports", "src/logs/mod.rs", "use crate::model; // crate::traces\nuse crate::{storage::Spec, web};"), [0; 0]);
    assert_eq!(lines("imports", "src/logs/api/tail.rs", "use super::super::LogsSpec;\nmod x { use crate::logs::y; }"), [0; 0]);
    assert_eq!(lines("imports", "src/server/mod.rs", "use crate::{metrics, derive, config};"), [0; 0]);
    assert_eq!(lines("imports", "src/logs/mod.rs", "#[cfg(test)]\nmod tests { use super::*; }"), [0; 0]);
}

#[test]
fn heavy_crates_stay_at_home() {
    assert_eq!(lines("homes", "src/logs/api/query.rs", "use parquet::arrow::ArrowWriter;"), [1]);
    assert_eq!(lines("homes", "src/logs/logql/eval.rs", "fn f() {\n  axum::Router::new()\n}"), [2]);
    assert_eq!(lines("homes", "src/traces/head.rs", "use {bytes::Bytes, opentelemetry_proto as otlp};"), [1]);
    assert_eq!(
        lines("homes", "src/storage/store.rs", "use rusqlite::Connection;\nuse object_store::path;\nuse datafusion::prelude::*;"),
        [1, 2, 3]
    );
    assert_eq!(lines("homes", "src/logs/api/mod.rs", "use prost::Message;\nuse tonic::Status;"), [1, 2]);
    assert_eq!(lines("homes", "src/logs/otlp/mod.rs", "use prost::Message;"), [0; 0]);
    assert_eq!(lines("homes", "src/traces/otlp.rs", "use opentelemetry_proto::tonic::trace::v1::Span;"), [0; 0]);
    assert_eq!(
        lines("homes", "src/storage/store.rs", "use crate::storage::parquet::X; // parquet::Y\nlet parquet = \"parquet::\";"),
        [0; 0]
    );
    assert_eq!(lines("homes", "src/web/tests.rs", "use crate::web;"), [0; 0]);
}

#[test]
fn names_say_something() {
    assert_eq!(lines("names", "src/logs/utils.rs", ""), [1]);
    assert_eq!(lines("names", "src/common/mod.rs", ""), [1]);
    assert_eq!(lines("names", "src/logs/mod.rs", "\nmod helpers;"), [2]);
    assert_eq!(lines("names", "src/logs/commonality.rs", "mod head; fn helpers() {}"), [0; 0]);
}

#[test]
fn the_world_comes_from_runtime() {
    let bad = "use std::fs;\nlet t = SystemTime::now();\nchrono::Utc::now();\nrand::random::<u8>();\ntokio::fs::read(p);\nuse std::{fs::File, io};";
    assert_eq!(lines("world", "src/server/mod.rs", bad), [1, 2, 3, 4, 5, 6]);
    assert_eq!(lines("world", "src/runtime/disk.rs", bad), [0; 0]);
    assert_eq!(lines("world", "src/storage/tier/mod.rs", bad), [0; 0]);
    assert_eq!(lines("world", "src/storage/wal/lane.rs", "let t = Instant::now(); let s = x.fs::<u8>();"), [0; 0]);
    assert_eq!(lines("world", "src/logs/mod.rs", "#[cfg(test)]\nmod tests {\n  use std::fs;\n}"), [0; 0]);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    assert_eq!(lines("unwrap", "src/logs/mod.rs", "fn f() {\n  x\n    .unwrap()\n}"), [3]);
    assert_eq!(lines("unwrap", "src/logs/mod.rs", "#[test]\nfn f() { x.unwrap() }\nfn g() { y.unwrap(); }"), [3]);
    assert_eq!(lines("unwrap", "src/logs/mod.rs", "x.unwrap_or(1); \"x.unwrap()\"; /* x.unwrap() */ r#\"\"x.unwrap()\"#"), [0; 0]);
    assert_eq!(lines("unwrap", "src/logs/mod.rs", "#[cfg(all(test, unix))]\n#[x]\nmod tests { fn f() { x.unwrap() } }"), [0; 0]);
    assert_eq!(lines("unwrap", "src/logs/mod.rs", "#[cfg(not(test))]\nfn f() { x.unwrap() }"), [2]);
}

#[test]
fn unsafe_says_why_it_is_safe() {
    assert_eq!(lines("unsafe", "src/logs/mod.rs", "fn f() {\n  unsafe { g() }\n}"), [2]);
    assert_eq!(
        lines(
            "unsafe",
            "src/logs/mod.rs",
            "fn f() {\n  // SAFETY: measured 30 % faster; the index was checked above.\n  unsafe { g() }\n}"
        ),
        [0; 0]
    );
}

#[test]
fn files_have_an_end() {
    assert_eq!(lines("length", "src/logs/mod.rs", &"x;\n".repeat(1_001)), [1_001]);
    assert_eq!(lines("length", "src/logs/mod.rs", &"x;\n".repeat(1_000)), [0; 0]);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two parts, so that a search for these words finds the places that matter.
    let stub = format!("fn f() {{ {}!() }}\n// {}: later\nlet s = \"{}\";", concat!("to", "do"), concat!("FIX", "ME"), concat!("X", "XX"));
    assert_eq!(lines("stubs", "src/logs/mod.rs", &stub), [1, 2, 3]);
    assert_eq!(lines("stubs", "src/logs/mod.rs", &format!("{}!()", concat!("unimpl", "emented"))), [1]);
    let unused = format!("#[allow(dead_code)]\nfn f() {{}}\n#[test]\n#[{} = \"slow\"]\nfn g() {{}}", concat!("ign", "ore"));
    assert_eq!(lines("stubs", "src/logs/mod.rs", &unused), [1, 4]);
    assert_eq!(lines("stubs", "src/logs/mod.rs", "let todo = 1; // the todo list\nfn ignore() {}"), [0; 0]);
}

#[test]
fn test_modules_in_files_of_their_own_are_found() {
    let names = |path: &str, text: &str| Source::new(path, text, false).test_modules;
    assert_eq!(names("src/logs/mod.rs", "mod head;\n#[cfg(test)]\nmod tests;"), ["src/logs/tests"]);
    assert_eq!(names("src/logs/head.rs", "#[cfg(test)]\npub(crate) mod fixture;"), ["src/logs/head/fixture"]);
}
