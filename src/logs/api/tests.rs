//! The API over a real store: the way in, the answers from the head, and the same answers from blocks.

use super::*;
use crate::ingest::Limits;
use crate::logs::Config;
use crate::model::TenantId;
use crate::query::PoolConfig;
use crate::runtime::{Budget, Disk, ManualClock, OsDisk, World};
use crate::storage::catalog::Catalog;
use crate::storage::layout::Layout;
use crate::storage::tier::Tier;
use crate::storage::wal::{LaneConfig, SyncMode};
use crate::storage::{Store, StoreConfig};
use crate::telemetry::Telemetry;
use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use std::io::{BufRead, Read};
use std::path::Path;
use std::time::Duration;
use tower::ServiceExt;

mod deletes;
mod many;
mod patterns;
mod tail;

/// 2026-03-10T12:00:00Z, where the shop begins.
const BASE: i64 = 1_773_144_000_000_000_000;

struct House {
    store: Arc<Store<LogsSpec>>,
    query: Router,
    /// What is left of the operators' routes for those who may not use them.
    closed: Router,
    otlp: Router,
}

fn open(directory: &Path, config: Config) -> House {
    let house = open_unrecovered(directory, config);
    house.store.recover().unwrap();
    house
}

fn open_unrecovered(directory: &Path, config: Config) -> House {
    let world = World { clock: Arc::new(ManualClock::at(BASE + 3_600_000_000_000)), disk: Arc::new(OsDisk) };
    let layout = Layout::new(directory);
    world.disk.create_dir_all(directory).unwrap();
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    let telemetry = Telemetry::default();
    let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: 256 << 20 };
    let spec = LogsSpec::new(config, world.clock.clone());
    let store_config = StoreConfig { lane, head_max_bytes: 256 << 20 };
    let store = Arc::new(Store::open(spec, Tier::new(world.clone(), layout), catalog, store_config, telemetry.store.clone()).unwrap());
    let door = Arc::new(Door::new(store.clone(), world.clock.clone(), telemetry.ingest.clone(), Limits::default(), Budget::new(512 << 20)));
    let pool = Pool::new(PoolConfig { parallel: 2, waiting_max: 16, timeout: Duration::from_secs(60), memory_max_bytes: 1 << 30 });
    let api = Api::new(door, pool, Tenancy::Off, world.clock.clone(), telemetry.query.clone());
    let query = query_routes(api.clone()).merge(admin_routes(api.clone(), true));
    let closed = admin_routes(api.clone(), false);
    House { store, query, closed, otlp: otlp_routes(api) }
}

