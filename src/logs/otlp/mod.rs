//! OTLP logs as log entries (contracts/loki.md 2.5): the mapping is the same for Loki's route and for OTLP's own.

use super::config::Config;
use super::entry::{Entry, LogRows, Metadata, StreamEntries};
use super::{level, names};
use crate::ingest::otlp_json_to_protobuf;
use crate::model::{Attribute, AttributeValue, Failure, Labels, LabelsBuilder, Reason, Signal, SpanId, TraceId, json_text};
use crate::storage::Refusals;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use std::sync::Arc;

/// Resource attributes that become stream labels; every other attribute is structured metadata.
const INDEX_LABELS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// Maps inside each other that are flattened; deeper ones are dropped. Decoders bound nesting, too.
const DEPTH_MAX: usize = 64;

pub fn translate_protobuf(body: &[u8], received_at: i64, config: &Config) -> Result<(LogRows, Refusals), Failure> {
    let request = ExportLogsServiceRequest::decode(body).map_err(|e| Failure::invalid(format!("cannot decode OTLP logs: {e}")))?;
    Ok(translate(request, received_at, config))
}

pub fn translate_json(body: &[u8], received_at: i64, config: &Config) -> Result<(LogRows, Refusals), Failure> {
    translate_protobuf(&otlp_json_to_protobuf(Signal::Logs, body)?, received_at, config)
}

fn translate(request: ExportLogsServiceRequest, received_at: i64, config: &Config) -> (LogRows, Refusals) {
    let mut out = Translation { rows: LogRows::default(), refusals: Refusals::default(), next_index: 0, received_at };
    for resource_logs in request.resource_logs {
        out.resource(resource_logs, config);
    }
    (out.rows, out.refusals)
}

struct Translation {
    rows: LogRows,
    refusals: Refusals,
    next_index: u32,
    received_at: i64,
}

impl Translation {
    fn resource(&mut self, logs: ResourceLogs, config: &Config) {
        let attributes = logs.resource.map(|r| r.attributes).unwrap_or_default();
        let mut labels = LabelsBuilder::default();
        let mut metadata = Metadata::default();
        for attribute in attributes.into_iter().map(attribute_of) {
            if INDEX_LABELS.contains(&attribute.key.as_str()) {
                let mut flat = Metadata::default();
                flatten(&attribute.key, &attribute.value, 0, &mut flat);
                for (name, value) in flat.into_pairs() {
                    labels.set(&name, &value);
                }
            } else {
                flatten(&attribute.key, &attribute.value, 0, &mut metadata);
            }
        }
        names::discover_service_name(&mut labels, &config.discover_service_name);
        let labels = labels.build();
        let mut entries = Vec::new();
        for scope_logs in logs.scope_logs {
            self.scope(scope_logs, &labels, &metadata, &mut entries);
        }
        if !entries.is_empty() {
            self.rows.streams.push(StreamEntries { labels, entries });
        }
    }

    fn scope(&mut self, logs: ScopeLogs, labels: &Labels, resource: &Metadata, entries: &mut Vec<Entry>) {
        let scope = scope_metadata(logs.scope);
        for record in logs.log_records {
            let index = self.next_index;
            self.next_index += 1;
            let Some(ts) = timestamp(&record, self.received_at) else {
                self.refusals.refuse(index, Reason::InvalidTime, || "log record has a time beyond the year 2262".to_owned());
                continue;
            };
            let line = record.body.as_ref().map(|b| line_of(&value_of(b.clone(), 0))).unwrap_or_default();
            let mut metadata = record_metadata(record);
            metadata.extend(resource);
            metadata.extend(&scope);
            if metadata.is_too_large() {
                self.refusals.refuse(index, Reason::TooLarge, || Metadata::complaint(labels));
                continue;
            }
            let mut metadata = metadata.into_pairs();
            level::detect(labels, &mut metadata, &line);
            entries.push(Entry { index, ts, line, metadata });
        }
    }
}

/// Event time, else observed time, else the time of receipt.
fn timestamp(record: &LogRecord, received_at: i64) -> Option<i64> {
    match [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|t| *t != 0) {
        Some(t) => i64::try_from(t).ok(),
        None => Some(received_at),
    }
}

