//! Traces of a small shop, the same in each run: eight spans each, of five services, most of them sent together. Of one
//! trace in fifty, the last span comes so late that it is in another block.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub const SPANS_OF_TRACE: u64 = 8;
pub const TRACES_OF_REQUEST: u64 = 64;

const SECOND: u64 = 1_000_000_000;

/// The clock: 2026-03-10 18:00 UTC. Everything was sent in the six hours before it.
pub const NOW: u64 = 1_773_165_600 * SECOND;
pub const HOURS: u64 = 6;

const SERVICES: [&str; 5] = ["frontend", "checkout", "cart", "payment", "inventory"];
const ROUTES: [&str; 5] = ["/", "/cart", "/checkout", "/product/{id}", "/api/pay"];

/// One trace in so many has a span that comes late.
const LATE: u64 = 50;

/// A late span comes with the requests of the trace that is so many further.
const LATE_BY: u64 = 140_000;

fn scatter(seed: u64, n: u64) -> u64 {
    xxh3_64_with_seed(&n.to_le_bytes(), seed)
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

fn int(key: &str, value: u64) -> KeyValue {
    pair(key, Value::IntValue(value.cast_signed()))
}

pub fn trace_id(trace: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&scatter(1, trace).to_be_bytes());
    id[8..].copy_from_slice(&scatter(2, trace).to_be_bytes());
    id
}

fn span_id(trace: u64, place: u64) -> Vec<u8> {
    scatter(3, trace * SPANS_OF_TRACE + place).to_be_bytes().to_vec()
}

/// The value of an attribute that one span in 32 has, and no other span has the same.
pub fn order_id(trace: u64) -> String {
    format!("order-{:016x}", scatter(4, trace))
}

fn has_order(trace: u64) -> bool {
    trace.is_multiple_of(4)
}

/// The number of a trace that has an order, about in the middle.
pub const fn some_order(traces: u64) -> u64 {
    traces / 8 * 4
}

fn resource(service: usize, pod: u64) -> Resource {
    let name = SERVICES[service];
    let attributes = vec![
        text("service.name", name),
        text("service.namespace", "shop"),
        text("service.instance.id", format!("{name}-{pod}")),
        text("service.version", if pod.is_multiple_of(3) { "1.14.2" } else { "1.14.3" }),
        text("deployment.environment.name", "production"),
        text("host.name", format!("node-{}", pod % 3)),
        text("k8s.pod.name", format!("{name}-6d4cf56db6-{pod:05}")),
        text("k8s.namespace.name", "shop"),
        text("telemetry.sdk.language", "java"),
    ];
    Resource { attributes, ..Resource::default() }
}

/// Requests with all spans of `traces` traces.
pub fn requests(traces: u64) -> impl Iterator<Item = (u64, Bytes)> {
    (0..traces.div_ceil(TRACES_OF_REQUEST)).map(move |n| {
        let numbers = n * TRACES_OF_REQUEST..((n + 1) * TRACES_OF_REQUEST).min(traces);
        let mut by_service: Vec<Vec<Span>> = vec![Vec::new(); SERVICES.len()];
        for trace in numbers.clone() {
            for place in 0..SPANS_OF_TRACE {
                let late = trace.is_multiple_of(LATE) && place == SPANS_OF_TRACE - 1;
                if !late || trace + LATE_BY >= traces {
                    by_service[service_of(place)].push(span(trace, place, traces));
                }
            }
            if let Some(earlier) = trace.checked_sub(LATE_BY).filter(|t| t.is_multiple_of(LATE)) {
                by_service[service_of(SPANS_OF_TRACE - 1)].push(span(earlier, SPANS_OF_TRACE - 1, traces));
            }
        }
        let scope = || Some(InstrumentationScope { name: "io.opentelemetry.tomcat-10.0".into(), ..InstrumentationScope::default() });
        let resource_spans = by_service.into_iter().enumerate().map(|(service, spans)| ResourceSpans {
            resource: Some(resource(service, n % 8)),
            scope_spans: vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        });
        let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
        let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len() as u64).sum();
        (spans, Bytes::from(request.encode_to_vec()))
    })
}

/// frontend, frontend, checkout, cart, cart, payment, inventory, inventory.
const fn service_of(place: u64) -> usize {
    [0, 0, 1, 2, 2, 3, 4, 4][place as usize]
}

/// Span `place` hangs from span `(place - 1) / 2`.
fn span(trace: u64, place: u64, traces: u64) -> Span {
    let random = scatter(5, trace * SPANS_OF_TRACE + place);
    let start = NOW - HOURS * 3_600 * SECOND + trace * (HOURS * 3_600 * SECOND / traces) + place * 1_000_000 + random % 900_000;
    let route = ROUTES[(random >> 8) as usize % ROUTES.len()];
    let failed = (random >> 16).is_multiple_of(100);
    let database = place == 4 || place == 7;
    let mut attributes = vec![text("thread.name", format!("http-nio-8080-exec-{}", random % 20)), int("thread.id", random % 40)];
    let name = if database {
        attributes.extend([
            text("db.system.name", if place == 4 { "redis" } else { "postgresql" }),
            text("db.operation.name", "SELECT"),
            text("db.query.text", "SELECT id, name, price FROM products WHERE id = $1"),
            text("server.address", "db.shop.example"),
        ]);
        "SELECT shop.products".to_owned()
    } else {
        attributes.extend([
            text("http.request.method", if random.is_multiple_of(4) { "POST" } else { "GET" }),
            text("http.route", route),
            text("url.path", route.replace("{id}", &(random % 500).to_string())),
            int("http.response.status_code", if failed { 500 + random % 4 } else { 200 }),
            text("user.id", format!("user-{}", random % 10_000)),
        ]);
        format!("GET {route}")
    };
    if place == 2 && has_order(trace) {
        attributes.push(text("app.order.id", order_id(trace)));
        attributes.push(pair("app.order.amount", Value::DoubleValue((random % 90_000) as f64 / 100.0)));
    }
    let events = if failed { vec![exception(start)] } else { Vec::new() };
    Span {
        trace_id: trace_id(trace).to_vec(),
        span_id: span_id(trace, place),
        parent_span_id: if place == 0 { Vec::new() } else { span_id(trace, (place - 1) / 2) },
        name,
        kind: if database { 3 } else { 2 },
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000 + random % 50_000_000,
        attributes,
        events,
        status: Some(Status { message: String::new(), code: if failed { 2 } else { 0 } }),
        ..Span::default()
    }
}

fn exception(time: u64) -> Event {
    let attributes = vec![text("exception.type", "TimeoutException"), text("exception.message", "upstream did not answer in time")];
    Event { time_unix_nano: time + 500_000, name: "exception".into(), attributes, ..Event::default() }
}
