use super::*;
use crate::metrics::rows::Value;
use crate::metrics::{Config, is_stale};
use crate::storage::Rows;
use proptest::prelude::*;

const NOW: i64 = 1_773_145_500_000_000_000;

fn rows(metrics: &str) -> (MetricRows, Refusals) {
    rows_of(
        r#"[{"key":"service.name","value":{"stringValue":"cart"}},{"key":"service.instance.id","value":{"stringValue":"c-0"}},
            {"key":"os.type","value":{"stringValue":"linux"}}]"#,
        metrics,
    )
}

fn rows_of(attributes: &str, metrics: &str) -> (MetricRows, Refusals) {
    let body =
        format!(r#"{{"resourceMetrics":[{{"resource":{{"attributes":{attributes}}},"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#);
    translate(Kind::Json, body.as_bytes(), NOW, &Config { retention: None, ..Config::default() }, &SeriesCache::default()).unwrap()
}

/// `name{labels but the resource's} value @ms`, without `target_info`.
fn lines(rows: &MetricRows) -> Vec<String> {
    let keep = |n: &str| !matches!(n, "job" | "instance" | "service_name" | "service_instance_id" | "__name__");
    let line = |s: &crate::metrics::rows::Sample| {
        let labels = &rows.series[s.series as usize].labels;
        let value = match &s.value {
            Value::Float(v) if is_stale(*v) => "stale".to_owned(),
            Value::Float(v) => v.to_string(),
            Value::Histogram(h) => h.to_string(),
        };
        format!("{}{} {value} @{}", labels.value("__name__"), labels.filtered(keep), s.ts)
    };
    rows.samples.iter().map(line).filter(|l| !l.starts_with("target_info")).collect()
}

#[test]
fn sums_and_gauges() {
    let (rows, refusals) = rows(
        r#"{"name":"http.requests","unit":"{request}","description":"help","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
            {"timeUnixNano":"1000000000","startTimeUnixNano":"500000000","asInt":"7","attributes":[{"key":"a.b","value":{"intValue":"5"}}]}]}},
           {"name":"load","unit":"1","gauge":{"dataPoints":[{"timeUnixNano":"2000999999","asDouble":0.5},{"timeUnixNano":"3000000000","flags":1}]}}"#,
    );
    assert!(refusals.is_empty());
    assert_eq!(lines(&rows), ["http_requests_total{a_b=\"5\"} 7 @1000", "load_ratio{} 0.5 @2000", "load_ratio{} stale @3000"]);
    assert_eq!(rows.samples[0].start, 500);
    let metadata = rows.series[0].metadata.as_ref().unwrap();
    assert_eq!((metadata.family.as_str(), metadata.kind.as_str(), metadata.help.as_str()), ("http_requests_total", "counter", "help"));
    assert_eq!(rows.series[0].labels.value("job"), "cart");
}

#[test]
fn classic_histograms_are_cumulative_and_carry_exemplars() {
    let (rows, _) = rows(
        r#"{"name":"d","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1000000000","count":"6","sum":4.5,
            "explicitBounds":[0.5,1],"bucketCounts":["1","2","3"],
            "exemplars":[{"timeUnixNano":"900000000","asDouble":0.7,"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"}]}]}}"#,
    );
    let want = [
        "d_seconds_sum{} 4.5 @1000",
        "d_seconds_count{} 6 @1000",
        "d_seconds_bucket{le=\"0.5\"} 1 @1000",
        "d_seconds_bucket{le=\"1\"} 3 @1000",
        "d_seconds_bucket{le=\"+Inf\"} 6 @1000",
    ];
    assert_eq!(lines(&rows), want);
    let exemplar = &rows.exemplars[0];
    assert_eq!(rows.series[exemplar.series as usize].labels.value("le"), "1");
    assert_eq!(exemplar.exemplar.labels.value("trace_id"), "0102030405060708090a0b0c0d0e0f10");
}

