//! Runs the commands of one script.

use crate::compare::{same, same_float};
use crate::script::{Command, Eval, Notes, Text, When, parse as parse_script};
use crate::series::{Value, labels, values};
use crate::storage::Memory;
use monocle::metrics::promql::{Answer, At, Engine, Expr, Kind, Options, Point, QueryValue, parse};
use monocle::model::Labels;
use std::collections::BTreeMap;
use std::path::Path;

#[derive(Default)]
pub struct Report {
    pub name: String,
    pub passed: usize,
    pub total: usize,
    pub failures: Vec<String>,
}

pub fn run_file(path: &Path) -> Report {
    let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut report = Report { name, ..Report::default() };
    let commands = match std::fs::read_to_string(path).map_err(|e| e.to_string()).and_then(|text| parse_script(&text)) {
        Ok(commands) => commands,
        Err(error) => {
            report.failures.push(error);
            report.total = 1;
            return report;
        }
    };
    let mut memory = Memory::default();
    let mut storage = Memory::default();
    for command in commands {
        match command {
            Command::Clear => {
                memory = Memory::default();
                storage = Memory::default();
            }
            Command::Load { gap, with_nhcb, lines } => {
                if let Err(error) = memory.load(gap, with_nhcb, &lines) {
                    report.failures.push(format!("load: {error}"));
                }
                storage = memory.with_hints();
            }
            Command::Eval(eval) => {
                report.total += 1;
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&storage, &eval)));
                match outcome.unwrap_or_else(|_| Err("panicked".to_owned())) {
                    Ok(()) => report.passed += 1,
                    Err(why) => report.failures.push(format!("line {}: {}: {why}", eval.line, eval.query)),
                }
            }
        }
    }
    report
}

fn options() -> Options {
    Options { delayed_name_removal: true, use_start_timestamps: true, ..Options::default() }
}

fn ask(storage: &Memory, expr: &Expr, when: When) -> Result<Answer, String> {
    let engine = Engine::new(storage, options());
    match when {
        When::Instant(at) => engine.instant(expr, at),
        When::Range { start, end, step } => engine.range(expr, start, end, step),
    }
    .map_err(|e| e.to_string())
}

fn check(storage: &Memory, eval: &Eval) -> Result<(), String> {
    let expr = match parse(&eval.query) {
        Ok(expr) => expr,
        Err(error) => {
            let text = error.render(&eval.query);
            return match &eval.fails {
                Some(expected) => matches_text(expected.as_ref(), &text),
                None => Err(text),
            };
        }
    };
    let mut when = eval.when;
    if let (When::Instant(_), Some((_, to, _))) = (when, eval.range_vector) {
        when = When::Instant(to);
    }
    run(storage, eval, &expr, when, "")?;
    let When::Instant(at) = when else { return Ok(()) };
    check_as_step(storage, eval, &expr, at)?;
    if depends_on_time(&expr) {
        return Ok(());
    }
    let mut pinned = expr.clone();
    pin(&mut pinned, at);
    let others = if at == 0 { vec![-1000, 0, 1000] } else { vec![-10 * at, 0, at / 5, at, 10 * at] };
    for other in others {
        run(storage, eval, &pinned, When::Instant(other), &format!(" pinned, at {other}"))?;
        check_as_step(storage, eval, &pinned, other)?;
    }
    Ok(())
}

fn run(storage: &Memory, eval: &Eval, expr: &Expr, when: When, suffix: &str) -> Result<(), String> {
    let tag = |e: String| format!("{e}{suffix}");
    let answer = match (ask(storage, expr, when), &eval.fails) {
        (Ok(_), Some(_)) => return Err(tag("should have failed".to_owned())),
        (Err(error), Some(expected)) => return matches_text(expected.as_ref(), &error).map_err(tag),
        (Err(error), None) => return Err(tag(error)),
        (Ok(answer), None) => answer,
    };
    check_notes("warning", &eval.warnings, &answer.notes.warnings(&eval.query)).map_err(tag)?;
    check_notes("info", &eval.infos, &answer.notes.infos(&eval.query)).map_err(tag)?;
    check_value(eval, &answer.value).map_err(tag)
}

