//! The HTTP client that object_store is given: hyper and rustls, which are smaller to build than the client it would bring
//! itself, with a bound for every wait.

use super::bucket::BucketError;
use crate::runtime::read_text;
use async_trait::async_trait;
use http::header::DATE;
use http_body_util::BodyExt;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
};
use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tower_http::timeout::TimeoutBody;

const CONNECT_MAX: Duration = Duration::from_secs(3);

/// From the last byte of a request to the head of its answer; also the longest silence within an answer.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The slowest upload that is waited for, in bytes a second.
const UPLOAD_MIN: usize = 128 << 10;

const IDLE_CONNECTIONS_MAX: usize = 8;

/// What time it is where the bucket is, by the newest `Date` of an answer.
#[derive(Debug, Default)]
pub struct ServerClock(Mutex<Option<(i64, Instant)>>);

impl ServerClock {
    /// `Date` has seconds, and a proxy's may be older.
    fn hear(&self, date: &str) {
        let said = chrono::DateTime::parse_from_rfc2822(date).ok().and_then(|date| date.timestamp_nanos_opt());
        if let Some(said) = said {
            *self.0.lock() = Some((said, Instant::now()));
        }
    }

    /// Nanoseconds since the epoch, to the second; `None` before the first answer that says so.
    pub fn now(&self) -> Option<i64> {
        let heard = *self.0.lock();
        heard.map(|(said, at)| said.saturating_add(i64::try_from(at.elapsed().as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// Whom to believe behind `https`: the machine's authorities, so that a company's own counts, too (SSL_CERT_FILE names others);
/// or those in `bundle` alone, as the AWS command line has it with AWS_CA_BUNDLE.
pub fn trust(bundle: Option<&Path>) -> Result<ClientConfig, BucketError> {
    let failed = |why: String| BucketError::Local(why);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| failed(e.to_string()))?;
    let Some(path) = bundle else {
        let trusting = builder.with_native_roots().map_err(|e| failed(format!("the machine's certificates cannot be read: {e}")))?;
        return Ok(trusting.with_no_client_auth());
    };
    let said = |why: &dyn std::fmt::Display| failed(format!("AWS_CA_BUNDLE: {}: {why}", path.display()));
    let text = read_text(path).map_err(|e| said(&e))?.ok_or_else(|| said(&"it does not exist"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        roots.add(certificate.map_err(|e| said(&e))?).map_err(|e| said(&e))?;
    }
    if roots.is_empty() {
        return Err(said(&"there are no certificates in it"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[derive(Debug)]
pub struct Connector {
    /// For an endpoint that is `https`; without it the machine needs no certificates.
    pub tls: Option<ClientConfig>,
    pub clock: Arc<ServerClock>,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = TcpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_MAX));
        tcp.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(Duration::from_secs(30)).pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
        let client = match &self.tls {
            None => Transport::Plain(builder.build(tcp)),
            Some(tls) => {
                tcp.enforce_http(false);
                // Plain for the keys of a machine's role alone, which are at an address of the machine itself without TLS: what is
                // asked of the bucket has the scheme of its endpoint.
                let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http().enable_http1();
                Transport::Tls(builder.build(https.wrap_connector(tcp)))
            }
        };
        Ok(HttpClient::new(Service { client, clock: self.clock.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    client: Transport,
    clock: Arc<ServerClock>,
}

#[derive(Debug)]
enum Transport {
    Plain(Client<TcpConnector, HttpRequestBody>),
    Tls(Client<HttpsConnector<TcpConnector>, HttpRequestBody>),
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sending = Duration::from_secs((request.body().content_length() / UPLOAD_MIN) as u64);
        let answer = match &self.client {
            Transport::Plain(client) => client.request(request),
            Transport::Tls(client) => client.request(request),
        };
        let answer = tokio::time::timeout(SILENCE_MAX + sending, answer).await;
        let answer = answer.map_err(|e| HttpError::new(HttpErrorKind::Timeout, e))?;
        let (head, body) = answer.map_err(|e| HttpError::new(kind_of(&e), e))?.into_parts();
        if let Some(date) = head.headers.get(DATE).and_then(|date| date.to_str().ok()) {
            self.clock.hear(date);
        }
        let body = TimeoutBody::new(SILENCE_MAX, body).map_err(|e| HttpError::new(kind_of(e.as_ref()), Broken(e)));
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// An answer that ended early.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(#[source] Box<dyn Error + Send + Sync>);

/// What led to an error. An `io::Error` does not tell what it was made of as its source.
fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// hyper's own words say little; what lies behind them says what happened.
pub fn whole_text(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = cause_of(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = cause_of(inner);
    }
    text
}

/// What object_store retries by: every failure of the connection is one of the first four kinds, but a server that is not
/// believed is the same at the next try.
fn kind_of(error: &(dyn Error + 'static)) -> HttpErrorKind {
    if std::iter::successors(Some(error), |error| cause_of(*error)).any(|error| error.is::<rustls::Error>()) {
        return HttpErrorKind::Unknown;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_there_is_that_of_the_last_answer_and_goes_on() {
        let clock = ServerClock::default();
        clock.hear("yesterday");
        assert_eq!(clock.now(), None);
        clock.hear("Tue, 10 Mar 2026 12:00:00 GMT");
        let now = clock.now().unwrap();
        assert!((0..1_000_000_000).contains(&(now - 1_773_144_000_000_000_000)), "{now}");
        clock.hear("");
        assert!(clock.now() >= Some(now));
    }

    #[test]
    fn a_bundle_that_is_none_is_told_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let said = |path: &Path| trust(Some(path)).map(drop).unwrap_err().to_string();
        assert!(said(&path).ends_with("ca.pem: it does not exist"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(said(&path).ends_with("ca.pem: there are no certificates in it"));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(said(&path).starts_with("AWS_CA_BUNDLE: "));
    }

    #[test]
    fn a_server_that_is_not_believed_is_not_asked_again() {
        let doubt = || io::Error::other(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError));
        assert_eq!(kind_of(&doubt()), HttpErrorKind::Unknown);
        assert!(whole_text(&doubt()).contains(&rustls::Error::DecryptError.to_string()));
        assert_eq!(kind_of(&io::Error::from(io::ErrorKind::TimedOut)), HttpErrorKind::Timeout);
        assert_eq!(kind_of(&io::Error::from(io::ErrorKind::ConnectionReset)), HttpErrorKind::Interrupted);
    }
}
