//! OTLP logs as log entries (contracts/loki.md 2.5): the mapping is the same for Loki's route and for OTLP's own.

mod record;
#[cfg(test)]
mod reference;

use super::config::Config;
use super::names;
use super::rows::{Group, Keys, KnownGroups, LogRows, Metadata, RowsBuilder, flatten};
use crate::ingest::{Message, Plain, ResourceRef, ScopeRef, WireError, merge_resource, merge_scope, otlp_json_to_protobuf};
use crate::model::{AttributeRef, AttributeValue, Failure, LabelsBuilder, Reason, Signal};
use crate::storage::Refusals;
use record::Record;
use std::convert::Infallible;
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

pub fn translate_protobuf<'a>(
    body: impl Into<Plain<'a>>,
    received_at: i64,
    config: &Config,
    known: &KnownGroups,
) -> Result<(LogRows, Refusals), Failure> {
    let body = body.into();
    let rows = RowsBuilder::new(body.bytes().len());
    let refusals = Refusals::default();
    let mut translation = Translation {
        rows,
        refusals,
        keys: Keys::default(),
        next_index: 0,
        received_at,
        config,
        known,
        key: Vec::new(),
        text: String::new(),
    };
    translation.request(body).map_err(|e| Failure::invalid(format!("cannot decode OTLP logs: {e}")))?;
    Ok((translation.rows.finish(), translation.refusals))
}

pub fn translate_json<'a>(
    body: impl Into<Plain<'a>>,
    received_at: i64,
    config: &Config,
    known: &KnownGroups,
) -> Result<(LogRows, Refusals), Failure> {
    let body = body.into();
    translate_protobuf(body.with(&otlp_json_to_protobuf(Signal::Logs, body)?), received_at, config, known)
}

struct Translation<'a> {
    rows: RowsBuilder,
    refusals: Refusals,
    keys: Keys<'a>,
    next_index: u32,
    received_at: i64,
    config: &'a Config,
    known: &'a KnownGroups,
    /// Bytes that say a group.
    key: Vec<u8>,
    /// For numbers and ids.
    text: String,
}

/// In front of the bytes of a group, so that other protocols' groups are others.
const KEY: u8 = 1;

/// Appends a part of a key: equal keys have equal parts.
fn add_part(key: &mut Vec<u8>, part: &[u8]) {
    // Bounded by the length of a request.
    key.extend_from_slice(&(part.len() as u32).to_le_bytes());
    key.extend_from_slice(part);
}

impl<'a> Translation<'a> {
    fn request(&mut self, body: Plain<'a>) -> Result<(), WireError> {
        let mut request = Message::new(body);
        while let Some(field) = request.field()? {
            match field.tag {
                1 => self.resource_logs(field.message()?)?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    /// Fields come in any order, so the resource is looked for before the records are read.
    fn resource_logs(&mut self, message: Message<'a>) -> Result<(), WireError> {
        let mut resource = ResourceRef::default();
        self.key.clear();
        self.key.push(KEY);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => {
                    let own = field.message()?;
                    add_part(&mut self.key, own.bytes());
                    merge_resource(&mut resource, own)?;
                }
                2 => drop(field.message()?),
                3 => drop(field.text()?),
                _ => field.unknown()?,
            }
        }
        // Behind the parts of the resource; no part is so long.
        self.key.extend_from_slice(&u32::MAX.to_le_bytes());
        let resource_key = self.key.len();
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.tag == 2 {
                self.key.truncate(resource_key);
                self.scope_logs(field.message()?, &resource)?;
            }
        }
        Ok(())
    }

    fn scope_logs(&mut self, message: Message<'a>, resource: &ResourceRef<'a>) -> Result<(), WireError> {
        let mut scope = ScopeRef::default();
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.tag {
                1 => {
                    let own = field.message()?;
                    add_part(&mut self.key, own.bytes());
                    merge_scope(&mut scope, own)?;
                }
                2 => drop(field.message()?),
                3 => drop(field.text()?),
                _ => field.unknown()?,
            }
        }
        let config = self.config;
        let Ok(group) = self.known.get::<Infallible>(&self.key, || Ok(group(resource, &scope, config)));
        self.rows.begin(&group);
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.tag == 2 {
                let record = Record::read(field.message()?)?;
                self.record(record, &group);
            }
        }
        Ok(())
    }

    fn record(&mut self, record: Record<'a>, group: &Group) {
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        let Some(ts) = record.timestamp(self.received_at) else {
            self.refusals.refuse(index, Reason::InvalidTime, || "log record has a time beyond the year 2262".to_owned());
            return;
        };
        self.keys.rewind();
        record.set_metadata(&mut self.rows, &mut self.keys, &mut self.text);
        if self.rows.entry(index, ts, &record.line()).is_err() {
            self.refusals.refuse(index, Reason::TooLarge, || Metadata::complaint(&group.labels));
        }
    }
}

/// The stream of a resource's records, and the metadata that it and its scope give them.
fn group(resource: &ResourceRef<'_>, scope: &ScopeRef<'_>, config: &Config) -> Group {
    let mut labels = LabelsBuilder::default();
    let mut metadata = Metadata::default();
    for attribute in &resource.attributes {
        if INDEX_LABELS.contains(&attribute.key) {
            let mut flat = Metadata::default();
            add_attribute(attribute, &mut flat);
            for (name, value) in flat.into_pairs() {
                labels.set(&name, &value);
            }
        } else {
            add_attribute(attribute, &mut metadata);
        }
    }
    names::discover_service_name(&mut labels, &config.discover_service_name);
    let mut shared = Metadata::default();
    shared.extend(&metadata);
    shared.extend(&scope_metadata(scope));
    Group::new(labels.build(), shared)
}

fn scope_metadata(scope: &ScopeRef<'_>) -> Metadata {
    let mut pairs = Metadata::default();
    scope.attributes.iter().for_each(|attribute| add_attribute(attribute, &mut pairs));
    let mut set = |name: &str, value: &str| pairs.set(&Arc::from(name), &Arc::from(value));
    if !scope.name.is_empty() {
        set("scope_name", scope.name);
    }
    if !scope.version.is_empty() {
        set("scope_version", scope.version);
    }
    if scope.dropped_attributes_count != 0 {
        set("scope_dropped_attributes_count", &scope.dropped_attributes_count.to_string());
    }
    pairs
}

fn add_attribute(attribute: &AttributeRef<'_>, pairs: &mut Metadata) {
    flatten(attribute.key, &AttributeValue::from(attribute.value.clone()), &mut |key, value| {
        // A name of which nothing remains has no pair.
        if let Some(name) = names::normalise(key) {
            pairs.set(&Arc::from(name), &Arc::from(value.to_text()));
        }
        !pairs.is_too_large()
    });
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
