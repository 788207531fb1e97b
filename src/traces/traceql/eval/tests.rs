use super::*;
use crate::model::{Attribute, AttributeValue, SpanId, TraceId};
use crate::traces::span::{Event, Link, Resource, Span};
use crate::traces::trace::Trace;
use crate::traces::traceql::ast::{Body, Pipeline};
use crate::traces::traceql::{check, parse};
use proptest::prelude::*;
use std::sync::Arc;

fn text(s: &str) -> AttributeValue {
    AttributeValue::String(s.into())
}

fn attributes<const N: usize>(pairs: [(&str, AttributeValue); N]) -> Vec<Attribute> {
    pairs.into_iter().map(|(key, value)| Attribute::new(key, value)).collect()
}

fn resource(service: &str) -> Arc<Resource> {
    Arc::new(Resource { attributes: attributes([("r", text("res")), ("service.name", text(service))]), ..Resource::default() })
}

/// Span 0 is the root; 1 and 2 are its children, 3 is a child of 1, 4 hangs from nothing.
fn trace() -> Trace {
    let span = |id: u8, parent: u8, kind: i32, service: &str| Span {
        span_id: SpanId([id + 1; 8]),
        parent_span_id: (parent > 0).then_some(SpanId([parent; 8])),
        name: format!("s{id}"),
        kind,
        start: 1_000 + i64::from(id),
        duration: 100 * (i64::from(id) + 1),
        resource: resource(service),
        ..Span::default()
    };
    let event = |name: &str, pairs| Event { name: name.into(), attributes: pairs, time_unix_nano: 1_050, ..Event::default() };
    let spans = vec![
        Span {
            attributes: attributes([("both", AttributeValue::Int(1)), ("n", AttributeValue::Int(4)), ("ok", AttributeValue::Bool(true))]),
            ..span(0, 0, 2, "front")
        },
        Span {
            attributes: attributes([
                ("list", AttributeValue::Array(vec![text("a"), text("b")])),
                ("n", AttributeValue::Double(2.5)),
                ("r", text("own")),
            ]),
            status_code: 2,
            events: vec![
                event("exception", attributes([("kind", text("soft"))])),
                event("retry", attributes([("kind", text("hard")), ("n", AttributeValue::Int(2))])),
            ],
            ..span(1, 1, 3, "front")
        },
        Span { attributes: attributes([("n", text("four")), ("ok", AttributeValue::Bool(false))]), ..span(2, 1, 3, "back") },
        Span {
            attributes: attributes([("odd", AttributeValue::Array(vec![text("a"), AttributeValue::Int(1)]))]),
            links: vec![Link { trace_id: vec![0xab; 16], attributes: attributes([("why", text("batch"))]), ..Link::default() }],
            ..span(3, 2, 2, "back")
        },
        span(4, 9, 1, "back"),
    ];
    Trace::assemble(TraceId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xa0, 0xb1]), spans)
}

fn pipeline(text: &str) -> Pipeline {
    let query = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    check(&query).unwrap_or_else(|e| panic!("{text}: {e}"));
    match query.body {
        Body::Spansets(pipeline) => pipeline,
        other => panic!("{text}: {other:?}"),
    }
}

fn run(query: &str) -> Result<Vec<Set>, EvalError> {
    let trace = trace();
    Program::new(&pipeline(query)).run(&TraceFacts::new(&trace))
}

/// The spans of each set.
fn spans(query: &str) -> Vec<Vec<usize>> {
    run(query).unwrap_or_else(|e| panic!("{query}: {e}")).into_iter().map(|s| s.spans).collect()
}

#[track_caller]
fn one(query: &str, expected: &[usize]) {
    let expected: Vec<Vec<usize>> = if expected.is_empty() { Vec::new() } else { vec![expected.to_vec()] };
    assert_eq!(spans(query), expected, "{query}");
}

