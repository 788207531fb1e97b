use super::connections::{Connections, Place};
use crate::config::{Endpoint, Listeners};
use crate::runtime::Shutdown;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

/// Connections of one listener; further ones wait until an idle one gives way or another ends.
const CONNECTIONS_MAX: usize = 2_048;

/// A client of HTTP/2 that does not answer a ping is gone.
const PING_EVERY: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(30);

/// Frames that HTTP/2 clients may send: an export in few of them costs less than in many of the 16 KiB that are the default.
const FRAME_MAX_BYTES: u32 = 256 << 10;

/// A client that does not finish its request's head in this time is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    OtlpGrpc,
    OtlpHttp,
    Prometheus,
    Loki,
    Tempo,
    Web,
    OtelHealth,
    Zipkin,
    JaegerHttp,
    JaegerGrpc,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::OtlpGrpc => "otlp_grpc",
            Kind::OtlpHttp => "otlp_http",
            Kind::Prometheus => "prometheus",
            Kind::Loki => "loki",
            Kind::Tempo => "tempo",
            Kind::Web => "web",
            Kind::OtelHealth => "otel_health",
            Kind::Zipkin => "zipkin",
            Kind::JaegerHttp => "jaeger_http",
            Kind::JaegerGrpc => "jaeger_grpc",
        }
    }
}

/// Every listener that cannot have its address, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}", told(.0))]
pub struct BindErrors(Vec<(Endpoint, io::Error)>);

