//! The rules. Each gives the lines at which a file breaks it, and what to do instead.

use super::source::{Source, Token};

pub struct Rule {
    pub name: &'static str,
    pub check: fn(&Source) -> Vec<(usize, String)>,
}

pub const RULES: &[Rule] = &[
    Rule { name: "imports", check: imports },
    Rule { name: "homes", check: homes },
    Rule { name: "names", check: names },
    Rule { name: "world", check: world },
    Rule { name: "unwrap", check: unwrap },
    Rule { name: "unsafe", check: unsafe_without_reason },
    Rule { name: "length", check: length },
    Rule { name: "stubs", check: stubs },
];

const L0: &[&str] = &["model", "runtime", "telemetry"];
const L1: &[&str] = &["storage"];
const L2: &[&str] = &["ingest", "query", "web"];
const L3: &[&str] = &["metrics", "logs", "traces"];

/// What each room may import besides itself. `model` holds the words of all, so `runtime` and `telemetry` may use them.
const ROOMS: &[(&str, &[&[&str]])] = &[
    ("model", &[]),
    ("runtime", &[&["model"]]),
    ("telemetry", &[&["model"]]),
    ("storage", &[L0]),
    ("ingest", &[L1, L0]),
    ("query", &[L1, L0]),
    ("web", &[L0]),
    ("metrics", &[L2, L1, L0]),
    ("logs", &[L2, L1, L0]),
    ("traces", &[L2, L1, L0]),
    ("derive", &[L3, L2, L1, L0]),
    ("forward", &[L2, L0]),
    ("server", L4),
    ("config", L4),
    ("cli", L4),
];
const L4: &[&[&str]] = &[&["server", "config", "cli", "derive", "forward"], L3, L2, L1, L0];

/// Where each heavy crate may be named; `*` is any one room. `web/otlp` needs prost because export responses and
/// `google.rpc.Status` are the same for all signals, and `ingest/otlp_json` because OTLP's JSON form is.
const PROTOBUF: &[&str] = &["*/otlp", "*/push", "*/remote_write", "traces/api", "metrics/api", "web/otlp", "ingest/otlp_json"];
const HOMES: &[(&str, &[&str])] = &[
    ("datafusion", &["query"]),
    ("parquet", &["storage/block", "storage/maintenance/compact"]),
    ("object_store", &["storage/tier"]),
    ("rusqlite", &["storage/catalog"]),
    ("rusqlite_migration", &["storage/catalog"]),
    ("prost", PROTOBUF),
    ("opentelemetry_proto", PROTOBUF),
    ("tonic", &["*/otlp", "traces/api", "server"]),
    ("axum", &["web", "*/api", "server"]),
];

/// Who may touch the world.
const WORLD: &[&str] = &["runtime", "storage/tier"];

const NO_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "manager", "managers", "misc"];

const LINES_MAX: usize = 1_000;

/// The path inside `src`, without `.rs` or `/mod.rs`: `logs/api/tail`.
fn module(source: &Source) -> Vec<&str> {
    let path = source.path.strip_prefix("src/").unwrap_or(&source.path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    parts
}

fn is_at_home(source: &Source, homes: &[&str]) -> bool {
    let module = module(source);
    homes.iter().any(|home| {
        let parts: Vec<&str> = home.split('/').collect();
        parts.len() <= module.len() && parts.iter().zip(&module).all(|(p, m)| *p == "*" || p == m)
    })
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |t| &t.text)
}

/// Where `pattern`, tokens with blanks between them, stands in the code.
fn find<'a>(tokens: &'a [Token], pattern: &'a str) -> impl Iterator<Item = usize> + 'a {
    let pattern: Vec<&str> = pattern.split(' ').collect();
    tokens.windows(pattern.len()).enumerate().filter(move |(_, w)| w.iter().zip(&pattern).all(|(t, p)| t.text == *p)).map(|(at, _)| at)
}

