//! What is counted and what is written, down to the names.

use super::Config;
use super::edges::{Edge, Edges, Seen};
use super::intake::Intake;
use crate::model::time::SECOND;
use crate::model::{Attribute, AttributeValue, SpanId, TenantId, TraceId};
use crate::telemetry::Telemetry;
use crate::traces::Chunk;
use crate::traces::span::{Resource, Span};
use std::sync::Arc;

const NOW: i64 = 1_773_144_030 * SECOND;

const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

fn texts(pairs: &[(&str, &str)]) -> Vec<Attribute> {
    pairs.iter().map(|(key, value)| Attribute::new(*key, AttributeValue::String((*value).to_owned()))).collect()
}

/// Of trace 1, ended now after `millis`.
fn span(service: &str, id: u8, parent: Option<u8>, kind: i32, millis: i64, attributes: &[(&str, &str)]) -> Span {
    let duration = millis * 1_000_000;
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([id; 8]),
        parent_span_id: parent.map(|p| SpanId([p; 8])),
        name: "work".into(),
        kind,
        start: NOW - duration,
        duration,
        attributes: texts(attributes),
        resource: Arc::new(Resource { attributes: texts(&[("service.name", service)]), ..Resource::default() }),
        ..Span::default()
    }
}

fn chunk(spans: &[Span]) -> Chunk {
    Chunk::of(spans)
}

