//! The reader of the bytes and prost's messages take, refuse and give the same.

use super::*;
use crate::ingest::wire_cases::{run, schema_of};
use crate::logs::reference::{shown, shown_rows};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use prost::Message as _;
use prost_reflect::DescriptorPool;

#[test]
fn bytes_and_messages_agree() {
    let pool = DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).unwrap();
    let request = pool.get_message_by_name("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest").unwrap();
    let (config, known) = (Config::default(), KnownGroups::default());
    let (mut taken, mut stored) = (0, 0);
    run(include_str!("corpus.txt"), &schema_of(&request), |body| {
        let ours = translate_protobuf(body, 77, &config, &known).ok();
        let theirs = ExportLogsServiceRequest::decode(body).ok().map(|request| reference::translate(request, 77, &config));
        let hex = || body.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(ours.as_ref().map(|o| shown_rows(&o.0)), theirs.as_ref().map(|t| shown(&t.0)), "{}", hex());
        assert_eq!(ours.as_ref().map(|o| &o.1), theirs.as_ref().map(|t| &t.1), "{}", hex());
        taken += usize::from(ours.is_some());
        stored += usize::from(ours.is_some_and(|o| !o.0.streams().is_empty()));
    });
    assert!(taken > 100 && stored > 10, "{taken} {stored}: cases reach nothing");
}