async fn send(router: &Router, request: Request) -> (u16, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn post(router: &Router, path: &str, content_type: &str, body: impl Into<Body>) -> (u16, String) {
    let request = Request::post(path).header("content-type", content_type).body(body.into()).unwrap();
    let (status, body) = send(router, request).await;
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn ask_with(house: &House, path: &str, params: &[(&str, &str)], flags: Option<&str>) -> (u16, String) {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let mut request = Request::get(format!("{path}?{query}"));
    if let Some(flags) = flags {
        request = request.header("x-loki-response-encoding-flags", flags);
    }
    let (status, body) = send(&house.query, request.body(Body::empty()).unwrap()).await;
    (status, String::from_utf8(body).unwrap())
}

async fn ask(house: &House, path: &str, params: &[(&str, &str)]) -> (u16, String) {
    ask_with(house, path, params, None).await
}

/// The answer without its statistics.
async fn data(house: &House, path: &str, params: &[(&str, &str)]) -> Value {
    let (status, body) = ask(house, path, params).await;
    assert_eq!(status, 200, "{body}");
    let mut value: Value = serde_json::from_str(&body).unwrap();
    if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
        data.remove("stats");
    }
    value
}

fn at(seconds: i64) -> String {
    (BASE + seconds * 1_000_000_000).to_string()
}

async fn push(house: &House, body: &str) -> (u16, String) {
    post(&house.query, "/loki/api/v1/push", "application/json", body.to_owned()).await
}

const RANGE: &str = "/loki/api/v1/query_range";

#[tokio::test]
async fn pushed_lines_are_answered_in_either_direction_and_by_category() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let t = at(10);
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{t}","first <b>",{{"k":"v"}}],["{t}","second"],["{}","third"],["{t}","second"]]}}]}}"#,
        at(11)
    );
    assert_eq!(push(&house, &body).await, (204, String::new()));
    assert_eq!(push(&house, &body).await.0, 204);
    for cut in [false, true] {
        if cut {
            house.store.cut().unwrap();
        }
        let (start, end) = (at(0), at(20));
        let query = [("query", r#"{app="x"}"#), ("start", start.as_str()), ("end", &end)];
        let (_, body) = ask_with(&house, RANGE, &query, Some("categorize-labels")).await;
        let stream = r#"{"app":"x","service_name":"x"}"#;
        let md = |pairs: &str| format!(r#"{{"structuredMetadata":{{"detected_level":"unknown"{pairs}}}}}"#);
        let want = format!(
            r#"{{"status":"success","data":{{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{{"stream":{stream},"values":[["{}","third",{}],["{t}","second",{}],["{t}","first \u003cb\u003e",{}]]}}],"stats":"#,
            at(11),
            md(""),
            md(""),
            md(r#","k":"v""#)
        );
        assert!(body.starts_with(&want), "{body}\nnot\n{want}");
        let mut forward = query.to_vec();
        forward.extend([("direction", "forward"), ("limit", "2")]);
        let value = data(&house, RANGE, &forward).await;
        let lines: Vec<&Value> = value["data"]["result"].as_array().unwrap().iter().flat_map(|s| s["values"].as_array().unwrap()).collect();
        assert_eq!(lines.len(), 2, "{value}");
        assert!(lines.iter().all(|l| l.as_array().unwrap().len() == 2 && l[0] == t.as_str()));
        let instant = [("query", r#"sum(count_over_time({app="x"}[1m]))"#), ("time", end.as_str())];
        assert_eq!(data(&house, "/loki/api/v1/query", &instant).await["data"]["result"][0]["value"][1], "3");
    }
}

#[tokio::test]
async fn bad_entries_do_not_spoil_good_ones_and_are_not_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["5","old"],["{}","good"],["{}","ahead"]]}},{{"stream":{{}},"values":[["1","x"]]}}]}}"#,
        at(10),
        at(90_000)
    );
    let count = [("query", r#"sum(count_over_time({app="x"}[400d]))"#), ("time", "4000000000")];
    {
        let house = open(directory.path(), Config::default());
        let (status, text) = push(&house, &body).await;
        assert_eq!(status, 400);
        assert!(
            text.contains("has timestamp too old: 1970-01-01T00:00:00.000000005Z, oldest acceptable timestamp is: 2026-02-08T13:00:00Z"),
            "{text}"
        );
        assert!(text.contains("has timestamp too new") && text.contains("at least one label pair"), "{text}");
    }
    let house = open(directory.path(), Config { retention: None, ..Config::default() });
    let all = [("query", r#"{app="x"}"#), ("start", "0"), ("end", "2500000")];
    assert_eq!(data(&house, RANGE, &all).await["data"]["result"], serde_json::json!([]));
    let lines = [("query", r#"{app="x"}"#), ("start", &at(0)), ("end", &at(100_000))].map(|(n, v)| (n, v.to_string()));
    let lines: Vec<(&str, &str)> = lines.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let value = data(&house, RANGE, &lines).await;
    assert_eq!(value["data"]["result"][0]["values"].as_array().unwrap().len(), 1, "{value}");
    assert_eq!(data(&house, "/loki/api/v1/query", &count).await["data"]["result"], serde_json::json!([]));
}

#[tokio::test]
async fn a_cut_during_replay_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    {
        let house = open(directory.path(), Config::default());
        for i in 0..300 {
            let body = format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{}","line {i}"]]}}]}}"#, at(10));
            assert_eq!(push(&house, &body).await.0, 204);
        }
    }
    let house = open_unrecovered(directory.path(), Config::default());
    let replayed = house.store.clone();
    let replay = std::thread::spawn(move || replayed.recover().unwrap());
    while !replay.is_finished() {
        house.store.cut().unwrap();
    }
    replay.join().unwrap();
    let count = [("query", r#"sum(count_over_time({app="x"}[1m]))"#), ("time", &at(20))].map(|(n, v)| (n, v.to_string()));
    let count: Vec<(&str, &str)> = count.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(data(&house, "/loki/api/v1/query", &count).await["data"]["result"][0]["value"][1], "300");
}

#[test]
fn refusals_are_named_as_in_the_other_rooms() {
    use crate::logs::spec::FrameKind;
    use crate::storage::Rows as _;
    let year = 366 * 86_400_000_000_000;
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{}","a"],["{}","b"],["{BASE}","long"]]}},{{"stream":{{"a-b":"x"}},"values":[["{BASE}","c"]]}}]}}"#,
        BASE - year,
        BASE + year
    );
    let config = Config { line_max_bytes: 3, ..Config::default() };
    let (rows, refusals) = LogsSpec::new(config, Arc::new(ManualClock::default()))
        .translator()
        .live(FrameKind::PushJson, body.as_bytes().into(), BASE)
        .unwrap();
    assert!(rows.is_empty());
    let reasons: Vec<&str> = refusals.reasons().map(|(reason, _, _)| reason).collect();
    assert_eq!(reasons, ["invalid_label", "too_far_ahead", "too_large", "too_old"]);
}

#[tokio::test]
async fn volumes_of_one_instant_are_answered_and_groups_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config { volume_series_max: 2, ..Config::default() });
    let t = at(10);
    for app in ["a", "b", "c"] {
        let body = format!(r#"{{"streams":[{{"stream":{{"app":"{app}"}},"values":[["{t}","line"]]}}]}}"#);
        assert_eq!(push(&house, &body).await.0, 204);
    }
    let path = "/loki/api/v1/index/volume_range";
    let value = data(&house, path, &[("query", r#"{app="a"}"#), ("start", &t), ("end", &t)]).await;
    assert_eq!(value["data"]["result"][0]["metric"], serde_json::json!({ "app": "a" }), "{value}");
    assert_eq!(value["data"]["result"].as_array().unwrap().len(), 1);
    let (status, text) = ask(&house, path, &[("query", "{}"), ("start", &at(0)), ("end", &at(20))]).await;
    assert_eq!((status, text.as_str()), (400, "the query hit the max number of series limit (limit: 2 series)\n"));
}

#[tokio::test]
async fn doors_answer_in_their_own_forms() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let record =
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"{}","body":{{"stringValue":"x"}}}}]}}]}}]}}"#, at(1));
    assert_eq!(post(&house.otlp, "/v1/logs", "application/json", record.clone()).await, (200, "{}".into()));
    assert_eq!(post(&house.query, "/otlp/v1/logs", "application/json", record).await, (204, String::new()));
    let (status, body) = post(&house.query, "/otlp/v1/logs", "application/json; charset=utf-8", "{}").await;
    assert!(status == 400 && body.contains("content type: application/json; charset=utf-8 is not supported"), "{body}");
    assert_eq!(post(&house.query, "/otlp/v1/logs", "application/json", "{}").await.0, 422);
    assert_eq!(push(&house, r#"{"streams":[]}"#).await.0, 422);
    assert_eq!(post(&house.query, "/loki/api/v1/push", "nothing", "{}").await, (400, "mime: no media type\n".into()));
    let old = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5"}]}]}]}"#;
    let (status, body) = post(&house.otlp, "/v1/logs", "application/json", old).await;
    assert!(status == 200 && body.contains(r#""rejectedLogRecords":"1""#), "{body}");
}

#[tokio::test]
async fn errors_are_text_and_the_health_check_works() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let health = [("query", "vector(1)+vector(1)"), ("time", "4000000000")];
    let value = data(&house, "/loki/api/v1/query", &health).await;
    assert_eq!(value["data"]["result"], serde_json::json!([{"metric": {}, "value": [4_000_000_000i64, "2"]}]));
    let asked: &[(&[(&str, &str)], &str)] = &[
        (&[("query", "{}")], "parse error : queries require at least one"),
        (&[("query", r#"{a="b"}"#), ("limit", "0")], "limit must be a positive value"),
        (
            &[("query", r#"{a="b"}"#), ("limit", "60000")],
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (60000 > 50000)",
        ),
        (&[("query", r#"{a="b"}"#), ("start", "20"), ("end", "10")], "end timestamp must not be before or equal to start time"),
        (
            &[("query", r#"{a="b"}"#), ("start", "1"), ("end", "2599201")],
            "the query time range exceeds the limit (query length: 722h0m0s, limit: 30d1h)",
        ),
        (&[("query", r#"{a="b"}"#), ("start", "x")], "could not parse 'start' parameter"),
    ];
    for (params, text) in asked {
        let (status, body) = ask(&house, RANGE, params).await;
        assert!(status == 400 && body.starts_with(text) && body.ends_with('\n'), "{status} {body}");
    }
    let (_, labels) = ask(&house, "/loki/api/v1/labels", &[]).await;
    assert_eq!(labels.trim(), r#"{"status":"success"}"#);
    assert_eq!(ask(&house, "/loki/api/v1/rules", &[]).await, (404, "no rule groups found\n".into()));
    let (_, limits) = ask(&house, "/loki/api/v1/drilldown-limits", &[]).await;
    assert!(limits.contains(r#""volume_enabled":true"#));
}

#[tokio::test]
async fn too_many_series_fail_unless_the_client_takes_a_part() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config { query_series_max: 2, ..Config::default() });
    let t = at(10);
    let stream = |n| format!(r#"{{"stream":{{"app":"x{n}"}},"values":[["{t}","line"]]}}"#);
    let streams: Vec<String> = (0..3).map(stream).collect();
    assert_eq!(push(&house, &format!(r#"{{"streams":[{}]}}"#, streams.join(","))).await.0, 204);
    let (path, time) = ("/loki/api/v1/query", at(20));
    let query = [("query", r#"sum by (app) (count_over_time({app=~".+"}[1m]))"#), ("time", time.as_str())];
    let (status, body) = ask(&house, path, &query).await;
    assert!(status == 400 && body.starts_with("maximum number of series (2) reached for a single query; consider"), "{body}");
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let request = Request::get(format!("{path}?{query}")).header("x-query-tags", "a=b,Source=grafana-lokiexplore-app");
    let (status, body) = send(&house.query, request.body(Body::empty()).unwrap()).await;
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, value["data"]["result"].as_array().unwrap().len()), (200, 2));
    assert_eq!(value["warnings"][0], "maximum number of series (2) reached for a single query; returning partial results");
}

/// Lines of a file of the shared data set; `None`, loudly, when it is not there.
fn shop(name: &str) -> Option<Vec<String>> {
    let root = std::env::var("MONOCLE_CONFORMANCE")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance/upstream").into());
    let path = Path::new(&root).parent()?.join("dataset").join(name);
    let Ok(bytes) = OsDisk.read(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    Some(text.as_bytes().lines().map(Result::unwrap).collect())
}

#[tokio::test]
async fn the_shop_keeps_its_12071_rows_and_answers_alike_from_head_and_blocks() {
    let (Some(logs), Some(pushed)) = (shop("logs.jsonl.gz"), shop("push.jsonl.gz")) else { return };
    let directory = tempfile::tempdir().unwrap();
    let config = Config { retention: None, ..Config::default() };
    let house = open(directory.path(), config.clone());
    for body in logs {
        assert_eq!(post(&house.otlp, "/v1/logs", "application/json", body).await, (200, "{}".into()));
    }
    for body in pushed {
        assert_eq!(push(&house, &body).await.0, 204);
    }
    let (start, end) = (at(0), at(1800));
    let count = [("query", r#"sum(count_over_time({service_name=~".+"}[30m]))"#), ("time", end.as_str())];
    let range = |query| [("query", query), ("start", start.as_str()), ("end", end.as_str()), ("limit", "700"), ("step", "60")];
    let queries = [
        range(r#"{service_name=~".+"}"#),
        range(r#"{service_name="frontend"} | json | status >= 400"#),
        range(r#"sum by (detected_level, service_name) (rate({service_name=~".+"}[1m]))"#),
        range(r#"{app="billing"} | trace_id=~"0000.*" or detected_level="error""#),
        range(r#"{service_name=~".+"} | trace_id="ba944992eeddcd8a02bcf5b1a4441acb" | span_id!="""#),
        range(r#"sum by (thread, severity_number) (count_over_time({service_name="frontend"} | http_route=~".+" [5m]))"#),
        range(r#"max_over_time({service_name="payment"} | unwrap amount [5m]) by (payment_provider)"#),
    ];
    let mut first = Vec::new();
    for cut in [false, true, true] {
        let mut answers = vec![data(&house, "/loki/api/v1/query", &count).await];
        for query in &queries {
            let answer = data(&house, RANGE, query).await;
            assert_ne!(answer["data"]["result"], serde_json::json!([]), "{query:?}");
            answers.push(answer);
        }
        assert_eq!(answers[0]["data"]["result"][0]["value"][1], "12071");
        if first.is_empty() {
            first.clone_from(&answers);
        }
        assert_eq!(answers, first);
        if cut {
            house.store.cut().unwrap();
        }
    }
    let view = house.store.view(&TenantId::default_tenant());
    assert_eq!(view.heads.iter().map(|h| h.chunks.len()).sum::<usize>(), 0);
    let rows: u64 = view.blocks.iter().map(|b| b.table("logs").unwrap().unwrap().rows()).sum();
    assert_eq!(rows, 12_071);
}

#[tokio::test]
async fn a_delete_hides_the_lines_that_its_query_selects() {
    let directory = tempfile::tempdir().unwrap();
    let house = open(directory.path(), Config::default());
    let body = |lines: &[(i64, &str)]| {
        let values: Vec<String> = lines.iter().map(|(t, l)| format!(r#"["{}","{l}",{{"k":"v"}}]"#, at(*t))).collect();
        format!(r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[{}]}}]}}"#, values.join(","))
    };
    assert_eq!(push(&house, &body(&[(1, "a secret"), (2, "fine"), (3, "secret"), (9, "secret late")])).await.0, 204);
    let delete = |selector: &str, max: i64| crate::storage::Delete {
        selector: selector.to_owned(),
        min_time: BASE,
        max_time: BASE + max * 1_000_000_000,
        cancel_within: Duration::ZERO,
    };
    let tenant = TenantId::default_tenant();
    house.store.delete(&tenant, delete(r#"{app="x"} |= "secret" | k="v""#, 5)).unwrap();
    assert_eq!(push(&house, &body(&[(4, "new secret")])).await.0, 204);
    let lines = async |house: &House, query: &str| {
        let (start, end) = (at(0), at(20));
        let answer = data(house, RANGE, &[("query", query), ("start", &start), ("end", &end), ("direction", "forward")]).await;
        let streams = answer["data"]["result"].as_array().unwrap().clone();
        let lines = streams.iter().flat_map(|s| s["values"].as_array().unwrap().clone());
        lines.map(|v| v[1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&house, r#"{app="x"}"#).await, ["fine", "new secret", "secret late"]);
    let counted = data(&house, "/loki/api/v1/query", &[("query", r#"sum(count_over_time({app="x"}[1h]))"#), ("time", &at(20))]).await;
    assert_eq!(counted["data"]["result"][0]["value"][1], "3");
    let config = crate::storage::maintenance::CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };
    house.store.compact(&config).unwrap();
    assert_eq!(lines(&house, r#"{app="x"}"#).await, ["fine", "new secret", "secret late"]);
    let view = house.store.view(&tenant);
    assert_eq!((view.blocks.len(), view.blocks[0].meta().items, view.tombstones().len()), (1, 3, 0));
    house.store.delete(&tenant, delete(r#"{app="x"}"#, 30)).unwrap();
    assert!(lines(&house, r#"{app="x"}"#).await.is_empty());
    let series = data(&house, "/loki/api/v1/series", &[("start", &at(0)), ("end", &at(20))]).await;
    assert_eq!(series["data"], serde_json::json!([]));
}