/// Every name that follows `first ::` directly or at the top level of a group, with its line.
fn names_below(tokens: &[Token], after: usize) -> Vec<(usize, String)> {
    if text(tokens, after) != "{" {
        return tokens.get(after).map(|t| (t.line, t.text.clone())).into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(after) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && ["{", ","].contains(&text(tokens, at - 1)) => names.push((token.line, token.text.clone())),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn imports(source: &Source) -> Vec<(usize, String)> {
    let module = module(source);
    let room = module[0];
    if ["lib", "main"].contains(&room) {
        return Vec::new();
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![(1, format!("room {room} is not in the table of rooms: give it a place in tests/tidy/rules.rs and ARCHITECTURE.md"))];
    };
    let mut named: Vec<(usize, String)> = find(&source.all, "crate ::").flat_map(|at| names_below(&source.all, at + 2)).collect();
    // A chain of `super` that leaves the room. Test modules stand one deeper than their file, so they are left out.
    for at in find(&source.live, "super ::").filter(|at| text(&source.live, at.saturating_sub(1)) != "::") {
        let steps = (0..).take_while(|n| text(&source.live, at + 2 * n) == "super").count();
        if steps == module.len() {
            named.extend(names_below(&source.live, at + 2 * steps));
        }
    }
    let allowed: Vec<&str> = allowed.iter().flat_map(|level| level.iter().copied()).collect();
    named
        .into_iter()
        .filter(|(_, name)| name != room && !allowed.contains(&name.as_str()))
        .map(|(line, name)| {
            let may = if allowed.is_empty() { "no other room".to_owned() } else { allowed.join(", ") };
            (line, format!("{room} imports {name}: it may import {may}; move what is needed down, or hand it in from above"))
        })
        .collect()
}

fn homes(source: &Source) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    for (name, homes) in HOMES {
        if is_at_home(source, homes) {
            continue;
        }
        for at in find(&source.live, name) {
            let inner = text(&source.live, at.wrapping_sub(1)) == "::"
                && at >= 2
                && text(&source.live, at - 2).chars().all(|c| c.is_alphanumeric());
            let is_crate = ["::", "as"].contains(&text(&source.live, at + 1)) || text(&source.live, at.wrapping_sub(1)) == "use";
            if is_crate && !inner {
                findings.push((source.live[at].line, format!("{name} lives in {}: call what that room offers", homes.join(", "))));
            }
        }
    }
    findings.sort();
    findings
}

fn names(source: &Source) -> Vec<(usize, String)> {
    let advice = |name: &str| format!("a module named {name} says nothing: name it after its subject");
    let mut findings: Vec<_> = module(source).iter().filter(|part| NO_NAMES.contains(part)).map(|part| (1, advice(part))).collect();
    for at in find(&source.all, "mod") {
        let name = text(&source.all, at + 1);
        if NO_NAMES.contains(&name) {
            findings.push((source.all[at].line, advice(name)));
        }
    }
    findings
}

fn world(source: &Source) -> Vec<(usize, String)> {
    const BANS: &[(&str, &str)] = &[
        ("SystemTime :: now", "take runtime::Clock"),
        ("Utc :: now", "take runtime::Clock"),
        ("Local :: now", "take runtime::Clock"),
        ("rand ::", "take runtime::random_u128"),
        ("fastrand ::", "take runtime::random_u128"),
        ("getrandom ::", "take runtime::random_u128"),
        ("Ulid :: new", "take storage's BlockId::new"),
    ];
    if is_at_home(source, WORLD) {
        return Vec::new();
    }
    let mut findings: Vec<(usize, String)> = BANS
        .iter()
        .flat_map(|(pattern, instead)| find(&source.live, pattern).map(move |at| (at, pattern, instead)))
        .filter(|(at, _, _)| *at == 0 || text(&source.live, at - 1) != "::" || text(&source.live, at - 2) == "chrono")
        .map(|(at, pattern, instead)| (source.live[at].line, format!("{}: {instead}", pattern.replace(' ', ""))))
        .collect();
    for at in find(&source.live, "std ::").chain(find(&source.live, "tokio ::")) {
        let used = names_below(&source.live, at + 2).into_iter().filter(|(_, name)| name == "fs");
        findings.extend(used.map(|(line, _)| (line, format!("{}::fs: take runtime::Disk", source.live[at].text))));
    }
    findings.sort();
    findings
}

fn unwrap(source: &Source) -> Vec<(usize, String)> {
    let advice = ".unwrap() outside tests: return an error, or restructure so that the case cannot be written";
    find(&source.live, ". unwrap ( )").map(|at| (source.live[at].line, advice.to_owned())).collect()
}

fn unsafe_without_reason(source: &Source) -> Vec<(usize, String)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let has_reason = |line: usize| lines[line.saturating_sub(6)..line].iter().any(|l| l.contains("SAFETY:"));
    find(&source.all, "unsafe")
        .map(|at| source.all[at].line)
        .filter(|line| !has_reason(*line))
        .map(|line| (line, "unsafe: measure the gain, and say in a SAFETY: comment above what makes it sound".to_owned()))
        .collect()
}

fn length(source: &Source) -> Vec<(usize, String)> {
    let lines = source.text.lines().count();
    let advice = || format!("{lines} lines, at most {LINES_MAX}: split it by subject");
    (lines > LINES_MAX).then(|| (lines, advice())).into_iter().collect()
}

fn stubs(source: &Source) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    for (pattern, advice) in [
        (concat!("to", "do !"), "write it, or answer a clear error"),
        (concat!("unimpl", "emented !"), "write it, or answer a clear error"),
        ("allow ( dead_code", "remove what nothing uses"),
        ("# [ ignore", "a test that does not run is none: make it fast, or skip it by name where a program is missing"),
    ] {
        let found = find(&source.all, pattern).map(|at| (source.all[at].line, format!("{}: {advice}", pattern.replace(' ', ""))));
        findings.extend(found);
    }
    for (at, line) in source.text.lines().enumerate() {
        let is_note = |word: &str| word == concat!("FIX", "ME") || word == concat!("X", "XX");
        if let Some(word) = line.split(|c: char| !c.is_alphanumeric()).find(|word| is_note(word)) {
            findings.push((at + 1, format!("{word}: do it now, or say in ARCHITECTURE.md that it is absent")));
        }
    }
    findings.sort();
    findings
}
