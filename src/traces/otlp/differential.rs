//! The reader of the bytes and prost's messages take, refuse and give the same.

use super::*;
use crate::ingest::wire_cases::{run, schema_of};
use crate::traces::columns::Projection;
use crate::traces::head::Chunk;
use prost_reflect::DescriptorPool;

const VALUE_MAX: usize = 20;

fn by_reference(body: &[u8]) -> Option<String> {
    let translated = reference::translate(ExportTraceServiceRequest::decode(body).ok()?, VALUE_MAX);
    Some(format!("{:?} {:?}", translated.spans, translated.refusals))
}

fn from_bytes(body: &[u8]) -> Option<String> {
    let translated = translate(body, VALUE_MAX).ok()?;
    let (groups, refusals) = (translated.groups, translated.refusals);
    let spans = translated.spans.into_iter().map(|incoming| {
        let index = incoming.index;
        let chunk = Chunk::new(Translated { spans: vec![incoming], groups: groups.clone(), ..Translated::default() });
        (index, chunk.read(&chunk.parts[0], &Projection::all()).remove(0))
    });
    Some(format!("{:?} {refusals:?}", spans.collect::<Vec<_>>()))
}

#[test]
fn bytes_and_messages_agree() {
    let pool = DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).unwrap();
    let request = pool.get_message_by_name("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest").unwrap();
    let (mut taken, mut stored) = (0, 0);
    run(include_str!("corpus.txt"), &schema_of(&request), |body| {
        let (ours, theirs) = (from_bytes(body), by_reference(body));
        let hex = || body.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(ours, theirs, "{}", hex());
        taken += usize::from(ours.is_some());
        stored += usize::from(ours.is_some_and(|o| !o.starts_with("[]")));
    });
    assert!(taken > 100 && stored > 10, "{taken} {stored}: cases reach nothing");
}
