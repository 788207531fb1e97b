//! Whether lines made to be slow are slow: CPU time of every parser, filter and format over a line and over one ten times as
//! long. Work that grows with the length takes about ten times as long, with its square a hundred times.
//! `cargo bench --bench hostile`.

use monocle::logs::logql::ast::Expr;
use monocle::logs::logql::parse;
use monocle::logs::logql::pipeline::{LabelSet, Pipeline};
use monocle::model::Labels;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes of the shorter line; the longer one is as long as stored lines can be.
const SHORT: usize = 100_000;
const TIMES: usize = 10;
/// Growth that is taken for more than linear.
const SUSPICIOUS: f64 = 50.0;

/// Stages, and a line of about so many bytes.
type Case = (&'static str, &'static str, fn(usize) -> String);

fn members(length: usize, member: impl Fn(usize) -> String) -> String {
    let mut out = String::new();
    let mut n = 0;
    while out.len() < length {
        out.push_str(&member(n));
        n += 1;
    }
    out
}

fn object(length: usize, member: impl Fn(usize) -> String) -> String {
    format!("{{{}\"last\":1}}", members(length, member))
}

const CASES: [Case; 30] = [
    ("json, many keys", "| json", |n| object(n, |k| format!("\"k{k}\":{k},"))),
    ("json, one key many times", "| json", |n| object(n, |k| format!("\"k\":{k},"))),
    ("json, names that are one when cleaned", "| json", |n| object(n, |k| format!("\"a{}b\":{k},", ["-", ".", "/"][k % 3]))),
    ("json, long names over many members", "| json", |n| {
        format!("{{\"{}\":{}}}", "x".repeat(n / 2), object(n / 2, |k| format!("\"{k}\":0,")))
    }),
    ("json, deep", "| json", |n| "{\"a\":".repeat(n / 5)),
    ("json, arrays that do not end", "| json", |n| format!("{{\"a\":{}", "[".repeat(n))),
    ("json, a text that does not end", "| json", |n| format!("{{\"a\":\"{}", "\\\"".repeat(n / 2))),
    ("json, escapes", "| json", |n| format!("{{\"a\":\"{}\"}}", "\\ud83d\\ude00".repeat(n / 12))),
    ("json, two of many fields", r#"| json a="x.y[3]", b="last""#, |n| object(n, |k| format!("\"k{k}\":[{{}}],"))),
    ("unpack, many keys", "| unpack", |n| object(n, |k| format!("\"k{k}\":\"v\","))),
    ("logfmt, many keys", "| logfmt", |n| members(n, |k| format!("k{k}=v "))),
    ("logfmt, keys that are empty", "| logfmt --keep-empty", |n| members(n, |k| format!("k{k} "))),
    ("logfmt, equals signs", "| logfmt", |n| "=".repeat(n)),
    ("logfmt, quotes", "| logfmt", |n| "a=\"".repeat(n / 3)),
    ("logfmt, quotes that do not end", "| logfmt --strict", |n| format!("a=\"{}", "\\\\".repeat(n / 2))),
    ("logfmt, bad escapes", "| logfmt", |n| "a=\"\\x\" ".repeat(n / 7)),
    ("pattern, a literal that comes often", r#"| pattern "<a>=<b> <c>|<d>""#, |n| "=".repeat(n)),
    ("pattern filter, wildcards", r#"|> "<_>a<_>a<_>a<_>b""#, |n| "a".repeat(n)),
    ("regexp, nested repetitions", r#"| regexp "(?P<x>(a*)*)b""#, |n| "a".repeat(n)),
    ("regexp, many captures", r#"| regexp "(?P<x>.*)=(?P<y>.*)=(?P<z>.*)!""#, |n| "a=".repeat(n / 2)),
    ("line filter, nested repetitions", r#"|~ "(x+x+)+y""#, |n| "x".repeat(n)),
    ("line filter, a text that nearly matches", r#"|= "aaaaaaaaaaaaaaab""#, |n| "a".repeat(n)),
    ("ip, dots", r#"|= ip("10.0.0.0/8")"#, |n| "1.".repeat(n / 2)),
    ("ip, colons", r#"|= ip("::1")"#, |n| ":".repeat(n)),
    ("decolorize, sequences that do not end", "| decolorize", |n| "\u{1b}[0;0".repeat(n / 5)),
    ("line_format, all labels", r#"| json | line_format "{{.}}""#, |n| object(n, |k| format!("\"k{k}\":{k},"))),
    ("line_format, matches known at the end only", r#"| line_format "{{ count \"a*b|a\" __line__ }}""#, |n| "a".repeat(n)),
    ("label_format and drop", r#"| logfmt | label_format a="{{.k1}}" | drop k2, k3"#, |n| members(n, |k| format!("k{k}=v "))),
    ("keep", "| logfmt | keep k5", |n| members(n, |k| format!("k{k}=v "))),
    ("unwrapped filter", r#"| logfmt | k7 > 5 or k8 < 10ms or k9 > 1KB"#, |n| members(n, |k| format!("k{k}={k}ms "))),
];

/// The shortest of a few runs.
fn time(stages: &str, line: &str) -> Result<Duration> {
    let Expr::Log(log) = parse(&format!("{{a=\"b\"}} {stages}"))? else { return Err("not a log query".into()) };
    let pipeline = Pipeline::compile(&log.stages, None)?;
    let stream = Labels::from_pairs([("a", "b")]);
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let started = Instant::now();
        if pipeline.admits(line) {
            pipeline.process(&mut pipeline.entry(line, (0, 0), LabelSet::of_stream(&stream, None)));
        }
        best = best.min(started.elapsed());
    }
    Ok(best)
}

fn main() -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "| | {} kB, µs | {} kB, µs | times | |\n|---|---|---|---|---|", SHORT / 1000, SHORT * TIMES / 1000)?;
    for (name, stages, line) in CASES {
        let (short, long) = (time(stages, &line(SHORT))?, time(stages, &line(SHORT * TIMES))?);
        let growth = long.as_secs_f64() / short.as_secs_f64().max(1e-6);
        let said = if growth > SUSPICIOUS { "more than linear" } else { "" };
        writeln!(out, "| {name} | {} | {} | {growth:.1} | {said} |", short.as_micros(), long.as_micros())?;
    }
    Ok(())
}
