//! OTLP/JSON to OTLP protobuf. The messages' own descriptors drive a complete proto3 JSON reader (64-bit integers and
//! floats as numbers or strings, `null` for absent, names of enum values, either case of field names, unknown fields
//! ignored); OTLP differs from it only in that trace and span ids are hex.
//! Source: opentelemetry-proto `docs/specification.md`, "JSON Protobuf Encoding".
//!
//! The serde support of the generated types is not used: it drops a whole metric without an error if one of its numbers
//! is the string `"NaN"`, and fails on unknown fields in attribute values and on `null`.

use super::Plain;
use crate::model::{Failure, Signal};
use base64::Engine as _;
use bytes::Bytes;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde_json::Value;
use std::sync::OnceLock;

/// Encodes the export request of `signal` that `json` is. Fails with `Invalid` and says where.
pub fn otlp_json_to_protobuf<'a>(signal: Signal, json: impl Into<Plain<'a>>) -> Result<Bytes, Failure> {
    let json = json.into();
    let bad = |e: &dyn std::fmt::Display| Failure::invalid(format!("cannot decode OTLP/JSON: {e}"));
    let mut value: Value = json.json().map_err(|e| bad(&e))?;
    ids_to_base64(&mut value).map_err(|e| bad(&e))?;
    // The message takes up to twice what the values do, and nothing can stop while it is made.
    json.check_for_multiple(2).map_err(|e| bad(&e))?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor(signal)?, value, &options).map_err(|e| bad(&e))?;
    json.check_for(message.encoded_len()).map_err(|e| bad(&e))?;
    Ok(message.encode_to_vec().into())
}

fn descriptor(signal: Signal) -> Result<MessageDescriptor, Failure> {
    static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();
    let decode = || DescriptorPool::decode(opentelemetry_proto::DESCRIPTORS).ok();
    let name = match signal {
        Signal::Metrics => "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
        Signal::Logs => "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
        Signal::Traces => "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
    };
    let found = POOL.get_or_init(decode).as_ref().and_then(|pool| pool.get_message_by_name(name));
    found.ok_or_else(|| Failure::internal("descriptors of OTLP are unreadable"))
}

/// Field names below which OTLP/JSON has hex where proto3 JSON has base64. An attribute's key is a value in JSON, so no
/// customer's name can be mistaken for one of these.
const IDS: [&str; 6] = ["traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id"];

fn ids_to_base64(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter_mut().try_for_each(ids_to_base64),
        Value::Object(fields) => fields.iter_mut().try_for_each(|(name, value)| match value {
            Value::String(hex) if IDS.contains(&name.as_str()) => {
                let bytes = decode_hex(hex).ok_or_else(|| format!("{name} is not hex: {hex:?}"))?;
                *hex = base64::engine::general_purpose::STANDARD.encode(bytes);
                Ok(())
            }
            other => ids_to_base64(other),
        }),
        _ => Ok(()),
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let pair = |p: &[u8]| Some(digit(p[0])? << 4 | digit(p[1])?);
    if text.len() % 2 == 1 { None } else { text.as_bytes().chunks_exact(2).map(pair).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value;
    use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
    use proptest::prelude::*;

    fn point(json: &str) -> number_data_point::Value {
        let whole = format!(
            r#"{{"resourceMetrics":[{{"resource":null,"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{json}]}}}}]}}]}}]}}"#
        );
        let bytes = otlp_json_to_protobuf(Signal::Metrics, whole.as_bytes()).unwrap();
        let request = ExportMetricsServiceRequest::decode(bytes).unwrap();
        let Some(metric::Data::Gauge(gauge)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else { panic!("{request:?}") };
        assert_eq!(gauge.data_points[0].time_unix_nano, 5);
        gauge.data_points[0].value.unwrap()
    }

    #[test]
    fn numbers_may_be_strings_and_floats_need_not_be_finite() {
        use number_data_point::Value::{AsDouble, AsInt};
        assert_eq!(point(r#"{"timeUnixNano":"5","asInt":"7"}"#), AsInt(7));
        assert_eq!(point(r#"{"timeUnixNano":5,"asInt":7}"#), AsInt(7));
        assert_eq!(point(r#"{"timeUnixNano":5,"asDouble":7,"unknown":{"a":[1]}}"#), AsDouble(7.0));
        assert_eq!(point(r#"{"time_unix_nano":5,"as_double":"-Infinity"}"#), AsDouble(f64::NEG_INFINITY));
        assert!(matches!(point(r#"{"timeUnixNano":5,"asDouble":"NaN"}"#), AsDouble(v) if v.is_nan()));
    }

    #[test]
    fn ids_are_hex_of_either_case_and_enums_are_numbers_or_names() {
        let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"eee19b7ec3c1b174",
            "parentSpanId":"","name":"x","kind":"SPAN_KIND_SERVER","status":{"code":2},"events":[{"name":"e"}],"links":[{"traceId":"00"}]}]}]}]}"#;
        let request = ExportTraceServiceRequest::decode(otlp_json_to_protobuf(Signal::Traces, json.as_bytes()).unwrap()).unwrap();
        let span = &request.resource_spans[0].scope_spans[0].spans[0];
        assert_eq!((span.trace_id[0], span.span_id.len(), span.parent_span_id.len(), span.kind), (0x5b, 8, 0, 2));
        assert_eq!((span.status.as_ref().unwrap().code, span.links[0].trace_id.as_slice()), (2, &[0u8][..]));
        let bad = json.replace("eee19b7ec3c1b174", "eee19b7ec3c1b17x");
        assert!(otlp_json_to_protobuf(Signal::Traces, bad.as_bytes()).unwrap_err().message.contains("spanId is not hex"));
    }

    #[test]
    fn attribute_values_keep_their_types_and_unknown_ones_are_empty() {
        let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":"traceId","value":{"stringValue":"zz"}},
            {"key":"n","value":{"intValue":"-3"}},{"key":"b","value":{"bytesValue":"AQI="}},{"key":"new","value":{"laterValue":1}},
            {"key":"d","value":{"doubleValue":1}},{"key":"none"}]}]}]}]}"#;
        let request = ExportLogsServiceRequest::decode(otlp_json_to_protobuf(Signal::Logs, json.as_bytes()).unwrap()).unwrap();
        let values: Vec<_> = request.resource_logs[0].scope_logs[0].log_records[0]
            .attributes
            .iter()
            .map(|a| a.value.clone().and_then(|v| v.value))
            .collect();
        use any_value::Value::{BytesValue, DoubleValue, IntValue, StringValue};
        let expected =
            [Some(StringValue("zz".into())), Some(IntValue(-3)), Some(BytesValue(vec![1, 2])), None, Some(DoubleValue(1.0)), None];
        assert_eq!(values, expected);
    }

    #[test]
    fn what_is_wrong_is_refused_not_dropped() {
        for bad in [
            "",
            "[]",
            "{",
            r#"{"resourceMetrics":{}}"#,
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":3}]}]}]}"#,
            r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{"asDouble":"x"}]}}]}]}]}"#,
        ] {
            assert!(otlp_json_to_protobuf(Signal::Metrics, bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(otlp_json_to_protobuf(Signal::Logs, deep.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = otlp_json_to_protobuf(Signal::Traces, &bytes);
        }
    }
}
