//! `prometheus.ReadRequest`.

use crate::ingest::{Message, WireError};
use crate::metrics::promql::Interval;
use crate::model::{Failure, MatchOp, Matcher};

/// A request, decompressed, at most. It holds matchers and nothing else.
const REQUEST_MAX_BYTES: usize = 4 << 20;

/// Queries of one request at most: Prometheus sends one.
const QUERIES_MAX: usize = 1_000;

/// In which form samples are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One `ReadResponse` with every sample.
    Samples,
    /// Frames of `ChunkedReadResponse`.
    Chunks,
}

#[derive(Debug)]
pub struct Query {
    pub matchers: Vec<Matcher>,
    pub interval: Interval,
    /// Only which series there are is asked for, not their samples.
    pub only_series: bool,
}

#[derive(Debug)]
pub struct ReadRequest {
    pub queries: Vec<Query>,
    pub form: Form,
}

impl ReadRequest {
    /// Of a snappy block. Fails for what is no request, and where no form fits.
    pub fn decode(packed: &[u8]) -> Result<ReadRequest, Failure> {
        let unpacked = |e: snap::Error| Failure::invalid(format!("cannot decompress remote read request: {e}"));
        let length = snap::raw::decompress_len(packed).map_err(unpacked)?;
        if length > REQUEST_MAX_BYTES {
            return Err(Failure::invalid(format!("remote read request has {length} bytes; {REQUEST_MAX_BYTES} are the most that is read")));
        }
        let plain = snap::raw::Decoder::new().decompress_vec(packed).map_err(unpacked)?;
        read(&plain)
    }
}

fn malformed(error: WireError) -> Failure {
    Failure::invalid(format!("cannot decode remote read request: {error}"))
}

fn read(plain: &[u8]) -> Result<ReadRequest, Failure> {
    let (mut queries, mut accepted) = (Vec::new(), Vec::new());
    let mut request = Message::new(plain);
    while let Some(field) = request.field().map_err(malformed)? {
        match field.tag {
            1 if queries.len() == QUERIES_MAX => {
                return Err(Failure::invalid(format!("remote read request has more than {QUERIES_MAX} queries")));
            }
            1 => queries.push(query(field.message().map_err(malformed)?)?),
            2 => field.each_varint(|form| accepted.push(form)).map_err(malformed)?,
            _ => field.unknown().map_err(malformed)?,
        }
    }
    // The client names forms in the order it likes them.
    let known = accepted.iter().find_map(|number| match number {
        0 => Some(Form::Samples),
        1 => Some(Form::Chunks),
        _ => None,
    });
    match known {
        Some(form) => Ok(ReadRequest { queries, form }),
        None if accepted.is_empty() => Ok(ReadRequest { queries, form: Form::Samples }),
        None => Err(Failure::invalid(format!(
            "server does not support any of the requested response types: {accepted:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS"
        ))),
    }
}

/// Milliseconds, both inclusive; a hint is what the reader needs of the query's range.
fn query(mut message: Message<'_>) -> Result<Query, Failure> {
    let mut interval = Interval { from: 0, to: 0 };
    let (mut matchers, mut hints) = (Vec::new(), Hints::default());
    while let Some(field) = message.field().map_err(malformed)? {
        match field.tag {
            1 => interval.from = field.int64().map_err(malformed)?,
            2 => interval.to = field.int64().map_err(malformed)?,
            3 => matchers.push(matcher(field.message().map_err(malformed)?)?),
            4 => hints = Hints::read(field.message().map_err(malformed)?).map_err(malformed)?,
            _ => field.unknown().map_err(malformed)?,
        }
    }
    if let Some(needed) = hints.interval {
        interval = Interval { from: interval.from.max(needed.from), to: interval.to.min(needed.to) };
    }
    Ok(Query { matchers, interval, only_series: hints.only_series })
}

#[derive(Default)]
struct Hints {
    interval: Option<Interval>,
    only_series: bool,
}

impl Hints {
    /// Step, function, grouping and range say how the samples are used; every sample is answered whatever they are.
    fn read(mut message: Message<'_>) -> Result<Hints, WireError> {
        let (mut from, mut to, mut function): (i64, i64, &[u8]) = (0, 0, &[]);
        while let Some(field) = message.field()? {
            match field.tag {
                2 => function = field.bytes()?,
                3 => from = field.int64()?,
                4 => to = field.int64()?,
                _ => field.unknown()?,
            }
        }
        // Neither is given where nothing is narrowed down.
        let interval = ((from, to) != (0, 0)).then_some(Interval { from, to });
        Ok(Hints { interval, only_series: function == b"series" })
    }
}

fn matcher(mut message: Message<'_>) -> Result<Matcher, Failure> {
    let (mut kind, mut name, mut value): (i32, &[u8], &[u8]) = (0, &[], &[]);
    while let Some(field) = message.field().map_err(malformed)? {
        match field.tag {
            1 => kind = field.int32().map_err(malformed)?,
            2 => name = field.bytes().map_err(malformed)?,
            3 => value = field.bytes().map_err(malformed)?,
            _ => field.unknown().map_err(malformed)?,
        }
    }
    let op = match kind {
        0 => MatchOp::Equal,
        1 => MatchOp::NotEqual,
        2 => MatchOp::Regex,
        3 => MatchOp::NotRegex,
        _ => return Err(Failure::invalid(format!("invalid matcher type {kind}"))),
    };
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Failure::invalid("a matcher is not UTF-8"));
    Matcher::new(text(name)?, op, text(value)?).map_err(|e| Failure::invalid(format!("invalid matcher: {e}")))
}
