use crate::config::{Endpoint, Listeners};
use crate::runtime::Shutdown;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections of one listener; further ones wait in the backlog of the kernel.
const CONNECTIONS_MAX: usize = 2_048;

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

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint} (--{}): {cause}", endpoint.knob)]
pub struct BindError {
    endpoint: Endpoint,
    cause: io::Error,
}

pub(super) struct Bound {
    pub kind: Kind,
    pub address: SocketAddr,
    listener: TcpListener,
}

/// Binds everything that is not off. Only the web page does without its port if that is taken: Grafana has it then.
pub(super) async fn bind(listeners: &Listeners) -> Result<Vec<Bound>, BindError> {
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
    let mut bound = Vec::new();
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
            Err(cause) => return Err(BindError { endpoint: endpoint.clone(), cause }),
        }
    }
    Ok(bound)
}

/// Accepts HTTP/1.1 and HTTP/2 (with prior knowledge, as gRPC clients use it) until shutdown, then lets requests that
/// are under way finish, at most `drain`.
pub(super) async fn serve(bound: Bound, router: Router, shutdown: Shutdown, drain: Duration) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accept(&bound.listener, &connections) => accepted,
        };
        let (stream, permit) = match accepted {
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
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection ended");
            }
        });
    }
    drop(bound.listener);
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!(listener = bound.kind.name(), "requests were cut off at stop");
    }
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}
