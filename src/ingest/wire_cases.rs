//! Messages for comparing two decoders: well-formed ones, and such as no sender should make. Cases are made by the fields
//! that a message has, so that they reach what is deep inside; `MONOCLE_FUZZ_SECONDS` says for how long.

use prost_reflect::{Kind as ProtoKind, MessageDescriptor};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long cases are made without `MONOCLE_FUZZ_SECONDS`.
const SECONDS: f64 = 3.0;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Varint,
    /// One of these, as a varint.
    Number(&'static [u64]),
    /// One of these lists of varints, packed or one by one.
    Numbers(&'static [&'static [u64]]),
    Fixed64,
    Fixed32,
    Text,
    /// One of these.
    Texts(&'static [&'static str]),
    Bytes,
    /// By its position in the schema.
    Message(usize),
}

/// The fields of each message; the first message is the outermost.
pub type Schema = Vec<Vec<(u32, Kind)>>;

/// The schema of a message of which there is a descriptor.
pub fn schema_of(root: &MessageDescriptor) -> Schema {
    let mut known = HashMap::from([(root.full_name().to_owned(), 0)]);
    let mut queue = vec![root.clone()];
    let mut schema = Schema::new();
    while let Some(message) = queue.get(schema.len()).cloned() {
        let fields = message.fields().map(|field| {
            let kind = match field.kind() {
                ProtoKind::String => Kind::Text,
                ProtoKind::Bytes => Kind::Bytes,
                ProtoKind::Double | ProtoKind::Fixed64 | ProtoKind::Sfixed64 => Kind::Fixed64,
                ProtoKind::Float | ProtoKind::Fixed32 | ProtoKind::Sfixed32 => Kind::Fixed32,
                ProtoKind::Message(inner) => Kind::Message(*known.entry(inner.full_name().to_owned()).or_insert_with(|| {
                    queue.push(inner.clone());
                    queue.len() - 1
                })),
                _ => Kind::Varint,
            };
            (field.number(), kind)
        });
        let fields = fields.collect();
        schema.push(fields);
    }
    schema
}

/// Calls `check` with the lines of the corpus, and then with cases of `schema` until the time is over.
pub fn run(corpus: &str, schema: &Schema, mut check: impl FnMut(&[u8])) {
    for line in corpus.lines() {
        let digits: Vec<u32> = line.chars().filter_map(|c| c.to_digit(16)).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect();
        check(&bytes);
    }
    let seconds = std::env::var("MONOCLE_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let (begin, time) = (Instant::now(), Duration::from_secs_f64(seconds));
    let mut cases = Cases { state: RandomState::new().hash_one(0) | 1, schema, messy: 0 };
    while begin.elapsed() < time {
        for _ in 0..100 {
            check(&cases.next());
        }
    }
}

struct Cases<'a> {
    state: u64,
    schema: &'a Schema,
    /// Of a thousand fields, so many are not as they should be.
    messy: u64,
}

