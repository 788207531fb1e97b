//! Zipkin's and Jaeger's spans as ours.

use super::*;
use crate::model::{AttributeValue, SpanId, TraceId};
use crate::traces::columns::Projection;
use crate::traces::head::Chunk;
use crate::traces::span::Span;
use proptest::prelude::*;

fn spans(kind: Kind, body: &[u8]) -> Vec<Span> {
    let body = otlp_bytes(kind, body).unwrap();
    let translated = translate(&*body, 1 << 20).unwrap();
    let mut spans: Vec<(u32, Span)> = Vec::new();
    for incoming in translated.spans {
        let index = incoming.index;
        let chunk = Chunk::new(Translated { spans: vec![incoming], groups: translated.groups.clone(), ..Translated::default() });
        spans.extend(chunk.read(&chunk.parts[0], &Projection::all()).into_iter().map(|span| (index, span)));
    }
    spans.into_iter().map(|(_, span)| span).collect()
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    crate::traces::span::attribute(&span.attributes, key).map(AttributeValue::to_text)
}

const ZIPKIN: &str = r#"[
    {"traceId":"5982fe77008310cc80f1da5e10147519","parentId":"90394f6bcffb5d13","id":"67fae42571535f60","kind":"SERVER",
     "name":"/m/n/2.6.1","timestamp":1516781775726000,"duration":26000,"shared":true,
     "localEndpoint":{"serviceName":"api","ipv4":"10.0.0.1","port":80},
     "remoteEndpoint":{"serviceName":"apip","ipv6":"2001:db8::c001","port":49096},
     "annotations":[{"timestamp":1516781775726001,"value":"wr"}],
     "tags":{"http.path":"/api","error":"out of cheese","otel.scope.name":"lib","otel.scope.version":"2","n":7}},
    {"traceId":"80f1da5e10147519","id":"1","name":"x","annotations":[{"timestamp":5,"value":"a"}],"tags":{"error":"false","span.kind":"internal"}},
    {"traceId":"nothex","id":"1"}]"#;

