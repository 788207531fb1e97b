//! The same translation on prost's messages: what the reader of the bytes is compared with.

use super::INDEX_LABELS;
use crate::logs::config::Config;
use crate::logs::names;
use crate::logs::reference::{Entry, Streams, detect};
use crate::logs::rows::{Metadata, flatten};
use crate::model::{Attribute, AttributeValue, Labels, LabelsBuilder, Reason, SpanId, TraceId, json_text};
use crate::storage::Refusals;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as ProtoValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use std::sync::Arc;

pub fn translate(request: ExportLogsServiceRequest, received_at: i64, config: &Config) -> (Streams, Refusals) {
    let mut out = Translation { streams: Streams::new(), refusals: Refusals::default(), next_index: 0, received_at };
    for resource_logs in request.resource_logs {
        out.resource(resource_logs, config);
    }
    (out.streams, out.refusals)
}

struct Translation {
    streams: Streams,
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
                add(&attribute.key, &attribute.value, &mut flat);
                for (name, value) in flat.into_pairs() {
                    labels.set(&name, &value);
                }
            } else {
                add(&attribute.key, &attribute.value, &mut metadata);
            }
        }
        names::discover_service_name(&mut labels, &config.discover_service_name);
        let labels = labels.build();
        let mut entries = Vec::new();
        for scope_logs in logs.scope_logs {
            self.scope(scope_logs, &labels, &metadata, &mut entries);
        }
        if !entries.is_empty() {
            self.streams.push((labels, entries));
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
            let line = record.body.as_ref().map(|b| line_of(&value_of(b.clone()))).unwrap_or_default();
            let mut metadata = record_metadata(record);
            metadata.extend(resource);
            metadata.extend(&scope);
            if metadata.is_too_large() {
                self.refusals.refuse(index, Reason::TooLarge, || Metadata::complaint(labels));
                continue;
            }
            let mut metadata = metadata.into_pairs();
            detect(labels, &mut metadata, &line);
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
            add(&attribute.key, &attribute.value, &mut pairs);
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
        add(&attribute.key, &attribute.value, &mut pairs);
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

fn add(key: &str, value: &AttributeValue, pairs: &mut Metadata) {
    flatten(key, value, &mut |key, value| {
        if let Some(name) = names::normalise(key) {
            pairs.set(&Arc::from(name), &Arc::from(value.to_text()));
        }
        true
    });
}

/// A map as a body is JSON text with its keys sorted.
fn line_of(body: &AttributeValue) -> String {
    match body {
        AttributeValue::Map(_) => json_text(body),
        body => body.to_text(),
    }
}

fn attribute_of(pair: KeyValue) -> Attribute {
    Attribute { key: pair.key, value: pair.value.map_or(AttributeValue::Empty, value_of) }
}

fn value_of(value: AnyValue) -> AttributeValue {
    match value.value {
        Some(ProtoValue::StringValue(s)) => AttributeValue::String(s),
        Some(ProtoValue::BoolValue(b)) => AttributeValue::Bool(b),
        Some(ProtoValue::IntValue(i)) => AttributeValue::Int(i),
        Some(ProtoValue::DoubleValue(d)) => AttributeValue::Double(d),
        Some(ProtoValue::BytesValue(b)) => AttributeValue::Bytes(b),
        Some(ProtoValue::ArrayValue(a)) => AttributeValue::Array(a.values.into_iter().map(value_of).collect()),
        Some(ProtoValue::KvlistValue(list)) => {
            let member = |kv: KeyValue| Attribute { key: kv.key, value: kv.value.map_or(AttributeValue::Empty, value_of) };
            AttributeValue::Map(list.values.into_iter().map(member).collect())
        }
        _ => AttributeValue::Empty,
    }
}
