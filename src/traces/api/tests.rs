use super::*;
use crate::ingest::Limits;
use crate::query::PoolConfig;
use crate::runtime::{Budget, ManualClock, World};
use crate::storage::catalog::Catalog;
use crate::storage::layout::Layout;
use crate::storage::tier::Tier;
use crate::storage::wal::{LaneConfig, SyncMode};
use crate::storage::{Store, StoreConfig};
use crate::telemetry::Telemetry;
use crate::traces::Config;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tower::ServiceExt;

mod many;
mod places;

/// Noon of 2026-03-10, when the shop's data begin.
const BASE: i64 = 1_773_144_000_000_000_000;

/// A store in a directory of its own, with its doors.
struct House {
    store: Arc<Store<TracesSpec>>,
    api: Api,
    _directory: tempfile::TempDir,
}

fn open(directory: &Path) -> (Arc<Store<TracesSpec>>, Api) {
    let world = World { clock: Arc::new(ManualClock::at(BASE + 1_800_000_000_000)), ..World::real() };
    let layout = Layout::new(directory);
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: 256 << 20 };
    let telemetry = Telemetry::default();
    let spec = TracesSpec::new(Config { retention: None, ..Config::default() }, world.clock.clone());
    let config = StoreConfig { lane, head_max_bytes: 1 << 30 };
    let store = Arc::new(Store::open(spec, Tier::new(world.clone(), layout), catalog, config, telemetry.store.clone()).unwrap());
    store.recover().unwrap();
    let door = Door::new(store.clone(), world.clock.clone(), telemetry.ingest.clone(), Limits::default(), Budget::new(256 << 20));
    let pool = PoolConfig { parallel: 2, waiting_max: 100, timeout: Duration::from_secs(60), memory_max_bytes: 1 << 30 };
    let api = Api::new(Arc::new(door), Pool::new(pool), Tenancy::Off, world.clock.clone(), telemetry.query.clone());
    (store, api)
}

impl House {
    fn new() -> House {
        let directory = tempfile::tempdir().unwrap();
        let (store, api) = open(directory.path());
        House { store, api, _directory: directory }
    }

    async fn ask(&self, router: Router, request: Request<Body>) -> (StatusCode, Bytes) {
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn export(&self, body: impl Into<Body>) -> Value {
        let request = Request::post("/v1/traces").header("content-type", "application/json").body(body.into()).unwrap();
        let (status, body) = self.ask(otlp_routes(self.api.clone()), request).await;
        assert_eq!(status, StatusCode::OK, "{body:?}");
        serde_json::from_slice(&body).unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        self.ask(query_routes(self.api.clone()), Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body:?}");
        serde_json::from_slice(&body).unwrap()
    }

    async fn search(&self, query: &str) -> Value {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        self.json(&format!("/api/search?q={query}&start=1773144000&end=1773145800&spss=100")).await
    }
}

fn span(id: &str, parent: &str, more: Value) -> Value {
    let mut span = json!({
        "traceId": "0000000000000000000000000000a0b1", "spanId": id, "parentSpanId": parent, "name": "op", "kind": 2,
        "startTimeUnixNano": (BASE + 1_000_000_000).to_string(), "endTimeUnixNano": (BASE + 1_500_000_000).to_string(),
    });
    span.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    span
}

fn request(service: &str, spans: Vec<Value>) -> String {
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] });
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": { "name": "lib" }, "spans": spans }] }] }).to_string()
}

