use super::tests::{NOW, Server, json};
use crate::metrics::remote_write::{SeriesWrite, WriteBody};
use crate::metrics::rows::{Exemplar, Metadata, MetricType};
use crate::model::Labels;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::Value;

const NOW_MS: i64 = NOW * 1000;
const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn named(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

/// Samples (series, milliseconds from now, value).
fn body(samples: &[(&str, i64, f64)]) -> WriteBody {
    let mut body = WriteBody::default();
    for (name, ago, value) in samples {
        body.series(&named(name), SeriesWrite { floats: &[(NOW_MS + ago, 0, *value)], ..SeriesWrite::default() });
    }
    body
}

/// A varint field, or one with bytes.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn body_1(samples: &[(&str, i64, f64)]) -> Vec<u8> {
    let one = |(name, ago, value): &(&str, i64, f64)| {
        let label = bytes_field(1, &[bytes_field(1, b"__name__"), bytes_field(2, name.as_bytes())].concat());
        let sample = [&[9][..], &value.to_bits().to_le_bytes(), &[16], &varint((NOW_MS + ago).cast_unsigned())].concat();
        bytes_field(1, &[label, bytes_field(2, &sample)].concat())
    };
    samples.iter().flat_map(one).collect()
}

struct Answered {
    status: StatusCode,
    /// Samples, histograms, exemplars; empty without the headers.
    written: Vec<String>,
    text: String,
}

impl Server {
    async fn remote_write(&self, headers: &[(&str, &str)], plain: &[u8]) -> Answered {
        let packed = snap::raw::Encoder::new().compress_vec(plain).unwrap();
        self.remote_write_raw(headers, packed).await
    }

    async fn remote_write_raw(&self, headers: &[(&str, &str)], body: Vec<u8>) -> Answered {
        let mut request = Request::post("/api/v1/write");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (status, headers, text) = self.exchange(request.body(Body::from(body)).unwrap()).await;
        let header = |kind| headers.get(format!("x-prometheus-remote-write-{kind}-written")).map(|v| v.to_str().unwrap().to_owned());
        Answered { status, written: ["samples", "histograms", "exemplars"].into_iter().filter_map(header).collect(), text }
    }

    async fn v2(&self, body: WriteBody) -> Answered {
        self.remote_write(&[("content-type", V2), ("content-encoding", "snappy")], &body.finish()).await
    }

    async fn v1(&self, samples: &[(&str, i64, f64)]) -> Answered {
        self.remote_write(&[], &body_1(samples)).await
    }
}