#[test]
fn what_is_absent_or_of_another_type_satisfies_no_comparison() {
    for (query, expected) in [
        ("{ span.n = 4 }", &[0][..]),
        ("{ span.n != 4 }", &[1]),
        ("{ span.n != \"x\" }", &[2]),
        ("{ span.n !~ \"x.*\" }", &[2]),
        ("{ span.n =~ \"fo.*\" }", &[2]),
        ("{ span.n >= \"four\" }", &[2]),
        ("{ span.n > 2 }", &[0, 1]),
        ("{ span.n = nil }", &[3, 4]),
        ("{ span.n != nil }", &[0, 1, 2]),
        ("{ nil = nil }", &[]),
        ("{ nil != nil }", &[]),
        ("{ name != nil }", &[0, 1, 2, 3, 4]),
        ("{ span.ok }", &[0]),
        ("{ !span.ok }", &[2]),
        ("{ !(span.ok = true) }", &[1, 2, 3, 4]),
        ("{ span.ok = false }", &[2]),
        ("{ span.odd != nil }", &[]),
        ("{ span.nosuch != \"x\" || span.nosuch !~ \"x\" }", &[]),
        ("{ -span.n < -3 }", &[0]),
        ("{ span.n + 1 = 5 && span.both * 2 = 2 }", &[0]),
        ("{ 2 < span.n }", &[0, 1]),
    ] {
        one(query, expected);
    }
}

#[test]
fn the_span_hides_the_resource_and_lists_match_by_element() {
    one("{ .r = \"res\" }", &[0, 2, 3, 4]);
    one("{ .r = \"own\" }", &[1]);
    one("{ resource.r = \"res\" && .r != \"res\" }", &[1]);
    one("{ .list = \"b\" }", &[1]);
    one("{ .list != \"b\" }", &[]);
    one("{ .list != \"c\" }", &[1]);
    one("{ .list =~ \"a|c\" }", &[1]);
    one("{ .list !~ \"c\" }", &[1]);
    one("{ .why = \"batch\" }", &[3]);
}

#[test]
fn intrinsics() {
    for (query, expected) in [
        ("{ trace:id = \"a0b1\" && name = \"s1\" }", &[1][..]),
        ("{ trace:id = \"0000A0B1\" && kind = server }", &[0, 3]),
        ("{ span:id = \"0202020202020202\" }", &[1]),
        ("{ span:parentID = \"0101010101010101\" }", &[1, 2]),
        ("{ duration > 250 }", &[2, 3, 4]),
        ("{ traceDuration = 504 && name = \"s0\" }", &[0]),
        ("{ rootServiceName = \"front\" && rootName = \"s0\" && status = error }", &[1]),
        ("{ nestedSetParent < 0 }", &[0]),
        ("{ nestedSetLeft = 0 }", &[4]),
        ("{ span:childCount = 2 }", &[0]),
        ("{ kind = client || statusMessage != \"\" }", &[1, 2]),
        ("{ link:traceID = \"abababababababababababababababab\" }", &[3]),
        ("{ event:timeSinceStart < 50 }", &[1]),
    ] {
        one(query, expected);
    }
}

#[test]
fn conditions_joined_by_and_must_hold_on_one_event() {
    one("{ event:name = \"exception\" && event.kind = \"soft\" }", &[1]);
    one("{ event:name = \"exception\" && event.kind = \"hard\" }", &[]);
    one("{ event:name = \"exception\" && event.n != nil }", &[]);
    one("{ (event:name = \"exception\" && event.kind = \"hard\") || name = \"none\" }", &[1]);
    one("{ event.kind != nil }", &[1]);
    one("{ event.kind = nil }", &[0, 2, 3, 4]);
    one("{ event.n = 2 && link.why = \"batch\" }", &[]);
    one("{ link.why = \"batch\" && kind = server }", &[3]);
}

