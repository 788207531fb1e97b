//! A request's body in the form and compression that its target takes.

use super::config::{Compression, Protocol, Target};
use crate::ingest::{Encoding, Limits, otlp_json_to_protobuf};
use crate::model::Signal;
use crate::web::{Export, OtlpFormat};
use bytes::Bytes;
use http::HeaderValue;
use std::io::Write as _;
use tokio::sync::Semaphore;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    pub format: OtlpFormat,
    /// Name of the compression, where there is one.
    pub encoding: Option<&'static str>,
    pub via: Option<HeaderValue>,
    pub body: Bytes,
}

/// What has to be done with a body before it can go.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    from: Encoding,
    is_json: bool,
    to: Encoding,
}

/// As it came, wherever the target takes that; else unpacked, changed and packed again, which is done for one request at a
/// time: it takes up to [`Limits::decoded_max_bytes`] for a moment. Fails for what cannot be read.
pub(super) async fn pack(target: &Target, export: &Export, turn: &Semaphore) -> Result<Packed, String> {
    let from = encoding(export)?;
    let is_json = export.format == OtlpFormat::Json && target.protocol != Protocol::Http;
    let to = wanted(target, from, is_json);
    let format = if is_json { OtlpFormat::Protobuf } else { export.format };
    let via = export.via.clone();
    if !is_json && from == to {
        return Ok(Packed { format, encoding: name(to), via, body: export.body.clone() });
    }
    let _turn = turn.acquire().await;
    let (change, signal, body) = (Change { from, is_json, to }, target.signal, export.body.clone());
    let changed = tokio::task::spawn_blocking(move || change.of(signal, &body)).await.map_err(|e| e.to_string())??;
    Ok(Packed { format, encoding: name(to), via, body: changed })
}

/// Loki's OTLP route takes LZ4 as well.
fn encoding(export: &Export) -> Result<Encoding, String> {
    match export.encoding.as_deref() {
        Some("lz4") => Ok(Encoding::Lz4),
        said => Encoding::parse(said).map_err(|e| e.message),
    }
}

fn wanted(target: &Target, from: Encoding, is_json: bool) -> Encoding {
    match (target.compression, from) {
        (Some(Compression::Gzip), _) => Encoding::Gzip,
        (Some(Compression::None), _) | (None, Encoding::Identity) => Encoding::Identity,
        // What others than gzip are called, and are, is not the same everywhere in gRPC.
        (None, Encoding::Zstd) if !is_json => Encoding::Zstd,
        (None, _) if is_json || target.protocol == Protocol::Grpc => Encoding::Gzip,
        (None, other) => other,
    }
}

fn name(encoding: Encoding) -> Option<&'static str> {
    match encoding {
        Encoding::Identity | Encoding::SnappyBlock => None,
        Encoding::Gzip => Some("gzip"),
        Encoding::Zstd => Some("zstd"),
        Encoding::Deflate => Some("deflate"),
        Encoding::Lz4 => Some("lz4"),
    }
}

impl Change {
    fn of(&self, signal: Signal, body: &Bytes) -> Result<Bytes, String> {
        let mut plain = self.from.decode(body, Limits::default().decoded_max_bytes).map_err(|e| e.message)?;
        if self.is_json {
            plain = otlp_json_to_protobuf(signal, &plain).map_err(|e| e.message)?;
        }
        if self.to == Encoding::Identity {
            return Ok(plain);
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let packed = gzip.write_all(&plain).and_then(|()| gzip.finish());
        packed.map(Bytes::from).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn target(protocol: &str, compression: &str) -> Target {
        let variables = [("ENDPOINT", "http://v:1"), ("PROTOCOL", protocol), ("COMPRESSION", compression)];
        let variables: BTreeMap<_, _> = variables.map(|(name, said)| (format!("OTEL_EXPORTER_OTLP_LOGS_{name}"), said.to_owned())).into();
        super::super::Config::read(&variables, &mut Vec::new(), &mut Vec::new()).targets.remove(0)
    }

    fn packed(target: &Target, format: OtlpFormat, encoding: &str, body: &[u8]) -> Result<Packed, String> {
        let encoding = Some(encoding.to_owned()).filter(|name| !name.is_empty());
        let export = Export { format, encoding, via: None, body: Bytes::copy_from_slice(body) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(pack(target, &export, &Semaphore::new(1)))
    }

    fn gzip(plain: &[u8]) -> Bytes {
        Change { from: Encoding::Identity, is_json: false, to: Encoding::Gzip }.of(Signal::Logs, &Bytes::copy_from_slice(plain)).unwrap()
    }

    #[test]
    fn what_the_target_takes_goes_as_it_came() {
        use OtlpFormat::{Json, Protobuf};
        for (protocol, format, encoding) in
            [("", Json, "deflate"), ("", Json, "gzip"), ("", Protobuf, "lz4"), ("http/json", Json, ""), ("http/protobuf", Protobuf, "zstd")]
        {
            let sent = packed(&target(protocol, ""), format, encoding, b"as it came").unwrap();
            assert_eq!((sent.format, sent.encoding.unwrap_or(""), &sent.body[..]), (format, encoding, &b"as it came"[..]));
        }
        for encoding in ["", "gzip", "zstd"] {
            let sent = packed(&target("grpc", ""), Protobuf, encoding, b"as it came").unwrap();
            assert_eq!((sent.encoding.unwrap_or(""), &sent.body[..]), (encoding, &b"as it came"[..]));
        }
    }

    #[test]
    fn the_rest_is_changed_to_what_it_takes() {
        use OtlpFormat::{Json, Protobuf};
        let json = br#"{"resourceLogs":[{"schemaUrl":"u"}]}"#;
        // Field 1 of the request, which has in it field 3 of `ResourceLogs`.
        let protobuf = b"\x0a\x03\x1a\x01u";
        for protocol in ["grpc", "http/protobuf"] {
            let plain = packed(&target(protocol, ""), Json, "", json).unwrap();
            assert_eq!((plain.format, plain.encoding, &plain.body[..]), (Protobuf, None, &protobuf[..]));
            let small = packed(&target(protocol, ""), Json, "gzip", &gzip(json)).unwrap();
            assert_eq!((small.format, small.encoding, small.body), (Protobuf, Some("gzip"), gzip(protobuf)));
        }
        let unpacked = packed(&target("", "none"), Protobuf, "gzip", &gzip(b"plain")).unwrap();
        assert_eq!((unpacked.encoding, &unpacked.body[..]), (None, &b"plain"[..]));
        let small = packed(&target("grpc", "gzip"), Protobuf, "", b"plain").unwrap();
        assert_eq!((small.encoding, small.body), (Some("gzip"), gzip(b"plain")));
        assert!(packed(&target("grpc", ""), Json, "", b"{").unwrap_err().contains("OTLP/JSON"));
    }

    proptest! {
        #[test]
        fn no_body_is_too_strange(body in proptest::collection::vec(any::<u8>(), 0..100), encoding in "(|gzip|zstd|deflate|lz4|x)", json in any::<bool>()) {
            let format = if json { OtlpFormat::Json } else { OtlpFormat::Protobuf };
            for (protocol, compression) in [("grpc", ""), ("grpc", "gzip"), ("http/protobuf", "none"), ("", "gzip")] {
                let _ = packed(&target(protocol, compression), format, &encoding, &body);
            }
        }
    }
}
