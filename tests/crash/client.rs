//! An OTLP client over gRPC or HTTP that says of each request whether it was acknowledged.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::error::Error;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Grpc,
    Http,
}

enum Sender {
    Grpc(http2::SendRequest<Full<Bytes>>),
    Http(http1::SendRequest<Full<Bytes>>),
}

pub struct Client {
    runtime: Runtime,
    sender: Sender,
    address: String,
}

type Failed = Box<dyn Error + Send + Sync>;

/// What became of a request.
pub struct Outcome {
    /// All of it was acknowledged.
    pub is_taken: bool,
    /// Of gRPC or of HTTP.
    #[allow(dead_code, reason = "each test program has this module for itself, and not all look at the status")]
    pub status: String,
    /// `grpc-status-details-bin`, or the head's `retry-after`.
    #[allow(dead_code, reason = "each test program has this module for itself, and not all look at the details")]
    pub details: String,
}

/// Paths of the two transports for each signal: metrics, logs, traces.
const PATHS: [(&str, &str); 3] = [
    ("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "/v1/metrics"),
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "/v1/logs"),
    ("/opentelemetry.proto.collector.trace.v1.TraceService/Export", "/v1/traces"),
];

impl Client {
    pub fn connect(transport: Transport, address: &str) -> Result<Client, Failed> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let sender = runtime.block_on(async {
            let stream = TokioIo::new(TcpStream::connect(address).await?);
            match transport {
                Transport::Grpc => {
                    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                    tokio::spawn(connection);
                    Ok::<_, Failed>(Sender::Grpc(sender))
                }
                Transport::Http => {
                    let (sender, connection) = http1::handshake(stream).await?;
                    tokio::spawn(connection);
                    Ok(Sender::Http(sender))
                }
            }
        })?;
        Ok(Client { runtime, sender, address: address.to_owned() })
    }

    /// An error if the connection broke.
    pub fn export(&mut self, signal: usize, body: Vec<u8>) -> Result<Outcome, Failed> {
        let (grpc_path, http_path) = PATHS[signal];
        match &mut self.sender {
            Sender::Grpc(sender) => {
                let mut framed = BytesMut::new();
                framed.put_u8(0);
                framed.put_u32(body.len() as u32);
                framed.put_slice(&body);
                let request = Request::post(format!("http://{}{grpc_path}", self.address))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(framed.freeze()))?;
                self.runtime.block_on(async {
                    sender.ready().await?;
                    let response: Response<Incoming> = sender.send_request(request).await?;
                    let headers = response.headers().clone();
                    let collected = response.into_body().collect().await?;
                    let trailers = collected.trailers().cloned().unwrap_or_default();
                    let said = |name| text_of(trailers.get(name).or_else(|| headers.get(name)));
                    let (status, details) = (said("grpc-status"), said("grpc-status-details-bin"));
                    Ok(Outcome { is_taken: status == "0" && is_whole(collected.to_bytes().get(5..)), status, details })
                })
            }
            Sender::Http(sender) => {
                let request = Request::post(http_path)
                    .header("host", &self.address)
                    .header("content-type", "application/x-protobuf")
                    .body(Full::new(body.into()))?;
                self.runtime.block_on(async {
                    sender.ready().await?;
                    let response: Response<Incoming> = sender.send_request(request).await?;
                    let (status, details) = (response.status().as_str().to_owned(), text_of(response.headers().get("retry-after")));
                    let body = response.into_body().collect().await?.to_bytes();
                    Ok(Outcome { is_taken: status == "200" && is_whole(Some(&body)), status, details })
                })
            }
        }
    }
}

fn text_of(value: Option<&HeaderValue>) -> String {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// An empty response message: nothing was refused.
fn is_whole(message: Option<&[u8]>) -> bool {
    message.is_some_and(<[u8]>::is_empty)
}

fn text(value: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) })
}

fn resource(service: &str) -> Option<Resource> {
    let name = KeyValue { key: "service.name".into(), value: text(service), ..KeyValue::default() };
    Some(Resource { attributes: vec![name], ..Resource::default() })
}

/// The trace that request `number` of `service` is.
pub fn trace_id(service: &str, number: u64) -> String {
    let service = service.bytes().fold(14_695_981_039_346_656_037u64, |h, b| (h ^ u64::from(b)).wrapping_mul(1_099_511_628_211));
    format!("{service:016x}{:016x}", number + 1)
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// A request with one item a number; item `n` lies `n` milliseconds after `base_ms`.
pub fn request(signal: usize, service: &str, base_ms: u64, items: &[u64]) -> (usize, Vec<u8>) {
    let time = |item: u64| (base_ms + item) * 1_000_000;
    let body = match signal {
        0 => {
            let point = |item: &u64| NumberDataPoint {
                time_unix_nano: time(*item),
                value: Some(number_data_point::Value::AsInt(*item as i64)),
                ..NumberDataPoint::default()
            };
            let data = metric::Data::Gauge(Gauge { data_points: items.iter().map(point).collect() });
            let metric = Metric { name: "crash.item".into(), data: Some(data), ..Metric::default() };
            let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
            let whole = ResourceMetrics { resource: resource(service), scope_metrics: vec![scope], ..ResourceMetrics::default() };
            ExportMetricsServiceRequest { resource_metrics: vec![whole] }.encode_to_vec()
        }
        1 => {
            let record =
                |item: &u64| LogRecord { time_unix_nano: time(*item), body: text(&format!("item {item}")), ..LogRecord::default() };
            let scope = ScopeLogs { log_records: items.iter().map(record).collect(), ..ScopeLogs::default() };
            let whole = ResourceLogs { resource: resource(service), scope_logs: vec![scope], ..ResourceLogs::default() };
            ExportLogsServiceRequest { resource_logs: vec![whole] }.encode_to_vec()
        }
        _ => {
            let trace = bytes(&trace_id(service, items[0] / items.len() as u64));
            let span = |item: &u64| Span {
                trace_id: trace.clone(),
                span_id: (item + 1).to_be_bytes().to_vec(),
                parent_span_id: if *item == items[0] { Vec::new() } else { (items[0] + 1).to_be_bytes().to_vec() },
                name: "crash".into(),
                start_time_unix_nano: time(*item),
                end_time_unix_nano: time(*item) + 1_000,
                ..Span::default()
            };
            let scope = ScopeSpans { spans: items.iter().map(span).collect(), ..ScopeSpans::default() };
            let whole = ResourceSpans { resource: resource(service), scope_spans: vec![scope], ..ResourceSpans::default() };
            ExportTraceServiceRequest { resource_spans: vec![whole] }.encode_to_vec()
        }
    };
    (signal, body)
}
