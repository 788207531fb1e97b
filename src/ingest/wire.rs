//! Protobuf read straight from its bytes: nothing is copied, and every read is checked against the end of its message.
//!
//! It takes and refuses what prost 0.14 does, field by field: the depth of messages and groups is bounded by 100, keys and
//! numbers may be longer than they need be, and unknown fields are passed over. Source: protobuf.dev, "Encoding".

use super::{NoRoom, Plain, Room};

/// Why bytes are not the message that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("it ends within a field")]
    Truncated,
    #[error("a number has more than 64 bits")]
    Number,
    #[error("a field has an invalid key")]
    Key,
    #[error("a field has another type than it should")]
    Type,
    #[error("a text is not UTF-8")]
    Utf8,
    #[error("messages are nested too deeply")]
    Depth,
    #[error("a group ends that did not begin")]
    Group,
    #[error("{0}")]
    Room(#[from] NoRoom),
}

/// Messages inside each other at most.
const DEPTH_MAX: u32 = 100;

/// The fields of one message that are not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    rest: &'a [u8],
    /// How many levels may still follow.
    depth: u32,
    room: Option<&'a Room>,
}

/// One field: its number, and its value as the wire has it.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    pub tag: u32,
    value: Value<'a>,
    depth: u32,
    room: Option<&'a Room>,
}

#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    Group,
}

#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    match rest.split_first() {
        Some((byte, after)) if *byte < 0x80 => {
            *rest = after;
            Ok(u64::from(*byte))
        }
        _ => long_varint(rest),
    }
}

fn long_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for (at, byte) in rest.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            // The tenth byte has one bit to give.
            if at == 9 && *byte > 1 {
                return Err(WireError::Number);
            }
            *rest = &rest[at + 1..];
            return Ok(value);
        }
    }
    Err(if rest.len() < 10 { WireError::Truncated } else { WireError::Number })
}

#[inline]
fn fixed<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], WireError> {
    let (value, after) = rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(*value)
}

#[inline]
fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let length = usize::try_from(varint(rest)?).map_err(|_| WireError::Truncated)?;
    let (value, after) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
    *rest = after;
    Ok(value)
}

#[inline]
fn key(rest: &mut &[u8]) -> Result<(u32, u32), WireError> {
    let key = u32::try_from(varint(rest)?).map_err(|_| WireError::Key)?;
    if key >> 3 == 0 { Err(WireError::Key) } else { Ok((key >> 3, key & 7)) }
}

/// Passes over a field; recursion is bounded by `depth`.
fn skip(rest: &mut &[u8], tag: u32, wire_type: u32, depth: u32) -> Result<(), WireError> {
    if depth == 0 {
        return Err(WireError::Depth);
    }
    match wire_type {
        0 => varint(rest).map(drop),
        1 => fixed::<8>(rest).map(drop),
        2 => delimited(rest).map(drop),
        3 => loop {
            let (inner, inner_type) = key(rest)?;
            if inner_type == 4 {
                return if inner == tag { Ok(()) } else { Err(WireError::Group) };
            }
            skip(rest, inner, inner_type, depth - 1)?;
        },
        4 => Err(WireError::Group),
        5 => fixed::<4>(rest).map(drop),
        _ => Err(WireError::Key),
    }
}

impl<'a> Message<'a> {
    /// The outermost message.
    pub fn new(body: impl Into<Plain<'a>>) -> Message<'a> {
        let body = body.into();
        Message { rest: body.bytes(), depth: DEPTH_MAX, room: body.room() }
    }

    /// The message after its length, and what follows it: as messages stand in a stream of them.
    pub fn delimited(mut bytes: &'a [u8]) -> Result<(Message<'a>, &'a [u8]), WireError> {
        let message = delimited(&mut bytes)?;
        Ok((Message::new(message), bytes))
    }

    /// What is not read yet.
    pub fn bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// The same, with the room in which it is read.
    pub fn body(&self) -> Plain<'a> {
        Plain::new(self.rest, self.room)
    }

