//! Whether an address is one of our own: what is sent there would come back, be sent again, and so on.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, lookup_host};
use url::Url;

/// A name that takes longer to be looked up is not this machine's.
const LOOKUP_MAX: Duration = Duration::from_secs(3);

/// Whether `url` leads to one of `listeners`. What is behind a proxy or another address of the network is not seen here; the
/// `Via` header tells then.
pub(super) async fn is_own(url: &Url, listeners: &[SocketAddr]) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    if listeners.iter().all(|listener| listener.port() != port) {
        return false;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let Ok(Ok(found)) = tokio::time::timeout(LOOKUP_MAX, lookup_host((host, port))).await else { return false };
    for address in found {
        for listener in listeners.iter().filter(|listener| listener.port() == port) {
            if listener.ip() == address.ip() || (listener.ip().is_unspecified() && is_local(address.ip()).await) {
                return true;
            }
        }
    }
    false
}

/// Only an address of this machine can be bound.
async fn is_local(ip: IpAddr) -> bool {
    ip.is_unspecified() || TcpListener::bind((ip, 0)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_listener_is_known_under_each_of_its_names() {
        let is = async |url: &str, listener: &str| is_own(&Url::parse(url).unwrap(), &[listener.parse().unwrap()]).await;
        assert!(is("http://127.0.0.1:4318/v1/logs", "127.0.0.1:4318").await);
        assert!(is("http://localhost:4318", "127.0.0.1:4318").await);
        assert!(is("http://localhost:4318", "0.0.0.0:4318").await);
        assert!(is("http://127.0.0.1", "0.0.0.0:80").await);
        assert!(!is("http://127.0.0.1:4319", "0.0.0.0:4318").await);
        // A documentation address (RFC 5737) is nobody's.
        assert!(!is("http://192.0.2.1:4318", "0.0.0.0:4318").await);
        assert!(!is("http://127.0.0.2:4318", "127.0.0.1:4318").await);
    }
}
