//! The same translation on prost's messages: what the reader of the bytes is compared with.

use super::printed_labels;
use crate::logs::config::Config;
use crate::logs::names;
use crate::logs::reference::{Entry, Streams, detect};
use crate::logs::rows::Metadata;
use crate::model::Reason;
use crate::storage::Refusals;
use prost::Message;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Stream {
    #[prost(string, tag = "1")]
    pub labels: String,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<PushedEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PushedEntry {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub line: String,
    #[prost(message, repeated, tag = "3")]
    pub structured_metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `None` for a request without streams.
pub fn translate(request: PushRequest, config: &Config) -> Option<(Streams, Refusals)> {
    let (mut streams, mut refusals, mut index) = (Streams::new(), Refusals::default(), 0);
    if request.streams.is_empty() {
        return None;
    }
    for stream in request.streams {
        let labels = printed_labels(&stream.labels, config);
        let mut entries = Vec::new();
        for entry in stream.entries {
            index += 1;
            let index = index - 1;
            let labels = match &labels {
                Ok(labels) => labels,
                Err(message) => {
                    refusals.refuse(index, Reason::InvalidLabel, || message.clone());
                    continue;
                }
            };
            let pairs: Option<Vec<(String, String)>> =
                entry.structured_metadata.into_iter().map(|p| Some((names::normalise(&p.name)?, p.value))).collect();
            let Some(pairs) = pairs else {
                let message = "structured metadata has a name without a letter or digit";
                refusals.refuse(index, Reason::InvalidLabel, || message.to_owned());
                continue;
            };
            let mut metadata = Metadata::default();
            pairs.into_iter().for_each(|(name, value)| metadata.set(&Arc::from(name), &Arc::from(value)));
            let mut metadata = metadata.into_pairs();
            detect(labels, &mut metadata, &entry.line);
            let ts = entry.timestamp.map_or(0, |t| t.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(t.nanos)));
            entries.push(Entry { index, ts, line: entry.line, metadata });
        }
        if let (Ok(labels), false) = (labels, entries.is_empty()) {
            streams.push((labels, entries));
        }
    }
    Some((streams, refusals))
}
