//! `tempopb.StreamingQuerier`: the queries of the HTTP API over gRPC, on the same port (contracts/tempo.md 2).
//!
//! A call is answered by its complete result, in messages of about a mebibyte, after which the stream ends. There are no
//! intermediate results: the plugin keeps the first version of a trace that it saw.

mod messages;
mod methods;
mod packets;

use super::Api;
use super::error::ApiError;
use crate::web::text_response;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, ServerStreamingService};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// A request holds one query, which is bounded itself.
const REQUEST_MAX_BYTES: usize = 1 << 20;

/// One call of any method of the service.
pub async fn call(State(api): State<Api>, Path(method): Path<String>, request: Request) -> Response {
    let is_grpc = |v: &http::HeaderValue| v.as_bytes().starts_with(b"application/grpc");
    if !request.headers().get(header::CONTENT_TYPE).is_some_and(is_grpc) {
        return text_response(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this path takes gRPC\n");
    }
    match method.as_str() {
        "Search" => stream(api, request, methods::search).await,
        "SearchTags" => stream(api, request, methods::tags).await,
        "SearchTagsV2" => stream(api, request, methods::tags_v2).await,
        "SearchTagValues" => stream(api, request, methods::values).await,
        "SearchTagValuesV2" => stream(api, request, methods::values_v2).await,
        "MetricsQueryRange" => stream(api, request, methods::query_range).await,
        "MetricsQueryInstant" => stream(api, request, methods::query_instant).await,
        _ => Status::unimplemented(format!("unknown method {method} for service tempopb.StreamingQuerier")).into_http(),
    }
}

/// Reads one message, runs `method`, and sends what it gives. A call that its client cancels is dropped, and with it the
/// query.
async fn stream<R, M, F, A>(api: Api, request: Request, method: F) -> Response
where
    R: Message + Default + 'static,
    M: Message + Default + 'static,
    F: Fn(Api, R, HeaderMap) -> A,
    A: Future<Output = Result<Vec<M>, ApiError>> + Send + 'static,
{
    Grpc::new(ProstCodec::<M, R>::default())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REQUEST_MAX_BYTES)
        .server_streaming(Method { api, method }, request)
        .await
        .map(axum::body::Body::new)
}

struct Method<F> {
    api: Api,
    method: F,
}

type Messages<M> = tokio_stream::Iter<std::vec::IntoIter<Result<M, Status>>>;

impl<R, M, F, A> ServerStreamingService<R> for Method<F>
where
    M: Send + 'static,
    F: Fn(Api, R, HeaderMap) -> A,
    A: Future<Output = Result<Vec<M>, ApiError>> + Send + 'static,
{
    type Response = M;
    type ResponseStream = Messages<M>;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Messages<M>>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<R>) -> Self::Future {
        let (metadata, _, asked) = request.into_parts();
        let answer = (self.method)(self.api.clone(), asked, metadata.into_headers());
        Box::pin(async move {
            let messages: Vec<Result<M, Status>> = answer.await.map_err(status)?.into_iter().map(Ok).collect();
            Ok(tonic::Response::new(tokio_stream::iter(messages)))
        })
    }
}

/// contracts/tempo.md 1.1; not being ready yet passes, which gRPC has a code for.
fn status(error: ApiError) -> Status {
    let code = match error.status.as_u16() {
        401 => Code::Unauthenticated,
        404 => Code::NotFound,
        413 | 422 | 429 => Code::ResourceExhausted,
        499 => Code::Cancelled,
        503 => Code::Unavailable,
        400..=498 => Code::InvalidArgument,
        _ => Code::Internal,
    };
    Status::new(code, error.message)
}

/// How long the caller of a gRPC method waits: digits and a unit (gRPC over HTTP/2, `grpc-timeout`). One that is malformed
/// counts as none.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_units() {
        let of = |text: &str| timeout(&HeaderMap::from_iter([(header::HeaderName::from_static("grpc-timeout"), text.parse().unwrap())]));
        assert_eq!(
            (of("5S"), of("250m"), of("99999999H")),
            (Some(Duration::from_secs(5)), Some(Duration::from_millis(250)), Some(Duration::from_secs(99_999_999 * 3600)))
        );
        for bad in ["", "S", "1", "123456789S", "1x", "-1S", "1\u{e9}"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