impl Cases<'_> {
    /// xorshift64*.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random() % n
    }

    fn next(&mut self) -> Vec<u8> {
        self.messy = [0, 0, 5, 50][self.below(4) as usize];
        let mut out = Vec::new();
        self.message(0, 0, &mut out);
        if self.below(1_000) < self.messy * 2 && !out.is_empty() {
            let at = self.below(out.len() as u64) as usize;
            if self.below(2) == 0 {
                out.truncate(at);
            } else {
                out[at] = self.random() as u8;
            }
        }
        out
    }

    fn message(&mut self, number: usize, depth: u32, out: &mut Vec<u8>) {
        if depth <= 4 && self.below(2) == 0 {
            for at in 0..self.schema[number].len() {
                let (tag, kind) = self.schema[number][at];
                if self.below(8) != 0 {
                    self.field(tag, kind, depth, out);
                }
            }
        }
        let most = if depth > 3 { 3 } else { 4 };
        for _ in 0..self.below(most) {
            let fields = &self.schema[number];
            let (tag, kind) = fields[self.below(fields.len() as u64) as usize];
            match self.below(1_000) {
                n if n < self.messy => self.any_field(tag, depth, out),
                n if n < 2 * self.messy => {
                    let tag = self.below(20) as u32 + 1;
                    self.any_field(tag, depth, out);
                }
                n if n >= 998 => self.deep(tag, kind, number, out),
                _ => self.field(tag, kind, depth, out),
            }
        }
    }

    fn field(&mut self, tag: u32, kind: Kind, depth: u32, out: &mut Vec<u8>) {
        match kind {
            Kind::Varint => {
                if self.below(8) == 0 {
                    let packed: Vec<u8> = (0..self.below(5)).flat_map(|_| self.varint()).collect();
                    delimited(tag, &packed, out);
                } else {
                    key(tag, 0, out);
                    out.extend(self.varint());
                }
            }
            Kind::Number(numbers) => {
                key(tag, 0, out);
                varint(numbers[self.below(numbers.len() as u64) as usize], out);
            }
            Kind::Numbers(lists) => {
                let list = lists[self.below(lists.len() as u64) as usize];
                if self.below(2) == 0 {
                    let mut packed = Vec::new();
                    list.iter().for_each(|number| varint(*number, &mut packed));
                    delimited(tag, &packed, out);
                } else {
                    for number in list {
                        key(tag, 0, out);
                        varint(*number, out);
                    }
                }
            }
            Kind::Fixed64 => {
                let count = self.below(4) as usize;
                if self.below(8) == 0 {
                    let packed: Vec<u8> = (0..count).flat_map(|_| self.number().to_le_bytes()).collect();
                    delimited(tag, &packed, out);
                } else {
                    key(tag, 1, out);
                    out.extend(self.number().to_le_bytes());
                }
            }
            Kind::Fixed32 => {
                key(tag, 5, out);
                out.extend((self.number() as u32).to_le_bytes());
            }
            Kind::Text => {
                let text = ["", "a", "b", "service.name", "le", "é\"\\\n", "job", "k8s.pod.name", "level", "0", "a.b"];
                let text = text[self.below(text.len() as u64) as usize];
                delimited(tag, if self.below(1_000) < self.messy { b"\xff\xfe" } else { text.as_bytes() }, out);
            }
            Kind::Texts(texts) => {
                let text = texts[self.below(texts.len() as u64) as usize];
                delimited(tag, text.as_bytes(), out);
            }
            Kind::Bytes => {
                // In OTLP, trace ids have odd numbers and span ids even ones.
                let length = if self.below(8) == 0 { self.below(18) as usize } else { 16 >> ((tag + 1) % 2) };
                let byte = if self.below(8) == 0 { 0 } else { self.below(3) as u8 + 1 };
                delimited(tag, &vec![byte; length], out);
            }
            Kind::Message(inner) => {
                let mut content = Vec::new();
                if depth < 40 {
                    self.message(inner, depth + 1, &mut content);
                }
                delimited(tag, &content, out);
            }
        }
    }

    /// Of any wire type.
    fn any_field(&mut self, tag: u32, depth: u32, out: &mut Vec<u8>) {
        let wire_type = self.below(8) as u32;
        key(tag, wire_type, out);
        match wire_type {
            0 => out.extend(self.varint()),
            1 => out.extend(self.number().to_le_bytes()),
            2 => {
                let length = self.below(4);
                out.push(length as u8);
                (0..length).for_each(|_| out.push(self.random() as u8));
            }
            3 => {
                if depth < 20 {
                    let inner = self.below(20) as u32 + 1;
                    self.any_field(inner, depth + 1, out);
                }
                key(if self.below(10) == 0 { tag + 1 } else { tag }, 4, out);
            }
            5 => out.extend((self.number() as u32).to_le_bytes()),
            _ => {}
        }
    }

    /// Messages inside each other, about as deep as is allowed.
    fn deep(&mut self, tag: u32, kind: Kind, number: usize, out: &mut Vec<u8>) {
        let Kind::Message(mut inner) = kind else { return self.field(tag, kind, 20, out) };
        let mut tags = vec![tag];
        let levels = 85 + self.below(20) as usize;
        while tags.len() < levels {
            let fields: Vec<(u32, usize)> = self.schema[inner]
                .iter()
                .filter_map(|(tag, kind)| if let Kind::Message(m) = kind { Some((*tag, *m)) } else { None })
                .collect();
            // A message without messages in it: groups are bounded alike.
            let Some((tag, next)) = fields.get(self.below(fields.len().max(1) as u64) as usize) else { break };
            tags.push(*tag);
            inner = *next;
        }
        let mut content = Vec::new();
        let groups = if tags.len() < levels { levels - tags.len() } else { 0 };
        (0..groups).for_each(|_| key(19, 3, &mut content));
        (0..groups).for_each(|_| key(19, 4, &mut content));
        if number.is_multiple_of(2) && self.below(2) == 0 {
            key(18, 0, &mut content);
            content.push(1);
        }
        for tag in tags.iter().rev() {
            let mut outer = Vec::new();
            delimited(*tag, &content, &mut outer);
            content = outer;
        }
        out.append(&mut content);
    }

    fn number(&mut self) -> u64 {
        let usual = [0, 1, 2, 5, 1_773_144_000_000_000_000, 1_773_144_000_000, u64::MAX, 1 << 63, 1.5f64.to_bits(), f64::NAN.to_bits()];
        let at = self.below(usual.len() as u64 + 1) as usize;
        usual.get(at).copied().unwrap_or_else(|| self.random())
    }

    fn varint(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        varint(self.number(), &mut out);
        if out.len() < 10 && self.below(1_000) < self.messy {
            // Longer than it need be, or without an end.
            if let Some(last) = out.last_mut() {
                *last |= 0x80;
            }
            (0..self.below(9)).for_each(|_| out.push(0x80));
            out.push(self.below(3) as u8);
        }
        out
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(tag: u32, wire_type: u32, out: &mut Vec<u8>) {
    varint(u64::from(tag << 3 | wire_type), out);
}

fn delimited(tag: u32, content: &[u8], out: &mut Vec<u8>) {
    key(tag, 2, out);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}
