//! OTLP's request and response forms over HTTP and gRPC, which are the same for all signals.
//!
//! gRPC is a small unary handler of our own: 5-byte frame, `grpc-encoding`, trailers. A generated service would
//! decompress and decode before we see the bytes, and the WAL wants them as they came (decisions 12).
//! Sources: opentelemetry-proto `docs/specification.md`, gRPC over HTTP2.

use super::body::read_body;
use super::status::{grpc_code, http_status};
use super::tap::{Export, Tap};
use crate::model::{Failure, FailureKind};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpFormat {
    Protobuf,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Http,
    Grpc,
}

/// An export request as it came: the body is not decompressed yet.
#[derive(Debug)]
pub struct OtlpRequest {
    pub format: OtlpFormat,
    /// Name of the compression, from `Content-Encoding` or `grpc-encoding`.
    pub encoding: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
    reply: Reply,
}

/// How to answer.
#[derive(Debug, Clone, Copy)]
struct Reply {
    transport: Transport,
    format: OtlpFormat,
}

/// Items that were refused while the rest was stored: `partial_success`.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// The JSON name of the count, such as `rejectedSpans`; in protobuf it is field 1 for every signal.
    pub field: &'static str,
    pub count: u64,
    pub message: String,
}

impl OtlpRequest {
    /// Reads a request, HTTP or gRPC by its content type. The error is the response to send.
    pub async fn read(request: Request, max: usize) -> Result<OtlpRequest, Response> {
        let (parts, body) = request.into_parts();
        let tap = parts.extensions.get::<Tap>();
        let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
        let media = text("content-type").unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        if media.starts_with("application/grpc") {
            let reply = Reply { transport: Transport::Grpc, format: OtlpFormat::Protobuf };
            let framed = read_body(body, max.saturating_add(5)).await.map_err(|f| reply.failure(&f))?;
            let (compressed, body) = unframe(framed).map_err(|f| reply.failure(&f))?;
            let encoding = if compressed { text("grpc-encoding").map(str::to_owned) } else { None };
            return Ok(OtlpRequest { format: reply.format, encoding, headers: parts.headers, body, reply }.shown(tap));
        }
        let format = match media.as_str() {
            "application/x-protobuf" | "application/protobuf" => OtlpFormat::Protobuf,
            "application/json" => OtlpFormat::Json,
            _ => {
                let reply = Reply { transport: Transport::Http, format: OtlpFormat::Json };
                let message = format!("unsupported content type {media:?}: application/x-protobuf and application/json are supported");
                return Err(reply.failure(&Failure::new(FailureKind::UnsupportedMedia, message)));
            }
        };
        let reply = Reply { transport: Transport::Http, format };
        let encoding = text("content-encoding").map(str::to_owned);
        let body = read_body(body, max).await.map_err(|f| reply.failure(&f))?;
        Ok(OtlpRequest { format, encoding, headers: parts.headers, body, reply }.shown(tap))
    }

    fn shown(self, tap: Option<&Tap>) -> OtlpRequest {
        if let Some(tap) = tap {
            let via = self.headers.get(header::VIA).cloned();
            tap.fill(Export { format: self.format, encoding: self.encoding.clone(), via, body: self.body.clone() });
        }
        self
    }

    /// A function that answers this request, to be taken before the body is given away.
    pub fn responder(&self) -> impl Fn(Result<Option<Rejected>, Failure>) -> Response + Send + 'static {
        let reply = self.reply;
        move |result| match result {
            Ok(rejected) => reply.success(rejected),
            Err(failure) => reply.failure(&failure),
        }
    }
}

/// The one message of a unary call: a flag byte, a length, the message.
fn unframe(framed: Bytes) -> Result<(bool, Bytes), Failure> {
    let bad = || Failure::invalid("malformed gRPC message frame");
    let head = framed.get(..5).ok_or_else(bad)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] > 1 || framed.len() != 5 + length {
        return Err(bad());
    }
    Ok((head[0] == 1, framed.slice(5..)))
}

