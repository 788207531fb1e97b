//! The binary protocol of Thrift, field by field: only what is asked for is kept, the rest is skipped.

use super::{JaegerSpan, Log, Reference, resource};
use crate::ingest::{NoRoom, Plain};
use crate::traces::otlp::foreign::{Collected, nanos, pair};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

/// The `Batch` struct of a request's body.
pub fn thrift(body: Plain<'_>) -> Result<ExportTraceServiceRequest, String> {
    batch(&mut Reader { rest: body.bytes(), depth: 0, body }).map_err(|Malformed(what)| format!("malformed Thrift: {what}"))
}

struct Malformed(&'static str);

type Read<T> = Result<T, Malformed>;

/// Structs and containers inside each other at most.
const DEPTH_MAX: usize = 32;

struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
    /// For its room.
    body: Plain<'a>,
}

/// Types of fields.
const STOP: u8 = 0;
const BOOL: u8 = 2;
const BYTE: u8 = 3;
const DOUBLE: u8 = 4;
const I16: u8 = 6;
const I32: u8 = 8;
const I64: u8 = 10;
const STRING: u8 = 11;
const STRUCT: u8 = 12;
const MAP: u8 = 13;
const SET: u8 = 14;
const LIST: u8 = 15;

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn i32(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn length(&mut self) -> Read<usize> {
        usize::try_from(self.i32()?).map_err(|_| Malformed("a length is negative"))
    }

    fn binary(&mut self) -> Read<&'a [u8]> {
        let length = self.length()?;
        self.bytes(length)
    }

    fn string(&mut self) -> Read<String> {
        Ok(String::from_utf8_lossy(self.binary()?).into_owned())
    }

    /// Calls `field` for each field of a struct, with its number and type; it must read the field or call `skip`.
    fn fields(&mut self, mut field: impl FnMut(&mut Self, i16, u8) -> Read<()>) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed("it is nested too deeply"));
        }
        loop {
            let [kind] = self.array()?;
            if kind == STOP {
                break;
            }
            let number = i16::from_be_bytes(self.array()?);
            field(self, number, kind)?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// A list of structs, whose length is not believed.
    fn structs<T>(&mut self, read: fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let [kind] = self.array()?;
        let count = self.length()?;
        if count > 0 && kind != STRUCT {
            return Err(Malformed("a list holds something else"));
        }
        let mut list = Vec::new();
        for _ in 0..count {
            self.body.check_for(0).map_err(|NoRoom| Malformed("it takes too much memory"))?;
            list.push(read(self)?);
        }
        Ok(list)
    }

    fn skip(&mut self, kind: u8) -> Read<()> {
        match kind {
            BOOL | BYTE => self.bytes(1).map(drop),
            I16 => self.bytes(2).map(drop),
            I32 => self.bytes(4).map(drop),
            DOUBLE | I64 => self.bytes(8).map(drop),
            STRING => self.binary().map(drop),
            STRUCT => self.fields(|reader, _, kind| reader.skip(kind)),
            MAP => {
                let [key, value] = self.array()?;
                let count = self.length()?;
                self.skip_all(count, &[key, value])
            }
            SET | LIST => {
                let [kind] = self.array()?;
                let count = self.length()?;
                self.skip_all(count, &[kind])
            }
            _ => Err(Malformed("a field has an unknown type")),
        }
    }

    fn skip_all(&mut self, count: usize, kinds: &[u8]) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Malformed("it is nested too deeply"));
        }
        for _ in 0..count {
            for kind in kinds {
                self.skip(*kind)?;
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

fn batch(reader: &mut Reader<'_>) -> Read<ExportTraceServiceRequest> {
    let (mut process, mut spans) = (Vec::new(), Vec::new());
    reader.fields(|r, number, kind| {
        match (number, kind) {
            (1, STRUCT) => process = self::process(r)?,
            (2, LIST) => spans = r.structs(span)?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    let mut collected = Collected::default();
    for span in spans {
        collected.push(&process, span.into_otlp());
    }
    Ok(collected.request())
}

fn process(reader: &mut Reader<'_>) -> Read<Vec<KeyValue>> {
    let (mut service, mut tags) = (String::new(), Vec::new());
    reader.fields(|r, number, kind| {
        match (number, kind) {
            (1, STRING) => service = r.string()?,
            (2, LIST) => tags = r.structs(tag)?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(resource(&service, tags))
}

fn span(reader: &mut Reader<'_>) -> Read<JaegerSpan> {
    let mut span = JaegerSpan::default();
    let (mut low, mut high) = (0, 0);
    reader.fields(|r, number, kind| {
        match (number, kind) {
            (1, I64) => low = r.i64()?,
            (2, I64) => high = r.i64()?,
            (3, I64) => span.span_id = r.i64()?.to_be_bytes().to_vec(),
            (4, I64) => span.parent_id = r.i64()?.to_be_bytes().to_vec(),
            (5, STRING) => span.name = r.string()?,
            (6, LIST) => span.references = r.structs(reference)?,
            (8, I64) => span.start = micros(r.i64()?),
            (9, I64) => span.duration = micros(r.i64()?),
            (10, LIST) => span.tags = r.structs(tag)?,
            (11, LIST) => span.logs = r.structs(log)?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    span.trace_id = trace_id(high, low);
    Ok(span)
}

fn trace_id(high: i64, low: i64) -> Vec<u8> {
    [high.to_be_bytes(), low.to_be_bytes()].concat()
}

/// A negative time counts as none.
fn micros(n: i64) -> u64 {
    nanos(u64::try_from(n).unwrap_or(0))
}

fn reference(reader: &mut Reader<'_>) -> Read<Reference> {
    let mut reference = Reference::default();
    let (mut low, mut high) = (0, 0);
    reader.fields(|r, number, kind| {
        match (number, kind) {
            (1, I32) => reference.follows_from = r.i32()? == 1,
            (2, I64) => low = r.i64()?,
            (3, I64) => high = r.i64()?,
            (4, I64) => reference.span_id = r.i64()?.to_be_bytes().to_vec(),
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    reference.trace_id = trace_id(high, low);
    Ok(reference)
}

fn log(reader: &mut Reader<'_>) -> Read<Log> {
    let mut log = Log::default();
    reader.fields(|r, number, kind| {
        match (number, kind) {
            (1, I64) => log.time = micros(r.i64()?),
            (2, LIST) => log.fields = r.structs(tag)?,
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    Ok(log)
}

fn tag(reader: &mut Reader<'_>) -> Read<KeyValue> {
    let (mut key, mut kind_of_value) = (String::new(), 0);
    let (mut text, mut double, mut flag, mut long, mut binary) = (String::new(), 0.0, false, 0, Vec::new());
    reader.fields(|r, number, kind| {
        match (number, kind) {
            (1, STRING) => key = r.string()?,
            (2, I32) => kind_of_value = r.i32()?,
            (3, STRING) => text = r.string()?,
            (4, DOUBLE) => double = f64::from_bits(u64::from_be_bytes(r.array()?)),
            (5, BOOL) => flag = r.array::<1>()? != [0],
            (6, I64) => long = r.i64()?,
            (7, STRING) => binary = r.binary()?.to_vec(),
            _ => r.skip(kind)?,
        }
        Ok(())
    })?;
    let value = match kind_of_value {
        1 => Value::DoubleValue(double),
        2 => Value::BoolValue(flag),
        3 => Value::IntValue(long),
        4 => Value::BytesValue(binary),
        _ => Value::StringValue(text),
    };
    Ok(pair(key, value))
}
