//! The rules of translation that settings choose, and what points say of themselves, one by one (contracts/prometheus.md 3).

use super::*;
use crate::metrics::rows::{MetricRows, Value};
use crate::metrics::{Config, is_stale};

const NOW: i64 = 1_773_145_500_000_000_000;

fn translated(resource: &str, scope: &str, metrics: &str, translation: TranslationConfig) -> (MetricRows, Refusals) {
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},"scopeMetrics":[{{"scope":{scope},"schemaUrl":"u","metrics":[{metrics}]}}]}}]}}"#
    );
    let config = Config { retention: None, translation, ..Config::default() };
    translate(Kind::Json, body.as_bytes(), NOW, &config, &SeriesCache::default()).unwrap()
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

/// Label sets of the series, in their order.
fn series(rows: &MetricRows) -> Vec<String> {
    rows.series.iter().map(|s| s.labels.to_string()).collect()
}

fn bare() -> TranslationConfig {
    TranslationConfig { promote_resource_attributes: Vec::new(), ..TranslationConfig::default() }
}

const GAUGE: &str = r#"{"name":"g","gauge":{"dataPoints":[{"timeUnixNano":"1000000000","asInt":1}]}}"#;

#[test]
fn resources_are_promoted_and_described_as_the_settings_say() {
    let resource =
        [text("service.name", "cart"), text("service.namespace", "shop"), text("os.type", "linux"), text("host.id", "7"), text("...", "x")]
            .join(",");
    let all = TranslationConfig { promote_all_resource_attributes: true, ignore_resource_attributes: vec!["host.id".into()], ..bare() };
    let (rows, refusals) = translated(&resource, "{}", GAUGE, all);
    assert!(refusals.is_empty());
    let info = r#"{__name__="target_info", host_id="7", job="shop/cart", os_type="linux", service_name="cart", service_namespace="shop"}"#;
    let promoted = r#"{__name__="g", job="shop/cart", os_type="linux", service_name="cart", service_namespace="shop"}"#;
    assert_eq!(series(&rows), [promoted, info]);
    let without = TranslationConfig { keep_identifying_resource_attributes: false, ..bare() };
    let (rows, _) = translated(&resource, "{}", GAUGE, without);
    assert_eq!(
        series(&rows),
        [r#"{__name__="g", job="shop/cart"}"#, r#"{__name__="target_info", host_id="7", job="shop/cart", os_type="linux"}"#]
    );
    // Without a job and an instance, nothing says whose information it would be.
    let (rows, _) = translated(&text("os.type", "linux"), "{}", GAUGE, bare());
    assert_eq!(series(&rows), [r#"{__name__="g"}"#]);
}

#[test]
fn scopes_are_promoted_if_they_have_a_name() {
    let on = || TranslationConfig { promote_scope_metadata: true, ..bare() };
    let scope = format!(r#"{{"name":"lib","version":"1.2","attributes":[{},{}]}}"#, text("a.b", "c"), text("name", "lost"));
    let (rows, _) = translated("", &scope, GAUGE, on());
    let want = r#"{__name__="g", otel_scope_a_b="c", otel_scope_name="lib", otel_scope_schema_url="u", otel_scope_version="1.2"}"#;
    assert_eq!(series(&rows), [want]);
    let (rows, _) = translated("", r#"{"version":"1.2"}"#, GAUGE, on());
    assert_eq!(series(&rows), [r#"{__name__="g"}"#]);
    let (rows, _) = translated("", &scope, GAUGE, bare());
    assert_eq!(series(&rows), [r#"{__name__="g"}"#]);
}

#[test]
fn names_of_metrics_and_labels_follow_the_strategy() {
    let metric = format!(
        r#"{{"name":"a.b_total","unit":"By/s","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{{"timeUnixNano":"1","asInt":1,"attributes":[{}]}}]}}}}"#,
        text("x.y", "z")
    );
    for (strategy, want) in [
        (TranslationStrategy::UnderscoreEscapingWithSuffixes, r#"{__name__="a_b_bytes_per_second_total", x_y="z"}"#),
        (TranslationStrategy::UnderscoreEscapingWithoutSuffixes, r#"{__name__="a_b_total", x_y="z"}"#),
        (TranslationStrategy::NoUtf8EscapingWithSuffixes, r#"{__name__="a.b_bytes_per_second_total", "x.y"="z"}"#),
        (TranslationStrategy::NoTranslation, r#"{__name__="a.b_total", "x.y"="z"}"#),
    ] {
        let (rows, _) = translated("", "{}", &metric, TranslationConfig { strategy, ..bare() });
        assert_eq!(series(&rows), [want], "{strategy:?}");
        let metadata = rows.series[0].metadata.as_ref().unwrap();
        assert_eq!((metadata.kind.as_str(), metadata.unit.as_str()), ("counter", "bytes_per_second"));
    }
}

#[test]
fn values_of_attributes_are_texts() {
    let attributes = r#"{"key":"b","value":{"boolValue":true}},{"key":"d","value":{"doubleValue":1.5}},{"key":"i","value":{"intValue":"-3"}},
        {"key":"l","value":{"arrayValue":{"values":[{"stringValue":"x"},{"intValue":"1"}]}}},
        {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},
        {"key":"y","value":{"bytesValue":"AQI="}},{"key":"e","value":{"stringValue":""}}"#;
    let metric = format!(r#"{{"name":"g","gauge":{{"dataPoints":[{{"timeUnixNano":"1","asInt":1,"attributes":[{attributes}]}}]}}}}"#);
    let (rows, _) = translated("", "{}", &metric, bare());
    let want = r#"{__name__="g", b="true", d="1.5", i="-3", l="[\"x\",1]", m="{\"k\":\"v\"}", y="AQI="}"#;
    assert_eq!(series(&rows), [want]);
}

#[test]
fn a_point_without_a_recorded_value_ends_every_series_of_its_own() {
    let metrics = r#"{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1","flags":1,"sum":0,"explicitBounds":[1],"bucketCounts":["0","0"]}]}},
        {"name":"s","summary":{"dataPoints":[{"timeUnixNano":"1","flags":1,"quantileValues":[{"quantile":0.5}]}]}},
        {"name":"e","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1","flags":1}]}},
        {"name":"c","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"timeUnixNano":"1","flags":1,"asInt":9}]}}"#;
    let (rows, refusals) = translated("", "{}", metrics, bare());
    assert!(refusals.is_empty());
    let stale = |value: &Value| match value {
        Value::Float(value) => is_stale(*value),
        Value::Histogram(histogram) => histogram.is_stale(),
    };
    // Sum, count and two buckets; sum, count and a quantile; and one each.
    assert_eq!((rows.samples.len(), rows.samples.iter().all(|s| stale(&s.value))), (9, true));
}

#[test]
fn exemplars_keep_their_ids_when_their_labels_are_too_many() {
    let exemplar = |more: &str| {
        format!(
            r#"{{"timeUnixNano":"{NOW}","asInt":1,"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","filteredAttributes":[{}]}}"#,
            text("k.x", more)
        )
    };
    let point = |kind: &str, exemplar: &str| {
        let body = format!(
            r#"{{"dataPoints":[{{"timeUnixNano":"{NOW}","asInt":1,"exemplars":[{exemplar}]}}],"aggregationTemporality":2,"isMonotonic":true}}"#
        );
        format!(r#"{{"name":"x","{kind}":{body}}}"#)
    };
    let ids = r#"span_id="0102030405060708", trace_id="0102030405060708090a0b0c0d0e0f10"}"#;
    for (value, want) in [("short", format!(r#"{{"k.x"="short", {ids}"#)), (&*"ü".repeat(100), format!("{{{ids}"))] {
        let (rows, _) = translated("", "{}", &point("sum", &exemplar(value)), bare());
        assert_eq!(rows.exemplars[0].exemplar.labels.to_string(), want);
    }
    let gauge = point("gauge", &exemplar("x")).replace(r#","aggregationTemporality":2,"isMonotonic":true"#, "");
    let (rows, _) = translated("", "{}", &gauge, bare());
    assert!(rows.exemplars.is_empty(), "a gauge has none");
}

#[test]
fn exponential_histograms_have_both_sides_and_one_zero_threshold() {
    let metric = r#"{"name":"e","unit":"s","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1","count":"9","sum":3,"scale":-4,
        "zeroCount":"2","zeroThreshold":0.5,"positive":{"offset":0,"bucketCounts":["1","0","0","0","2"]},"negative":{"offset":-3,"bucketCounts":["4"]}}]}}"#;
    let (rows, refusals) = translated("", "{}", metric, bare());
    assert!(refusals.is_empty());
    let Value::Histogram(h) = &rows.samples[0].value else { panic!("{rows:?}") };
    assert_eq!((h.schema, h.zero_threshold, h.zero_count, h.hint), (-4, 1e-128, 2.0, Default::default()));
    assert_eq!((&h.positive[..], &h.negative[..]), (&[(1, 1.0), (5, 2.0)][..], &[(-2, 4.0)][..]));
    assert_eq!(series(&rows), [r#"{__name__="e_seconds"}"#]);
}

#[test]
fn classic_histograms_may_become_native_ones() {
    let metric = r#"{"name":"h","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1","count":"6","sum":3,"explicitBounds":[0.5,1,2],"bucketCounts":["0","4","0","2"]}]}}"#;
    let (rows, _) = translated("", "{}", metric, TranslationConfig { convert_histograms_to_nhcb: true, ..bare() });
    let Value::Histogram(h) = &rows.samples[0].value else { panic!("{rows:?}") };
    assert_eq!((h.schema, h.count, &h.custom[..], &h.positive[..]), (-53, 6.0, &[0.5, 1.0, 2.0][..], &[(1, 4.0), (3, 2.0)][..]));
    assert_eq!(series(&rows), [r#"{__name__="h"}"#]);
}
