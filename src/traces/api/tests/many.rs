//! What a query holds of the traces of many blocks is bounded, and its answer is the same.

use super::*;
use crate::model::{SpanId, TraceId};
use crate::traces::index::BlockIndex;
use crate::traces::otlp::Kind;
use crate::traces::span::{Resource, Scope, Span};
use prost::Message;
use std::collections::BTreeSet;

const BLOCKS: usize = 12;
const TRACES: usize = 6000;
/// Traces that begin in a block and go on in another or in the head.
const SPLIT: usize = 20;
/// Less than all indexes and more than one.
const MEMORY: u64 = 2 << 20;

/// Ids that are spread as random ones are.
fn id(number: usize) -> TraceId {
    TraceId((number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

fn split(block: usize, n: usize) -> TraceId {
    id(BLOCKS * TRACES + block * SPLIT + n)
}

/// Where a split trace goes on: every fourth in the head, and every eighth in a third place, too.
fn later(block: usize, n: usize) -> Vec<usize> {
    let other = (block + 5) % BLOCKS;
    if n % 4 == 3 {
        vec![BLOCKS]
    } else if n.is_multiple_of(8) {
        vec![other, BLOCKS]
    } else {
        vec![other]
    }
}

fn spans(place: usize) -> Vec<Span> {
    let (resource, scope) = (Arc::new(Resource::default()), Arc::new(Scope::default()));
    let make = |trace_id, name: &str, span, parent: Option<u8>, start: usize| Span {
        trace_id,
        span_id: SpanId([span; 8]),
        parent_span_id: parent.map(|p| SpanId([p; 8])),
        name: name.into(),
        start: BASE + start as i64 * 1_000_000,
        duration: 1_000_000,
        resource: resource.clone(),
        scope: scope.clone(),
        ..Span::default()
    };
    let mut spans = Vec::new();
    for n in 0..if place < BLOCKS { TRACES } else { 300 } {
        spans.push(make(id(place * TRACES + n + if place < BLOCKS { 0 } else { 1 << 20 }), "plain", 1, None, place * 1000 + n / 10));
    }
    for (block, n) in (0..BLOCKS).flat_map(|block| (0..SPLIT).map(move |n| (block, n))) {
        if block == place {
            spans.push(make(split(block, n), "root", 1, None, block * 1000 + n));
        }
        if let Some(at) = later(block, n).iter().position(|at| *at == place) {
            spans.push(make(split(block, n), "leaf", 2 + at as u8, Some(1), place * 1000 + n));
        }
    }
    spans
}

#[tokio::test]
async fn a_query_holds_one_index_however_many_blocks_there_are() {
    let house = House::new();
    for place in 0..=BLOCKS {
        let body = proto::message(&crate::traces::trace::Trace { trace_id: TraceId::default(), spans: spans(place) }).encode_to_vec();
        let (tenant, encoding) = (crate::model::TenantId::default_tenant(), crate::ingest::Encoding::Identity);
        house.api.accept(tenant, Kind::OtlpProtobuf, encoding, body.into()).await.unwrap();
        if place < BLOCKS {
            house.store.cut().unwrap();
        }
    }
    assert_eq!(house.store.view(&crate::model::TenantId::default_tenant()).blocks.len(), BLOCKS);
    assert!(BlockIndex::bytes_of(BLOCKS * TRACES) > MEMORY && BlockIndex::bytes_of(TRACES) < MEMORY / 4);
    let split_ids: BTreeSet<String> = (0..BLOCKS * SPLIT).map(|n| split(n / SPLIT, n % SPLIT).to_string()).collect();
    let leaves = (0..BLOCKS * SPLIT).map(|n| later(n / SPLIT, n % SPLIT).len()).sum::<usize>();
    let pool = PoolConfig { parallel: 1, waiting_max: 100, timeout: Duration::from_secs(60), memory_max_bytes: MEMORY };
    // No index stays in the cache, or one, or all.
    for cache in [0, 300 << 10, 64 << 20] {
        let api = Api { pool: Pool::new(pool), cache: Arc::new(Cache::new(cache)), ..house.api.clone() };
        let ask = async |path: &str, query: &str, more: &str| {
            let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
            let path = format!("{path}?q={query}&start=1773143990&end=1773144060{more}");
            let (status, body) = house.ask(query_routes(api.clone()), Request::get(&path).body(Body::empty()).unwrap()).await;
            assert_eq!(status, StatusCode::OK, "cache {cache}: {path}: {body:?}");
            serde_json::from_slice::<Value>(&body).unwrap()
        };
        for _ in 0..2 {
            let found = ask("/api/search", "{ name = \"root\" } > { name = \"leaf\" }", "&limit=1000&spss=9").await;
            let traces = found["traces"].as_array().unwrap();
            let ids: BTreeSet<String> = traces.iter().map(|t| format!("{:0>32}", t["traceID"].as_str().unwrap())).collect();
            assert_eq!((traces.len(), &ids), (split_ids.len(), &split_ids), "cache {cache}");
            let matched = traces.iter().map(|t| t["spanSets"][0]["matched"].as_u64().unwrap() as usize).sum::<usize>();
            assert_eq!(matched, leaves);
            let starts: Vec<u64> = traces.iter().map(|t| t["startTimeUnixNano"].as_str().unwrap().parse().unwrap()).collect();
            assert!(starts.is_sorted_by(|a, b| a >= b));
            let newest = ask("/api/search", "{ }", "&limit=7").await;
            assert_eq!(newest["traces"].as_array().unwrap().len(), 7);
            assert!(newest["traces"].as_array().unwrap().iter().all(|t| t["rootTraceName"] == "plain"), "{newest}");
        }
        let counted = ask("/api/metrics/query", "{ name = \"leaf\" } | count_over_time()", "").await;
        assert_eq!(counted["series"][0]["value"], json!(leaves as f64), "{counted}");
        let counted = ask("/api/metrics/query", "{ name = \"plain\" } | count_over_time()", "").await;
        assert_eq!(counted["series"][0]["value"], json!((BLOCKS * TRACES + 300) as f64), "{counted}");
        let values = ask("/api/v2/search/tag/name/values", "{ name != \"plain\" }", "").await;
        let values: BTreeSet<&str> = values["tagValues"].as_array().unwrap().iter().map(|v| v["value"].as_str().unwrap()).collect();
        assert_eq!(values, BTreeSet::from(["leaf", "root"]));
    }
}
