//! The wire format of protobuf, as far as remote write uses it: a cursor that never reads outside its bytes.
//! Source: protobuf.dev "Encoding".

use std::fmt;

/// Why bytes are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::metrics) struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A field's value as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::metrics) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
}

const WRONG_TYPE: Malformed = Malformed("a field has the wrong wire type");
const TRUNCATED: Malformed = Malformed("unexpected end of data");

impl<'a> Field<'a> {
    pub(in crate::metrics) fn bytes(self) -> Result<&'a [u8], Malformed> {
        if let Field::Bytes(bytes) = self { Ok(bytes) } else { Err(WRONG_TYPE) }
    }

    pub(in crate::metrics) fn unsigned(self) -> Result<u64, Malformed> {
        if let Field::Varint(number) = self { Ok(number) } else { Err(WRONG_TYPE) }
    }

    pub(in crate::metrics) fn signed(self) -> Result<i64, Malformed> {
        Ok(self.unsigned()?.cast_signed())
    }

    /// `sint32` and `sint64`.
    pub(in crate::metrics) fn zigzag(self) -> Result<i64, Malformed> {
        Ok(unzigzag(self.unsigned()?))
    }

    pub(in crate::metrics) fn double(self) -> Result<f64, Malformed> {
        if let Field::Fixed64(bits) = self { Ok(f64::from_bits(bits)) } else { Err(WRONG_TYPE) }
    }

    /// The elements of a repeated integer: one, or all of a packed run.
    pub(in crate::metrics) fn each_varint(self, mut take: impl FnMut(u64)) -> Result<(), Malformed> {
        match self {
            Field::Varint(number) => take(number),
            Field::Bytes(packed) => {
                let mut rest = Cursor::new(packed);
                while !rest.is_empty() {
                    take(rest.varint()?);
                }
            }
            _ => return Err(WRONG_TYPE),
        }
        Ok(())
    }

    /// The elements of a repeated double: one, or all of a packed run.
    pub(in crate::metrics) fn each_double(self, mut take: impl FnMut(f64)) -> Result<(), Malformed> {
        match self {
            Field::Fixed64(bits) => take(f64::from_bits(bits)),
            Field::Bytes(packed) => {
                let mut rest = Cursor::new(packed);
                while !rest.is_empty() {
                    take(f64::from_bits(rest.fixed64()?));
                }
            }
            _ => return Err(WRONG_TYPE),
        }
        Ok(())
    }
}

pub(in crate::metrics) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// The message after its length, and what follows it.
pub(in crate::metrics) fn delimited(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut cursor = Cursor(bytes);
    let length = usize::try_from(cursor.varint()?).map_err(|_| TRUNCATED)?;
    Ok((cursor.take(length)?, cursor.0))
}

/// What is left of one message.
#[derive(Debug, Clone, Copy)]
pub(in crate::metrics) struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    pub(in crate::metrics) fn new(message: &'a [u8]) -> Cursor<'a> {
        Cursor(message)
    }

    fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next field's number and value; `None` at the end.
    pub(in crate::metrics) fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, Malformed> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.fixed64()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| TRUNCATED)?;
                Field::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            _ => return Err(Malformed("unknown wire type")),
        };
        if key >> 3 == 0 {
            return Err(Malformed("a field has the number 0"));
        }
        Ok(Some((key >> 3, field)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            // Of the tenth byte only the lowest bit fits.
            number |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                if at == 9 && *byte > 1 {
                    return Err(Malformed("an integer has more than 64 bits"));
                }
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(if self.0.len() < 10 { TRUNCATED } else { Malformed("an integer has more than 64 bits") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_wire_type() {
        let message = [0x08, 0xac, 0x02, 0x11, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x1a, 2, b'h', b'i', 0x25, 1, 2, 3, 4];
        let mut cursor = Cursor::new(&message);
        assert_eq!(cursor.next(), Ok(Some((1, Field::Varint(300)))));
        assert_eq!(cursor.next().unwrap().unwrap().1.double(), Ok(1.5));
        assert_eq!(cursor.next(), Ok(Some((3, Field::Bytes(b"hi")))));
        assert_eq!(cursor.next(), Ok(Some((4, Field::Fixed32))));
        assert_eq!(cursor.next(), Ok(None));
    }

    #[test]
    fn every_cut_inside_a_field_is_noticed() {
        for bad in [&[0x08][..], &[0x08, 0x80], &[0x11, 1, 2], &[0x1a, 5, 1], &[0x25, 1], &[0x0b], &[0x00, 1], &[0xff; 11]] {
            assert!(Cursor::new(bad).next().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn packed_and_single_elements_are_read_alike() {
        let mut read = Vec::new();
        Field::Bytes(&[1, 0x96, 0x01]).each_varint(|n| read.push(n)).unwrap();
        Field::Varint(7).each_varint(|n| read.push(n)).unwrap();
        assert_eq!(read, [1, 150, 7]);
        assert!(Field::Bytes(&[0x80]).each_varint(|_| ()).is_err() && Field::Bytes(&[1]).each_double(|_| ()).is_err());
        assert_eq!([0, 1, 2, 3, u64::MAX, u64::MAX - 1].map(unzigzag), [0, -1, 1, -2, i64::MIN, i64::MAX]);
    }
}
