//! A checksum for every MiB of a file, so that a part of it that was fetched from afar can be checked without the rest.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// What one checksum covers; the last chunk of a file may be shorter.
pub const CHUNK_BYTES: usize = 1 << 20;

/// CRC32C of each chunk of a file that is written or read from its start.
#[derive(Debug, Default)]
pub struct ChunkSums {
    sums: Vec<u32>,
    current: u32,
    filled: usize,
}

impl ChunkSums {
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.filled));
            self.current = crc32c::crc32c_append(self.current, now);
            self.filled += now.len();
            bytes = later;
            if self.filled == CHUNK_BYTES {
                self.sums.push(self.current);
                (self.current, self.filled) = (0, 0);
            }
        }
    }

    pub fn finish(mut self) -> Vec<u32> {
        if self.filled > 0 {
            self.sums.push(self.current);
        }
        self.sums
    }
}

/// In JSON: eight hexadecimal digits a chunk, one after the other.
pub mod hex {
    use super::{Deserialize, Deserializer, Error, Serializer};
    use std::fmt::Write;

    pub fn serialize<S: Serializer>(sums: &[u32], s: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(sums.len() * 8);
        for sum in sums {
            write!(text, "{sum:08x}").map_err(serde::ser::Error::custom)?;
        }
        s.serialize_str(&text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u32>, D::Error> {
        let text = String::deserialize(d)?;
        let parse = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        let sums: Option<Vec<u32>> = text.as_bytes().chunks(8).map(|c| (c.len() == 8).then(|| parse(c)).flatten()).collect();
        sums.ok_or_else(|| D::Error::custom("checksums are not groups of eight hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_chunks_however_the_bytes_come() {
        let bytes: Vec<u8> = (0..CHUNK_BYTES * 2 + 17).map(|i| (i % 251) as u8).collect();
        let expected: Vec<u32> = bytes.chunks(CHUNK_BYTES).map(crc32c::crc32c).collect();
        for step in [1_000, CHUNK_BYTES, CHUNK_BYTES + 1, bytes.len()] {
            let mut sums = ChunkSums::default();
            bytes.chunks(step).for_each(|part| sums.update(part));
            assert_eq!(sums.finish(), expected);
        }
        assert!(ChunkSums::default().finish().is_empty());
    }
}
