use super::*;
use crate::model::{Attribute, AttributeValue, SpanId};
use crate::storage::Refusals;
use crate::traces::columns::Projection;
use crate::traces::head::Chunk;
use crate::traces::span;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;

fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

fn span(trace_id: &[u8], span_id: &[u8], parent: &[u8]) -> Span {
    Span { trace_id: trace_id.to_vec(), span_id: span_id.to_vec(), parent_span_id: parent.to_vec(), ..Span::default() }
}

/// What is stored of a body, and what is not.
fn read(body: &[u8]) -> Result<(Vec<span::Span>, Refusals), Failure> {
    let mut translated = translate(body, 256 << 10)?;
    let refusals = std::mem::take(&mut translated.refusals);
    Ok((stored(translated), refusals))
}

fn stored(translated: Translated<'_>) -> Vec<span::Span> {
    let chunk = Chunk::new(translated);
    chunk.parts.iter().flat_map(|part| chunk.read(part, &Projection::all())).collect()
}

fn translated(request: ExportTraceServiceRequest) -> (Vec<span::Span>, Refusals) {
    read(&request.encode_to_vec()).unwrap()
}

#[test]
fn a_bad_id_refuses_its_span_only() {
    let (trace, id) = (&[1; 16][..], &[1; 8][..]);
    let spans = vec![
        span(&[1; 15], id, &[]),
        span(trace, id, &[]),
        span(&[0; 16], id, &[]),
        span(trace, &[0; 8], &[]),
        span(trace, &[1; 7], &[]),
        span(trace, &[2; 8], &[0; 8]),
        span(trace, &[3; 8], &[1; 3]),
        Span { start_time_unix_nano: u64::MAX, ..span(trace, &[4; 8], &[]) },
    ];
    let (spans, refusals) = translated(request(spans));
    let kept: Vec<(SpanId, bool)> = spans.iter().map(|s| (s.span_id, s.parent_span_id.is_none())).collect();
    assert_eq!(kept, [(SpanId([1; 8]), true), (SpanId([2; 8]), true)]);
    assert_eq!(refusals.indexes(), [0, 2, 3, 4, 6, 7]);
    let messages: Vec<String> = refusals.reasons().map(|(_, _, m)| m.to_owned()).collect();
    assert_eq!(messages[0], "span ids must be 64 bit and not all zero, received 64 bits");
    assert_eq!(messages[2], "trace ids must be 128 bit, received 120 bits");
}

#[test]
fn a_value_that_is_too_long_refuses_its_span() {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    let with = |length: usize| {
        let value = AnyValue { value: Some(Value::StringValue("x".repeat(length))) };
        let attributes = vec![KeyValue { key: "k".into(), value: Some(value), ..KeyValue::default() }];
        request(vec![Span { attributes, ..span(&[1; 16], &[1; 8], &[]) }])
    };
    assert_eq!(translated(with(256 << 10)).0.len(), 1);
    assert_eq!(translated(with((256 << 10) + 1)).1.reasons().next().unwrap().0, "too_large");
}

#[test]
fn times_outside_the_window_are_refused_by_name() {
    let day: i64 = 86_400_000_000_000;
    let at = |time: i64| Span { start_time_unix_nano: time.cast_unsigned(), ..span(&[1; 16], &[1; 8], &[]) };
    let body = request(vec![at(day), at(5 * day), at(9 * day)]).encode_to_vec();
    let mut translated = translate(&body, 100).unwrap();
    crate::traces::head::Window { retention: Some(day) }.judge(&mut translated, 5 * day);
    assert_eq!(translated.refusals.indexes(), [0, 2]);
    assert_eq!(translated.refusals.reasons().map(|(reason, _, _)| reason).collect::<Vec<_>>(), ["too_far_ahead", "too_old"]);
}