fn matches_text(expected: Option<&Text>, text: &str) -> Result<(), String> {
    let holds = match expected {
        None => true,
        Some(Text::Exact(wanted)) => wanted == text,
        Some(Text::Pattern(pattern)) => regex::Regex::new(pattern).map_err(|e| e.to_string())?.is_match(text),
    };
    if holds { Ok(()) } else { Err(format!("got {text:?}")) }
}

fn check_notes(kind: &str, expected: &Notes, got: &[String]) -> Result<(), String> {
    if expected.none && !got.is_empty() {
        return Err(format!("unexpected {kind}: {got:?}"));
    }
    if expected.some.is_empty() {
        return Ok(());
    }
    for note in got {
        if !expected.some.iter().any(|e| matches_text(e.as_ref(), note).is_ok()) {
            return Err(format!("unexpected {kind}: {note:?}"));
        }
    }
    for wanted in &expected.some {
        if !got.iter().any(|note| matches_text(wanted.as_ref(), note).is_ok()) {
            let wanted = match wanted {
                None => "any".to_owned(),
                Some(Text::Exact(text) | Text::Pattern(text)) => text.clone(),
            };
            return Err(format!("missing {kind} {wanted:?}, got {got:?}"));
        }
    }
    Ok(())
}

type Table = Vec<(Labels, BTreeMap<i64, Value>)>;

/// Expected series: the time of value `i` is `start + i * step`.
fn expected(eval: &Eval, start: i64, step: i64) -> Result<Table, String> {
    let mut table = Vec::new();
    for line in &eval.expected {
        let (labels, rest) = labels(line)?;
        let values = values(rest)?.into_iter().enumerate().filter(|(_, v)| !matches!(v, Value::Gap));
        table.push((labels, values.map(|(i, v)| (start + i as i64 * step, v)).collect()));
    }
    Ok(table)
}

fn point(point: &Point) -> (i64, Value) {
    match point {
        Point::Float(ts, value) => (*ts, Value::Float(*value)),
        Point::Histogram(ts, histogram) => (*ts, Value::Histogram((**histogram).clone(), false)),
    }
}

fn check_value(eval: &Eval, value: &QueryValue) -> Result<(), String> {
    match value {
        QueryValue::Scalar(_, got) => {
            let wanted = eval.expected.first().and_then(|l| crate::series::number(l)).ok_or("a scalar came out")?;
            if same_float(wanted, *got) { Ok(()) } else { Err(format!("got {got}")) }
        }
        QueryValue::Text(_, got) => match &eval.string {
            Some(wanted) if wanted == got => Ok(()),
            _ => Err(format!("got string {got:?}")),
        },
        QueryValue::Vector(elements) => {
            let got: Table = elements.iter().map(|e| (e.labels.clone(), BTreeMap::from([(0, point(&e.point).1)]))).collect();
            let wanted = expected(eval, 0, 1)?;
            if eval.ordered && !wanted.iter().map(|w| &w.0).eq(got.iter().map(|g| &g.0)) {
                return Err(format!("other order: {:?}", got.iter().map(|g| g.0.to_string()).collect::<Vec<_>>()));
            }
            same_tables(wanted, got)
        }
        QueryValue::Matrix(series) => {
            if !series.is_sorted_by(|a, b| a.labels <= b.labels) {
                return Err("the matrix is not sorted".to_owned());
            }
            let (start, step) = match (eval.when, eval.range_vector) {
                (_, Some((from, _, step))) => (from, step),
                (When::Range { start, step, .. }, None) => (start, step),
                (When::Instant(_), None) => return Err("a matrix came out".to_owned()),
            };
            let got = series.iter().map(|s| {
                let floats = s.floats().map(|(ts, v)| (ts, Value::Float(v)));
                let histograms = s.histograms.iter().map(|(ts, h)| (*ts, Value::Histogram((**h).clone(), false)));
                (s.labels.clone(), floats.chain(histograms).collect())
            });
            let wanted = expected(eval, start, step)?.into_iter().filter(|w| !w.1.is_empty()).collect();
            same_tables(wanted, got.collect())
        }
    }
}