#[tokio::test]
async fn a_trace_is_found_at_once_and_after_a_cut_and_a_restart() {
    let house = House::new();
    let attributes = json!([{ "key": "n", "value": { "intValue": "7" } }, { "key": "tags", "value": { "arrayValue": { "values": [{ "stringValue": "x" }] } } }]);
    let first = span("00000000000000a1", "", json!({ "attributes": attributes, "status": { "code": 2 } }));
    assert_eq!(house.export(request("shop", vec![first])).await, json!({}));
    house.export(request("cart", vec![span("00000000000000a2", "00000000000000a1", json!({ "name": "get" }))])).await;
    for cut in [false, true] {
        if cut {
            house.store.cut().unwrap();
        }
        let found = house.search("{ span.n = 7 && .tags = \"x\" }").await;
        assert_eq!(found["traces"][0]["traceID"], "a0b1", "{found}");
        assert_eq!(found["traces"][0]["serviceStats"], json!({ "shop": { "spanCount": 1, "errorCount": 1 }, "cart": { "spanCount": 1 } }));
        assert_eq!(found["traces"][0]["spanSets"][0]["matched"], 1);
        let trace = house.json("/api/v2/traces/a0b1").await;
        assert_eq!(trace["trace"]["resourceSpans"].as_array().unwrap().len(), 2, "{trace}");
        let root = &trace["trace"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!((&root["kind"], &root["status"]["code"]), (&json!("SPAN_KIND_SERVER"), &json!("STATUS_CODE_ERROR")));
        let children = house.search("{ name = \"op\" } > { name = \"get\" } | select(nestedSetParent)").await;
        let shown = json!([{ "key": "nestedSetParent", "value": { "intValue": "1" } }]);
        assert_eq!(children["traces"][0]["spanSets"][0]["spans"][0]["attributes"], shown, "{children}");
    }
}

#[tokio::test]
async fn replay_stores_what_was_accepted_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (store, api) = open(directory.path());
    let house = House { store, api, _directory: directory };
    let bad = span("00", "", json!({}));
    let future = span("00000000000000a3", "", json!({ "startTimeUnixNano": (BASE + 3_600_000_000_000).to_string() }));
    let answer = house.export(request("shop", vec![bad, span("00000000000000a1", "", json!({})), future])).await;
    assert_eq!(answer["partialSuccess"]["rejectedSpans"], "2", "{answer}");
    let House { store, api, _directory: directory } = house;
    drop((store, api));
    let (store, api) = open(directory.path());
    let house = House { store, api, _directory: directory };
    let found = house.search("{}").await;
    assert_eq!(found["traces"][0]["spanSets"][0]["matched"], 1, "{found}");
}

#[tokio::test]
async fn a_trace_in_several_places_is_judged_as_one_and_the_earlier_duplicate_wins() {
    let house = House::new();
    house.export(request("shop", vec![span("00000000000000a1", "", json!({ "name": "first" }))])).await;
    house.store.cut().unwrap();
    house.export(request("shop", vec![span("00000000000000a1", "", json!({ "name": "again" }))])).await;
    house.export(request("cart", vec![span("00000000000000a2", "00000000000000a1", json!({ "name": "late" }))])).await;
    let found = house.search("{ name = \"first\" } >> { name = \"late\" }").await;
    assert_eq!(found["traces"][0]["spanSets"][0]["matched"], 1, "{found}");
    assert_eq!(house.search("{ name = \"again\" }").await["traces"], json!([]));
    house.store.cut().unwrap();
    assert_eq!(house.search("{}").await["traces"][0]["spanSets"][0]["matched"], 2);
}

#[tokio::test]
async fn an_unknown_trace_is_present_and_empty_on_the_wire() {
    let house = House::new();
    let ask = |path: &str| Request::get(path).header("accept", "application/protobuf").body(Body::empty()).unwrap();
    let (status, body) = house.ask(query_routes(house.api.clone()), ask("/api/v2/traces/abc")).await;
    assert_eq!((status, &body[..2]), (StatusCode::OK, &[0x0a, 0x00][..]));
    let (status, body) = house.ask(query_routes(house.api.clone()), ask("/api/traces/abc")).await;
    assert_eq!((status, body.len()), (StatusCode::NOT_FOUND, 0));
    let (status, body) = house.get("/api/traces/xyz").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body, "trace IDs can only contain hex characters: invalid character 'x' at position 1");
}

#[tokio::test]
async fn every_message_that_the_plugin_takes_for_granted_is_on_the_wire() {
    use prost::Message;
    let house = House::new();
    let bare = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span("00000000000000a1", "", json!({}))] }] }] }).to_string();
    house.export(bare).await;
    let request = Request::get("/api/v2/traces/a0b1").header("accept", "application/protobuf").body(Body::empty()).unwrap();
    let (_, body) = house.ask(query_routes(house.api.clone()), request).await;
    let trace = proto::TraceByIdResponse::decode(body).unwrap().trace.unwrap();
    let resource = &trace.resource_spans[0];
    assert!(resource.resource.is_some() && resource.scope_spans[0].scope.is_some() && resource.scope_spans[0].spans[0].status.is_some());
}

