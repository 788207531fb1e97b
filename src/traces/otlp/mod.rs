//! Requests become spans: OTLP's with every field kept, Zipkin's and Jaeger's as OTLP first. The write-ahead log has the bytes
//! of each as they came, so that replay runs the same translation.

mod foreign;
mod jaeger;
mod size;
mod translate;
mod zipkin;

use crate::ingest::otlp_json_to_protobuf;
use crate::model::{Failure, Signal};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

pub use size::encoded_len;
pub use translate::{Translated, translate};

/// What a frame of the traces lane holds. Stored, so the numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    OtlpProtobuf = 1,
    OtlpJson = 2,
    ZipkinJson = 3,
    ZipkinProtobuf = 4,
    JaegerThrift = 5,
    JaegerProtobuf = 6,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::OtlpProtobuf, Kind::OtlpJson, Kind::ZipkinJson, Kind::ZipkinProtobuf, Kind::JaegerThrift, Kind::JaegerProtobuf];

    pub fn from_stored(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| *k as u8 == number)
    }
}

/// The request of a decompressed body. Fails only for a body that cannot be decoded at all.
pub fn decode(kind: Kind, body: &[u8]) -> Result<ExportTraceServiceRequest, Failure> {
    let otlp =
        |body: &[u8]| ExportTraceServiceRequest::decode(body).map_err(|e| Failure::invalid(format!("cannot decode OTLP traces: {e}")));
    let other = |name: &str, decoded: Result<ExportTraceServiceRequest, String>| {
        decoded.map_err(|e| Failure::invalid(format!("cannot decode {name} spans: {e}")))
    };
    match kind {
        Kind::OtlpProtobuf => otlp(body),
        Kind::OtlpJson => otlp(&otlp_json_to_protobuf(Signal::Traces, body)?),
        Kind::ZipkinJson => other("Zipkin", zipkin::json(body)),
        Kind::ZipkinProtobuf => other("Zipkin", zipkin::protobuf(body)),
        Kind::JaegerThrift => other("Jaeger", jaeger::thrift(body)),
        Kind::JaegerProtobuf => other("Jaeger", jaeger::protobuf(body)),
    }
}

#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod tests;