#[test]
fn spansets_combine_and_relate() {
    one("{ kind = server } && { status = error }", &[0, 1, 3]);
    one("{ kind = server } && { name = \"none\" }", &[]);
    one("{ status = error } || { name = \"s4\" }", &[1, 4]);
    one("{ kind = server && status = error }", &[]);
    one("{ name = \"s0\" } > { }", &[1, 2]);
    one("{ name = \"s0\" } >> { kind = server }", &[3]);
    one("{ name = \"s3\" } << { }", &[0, 1]);
    one("{ name = \"s3\" } < { }", &[1]);
    one("{ name = \"s1\" } ~ { }", &[2]);
    one("{ name = \"s0\" } !> { }", &[0, 3, 4]);
    one("{ name = \"none\" } !>> { kind = server }", &[0, 3]);
    one("{ name = \"s0\" } &>> { name = \"s3\" }", &[0, 3]);
    one("({ name = \"s0\" } | count() > 0) > ({ kind = client } | count() = 2)", &[1, 2]);
    one("{ } | { kind = server } | { name = \"s3\" }", &[3]);
}

#[test]
fn sets_are_grouped_measured_and_joined_again() {
    assert_eq!(spans("{ } | by(resource.service.name)"), [vec![0, 1], vec![2, 3, 4]]);
    assert_eq!(spans("{ } | by(span.ok)"), [vec![0], vec![1, 3, 4], vec![2]]);
    assert_eq!(spans("{ } | by(resource.service.name) | count() > 2"), [[2, 3, 4]]);
    one("{ } | by(resource.service.name) | coalesce()", &[0, 1, 2, 3, 4]);
    let sets = run("{ } | by(resource.service.name) | max(duration) >= 500ns").unwrap();
    let attributes =
        [("by(resource.service.name)".to_owned(), Value::String("back".into())), ("max(duration)".to_owned(), Value::Duration(500))];
    assert_eq!(sets[0].attributes, attributes);
    let measured = |query: &str| run(query).unwrap()[0].attributes[0].1.clone();
    assert_eq!(measured("{ } | avg(duration) > 0"), Value::Duration(300));
    assert_eq!(measured("{ } | sum(span.n) > 0"), Value::Float(6.5));
    assert_eq!(measured("{ kind = server } | sum(span.n) > 0"), Value::Int(4));
    assert_eq!(measured("{ } | min(span.n) > 0"), Value::Float(2.5));
    assert_eq!(measured("{ } | count() = 5"), Value::Int(5));
    one("{ name = \"s4\" } | max(span.n) > 0", &[]);
    assert_eq!(run("{ } | by(kind) | { } && { }"), Err(EvalError::ManySpansets));
}

#[test]
fn some_queries_fail_on_what_they_meet() {
    assert_eq!(run("{ span.n / 0 = 1 }"), Err(EvalError::DivisionByZero));
    assert_eq!(run("{ span.list = .list }"), Err(EvalError::TwoArrays));
}

#[test]
fn what_can_never_match_is_known_beforehand() {
    for (query, never) in [
        ("{ false }", true),
        ("{ 2 > 3 && .a = 1 }", true),
        ("{ 2 > 3 || .a = 1 }", false),
        ("{ .a = 1 } >> { false }", true),
        ("{ false } || { .a = 1 }", false),
        ("{ true }", false),
        ("{ .a = 1 } | { 1 = 2 }", true),
    ] {
        assert_eq!(Program::new(&pipeline(query)).is_never(), never, "{query}");
    }
}

/// What a query shows of a span, as `key=value`; a shown name first.
fn shown(query: &str, span: usize) -> Vec<String> {
    let trace = trace();
    let facts = TraceFacts::new(&trace);
    let shown = Shown::new(&pipeline(query));
    let subject = Subject::new(&facts, span);
    let name = shown.name(subject).then(|| "name".to_owned());
    name.into_iter().chain(shown.attributes(subject).into_iter().map(|(key, value)| format!("{key}={}", value.text()))).collect()
}

