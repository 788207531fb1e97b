use super::*;
use crate::model::time::SECOND;
use crate::model::{Attribute, AttributeValue, SpanId, TenantId, TraceId};
use crate::query::Context;
use crate::storage::View;
use crate::traces::cache::Cache;
use crate::traces::head::Chunk;
use crate::traces::source::Sources;
use crate::traces::span::Span;
use crate::traces::traceql::Inspected;
use crate::traces::traceql::ast::Body;
use crate::traces::traceql::{check, parse};
use std::sync::Arc;
use std::time::Duration;

/// The spans of the contract's example (4.9).
fn sources() -> Sources {
    let span = |id: u8, at: i64, duration: i64, foo: Option<(&str, i64)>| Span {
        trace_id: TraceId([id; 16]),
        span_id: SpanId([id; 8]),
        name: format!("n{}", id - 1),
        start: at * SECOND,
        duration,
        attributes: foo.map_or_else(Vec::new, |(foo, n)| {
            vec![Attribute::new("foo", AttributeValue::String(foo.into())), Attribute::new("n", AttributeValue::Int(n))]
        }),
        ..Span::default()
    };
    let spans = vec![span(1, 101, 1024, Some(("x", 10))), span(2, 102, 1 << 27, Some(("y", 20))), span(3, 104, 1 << 28, None)];
    let head = Arc::new(vec![Arc::new(Chunk::of(&spans))]);
    Sources::new(View::of_heads(TenantId::default_tenant(), vec![head]), Arc::new(Cache::new(0)))
}

fn series(query: &str, exemplars: usize) -> Vec<Series> {
    let parsed = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    check(&parsed).unwrap_or_else(|e| panic!("{query}: {e}"));
    let Body::Metrics(metrics) = parsed.body else { panic!("{query}") };
    let ctx = Context::new(TenantId::default_tenant(), Duration::from_secs(60), 1 << 30);
    let range = Range { grid: Grid::range(101 * SECOND, 105 * SECOND, 2 * SECOND), exemplars };
    Plan::new(&metrics).run(&ctx, &sources(), range, &mut Inspected::default()).unwrap()
}

