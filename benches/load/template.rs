//! Requests without end: ones that were made before, with times, ids and values that no other has.

use crate::requests::{POINTS, Requests};
use crate::{Result, requests};
use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

pub const MILLI: u64 = 1_000_000;

/// A request and where in it is what changes.
pub struct Template {
    body: Vec<u8>,
    pub items: u64,
    /// Of each item, in the order of the request.
    places: Vec<Places>,
}

/// Where the fields of an item begin, as far as it has them; all are of fixed width.
#[derive(Default)]
struct Places {
    /// Nanoseconds, eight bytes each: of these, all after the first keep their distance to it.
    times: Vec<usize>,
    /// Eight bytes each.
    ids: Vec<usize>,
    /// Sixteen characters.
    text: Option<usize>,
    integer: Option<usize>,
    float: Option<usize>,
}

/// What is sent of one signal: several templates, which take turns.
pub struct Templates {
    pub signal: &'static str,
    pub path: &'static str,
    /// For each connection.
    pub of: Vec<Vec<Template>>,
}

/// Templates of each connection and signal.
const EACH: u64 = 4;

impl Templates {
    /// Of all three signals. No two connections send the same series.
    pub fn all(connections: u64, now: u64) -> Result<Vec<Templates>> {
        let count = connections * EACH;
        // One round of as many pods as there are templates.
        let made = [requests::metrics(count, now, count), requests::logs(count, now), requests::traces(count, now)];
        made.into_iter().map(|requests| Templates::new(&requests, connections)).collect()
    }

    fn new(requests: &Requests, connections: u64) -> Result<Templates> {
        let read = match requests.path {
            "/v1/metrics" => Template::metrics,
            "/v1/logs" => Template::logs,
            _ => Template::traces,
        };
        let mut of: Vec<Vec<Template>> = (0..connections).map(|_| Vec::new()).collect();
        for (body, connection) in requests.bodies.iter().zip((0..of.len()).cycle()) {
            of[connection].push(read(body).ok_or("a request that cannot be read")?);
        }
        Ok(Templates { signal: requests.signal, path: requests.path, of })
    }
}

impl Template {
    fn new(body: &[u8], places: Vec<Places>) -> Template {
        Template { body: body.to_vec(), items: places.len() as u64, places }
    }

    fn traces(body: &[u8]) -> Option<Template> {
        let span = |span: Range| {
            let mut places = Places::default();
            for field in fields(body, span)? {
                match field.number {
                    1 => places.ids.extend([field.at.0, field.at.0 + 8]),
                    2 | 4 if field.at.1 - field.at.0 == 8 => places.ids.push(field.at.0),
                    7 | 8 => places.times.push(field.at.0),
                    _ => {}
                }
            }
            Some(places)
        };
        Some(Template::new(body, below(body, &[1, 2, 2])?.into_iter().map(span).collect::<Option<_>>()?))
    }

    fn logs(body: &[u8]) -> Option<Template> {
        let record = |record: Range| {
            let mut places = Places::default();
            for field in fields(body, record)? {
                match field.number {
                    1 | 11 => places.times.push(field.at.0),
                    5 => {
                        let name = b"session=";
                        let text = &body[field.at.0..field.at.1];
                        places.text = text.windows(name.len()).position(|w| w == name).map(|at| field.at.0 + at + name.len());
                    }
                    9 => places.ids.extend([field.at.0, field.at.0 + 8]),
                    10 => places.ids.push(field.at.0),
                    _ => {}
                }
            }
            Some(places)
        };
        Some(Template::new(body, below(body, &[1, 2, 2])?.into_iter().map(record).collect::<Option<_>>()?))
    }

