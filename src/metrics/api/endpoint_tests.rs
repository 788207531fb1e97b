//! The smaller endpoints, and remote read.

use super::tests::{NOW, Server, json};
use super::*;
use crate::metrics::histogram::Histogram;
use crate::metrics::remote_write::{SeriesWrite, WriteBody};
use crate::metrics::rows::HistogramSample;
use crate::model::Labels;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

const NOW_MS: i64 = NOW * 1000;

async fn error(server: &Server, path: &str) -> (u16, String, String) {
    let (status, body) = server.get(path).await;
    let text = |key: &str| body[key].as_str().unwrap_or("").to_owned();
    (status.as_u16(), text("errorType"), text("error"))
}

#[tokio::test]
async fn what_cannot_be_asked_of_rules_is_refused() {
    let server = Server::new();
    for (query, want) in [
        ("type=foo", r#"invalid parameter "type": not supported value "foo""#),
        (
            "exclude_alerts=x",
            r#"invalid parameter "exclude_alerts": error converting exclude_alerts: strconv.ParseBool: parsing "x": invalid syntax"#,
        ),
        (
            "group_next_token=a",
            r#"invalid parameter "group_next_token": group_limit needs to be present in order to paginate over the groups"#,
        ),
        (
            "group_limit=x",
            r#"invalid parameter "group_limit": group_limit needs to be a valid number: strconv.Atoi: parsing "x": invalid syntax"#,
        ),
        ("group_limit=0", r#"invalid parameter "group_limit": group_limit needs to be greater than 0"#),
        (
            "group_limit=1&group_next_token=a",
            r#"invalid parameter "group_next_token": invalid group_next_token 'a'. were rule groups changed?"#,
        ),
    ] {
        assert_eq!(error(&server, &format!("/api/v1/rules?{query}")).await, (400, "bad_data".into(), want.into()));
    }
    for query in ["type=alert", "type=Record", "exclude_alerts=T&group_limit=3", "rule_name[]=a&file[]=b&match[]=x"] {
        let (status, body) = server.get(&format!("/api/v1/rules?{query}")).await;
        assert_eq!((status, &body["data"]["groups"]), (StatusCode::OK, &json("[]")), "{query}");
    }
}

#[tokio::test]
async fn what_is_off_or_not_there_says_so() {
    let server = Server::new();
    assert_eq!(error(&server, "/api/v1/search/metric_names").await, (500, "unavailable".into(), "search API disabled".into()));
    let (status, body) = server.send(Request::put("/api/v1/admin/tsdb/snapshot").body(Body::empty()).unwrap()).await;
    assert_eq!((status.as_u16(), &body["errorType"]), (500, &"unavailable".into()));
    let wrong = error(&server, "/api/v1/label/a%ffb/values").await;
    assert_eq!(wrong, (400, "bad_data".into(), r#"invalid label name: "a\xffb""#.into()));
    let too_long = error(&server, "/api/v1/query?query=1&limit=99999999999999999999").await;
    assert_eq!(too_long.2, r#"invalid parameter "limit": strconv.Atoi: parsing "99999999999999999999": value out of range"#);
    let (_, features) = server.get("/api/v1/features").await;
    let of = |category: &str, name: &str| features["data"][category][name].clone();
    assert_eq!([of("promql_operators", "topk"), of("promql_operators", "=~"), of("promql", "group_left")], [true, true, true]);
    assert_eq!([of("api", "admin"), of("api", "lifecycle"), of("promql_functions", "rate")], [false, false, true]);
}

#[tokio::test]
async fn series_and_samples_are_counted() {
    let server = Server::new();
    let (_, empty) = server.get("/api/v1/status/tsdb").await;
    assert_eq!(empty["data"]["headStats"]["minTime"], i64::MAX);
    server.write("abc", &[(90, 1.0), (30, 2.0)]).await;
    server.store.cut().unwrap();
    server.write("d", &[(20, 1.0), (10, 2.0), (0, 3.0)]).await;
    let (_, counts) = server.get("/api/v1/status/tsdb?limit=1").await;
    let want = r#"{"numSeries":2,"numLabelPairs":3,"chunkCount":2,"minTime":1773145410000,"maxTime":1773145500000}"#;
    assert_eq!(counts["data"]["headStats"], json(want));
    assert_eq!(counts["data"]["memoryInBytesByLabelName"], json(r#"[{"name":"__name__","value":18}]"#));
    assert_eq!(counts["data"]["labelValueCountByLabelName"], json(r#"[{"name":"n","value":2}]"#));
    let (_, stats) = server.get("/api/v1/user_stats").await;
    assert_eq!((&stats["numSeries"], stats["APIIngestionRate"].as_f64()), (&2.into(), Some(4.0 / 60.0)));
    let (status, limits) = server.get("/api/v1/user_limits").await;
    assert_eq!((status, &limits["max_global_series_per_user"]), (StatusCode::OK, &0.into()));
}

impl Server {
    async fn write_histograms(&self, series: &str, counts: &[(i64, f64)]) {
        let labels = Labels::from_pairs([("__name__", "h"), ("n", series)]);
        let histogram = |count: f64| Histogram { count, sum: 1.0, positive: vec![(1, count - 1.0), (4, 1.0)], ..Histogram::default() };
        let sample =
            |(ago, count): &(i64, f64)| HistogramSample { ts: NOW_MS - ago * 1000, start: 0, histogram: Arc::new(histogram(*count)) };
        let histograms: Vec<HistogramSample> = counts.iter().map(sample).collect();
        let mut body = WriteBody::default();
        body.series(&labels, SeriesWrite { histograms: &histograms, ..SeriesWrite::default() });
        let packed = snap::raw::Encoder::new().compress_vec(&body.finish()).unwrap();
        let request = Request::post("/api/v1/write").header("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request");
        assert_eq!(self.send(request.body(Body::from(packed)).unwrap()).await.0, 204);
    }

    async fn remote_read(&self, plain: &[u8]) -> (StatusCode, http::HeaderMap, Vec<u8>) {
        let packed = snap::raw::Encoder::new().compress_vec(plain).unwrap();
        let response = self.answer(Request::post("/api/v1/read").body(Body::from(packed)).unwrap()).await;
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes().to_vec())
    }
}

#[tokio::test]
async fn buckets_of_active_histograms_are_counted() {
    let server = Server::new();
    server.write_histograms("a", &[(60, 3.0), (0, 5.0)]).await;
    server.write_histograms("b", &[(10, 1.0)]).await;
    server.write("floats", &[(0, 1.0)]).await;
    let (_, answer) = server.get("/api/v1/cardinality/active_native_histogram_metrics?selector={__name__!=%22%22}").await;
    let want =
        r#"{"data":[{"metric":"h","series_count":2,"bucket_count":3,"avg_bucket_count":1.5,"min_bucket_count":1,"max_bucket_count":2}]}"#;
    assert_eq!(answer, json(want));
    let (status, text) = server.get("/api/v1/cardinality/active_native_histogram_metrics").await;
    assert_eq!((status, text), (StatusCode::BAD_REQUEST, Value::String("missing 'selector' parameter".into())));
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn varint(number: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A query for everything that is named, between these seconds before now.
fn read_query((from, to): (i64, i64), function: &str) -> Vec<u8> {
    let time = |number, ago: i64| varint(number, (NOW_MS - ago * 1000).cast_unsigned());
    let matcher = [varint(1, 2), field(2, b"__name__"), field(3, b".+")].concat();
    let hints = [field(2, function.as_bytes()), time(3, from), time(4, to)].concat();
    field(1, &[time(1, from), time(2, to), field(3, &matcher), field(4, &hints)].concat())
}

#[tokio::test]
async fn remote_read_gives_what_head_and_blocks_hold() {
    let server = Server::new();
    server.write("b", &[(300, 1.0), (40, 2.0)]).await;
    server.write_histograms("z", &[(30, 2.0)]).await;
    server.store.cut().unwrap();
    server.write("a", &[(20, 3.0)]).await;
    server.write("b", &[(10, 4.0)]).await;
    let (status, headers, body) = server.remote_read(&[read_query((60, 0), ""), read_query((9, 0), "")].concat()).await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap(), headers["content-encoding"].to_str().unwrap()),
        (StatusCode::OK, "application/x-protobuf", "snappy")
    );
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    let sample =
        |ago: i64, value: f64| field(2, &[&[9][..], &value.to_le_bytes(), &varint(2, (NOW_MS - ago * 1000).cast_unsigned())].concat());
    let series = |name: &str, n: &str, rest: Vec<u8>| field(1, &[label("__name__", name), label("n", n), rest].concat());
    let floats =
        [series("x_seconds", "a", sample(20, 3.0)), series("x_seconds", "b", [sample(40, 2.0), sample(10, 4.0)].concat())].concat();
    assert!(plain.windows(floats.len()).any(|window| window == floats), "in order of labels, {plain:?}");
    assert_eq!(plain[plain.len() - 2..], [10, 0], "nothing for the second query");
    let (_, _, body) = server.remote_read(&read_query((60, 0), "series")).await;
    let plain = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
    let three = [series("h", "z", Vec::new()), series("x_seconds", "a", Vec::new()), series("x_seconds", "b", Vec::new())].concat();
    assert_eq!(plain, field(1, &three));
    let (_, headers, body) = server.remote_read(&[read_query((60, 0), ""), varint(2, 1)].concat()).await;
    assert_eq!(headers["content-type"], "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    assert!(!headers.contains_key("content-encoding"));
    let (mut rest, mut frames) = (&body[..], 0);
    while let Some((length, after)) = rest.split_first() {
        let (sum, after) = after.split_at(4);
        let (message, after) = after.split_at(usize::from(*length));
        assert_eq!(sum, crc32c::crc32c(message).to_be_bytes());
        (rest, frames) = (after, frames + 1);
    }
    assert_eq!(frames, 3);
}

#[tokio::test]
async fn a_bad_remote_read_is_refused_in_plain_text() {
    let server = Server::new();
    let unknown = field(1, &field(3, &varint(1, 9)));
    for (body, want) in
        [(&unknown[..], "invalid matcher type 9"), (&[10, 200], "cannot decode remote read request"), (&[16, 9], "response types: [9]")]
    {
        let (status, headers, text) = server.remote_read(body).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::BAD_REQUEST, &"text/plain; charset=utf-8".parse().unwrap()));
        assert!(String::from_utf8_lossy(&text).contains(want), "{}", String::from_utf8_lossy(&text));
    }
    let (status, _, text) = server.exchange(Request::post("/api/v1/read").body(Body::from("not snappy")).unwrap()).await;
    assert!(status == 400 && text.contains("cannot decompress"), "{text}");
    assert_eq!(server.get("/api/v1/read").await.0, 405);
}