/// A line for each reason, with all addresses that it keeps from being bound.
fn told(errors: &[(Endpoint, io::Error)]) -> String {
    let mut reasons: Vec<io::ErrorKind> = errors.iter().map(|(_, cause)| cause.kind()).collect();
    let mut seen = Vec::new();
    reasons.retain(|reason| {
        !seen.contains(reason) && {
            seen.push(*reason);
            true
        }
    });
    let lines = reasons.into_iter().map(|reason| {
        let those: Vec<_> = errors.iter().filter(|(_, cause)| cause.kind() == reason).collect();
        let addresses: Vec<String> = those.iter().map(|(endpoint, _)| format!("{endpoint} (--{})", endpoint.knob)).collect();
        let others: Vec<String> = those.iter().map(|(endpoint, _)| format!("--{} {}", endpoint.knob, elsewhere(endpoint.port))).collect();
        let cause = those.first().map(|(_, cause)| cause.to_string()).unwrap_or_default();
        let what = match reason {
            io::ErrorKind::AddrInUse => format!(
                "another process has {} (another monocle, a Collector, otel-lgtm?). Stop it (`ss -ltnp` shows it), or choose another port ({}), or \
                 off instead of a port",
                if those.len() == 1 { "it" } else { "them" },
                others.join(" ")
            ),
            io::ErrorKind::PermissionDenied => format!("{cause}. Ports below 1024 are for root: choose others ({})", others.join(" ")),
            io::ErrorKind::AddrNotAvailable => {
                "no address of this machine. --listen 127.0.0.1 is for this machine alone, --listen 0.0.0.0 for every network".to_owned()
            }
            _ => format!("{cause}. Is the host right (--listen HOST, or HOST:PORT in the listener's own knob)?"),
        };
        format!("cannot listen on {}: {what}", addresses.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A port that is likely to be free.
fn elsewhere(port: u16) -> u16 {
    port.checked_add(10_000).unwrap_or_else(|| port - 10_000)
}

pub(super) struct Bound {
    pub kind: Kind,
    pub address: SocketAddr,
    listener: TcpListener,
}

/// Binds everything that is not off. Only the web page does without its port if that is taken: Grafana has it then.
pub(super) async fn bind(listeners: &Listeners) -> Result<Vec<Bound>, BindErrors> {
    let wanted = [
        (Kind::OtlpGrpc, &listeners.otlp_grpc),
        (Kind::OtlpHttp, &listeners.otlp_http),
        (Kind::Prometheus, &listeners.prometheus),
        (Kind::Loki, &listeners.loki),
        (Kind::Tempo, &listeners.tempo),
        (Kind::Web, &listeners.web),
        (Kind::OtelHealth, &listeners.otel_health),
        (Kind::Zipkin, &listeners.zipkin),
        (Kind::JaegerHttp, &listeners.jaeger_http),
        (Kind::JaegerGrpc, &listeners.jaeger_grpc),
    ];
    let (mut bound, mut errors) = (Vec::new(), Vec::new());
    for (kind, endpoint) in wanted {
        let Some(endpoint) = endpoint else { continue };
        let result = TcpListener::bind(endpoint.to_string()).await.and_then(|l| Ok((l.local_addr()?, l)));
        match result {
            Ok((address, listener)) => {
                tracing::info!(%address, listener = kind.name(), "listening");
                bound.push(Bound { kind, address, listener });
            }
            Err(cause) if kind == Kind::Web && cause.kind() == io::ErrorKind::AddrInUse => {
                tracing::warn!(%endpoint, "the port of the web page is taken; the page is on the other ports");
            }
            Err(cause) => errors.push((endpoint.clone(), cause)),
        }
    }
    if errors.is_empty() { Ok(bound) } else { Err(BindErrors(errors)) }
}

/// Accepts HTTP/1.1 and HTTP/2 (with prior knowledge, as gRPC clients use it) until shutdown, then lets requests that
/// are under way finish, at most `drain`.
pub(super) async fn serve(bound: Bound, router: Router, shutdown: Shutdown, drain: Duration) {
    let connections = Connections::new(CONNECTIONS_MAX);
    let graceful = GracefulShutdown::new();
    let strangers = Arc::new(Strangers { listener: bound.kind.name(), address: bound.address, said: Mutex::new(None) });
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accept(&bound.listener, &connections) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: wait for some to be closed.
                tracing::warn!(%error, listener = bound.kind.name(), "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).adaptive_window(true).max_concurrent_streams(256).max_frame_size(FRAME_MAX_BYTES);
        builder.http2().keep_alive_interval(PING_EVERY).keep_alive_timeout(PING_TIMEOUT);
        let service = place.service(router.clone());
        let (watcher, strangers, shutdown) = (graceful.watcher(), strangers.clone(), shutdown.clone());
        tokio::spawn(async move {
            let is_tls = tokio::select! {
                biased;
                is_tls = begins_as_tls(&stream) => is_tls,
                () = shutdown.requested() => return,
                () = place.closed() => return,
            };
            if is_tls {
                return strangers.tell();
            }
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
            tokio::select! {
                ended = watcher.watch(connection) => if let Err(error) = ended {
                    tracing::debug!(error, "connection ended");
                },
                () = place.closed() => tracing::debug!("an idle connection is closed to make room"),
            }
        });
    }
    drop(bound.listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(listener = bound.kind.name(), "requests were cut off at stop");
    }
}

/// A connection and a place for it. Only one that is there makes others give way.
async fn accept(listener: &TcpListener, connections: &Arc<Connections>) -> io::Result<(TcpStream, Place)> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, connections.place().await))
}

/// Whether the client begins a TLS handshake, as one does that was told `https://`: a record of type 22, version 3. What else
/// it sends stays to be read. One that sends nothing for long is let go, as if it had been too slow with a request.
async fn begins_as_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    match tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1)) => first == [22],
        _ => false,
    }
}

/// Clients that speak TLS to a port without it; their own message hardly says so.
struct Strangers {
    listener: &'static str,
    address: SocketAddr,
    said: Mutex<Option<Instant>>,
}

impl Strangers {
    /// At most once a minute, since such a client comes again and again.
    fn tell(&self) {
        let mut said = self.said.lock();
        if said.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
            *said = Some(Instant::now());
            let (listener, address) = (self.listener, self.address);
            tracing::warn!(listener, %address, "a client speaks TLS here, and this port is plain: give it http:// instead of https:// (gRPC: insecure), or put a proxy in front that has the certificate");
        }
    }
}
