//! The documentation says what is there: each route of the router, and links that lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

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
fn pages_refer_to_files_that_are_there() {
    let mut pages = vec![top().join("README.md"), top().join("ARCHITECTURE.md")];
    pages.extend(fs::read_dir(top().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !link.contains("://") && !file.is_empty() {
                assert!(page.parent().unwrap().join(file).exists(), "{}: {link}", page.display());
            }
        }
    }
}
