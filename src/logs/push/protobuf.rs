//! The protobuf form, `logproto.PushRequest`, from its bytes (contracts/loki.md 2.1).

use super::{Streams, printed_labels};
use crate::ingest::{Message, Plain, WireError};
use crate::logs::rows::{Group, KnownGroups, Metadata};

/// In front of the text of labels, so that other protocols' groups are others.
const KEY: u8 = 2;

pub fn read<'a>(body: Plain<'a>, streams: &mut Streams<'a>, known: &KnownGroups) -> Result<(), WireError> {
    let mut request = Message::new(body);
    let (mut key, mut metadata) = (Vec::new(), Vec::new());
    while let Some(field) = request.field()? {
        match field.tag {
            1 => stream(field.message()?, streams, known, &mut key, &mut metadata)?,
            _ => field.unknown()?,
        }
    }
    Ok(())
}

/// Names and values of structured metadata, as they came.
type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// Fields come in any order, so the labels are looked for before the entries are read. `key` and `metadata` are kept for their
/// memory.
fn stream<'a>(
    message: Message<'a>,
    streams: &mut Streams<'a>,
    known: &KnownGroups,
    key: &mut Vec<u8>,
    metadata: &mut Pairs<'a>,
) -> Result<(), WireError> {
    let mut labels = "";
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => labels = field.text()?,
            2 => drop(field.message()?),
            _ => field.unknown()?,
        }
    }
    key.clear();
    key.push(KEY);
    key.extend_from_slice(labels.as_bytes());
    let config = streams.config;
    streams.begin(known.get(key, || Ok(Group::new(printed_labels(labels, config)?, Metadata::default()))));
    let mut fields = message;
    while let Some(field) = fields.field()? {
        if field.tag == 2 {
            entry(field.message()?, streams, metadata)?;
        }
    }
    Ok(())
}

fn entry<'a>(mut message: Message<'a>, streams: &mut Streams<'a>, metadata: &mut Pairs<'a>) -> Result<(), WireError> {
    let (mut seconds, mut nanos, mut line) = (0i64, 0i32, "");
    metadata.clear();
    while let Some(field) = message.field()? {
        match field.tag {
            1 => {
                let mut timestamp = field.message()?;
                while let Some(field) = timestamp.field()? {
                    match field.tag {
                        1 => seconds = field.int64()?,
                        2 => nanos = field.int32()?,
                        _ => field.unknown()?,
                    }
                }
            }
            2 => line = field.text()?,
            3 => metadata.push(pair(field.message()?)?),
            _ => field.unknown()?,
        }
    }
    let ts = seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos));
    streams.add(ts, line, metadata.iter().copied());
    Ok(())
}

/// A `LabelPair`.
fn pair(mut message: Message<'_>) -> Result<(&str, &str), WireError> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = message.field()? {
        match field.tag {
            1 => name = field.text()?,
            2 => value = field.text()?,
            _ => field.unknown()?,
        }
    }
    Ok((name, value))
}