#[test]
fn zipkin_json() {
    let found = spans(Kind::ZipkinJson, ZIPKIN.as_bytes());
    assert_eq!(found.len(), 2);
    let span = &found[0];
    assert_eq!(span.trace_id.to_hex(), "5982fe77008310cc80f1da5e10147519");
    assert_eq!((span.span_id.to_hex().as_str(), span.parent_span_id.unwrap().to_hex().as_str()), ("67fae42571535f60", "90394f6bcffb5d13"));
    assert_eq!((span.kind, span.start, span.duration), (2, 1_516_781_775_726_000_000, 26_000_000));
    assert_eq!((span.status_code, span.status_message.as_str()), (2, "out of cheese"));
    assert_eq!((span.resource.service_name(), span.scope.name.as_str(), span.scope.version.as_str()), (Some("api"), "lib", "2"));
    for (key, value) in [
        ("http.path", "/api"),
        ("peer.service", "apip"),
        ("net.peer.ip", "2001:db8::c001"),
        ("net.peer.port", "49096"),
        ("net.host.ip", "10.0.0.1"),
        ("n", "7"),
    ] {
        assert_eq!(attribute(span, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!(attribute(span, "otel.scope.name"), None);
    assert_eq!((span.events[0].time_unix_nano, span.events[0].name.as_str()), (1_516_781_775_726_001_000, "wr"));
    let span = &found[1];
    assert_eq!((span.trace_id, span.span_id), (TraceId(0x80f1_da5e_1014_7519u128.to_be_bytes()), SpanId([0, 0, 0, 0, 0, 0, 0, 1])));
    assert_eq!((span.kind, span.start, span.duration, span.status_code), (1, 5_000, 0, 0));
    assert!(otlp_bytes(Kind::ZipkinJson, b"{}").is_err());
}

/// Fields of Thrift's binary protocol.
fn field(kind: u8, number: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 0, number], content].concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat()
}

fn list(structs: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [&[12][..], &(structs.len() as u32).to_be_bytes()].concat();
    structs.iter().for_each(|s| out.extend([s, &[0][..]].concat()));
    out
}

fn tag(key: &str, kind: i32, value: Vec<u8>) -> Vec<u8> {
    [field(11, 1, &string(key)), field(8, 2, &kind.to_be_bytes()), value].concat()
}

fn long(number: u8, value: i64) -> Vec<u8> {
    field(10, number, &value.to_be_bytes())
}

fn jaeger_batch() -> Vec<u8> {
    let text = |key: &str, value: &str| tag(key, 0, field(11, 3, &string(value)));
    let reference =
        |kind: i32, trace: i64, span: i64| [field(8, 1, &kind.to_be_bytes()), long(2, trace), long(3, 0), long(4, span)].concat();
    let log = [long(1, 30), field(15, 2, &list(&[text("event", "retry"), text("why", "busy")]))].concat();
    let tags = [
        text("span.kind", "client"),
        tag("error", 2, field(2, 5, &[1])),
        tag("ratio", 1, field(4, 4, &0.5f64.to_be_bytes())),
        tag("n", 3, long(6, -7)),
        tag("raw", 4, field(11, 7, &string("ab"))),
    ];
    let span = [
        long(1, 0x11),
        long(2, 0),
        long(3, 0x22),
        long(4, 0x33),
        field(11, 5, &string("GET")),
        field(15, 6, &list(&[reference(0, 0x11, 0x33), reference(1, 0x99, 0x44)])),
        field(8, 7, &1i32.to_be_bytes()),
        long(8, 20),
        long(9, 5),
        field(15, 10, &list(&tags)),
        field(15, 11, &list(&[log])),
        // Of later versions: a map and a set.
        field(13, 90, &[&[11, 10][..], &1u32.to_be_bytes(), &string("k"), &[0; 8]].concat()),
        field(14, 91, &[&[3][..], &2u32.to_be_bytes(), &[1, 2]].concat()),
    ]
    .concat();
    let process = [field(11, 1, &string("shop")), field(15, 2, &list(&[text("host.name", "h")]))].concat();
    [field(12, 1, &[process, vec![0]].concat()), field(15, 2, &list(&[span])), vec![0]].concat()
}

#[test]
fn jaeger_thrift() {
    let found = spans(Kind::JaegerThrift, &jaeger_batch());
    let span = &found[0];
    assert_eq!((span.trace_id, span.span_id.0[7], span.parent_span_id.unwrap().0[7]), (TraceId(0x11u128.to_be_bytes()), 0x22, 0x33));
    assert_eq!((span.name.as_str(), span.kind, span.status_code, span.start, span.duration), ("GET", 3, 2, 20_000, 5_000));
    assert_eq!(span.resource.service_name(), Some("shop"));
    assert_eq!(crate::traces::span::attribute(&span.resource.attributes, "host.name"), Some(&AttributeValue::String("h".into())));
    assert_eq!(attribute(span, "error"), None);
    assert_eq!(crate::traces::span::attribute(&span.attributes, "n"), Some(&AttributeValue::Int(-7)));
    assert_eq!(crate::traces::span::attribute(&span.attributes, "ratio"), Some(&AttributeValue::Double(0.5)));
    assert_eq!(crate::traces::span::attribute(&span.attributes, "raw"), Some(&AttributeValue::Bytes(b"ab".to_vec())));
    assert_eq!((span.links.len(), span.links[0].span_id[7]), (1, 0x44));
    assert_eq!((span.events[0].name.as_str(), span.events[0].time_unix_nano, span.events[0].attributes.len()), ("retry", 30_000, 1));
}

#[test]
fn hostile_thrift_is_refused_quickly() {
    let deep = [12, 0, 9].repeat(100_000);
    let many = field(15, 2, &[&[12][..], &u32::MAX.to_be_bytes()].concat());
    let empty = field(15, 2, &[&[12][..], &(1u32 << 30).to_be_bytes(), &vec![0; 1 << 20]].concat());
    let negative = field(11, 9, &(-1i32).to_be_bytes());
    for bad in [deep, many, empty, negative, vec![99, 0, 1]] {
        assert!(otlp_bytes(Kind::JaegerThrift, &bad).is_err());
    }
}

#[test]
fn jaeger_protobuf() {
    fn message(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }
    let tag = [message(1, b"span.kind"), message(3, b"server")].concat();
    let reference = [message(1, &[1; 16]), message(2, &[3; 8])].concat();
    let span = [
        message(1, &[1; 16]),
        message(2, &[2; 8]),
        message(3, b"GET"),
        message(4, &reference),
        message(6, &[8, 10, 16, 5]),
        message(7, &[16, 9]),
        message(8, &tag),
    ]
    .concat();
    let body = message(1, &[message(1, &span), message(2, &message(1, b"shop"))].concat());
    let found = spans(Kind::JaegerProtobuf, &body);
    let span = &found[0];
    assert_eq!((span.parent_span_id, span.links.len()), (Some(SpanId([3; 8])), 0));
    assert_eq!((span.kind, span.start, span.duration), (2, 10_000_000_005, 9));
    assert_eq!(span.resource.service_name(), Some("shop"));
}

proptest! {
    #[test]
    fn no_change_of_a_body_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        for (kind, body) in [(Kind::ZipkinJson, ZIPKIN.as_bytes().to_vec()), (Kind::JaegerThrift, jaeger_batch())] {
            let mut changed = body.clone();
            changed[at.index(body.len())] = byte;
            for bad in [&changed[..], &body[..cut.index(body.len())]] {
                if let Ok(body) = otlp_bytes(kind, bad) {
                    let _ = translate(&*body, 1 << 20);
                }
            }
        }
    }
}
