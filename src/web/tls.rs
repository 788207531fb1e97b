//! The HTTP client with which others are asked and told, and how those behind `https` are believed: by the machine's
//! authorities, by others from a file, or without any.

use crate::runtime::read_text;
use hyper::body::Body;
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Which certificates are shown and believed; the names of the files' mistakes are those of Prometheus's `tls_config`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

/// With or without TLS.
pub type HttpClient<B> = Client<HttpsConnector<HttpConnector>, B>;

/// Connections that nothing uses are closed after this.
const IDLE: Duration = Duration::from_secs(300);

/// A connection of HTTP/2 is asked for a sign of life after this, while something waits for an answer: else each request would
/// time out on one that is dead and that nobody closed.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// What is spoken; neither falls back to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    Http1,
    /// Without asking first where there is no TLS, as gRPC has it.
    Http2,
}

/// Fails for files that cannot be read as what they are for.
pub fn http_client<B>(tls: &Tls, version: HttpVersion) -> Result<HttpClient<B>, String>
where
    B: Body + Send,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut builder = Client::builder(TokioExecutor::new());
    builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE);
    builder.http2_only(version == HttpVersion::Http2).http2_keep_alive_interval(ALIVE_EVERY);
    Ok(builder.build(connector(tls, tcp, version)?))
}

/// hyper's own words say little; what lies behind them says what happened.
pub fn cause(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = inner.source();
    }
    text
}

fn connector(settings: &Tls, tcp: HttpConnector, version: HttpVersion) -> Result<HttpsConnector<HttpConnector>, String> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config(settings)?).https_or_http();
    let named = match &settings.server_name {
        Some(name) => {
            let name = ServerName::try_from(name.clone()).map_err(|_| format!("server_name {name:?} is no name of a server"))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    Ok(match version {
        HttpVersion::Http1 => named.enable_http1().wrap_connector(tcp),
        HttpVersion::Http2 => named.enable_http2().wrap_connector(tcp),
    })
}

fn config(settings: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?;
    let trusting = if settings.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else if let Some(path) = &settings.ca_file {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca_file", path)? {
            roots.add(certificate).map_err(|e| format!("ca_file: {e}"))?;
        }
        builder.with_root_certificates(roots)
    } else {
        // A machine without any authority can still speak plain HTTP.
        match builder.clone().with_native_roots() {
            Ok(trusting) => trusting,
            Err(_) => builder.with_root_certificates(RootCertStore::empty()),
        }
    };
    match (&settings.cert_file, &settings.key_file) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(file("key_file", key)?.as_bytes()).map_err(|e| format!("key_file: {e}"))?;
            trusting.with_client_auth_cert(certificates("cert_file", certificate)?, key).map_err(|e| format!("cert_file: {e}"))
        }
        _ => Ok(trusting.with_no_client_auth()),
    }
}

fn file(key: &str, path: &Path) -> Result<String, String> {
    let text = read_text(path).map_err(|e| format!("{key}: {e}"))?;
    text.ok_or_else(|| format!("{key}: {} does not exist", path.display()))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = file(key, path)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = read.map_err(|e| format!("{key}: {}: {e}", path.display()))?;
    if found.is_empty() { Err(format!("{key}: {}: there are no certificates in it", path.display())) } else { Ok(found) }
}

/// Takes any certificate: what `insecure_skip_verify` asks for.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
