use crate::config::Config;
use crate::runtime::read_text;
use crate::storage::layout::Layout;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);

/// Asks `/ready` at the address that the running process has written into its data directory.
pub(super) fn check(config: Config) -> Result<(), String> {
    let path = Layout::new(&config.data).addresses();
    let text = read_text(&path).map_err(|e| e.to_string())?.ok_or_else(|| format!("{} does not exist: not running?", path.display()))?;
    let addresses: serde_json::Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let named = |name: &str| addresses.get(name).and_then(|v| v.as_str()).map(str::to_owned);
    let address =
        ["prometheus", "loki", "tempo", "otlp_http", "otlp_grpc"].into_iter().find_map(named).ok_or("no listener answers health checks")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let status = runtime
        .block_on(async { tokio::time::timeout(TIMEOUT, ask(&address)).await })
        .map_err(|_| format!("{address} does not answer"))??;
    if status.is_success() { Ok(()) } else { Err(format!("{address} is not ready: {status}")) }
}

async fn ask(address: &str) -> Result<StatusCode, String> {
    // Bound to every address means reachable on this one.
    let address = address.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
    let failed = |e: &dyn std::fmt::Display| format!("{address}: {e}");
    let stream = tokio::net::TcpStream::connect(&address).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    let request = Request::get("/ready").header("host", &address).body(Empty::<Bytes>::new()).map_err(|e| failed(&e))?;
    tokio::select! {
        response = sender.send_request(request) => response.map(|r| r.status()).map_err(|e| failed(&e)),
        ended = connection => Err(failed(&format!("connection ended: {ended:?}"))),
    }
}