/// A message in its frame, of which the flag says whether the message is compressed.
pub fn framed(compressed: bool, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(compressed.into());
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// `Export*ServiceResponse`: the same on the wire for the three signals.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// An encoded `google.rpc.Status` that has a message and nothing else.
pub fn rpc_status(message: String) -> Bytes {
    Status { message, ..Status::default() }.encode_to_vec().into()
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Reply {
    fn success(self, rejected: Option<Rejected>) -> Response {
        let body = match (self.format, rejected) {
            (OtlpFormat::Json, None) => Bytes::from_static(b"{}"),
            (OtlpFormat::Json, Some(r)) => {
                let partial = serde_json::json!({ "partialSuccess": { (r.field): r.count.to_string(), "errorMessage": r.message } });
                partial.to_string().into()
            }
            (OtlpFormat::Protobuf, rejected) => {
                let partial_success = rejected.map(|r| PartialSuccess { rejected: r.count.cast_signed(), error_message: r.message });
                ExportResponse { partial_success }.encode_to_vec().into()
            }
        };
        match self.transport {
            Transport::Http => self.http(StatusCode::OK, body),
            Transport::Grpc => grpc_message(&body),
        }
    }

    fn failure(self, failure: &Failure) -> Response {
        let mut status = Status { code: grpc_code(failure.kind), message: failure.message.clone(), details: Vec::new() };
        if let Some(delay) = failure.retry_after {
            status.details.push(retry_info(delay));
        }
        if self.transport == Transport::Grpc {
            return grpc_status(&status);
        }
        let body = match self.format {
            OtlpFormat::Protobuf => status.encode_to_vec().into(),
            OtlpFormat::Json => serde_json::json!({ "code": status.code, "message": status.message }).to_string().into(),
        };
        let mut response = self.http(http_status(failure.kind), body);
        if let Some(delay) = failure.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs().max(1)));
        }
        response
    }

    fn http(self, status: StatusCode, body: Bytes) -> Response {
        let content_type = match self.format {
            OtlpFormat::Protobuf => "application/x-protobuf",
            OtlpFormat::Json => "application/json",
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }
}

fn retry_info(delay: Duration) -> Any {
    let delay = Delay { seconds: delay.as_secs().cast_signed(), nanos: delay.subsec_nanos().cast_signed() };
    let value = RetryInfo { retry_delay: Some(delay) }.encode_to_vec();
    Any { type_url: RETRY_INFO.into(), value }
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// When to come again, from the value of `grpc-status-details-bin`. None if it says nothing of that, or is not what it has to be.
pub fn retry_delay(details: &str) -> Option<Duration> {
    let bytes = base64::engine::general_purpose::STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?;
    let status = Status::decode(&bytes[..]).ok()?;
    let info = status.details.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&info.value[..]).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?))
}

fn grpc_response(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn grpc_message(message: &[u8]) -> Response {
    let trailers = HeaderMap::from_iter([(header::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(framed(false, message)).with_trailers(async move { Some(Ok(trailers)) });
    grpc_response(Body::new(body))
}

/// Trailers only: the status stands in the headers.
fn grpc_status(status: &Status) -> Response {
    let mut response = grpc_response(Body::empty());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(status.code));
    let message = percent_encoding::utf8_percent_encode(&status.message, GRPC_MESSAGE).to_string();
    if let Ok(value) = HeaderValue::from_str(&message) {
        headers.insert("grpc-message", value);
    }
    let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(status.encode_to_vec());
    if let Ok(value) = HeaderValue::from_str(&details) {
        headers.insert("grpc-status-details-bin", value);
    }
    response
}

/// gRPC percent-encodes everything in `grpc-message` but printable ASCII, and the percent sign.
const GRPC_MESSAGE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_must_be_whole() {
        assert_eq!(unframe(Bytes::from_static(b"\x01\0\0\0\x02hi")).unwrap(), (true, Bytes::from_static(b"hi")));
        for bad in [&b""[..], b"\0\0\0\0\x02h", b"\0\0\0\0\x01hi", b"\x02\0\0\0\0"] {
            assert!(unframe(Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_retryable_grpc_failure_carries_retry_info() {
        let reply = Reply { transport: Transport::Grpc, format: OtlpFormat::Protobuf };
        let response =
            reply.failure(&Failure { retry_after: Some(Duration::from_secs(5)), ..Failure::new(FailureKind::RateLimited, "50% é") });
        assert_eq!(response.headers()["grpc-status"], "8");
        assert_eq!(response.headers()["grpc-message"], "50%25 %C3%A9");
        let details = response.headers()["grpc-status-details-bin"].to_str().unwrap();
        assert_eq!(retry_delay(details), Some(Duration::from_secs(5)));
        assert_eq!(retry_delay(&format!("{details}==")), Some(Duration::from_secs(5)));
        assert_eq!((retry_delay(""), retry_delay("%"), retry_delay("AAAA")), (None, None, None));
    }

    #[test]
    fn http_failures_say_when_to_retry() {
        let reply = Reply { transport: Transport::Http, format: OtlpFormat::Json };
        let response = reply.failure(&Failure::unavailable("starting"));
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &HeaderValue::from(1)));
    }
}
