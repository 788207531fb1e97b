use std::fmt;

const HEX: &[u8; 16] = b"0123456789abcdef";

fn nibble(c: u8) -> Option<u8> {
    (c as char).to_digit(16).map(|d| d as u8)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// `None` unless `bytes` has exactly the length of the id.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Hex digits of either case, exactly twice the length of the id.
            pub fn from_hex(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() != $len * 2 {
                    return None;
                }
                let mut id = [0; $len];
                for (byte, pair) in id.iter_mut().zip(text.chunks_exact(2)) {
                    *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
                }
                Some(Self(id))
            }

            /// Lower-case hex, zero-padded to the whole length.
            pub fn to_hex(self) -> String {
                let mut text = String::with_capacity($len * 2);
                for byte in self.0 {
                    text.push(HEX[usize::from(byte >> 4)] as char);
                    text.push(HEX[usize::from(byte & 15)] as char);
                }
                text
            }

            /// OTLP treats an id of zero bytes only as absent.
            pub fn is_zero(self) -> bool {
                self.0.iter().all(|b| *b == 0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }
    };
}

id!(
    /// A W3C trace id, 16 bytes.
    TraceId,
    16
);
id!(
    /// A W3C span id, 8 bytes.
    SpanId,
    8
);

#[cfg(test)]
mod tests {
    use super::{SpanId, TraceId};

    #[test]
    fn hex_round_trips_and_wrong_lengths_are_refused() {
        let id = SpanId::from_hex("00F067aa0ba902b7").unwrap();
        assert_eq!(id.to_hex(), "00f067aa0ba902b7");
        assert_eq!(SpanId::from_hex("f067aa0ba902b7"), None);
        assert_eq!(TraceId::from_hex("zz"), None);
        assert!(TraceId::default().is_zero());
    }
}