fn record_metadata(record: LogRecord) -> Metadata {
    let mut pairs = Metadata::default();
    for attribute in record.attributes.into_iter().map(attribute_of) {
        if record.event_name.is_empty() || attribute.key != "event_name" {
            flatten(&attribute.key, &attribute.value, 0, &mut pairs);
        }
    }
    let mut set = |name: &str, value: String| pairs.set(&Arc::from(name), &Arc::from(value));
    if record.time_unix_nano != 0 && record.observed_time_unix_nano != 0 {
        set("observed_timestamp", record.observed_time_unix_nano.to_string());
    }
    if record.severity_number != 0 {
        set("severity_number", record.severity_number.to_string());
    }
    if !record.severity_text.is_empty() {
        set("severity_text", record.severity_text);
    }
    if record.dropped_attributes_count != 0 {
        set("dropped_attributes_count", record.dropped_attributes_count.to_string());
    }
    if record.flags != 0 {
        set("flags", record.flags.to_string());
    }
    if let Some(id) = TraceId::from_slice(&record.trace_id).filter(|id| !id.is_zero()) {
        set("trace_id", id.to_hex());
    }
    if let Some(id) = SpanId::from_slice(&record.span_id).filter(|id| !id.is_zero()) {
        set("span_id", id.to_hex());
    }
    if !record.event_name.is_empty() {
        set("event_name", record.event_name);
    }
    pairs
}

fn scope_metadata(scope: Option<InstrumentationScope>) -> Metadata {
    let mut pairs = Metadata::default();
    let Some(scope) = scope else { return pairs };
    for attribute in scope.attributes.into_iter().map(attribute_of) {
        flatten(&attribute.key, &attribute.value, 0, &mut pairs);
    }
    let mut set = |name: &str, value: String| pairs.set(&Arc::from(name), &Arc::from(value));
    if !scope.name.is_empty() {
        set("scope_name", scope.name);
    }
    if !scope.version.is_empty() {
        set("scope_version", scope.version);
    }
    if scope.dropped_attributes_count != 0 {
        set("scope_dropped_attributes_count", scope.dropped_attributes_count.to_string());
    }
    pairs
}

/// A map becomes a pair for each of its leaves, with the keys joined by `_`; everything else one pair. A name of
/// which nothing remains has no pair.
fn flatten(key: &str, value: &AttributeValue, depth: usize, pairs: &mut Metadata) {
    if pairs.is_too_large() {
        return;
    }
    match value {
        AttributeValue::Map(members) if depth < DEPTH_MAX => {
            for member in members {
                flatten(&format!("{key}_{}", member.key), &member.value, depth + 1, pairs);
            }
        }
        AttributeValue::Map(_) => {}
        value => {
            if let Some(name) = names::normalise(key) {
                pairs.set(&Arc::from(name), &Arc::from(value.to_text()));
            }
        }
    }
}

/// A map as a body is JSON text with its keys sorted.
fn line_of(body: &AttributeValue) -> String {
    match body {
        AttributeValue::Map(_) => json_text(body),
        body => body.to_text(),
    }
}

fn attribute_of(pair: KeyValue) -> Attribute {
    Attribute { key: pair.key, value: pair.value.map_or(AttributeValue::Empty, |v| value_of(v, 0)) }
}

fn value_of(value: AnyValue, depth: usize) -> AttributeValue {
    match value.value {
        Some(ProtoValue::StringValue(s)) => AttributeValue::String(s),
        Some(ProtoValue::BoolValue(b)) => AttributeValue::Bool(b),
        Some(ProtoValue::IntValue(i)) => AttributeValue::Int(i),
        Some(ProtoValue::DoubleValue(d)) => AttributeValue::Double(d),
        Some(ProtoValue::BytesValue(b)) => AttributeValue::Bytes(b),
        Some(ProtoValue::ArrayValue(a)) if depth < DEPTH_MAX => {
            AttributeValue::Array(a.values.into_iter().map(|v| value_of(v, depth + 1)).collect())
        }
        Some(ProtoValue::KvlistValue(list)) if depth < DEPTH_MAX => {
            let member =
                |kv: KeyValue| Attribute { key: kv.key, value: kv.value.map_or(AttributeValue::Empty, |v| value_of(v, depth + 1)) };
            AttributeValue::Map(list.values.into_iter().map(member).collect())
        }
        _ => AttributeValue::Empty,
    }
}

#[cfg(test)]
mod tests;
