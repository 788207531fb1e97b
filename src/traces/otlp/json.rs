//! OTLP/JSON (opentelemetry-proto `docs/specification.md`, "JSON Protobuf Encoding"): lowerCamelCase names, ids as hex,
//! enums as numbers (names are understood too), 64-bit integers as strings or numbers, unknown names ignored, `null` as
//! absent. An id that is not hex becomes an empty one, so that only its span is refused.

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;
use serde::de::{Deserializer, Error as _};
use serde::Deserialize;

pub fn decode(body: &[u8]) -> Result<ExportTraceServiceRequest, serde_json::Error> {
    let request: Request = serde_json::from_slice(body)?;
    Ok(ExportTraceServiceRequest { resource_spans: list(request.resource_spans) })
}

/// A list whose items have a protobuf form; `null` items are skipped.
fn list<T: Into<P>, P>(items: Option<Vec<Option<T>>>) -> Vec<P> {
    items.into_iter().flatten().flatten().map(Into::into).collect()
}

type List<T> = Option<Vec<Option<T>>>;

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Request {
    resource_spans: List<ResourceSpans>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSpans {
    resource: Option<ResourceJson>,
    scope_spans: List<ScopeSpans>,
    schema_url: Option<String>,
}

impl From<ResourceSpans> for trace::ResourceSpans {
    fn from(json: ResourceSpans) -> Self {
        let resource = json.resource.map(|r| Resource {
            attributes: list(r.attributes),
            dropped_attributes_count: r.dropped_attributes_count.count(),
            ..Resource::default()
        });
        trace::ResourceSpans { resource, scope_spans: list(json.scope_spans), schema_url: json.schema_url.unwrap_or_default() }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceJson {
    attributes: List<KeyValue>,
    dropped_attributes_count: Number,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScopeSpans {
    scope: Option<Scope>,
    spans: List<Span>,
    schema_url: Option<String>,
}

impl From<ScopeSpans> for trace::ScopeSpans {
    fn from(json: ScopeSpans) -> Self {
        let scope = json.scope.map(|s| common::InstrumentationScope {
            name: s.name.unwrap_or_default(),
            version: s.version.unwrap_or_default(),
            attributes: list(s.attributes),
            dropped_attributes_count: s.dropped_attributes_count.count(),
        });
        trace::ScopeSpans { scope, spans: list(json.spans), schema_url: json.schema_url.unwrap_or_default() }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Scope {
    name: Option<String>,
    version: Option<String>,
    attributes: List<KeyValue>,
    dropped_attributes_count: Number,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Span {
    trace_id: Id,
    span_id: Id,
    trace_state: Option<String>,
    parent_span_id: Id,
    flags: Number,
    name: Option<String>,
    kind: Option<Enum>,
    start_time_unix_nano: Number,
    end_time_unix_nano: Number,
    attributes: List<KeyValue>,
    dropped_attributes_count: Number,
    events: List<Event>,
    dropped_events_count: Number,
    links: List<Link>,
    dropped_links_count: Number,
    status: Option<Status>,
}

impl From<Span> for trace::Span {
    fn from(json: Span) -> Self {
        let kind = |name: &str| trace::span::SpanKind::from_str_name(name).map(|k| k as i32);
        let code = |name: &str| trace::status::StatusCode::from_str_name(name).map(|c| c as i32);
        trace::Span {
            trace_id: json.trace_id.0,
            span_id: json.span_id.0,
            trace_state: json.trace_state.unwrap_or_default(),
            parent_span_id: json.parent_span_id.0,
            flags: json.flags.count(),
            name: json.name.unwrap_or_default(),
            kind: json.kind.map_or(0, |k| k.number(kind)),
            start_time_unix_nano: json.start_time_unix_nano.0.cast_unsigned(),
            end_time_unix_nano: json.end_time_unix_nano.0.cast_unsigned(),
            attributes: list(json.attributes),
            dropped_attributes_count: json.dropped_attributes_count.count(),
            events: list(json.events),
            dropped_events_count: json.dropped_events_count.count(),
            links: list(json.links),
            dropped_links_count: json.dropped_links_count.count(),
            status: json
                .status
                .map(|s| trace::Status { message: s.message.unwrap_or_default(), code: s.code.map_or(0, |c| c.number(code)) }),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: Option<String>,
    code: Option<Enum>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    time_unix_nano: Number,
    name: Option<String>,
    attributes: List<KeyValue>,
    dropped_attributes_count: Number,
}

impl From<Event> for trace::span::Event {
    fn from(json: Event) -> Self {
        trace::span::Event {
            time_unix_nano: json.time_unix_nano.0.cast_unsigned(),
            name: json.name.unwrap_or_default(),
            attributes: list(json.attributes),
            dropped_attributes_count: json.dropped_attributes_count.count(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Link {
    trace_id: Id,
    span_id: Id,
    trace_state: Option<String>,
    attributes: List<KeyValue>,
    dropped_attributes_count: Number,
    flags: Number,
}

impl From<Link> for trace::span::Link {
    fn from(json: Link) -> Self {
        trace::span::Link {
            trace_id: json.trace_id.0,
            span_id: json.span_id.0,
            trace_state: json.trace_state.unwrap_or_default(),
            attributes: list(json.attributes),
            dropped_attributes_count: json.dropped_attributes_count.count(),
            flags: json.flags.count(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct KeyValue {
    key: Option<String>,
    value: Option<AnyValue>,
}

impl From<KeyValue> for common::KeyValue {
    fn from(json: KeyValue) -> Self {
        common::KeyValue { key: json.key.unwrap_or_default(), value: json.value.map(Into::into), ..common::KeyValue::default() }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct AnyValue {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Number>,
    double_value: Option<Double>,
    bytes_value: Option<Base64>,
    array_value: Option<Values<AnyValue>>,
    kvlist_value: Option<Values<KeyValue>>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Values<T> {
    values: List<T>,
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Values { values: None }
    }
}

impl From<AnyValue> for common::AnyValue {
    fn from(json: AnyValue) -> Self {
        use common::any_value::Value;
        let value = json
            .string_value
            .map(Value::StringValue)
            .or_else(|| json.bool_value.map(Value::BoolValue))
            .or_else(|| json.int_value.map(|n| Value::IntValue(n.0)))
            .or_else(|| json.double_value.map(|d| Value::DoubleValue(d.0)))
            .or_else(|| json.bytes_value.map(|b| Value::BytesValue(b.0)))
            .or_else(|| json.array_value.map(|a| Value::ArrayValue(common::ArrayValue { values: list(a.values) })))
            .or_else(|| json.kvlist_value.map(|m| Value::KvlistValue(common::KeyValueList { values: list(m.values) })));
        common::AnyValue { value }
    }
}

/// Lower or upper case hex; empty if it is not hex.
#[derive(Default)]
struct Id(Vec<u8>);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        let digits = digits.filter(|d| d.len() % 2 == 0).unwrap_or_default();
        Ok(Id(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberForm {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
}

/// A 64-bit integer of either sign, by its bits.
#[derive(Default)]
struct Number(i64);

impl Number {
    /// As an unsigned 32-bit number.
    fn count(&self) -> u32 {
        u32::try_from(self.0).unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        let bad = |text: &str| D::Error::custom(format!("not a 64-bit integer: {text:?}"));
        match Option::<NumberForm>::deserialize(deserializer)? {
            None => Ok(Number(0)),
            Some(NumberForm::Signed(n)) => Ok(Number(n)),
            Some(NumberForm::Unsigned(n)) => Ok(Number(n.cast_signed())),
            Some(NumberForm::Float(f)) if f.fract() == 0.0 && f.abs() < 9e18 => Ok(Number(f as i64)),
            Some(NumberForm::Float(f)) => Err(bad(&f.to_string())),
            Some(NumberForm::Text(text)) => {
                let signed = text.parse::<i64>();
                signed.or_else(|_| text.parse::<u64>().map(u64::cast_signed)).map(Number).map_err(|_| bad(&text))
            }
        }
    }
}

struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Double, D::Error> {
        match NumberForm::deserialize(deserializer)? {
            NumberForm::Signed(n) => Ok(Double(n as f64)),
            NumberForm::Unsigned(n) => Ok(Double(n as f64)),
            NumberForm::Float(f) => Ok(Double(f)),
            // Rust reads `NaN`, `Infinity` and `-Infinity`, too.
            NumberForm::Text(text) => text.parse().map(Double).map_err(|_| D::Error::custom(format!("not a double: {text:?}"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Enum {
    Number(i32),
    Name(String),
}

impl Enum {
    fn number(&self, named: impl Fn(&str) -> Option<i32>) -> i32 {
        match self {
            Enum::Number(n) => *n,
            Enum::Name(name) => named(name).or_else(|| name.parse().ok()).unwrap_or(0),
        }
    }
}

/// proto3 JSON: either alphabet, with or without padding.
struct Base64(Vec<u8>);

const LENIENT: GeneralPurposeConfig = general_purpose::PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base64, D::Error> {
        let text = String::deserialize(deserializer)?.replace('-', "+").replace('_', "/");
        let decoded = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT).decode(text);
        decoded.map(Base64).map_err(|e| D::Error::custom(format!("not base64: {e}")))
    }
}
