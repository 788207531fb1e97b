//! `jaeger.api_v2.PostSpansRequest`.

use super::{JaegerSpan, Log, Reference, resource};
use crate::ingest::Plain;
use crate::traces::otlp::foreign::{Collected, pair};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue as OtlpPair;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

pub fn protobuf(body: Plain<'_>) -> Result<ExportTraceServiceRequest, String> {
    let batch = PostSpansRequest::decode(body).map_err(|e| e.to_string())?.batch.unwrap_or_default();
    let of_batch = batch.process.map_or_else(Vec::new, Process::read);
    let mut collected = Collected::default();
    for mut span in batch.spans {
        body.check_for(0).map_err(|e| e.to_string())?;
        // A span of another process than the others brings its own.
        let own = span.process.take().map(Process::read);
        collected.push(own.as_ref().unwrap_or(&of_batch), span.read().into_otlp());
    }
    Ok(collected.request())
}

#[derive(Clone, PartialEq, Message)]
struct PostSpansRequest {
    #[prost(message, optional, tag = "1")]
    batch: Option<Batch>,
}

#[derive(Clone, PartialEq, Message)]
struct Batch {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<Span>,
    #[prost(message, optional, tag = "2")]
    process: Option<Process>,
}

#[derive(Clone, PartialEq, Message)]
struct Process {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(message, repeated, tag = "2")]
    tags: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    operation_name: String,
    #[prost(message, repeated, tag = "4")]
    references: Vec<SpanRef>,
    /// Seconds and nanoseconds, as everywhere below.
    #[prost(message, optional, tag = "6")]
    start_time: Option<Time>,
    #[prost(message, optional, tag = "7")]
    duration: Option<Time>,
    #[prost(message, repeated, tag = "8")]
    tags: Vec<KeyValue>,
    #[prost(message, repeated, tag = "9")]
    logs: Vec<LogMessage>,
    #[prost(message, optional, tag = "10")]
    process: Option<Process>,
}

#[derive(Clone, PartialEq, Message)]
struct SpanRef {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    /// 0 child of, 1 follows from.
    #[prost(int32, tag = "3")]
    ref_type: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LogMessage {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(message, repeated, tag = "2")]
    fields: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    /// 0 string, 1 bool, 2 integer, 3 float, 4 binary.
    #[prost(int32, tag = "2")]
    v_type: i32,
    #[prost(string, tag = "3")]
    v_str: String,
    #[prost(bool, tag = "4")]
    v_bool: bool,
    #[prost(int64, tag = "5")]
    v_int64: i64,
    #[prost(double, tag = "6")]
    v_float64: f64,
    #[prost(bytes = "vec", tag = "7")]
    v_binary: Vec<u8>,
}

/// `google.protobuf.Timestamp` and `Duration`, which are the same on the wire.
#[derive(Clone, Copy, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// A negative time counts as none.
fn nanos(time: Option<Time>) -> u64 {
    let time = time.unwrap_or_default();
    let nanos = time.seconds.saturating_mul(1_000_000_000).saturating_add(time.nanos.into());
    u64::try_from(nanos).unwrap_or(0)
}

fn pairs(tags: Vec<KeyValue>) -> Vec<OtlpPair> {
    tags.into_iter().map(KeyValue::read).collect()
}

impl KeyValue {
    fn read(self) -> OtlpPair {
        let value = match self.v_type {
            1 => Value::BoolValue(self.v_bool),
            2 => Value::IntValue(self.v_int64),
            3 => Value::DoubleValue(self.v_float64),
            4 => Value::BytesValue(self.v_binary),
            _ => Value::StringValue(self.v_str),
        };
        pair(self.key, value)
    }
}

impl Process {
    fn read(self) -> Vec<OtlpPair> {
        resource(&self.service_name, pairs(self.tags))
    }
}

impl Span {
    fn read(self) -> JaegerSpan {
        let reference = |r: SpanRef| Reference { trace_id: r.trace_id, span_id: r.span_id, follows_from: r.ref_type == 1 };
        JaegerSpan {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_id: Vec::new(),
            name: self.operation_name,
            references: self.references.into_iter().map(reference).collect(),
            start: nanos(self.start_time),
            duration: nanos(self.duration),
            tags: pairs(self.tags),
            logs: self.logs.into_iter().map(|log| Log { time: nanos(log.timestamp), fields: pairs(log.fields) }).collect(),
        }
    }
}
