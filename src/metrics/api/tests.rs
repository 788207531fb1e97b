use super::*;
use crate::ingest::Limits;
use crate::metrics::Config;
use crate::model::time::SECOND;
use crate::query::PoolConfig;
use crate::runtime::{Budget, ManualClock, World};
use crate::storage::catalog::Catalog;
use crate::storage::layout::Layout;
use crate::storage::tier::Tier;
use crate::storage::wal::{LaneConfig, SyncMode};
use crate::storage::{Store, StoreConfig};
use crate::telemetry::Telemetry;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

pub(super) const NOW: i64 = 1_773_145_500;

/// The room over a real store in a directory of its own.
pub(super) struct Server {
    directory: tempfile::TempDir,
    pub(super) store: Arc<Store<MetricsSpec>>,
    router: Router,
}

fn open(directory: tempfile::TempDir, admin: bool) -> Server {
    let clock = Arc::new(ManualClock::at(NOW * SECOND));
    let world = World { clock: clock.clone(), ..World::real() };
    let layout = Layout::new(directory.path());
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    let telemetry = Telemetry::default();
    let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: 64 << 20 };
    let config = StoreConfig { lane, head_max_bytes: 64 << 20 };
    let spec = MetricsSpec::new(Config::default(), clock.clone());
    let store = Arc::new(Store::open(spec, Tier::new(world, layout), catalog, config, telemetry.store.clone()).unwrap());
    store.recover().unwrap();
    let door = Door::new(store.clone(), clock.clone(), telemetry.ingest.clone(), Limits::default(), Budget::new(64 << 20));
    let pool = Pool::new(PoolConfig { parallel: 1, waiting_max: 8, timeout: Duration::from_secs(60), memory_max_bytes: 64 << 20 });
    let api = Api::new(Arc::new(door), pool, Tenancy::Off, clock, telemetry.query.clone());
    let compact = crate::storage::maintenance::CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };
    let purge = admin.then(|| Purge { compact, turn: Default::default() });
    Server { directory, store, router: query_routes(api.clone()).merge(otlp_routes(api.clone())).merge(admin_routes(api, purge)) }
}

impl Server {
    pub(super) fn new() -> Server {
        open(tempfile::tempdir().unwrap(), true)
    }