#[test]
fn exponential_histograms_are_native_and_fine_ones_are_merged() {
    let (rows, _) = rows(
        r#"{"name":"d","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1000000000","count":"6","sum":4.5,"scale":9,
            "zeroCount":"1","positive":{"offset":-2,"bucketCounts":["1","1","1","2"]}}]}}"#,
    );
    let Value::Histogram(h) = &rows.samples[0].value else { panic!("{rows:?}") };
    assert_eq!((h.schema, h.zero_count, h.count), (8, 1.0, 6.0));
    assert_eq!(h.positive, [(0, 2.0), (1, 3.0)]);
}

#[test]
fn summaries_have_quantiles() {
    let (rows, _) = rows(
        r#"{"name":"s","summary":{"dataPoints":[{"timeUnixNano":"1000000000","count":"2","sum":3,"quantileValues":[{"quantile":0.5,"value":1.5}]}]}}"#,
    );
    assert_eq!(lines(&rows), ["s_sum{} 3 @1000", "s_count{} 2 @1000", "s{quantile=\"0.5\"} 1.5 @1000"]);
}

#[test]
fn what_cannot_be_stored_is_refused_point_by_point() {
    let (rows, refusals) = rows(
        r#"{"name":"odd","sum":{"dataPoints":[{"asInt":1},{"asInt":2}]}},
           {"name":"ok","gauge":{"dataPoints":[{"timeUnixNano":"1000000000","asInt":3},{"asInt":4,"attributes":[{"key":"...","value":{"stringValue":"x"}}]}]}},
           {"name":"coarse","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"scale":-5}]}},
           {"name":"---","gauge":{"dataPoints":[{"asInt":1}]}}"#,
    );
    assert_eq!(refusals.indexes(), [0, 1, 3, 4, 5]);
    assert!(refusals.message().contains("invalid temporality and type combination for metric \"odd\""));
    assert_eq!(lines(&rows), ["ok{} 3 @1000"]);
    assert_eq!(rows.samples[0].item, 2);
}

#[test]
fn target_info_describes_the_resource_over_its_points() {
    let (rows, _) =
        rows(r#"{"name":"x","gauge":{"dataPoints":[{"timeUnixNano":"0","asInt":1},{"timeUnixNano":"400000000000","asInt":1}]}}"#);
    let info: Vec<_> = rows.samples.iter().filter(|s| rows.series[s.series as usize].labels.value("__name__") == "target_info").collect();
    assert_eq!(info.iter().map(|s| s.ts).collect::<Vec<_>>(), [0, 150_000, 300_000, 400_000]);
    let labels = &rows.series[info[0].series as usize].labels;
    assert_eq!((labels.value("os_type"), labels.value("job"), labels.value("instance")), ("linux", "cart", "c-0"));
    let identity_only = r#"[{"key":"service.name","value":{"stringValue":"cart"}}]"#;
    let (rows, _) = rows_of(identity_only, r#"{"name":"x","gauge":{"dataPoints":[{"timeUnixNano":"0","asInt":1}]}}"#);
    assert_eq!(rows.len(), 1);
}

#[test]
fn exemplars_and_target_info_keep_to_the_times_of_samples() {
    let now_ms = NOW / MILLI;
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"cart"}}}},{{"key":"os.type","value":{{"stringValue":"linux"}}}}]}},
            "scopeMetrics":[{{"metrics":[{{"name":"x","sum":{{"isMonotonic":true,"aggregationTemporality":2,"dataPoints":[{{"timeUnixNano":"1","asInt":1}},
            {{"timeUnixNano":"{NOW}","asInt":2,"exemplars":[{{"asInt":1}},{{"timeUnixNano":"1000000000","asInt":2}},{{"timeUnixNano":"18446744073709551615","asInt":3}},{{"timeUnixNano":"{NOW}","asInt":4}}]}}]}}}}]}}]}}]}}"#
    );
    let (rows, refusals) = translate(Kind::Json, body.as_bytes(), NOW, &Config::default(), &SeriesCache::default()).unwrap();
    assert!(refusals.is_empty());
    let kept: Vec<_> = rows.exemplars.iter().map(|e| (e.of, e.exemplar.ts, e.exemplar.value)).collect();
    assert_eq!(kept, [(Some(1), now_ms, 4.0)]);
    // Behind the two data points: the sample of `target_info`, then the exemplar.
    assert_eq!((rows.unsaid_from, rows.samples[2].item, rows.exemplars[0].item), (Some(2), 2, 3));
    let info = |s: &&crate::metrics::rows::Sample| rows.series[s.series as usize].labels.value("__name__") == "target_info";
    assert_eq!(rows.samples.iter().filter(info).map(|s| s.ts).collect::<Vec<_>>(), [now_ms]);
}