#[test]
fn what_is_mentioned_is_shown_where_it_satisfies_a_condition() {
    for (query, span, expected) in [
        ("{ span.n > 1 && resource.service.name = \"front\" && duration > 1 }", 0, &["n=4", "service.name=front"][..]),
        ("{ resource.service.name = \"front\" } > { resource.service.name = \"back\" }", 2, &["service.name=back"]),
        ("{ resource.service.name = \"front\" } || { kind = client }", 2, &["kind=client"]),
        ("{ resource.service.name = \"front\" } | select(resource.service.name)", 2, &["service.name=back"]),
        ("{ name = \"s0\" }", 0, &["name"]),
        ("{ name = \"s0\" } || { true }", 1, &[]),
        ("{ } | select(name, status, span.nosuch)", 1, &["name", "status=error"]),
        ("{ span.nosuch = nil }", 0, &["nosuch=nil"]),
        ("{ .list = \"b\" }", 1, &["list=b"]),
        ("{ .list != \"c\" }", 1, &["list=a, b"]),
        ("{ event.kind = \"hard\" }", 1, &["kind=hard"]),
        ("{ event:name != nil }", 1, &["event:name=exception"]),
        ("{ } | by(span.n) | max(nestedSetLeft) > 0", 0, &["n=4", "nestedSetLeft=1"]),
        ("{ span.n * 2 = 8 }", 2, &["n=four"]),
    ] {
        assert_eq!(shown(query, span), expected, "{query}");
    }
}

#[test]
fn a_sieve_lets_every_match_through_and_reads_less() {
    let trace = trace();
    let facts = TraceFacts::new(&trace);
    for (query, expected) in [
        ("{ span.n = 4 } >> { span.n = \"x\" }", Some(false)),
        ("{ span.n = 4 } >> { nestedSetParent < 0 && span.n = 2.5 }", Some(true)),
        ("{ span.n = 9 } !>> { status = error }", Some(true)),
        ("{ span.n = 9 } || { status = error }", Some(true)),
        ("{ span.n = 9 } || { rootName = \"x\" }", None),
        ("{ rootName = \"x\" || span.n = 9 }", None),
        ("{ } | { span.n = 9 } | count() > 1", Some(false)),
        ("{ span.n / 0 = 1 }", Some(true)),
        ("{ }", None),
    ] {
        let sieve = Sieve::new(&pipeline(query));
        assert_eq!(sieve.as_ref().map(|s| s.passes(&facts)), expected, "{query}");
        assert!(sieve.is_none_or(|s| !s.reads.reads("parent_span_id")), "{query}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_query_panics_and_none_finds_what_its_sieve_keeps_back(
        words in proptest::collection::vec(proptest::sample::select(vec![
            "{ span.n = 4 }", "{ .r = \"own\" }", "{ nestedSetParent < 0 && span.n > 2 }", "{ kind = client }", "{ event:name = \"retry\" }",
            "{ span.n * 2 > 5 || rootName = \"s0\" }", "{ !span.ok }", "{ span.nosuch = nil }", "{ .list != \"b\" }", "{ }", "(", ")", "&&", "||", ">", ">>",
            "<", "<<", "~", "!>", "!~", "&>>", "&~", "|", "| by(span.n)", "| by(name)", "| count() > 1", "| avg(span.n) > 0", "| coalesce()",
            "| select(name, .r)",
        ]), 1..9)
    ) {
        let text = words.join(" ");
        let Ok(query) = parse(&text) else { return Ok(()) };
        let (Ok(()), Body::Spansets(pipeline)) = (check(&query), &query.body) else { return Ok(()) };
        let trace = trace();
        let facts = TraceFacts::new(&trace);
        let (program, shown) = (Program::new(pipeline), Shown::new(pipeline));
        let Ok(sets) = program.run(&facts) else { return Ok(()) };
        for set in &sets {
            prop_assert!(!set.spans.is_empty() && set.spans.is_sorted(), "{text}: {set:?}");
            for span in &set.spans {
                let _ = shown.attributes(Subject::new(&facts, *span));
            }
        }
        if !sets.is_empty() {
            prop_assert!(!program.is_never(), "{text}");
            prop_assert!(Sieve::new(pipeline).is_none_or(|s| s.passes(&facts)), "{text}");
        }
    }
}
