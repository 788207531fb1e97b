//! Zipkin's spans, version 2, as JSON or protobuf. Source: openzipkin/zipkin-api `zipkin2-api.yaml` and `zipkin.proto`.

use super::foreign::{Collected, finish, kind_of, nanos, pair, text};
use crate::ingest::Plain;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::Event};
use prost::Message;
use serde::Deserialize;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One span of either form. Ids that are no hex are empty, and refused like every bad id.
#[derive(Default)]
struct ZipkinSpan {
    trace_id: Vec<u8>,
    id: Vec<u8>,
    parent_id: Vec<u8>,
    kind: i32,
    name: String,
    /// Microseconds.
    timestamp: u64,
    duration: u64,
    local: Endpoint,
    remote: Endpoint,
    annotations: Vec<(u64, String)>,
    tags: Vec<(String, String)>,
}

#[derive(Default)]
struct Endpoint {
    service: String,
    address: String,
    port: i64,
}

pub fn json(body: Plain<'_>) -> Result<ExportTraceServiceRequest, String> {
    let spans: Vec<JsonSpan> = body.json().map_err(|e| e.to_string())?;
    request(body, spans.into_iter().map(JsonSpan::read))
}

pub fn protobuf(body: Plain<'_>) -> Result<ExportTraceServiceRequest, String> {
    let list = ListOfSpans::decode(body).map_err(|e| e.to_string())?;
    request(body, list.spans.into_iter().map(ProtoSpan::read))
}

fn request(body: Plain<'_>, spans: impl Iterator<Item = ZipkinSpan>) -> Result<ExportTraceServiceRequest, String> {
    let mut collected = Collected::default();
    for span in spans {
        body.check_for(0).map_err(|e| e.to_string())?;
        let service = std::iter::once(&span.local.service).filter(|name| !name.is_empty()).map(|name| text("service.name", name));
        let resource: Vec<_> = service.collect();
        collected.push(&resource, span.into_otlp());
    }
    Ok(collected.request())
}