fn same_tables(wanted: Table, got: Table) -> Result<(), String> {
    let mut got: BTreeMap<Labels, BTreeMap<i64, Value>> = got.into_iter().collect();
    for (labels, values) in wanted {
        let Some(have) = got.remove(&labels) else {
            return Err(format!("no {labels}; got {:?}", got.keys().map(ToString::to_string).collect::<Vec<_>>()));
        };
        for (ts, value) in &values {
            match have.get(ts) {
                Some(other) if same(value, other) => {}
                other => return Err(format!("{labels} at {ts}: got {other:?}, not {value:?}")),
            }
        }
        if have.len() != values.len() {
            return Err(format!("{labels}: {} points, not {}", have.len(), values.len()));
        }
    }
    match got.keys().next() {
        Some(extra) => Err(format!("unexpected {extra}: {:?}", got.values().next())),
        None => Ok(()),
    }
}

/// As a step of a range query around `at` (contract 6.5, runs C).
fn check_as_step(storage: &Memory, eval: &Eval, expr: &Expr, at: i64) -> Result<(), String> {
    let folded = ["start()", "end()", "range()", "step()"].iter().any(|f| eval.query.contains(f));
    if folded || eval.string.is_some() || eval.range_vector.is_some() || eval.fails.is_some() {
        return Ok(());
    }
    let minute = 60_000;
    let tag = |e: String| format!("{e} as a step at {at}");
    let answer = ask(storage, expr, When::Range { start: at - minute, end: at + minute, step: minute }).map_err(tag)?;
    let QueryValue::Matrix(series) = answer.value else { return Err(tag("no matrix".to_owned())) };
    if eval.ordered {
        return Ok(());
    }
    let got: Table = series
        .iter()
        .filter_map(|s| {
            let float = s.floats().find(|f| f.0 == at).map(|f| Value::Float(f.1));
            let histogram = s.histograms.iter().find(|h| h.0 == at).map(|h| Value::Histogram((*h.1).clone(), false));
            Some((s.labels.clone(), BTreeMap::from([(0, float.or(histogram)?)])))
        })
        .collect();
    let wanted = match eval.expected.first().and_then(|l| crate::series::number(l)) {
        Some(scalar) => vec![(Labels::empty(), BTreeMap::from([(0, Value::Float(scalar))]))],
        None => expected(eval, 0, 1)?,
    };
    same_tables(wanted, got).map_err(tag)
}

fn depends_on_time(expr: &Expr) -> bool {
    const NAMES: [&str; 15] = [
        "days_in_month",
        "day_of_month",
        "day_of_week",
        "day_of_year",
        "hour",
        "minute",
        "month",
        "year",
        "time",
        "timestamp",
        "predict_linear",
        "start",
        "end",
        "range",
        "step",
    ];
    let mut found = matches!(&expr.kind, Kind::Call { function, .. } if NAMES.contains(&function.name));
    expr.for_each_child(&mut |child| found |= depends_on_time(child));
    found
}

/// Puts `@ at` on every selector and subquery that has no `@` and stands in no other subquery.
fn pin(expr: &mut Expr, at: i64) {
    match &mut expr.kind {
        Kind::Number { .. } | Kind::Text(_) => {}
        Kind::Selector(selector) | Kind::Range { selector, .. } => {
            selector.at.get_or_insert(At::Time(at));
        }
        Kind::Subquery(subquery) => {
            if subquery.at.is_none() {
                subquery.at = Some(At::Time(at));
            }
        }
        Kind::Call { args, .. } => args.iter_mut().for_each(|a| pin(a, at)),
        Kind::Aggregation(a) => {
            pin(&mut a.expr, at);
            if let Some(param) = &mut a.param {
                pin(param, at);
            }
        }
        Kind::Binary(b) => {
            pin(&mut b.left, at);
            pin(&mut b.right, at);
        }
        Kind::Unary { expr, .. } | Kind::Paren(expr) => pin(expr, at),
    }
}
