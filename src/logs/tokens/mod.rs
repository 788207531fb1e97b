//! The token index of a merged block: which granules (8,192 rows of `logs`) can hold a text, so that `|= "word"` and
//! `|= "an id"` read only those.
//!
//! A token is a longest run of letters, digits, `_` and bytes beyond ASCII. Words, of which there are few, are kept as they are:
//! any part of one can be looked for. Of tokens that hardly repeat (ids, numbers, times) only a hash is kept, which answers
//! for whole tokens; whether a text may be a part of a longer one is told by the characters and the lengths that the hashed
//! tokens of a granule have. Answers err on one side: a granule that is left out holds no line with the text.
//!
//! Table `tokens`, in segments of 32 granules: `segment` is the first granule; `kind` tells what a row is:
//! 0, a word: `token`, and `granules`, a bit for each granule of the segment that has it;
//! 1, a hash: `number`, 32 bits of XXH3-64 of the token, and `granules`;
//! 2 and 3, about the hashed tokens of one granule that are hexadecimal in lower case (2) or anything else (3): `granules`
//! has its bit, `number` a bit for each character ([`character_bits`]), `length` is the longest one's, in bytes.

mod build;
mod prune;

pub use build::TokensSidecar;
pub use prune::{Text, allowed_rows};

use arrow_schema::{DataType, Schema, SchemaRef};
use std::sync::Arc;

/// Alternatives: a line must contain all texts of one of them.
pub type Clause = Vec<Vec<Text>>;

pub const TOKENS: &str = "tokens";

const SEGMENT: &str = "segment";
const KIND: &str = "kind";
const TOKEN: &str = "token";
const NUMBER: &str = "number";
const LENGTH: &str = "length";
const GRANULES: &str = "granules";

/// What a row of the table is; stored.
mod kind {
    pub const WORD: i64 = 0;
    pub const HASH: i64 = 1;
    pub const HEX: i64 = 2;
    pub const OTHER: i64 = 3;
}

/// Rows of `logs` in a granule, and granules in a segment. Stored blocks depend on both.
const GRANULE_ROWS: u64 = 8_192;
const SEGMENT_GRANULES: u64 = 32;

/// A token with a digit is hashed from this length on, any other one beyond [`WORD_MAX_BYTES`].
const ID_MIN_BYTES: usize = 5;
const WORD_MAX_BYTES: usize = 64;

fn schema() -> SchemaRef {
    use super::schema::field;
    Arc::new(Schema::new(vec![
        field(SEGMENT, DataType::Int64, false, 1),
        field(KIND, DataType::Int64, false, 2),
        field(TOKEN, DataType::Utf8, true, 3),
        field(NUMBER, DataType::Int64, false, 4),
        field(LENGTH, DataType::Int64, false, 5),
        field(GRANULES, DataType::Int64, false, 6),
    ]))
}

/// Whether each byte is one of a token.
const IS_TOKEN_BYTE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte == b'_' as usize || byte >= 0x80;
        byte += 1;
    }
    table
};

fn is_token_byte(byte: u8) -> bool {
    IS_TOKEN_BYTE[usize::from(byte)]
}

fn hash_of(token: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(token) as u32
}

fn is_hex(token: &[u8]) -> bool {
    token.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A bit for each character that occurs: digits, capitals, small letters, `_`, and one for all beyond ASCII.
fn character_bits(token: &[u8]) -> u64 {
    token.iter().fold(0, |bits, byte| {
        bits | 1
            << match byte {
                b'0'..=b'9' => byte - b'0',
                b'A'..=b'Z' => byte - b'A' + 10,
                b'a'..=b'z' => byte - b'a' + 36,
                b'_' => 62,
                _ => 63,
            }
    })
}

#[cfg(test)]
mod tests;
