//! Targets behind TLS: a server with a certificate for `target.example` of an authority that nobody else knows.

use super::fetch_tests::fetch;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};

/// Valid for a hundred years, as is what it signed.
const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBjDCCATGgAwIBAgIULWenN8CqYnpJC4MQB3/HazZhJ1owCgYIKoZIzj0EAwIw\n\
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yNjExMjEwODMwMzlaGA8yMTI2MTAyODA4\n\
MzAzOVowEjEQMA4GA1UEAwwHVGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
A0IABPjRLK0j6B4drEhIOQuyV88sIXczMsuY+PIXkYrNIa8uyrpf5VfXyG6lzpS3\n\
s/BD0uBS4hKwwqE6VbXS4cu1nLKjYzBhMB0GA1UdDgQWBBRPNN3coA1aq373u4KH\n\
SNMW8/d/xjAfBgNVHSMEGDAWgBRPNN3coA1aq373u4KHSNMW8/d/xjAPBgNVHRMB\n\
Af8EBTADAQH/MA4GA1UdDwEB/wQEAwICBDAKBggqhkjOPQQDAgNJADBGAiEAv93V\n\
9AVxaxXYiSt9DXZgvpyHZaOFKUx7GuEgkKTEcmACIQDZKbwY+AOr9q305ybzYDqj\n\
7bfjtNDJs1F8Y53cY+vn1Q==\n\
-----END CERTIFICATE-----\n";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBkTCCATigAwIBAgIUVMlZ+MGJL3kyekWfPNwa7DVlNkswCgYIKoZIzj0EAwIw\n\
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yNjExMjEwODMwNDBaGA8yMTI2MTAyODA4\n\
MzA0MFowETEPMA0GA1UEAwwGdGFyZ2V0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD\n\
QgAE9LnePsmh4/HTYlL1lTWvfZFhI0DV1GRusTVffJ/AnBC/RQkUHuBZi9FqlEhU\n\
OuhzcSgjNaVy9Y+aLNnbKNRojaNrMGkwGQYDVR0RBBIwEIIOdGFyZ2V0LmV4YW1w\n\
bGUwDAYDVR0TAQH/BAIwADAdBgNVHQ4EFgQU9fAcax3FGAhRuWeQTTVG5gL3HhIw\n\
HwYDVR0jBBgwFoAUTzTd3KANWqt+97uCh0jTFvP3f8YwCgYIKoZIzj0EAwIDRwAw\n\
RAIgHK+lHRMqvdRs6+B72AwabaFXadyjeSEUFYt/OMlJOkkCIHVQTkEFRHj+z5E1\n\
t3N12miMrIqUXTbSBC24x/QJK7Ji\n\
-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgROOFiemyBT6682M2\n\
zNqPIzi3Q1L3avj+wKpc03cKk5ehRANCAAT0ud4+yaHj8dNiUvWVNa99kWEjQNXU\n\
ZG6xNV98n8CcEL9FCRQe4FmL0WqUSFQ66HNxKCM1pXL1j5os2dso1GiN\n\
-----END PRIVATE KEY-----\n";

/// Serves until the test ends, and tells the requests that came through.
fn serve() -> (String, mpsc::Receiver<String>) {
    let certificates = vec![CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(certificates, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (told, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), socket.unwrap());
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                request.push(byte[0]);
            }
            // A client that does not believe the certificate asks nothing.
            if request.is_empty() {
                continue;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\na 1\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
            if told.send(String::from_utf8_lossy(&request).to_lowercase()).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

#[tokio::test]
async fn a_certificate_is_believed_as_the_settings_say() {
    let (address, requests) = serve();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (authority, password) = (file("ca.pem", AUTHORITY), file("password", "secret\n"));
    let over = async |tls: serde_json::Value| {
        let auth = json!({"username": "u", "password_file": password});
        fetch(&address, json!({"scheme": "https", "tls_config": tls, "basic_auth": auth}), 1 << 20).await
    };
    for believed in [json!({"ca_file": authority, "server_name": "target.example"}), json!({"insecure_skip_verify": true})] {
        let fetched = over(believed.clone()).await;
        assert_eq!(fetched.map(|f| f.body).map_err(|e| format!("{believed}: {e}")), Ok("a 1\n".into()));
        // u:secret
        assert!(requests.recv().unwrap().contains("authorization: basic dtpzzwnyzxq="));
    }
    for (doubted, cause) in [
        // Its name is not the address.
        (json!({"ca_file": authority}), "NotValidForName"),
        (json!({"ca_file": authority, "server_name": "other.example"}), "NotValidForName"),
        (json!({"server_name": "target.example"}), "UnknownIssuer"),
    ] {
        let error = over(doubted.clone()).await.err().unwrap_or_default();
        assert!(error.contains(cause) || error.contains("not valid for"), "{doubted}: {error}");
    }
    assert!(requests.try_recv().is_err(), "whom we doubt gets no password");
}

#[tokio::test]
async fn certificates_that_cannot_be_read_are_told_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (path, cause) in [(empty.to_str().unwrap(), "there are no certificates in it"), ("/no/such/file", "does not exist")] {
        let mut mistakes = Vec::new();
        let table = json!({"job_name": "j", "targets": ["x:1"], "tls_config": {"ca_file": path}});
        super::Config::read(&[table], std::time::Duration::from_secs(60), false, None, &mut mistakes);
        assert!(mistakes.iter().any(|m| m.contains(cause)), "{mistakes:?}");
    }
}
