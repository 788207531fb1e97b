//! Requests become spans: OTLP's with every field kept, Zipkin's and Jaeger's as OTLP first. The write-ahead log has the bytes
//! of each as they came, so that replay runs the same translation.

mod foreign;
mod jaeger;
#[cfg(test)]
mod reference;
mod size;
mod span;
mod translate;
mod zipkin;

use crate::ingest::{Plain, otlp_json_to_protobuf};
use crate::model::{Failure, Signal};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use std::borrow::Cow;
use std::fmt;

pub use size::encoded_len;
pub use span::{read_as_sent, read_span};
pub use translate::{Incoming, Translated};

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

/// A decompressed body as the bytes of an `ExportTraceServiceRequest`.
pub fn otlp_bytes<'a>(kind: Kind, body: impl Into<Plain<'a>>) -> Result<Cow<'a, [u8]>, Failure> {
    let body = body.into();
    let bad = |name: &str, e: &dyn fmt::Display| Failure::invalid(format!("cannot decode {name} spans: {e}"));
    let other = |name: &str, decoded: Result<ExportTraceServiceRequest, String>| match decoded {
        Ok(request) => {
            body.check_for(request.encoded_len()).map_err(|e| bad(name, &e))?;
            Ok(Cow::Owned(request.encode_to_vec()))
        }
        Err(e) => Err(bad(name, &e)),
    };
    match kind {
        Kind::OtlpProtobuf => Ok(Cow::Borrowed(body.bytes())),
        Kind::OtlpJson => Ok(Cow::Owned(otlp_json_to_protobuf(Signal::Traces, body)?.into())),
        Kind::ZipkinJson => other("Zipkin", zipkin::json(body)),
        Kind::ZipkinProtobuf => other("Zipkin", zipkin::protobuf(body)),
        Kind::JaegerThrift => other("Jaeger", jaeger::thrift(body)),
        Kind::JaegerProtobuf => other("Jaeger", jaeger::protobuf(body)),
    }
}

/// The spans of an `ExportTraceServiceRequest`. Fails only for a body that cannot be decoded at all.
pub fn translate<'a>(body: impl Into<Plain<'a>>, value_max: usize) -> Result<Translated<'a>, Failure> {
    translate::translate(body.into(), value_max).map_err(|e| Failure::invalid(format!("cannot decode OTLP traces: {e}")))
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod foreign_tests;
#[cfg(test)]
mod tests;
