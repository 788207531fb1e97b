//! OTLP traces become spans, with every field kept. JSON is first brought into the protobuf's types, so that there is one
//! translation.

mod json;
mod translate;

use crate::model::Failure;
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
    match kind {
        Kind::OtlpProtobuf => {
            ExportTraceServiceRequest::decode(body).map_err(|e| Failure::invalid(format!("cannot decode OTLP traces: {e}")))
        }
        Kind::OtlpJson => json::decode(body).map_err(|e| Failure::invalid(format!("cannot decode OTLP traces: {e}"))),
    }
}

#[cfg(test)]
mod tests;
