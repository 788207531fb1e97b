//! The HTTP client that object_store is given: hyper and rustls, which are smaller to build than the client it would bring
//! itself, with a bound for every wait.

use async_trait::async_trait;
use http_body_util::BodyExt;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use std::error::Error;
use std::io;
use std::time::Duration;
use tower_http::timeout::TimeoutBody;

const CONNECT_MAX: Duration = Duration::from_secs(3);

/// From the last byte of a request to the head of its answer; also the longest silence within an answer.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The slowest upload that is waited for, in bytes a second.
const UPLOAD_MIN: usize = 128 << 10;

const IDLE_CONNECTIONS_MAX: usize = 8;

#[derive(Debug)]
pub struct Connector {
    /// Whether the endpoint is `https`; without it the machine needs no certificates.
    pub tls: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        tcp.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30)).pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        if !self.tls {
            return Ok(HttpClient::new(Service::Plain(builder.build(tcp))));
        }
        tcp.enforce_http(false);
        // Certificates of the machine, so that a company's own authority counts, too; SSL_CERT_FILE names others.
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots();
        let https = https.map_err(|source| object_store::Error::Generic { store: "S3", source: Box::new(source) })?;
        Ok(HttpClient::new(Service::Tls(builder.build(https.https_only().enable_http1().wrap_connector(tcp)))))
    }
}

#[derive(Debug)]
enum Service {
    Plain(Client<TcpConnector, HttpRequestBody>),
    Tls(Client<HttpsConnector<TcpConnector>, HttpRequestBody>),
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sending = Duration::from_secs((request.body().content_length() / UPLOAD_MIN) as u64);
        let answer = match self {
            Service::Plain(client) => client.request(request),
            Service::Tls(client) => client.request(request),
        };
        let answer = tokio::time::timeout(SILENCE_MAX + sending, answer).await;
        let answer = answer.map_err(|e| HttpError::new(HttpErrorKind::Timeout, e))?;
        let (head, body) = answer.map_err(|e| HttpError::new(kind_of(&e), e))?.into_parts();
        let body = TimeoutBody::new(SILENCE_MAX, body).map_err(|e| HttpError::new(kind_of(e.as_ref()), Broken(e)));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// An answer that ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(#[source] Box<dyn Error + Send + Sync>);

/// What object_store retries by: every failure of the connection is one of the first four kinds.
fn kind_of(error: &(dyn Error + 'static)) -> HttpErrorKind {
    if error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect) {
        return HttpErrorKind::Connect;
    }
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<hyper::Error>() {
            if cause.is_timeout() {
                return HttpErrorKind::Timeout;
            }
            if cause.is_closed() || cause.is_incomplete_message() || cause.is_body_write_aborted() {
                return HttpErrorKind::Request;
            }
        }
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return if cause.kind() == io::ErrorKind::TimedOut { HttpErrorKind::Timeout } else { HttpErrorKind::Interrupted };
        }
        if cause.is::<tower_http::timeout::TimeoutError>() {
            return HttpErrorKind::Timeout;
        }
        source = cause.source();
    }
    HttpErrorKind::Request
}
