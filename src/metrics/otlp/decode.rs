//! Bodies as opentelemetry-proto's messages.

use super::Kind;
use crate::ingest::{Plain, otlp_json_to_protobuf};
use crate::model::{Attribute, AttributeValue, Failure, Signal};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use std::borrow::Cow;

/// The bytes of an `ExportMetricsServiceRequest`.
pub(super) fn otlp_bytes(kind: Kind, body: Plain<'_>) -> Result<Cow<'_, [u8]>, Failure> {
    match kind {
        Kind::Protobuf => Ok(Cow::Borrowed(body.bytes())),
        Kind::Json => Ok(Cow::Owned(otlp_json_to_protobuf(Signal::Metrics, body)?.into())),
    }
}

pub(super) fn attribute(pair: KeyValue) -> Attribute {
    Attribute::new(pair.key, value(pair.value))
}

/// The decoders bound the depth of nesting, so the recursion here is bounded, too.
fn value(any: Option<AnyValue>) -> AttributeValue {
    match any.and_then(|a| a.value) {
        None => AttributeValue::Empty,
        Some(Value::StringValue(text)) => AttributeValue::String(text),
        Some(Value::BoolValue(flag)) => AttributeValue::Bool(flag),
        Some(Value::IntValue(integer)) => AttributeValue::Int(integer),
        Some(Value::DoubleValue(float)) => AttributeValue::Double(float),
        Some(Value::BytesValue(bytes)) => AttributeValue::Bytes(bytes),
        Some(Value::ArrayValue(array)) => AttributeValue::Array(array.values.into_iter().map(|v| value(Some(v))).collect()),
        Some(Value::KvlistValue(list)) => AttributeValue::Map(list.values.into_iter().map(attribute).collect()),
        // An index into a table of strings that only profiles have.
        Some(Value::StringValueStrindex(_)) => AttributeValue::Empty,
    }
}
