//! OTLP requests such as a small platform sends: a few services, repeating attributes, ids that do not repeat.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::SpanKind, status::StatusCode};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

pub const SPANS: u64 = 512;
pub const LINES: u64 = 512;
pub const POINTS: u64 = 1_000;
/// Data points of a request of histograms, and the series that each makes.
pub const HISTOGRAMS: u64 = 60;
pub const SERIES: u64 = BOUNDS.len() as u64 + 3;

/// The bounds that the SDKs have if nobody says otherwise.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Sources of spans and log records.
const PODS: u64 = 8;

const SECOND: u64 = 1_000_000_000;

pub struct Requests {
    pub signal: &'static str,
    /// Of OTLP/HTTP.
    pub path: &'static str,
    pub items: u64,
    pub bodies: Vec<Bytes>,
}

/// Numbers that look random and are the same in each run.
fn scatter(kind: &str, n: u64) -> u64 {
    xxh3_64(format!("{kind}{n}").as_bytes())
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

/// Ten attributes.
fn resource(pod: u64) -> Option<Resource> {
    let service = ["frontend", "checkout", "payment", "cart"][pod as usize % 4];
    let attributes = vec![
        text("service.name", service),
        text("service.namespace", "shop"),
        text("service.instance.id", format!("{service}-{pod}")),
        text("service.version", "1.14.2"),
        text("deployment.environment.name", "production"),
        text("host.name", format!("node-{}", pod % 3)),
        text("k8s.pod.name", format!("{service}-6d4cf56db6-{pod:05}")),
        text("k8s.namespace.name", "shop"),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.version", "1.54.0"),
    ];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "io.opentelemetry.tomcat-10.0".into(), version: "2.20.1".into(), ..InstrumentationScope::default() })
}

/// Bodies of `count` requests; each is one resource's.
fn bodies<M: Message>(count: u64, one: impl Fn(u64) -> M) -> Vec<Bytes> {
    (0..count).map(|n| Bytes::from(one(n).encode_to_vec())).collect()
}

/// The time of request `n` of `count`: they are spread over the hour before `now`.
fn time(now: u64, n: u64, count: u64) -> u64 {
    now - 3_600 * SECOND + n * (3_600 * SECOND / count)
}

/// `now`, here and below, is the end of the times that are sent, in nanoseconds since 1970.
pub fn traces(count: u64, now: u64) -> Requests {
    let one = |n: u64| {
        let spans = (0..SPANS).map(|i| span(n * SPANS + i, time(now, n, count) + i * 1_000_000)).collect();
        let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource: resource(n % PODS), scope_spans, ..ResourceSpans::default() }],
        }
    };
    Requests { signal: "spans", path: "/v1/traces", items: count * SPANS, bodies: bodies(count, one) }
}

/// Eight spans a trace, eight attributes a span.
fn span(n: u64, start: u64) -> Span {
    let (trace, place, random) = (n / 8, n % 8, scatter("span", n));
    let route = ["/", "/cart", "/checkout", "/product/{id}", "/api/pay"][random as usize % 5];
    let failed = random.is_multiple_of(50);
    let attributes = vec![
        text("http.request.method", if random.is_multiple_of(4) { "POST" } else { "GET" }),
        text("http.route", route),
        text("url.path", route.replace("{id}", &(random % 500).to_string())),
        pair("http.response.status_code", Value::IntValue(if failed { 500 } else { 200 })),
        text("server.address", "shop.example"),
        pair("server.port", Value::IntValue(8080)),
        text("thread.name", format!("http-nio-8080-exec-{}", random % 20)),
        text("user.id", format!("user-{}", random % 10_000)),
    ];
    let id = |place: u64| scatter("id", trace * 8 + place).to_be_bytes().to_vec();
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        trace_id: [scatter("high", trace).to_be_bytes(), scatter("low", trace).to_be_bytes()].concat(),
        span_id: id(place),
        parent_span_id: if place == 0 { Vec::new() } else { id((place - 1) / 2) },
        name: format!("GET {route}"),
        kind: if place.is_multiple_of(2) { SpanKind::Server } else { SpanKind::Client } as i32,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000 + random % 50_000_000,
        attributes,
        status: Some(Status { message: String::new(), code: code as i32 }),
        ..Span::default()
    }
}

pub fn logs(count: u64, now: u64) -> Requests {
    let one = |n: u64| {
        let log_records = (0..LINES).map(|i| record(n * LINES + i, time(now, n, count) + i * 1_000_000)).collect();
        let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs { resource: resource(n % PODS), scope_logs, ..ResourceLogs::default() }],
        }
    };
    Requests { signal: "log records", path: "/v1/logs", items: count * LINES, bodies: bodies(count, one) }
}

/// A line of about 200 bytes.
fn record(n: u64, time: u64) -> LogRecord {
    let random = scatter("line", n);
    let (number, level) = if random.is_multiple_of(20) { (17, "ERROR") } else { (9, "INFO") };
    let line = format!(
        "level={level} method=GET path=/product/{} status=200 duration={}ms bytes={} user=user-{} session={:016x} \
         msg=\"request finished without anything worth a longer line than this one\" attempt=1",
        random % 500,
        random % 900,
        random % 65_536,
        random % 10_000,
        scatter("session", n),
    );
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number: number,
        severity_text: level.into(),
        body: Some(AnyValue { value: Some(Value::StringValue(line)) }),
        attributes: vec![text("thread.name", format!("http-nio-8080-exec-{}", random % 20))],
        trace_id: [scatter("high", n / 4).to_be_bytes(), scatter("low", n / 4).to_be_bytes()].concat(),
        span_id: scatter("id", n).to_be_bytes().to_vec(),
        ..LogRecord::default()
    }
}