fn edge(seen: Seen) -> (String, String, &'static str) {
    match seen {
        Seen::Edge(Edge { client, server, connection, .. }) => (client, server, connection),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_is_paired_whichever_half_comes_first() {
    for client_first in [true, false] {
        let mut edges = Edges::default();
        let mut halves = [span("web", 2, Some(1), CLIENT, 30, &[]), span("cart", 3, Some(2), SERVER, 20, &[])];
        halves[1].status_code = 2;
        if !client_first {
            halves.reverse();
        }
        assert_eq!(edges.see(&halves[0], NOW), Seen::Nothing);
        let Seen::Edge(edge) = edges.see(&halves[1], NOW) else { panic!("not paired") };
        assert_eq!((edge.client.as_str(), edge.server.as_str(), edge.connection, edge.failed), ("web", "cart", "", true));
        assert_eq!((edge.client_seconds, edge.server_seconds), (0.03, 0.02));
        assert!(edges.is_empty());
        assert_eq!(edges.expire(NOW + 11 * SECOND), (Vec::new(), 0));
    }
}

#[test]
fn calls_have_types() {
    let mut edges = Edges::default();
    edges.see(&span("web", 2, None, PRODUCER, 1, &[]), NOW);
    assert_eq!(edge(edges.see(&span("mail", 3, Some(2), CONSUMER, 1, &[]), NOW)), ("web".into(), "mail".into(), "messaging_system"));
    let mut database = |attributes| edge(edges.see(&span("cart", 4, Some(3), CLIENT, 1, attributes), NOW)).1;
    assert_eq!(database(&[("db.system", "redis")]), "redis");
    assert_eq!(database(&[("db.name", "carts"), ("db.system", "mysql")]), "carts");
    assert_eq!(database(&[("db.system", "redis"), ("server.address", "cache")]), "cache");
    assert_eq!(database(&[("db.system", "redis"), ("network.peer.address", "10.0.0.1"), ("network.peer.port", "6379")]), "10.0.0.1:6379");
    assert_eq!(database(&[("db.namespace", "n"), ("peer.service", "p"), ("server.address", "cache")]), "p");
    assert_eq!(edge(edges.see(&span("web", 1, None, SERVER, 1, &[]), NOW)), ("user".into(), "web".into(), "virtual_node"));
    let named = span("web", 1, None, SERVER, 1, &[("peer.service", "browser")]);
    assert_eq!(edge(edges.see(&named, NOW)), ("browser".into(), "web".into(), "virtual_node"));
    // Neither an inner span nor one without a service is part of a call.
    assert_eq!(edges.see(&span("web", 9, Some(1), 1, 1, &[]), NOW), Seen::Nothing);
    assert_eq!(edges.see(&span("", 9, Some(1), CLIENT, 1, &[]), NOW), Seen::Nothing);
    assert!(edges.is_empty());
}

#[test]
fn halves_wait_ten_seconds_and_not_without_bound() {
    let mut edges = Edges::default();
    edges.see(&span("web", 2, Some(1), CLIENT, 1, &[("peer.service", "paypal")]), NOW);
    edges.see(&span("web", 3, Some(1), CLIENT, 1, &[]), NOW);
    edges.see(&span("cart", 5, Some(4), SERVER, 1, &[]), NOW + SECOND);
    assert_eq!(edges.expire(NOW + 9 * SECOND), (Vec::new(), 0));
    let (found, unpaired) = edges.expire(NOW + 10 * SECOND);
    assert_eq!((found.len(), found[0].server.as_str(), found[0].connection, unpaired), (1, "paypal", "virtual_node", 1));
    assert_eq!(edges.expire(NOW + 11 * SECOND), (Vec::new(), 1));
    let many = |n: u32| Span { span_id: SpanId(u64::from(n).to_be_bytes()), ..span("web", 0, Some(1), CLIENT, 1, &[]) };
    let full = (1..=10_001).filter(|n| edges.see(&many(*n), NOW) == Seen::Full).count();
    assert_eq!(full, 1);
}

fn intake(config: &Config, known: Vec<TenantId>) -> (Intake, Telemetry) {
    let telemetry = Telemetry::default();
    (Intake::new(config, known, NOW - 5 * SECOND, telemetry.derive.clone()), telemetry)
}

#[test]
fn spans_count_once_and_only_near_now() {
    let (mut intake, telemetry) = intake(&Config::default(), Vec::new());
    let tenant = TenantId::default_tenant();
    let late = Span { start: NOW - 40 * SECOND, ..span("web", 4, None, 1, 1, &[]) };
    let early = Span { start: NOW + 40 * SECOND, ..span("web", 5, None, 1, 1, &[]) };
    intake.take(&tenant, &chunk(&[span("web", 3, None, 1, 1, &[]), late, early]), NOW);
    intake.take(&tenant, &chunk(&[span("web", 3, None, 1, 1, &[])]), NOW);
    intake.take(&tenant, &chunk(&[span("web", 3, None, 1, 1, &[])]), NOW + SECOND);
    // The same span of another tenant is another span.
    intake.take(&TenantId::parse("other").unwrap(), &chunk(&[span("web", 3, None, 1, 1, &[])]), NOW);
    let text = telemetry.expose();
    for line in [
        "monocle_derive_spans_total 2",
        r#"monocle_derive_dropped_total{reason="far_from_now"} 2"#,
        r#"monocle_derive_dropped_total{reason="duplicate"} 2"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert_eq!(intake.collect(NOW).len(), 2);
}

#[test]
fn series_are_bounded_and_end_when_idle() {
    let (mut intake, telemetry) = intake(&Config { series_max: 60, ..Config::default() }, Vec::new());
    let tenant = TenantId::default_tenant();
    let named = |n: u8| Span { name: format!("span {n}"), ..span("web", n, Some(1), 1, 1, &[]) };
    intake.take(&tenant, &chunk(&(2..10).map(named).collect::<Vec<_>>()), NOW);
    let series: Vec<usize> = intake.collect(NOW).iter().map(|(_, out)| out.series).collect();
    assert_eq!(series, [57]);
    assert!(telemetry.expose().contains(r#"monocle_derive_dropped_total{reason="series_limit"} 5"#));
    // One marker for each series, and then nothing.
    assert_eq!(intake.collect(NOW + 901 * SECOND)[0].1.series, 57);
    assert!(intake.collect(NOW + 916 * SECOND).is_empty());
    intake.take(&tenant, &chunk(&[Span { start: NOW + 930 * SECOND, ..named(20) }]), NOW + 930 * SECOND);
    assert_eq!(intake.collect(NOW + 931 * SECOND)[0].1.series, 19);
}