    /// Loses the head, as `kill -9` does.
    pub(super) fn killed(self) -> Server {
        drop(self.router);
        drop(self.store);
        open(self.directory, true)
    }

    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn exchange(&self, request: Request<Body>) -> (StatusCode, http::HeaderMap, String) {
        let response = self.answer(request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, headers, String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (StatusCode, Value) {
        let (status, _, text) = self.exchange(request).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(super) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// A gauge `x{n="..."}` with one point a (seconds before now, value).
    pub(super) async fn write(&self, series: &str, points: &[(i64, f64)]) -> Value {
        let points: Vec<String> = points
            .iter()
            .map(|(ago, v)| {
                let ns = (NOW - ago) * SECOND;
                format!(r#"{{"timeUnixNano":"{ns}","asDouble":{v},"attributes":[{{"key":"n","value":{{"stringValue":"{series}"}}}}]}}"#)
            })
            .collect();
        let metric = format!(r#"{{"name":"x","unit":"s","description":"an x","gauge":{{"dataPoints":[{}]}}}}"#, points.join(","));
        let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#);
        let request = Request::post("/v1/metrics").header("content-type", "application/json").body(Body::from(body)).unwrap();
        let (status, answer) = self.send(request).await;
        assert_eq!(status, 200);
        answer
    }

    pub(super) async fn values(&self, query: &str) -> Value {
        let query = percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        let (status, answer) = self.get(&format!("/api/v1/query?query={query}&time={NOW}")).await;
        assert_eq!(status, 200, "{answer}");
        answer["data"]["result"].clone()
    }
}

pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_answered_from_head_blocks_and_replay_alike() {
    let want = json(r#"[{"metric":{"__name__":"x_seconds","n":"a"},"values":[[1773145480,"1.5"],[1773145490,"2"],[1773145500,"NaN"]]}]"#);
    let mut server = Server::new();
    server.write("a", &[(20, 1.5), (10, 2.0)]).await;
    let body = server.write("a", &[(10, 2.0)]).await;
    assert_eq!(body, json("{}"));
    server.store.cut().unwrap();
    let point =
        format!(r#"{{"timeUnixNano":"{}","asDouble":"NaN","attributes":[{{"key":"n","value":{{"stringValue":"a"}}}}]}}"#, NOW * SECOND);
    let body = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"x","unit":"s","gauge":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
    );
    let request = Request::post("/api/v1/otlp/v1/metrics").header("content-type", "application/json").body(Body::from(body)).unwrap();
    assert_eq!(server.send(request).await.0, 200);
    assert_eq!(server.values("x_seconds[1m]").await, want);
    server = server.killed();
    assert_eq!(server.values("x_seconds[1m]").await, want);
    server.store.cut().unwrap();
    assert_eq!(server.values("x_seconds[1m]").await, want);
    server = server.killed();
    assert_eq!(server.values("x_seconds[1m]").await, want);
}

#[tokio::test]
async fn the_newest_sample_of_a_series_is_known_after_a_restart() {
    let server = Server::new();
    server.write("a", &[(0, 1.0)]).await;
    server.store.cut().unwrap();
    let server = server.killed();
    let refused = server.write("a", &[(601, 5.0), (0, 1.0), (0, 2.0), (600, 3.0)]).await;
    assert_eq!(refused["partialSuccess"]["rejectedDataPoints"], "2");
    let message = refused["partialSuccess"]["errorMessage"].as_str().unwrap();
    assert!(message.contains("duplicate sample for timestamp") && message.contains("too old sample"), "{message}");
    let want = json(r#"[{"metric":{"__name__":"x_seconds","n":"a"},"values":[[1773144900,"3"],[1773145500,"1"]]}]"#);
    assert_eq!(server.values("x_seconds[20m]").await, want);
    // What was refused stays refused in replay.
    let server = server.killed();
    assert_eq!(server.values("x_seconds[20m]").await, want);
}

#[tokio::test]
async fn labels_series_and_metadata() {
    let server = Server::new();
    server.write("a", &[(0, 1.0)]).await;
    server.store.cut().unwrap();
    server.write("b", &[(0, 1.0)]).await;
    let data = |answer: (StatusCode, Value)| answer.1["data"].clone();
    assert_eq!(data(server.get("/api/v1/labels").await), json(r#"["__name__","n"]"#));
    assert_eq!(data(server.get("/api/v1/label/n/values").await), json(r#"["a","b"]"#));
    assert_eq!(data(server.get("/api/v1/label/n/values?start=0&end=10").await), json("[]"));
    let (_, limited) = server.get("/api/v1/label/n/values?limit=1").await;
    assert_eq!((&limited["data"], &limited["warnings"]), (&json(r#"["a"]"#), &json(r#"["results truncated due to limit"]"#)));
    assert_eq!(data(server.get("/api/v1/series?match[]=x_seconds{n=%22b%22}").await), json(r#"[{"__name__":"x_seconds","n":"b"}]"#));
    let want = json(r#"{"x_seconds":[{"type":"gauge","help":"an x","unit":"seconds"}]}"#);
    assert_eq!(data(server.get("/api/v1/metadata?limit=40000").await), want);
    let (status, error) = server.get("/api/v1/series").await;
    assert_eq!((status.as_u16(), error["errorType"].as_str()), (400, Some("bad_data")));
}

#[tokio::test]
async fn parameters_are_judged_as_prometheus_does() {
    let server = Server::new();
    for (path, status, text) in [
        ("/api/v1/query?query=1%2B1&time=4", 200, ""),
        ("/api/v1/query?query=", 400, "invalid parameter \"query\": unknown position: parse error: no expression found in input"),
        (
            "/api/v1/query?query=up&time=abc",
            400,
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"abc\" to a valid timestamp",
        ),
        ("/api/v1/query?query=up&limit=-1", 400, "invalid parameter \"limit\": limit must be non-negative"),
        ("/api/v1/query?query=up&lookback_delta=x", 400, "error parsing lookback delta duration: cannot parse \"x\" to a valid duration"),
        (
            "/api/v1/query_range?query=up&start=2&end=1&step=1",
            400,
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        ("/api/v1/query_range?query=up&start=0&end=11000&step=1", 200, ""),
        (
            "/api/v1/query_range?query=up&start=0&end=11001&step=1",
            400,
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ),
        (
            "/api/v1/query_range?query=up&start=0&end=1&step=0",
            400,
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "/api/v1/query_range?query=up[1m]&start=0&end=1&step=1",
            400,
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query, must be Scalar or instant Vector",
        ),
        ("/api/v1/query_exemplars?query=test&start=1773145500000&end=1773145600000", 200, ""),
        ("/api/v1/status/buildinfo", 200, ""),
        ("/api/v1/rules", 200, ""),
        ("/api/v1/write", 405, ""),
    ] {
        let (got, body) = server.get(path).await;
        assert_eq!((got.as_u16(), body["error"].as_str().unwrap_or("")), (status, text), "{path}");
    }
}

#[tokio::test]
async fn a_form_and_the_url_are_merged() {
    let server = Server::new();
    let request = Request::post("/api/v1/query?stats=all")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("query=1%2B1&time=4"))
        .unwrap();
    let (_, body) = server.send(request).await;
    assert_eq!(body["data"]["result"], json(r#"[4,"2"]"#));
    assert!(body["data"]["stats"]["timings"]["evalTotalTime"].is_number());
}

#[tokio::test]
async fn every_float_comes_back_to_the_bit_from_blocks() {
    use crate::metrics::promql::{Interval, Storage};
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1 as otlp;
    use prost::Message;
    let odd = [0u64, 1 << 63, 1, 0x7ff0_0000_0000_0000, 0xfff0_0000_0000_0000, 0x7ff8_dead_beef_0001, crate::metrics::STALE_NAN];
    let plain = [1.5, 0.1, 1e15, 9_007_199_254_740_993.0, -3.25, 1e-300, f64::MAX].map(f64::to_bits);
    let bits: Vec<u64> = odd.into_iter().chain(plain).chain((0..500u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let point = |(at, bits): (usize, &u64)| otlp::NumberDataPoint {
        time_unix_nano: ((NOW - 600) * SECOND).unsigned_abs() + at as u64 * 1_000_000,
        value: Some(otlp::number_data_point::Value::AsDouble(f64::from_bits(*bits))),
        ..Default::default()
    };
    let data_points = bits.iter().enumerate().map(point).collect();
    let metric =
        otlp::Metric { name: "odd".into(), data: Some(otlp::metric::Data::Gauge(otlp::Gauge { data_points })), ..Default::default() };
    let scope_metrics = vec![otlp::ScopeMetrics { metrics: vec![metric], ..Default::default() }];
    let request = ExportMetricsServiceRequest { resource_metrics: vec![otlp::ResourceMetrics { scope_metrics, ..Default::default() }] };
    let server = Server::new();
    let post = Request::post("/otlp/v1/metrics").header("content-type", "application/x-protobuf").body(Body::from(request.encode_to_vec()));
    assert_eq!(server.send(post.unwrap()).await.0, 200);
    for cut in [false, true] {
        if cut {
            server.store.cut().unwrap();
        }
        let tenant = crate::model::TenantId::default_tenant();
        let context = crate::query::Context::new(tenant.clone(), Duration::from_secs(60), 1 << 30);
        let querier = Querier::new(server.store.view(&tenant), context, server.store.spec().samples().clone());
        let series = querier.select(&[crate::model::Matcher::equal("__name__", "odd")], Interval::ALL).unwrap();
        assert_eq!(series[0].values.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), bits, "cut: {cut}");
    }
}

#[tokio::test]
async fn a_delete_hides_samples_of_blocks_and_not_what_comes_later() {
    let server = Server::new();
    server.write("a", &[(300, 1.0), (200, 2.0), (100, 3.0)]).await;
    server.write("b", &[(200, 4.0)]).await;
    let delete = |selector: &str, min: i64, max: i64| crate::storage::Delete {
        selector: selector.to_owned(),
        min_time: (NOW - min) * SECOND,
        max_time: (NOW - max) * SECOND,
        cancel_within: Duration::ZERO,
    };
    let tenant = crate::model::TenantId::default_tenant();
    let values = async |server: &Server| {
        let (_, answer) = server.get(&format!("/api/v1/query?time={NOW}&query={{__name__=~\"x.*\"}}[10m]").replace('"', "%22")).await;
        let series = answer["data"]["result"].as_array().unwrap().clone();
        series.iter().flat_map(|s| s["values"].as_array().unwrap().clone()).map(|v| v[1].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    server.store.cut().unwrap();
    // What was decoded before a delete is kept decoded, and hidden all the same.
    assert_eq!(values(&server).await, ["1", "2", "3", "4"]);
    server.store.delete(&tenant, delete(r#"x_seconds{n="a"}"#, 250, 150)).unwrap();
    assert_eq!(values(&server).await, ["1", "3", "4"]);
    server.store.delete(&tenant, delete(r#"{n="b"}"#, 1000, 0)).unwrap();
    server.write("a", &[(50, 5.0)]).await;
    assert_eq!(values(&server).await, ["1", "3", "5"]);
    let (_, names) = server.get(&format!("/api/v1/label/n/values?start={}&end={NOW}", NOW - 1000)).await;
    assert_eq!(names["data"], serde_json::json!(["a"]));
    let config = crate::storage::maintenance::CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };
    server.store.compact(&config).unwrap();
    assert_eq!(values(&server).await, ["1", "3", "5"]);
    let view = server.store.view(&tenant);
    assert_eq!((view.blocks.len(), view.blocks[0].meta().items, view.tombstones().len()), (1, 3, 0));
    assert_eq!(values(&server.killed()).await, ["1", "3", "5"]);
}

#[tokio::test]
async fn series_are_deleted_and_purged_over_http() {
    let server = Server::new();
    server.write("a", &[(300, 1.0), (200, 2.0), (100, 3.0)]).await;
    server.write("b", &[(200, 4.0)]).await;
    let send = async |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(format!("/api/v1/admin/tsdb/{path}")).body(Body::empty()).unwrap();
        let (status, body) = server.send(request).await;
        (status.as_u16(), body["error"].as_str().unwrap_or("").to_owned())
    };
    for (method, path, status, error) in [
        ("POST", "delete_series", 400, "no match[] parameter provided"),
        (
            "POST",
            "delete_series?match[]=x{",
            400,
            "invalid parameter \"match[]\": 1:3: parse error: unexpected end of input in label matching, expected identifier or \"}\"",
        ),
        (
            "POST",
            "delete_series?match[]=x&start=q",
            400,
            "invalid parameter \"start\": invalid time value for 'start': cannot parse \"q\" to a valid timestamp",
        ),
        ("GET", "delete_series?match[]=x_seconds", 405, ""),
        ("PUT", "delete_series?match[]=x_seconds&start=2&end=1", 204, ""),
        ("POST", "delete_series?match[]=x_seconds{n=%22b%22}&match[]=nothing", 204, ""),
        ("PUT", &format!("delete_series?match[]=x_seconds&start={0}&end={0}", NOW - 200), 204, ""),
    ] {
        assert_eq!(send(method, path).await, (status, error.to_owned()), "{method} {path}");
    }
    let want = json(&format!(r#"[{{"metric":{{"__name__":"x_seconds","n":"a"}},"values":[[{},"1"],[{},"3"]]}}]"#, NOW - 300, NOW - 100));
    assert_eq!(server.values("x_seconds[10m]").await, want);
    let tenant = crate::model::TenantId::default_tenant();
    assert_eq!(server.store.view(&tenant).tombstones().len(), 3);
    assert_eq!(send("POST", "clean_tombstones").await, (204, String::new()));
    let view = server.store.view(&tenant);
    assert_eq!((view.blocks.len(), view.blocks[0].meta().items, view.tombstones().len()), (1, 2, 0));
    assert_eq!(server.values("x_seconds[10m]").await, want);
}

#[tokio::test]
async fn deletes_are_not_for_other_pages_nor_where_they_are_off() {
    let ask = async |server: &Server, path: &str, origin: &str| {
        let request = Request::post(format!("/api/v1/admin/tsdb/{path}")).header("host", "localhost:9090").header("origin", origin);
        let (status, body) = server.send(request.body(Body::empty()).unwrap()).await;
        (status.as_u16(), body["errorType"].clone(), body["error"].clone())
    };
    let on = Server::new();
    for origin in ["http://evil.example", "http://localhost:8080", "null"] {
        let want = (500, json(r#""unavailable""#), json(r#""admin APIs disabled for pages of another origin""#));
        assert_eq!(ask(&on, "delete_series?match[]=x", origin).await, want, "{origin}");
        assert_eq!(ask(&on, "clean_tombstones", origin).await, want, "{origin}");
    }
    assert_eq!(ask(&on, "delete_series?match[]=x", "http://localhost:9090").await.0, 204);
    let off = open(tempfile::tempdir().unwrap(), false);
    for path in ["delete_series?match[]=x", "clean_tombstones", "snapshot"] {
        let want = (500, json(r#""unavailable""#), json(r#""admin APIs disabled""#));
        assert_eq!(ask(&off, path, "http://localhost:9090").await, want, "{path}");
    }
}

#[tokio::test]
async fn series_and_label_values_are_counted() {
    let server = Server::new();
    server.write("old", &[(500, 1.0)]).await;
    server.store.cut().unwrap();
    for name in ["a", "b"] {
        server.write(name, &[(1, 1.0)]).await;
    }
    let ask = async |path: &str| {
        let (status, body) = server.get(&format!("/api/v1/cardinality/{path}")).await;
        (status.as_u16(), body)
    };
    let names = r#"{"label_values_count_total":4,"label_names_count":2,"cardinality":[{"label_name":"n","label_values_count":3}]}"#;
    assert_eq!(ask("label_names?limit=1").await, (200, json(names)));
    let values = r#"{"series_count_total":3,"labels":[
        {"label_name":"__name__","label_values_count":1,"series_count":2,"cardinality":[{"label_value":"x_seconds","series_count":2}]},
        {"label_name":"n","label_values_count":2,"series_count":2,"cardinality":[
            {"label_value":"a","series_count":1},{"label_value":"b","series_count":1}]}]}"#;
    assert_eq!(ask("label_values?label_names[]=n&label_names[]=__name__&selector={n!=%22old%22}").await, (200, json(values)));
    let active = r#"{"data":[{"__name__":"x_seconds","n":"a"}]}"#;
    assert_eq!(ask("active_series?selector={n=%22a%22}").await, (200, json(active)));
    for (path, error) in [
        ("label_values", "'label_names[]' param is required"),
        ("active_series", "missing 'selector' parameter"),
        ("label_names?limit=501", "'limit' param cannot be greater than '500'"),
        ("label_names?limit=-1", "'limit' param cannot be less than '0'"),
        ("label_names?limit=x", "'limit' param \"x\" is not an integer"),
        ("label_names?count_method=y", "'count_method' param \"y\" is neither \"inmemory\" nor \"active\""),
    ] {
        assert_eq!(ask(path).await, (400, Value::String(error.to_owned())), "{path}");
    }
}

#[tokio::test]
async fn federation_gives_the_newest_sample_of_each_series() {
    let server = Server::new();
    server.write("b", &[(20, 1.5), (10, 2e6)]).await;
    server.write(r"a\\\n", &[(299, 3.0)]).await;
    server.write("old", &[(300, 3.0)]).await;
    let ask = async |accept: &str, path: &str| {
        let request = Request::get(format!("/federate?{path}")).header("accept", accept).body(Body::empty()).unwrap();
        let (status, headers, text) = server.exchange(request).await;
        (status.as_u16(), headers["content-type"].to_str().unwrap().to_owned(), text)
    };
    let twice = "match[]=x_seconds&match[]={n=~%22.%2b%22}";
    let (status, kind, text) = ask("application/openmetrics-text;q=0.5,text/plain;q=0.9", twice).await;
    assert_eq!((status, &kind[..26]), (200, "text/plain; version=0.0.4;"));
    let (a, b) = ((NOW - 299) * 1000, (NOW - 10) * 1000);
    let want = format!(
        "# TYPE x_seconds untyped\nx_seconds{{n=\"a\\\\\\n\",instance=\"\"}} 3 {a}\nx_seconds{{n=\"b\",instance=\"\"}} 2e+06 {b}\n"
    );
    assert_eq!(text, want);
    let (_, kind, text) = ask("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5", "match[]=x_seconds{n=%22b%22}").await;
    assert_eq!(&kind[..28], "application/openmetrics-text");
    assert_eq!(text, "# TYPE x_seconds unknown\nx_seconds{n=\"b\",instance=\"\"} 2e+06 1.77314549e+09\n# EOF\n");
    assert_eq!(ask("*/*", "").await.2, "");
    let (status, _, text) = ask("*/*", "match[]=x%7D").await;
    assert_eq!((status, text.contains("1:2: parse error")), (400, true), "{text}");
}

#[tokio::test]
async fn options_are_answered_and_no_other_page_may_read() {
    let server = Server::new();
    for path in ["/api/v1/query", "/api/v1/label/x/values", "/api/v1/rules"] {
        let request = Request::options(path).header("origin", "http://evil.example").body(Body::empty()).unwrap();
        let (status, headers, _) = server.exchange(request).await;
        assert_eq!((status.as_u16(), &headers["access-control-allow-methods"]), (204, &"GET, POST, OPTIONS".parse().unwrap()), "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}