/// Each series as its labels, and its samples with `-` where there is none.
fn shown(query: &str) -> Vec<String> {
    let label = |(key, value): &(String, Value<'static>)| format!("{key}={}", value.text());
    let sample = |v: &Option<f64>| v.map_or_else(|| "-".to_owned(), |v| v.to_string());
    let line = |s: &Series| {
        let labels: Vec<String> = s.labels.iter().map(label).collect();
        let samples: Vec<String> = s.samples.iter().map(sample).collect();
        format!("{} {}", labels.join(","), samples.join(" "))
    };
    series(query, 0).iter().map(line).collect()
}

#[test]
fn the_example_of_the_contract() {
    for (query, expected) in [
        ("{} | rate()", &["__name__=rate 0 1 0.5 0"][..]),
        ("{} | count_over_time() by (span.foo)", &["span.foo=nil 0 0 1 0", "span.foo=x 0 1 0 0", "span.foo=y 0 1 0 0"]),
        ("{} | count_over_time() by (span.zzz, span.foo)", &["span.foo=x 0 1 0 0", "span.foo=y 0 1 0 0", "span.zzz=nil 0 0 1 0"]),
        ("{} | avg_over_time(duration)", &["__name__=avg_over_time - 0.067109376 0.268435456 -"]),
        ("{} | min_over_time(span.n)", &["__name__=min_over_time - 10 - -"]),
        ("{} | max_over_time(span.n)", &["__name__=max_over_time - 20 - -"]),
        ("{} | sum_over_time(span.n)", &["__name__=sum_over_time - 30 - -"]),
        ("{} | quantile_over_time(duration, 0.5, 0.9)", &["p=0.5 0 0.000001024 0.268435456 0", "p=0.9 0 0.134217728 0.268435456 0"]),
        (
            "{} | histogram_over_time(duration)",
            &["__bucket=0.000001024 0 1 0 0", "__bucket=0.134217728 0 1 0 0", "__bucket=0.268435456 0 0 1 0"],
        ),
        ("{} | count_over_time() > 1", &["__name__=count_over_time - 2 - -"]),
        ("{} | rate() by (name) | topk(1)", &["name=n0 0 0.5 - 0", "name=n2 - - 0.5 -"]),
        ("{} | count_over_time() by (duration) | topk(1) > 0", &["duration=1.024µs - 1 - -", "duration=268.435456ms - - 1 -"]),
        ("{ .nosuch = 1 } | rate()", &["__name__=rate 0 0 0 0"]),
        ("{ false } | rate()", &["__name__=rate 0 0 0 0"]),
        ("{} | quantile_over_time(name, .9)", &[]),
        ("({} | count_over_time()) / ({} | count_over_time()) * 2", &["__name__=((count_over_time / count_over_time) * 2) - 2 2 -"]),
        ("1 - ({ span.foo = \"x\" } | rate()) > 0.5", &["__name__=(1 - rate) 1 - 1 1"]),
    ] {
        let mut found = shown(query);
        // As text the bounds of buckets sort otherwise.
        found.sort();
        let mut sorted: Vec<&str> = expected.to_vec();
        sorted.sort_unstable();
        assert_eq!(found, sorted, "{query}");
    }
}

#[test]
fn selection_and_baseline_are_counted_by_value() {
    let lines = shown("{} | compare({ span.foo = \"x\" }, 1)");
    for expected in [
        "__meta_type=baseline,span.n=20 0 1 0 0",
        "__meta_type=selection,span.foo=x 0 1 0 0",
        "__meta_type=selection_total,span.foo=nil 0 1 0 0",
        "__meta_type=baseline_total,name=nil 0 1 1 0",
        "__meta_type=selection,kind=unspecified 0 1 0 0",
    ] {
        assert!(lines.iter().any(|l| l == expected), "{expected} in {lines:#?}");
    }
    assert_eq!(lines.iter().filter(|l| l.starts_with("__meta_type=baseline,name=")).count(), 1, "only the most frequent");
    let timed = shown("{} | compare({ true }, 10, 101000000000, 102000000000)");
    assert!(timed.iter().any(|l| l == "__meta_type=selection,name=n1 0 1 0 0"), "{timed:#?}");
    assert!(timed.iter().any(|l| l == "__meta_type=baseline,name=n0 0 1 0 0"), "{timed:#?}");
}

#[test]
fn exemplars_are_spans_of_the_query() {
    let found = series("{ span.n > 15 } | max_over_time(duration)", 10);
    let exemplar = &found[0].exemplars[0];
    assert_eq!((found[0].exemplars.len(), exemplar.value, exemplar.time), (1, 0.134217728, 102 * SECOND));
    let labels: Vec<String> = exemplar.labels.iter().map(|(key, value)| format!("{key}={}", value.text())).collect();
    assert_eq!(labels, ["span.n=20", &format!("trace:id={}", "02".repeat(16).trim_start_matches('0'))]);
    assert_eq!(series("{} | rate()", 10)[0].exemplars.iter().map(|e| e.value).collect::<Vec<_>>(), [1.0, 1.0, 0.5]);
    assert_eq!(series("{} | rate()", 1)[0].exemplars.len(), 1);
    assert!(series("{} | rate()", 0)[0].exemplars.is_empty());
}

#[test]
fn without_any_data_in_the_range_there_is_no_series() {
    let empty = Sources::new(View::of_heads(TenantId::default_tenant(), Vec::new()), Arc::new(Cache::new(0)));
    let Body::Metrics(metrics) = parse("{} | rate()").unwrap().body else { panic!() };
    let ctx = Context::new(TenantId::default_tenant(), Duration::from_secs(60), 1 << 30);
    let range = Range { grid: Grid::instant(0, 10), exemplars: 0 };
    assert_eq!(Plan::new(&metrics).run(&ctx, &empty, range, &mut Inspected::default()).unwrap(), []);
}
