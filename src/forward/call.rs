//! One try to send a request, over HTTP or gRPC, and what the answer to it means.
//!
//! Which answers are worth another try, and how long to wait for it: opentelemetry-proto `docs/specification.md`, "OTLP/HTTP
//! Response" and "OTLP/gRPC Response". How a unary call looks: gRPC over HTTP2, `PROTOCOL-HTTP2.md` and
//! `http-grpc-status-mapping.md`.

use super::config::{Protocol, Target};
use super::packed::Packed;
use crate::runtime::Clock;
use crate::web::{HttpClient, HttpVersion, OtlpFormat, cause, framed, http_client, retry_delay};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use std::sync::Arc;
use std::time::Duration;

/// Of an answer, which is read so that its connection can be used again.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// What came of one try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tried {
    Sent,
    /// And perhaps when to come again.
    Later(String, Option<Duration>),
    Refused(String),
}

/// How one target is called.
pub(super) struct Caller {
    client: HttpClient<Full<Bytes>>,
    target: Target,
    /// Of every request.
    headers: HeaderMap,
    /// The value of `Via` for what goes from here.
    name: String,
    clock: Arc<dyn Clock>,
}

/// The head of an answer, with the trailers among its headers, and the beginning of its body.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Caller {
    /// Fails for certificates that cannot be read.
    pub fn new(target: Target, name: &str, clock: Arc<dyn Clock>) -> Result<Caller, String> {
        let version = if target.protocol == Protocol::Grpc { HttpVersion::Http2 } else { HttpVersion::Http1 };
        let client = http_client(&target.tls, version).map_err(|e| format!("OTEL_EXPORTER_OTLP_…CERTIFICATE or …KEY: {e}"))?;
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("monocle/", env!("CARGO_PKG_VERSION"))));
        if target.protocol == Protocol::Grpc {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            headers.insert("grpc-timeout", grpc_timeout(target.timeout));
        }
        headers.extend(target.headers.clone());
        Ok(Caller { client, target, headers, name: name.to_owned(), clock })
    }

    pub async fn call(&self, packed: &Packed) -> Tried {
        let request = match self.request(packed) {
            Ok(request) => request,
            Err(error) => return Tried::Refused(error.to_string()),
        };
        let answered = match tokio::time::timeout(self.target.timeout, self.answer(request)).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(why)) => return Tried::Later(why, None),
            Err(_) => return Tried::Later(format!("no answer in {:?}", self.target.timeout), None),
        };
        match (answered.status, self.target.protocol) {
            (StatusCode::OK, Protocol::Grpc) => grpc_outcome(&answered.headers),
            (status, _) if status.is_success() => Tried::Sent,
            (
                StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT,
                _,
            ) => Tried::Later(format!("it answers {}", answered.status), retry_after(&answered.headers, self.clock.now())),
            (status, _) => Tried::Refused(format!("it answers {status}{}", said(&answered.body))),
        }
    }

    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Answered, String> {
        let (head, body) = self.client.request(request).await.map_err(|e| cause(&e))?.into_parts();
        let (status, mut headers) = (head.status, head.headers);
        let body = match Limited::new(body, ANSWER_MAX_BYTES).collect().await {
            Ok(whole) => {
                headers.extend(whole.trailers().cloned().unwrap_or_default());
                whole.to_bytes()
            }
            Err(_) => Bytes::new(),
        };
        Ok(Answered { status, headers, body })
    }

    fn request(&self, packed: &Packed) -> Result<Request<Full<Bytes>>, http::Error> {
        let is_grpc = self.target.protocol == Protocol::Grpc;
        let body = if is_grpc { framed(packed.encoding.is_some(), &packed.body) } else { packed.body.clone() };
        let mut request = Request::post(self.target.url.as_str()).body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        let kind = match packed.format {
            _ if is_grpc => "application/grpc+proto",
            OtlpFormat::Protobuf => "application/x-protobuf",
            OtlpFormat::Json => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(encoding) = packed.encoding {
            let name = if is_grpc { header::HeaderName::from_static("grpc-encoding") } else { header::CONTENT_ENCODING };
            headers.insert(name, HeaderValue::from_static(encoding));
        }
        let before = packed.via.as_ref().and_then(|via| via.to_str().ok()).map_or_else(String::new, |via| format!("{via}, "));
        let version = if is_grpc { "2" } else { "1.1" };
        headers.insert(header::VIA, HeaderValue::from_str(&format!("{before}{version} {}", self.name))?);
        Ok(request)
    }
}

