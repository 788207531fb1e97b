//! The documentation says what is there: each route of the router, links that lead somewhere, and files that are read as they stand.

#[path = "support/families.rs"]
mod families;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(at: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The first argument of every `.route(` outside tests: the router's own definition. One that is named `path` comes from a list.
fn routes() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&top().join("src"), &mut files);
    let mut routes = BTreeSet::new();
    for file in files {
        if file.components().any(|part| part.as_os_str().to_string_lossy().contains("tests")) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let live = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for call in live.split(".route(").skip(1) {
            match call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                Some(path) => drop(routes.insert(path.to_owned())),
                None => assert!(call.starts_with("path,"), "{}: a route without a literal path", file.display()),
            }
        }
        // Lists of paths that have one answer each; a loop makes routes of them.
        for list in live.split("const ").skip(1).filter(|c| c.starts_with("EMPTY:") || c.starts_with("UNSERVED:")) {
            routes.extend(paths(list));
        }
        routes.extend(live.split("let pages = [").skip(1).flat_map(paths));
    }
    routes
}

/// Those of a list, up to its end.
fn paths(list: &str) -> Vec<String> {
    let list = list.split("];").next().unwrap_or_default();
    list.split('"').filter(|text| text.starts_with('/')).map(str::to_owned).collect()
}

#[test]
fn every_route_is_in_the_reference_and_the_reverse() {
    let page = fs::read_to_string(top().join("docs/http.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `/")).filter_map(|line| line.split('|').nth(1));
    let told: BTreeSet<String> = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    let routes = routes();
    assert!(routes.len() > 80, "{routes:?}");
    let missing: Vec<_> = routes.difference(&told).collect();
    let gone: Vec<_> = told.difference(&routes).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/http.md: missing {missing:?}, not there {gone:?}");
}

#[test]
fn every_metric_is_in_the_reference_and_the_reverse() {
    let page = fs::read_to_string(top().join("docs/metrics.md")).unwrap();
    let table = page.split("## All of them").nth(1).unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `monocle_")).map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let told: BTreeSet<(String, String)> = rows
        .map(|row| {
            let name = row[1].trim_matches('`');
            let family =
                if row[2] == "counter" { name.strip_suffix("_total").unwrap() } else { name.strip_suffix("_info").unwrap_or(name) };
            (family.to_owned(), row[3].to_owned())
        })
        .collect();
    let families: BTreeSet<(String, String)> = families::families().into_iter().collect();
    assert!(families.len() > 30, "{families:?}");
    let missing: Vec<_> = families.difference(&told).collect();
    let gone: Vec<_> = told.difference(&families).collect();
    assert!(missing.is_empty() && gone.is_empty(), "docs/metrics.md: missing {missing:?}, not there {gone:?}");
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![top().join("README.md"), top().join("ARCHITECTURE.md")];
    pages.extend(fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages
}

/// Headings as links name them.
fn anchors(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim().to_lowercase());
    headings.map(|text| text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn pages_refer_to_what_is_there() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            assert!(anchor.is_none_or(|anchor| anchors(&target).contains(anchor)), "{}: {link}: there is no such heading", page.display());
        }
    }
}

/// What stands between fences of this language.
fn blocks(language: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let fence = format!("```{language}\n");
        found.extend(text.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(|block| (page.clone(), block.to_owned())));
    }
    found
}

#[test]
fn files_in_the_pages_are_read_as_they_stand() {
    let (tables, yaml) = (blocks("toml"), blocks("yaml"));
    assert!(tables.len() > 1 && yaml.len() > 2, "{} and {}", tables.len(), yaml.len());
    let home = tempfile::tempdir().unwrap();
    for (page, text) in tables {
        fs::write(home.path().join("monocle.toml"), &text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_monocle")).arg("check-config").current_dir(home.path()).env_clear().output().unwrap();
        assert!(output.status.success(), "{}: {text}\n{}", page.display(), String::from_utf8_lossy(&output.stderr));
    }
    for (page, text) in yaml {
        let read: Result<serde_json::Value, _> = serde_yaml_ng::from_str(&text);
        assert!(read.as_ref().is_ok_and(serde_json::Value::is_object), "{}: {text}\n{read:?}", page.display());
    }
}
