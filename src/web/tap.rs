//! Export requests as they came, for whoever sends them on.

use super::otlp::OtlpFormat;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use bytes::Bytes;
use http::{Extensions, HeaderValue, StatusCode};
use parking_lot::Mutex;
use std::sync::Arc;

/// An export request that was accepted, with its body as it came: compressed, if the sender compressed it.
#[derive(Debug, Clone)]
pub struct Export {
    pub format: OtlpFormat,
    /// Name of the compression, from `Content-Encoding` or `grpc-encoding`.
    pub encoding: Option<String>,
    /// Who sent it on before (RFC 9110, 7.6.3).
    pub via: Option<HeaderValue>,
    pub body: Bytes,
}

/// Where a request is left for whoever sends it on; in the extensions of each request to a [`tapped`] router.
#[derive(Clone, Default)]
pub struct Tap(Arc<Mutex<Option<(Export, Settled)>>>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Settled {
    /// The status of the answer says whether it was accepted.
    ByAnswer,
    Accepted,
}

impl Tap {
    pub fn of(extensions: &Extensions) -> Option<Tap> {
        extensions.get().cloned()
    }

    /// Left by [`OtlpRequest::read`](super::OtlpRequest::read), before anybody knows what becomes of it.
    pub(super) fn fill(&self, export: Export) {
        *self.0.lock() = Some((export, Settled::ByAnswer));
    }

    /// `export` was accepted, in part or whole, whatever is answered: some protocols have a failure for a part.
    pub fn accepted(&self, export: Export) {
        *self.0.lock() = Some((export, Settled::Accepted));
    }
}

/// `router`, with `accepted` called for every export request that was accepted, in part or whole.
pub fn tapped(router: Router, accepted: impl Fn(Export) + Clone + Send + Sync + 'static) -> Router {
    router.layer(from_fn(move |mut request: Request, next: Next| {
        let (tap, accepted) = (Tap::default(), accepted.clone());
        request.extensions_mut().insert(tap.clone());
        async move {
            let response = next.run(request).await;
            // A failure of gRPC stands in the headers; a success has it in the trailers.
            let failed = response.headers().get("grpc-status").is_some_and(|status| status != "0");
            let answered_ok = response.status() == StatusCode::OK && !failed;
            if let Some((export, settled)) = tap.0.lock().take()
                && (answered_ok || settled == Settled::Accepted)
            {
                accepted(export);
            }
            response
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::super::OtlpRequest;
    use super::*;
    use crate::model::Failure;
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::post;
    use tower::ServiceExt;

    async fn export(request: Request) -> Response {
        let request = OtlpRequest::read(request, 100).await.unwrap_or_else(|_| panic!("readable"));
        let respond = request.responder();
        respond(if request.body.starts_with(b"bad") { Err(Failure::invalid("bad")) } else { Ok(None) })
    }

    #[tokio::test]
    async fn what_was_accepted_is_handed_over_as_it_came() {
        let seen: Arc<Mutex<Vec<Export>>> = Arc::default();
        let taken = seen.clone();
        let router = tapped(Router::new().route("/", post(export)), move |export| taken.lock().push(export));
        let send = async |kind: &str, body: &'static [u8]| {
            let request =
                Request::post("/").header("content-type", kind).header("content-encoding", "gzip").header("grpc-encoding", "zstd");
            router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        };
        send("application/grpc", b"\x01\0\0\0\x02hi").await;
        send("application/grpc", b"\0\0\0\0\x03bad").await;
        send("application/json", b"bad").await;
        send("application/json", b"{}").await;
        let seen: Vec<_> = seen.lock().iter().map(|e| (e.format, e.encoding.clone(), e.body.clone())).collect();
        let expected = [(OtlpFormat::Protobuf, "zstd", &b"hi"[..]), (OtlpFormat::Json, "gzip", b"{}")];
        assert_eq!(seen, expected.map(|(format, encoding, body)| (format, Some(encoding.to_owned()), Bytes::from_static(body))));
    }
}
