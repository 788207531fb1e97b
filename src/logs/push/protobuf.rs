//! The protobuf form: a raw snappy block of `logproto.PushRequest` (contracts/loki.md 2.1).

use crate::model::{Failure, FailureKind};
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stream {
    #[prost(string, tag = "1")]
    pub labels: String,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<PushedEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PushedEntry {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub line: String,
    #[prost(message, repeated, tag = "3")]
    pub structured_metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Fails with `TooLarge` before anything is allocated when the block says that it is larger than `max_bytes`.
pub fn decode(body: &[u8], max_bytes: usize) -> Result<PushRequest, Failure> {
    let bad = |e: snap::Error| Failure::invalid(format!("cannot decompress push request: {e}"));
    let length = snap::raw::decompress_len(body).map_err(bad)?;
    if length > max_bytes {
        let message = format!("decompressed message size too large than max ({length} vs {max_bytes})");
        return Err(Failure::new(FailureKind::TooLarge, message));
    }
    let plain = snap::raw::Decoder::new().decompress_vec(body).map_err(bad)?;
    PushRequest::decode(&plain[..]).map_err(|e| Failure::invalid(format!("cannot decode push request: {e}")))
}
