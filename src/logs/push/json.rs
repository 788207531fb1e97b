use crate::ingest::Plain;
use crate::model::{Failure, time};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

#[derive(Debug, PartialEq)]
pub struct Stream {
    pub labels: Vec<(String, String)>,
    pub entries: Vec<PushEntry>,
}

#[derive(Debug, PartialEq)]
pub struct PushEntry {
    pub ts: i64,
    pub line: String,
    pub metadata: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    streams: Option<Streams<RawStream>>,
}

/// Streams of one request: an empty one is three bytes of JSON and far more in memory.
const STREAMS_MAX: usize = 1_000_000;

/// A list of streams of bounded length.
struct Streams<S>(Vec<S>);

impl<'de, S: Deserialize<'de>> Deserialize<'de> for Streams<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Streams<S>, D::Error> {
        struct Elements<S>(PhantomData<S>);
        impl<'de, S: Deserialize<'de>> Visitor<'de> for Elements<S> {
            type Value = Streams<S>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of streams")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Streams<S>, A::Error> {
                let mut streams = Vec::new();
                while let Some(stream) = seq.next_element()? {
                    if streams.len() == STREAMS_MAX {
                        return Err(A::Error::custom(format!("more than {STREAMS_MAX} streams in one request")));
                    }
                    streams.push(stream);
                }
                Ok(Streams(streams))
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

#[derive(Deserialize)]
struct RawStream {
    #[serde(default)]
    stream: Option<Pairs>,
    #[serde(default)]
    values: Option<Vec<RawEntry>>,
}

struct RawEntry(PushEntry);

/// A JSON object of strings, in order.
struct Pairs(Vec<(String, String)>);

/// A stream of the first API.
#[derive(Debug, PartialEq)]
pub struct LegacyStream {
    pub labels: String,
    pub entries: Vec<PushEntry>,
}

#[derive(Deserialize)]
struct LegacyBody {
    #[serde(default)]
    streams: Option<Streams<RawLegacyStream>>,
}

#[derive(Deserialize)]
struct RawLegacyStream {
    #[serde(default)]
    labels: String,
    #[serde(default)]
    entries: Option<Vec<RawLegacyEntry>>,
}

#[derive(Deserialize)]
struct RawLegacyEntry {
    ts: String,
    #[serde(default)]
    line: String,
}

pub fn parse_legacy(body: Plain<'_>) -> Result<Vec<LegacyStream>, Failure> {
    let bad = |why: String| Failure::invalid(format!("couldn't parse push request: {why}"));
    let body: LegacyBody = body.json().map_err(|e| bad(e.to_string()))?;
    let entry = |raw: RawLegacyEntry| {
        let ts = time::parse_rfc3339(&raw.ts).ok_or_else(|| bad(format!("timestamp {:?} is not in the form of RFC 3339", raw.ts)))?;
        Ok(PushEntry { ts, line: raw.line, metadata: Vec::new() })
    };
    let stream = |raw: RawLegacyStream| {
        let entries = raw.entries.unwrap_or_default().into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(LegacyStream { labels: raw.labels, entries })
    };
    body.streams.into_iter().flat_map(|s| s.0).map(stream).collect()
}

pub fn parse(body: Plain<'_>) -> Result<Vec<Stream>, Failure> {
    let body: Request = body.json().map_err(|e| Failure::invalid(format!("couldn't parse push request: {e}")))?;
    let stream = |raw: RawStream| Stream {
        labels: raw.stream.map(|p| p.0).unwrap_or_default(),
        entries: raw.values.unwrap_or_default().into_iter().map(|e| e.0).collect(),
    };
    Ok(body.streams.into_iter().flat_map(|s| s.0).map(stream).collect())
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, String>()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for RawEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawEntry, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = RawEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[\"<unix nanoseconds>\", \"<line>\", {structured metadata}]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<RawEntry, A::Error> {
                let ts: String = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let ts = ts.parse().map_err(|_| A::Error::custom(format!("timestamp {ts:?} is not a decimal number of nanoseconds")))?;
                let line: String = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let metadata = seq.next_element::<Option<Pairs>>()?.flatten().map(|p| p.0).unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEntry(PushEntry { ts, line, metadata }))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}
