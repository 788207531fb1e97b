//! Runs `logqltest` files (contracts/loki.md 4.1) over the engine: entries are loaded directly, nothing is aligned or
//! limited. The files are read from `$MONOCLE_CONFORMANCE/logql` or `../shared/conformance/upstream/logql`, never
//! copied. Prints `logql: N of M pass`; for `../shared`, fails below the line `logql N` of `.ci/floor`.

#![allow(clippy::print_stdout)] // a runner without a harness speaks for itself

#[path = "logql/script.rs"]
mod script;

use monocle::logs::logql::ast::Expr;
use monocle::logs::logql::eval::{Engine, Series, Stats, Steps, Value, run_metric};
use monocle::logs::logql::parse;
use monocle::logs::{Config, LogRows, LogsSpec};
use monocle::model::{Labels, TenantId};
use monocle::query::{Context, QueryError};
use monocle::runtime::ManualClock;
use monocle::storage::{Head, Spec, View};
use script::{Command, Eval, Expectation, parse_script};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

fn main() -> ExitCode {
    let given = std::env::var_os("MONOCLE_CONFORMANCE").map(|d| PathBuf::from(d).join("logql"));
    let floor_applies = given.is_none();
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/upstream/logql");
    let directory = given.unwrap_or(shared);
    let Ok(entries) = std::fs::read_dir(&directory) else {
        println!("logql: skipped, {} is not there", directory.display());
        return ExitCode::SUCCESS;
    };
    let mut files: Vec<PathBuf> =
        entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| p.extension().is_some_and(|e| e == "logqltest")).collect();
    files.sort();
    let (mut passed, mut all) = (0, 0);
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a readable script");
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        run_script(&text, &name, &mut passed, &mut all);
    }
    println!("logql: {passed} of {all} pass");
    let floor = if floor_applies { floor() } else { 0 };
    if passed < floor {
        println!("logql: below the floor of {floor}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn floor() -> usize {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/floor")).unwrap_or_default();
    text.lines().find_map(|l| l.strip_prefix("logql ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

fn run_script(text: &str, name: &str, passed: &mut usize, all: &mut usize) {
    let mut loaded: Vec<LogRows> = Vec::new();
    for command in parse_script(text) {
        match command {
            Ok(Command::Clear) => loaded.clear(),
            Ok(Command::Load(rows)) => loaded.push(rows),
            Ok(Command::Eval(eval)) => {
                *all += 1;
                match run_eval(&eval, &loaded) {
                    Ok(()) => *passed += 1,
                    Err(why) => println!("{name}:{}: {}\n    {why}", eval.line, eval.query),
                }
            }
            Err(why) => {
                *all += 1;
                println!("{name}: {why}");
            }
        }
    }
}

fn view(loaded: &[LogRows]) -> View<LogsSpec> {
    let spec = LogsSpec::new(Config::default(), Arc::new(ManualClock::default()));
    let tenant = TenantId::default_tenant();
    let head = spec.new_head(&tenant);
    for rows in loaded {
        head.apply(rows.clone());
    }
    View::of_heads(tenant, vec![head.snapshot()])
}

fn evaluate(eval: &Eval, loaded: &[LogRows]) -> Result<Value, String> {
    let expr = match parse(&eval.query).map_err(|e| e.to_string())? {
        Expr::Metric(expr) => expr,
        Expr::Log(_) => return Err("not a metric query".into()),
    };
    let (view, ctx) = (view(loaded), Context::new(TenantId::default_tenant(), Duration::from_secs(60), 1 << 30));
    let engine = Engine { view: &view, ctx: &ctx, now: eval.steps.end };
    run_metric(&engine, &expr, &eval.steps, &mut Stats::default()).map_err(|e: QueryError| e.to_string())
}

fn run_eval(eval: &Eval, loaded: &[LogRows]) -> Result<(), String> {
    let result = evaluate(eval, loaded);
    if let Expectation::Fail(pattern) = &eval.expectation {
        return match result {
            Err(message) if pattern.is_match(&message) => Ok(()),
            Err(message) => Err(format!("failed with {message:?}, not {pattern}")),
            Ok(_) => Err("did not fail".into()),
        };
    }
    match (&eval.expectation, result?) {
        (Expectation::Scalar(want), Value::Scalar(got)) if close(*want, got) => Ok(()),
        (Expectation::Scalar(want), got) => Err(format!("{got:?}, not the scalar {want}")),
        (Expectation::Series(want), got) => compare(want, got.into_series(&eval.steps), &eval.steps, eval.ordered),
        (Expectation::Fail(_), _) => Ok(()),
    }
}

fn close(a: f64, b: f64) -> bool {
    (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

type Wanted = (Labels, Vec<Option<f64>>);

fn compare(want: &[Wanted], got: Vec<Series>, steps: &Steps, ordered: bool) -> Result<(), String> {
    let got: Vec<Series> = got.into_iter().filter(|s| !s.points.is_empty()).collect();
    if ordered {
        let order = |labels: Vec<String>| labels.join(" ");
        let (a, b) = (order(want.iter().map(|w| w.0.to_string()).collect()), order(got.iter().map(|s| s.labels.to_string()).collect()));
        if a != b {
            return Err(format!("order {b}, not {a}"));
        }
    }
    if want.len() != got.len() {
        let names: Vec<String> = got.iter().map(|s| format!("{} {:?}", s.labels, s.points)).collect();
        return Err(format!("{} series, not {}: {}", got.len(), want.len(), names.join("; ")));
    }
    let by_labels: BTreeMap<&Labels, &Series> = got.iter().map(|s| (&s.labels, s)).collect();
    for (labels, points) in want {
        let Some(series) = by_labels.get(labels) else {
            return Err(format!("no series {labels}; there is {}", got[0].labels));
        };
        let mut values = vec![None; steps.count() as usize];
        series.points.iter().for_each(|(number, value)| values[*number as usize] = Some(*value));
        let same = |(a, b): (&Option<f64>, &Option<f64>)| match (a, b) {
            (Some(a), Some(b)) => close(*a, *b),
            (a, b) => a == b,
        };
        if points.len() != values.len() || !points.iter().zip(&values).all(same) {
            return Err(format!("{labels}: {values:?}, not {points:?}"));
        }
    }
    Ok(())
}
