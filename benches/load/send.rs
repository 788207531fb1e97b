//! Requests over several connections, and how long their answers took.

use crate::requests::Requests;
use crate::{Result, Transport};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

/// How long a refused request waits before it is sent again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

pub struct Sender {
    pub transport: Transport,
    /// For each signal.
    pub connections: usize,
    /// Items a second of each signal; `None` is as many as are taken.
    pub rate: Option<f64>,
}

/// What became of one signal's requests.
pub struct Sent {
    pub signal: &'static str,
    pub items: u64,
    pub wire_bytes: usize,
    pub wall: Duration,
    /// Answers that asked to come again later.
    pub retried: usize,
    /// Answers that said that items were refused.
    pub refused: usize,
    /// From the shortest.
    answers: Vec<Duration>,
}

impl Sent {
    /// The time under which `share` of the answers came.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.answers.len().saturating_sub(1);
        self.answers.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
    }
}

/// One signal's requests, which its connections take one after the other.
struct Work {
    path: &'static str,
    grpc_path: &'static str,
    bodies: Vec<Bytes>,
    next: AtomicUsize,
    /// Between two requests, when there is a rate.
    pace: Option<Duration>,
    start: Instant,
}

#[derive(Default)]
struct Answers {
    took: Vec<Duration>,
    retried: usize,
    refused: usize,
}

enum Connection {
    Http(http1::SendRequest<Full<Bytes>>),
    Grpc(http2::SendRequest<Full<Bytes>>),
}

/// The answer to one request, as far as it matters here.
enum Outcome {
    Taken,
    PartlyRefused,
    Later,
}

impl Sender {
    /// Sends all signals of `batch` at once. The first answer that neither takes a request nor asks for it later is an error.
    pub async fn send(&self, url: &str, batch: Vec<Requests>) -> Result<Vec<Sent>> {
        let mut signals = Vec::new();
        for requests in batch {
            let per_request = requests.items as f64 / requests.bodies.len() as f64;
            let wire_bytes = requests.bodies.iter().map(Bytes::len).sum();
            let work = Arc::new(Work {
                path: requests.path,
                grpc_path: grpc_path(requests.path)?,
                bodies: requests.bodies,
                next: AtomicUsize::new(0),
                pace: self.rate.map(|rate| Duration::from_secs_f64(per_request / rate)),
                start: Instant::now(),
            });
            let mut tasks = Vec::new();
            for _ in 0..self.connections {
                tasks.push(tokio::spawn(run(url.parse()?, self.transport, work.clone())));
            }
            signals.push((requests.signal, requests.items, wire_bytes, work.start, tasks));
        }
        let mut all = Vec::new();
        for (signal, items, wire_bytes, start, tasks) in signals {
            let mut sent = Sent { signal, items, wire_bytes, wall: Duration::ZERO, retried: 0, refused: 0, answers: Vec::new() };
            for task in tasks {
                let (ended, answers) = task.await??;
                sent.wall = sent.wall.max(ended - start);
                sent.retried += answers.retried;
                sent.refused += answers.refused;
                sent.answers.extend(answers.took);
            }
            sent.answers.sort_unstable();
            all.push(sent);
        }
        Ok(all)
    }
}

/// The same service's path over OTLP/gRPC.
fn grpc_path(path: &str) -> Result<&'static str> {
    match path {
        "/v1/traces" => Ok("/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        "/v1/logs" => Ok("/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
        "/v1/metrics" => Ok("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
        _ => Err(format!("no gRPC service for {path}").into()),
    }
}

/// One connection until there is no request left; when it ended, and its answers.
async fn run(url: Uri, transport: Transport, work: Arc<Work>) -> Result<(Instant, Answers)> {
    let mut connection = Connection::open(&url, transport).await?;
    let mut answers = Answers::default();
    loop {
        let n = work.next.fetch_add(1, Ordering::Relaxed);
        let Some(body) = work.bodies.get(n) else { return Ok((Instant::now(), answers)) };
        let mut due = Instant::now();
        if let Some(pace) = work.pace {
            due = work.start + pace * u32::try_from(n)?;
            sleep_until(due).await;
        }
        loop {
            match connection.ask(&url, &work, body).await? {
                Outcome::Later => {
                    answers.retried += 1;
                    sleep(RETRY_AFTER).await;
                    continue;
                }
                Outcome::PartlyRefused => answers.refused += 1,
                Outcome::Taken => {}
            }
            answers.took.push(due.elapsed());
            break;
        }
    }
}

impl Connection {
    async fn open(url: &Uri, transport: Transport) -> Result<Connection> {
        let address = url.authority().ok_or("a URL without an address")?;
        let stream = TcpStream::connect((address.host(), address.port_u16().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        // A connection that breaks makes its next request fail, which is where it is told.
        Ok(match transport {
            Transport::Http => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Connection::Http(sender)
            }
            Transport::Grpc => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Connection::Grpc(sender)
            }
        })
    }

    async fn ask(&mut self, url: &Uri, work: &Work, body: &Bytes) -> Result<Outcome> {
        match self {
            Connection::Http(sender) => {
                let authority = url.authority().ok_or("a URL without an address")?.as_str();
                let path = format!("{}{}", url.path().trim_end_matches('/'), work.path);
                let request = Request::post(path).header("host", authority).header("content-type", "application/x-protobuf");
                sender.ready().await?;
                let response = sender.send_request(request.body(Full::new(body.clone()))?).await?;
                let status = response.status();
                let body = response.into_body().collect().await?.to_bytes();
                match status {
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Ok(Outcome::Later),
                    _ if !status.is_success() => Err(format!("{}: {status} {body:?}", work.path).into()),
                    _ if body.is_empty() || body.as_ref() == b"{}" => Ok(Outcome::Taken),
                    _ => Ok(Outcome::PartlyRefused),
                }
            }
            Connection::Grpc(sender) => {
                let mut framed = BytesMut::with_capacity(body.len() + 5);
                framed.put_u8(0);
                framed.put_u32(u32::try_from(body.len())?);
                framed.extend_from_slice(body);
                let uri = format!("http://{}{}", url.authority().ok_or("a URL without an address")?, work.grpc_path);
                let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
                sender.ready().await?;
                let response = sender.send_request(request.body(Full::new(framed.freeze()))?).await?;
                let head = response.headers().clone();
                let collected = response.into_body().collect().await?;
                let trailers = collected.trailers().cloned().unwrap_or_default();
                let status = trailers.get("grpc-status").or_else(|| head.get("grpc-status")).ok_or("no grpc-status")?;
                match status.as_bytes() {
                    // UNAVAILABLE and RESOURCE_EXHAUSTED.
                    b"14" | b"8" => Ok(Outcome::Later),
                    // A full success is an empty message behind its five bytes of frame.
                    b"0" if collected.to_bytes().len() <= 5 => Ok(Outcome::Taken),
                    b"0" => Ok(Outcome::PartlyRefused),
                    _ => Err(format!("{}: grpc-status {status:?} {:?}", work.grpc_path, trailers.get("grpc-message")).into()),
                }
            }
        }
    }
}

/// Any answer but success is an error.
pub async fn post(url: &str) -> Result<()> {
    let url: Uri = url.parse()?;
    let Connection::Http(mut sender) = Connection::open(&url, Transport::Http).await? else { return Err("not HTTP".into()) };
    let authority = url.authority().ok_or("a URL without an address")?.as_str();
    let request = Request::post(url.path()).header("host", authority).body(Full::new(Bytes::new()))?;
    let status = sender.send_request(request).await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("POST {url}: {status}").into()) }
}
