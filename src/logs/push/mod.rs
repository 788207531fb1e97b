//! Loki's push protocol: JSON and snappy protobuf (contracts/loki.md 2.1 to 2.4).

mod json;
mod labels;
mod protobuf;

use super::config::Config;
use super::entry::{Entry, LogRows, Metadata, StreamEntries};
use super::{level, names};
use crate::model::{Failure, Labels, LabelsBuilder, Reason};
use crate::storage::Refusals;
use std::collections::HashMap;
use std::sync::Arc;

pub use labels::parse_labels;

/// What one body was translated into, before anything is judged by clock or limits.
pub type Translated = Result<(LogRows, Refusals), Failure>;

pub fn translate_json(body: &[u8], config: &Config) -> Translated {
    let request = json::parse(body)?;
    let mut streams = Streams::new(config);
    for stream in request {
        streams.add(Ok(stream.labels), stream.entries.into_iter().map(|e| (e.ts, e.line, e.metadata)));
    }
    streams.finish()
}

/// Streams whose labels are text and whose times are RFC 3339.
pub fn translate_legacy_json(body: &[u8], config: &Config) -> Translated {
    let mut streams = Streams::new(config);
    for stream in json::parse_legacy(body)? {
        streams.add(printed_labels(&stream.labels), stream.entries.into_iter().map(|e| (e.ts, e.line, e.metadata)));
    }
    streams.finish()
}

fn printed_labels(text: &str) -> Result<Vec<(String, String)>, String> {
    parse_labels(text).map_err(|e| format!("error parsing labels '{text}' with error: {e}"))
}

/// `body` is a raw snappy block.
pub fn translate_protobuf(body: &[u8], max_bytes: usize, config: &Config) -> Translated {
    let request = protobuf::decode(body, max_bytes)?;
    let mut streams = Streams::new(config);
    for stream in request.streams {
        let labels = printed_labels(&stream.labels);
        let entries = stream.entries.into_iter().map(|e| {
            let ts = e.timestamp.map_or(0, |t| t.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(t.nanos)));
            (ts, e.line, e.structured_metadata.into_iter().map(|p| (p.name, p.value)).collect())
        });
        streams.add(labels, entries);
    }
    streams.finish()
}

/// Collects the streams of one request.
struct Streams<'a> {
    config: &'a Config,
    rows: LogRows,
    refusals: Refusals,
    next_index: u32,
    seen: usize,
    /// Normalised names of structured metadata: the same few come again and again.
    names: HashMap<String, Option<Arc<str>>>,
}

impl<'a> Streams<'a> {
    fn new(config: &'a Config) -> Streams<'a> {
        Streams { config, rows: LogRows::default(), refusals: Refusals::default(), next_index: 0, seen: 0, names: HashMap::new() }
    }

    fn add(&mut self, labels: Result<Vec<(String, String)>, String>, entries: impl Iterator<Item = (i64, String, Vec<(String, String)>)>) {
        self.seen += 1;
        let labels = labels.and_then(|pairs| stream_labels(&pairs, self.config));
        let mut stored = Vec::new();
        for (ts, line, metadata) in entries {
            let index = self.next_index;
            self.next_index += 1;
            let labels = match &labels {
                Ok(labels) => labels,
                // The message may be as long as the request, and is the same for every entry of the stream.
                Err(message) => {
                    self.refusals.refuse(index, Reason::InvalidLabel, || message.clone());
                    continue;
                }
            };
            match self.metadata(metadata) {
                Ok(metadata) if metadata.is_too_large() => {
                    self.refusals.refuse(index, Reason::TooLarge, || Metadata::complaint(labels));
                }
                Ok(metadata) => {
                    let mut metadata = metadata.into_pairs();
                    level::detect(labels, &mut metadata, &line);
                    stored.push(Entry { index, ts, line, metadata });
                }
                Err(message) => self.refusals.refuse(index, Reason::InvalidLabel, || message),
            }
        }
        if let (Ok(labels), false) = (labels, stored.is_empty()) {
            self.rows.streams.push(StreamEntries { labels, entries: stored });
        }
    }

    fn metadata(&mut self, pairs: Vec<(String, String)>) -> Result<Metadata, String> {
        let mut out = Metadata::default();
        for (name, value) in pairs {
            let known = self.names.entry(name).or_insert_with_key(|name| names::normalise(name).map(Arc::from));
            let name = known.as_ref().ok_or("structured metadata has a name without a letter or digit")?;
            out.set(name, &Arc::from(value));
        }
        Ok(out)
    }

    fn finish(self) -> Translated {
        if self.seen == 0 {
            return Err(Failure::invalid(NO_STREAMS));
        }
        Ok((self.rows, self.refusals))
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
mod tests;