#[test]
fn an_exponential_histogram_counts_what_its_buckets_hold() {
    let (rows, refusals) = rows(
        r#"{"name":"d","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[
            {"timeUnixNano":"1000000000","count":"4","zeroCount":"1","positive":{"bucketCounts":["1"]},"negative":{"bucketCounts":["1"]}},
            {"timeUnixNano":"1000000000","count":"4","sum":"NaN","positive":{"bucketCounts":["3"]}},
            {"timeUnixNano":"1000000000","count":"3","sum":"NaN","positive":{"bucketCounts":["4"]}},
            {"timeUnixNano":"1000000000","count":"2","positive":{"offset":2147483646,"bucketCounts":["2"]}},
            {"timeUnixNano":"1000000000","count":"2","flags":1}]}}"#,
    );
    assert_eq!(refusals.indexes(), [0, 2, 3]);
    assert_eq!(refusals.message(), "the buckets hold 3 observations, but the count is 4 in metric \"d\"");
    let stored = rows.samples.iter().filter(|s| matches!(s.value, Value::Histogram(_)));
    assert_eq!(stored.map(|s| s.item).collect::<Vec<_>>(), [1, 4]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for kind in [Kind::Protobuf, Kind::Json] {
            let _ = translate(kind, &bytes, NOW, &Config::default(), &SeriesCache::default());
        }
    }

    #[test]
    fn arbitrary_points_never_panic(offset in any::<i32>(), scale in -6i32..40, time in any::<u64>(), bound in any::<f64>(), flags in 0u32..2) {
        use opentelemetry_proto::tonic::metrics::v1 as otlp;
        use prost::Message;
        let buckets = otlp::exponential_histogram_data_point::Buckets { offset, bucket_counts: vec![1; 5] };
        let exponential = otlp::ExponentialHistogramDataPoint { scale, time_unix_nano: time, flags, positive: Some(buckets.clone()), negative: Some(buckets), ..Default::default() };
        let classic = otlp::HistogramDataPoint { explicit_bounds: vec![bound, bound], bucket_counts: vec![1, u64::MAX, 3], time_unix_nano: time, ..Default::default() };
        let metric = |data| otlp::Metric { name: "m".into(), data: Some(data), ..Default::default() };
        let metrics = vec![
            metric(otlp::metric::Data::ExponentialHistogram(otlp::ExponentialHistogram { data_points: vec![exponential], aggregation_temporality: 2 })),
            metric(otlp::metric::Data::Histogram(otlp::Histogram { data_points: vec![classic], aggregation_temporality: 2 })),
        ];
        let scope_metrics = vec![otlp::ScopeMetrics { metrics, ..Default::default() }];
        let resource_metrics = vec![otlp::ResourceMetrics { scope_metrics, ..Default::default() }];
        let request = opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest { resource_metrics };
        let _ = translate(Kind::Protobuf, &request.encode_to_vec(), NOW, &Config::default(), &SeriesCache::default());
    }
}
