//! The reader of the bytes and prost's messages take, refuse and give the same, whatever was seen before.

use super::*;
use crate::ingest::wire_cases::{run, schema_of};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use prost_reflect::DescriptorPool;

const NOW: i64 = 1_773_144_000_000_000_000;

fn config() -> Config {
    let translation = TranslationConfig { promote_scope_metadata: true, ..TranslationConfig::default() };
    Config { retention: None, translation, ..Config::default() }
}

fn by_reference(body: &[u8], config: &Config) -> Option<String> {
    let request = ExportMetricsServiceRequest::decode(body).ok()?;
    let mut translation = points::Translation::new(&config.translation, times(NOW, config), body.into());
    let info_step = i64::try_from(config.lookback.as_millis()).unwrap() / 2;
    request.resource_metrics.into_iter().for_each(|resource| reference::resource(&mut translation, resource, info_step));
    Some(format!("{:?}", translation.finish()))
}

#[test]
fn bytes_and_messages_agree() {
    let pool = DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).unwrap();
    let request = pool.get_message_by_name("opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest").unwrap();
    let (config, cache) = (config(), SeriesCache::default());
    let (mut taken, mut stored) = (0, 0);
    run(include_str!("corpus.txt"), &schema_of(&request), |body| {
        let theirs = by_reference(body, &config);
        // The second time, series are known.
        for _ in 0..2 {
            let ours = translate(Kind::Protobuf, body, NOW, &config, &cache).ok();
            stored += usize::from(ours.as_ref().is_some_and(|(rows, _)| !rows.samples.is_empty()));
            let ours = ours.map(|ours| format!("{ours:?}"));
            assert_eq!(ours, theirs, "{}", body.iter().map(|b| format!("{b:02x}")).collect::<String>());
        }
        taken += usize::from(theirs.is_some());
    });
    assert!(taken > 100 && stored > 10, "{taken} {stored}: cases reach nothing");
}
