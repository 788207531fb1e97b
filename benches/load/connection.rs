//! One connection to a server, over which requests go one after the other.

use crate::{Result, Transport};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;
use tokio::net::TcpStream;

/// Where one signal's requests go.
#[derive(Clone, Copy)]
pub struct Export {
    path: &'static str,
    grpc_path: &'static str,
    content_type: &'static str,
}

/// The answer to an export, as far as it matters here.
pub enum Outcome {
    Taken,
    PartlyRefused,
    /// With the time after which it may be sent again, if that was said.
    Later(Option<Duration>),
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub struct Connection {
    authority: String,
    /// Before every path.
    prefix: String,
    sender: Sender,
}

enum Sender {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

impl Export {
    /// `path` is that of OTLP/HTTP, or of remote write, of which version 2.0 is sent.
    pub fn to(path: &'static str) -> Result<Export> {
        if path == "/api/v1/write" {
            return Ok(Export { path, grpc_path: "", content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request" });
        }
        let grpc_path = match path {
            "/v1/traces" => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            "/v1/logs" => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            "/v1/metrics" => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            _ => return Err(format!("no gRPC service for {path}").into()),
        };
        Ok(Export { path, grpc_path, content_type: "application/x-protobuf" })
    }
}

impl Connection {
    pub async fn open(url: &Uri, transport: Transport) -> Result<Connection> {
        let address = url.authority().ok_or("a URL without an address")?;
        let stream = TcpStream::connect((address.host(), address.port_u16().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // A connection that breaks makes its next request fail, which is where it is told.
        let sender = match transport {
            Transport::Http => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http(sender)
            }
            Transport::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::Grpc(sender)
            }
        };
        Ok(Connection { authority: address.to_string(), prefix: url.path().trim_end_matches('/').to_owned(), sender })
    }

    /// A request without a body, over HTTP/1.1; `path` may hold a query, percent-encoded.
    pub async fn ask(&mut self, method: Method, path: &str) -> Result<Answer> {
        let request = Request::builder().method(method).uri(path).header("host", &self.authority);
        self.send(request.body(Full::new(Bytes::new()))?).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let Sender::Http(sender) = &mut self.sender else { return Err("not HTTP/1.1".into()) };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, body: response.into_body().collect().await?.to_bytes() })
    }

    /// Sends one OTLP request. An answer that neither takes it nor asks for it later is an error.
    pub async fn export(&mut self, to: Export, body: &Bytes) -> Result<Outcome> {
        match self.sender {
            Sender::Http(_) => self.export_http(to, body).await,
            Sender::Grpc(_) => self.export_grpc(to, body).await,
        }
    }

    async fn export_http(&mut self, to: Export, body: &Bytes) -> Result<Outcome> {
        let path = format!("{}{}", self.prefix, to.path);
        let request = Request::post(path).header("host", &self.authority).header("content-type", to.content_type);
        let Answer { status, headers, body } = self.send(request.body(Full::new(body.clone()))?).await?;
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let seconds = headers.get("retry-after").and_then(|after| after.to_str().ok()?.parse().ok());
                Ok(Outcome::Later(seconds.map(Duration::from_secs)))
            }
            _ if !status.is_success() => Err(format!("{}: {status} {body:?}", to.path).into()),
            _ if body.is_empty() || body.as_ref() == b"{}" => Ok(Outcome::Taken),
            _ => Ok(Outcome::PartlyRefused),
        }
    }

    async fn export_grpc(&mut self, to: Export, body: &Bytes) -> Result<Outcome> {
        let mut framed = BytesMut::with_capacity(body.len() + 5);
        framed.put_u8(0);
        framed.put_u32(u32::try_from(body.len())?);
        framed.extend_from_slice(body);
        let uri = format!("http://{}{}", self.authority, to.grpc_path);
        let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        let Sender::Grpc(sender) = &mut self.sender else { return Err("not gRPC".into()) };
        sender.ready().await?;
        let response = sender.send_request(request.body(Full::new(framed.freeze()))?).await?;
        let head = response.headers().clone();
        let collected = response.into_body().collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let status = trailers.get("grpc-status").or_else(|| head.get("grpc-status")).ok_or("no grpc-status")?;
        match status.as_bytes() {
            // UNAVAILABLE and RESOURCE_EXHAUSTED.
            b"14" | b"8" => Ok(Outcome::Later(None)),
            // A full success is an empty message behind its five bytes of frame.
            b"0" if collected.to_bytes().len() <= 5 => Ok(Outcome::Taken),
            b"0" => Ok(Outcome::PartlyRefused),
            _ => Err(format!("{}: grpc-status {status:?} {:?}", to.grpc_path, trailers.get("grpc-message")).into()),
        }
    }
}