/// At most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let text = match timeout.as_millis() {
        milliseconds if milliseconds <= DIGITS_MAX => format!("{milliseconds}m"),
        milliseconds => format!("{}S", (milliseconds / 1_000).min(DIGITS_MAX)),
    };
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("10S"))
}

/// Names of gRPC's status codes, from 0 on.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn grpc_outcome(headers: &HeaderMap) -> Tried {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| CODES.get(code.parse::<usize>().ok()?)).copied() else {
        return Tried::Later("its answer has no status of gRPC".to_owned(), None);
    };
    let message = percent_encoding::percent_decode_str(text("grpc-message").unwrap_or_default()).collect::<Vec<u8>>();
    let why = format!("it answers {code}{}", said(&message.into()));
    let delay = text("grpc-status-details-bin").and_then(retry_delay);
    match code {
        "OK" => Tried::Sent,
        "CANCELLED" | "DEADLINE_EXCEEDED" | "ABORTED" | "OUT_OF_RANGE" | "UNAVAILABLE" | "DATA_LOSS" => Tried::Later(why, delay),
        // Only where it says that it will recover.
        "RESOURCE_EXHAUSTED" if delay.is_some() => Tried::Later(why, delay),
        _ => Tried::Refused(why),
    }
}

/// The beginning of what it says, if it is text.
fn said(body: &Bytes) -> String {
    const SHOWN_MAX: usize = 200;
    match std::str::from_utf8(body) {
        Ok(text) if !text.is_empty() && !text.contains('\0') => format!(": {}", text.chars().take(SHOWN_MAX).collect::<String>()),
        _ => String::new(),
    }
}

/// `Retry-After`: seconds, or a date of HTTP. `now` is in nanoseconds since the epoch.
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let said = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = said.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = chrono::DateTime::parse_from_rfc2822(said).ok()?.timestamp_nanos_opt()?;
    Some(Duration::from_nanos(u64::try_from(date.saturating_sub(now)).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_is_asked_for_is_kept() {
        let after = |said: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(said))]);
            retry_after(&headers, 1_773_144_000_000_000_000)
        };
        assert_eq!(after("17"), Some(Duration::from_secs(17)));
        assert_eq!(after("Tue, 10 Mar 2026 12:00:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(after("Tue, 10 Mar 2026 11:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!((after("soon"), after("-1")), (None, None));
    }

    #[test]
    fn of_an_answer_text_is_shown_and_nothing_else() {
        assert_eq!(said(&Bytes::from_static(b"no such key")), ": no such key");
        assert_eq!(said(&Bytes::from_static(b"\xff\xfe")) + &said(&Bytes::new()), "");
    }

    #[test]
    fn codes_of_grpc_say_whether_to_come_again() {
        let outcome = |headers: &[(&'static str, &'static str)]| {
            grpc_outcome(&headers.iter().map(|(n, v)| (header::HeaderName::from_static(n), HeaderValue::from_static(v))).collect())
        };
        assert_eq!(outcome(&[("grpc-status", "0")]), Tried::Sent);
        assert_eq!(outcome(&[("grpc-status", "14")]), Tried::Later("it answers UNAVAILABLE".into(), None));
        assert_eq!(
            outcome(&[("grpc-status", "16"), ("grpc-message", "no%20such key")]),
            Tried::Refused("it answers UNAUTHENTICATED: no such key".into())
        );
        assert_eq!(outcome(&[("grpc-status", "8")]), Tried::Refused("it answers RESOURCE_EXHAUSTED".into()));
        for broken in [&[][..], &[("grpc-status", "17")], &[("grpc-status", "x")]] {
            assert!(matches!(outcome(broken), Tried::Later(_, None)));
        }
    }

    #[test]
    fn a_timeout_has_eight_digits_at_most() {
        assert_eq!(grpc_timeout(Duration::from_millis(2_500)), "2500m");
        assert_eq!(grpc_timeout(Duration::from_secs(100_000)), "100000S");
    }
}