#[test]
fn times_come_back_bit_by_bit() {
    for (start, end) in [(5, 9), (9, 5), (0, u64::MAX), (i64::MAX as u64, 0)] {
        let times = Span { start_time_unix_nano: start, end_time_unix_nano: end, ..span(&[1; 16], &[1; 8], &[]) };
        let (spans, _) = translated(request(vec![times]));
        let span = &spans[0];
        assert_eq!((span.start.cast_unsigned(), span.end_unix_nano()), (start, end));
    }
}

#[test]
fn json_ids_are_hex_and_values_keep_their_types() {
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174",
        "attributes":[{"key":"b","value":{"intValue":"7"}},{"key":"a","value":{"doubleValue":7}},{"key":"c","value":{}}]}]}]}]}"#;
    let (spans, _) = read(&otlp_bytes(Kind::OtlpJson, json.as_bytes()).unwrap()).unwrap();
    let span = &spans[0];
    assert_eq!((span.trace_id.to_hex().as_str(), span.span_id.to_hex().as_str()), ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"));
    let expected = [("a", AttributeValue::Double(7.0)), ("b", AttributeValue::Int(7)), ("c", AttributeValue::Empty)];
    assert_eq!(span.attributes, expected.map(|(key, value)| Attribute::new(key, value)));
    assert!(otlp_bytes(Kind::OtlpJson, b"[]").is_err() && read(b"\xff").is_err());
}

fn of(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

#[test]
fn the_length_of_a_span_is_that_of_its_message() {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use opentelemetry_proto::tonic::trace::v1::{
        Status,
        span::{Event, Link},
    };
    let pair = |key: &str, value| KeyValue { key: key.into(), value, ..KeyValue::default() };
    for n in [0, 1, 127, 128, 16_383, 16_384, 1 << 40] {
        let text = "x".repeat(usize::try_from(n).unwrap().min(20_000));
        let small = u32::try_from(n).unwrap_or(u32::MAX);
        let attributes = vec![
            pair("", of(Value::StringValue(text.clone()))),
            pair("i", of(Value::IntValue(n))),
            pair("j", of(Value::IntValue(-n))),
            pair("b", of(Value::BoolValue(false))),
            pair("d", of(Value::DoubleValue(0.0))),
            pair("x", of(Value::BytesValue(text.clone().into_bytes()))),
            pair("e", Some(AnyValue::default())),
            pair(
                "a",
                of(Value::ArrayValue(ArrayValue { values: vec![of(Value::StringValue(String::new())).unwrap(), AnyValue::default()] })),
            ),
            pair("m", of(Value::KvlistValue(KeyValueList { values: vec![pair("k", of(Value::StringValue(text.clone())))] }))),
        ];
        let event = Event {
            time_unix_nano: n.cast_unsigned(),
            name: text.clone(),
            attributes: attributes.clone(),
            dropped_attributes_count: small,
        };
        let link = Link {
            trace_id: vec![1; 16],
            span_id: vec![],
            trace_state: text.clone(),
            attributes: attributes.clone(),
            dropped_attributes_count: small,
            flags: small,
        };
        let message = Span {
            trace_state: text.clone(),
            parent_span_id: if n == 1 { vec![3; 8] } else { Vec::new() },
            flags: small,
            name: text.clone(),
            kind: small as i32,
            start_time_unix_nano: n.cast_unsigned(),
            end_time_unix_nano: n.cast_unsigned() * 2,
            attributes,
            dropped_attributes_count: small,
            events: vec![event, Event::default()],
            dropped_events_count: small,
            links: vec![link],
            dropped_links_count: small,
            status: Some(Status { message: text, code: -(small as i32 & 1) }),
            ..span(&[1; 16], &[2; 8], &[])
        };
        let (spans, _) = translated(request(vec![message.clone()]));
        assert_eq!(encoded_len(&spans[0]), message.encoded_len(), "{n}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in Kind::ALL {
            if let Ok(body) = otlp_bytes(kind, &bytes) {
                let _ = read(&body);
            }
        }
    }
}