    /// The next field; `None` at the end.
    #[inline]
    pub fn field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (tag, wire_type) = key(&mut self.rest)?;
        let value = match wire_type {
            0 => Value::Varint(varint(&mut self.rest)?),
            1 => Value::Fixed64(u64::from_le_bytes(fixed(&mut self.rest)?)),
            2 => Value::Bytes(delimited(&mut self.rest)?),
            5 => Value::Fixed32(u32::from_le_bytes(fixed(&mut self.rest)?)),
            _ => {
                skip(&mut self.rest, tag, wire_type, self.depth)?;
                Value::Group
            }
        };
        Ok(Some(Field { tag, value, depth: self.depth, room: self.room }))
    }
}

impl<'a> Field<'a> {
    #[inline]
    pub fn varint(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::Type),
        }
    }

    /// `int64`.
    #[inline]
    pub fn int64(self) -> Result<i64, WireError> {
        self.varint().map(u64::cast_signed)
    }

    /// `int32` and enums: what does not fit is cut off, as protobuf has it.
    #[inline]
    pub fn int32(self) -> Result<i32, WireError> {
        self.varint().map(|v| v as i32)
    }

    #[inline]
    pub fn uint32(self) -> Result<u32, WireError> {
        self.varint().map(|v| v as u32)
    }

    /// `sint32`.
    pub fn sint32(self) -> Result<i32, WireError> {
        let value = self.uint32()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// `sint64`.
    pub fn sint64(self) -> Result<i64, WireError> {
        self.varint().map(zigzag)
    }

    #[inline]
    pub fn bool(self) -> Result<bool, WireError> {
        self.varint().map(|v| v != 0)
    }

    #[inline]
    pub fn fixed64(self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(WireError::Type),
        }
    }

    #[inline]
    pub fn double(self) -> Result<f64, WireError> {
        self.fixed64().map(f64::from_bits)
    }

    #[inline]
    pub fn fixed32(self) -> Result<u32, WireError> {
        match self.value {
            Value::Fixed32(value) => Ok(value),
            _ => Err(WireError::Type),
        }
    }

    #[inline]
    pub fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(value) => Ok(value),
            _ => Err(WireError::Type),
        }
    }

    #[inline]
    pub fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Utf8)
    }

    #[inline]
    pub fn message(self) -> Result<Message<'a>, WireError> {
        let rest = self.bytes()?;
        let depth = self.depth.checked_sub(1).ok_or(WireError::Depth)?;
        self.room.map_or(Ok(()), Room::check)?;
        Ok(Message { rest, depth, room: self.room })
    }

    /// The field is of no interest.
    #[inline]
    pub fn unknown(self) -> Result<(), WireError> {
        if self.depth == 0 { Err(WireError::Depth) } else { Ok(()) }
    }

    /// `repeated fixed64`, packed or one of several.
    pub fn each_fixed64(self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(value) => each(value),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    each(u64::from_le_bytes(fixed(&mut packed)?));
                }
            }
            _ => return Err(WireError::Type),
        }
        Ok(())
    }

    /// `repeated double`, packed or one of several.
    pub fn each_double(self, mut each: impl FnMut(f64)) -> Result<(), WireError> {
        self.each_fixed64(|bits| each(f64::from_bits(bits)))
    }

    /// `repeated` of a number that is a varint, packed or one of several.
    pub fn each_varint(self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        match self.value {
            Value::Varint(value) => each(value),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    self.room.map_or(Ok(()), Room::check)?;
                    each(varint(&mut packed)?);
                }
            }
            _ => return Err(WireError::Type),
        }
        Ok(())
    }
}

