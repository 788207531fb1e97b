//! Loki's push protocol: JSON and snappy protobuf (contracts/loki.md 2.1 to 2.4).

mod json;
mod labels;
mod protobuf;
#[cfg(test)]
mod reference;

use super::config::Config;
use super::names;
use super::rows::{Group, Keys, KnownGroups, LogRows, Metadata, RowsBuilder};
use crate::ingest::Plain;
use crate::model::{Failure, FailureKind, Labels, LabelsBuilder, Reason};
use crate::storage::Refusals;
use json::PushEntry;
use std::sync::Arc;

pub use labels::parse_labels;

/// What one body was translated into, before anything is judged by clock or limits.
pub type Translated = Result<(LogRows, Refusals), Failure>;

pub fn translate_json<'a>(body: impl Into<Plain<'a>>, config: &Config) -> Translated {
    let body = body.into();
    let request = json::parse(body)?;
    let mut streams = Streams::new(config, body.bytes().len());
    for stream in &request {
        let labels = stream_labels(&stream.labels, config).map(|labels| Arc::new(Group::new(labels, Metadata::default())));
        streams.add_all(labels, &stream.entries);
    }
    streams.finish()
}

/// Streams whose labels are text and whose times are RFC 3339.
pub fn translate_legacy_json<'a>(body: impl Into<Plain<'a>>, config: &Config) -> Translated {
    let body = body.into();
    let request = json::parse_legacy(body)?;
    let mut streams = Streams::new(config, body.bytes().len());
    for stream in &request {
        let labels = printed_labels(&stream.labels, config).map(|labels| Arc::new(Group::new(labels, Metadata::default())));
        streams.add_all(labels, &stream.entries);
    }
    streams.finish()
}

/// Labels as text: a stream's own, and `service_name`.
fn printed_labels(text: &str, config: &Config) -> Result<Labels, String> {
    let pairs = parse_labels(text).map_err(|e| format!("error parsing labels '{text}' with error: {e}"))?;
    stream_labels(&pairs, config)
}

/// `body` is a raw snappy block. Fails with `TooLarge` before anything is allocated when it says that it is larger than
/// `max_bytes`.
pub fn translate_protobuf<'a>(body: impl Into<Plain<'a>>, max_bytes: usize, config: &Config, known: &KnownGroups) -> Translated {
    let packed = body.into();
    let body = packed.bytes();
    let hint = if body.first() == Some(&b'{') { ". If it is JSON, say so: Content-Type: application/json" } else { "" };
    let bad = |e: snap::Error| Failure::invalid(format!("cannot decompress push request: {e}{hint}"));
    let length = snap::raw::decompress_len(body).map_err(bad)?;
    if length > max_bytes {
        let message = format!("decompressed message size too large than max ({length} vs {max_bytes})");
        return Err(Failure::new(FailureKind::TooLarge, message));
    }
    packed.check_for(length).map_err(|e| Failure::invalid(e.to_string()))?;
    let plain = snap::raw::Decoder::new().decompress_vec(body).map_err(bad)?;
    translate_plain(packed.with(&plain), config, known)
}

/// `body` is a `PushRequest`.
fn translate_plain(body: Plain<'_>, config: &Config, known: &KnownGroups) -> Translated {
    let mut streams = Streams::new(config, body.bytes().len());
    protobuf::read(body, &mut streams, known).map_err(|e| Failure::invalid(format!("cannot decode push request: {e}")))?;
    streams.finish()
}

/// Collects the streams of one request.
struct Streams<'a> {
    config: &'a Config,
    rows: RowsBuilder,
    refusals: Refusals,
    next_index: u32,
    seen: usize,
    keys: Keys<'a>,
    /// What the entries that come are of, or why they are refused.
    group: Result<Arc<Group>, String>,
}

impl<'a> Streams<'a> {
    /// `bytes`: about what the request has.
    fn new(config: &'a Config, bytes: usize) -> Streams<'a> {
        let (rows, refusals) = (RowsBuilder::new(bytes), Refusals::default());
        Streams { config, rows, refusals, next_index: 0, seen: 0, keys: Keys::default(), group: Err(String::new()) }
    }

    /// A stream, whose entries come.
    fn begin(&mut self, group: Result<Arc<Group>, String>) {
        self.seen += 1;
        if let Ok(group) = &group {
            self.rows.begin(group);
        }
        self.group = group;
    }

    fn add_all(&mut self, group: Result<Arc<Group>, String>, entries: &'a [PushEntry]) {
        self.begin(group);
        for PushEntry { ts, line, metadata } in entries {
            self.add(*ts, line, metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
    }

    fn add(&mut self, ts: i64, line: &str, metadata: impl Iterator<Item = (&'a str, &'a str)>) {
        let index = self.next_index;
        self.next_index = index.saturating_add(1);
        let group = match &self.group {
            Ok(group) => group,
            // The message may be as long as the request, and is the same for every entry of the stream.
            Err(message) => return self.refusals.refuse(index, Reason::InvalidLabel, || message.clone()),
        };
        self.keys.rewind();
        for (name, value) in metadata {
            let Some(name) = self.keys.number(name, &mut self.rows) else {
                self.rows.discard();
                let message = || "structured metadata has a name without a letter or digit".to_owned();
                return self.refusals.refuse(index, Reason::InvalidLabel, message);
            };
            self.rows.set(name, value);
        }
        if self.rows.entry(index, ts, line).is_err() {
            self.refusals.refuse(index, Reason::TooLarge, || Metadata::complaint(&group.labels));
        }
    }

    fn finish(self) -> Translated {
        if self.seen == 0 {
            return Err(Failure::invalid(NO_STREAMS));
        }
        Ok((self.rows.finish(), self.refusals))
    }
}

/// Answered with 422 (contracts/loki.md 2.1).
pub const NO_STREAMS: &str = "error at least one valid stream is required for ingestion";

fn stream_labels(pairs: &[(String, String)], config: &Config) -> Result<Labels, String> {
    let mut builder = LabelsBuilder::default();
    for (name, value) in pairs {
        builder.set(name, value);
    }
    let given = builder.build();
    let print = || given.to_string();
    if given.is_empty() {
        return Err("error at least one label pair is required per stream".into());
    }
    for (name, value) in given.iter() {
        if !names::is_label_name(name) {
            return Err(format!("error parsing labels '{}' with error: invalid label name {name:?}", print()));
        }
        if name.len() > NAME_MAX_BYTES {
            return Err(format!("stream '{}' has label name too long: '{name}'", print()));
        }
        if value.len() > VALUE_MAX_BYTES {
            return Err(format!("stream '{}' has label value too long: '{value}'", print()));
        }
    }
    let count = given.iter().filter(|(n, _)| *n != "service_name").count();
    if count > config.labels_max {
        return Err(format!("entry for stream '{}' has {count} label names; limit {}", print(), config.labels_max));
    }
    names::discover_service_name(&mut builder, &config.discover_service_name);
    Ok(builder.build())
}

const NAME_MAX_BYTES: usize = 1024;
const VALUE_MAX_BYTES: usize = 2048;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
