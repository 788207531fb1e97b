//! What is written as columns is read back, whichever attributes have a column of their own.

use super::typed_json::tests::any_value;
use super::*;
use crate::model::{Attribute, SpanId, TraceId};
use crate::traces::head::Chunk;
use crate::traces::span::{Event, Link, Resource, Scope, Span};
use crate::traces::span_ref::SpanRef;
use crate::traces::trace::Trace;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// In order of key, with keys that repeat, that look like other columns, and that are any text.
fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let key = prop_oneof![proptest::sample::select(vec!["a", "b", "a:int", "rest", "service.name", ""]).prop_map(str::to_owned), ".{0,6}"];
    vec((key, any_value()), 0..5).prop_map(|pairs| {
        let mut attributes: Vec<Attribute> = pairs.into_iter().map(|(key, value)| Attribute { key, value }).collect();
        attributes.sort_by(|a, b| a.key.cmp(&b.key));
        attributes
    })
}

fn event() -> impl Strategy<Value = Event> {
    (any::<u64>(), ".{0,5}", attributes(), any::<u32>()).prop_map(|(time_unix_nano, name, attributes, dropped)| Event {
        time_unix_nano,
        name,
        attributes,
        dropped_attributes_count: dropped,
    })
}

fn link() -> impl Strategy<Value = Link> {
    (vec(any::<u8>(), 0..17), vec(any::<u8>(), 0..9), ".{0,5}", attributes(), any::<u32>(), any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped, flags)| Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count: dropped,
            flags,
        },
    )
}

fn resource() -> impl Strategy<Value = Arc<Resource>> {
    (attributes(), any::<u32>(), ".{0,4}").prop_map(|(attributes, dropped_attributes_count, schema_url)| {
        Arc::new(Resource { attributes, dropped_attributes_count, schema_url })
    })
}

fn scope() -> impl Strategy<Value = Arc<Scope>> {
    (".{0,4}", ".{0,4}", attributes(), any::<u32>(), ".{0,4}").prop_map(
        |(name, version, attributes, dropped_attributes_count, schema_url)| {
            Arc::new(Scope { name, version, attributes, dropped_attributes_count, schema_url })
        },
    )
}

/// Ids from so few that traces have several spans and spans have duplicates; never all zero.
pub fn span() -> impl Strategy<Value = Span> {
    let ids = (1u8..4, 1u8..6, proptest::option::of(1u8..6), any::<i32>(), any::<i32>());
    let texts = (".{0,6}", ".{0,6}", ".{0,6}");
    let numbers = (0i64..1 << 62, any::<i64>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>());
    let parts = (attributes(), vec(event(), 0..3), vec(link(), 0..3), resource(), scope());
    (ids, texts, numbers, parts).prop_map(|(ids, texts, numbers, parts)| Span {
        trace_id: TraceId([ids.0; 16]),
        span_id: SpanId([ids.1; 8]),
        parent_span_id: ids.2.map(|id| SpanId([id; 8])),
        kind: ids.3 % 3,
        status_code: ids.4,
        name: texts.0,
        status_message: texts.1,
        trace_state: texts.2,
        start: numbers.0,
        duration: numbers.1,
        flags: numbers.2,
        dropped_attributes_count: numbers.3,
        dropped_events_count: numbers.4,
        dropped_links_count: numbers.5,
        attributes: parts.0,
        events: parts.1,
        links: parts.2,
        resource: parts.3,
        scope: parts.4,
    })
}

/// What the spans are as traces, by the definition.
pub fn traces(spans: &[Span]) -> Vec<Trace> {
    let mut by_id: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
    spans.iter().for_each(|s| by_id.entry(s.trace_id).or_default().push(s.clone()));
    by_id.into_iter().map(|(id, spans)| Trace::assemble(id, spans)).collect()
}

fn read(chunk: &Chunk) -> Vec<Trace> {
    let everything = Projection::all();
    chunk.parts.iter().map(|part| Trace { trace_id: part.trace_id, spans: chunk.read(part, &everything) }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_chunk_gives_back_its_spans(spans in vec(span(), 0..8)) {
        prop_assert_eq!(read(&Chunk::of(&spans)), traces(&spans));
    }

    #[test]
    fn merged_chunks_give_back_the_spans_of_all(requests in vec(vec(span(), 0..4), 1..5)) {
        let chunks: Vec<Arc<Chunk>> = requests.iter().map(|spans| Arc::new(Chunk::of(spans))).collect();
        let merged = Chunk::merge(&chunks);
        prop_assert_eq!(read(&merged), traces(&requests.concat()));
        let again = Chunk::of(&requests.concat());
        prop_assert_eq!(&merged.parts, &again.parts);
    }

    #[test]
    fn columns_of_their_own_change_nothing(spans in vec(span(), 1..8)) {
        let borrowed: Vec<SpanRef<'_>> = spans.iter().map(SpanRef::from).collect();
        let plan = Plan::choose(&borrowed);
        let batch = write_spans(&borrowed, &vec![Default::default(); spans.len()], &plan).unwrap();
        let batch = without_dictionaries(&batch).unwrap();
        let everything = Projection::all();
        let reader = SpanReader::new(&batch, &everything);
        let bare = |span: &Span| Span { events: Vec::new(), links: Vec::new(), ..span.clone() };
        for (row, span) in spans.iter().enumerate() {
            prop_assert_eq!(reader.read(row), bare(span));
        }
        let events = write_events(&borrowed, 7, &plan).unwrap();
        let reader = EventReader::new(&events, &everything);
        let found: Vec<(u64, Event)> = (0..events.num_rows()).map(|row| reader.read(row)).collect();
        let expected: Vec<(u64, Event)> = (7u64..).zip(&spans).flat_map(|(row, s)| s.events.iter().map(move |e| (row, e.clone()))).collect();
        prop_assert_eq!(found, expected);
        let links = write_links(&borrowed, 7, &plan).unwrap();
        let reader = LinkReader::new(&links, &everything);
        let found: Vec<(u64, Link)> = (0..links.num_rows()).map(|row| reader.read(row)).collect();
        let expected: Vec<(u64, Link)> = (7u64..).zip(&spans).flat_map(|(row, s)| s.links.iter().map(move |l| (row, l.clone()))).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_projection_reads_what_it_names() {
    let resource = Arc::new(Resource {
        attributes: vec![
            Attribute::new("service.name", crate::model::AttributeValue::String("shop".into())),
            Attribute::new("zone", crate::model::AttributeValue::Int(3)),
        ],
        ..Resource::default()
    });
    let span = Span { trace_id: TraceId([1; 16]), span_id: SpanId([1; 8]), name: "op".into(), resource, ..Span::default() };
    let chunk = Chunk::of(&[span]);
    let mut projection = Projection::none();
    projection.add_attribute(crate::traces::schema::AttributeScope::Resource, "service.name");
    let read = &chunk.read(&chunk.parts[0], &projection)[0];
    assert_eq!((read.name.as_str(), read.resource.service_name(), read.resource.attributes.len()), ("", Some("shop"), 1));
}