/// `pods` sources, which report 1,000 series each in turn, every 15 seconds up to `now`; half of them are counters.
pub fn metrics(count: u64, now: u64, pods: u64) -> Requests {
    let one = |n: u64| {
        let (pod, round, rounds) = (n % pods, n / pods, count.div_ceil(pods));
        report_of(pod, round, now - (rounds - round) * 15 * SECOND, now - 86_400 * SECOND)
    };
    Requests { signal: "samples", path: "/v1/metrics", items: count * POINTS, bodies: bodies(count, one) }
}

/// `pods` sources, which report the durations of 60 routes each in turn, every 15 seconds up to `now`. Items are samples.
#[allow(dead_code, reason = "not every benchmark sends histograms")]
pub fn histograms(count: u64, now: u64, pods: u64) -> Requests {
    let one = |n: u64| {
        let (pod, round, rounds) = (n % pods, n / pods, count.div_ceil(pods));
        let data_points = (0..HISTOGRAMS).map(|route| histogram(pod, route, round, now - (rounds - round) * 15 * SECOND)).collect();
        let data = Histogram { data_points, aggregation_temporality: AggregationTemporality::Cumulative as i32 };
        let name = "http.server.request.duration".into();
        report_with(pod, vec![Metric { name, unit: "s".into(), data: Some(Data::Histogram(data)), ..Metric::default() }])
    };
    Requests { signal: "samples of histograms", path: "/v1/metrics", items: count * HISTOGRAMS * SERIES, bodies: bodies(count, one) }
}

fn histogram(pod: u64, route: u64, round: u64, time: u64) -> HistogramDataPoint {
    let bucket = |bucket: u64| round * (scatter("bucket", (pod * HISTOGRAMS + route) * SERIES + bucket) % 20);
    let bucket_counts: Vec<u64> = (0..=BOUNDS.len() as u64).map(bucket).collect();
    HistogramDataPoint {
        attributes: vec![
            text("http.request.method", "GET"),
            text("http.route", format!("/api/{route}")),
            text("http.response.status_code", "200"),
        ],
        start_time_unix_nano: time - round * 15 * SECOND,
        time_unix_nano: time,
        count: bucket_counts.iter().sum(),
        sum: Some(round as f64 * 1.25),
        bucket_counts,
        explicit_bounds: BOUNDS.into(),
        ..HistogramDataPoint::default()
    }
}

fn report_of(pod: u64, round: u64, time: u64, started: u64) -> ExportMetricsServiceRequest {
    report_with(pod, (0..POINTS / 50).map(|m| metric(pod, m, round, time, started)).collect())
}

fn report_with(pod: u64, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = ResourceMetrics { resource: resource(pod), scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }
}

/// What one pod reports in one round: 1,000 series. Its counters began at `started`.
#[allow(dead_code, reason = "not every benchmark sends single reports")]
pub fn report(pod: u64, round: u64, time: u64, started: u64) -> Bytes {
    report_of(pod, round, time, started).encode_to_vec().into()
}

/// The same as names with labels, and values.
#[allow(dead_code, reason = "not every benchmark sends single reports")]
pub fn report_series(pod: u64, round: u64) -> impl Iterator<Item = (Vec<(String, String)>, f64)> {
    let of_pod: Vec<(String, String)> = resource(pod)
        .into_iter()
        .flat_map(|r| r.attributes)
        .filter_map(|a| match a.value?.value? {
            Value::StringValue(text) => Some((a.key.replace('.', "_"), text)),
            _ => None,
        })
        .collect();
    (0..POINTS).map(move |n| {
        let (m, series) = (n / 50, n % 50);
        let mut labels = of_pod.clone();
        labels.push(("__name__".into(), format!("app_metric_{m}")));
        labels.push(("http_route".into(), format!("/api/{series}")));
        labels.push(("http_request_method".into(), "GET".into()));
        (labels, value(pod, m, series, round))
    })
}

/// Of metrics with even numbers, which are counters, a whole number.
fn value(pod: u64, m: u64, series: u64, round: u64) -> f64 {
    let random = scatter("point", (pod * 20 + m) * 50 + series);
    if m.is_multiple_of(2) {
        (round * (random % 100) + random % 7) as f64
    } else {
        ((random ^ scatter("value", round)) % 10_000) as f64 / 100.0
    }
}

/// One metric with fifty series.
fn metric(pod: u64, m: u64, round: u64, time: u64, started: u64) -> Metric {
    let point = |series: u64| {
        let value = value(pod, m, series, round);
        let value =
            if m.is_multiple_of(2) { number_data_point::Value::AsInt(value as i64) } else { number_data_point::Value::AsDouble(value) };
        let attributes = vec![text("http.route", format!("/api/{series}")), text("http.request.method", "GET")];
        NumberDataPoint {
            attributes,
            start_time_unix_nano: started,
            time_unix_nano: time,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    };
    let data_points = (0..50).map(point).collect();
    let data = if m.is_multiple_of(2) {
        Data::Sum(Sum { data_points, aggregation_temporality: AggregationTemporality::Cumulative as i32, is_monotonic: true })
    } else {
        Data::Gauge(Gauge { data_points })
    };
    Metric { name: format!("app.metric.{m}"), unit: "1".into(), data: Some(data), ..Metric::default() }
}