#[tokio::test]
async fn version_2_keeps_the_good_and_counts_it() {
    let server = Server::new();
    let answer = server.v2(body(&[("a", 0, 1.0), ("b", 0, 1.0), ("a", 0, 1.0)])).await;
    assert_eq!((answer.status.as_u16(), answer.written), (204, vec!["3".into(), "0".into(), "0".into()]));
    let answer = server.v2(body(&[("a", 0, 2.0), ("b", -600_001, 1.0), ("c", 0, 5.0), ("d", 600_001, 1.0)])).await;
    assert_eq!((answer.status.as_u16(), answer.written), (400, vec!["1".into(), "0".into(), "0".into()]));
    let lines: Vec<&str> = answer.text.trim_end().lines().collect();
    assert_eq!(lines[0], "duplicate sample for timestamp for series {__name__=\"a\"}");
    assert_eq!(lines[1], "too old sample for series {__name__=\"b\"}");
    assert!(lines[2].starts_with("out of bounds") && lines.len() == 3, "{lines:?}");
    let want = json(r#"[{"metric":{"__name__":"c"},"value":[1773145500,"5"]}]"#);
    assert_eq!(server.values("c").await, want);
    let server = server.killed();
    assert_eq!(server.values("c").await, want);
    assert_eq!(server.values("count({__name__=~\"a|b|d\"})").await[0]["value"][1], "2");
}

#[tokio::test]
async fn version_1_is_stored_as_a_whole_or_not() {
    let server = Server::new();
    assert_eq!(server.v1(&[("a", 0, 1.0), ("b", -1000, 1.0)]).await.status, 204);
    let answer = server.v1(&[("b", 0, 7.0), ("c", 0, 7.0), ("a", 0, 2.0)]).await;
    assert_eq!((answer.status.as_u16(), answer.written.len()), (400, 0));
    assert!(answer.text.contains("duplicate sample for timestamp"), "{}", answer.text);
    assert_eq!(server.values("c").await, json("[]"));
    assert_eq!(server.values("b").await[0]["value"][1], "1");
    // What was rolled back did not move the newest time of its series.
    assert_eq!(server.v1(&[("b", -500, 3.0), ("b", 0, 8.0)]).await.status, 204);
    let server = server.killed();
    assert_eq!(server.values("b").await[0]["value"][1], "8");
    assert_eq!(server.values("count_over_time(b[1m])").await[0]["value"][1], "3");
}

#[tokio::test]
async fn what_is_not_remote_write_is_told_so() {
    let server = Server::new();
    for (headers, status) in [
        (&[("content-type", "application/json")][..], 415),
        (&[("content-type", "application/x-protobuf;proto=x")], 415),
        (&[("content-encoding", "gzip")], 415),
        (&[("content-type", V2), ("content-encoding", "zstd")], 415),
        (&[("content-encoding", "snappy")], 204),
        (&[], 204),
    ] {
        assert_eq!(server.remote_write(headers, b"").await.status.as_u16(), status, "{headers:?}");
    }
    for body in [&b"not snappy"[..], b"\xff\xff\xff\xff\xff\xff"] {
        assert_eq!(server.remote_write_raw(&[], body.to_vec()).await.status.as_u16(), 400);
    }
    let answer = server.remote_write(&[("content-type", V2)], b"\x2a\x05").await;
    assert_eq!((answer.status.as_u16(), answer.written), (400, vec!["0".into(), "0".into(), "0".into()]));
    assert!(answer.text.contains("it ends within a field"), "{}", answer.text);
}

#[tokio::test]
async fn exemplars_keep_their_order() {
    let server = Server::new();
    let exemplar = |ago: i64, value| Exemplar { ts: NOW_MS + ago, value, labels: Labels::from_pairs([("trace_id", "t")]) };
    let write = |ts: i64, exemplars: &[Exemplar]| {
        let mut body = WriteBody::default();
        body.series(&named("a_total"), SeriesWrite { floats: &[(NOW_MS + ts, 0, 1.0)], exemplars, ..SeriesWrite::default() });
        body
    };
    let answer = server.v2(write(-20, &[exemplar(-20, 1.0), exemplar(-10, 2.0), exemplar(-10, 2.0)])).await;
    assert_eq!((answer.status.as_u16(), answer.written[2].as_str()), (204, "3"));
    server.store.cut().unwrap();
    let answer = server.v2(write(-10, &[exemplar(-15, 3.0), exemplar(-10, 1.0), exemplar(-5, 4.0)])).await;
    assert_eq!((answer.status.as_u16(), answer.written), (400, vec!["1".into(), "0".into(), "1".into()]));
    assert_eq!(answer.text.lines().next(), Some("out of order exemplar for series {__name__=\"a_total\"}"));
    let server = server.killed();
    let (_, found) = server.get("/api/v1/query_exemplars?query=a_total&start=0&end=1773145600").await;
    let values: Vec<&Value> = found["data"][0]["exemplars"].as_array().unwrap().iter().map(|e| &e["value"]).collect();
    assert_eq!(values, ["1", "2", "4"]);
}

#[tokio::test]
async fn metadata_of_both_versions_is_served() {
    let server = Server::new();
    let described = [&[8, 2][..], &bytes_field(2, b"b"), &bytes_field(4, b"a gauge")].concat();
    assert_eq!(server.remote_write(&[], &bytes_field(3, &described)).await.status, 204);
    let metadata = Metadata { family: "d".into(), kind: MetricType::Histogram, unit: "seconds".into(), help: "took".into() };
    let mut body = WriteBody::default();
    let floats = [(NOW_MS, 0, 1.0)];
    body.series(&named("d_count"), SeriesWrite { metadata: Some(&metadata), floats: &floats, ..SeriesWrite::default() });
    server.v2(body).await;
    server.v1(&[("b", 0, 1.0)]).await;
    let want = json(r#"{"b":[{"type":"gauge","help":"a gauge","unit":""}],"d":[{"type":"histogram","help":"took","unit":"seconds"}]}"#);
    assert_eq!(server.get("/api/v1/metadata").await.1["data"], want);
    let server = server.killed();
    assert_eq!(server.get("/api/v1/metadata").await.1["data"], want);
    // The series carries it into its block.
    server.store.cut().unwrap();
    let server = server.killed();
    assert_eq!(server.get("/api/v1/metadata").await.1["data"], want);
}