/// A number of `sint64`.
pub fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(bytes: &[u8]) -> Result<Field<'_>, WireError> {
        Message::new(bytes).field().map(Option::unwrap)
    }

    #[test]
    fn numbers_have_64_bits_and_any_length_up_to_ten_bytes() {
        assert_eq!(only(b"\x08\x80\x80\x00").unwrap().varint(), Ok(0));
        let most = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(only(most).unwrap().varint(), Ok(u64::MAX));
        assert_eq!(only(most).unwrap().int32(), Ok(-1));
        assert_eq!(only(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02").unwrap_err(), WireError::Number);
        assert_eq!(only(b"\x08\xff").unwrap_err(), WireError::Truncated);
        assert_eq!([0, 1, 2, 3, u64::MAX].map(zigzag), [0, -1, 1, -2, i64::MIN]);
        assert_eq!(only(b"\x08\x03").unwrap().sint32(), Ok(-2));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert_eq!(only(b"\x0a\x02x").unwrap_err(), WireError::Truncated);
        assert_eq!(only(b"\x09\x02x").unwrap_err(), WireError::Truncated);
        assert_eq!(only(b"\x02\x00").unwrap_err(), WireError::Key);
        assert_eq!(only(b"\x0e\x00").unwrap_err(), WireError::Key);
        assert_eq!(only(b"\x0a\x01\xff").unwrap().text(), Err(WireError::Utf8));
        assert_eq!(only(b"\x0a\x01x").unwrap().varint(), Err(WireError::Type));
        assert!(Message::new(b"").field().unwrap().is_none());
    }

    #[test]
    fn groups_are_passed_over_and_must_end_as_they_began() {
        let mut message = Message::new(b"\x0b\x10\x01\x13\x14\x0c\x08\x07");
        message.field().unwrap().unwrap().unknown().unwrap();
        assert_eq!(message.field().unwrap().unwrap().varint(), Ok(7));
        assert_eq!(only(b"\x0b\x14").unwrap_err(), WireError::Group);
        assert_eq!(only(b"\x0c").unwrap_err(), WireError::Group);
        assert_eq!(only(&[0x0b; 1_000]).unwrap_err(), WireError::Depth);
    }

    #[test]
    fn nesting_is_bounded() {
        let mut nested = Vec::new();
        for _ in 0..101 {
            let mut outer = vec![0x0a, nested.len() as u8 | 0x80, (nested.len() >> 7) as u8];
            outer.append(&mut nested);
            nested = outer;
        }
        let mut message = Message::new(&nested);
        for _ in 0..100 {
            message = message.field().unwrap().unwrap().message().unwrap();
        }
        let last = message.field().unwrap().unwrap();
        assert_eq!(last.message().unwrap_err(), WireError::Depth);
        assert_eq!(last.unknown(), Err(WireError::Depth));
    }

    #[test]
    fn messages_of_a_stream_follow_each_other() {
        let (first, rest) = Message::delimited(b"\x02\x08\x07\x00").unwrap();
        assert_eq!((first.bytes(), rest), (&b"\x08\x07"[..], &b"\x00"[..]));
        assert!(Message::delimited(rest).unwrap().1.is_empty());
        assert_eq!(Message::delimited(b"\x02\x08").unwrap_err(), WireError::Truncated);
    }

    #[test]
    fn repeated_numbers_are_packed_or_not() {
        let mut found = Vec::new();
        only(b"\x0a\x03\x01\xac\x02").unwrap().each_varint(|v| found.push(v)).unwrap();
        only(b"\x08\x05").unwrap().each_varint(|v| found.push(v)).unwrap();
        only(b"\x0a\x08\x09\0\0\0\0\0\0\0").unwrap().each_fixed64(|v| found.push(v)).unwrap();
        assert_eq!(found, [1, 300, 5, 9]);
        assert!(only(b"\x0a\x01\xac").unwrap().each_varint(|_| ()).is_err());
        assert!(only(b"\x0a\x07\x09\0\0\0\0\0\0").unwrap().each_fixed64(|_| ()).is_err());
    }
}