    fn metrics(body: &[u8]) -> Option<Template> {
        let mut points = Vec::new();
        for metric in below(body, &[1, 2, 2])? {
            for data in fields(body, metric)?.into_iter().filter(|field| matches!(field.number, 5 | 7)) {
                for point in fields(body, data.at)?.into_iter().filter(|field| field.number == 1 && field.is_nested) {
                    let mut places = Places::default();
                    for field in fields(body, point.at)? {
                        match field.number {
                            3 => places.times.push(field.at.0),
                            4 => places.float = Some(field.at.0),
                            6 => places.integer = Some(field.at.0),
                            _ => {}
                        }
                    }
                    points.push(places);
                }
            }
        }
        (points.len() as u64 == POINTS).then(|| Template::new(body, points))
    }

    /// The request number `n`, whose items begin in the millisecond `millis` since 1970: metrics at it, others a microsecond
    /// after each other. `nanos` tells requests of one millisecond apart.
    pub fn at(&self, millis: u64, nanos: u64, n: u64) -> Bytes {
        let mut body = self.body.clone();
        let mix = xxh3_64(&n.to_le_bytes());
        for (item, places) in (0u64..).zip(&self.places) {
            let is_metric = places.integer.or(places.float).is_some();
            let time = millis * MILLI + if is_metric { 0 } else { 100_000 + item * 1_000 + nanos };
            let first = places.times.first().map_or(0, |at| number(&self.body, *at));
            for at in &places.times {
                put(&mut body, *at, time + (number(&self.body, *at) - first).min(60_000 * MILLI));
            }
            for at in &places.ids {
                put(&mut body, *at, number(&self.body, *at) ^ mix);
            }
            if let Some(at) = places.text {
                body[at..at + 16].copy_from_slice(format!("{:016x}", xxh3_64(&(n ^ item << 40).to_le_bytes())).as_bytes());
            }
            if let Some(at) = places.integer {
                put(&mut body, at, number(&self.body, at) + n * (item % 100));
            }
            if let Some(at) = places.float {
                put(&mut body, at, ((mix ^ item.wrapping_mul(0x9e37_79b9)) % 10_000) as f64 / 100.0);
            }
        }
        body.into()
    }
}

/// Little-endian, as protobuf has it.
trait Fixed {
    fn bytes(self) -> [u8; 8];
}

impl Fixed for u64 {
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

impl Fixed for f64 {
    fn bytes(self) -> [u8; 8] {
        self.to_le_bytes()
    }
}

fn put(body: &mut [u8], at: usize, value: impl Fixed) {
    body[at..at + 8].copy_from_slice(&value.bytes());
}

fn number(body: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&body[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// From, to.
type Range = (usize, usize);

struct Field {
    number: u64,
    /// Of its value.
    at: Range,
    /// Its value has a length: bytes, text or a message.
    is_nested: bool,
}

/// The messages at this path of field numbers, from the outermost.
fn below(body: &[u8], path: &[u64]) -> Option<Vec<Range>> {
    let mut messages = vec![(0, body.len())];
    for step in path {
        let mut inner = Vec::new();
        for message in messages {
            inner.extend(fields(body, message)?.into_iter().filter(|field| field.number == *step && field.is_nested).map(|field| field.at));
        }
        messages = inner;
    }
    Some(messages)
}

/// Where it was before.
fn step(at: &mut usize, by: usize) -> usize {
    let before = *at;
    *at += by;
    before
}

/// The fields of the protobuf message at `range`.
fn fields(body: &[u8], (mut at, end): Range) -> Option<Vec<Field>> {
    let varint = |at: &mut usize| {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *body.get(*at)?;
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let mut all = Vec::new();
    while at < end {
        let tag = varint(&mut at)?;
        let (from, is_nested) = match tag & 7 {
            0 => {
                let from = at;
                varint(&mut at)?;
                (from, false)
            }
            1 => (step(&mut at, 8), false),
            2 => {
                let length = usize::try_from(varint(&mut at)?).ok()?;
                (step(&mut at, length), true)
            }
            5 => (step(&mut at, 4), false),
            _ => return None,
        };
        all.push(Field { number: tag >> 3, at: (from, at), is_nested });
    }
    Some(all)
}