impl ZipkinSpan {
    fn into_otlp(self) -> (opentelemetry_proto::tonic::common::v1::InstrumentationScope, Span) {
        let mut tags: Vec<_> = self.tags.into_iter().map(|(key, value)| text(key, value)).collect();
        let mut endpoint = |given: &Endpoint, address: &str, port: &str| {
            if !given.address.is_empty() {
                tags.push(text(address, &given.address));
            }
            if given.port != 0 {
                tags.push(pair(port, Value::IntValue(given.port)));
            }
        };
        endpoint(&self.local, "net.host.ip", "net.host.port");
        endpoint(&self.remote, "net.peer.ip", "net.peer.port");
        if !self.remote.service.is_empty() && !tags.iter().any(|tag| tag.key == "peer.service") {
            tags.push(text("peer.service", self.remote.service));
        }
        // A span that only continues its client's has no time of its own, but annotations may tell.
        let start = if self.timestamp > 0 { self.timestamp } else { self.annotations.iter().map(|(time, _)| *time).min().unwrap_or(0) };
        let event = |(time, name)| Event { time_unix_nano: nanos(time), name, ..Event::default() };
        let span = Span {
            trace_id: self.trace_id,
            span_id: self.id,
            parent_span_id: self.parent_id,
            name: self.name,
            kind: self.kind,
            start_time_unix_nano: nanos(start),
            end_time_unix_nano: nanos(start.saturating_add(self.duration)),
            events: self.annotations.into_iter().map(event).collect(),
            ..Span::default()
        };
        finish(span, tags)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSpan {
    trace_id: String,
    id: String,
    parent_id: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    timestamp: Option<serde_json::Number>,
    duration: Option<serde_json::Number>,
    local_endpoint: Option<JsonEndpoint>,
    remote_endpoint: Option<JsonEndpoint>,
    annotations: Option<Vec<JsonAnnotation>>,
    tags: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEndpoint {
    service_name: Option<String>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    port: Option<i64>,
}

#[derive(Deserialize)]
struct JsonAnnotation {
    timestamp: serde_json::Number,
    value: String,
}

/// Some senders write times with a fraction.
fn micros(number: &serde_json::Number) -> u64 {
    number.as_u64().or_else(|| number.as_f64().map(|f| f as u64)).unwrap_or(0)
}

/// Hex of any even length up to `bytes`, with zeros in front; empty if it is none.
fn id(hex: &str, bytes: usize) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16);
    if hex.is_empty() || hex.len() > 2 * bytes || !hex.bytes().all(|c| digit(c).is_some()) {
        return Vec::new();
    }
    let mut padded = vec![b'0'; 2 * bytes - hex.len()];
    padded.extend_from_slice(hex.as_bytes());
    padded.chunks_exact(2).map(|two| two.iter().fold(0, |n, c| n << 4 | digit(*c).unwrap_or(0) as u8)).collect()
}

impl JsonSpan {
    fn read(self) -> ZipkinSpan {
        let endpoint = |given: Option<JsonEndpoint>| {
            given.map_or_else(Endpoint::default, |e| Endpoint {
                service: e.service_name.unwrap_or_default(),
                address: e.ipv4.or(e.ipv6).unwrap_or_default(),
                port: e.port.unwrap_or(0),
            })
        };
        let tags = self.tags.unwrap_or_default().into_iter().map(|(key, value)| match value {
            serde_json::Value::String(text) => (key, text),
            other => (key, other.to_string()),
        });
        ZipkinSpan {
            trace_id: id(&self.trace_id, 16),
            id: id(&self.id, 8),
            parent_id: self.parent_id.map_or_else(Vec::new, |parent| id(&parent, 8)),
            kind: self.kind.map_or(0, |word| kind_of(&word)),
            name: self.name.unwrap_or_default(),
            timestamp: self.timestamp.as_ref().map_or(0, micros),
            duration: self.duration.as_ref().map_or(0, micros),
            local: endpoint(self.local_endpoint),
            remote: endpoint(self.remote_endpoint),
            annotations: self.annotations.unwrap_or_default().into_iter().map(|a| (micros(&a.timestamp), a.value)).collect(),
            tags: tags.collect(),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct ListOfSpans {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<ProtoSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    parent_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    id: Vec<u8>,
    #[prost(int32, tag = "4")]
    kind: i32,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "6")]
    timestamp: u64,
    #[prost(uint64, tag = "7")]
    duration: u64,
    #[prost(message, optional, tag = "8")]
    local_endpoint: Option<ProtoEndpoint>,
    #[prost(message, optional, tag = "9")]
    remote_endpoint: Option<ProtoEndpoint>,
    #[prost(message, repeated, tag = "10")]
    annotations: Vec<ProtoAnnotation>,
    #[prost(map = "string, string", tag = "11")]
    tags: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoEndpoint {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(bytes = "vec", tag = "2")]
    ipv4: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    ipv6: Vec<u8>,
    #[prost(int32, tag = "4")]
    port: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoAnnotation {
    #[prost(fixed64, tag = "1")]
    timestamp: u64,
    #[prost(string, tag = "2")]
    value: String,
}

/// Of 8 or 16 bytes, with zeros in front.
fn padded(id: Vec<u8>) -> Vec<u8> {
    if id.len() == 8 { [vec![0; 8], id].concat() } else { id }
}

impl ProtoEndpoint {
    fn read(self) -> Endpoint {
        let v4 = <[u8; 4]>::try_from(self.ipv4).ok().map(|bytes| IpAddr::V4(Ipv4Addr::from(bytes)));
        let v6 = <[u8; 16]>::try_from(self.ipv6).ok().map(|bytes| IpAddr::V6(Ipv6Addr::from(bytes)));
        Endpoint { service: self.service_name, address: v4.or(v6).map_or_else(String::new, |ip| ip.to_string()), port: self.port.into() }
    }
}

impl ProtoSpan {
    fn read(self) -> ZipkinSpan {
        // CLIENT, SERVER, PRODUCER, CONSUMER in Zipkin's order.
        let kind = [0, 3, 2, 4, 5].get(usize::try_from(self.kind).unwrap_or(0)).copied().unwrap_or(0);
        let mut tags: Vec<(String, String)> = self.tags.into_iter().collect();
        tags.sort();
        ZipkinSpan {
            trace_id: padded(self.trace_id),
            id: self.id,
            parent_id: self.parent_id,
            kind,
            name: self.name,
            timestamp: self.timestamp,
            duration: self.duration,
            local: self.local_endpoint.map_or_else(Endpoint::default, ProtoEndpoint::read),
            remote: self.remote_endpoint.map_or_else(Endpoint::default, ProtoEndpoint::read),
            annotations: self.annotations.into_iter().map(|a| (a.timestamp, a.value)).collect(),
            tags,
        }
    }
}