#[tokio::test]
async fn tags_and_values_are_offered_from_head_and_blocks() {
    let house = House::new();
    let attributes = json!([
        { "key": "http/route", "value": { "stringValue": "/a" } }, { "key": "n", "value": { "intValue": "7" } },
        { "key": "list", "value": { "arrayValue": { "values": [{ "stringValue": "x" }, { "stringValue": "y" }] } } },
    ]);
    let events = json!([{ "name": "retry", "attributes": [{ "key": "why", "value": { "boolValue": true } }] }]);
    house.export(request("shop", vec![span("00000000000000a1", "", json!({ "attributes": attributes, "events": events }))])).await;
    let other = json!({ "attributes": [{ "key": "n", "value": { "doubleValue": 0.5 } }], "name": "get" });
    house.export(request("cart", vec![span("00000000000000a2", "00000000000000a1", other)])).await;
    for cut in [false, true] {
        if cut {
            house.store.cut().unwrap();
        }
        let scopes = |value: Value| -> Vec<(String, Value)> {
            let scopes = value["scopes"].as_array().unwrap().clone();
            scopes.into_iter().map(|s| (s["name"].as_str().unwrap().to_owned(), s["tags"].clone())).collect()
        };
        let times = "start=1773144000&end=1773145800";
        let all = scopes(house.json(&format!("/api/v2/search/tags?{times}")).await);
        let expected = [("span", json!(["http/route", "list", "n"])), ("resource", json!(["service.name"])), ("event", json!(["why"]))];
        assert_eq!(all[..3], expected.map(|(name, tags)| (name.to_owned(), tags)));
        assert_eq!((all.len(), all[3].0.as_str()), (4, "intrinsic"));
        let filtered = house.json(&format!("/api/v2/search/tags?{times}&scope=span&q=%7Bname%3D%22get%22%20%26%26%20span.")).await;
        assert_eq!(scopes(filtered), [("span".to_owned(), json!(["n"]))]);
        let limited = house.json(&format!("/api/v2/search/tags?{times}&scope=span&limit=1")).await;
        assert_eq!(scopes(limited), [("span".to_owned(), json!(["http/route"]))]);
        let values =
            async |tag: &str, more: &str| house.json(&format!("/api/v2/search/tag/{tag}/values?{times}{more}")).await["tagValues"].clone();
        assert_eq!(values("span.n", "").await, json!([{ "type": "float", "value": "0.5" }, { "type": "int", "value": "7" }]));
        assert_eq!(values("span.n", "&q=%7Bname%3D%22get%22%7D").await, json!([{ "type": "float", "value": "0.5" }]));
        assert_eq!(values(".list", "").await, json!([{ "type": "string", "value": "x" }, { "type": "string", "value": "y" }]));
        assert_eq!(values("span.http%2Froute", "").await, json!([{ "type": "string", "value": "/a" }]));
        assert_eq!(values("event:name", "&limit=5").await, json!([{ "type": "string", "value": "retry" }]));
        assert_eq!(values("kind", "&limit=1&q=%7B%7D").await, json!([{ "type": "keyword", "value": "unspecified" }]));
        assert_eq!(values("duration", "").await, json!([]));
        assert_eq!(house.json(&format!("/api/search/tag/n/values?{times}")).await["tagValues"], json!(["0.5", "7"]));
        let names = json!(["http/route", "list", "n", "service.name", "why"]);
        assert_eq!(house.json(&format!("/api/search/tags?{times}")).await["tagNames"], names);
    }
    let (status, _) = house.get("/api/v2/search/tag/nosuch/values").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn metrics_answer_in_the_forms_of_the_contract() {
    let house = House::new();
    house.export(request("shop", vec![span("00000000000000a1", "", json!({}))])).await;
    let times = "start=1773144000&end=1773144002&step=2s";
    let found = house.json(&format!("/api/metrics/query_range?q=%7B%7D%7Crate()&{times}")).await;
    let series = &found["series"][0];
    assert_eq!(series["labels"], json!([{ "key": "__name__", "value": { "stringValue": "rate" } }]));
    let samples = json!([{ "timestampMs": "1773144000000" }, { "timestampMs": "1773144002000", "value": 0.5 }]);
    assert_eq!(series["samples"], samples);
    let exemplar = &series["exemplars"][0];
    assert_eq!(exemplar["labels"], json!([{ "key": "trace:id", "value": { "stringValue": "a0b1" } }]));
    assert_eq!((&exemplar["value"], &exemplar["timestampMs"]), (&json!(0.5), &json!("1773144001000")));
    let instant =
        house.json("/api/metrics/query?q=%7B%7D%7Ccount_over_time()%20by(resource.service.name)&start=1773144000&end=1773144002").await;
    let label = json!([{ "key": "resource.service.name", "value": { "stringValue": "shop" } }]);
    assert_eq!(instant["series"], json!([{ "labels": label, "value": 1.0 }]));
    for (query, message) in [
        ("q=%7B%7D&start=1&end=2", "compiling query: not a metrics query"),
        ("q=%7B%7D%7Crate()&start=2&end=1", "end must be greater than start"),
        ("q=%7B%7D%7Crate()&start=1&end=100000", "metrics query time range exceeds the maximum allowed duration of 24h0m0s"),
        (
            "q=%7B%7D%7Crate()&start=-9223372036854775808&end=9223372036854775807",
            "metrics query time range exceeds the maximum allowed duration of 24h0m0s",
        ),
        ("q=%7B%7D%7Crate()&start=1&end=3601&step=1ms", "step of 1ms is too small, minimum step for given range is 360ms"),
        ("q=%7B%7D%7Crate(&start=1&end=2", "compiling query: parse error at line 1, col 9: syntax error: unexpected $end, expecting )"),
    ] {
        let (status, body) = house.get(&format!("/api/metrics/query_range?{query}")).await;
        assert_eq!((status, &body[..]), (StatusCode::BAD_REQUEST, message.as_bytes()), "{query}");
    }
}

#[tokio::test]
async fn bad_searches_say_why() {
    let house = House::new();
    for (query, message) in [
        ("q=%7B%7D&tags=a%3Db", "invalid request: can't specify tags and q in the same query"),
        ("q=%7B%7D&start=5", "error parsing date range: only one of start and end provided: must provide both or neither"),
        ("q=%7B%7D&start=5&end=5", "http parameter start must be before end. received start=5 end=5"),
        ("q=%7B%7D&start=1&end=604802", "range specified by start and end exceeds 168h0m0s. received start=1 end=604802"),
        ("q=%7B", "invalid TraceQL query: parse error at line 1, col 2: syntax error: unexpected $end, expecting an attribute"),
        ("q=%7Bparent.a%3D1%7D", "invalid TraceQL query: parent not yet supported"),
    ] {
        let (status, body) = house.get(&format!("/api/search?{query}")).await;
        assert_eq!((status, &body[..]), (StatusCode::BAD_REQUEST, message.as_bytes()), "{query}");
    }
}

/// Every trace of the store, by id, with everything in it.
fn stored(house: &House) -> Vec<crate::traces::trace::Trace> {
    let tenant = crate::model::TenantId::default_tenant();
    let ctx = house.api.pool.context(tenant.clone());
    let sources = Sources::new(house.store.view(&tenant), house.api.cache.clone());
    let mut traces = sources.traces(&ctx, crate::model::TimeRange::ALL).unwrap();
    traces.sort_by_key(|t| t.trace_id);
    sources.load(&ctx, &traces, &crate::traces::columns::Projection::all()).unwrap()
}

#[tokio::test]
async fn arbitrary_spans_come_back_exactly_from_head_and_blocks() {
    use crate::traces::columns::tests::{span, traces};
    use crate::traces::otlp::Kind;
    use proptest::strategy::{Strategy, ValueTree};
    use prost::Message;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..8 {
        let house = House::new();
        let mut all = Vec::new();
        for _ in 0..6 {
            let spans = proptest::collection::vec(span(), 1..6).new_tree(&mut runner).unwrap().current();
            // Within the time that is accepted; some on other days.
            let near = |s: crate::traces::span::Span| crate::traces::span::Span { start: BASE - s.start % (40 * 86_400_000_000_000), ..s };
            let spans: Vec<_> = spans.into_iter().map(near).collect();
            for span in spans {
                let trace = crate::traces::trace::Trace { trace_id: span.trace_id, spans: vec![span.clone()] };
                let body = proto::message(&trace).encode_to_vec();
                let tenant = crate::model::TenantId::default_tenant();
                let encoding = crate::ingest::Encoding::Identity;
                let outcome = house.api.accept(tenant, Kind::OtlpProtobuf, encoding, body.into()).await.unwrap();
                assert_eq!(outcome.accepted, 1, "{:?}", outcome.refusals);
                all.push(span);
            }
        }
        let expected = traces(&all);
        assert!(stored(&house) == expected, "from the head");
        house.store.cut().unwrap();
        assert!(stored(&house) == expected, "from blocks");
    }
}

/// The directory of the reference answers; `None`, with a word on it, if they are not there.
fn conformance() -> Option<PathBuf> {
    let named = std::env::var_os("MONOCLE_CONFORMANCE").and_then(|d| Path::new(&d).parent().map(Path::to_path_buf));
    let found = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance"));
    let there = found.join("conform.py").exists();
    if !there {
        eprintln!("skipped: no conformance cases at {}", found.display());
    }
    there.then_some(found)
}

async fn load(house: &House, conformance: &Path) {
    use std::io::BufRead;
    let file = std::fs::File::open(conformance.join("dataset/traces.jsonl.gz")).unwrap();
    for line in std::io::BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines() {
        assert_eq!(house.export(line.unwrap()).await, json!({}));
    }
}

fn agreeing(conformance: &Path, address: std::net::SocketAddr) -> usize {
    let output = std::process::Command::new("python3")
        .arg(conformance.join("conform.py"))
        .args(["check", "--only", "tempo", "--show", "30", "--tempo", &format!("http://{address}")])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    eprintln!("{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|l| l.strip_prefix("tempo: ")).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// Cases that must agree with the reference, from the head and from blocks alike.
const AGREEING_MIN: usize = 124;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_answers_are_given_from_head_and_blocks() {
    let Some(conformance) = conformance() else { return };
    let house = House::new();
    load(&house, &conformance).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, query_routes(house.api.clone())).into_future());
    for cut in [false, true] {
        if cut {
            house.store.cut().unwrap();
        }
        let conformance = conformance.clone();
        let count = tokio::task::spawn_blocking(move || agreeing(&conformance, address)).await.unwrap();
        assert!(count >= AGREEING_MIN, "{count} agree, cut: {cut}");
    }
    let blocks = house.store.view(&crate::model::TenantId::default_tenant()).blocks;
    assert_eq!(blocks.iter().map(|b| b.meta().table("spans").unwrap().rows).sum::<u64>(), 20_851);
    server.abort();
}

#[tokio::test]
async fn a_deleted_trace_is_gone_and_spans_that_come_later_stay() {
    let house = House::new();
    let body = |span: Value| json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    house.export(body(span("0000000000000001", "", json!({})))).await;
    let path = "/api/traces/a0b1";
    assert_eq!(house.get(path).await.0, StatusCode::OK);
    let request = Request::delete(path).body(Body::empty()).unwrap();
    let router = query_routes(house.api.clone()).merge(admin_routes(house.api.clone()));
    assert_eq!(house.ask(router, request).await.0, StatusCode::NO_CONTENT);
    assert_eq!(house.get(path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.search("{}").await["traces"], json!([]));
    house.export(body(span("0000000000000002", "", json!({})))).await;
    let config = crate::storage::maintenance::CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };
    house.store.compact(&config).unwrap();
    let view = house.store.view(&crate::model::TenantId::default_tenant());
    assert_eq!((view.blocks.len(), view.blocks[0].meta().items, view.tombstones().len()), (1, 1, 0));
    assert_eq!(house.search("{}").await["traces"].as_array().unwrap().len(), 1);
    let refused = house.ask(query_routes(house.api.clone()), Request::delete(path).body(Body::empty()).unwrap()).await;
    assert_eq!(refused.0, StatusCode::METHOD_NOT_ALLOWED);
}
