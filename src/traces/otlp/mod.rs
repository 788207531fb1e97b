//! OTLP traces become spans, with every field kept.

mod translate;

use crate::ingest::otlp_json_to_protobuf;
use crate::model::{Failure, Signal};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

pub use translate::{Translated, translate};

/// What a frame of the traces lane holds. Stored, so the numbers never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    OtlpProtobuf = 1,
    OtlpJson = 2,
}

impl Kind {
    pub fn from_stored(number: u8) -> Option<Kind> {
        [Kind::OtlpProtobuf, Kind::OtlpJson].into_iter().find(|k| *k as u8 == number)
    }
}

/// The request of a decompressed body. Fails only for a body that cannot be decoded at all.
pub fn decode(kind: Kind, body: &[u8]) -> Result<ExportTraceServiceRequest, Failure> {
    let decoded = match kind {
        Kind::OtlpProtobuf => ExportTraceServiceRequest::decode(body),
        Kind::OtlpJson => ExportTraceServiceRequest::decode(otlp_json_to_protobuf(Signal::Traces, body)?),
    };
    decoded.map_err(|e| Failure::invalid(format!("cannot decode OTLP traces: {e}")))
}

#[cfg(test)]
mod tests;
