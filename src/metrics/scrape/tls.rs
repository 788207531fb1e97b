//! How targets behind `https` are believed: the machine's authorities, others from a file, or nobody's.

use super::config::Tls;
use crate::runtime::read_text;
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

pub(super) fn connector(settings: &Tls, tcp: HttpConnector) -> Result<HttpsConnector<HttpConnector>, String> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(config(settings)?).https_or_http();
    let named = match &settings.server_name {
        Some(name) => {
            let name = ServerName::try_from(name.clone()).map_err(|_| format!("server_name {name:?} is no name of a server"))?;
            builder.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    Ok(named.enable_http1().wrap_connector(tcp))
}

/// Fails for files that cannot be read as what they are for.
pub(super) fn config(settings: &Tls) -> Result<ClientConfig, String> {
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
        // A machine without any authority can still scrape over http.
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
