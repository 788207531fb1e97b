use super::{GRANULE_ROWS, ID_MIN_BYTES, NUMBER, SEGMENT_GRANULES, TOKEN, TOKENS, WORD_MAX_BYTES};
use super::{character_bits, hash_of, is_hex, is_token_byte, kind, schema};
use crate::logs::schema as logs_schema;
use crate::storage::TableOptions;
use crate::storage::block::{Sidecar, SidecarTable, WriteError};
use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use std::collections::HashMap;
use std::sync::Arc;

/// Words of a segment; further ones are hashed.
const WORDS_MAX: usize = 1 << 16;
/// Hashes of a granule, before those that are equal are one; a granule with more may hold anything.
const HASHES_MAX: usize = 1 << 18;

/// Places of a line whose last tokens are kept, and bytes of each: a longer one is new each time.
const LAST_MAX: usize = 64;
const LAST_MAX_BYTES: usize = 256;

/// What is known of the hashed tokens of a granule that are of one kind.
#[derive(Clone, Copy, Default)]
struct Facts {
    characters: u64,
    length: usize,
}

impl Facts {
    fn add(&mut self, token: &[u8]) {
        self.characters |= character_bits(token);
        self.length = self.length.max(token.len());
    }
}

/// Makes the table `tokens` while rows of `logs` are written, segment by segment.
pub struct TokensSidecar {
    granule_rows: u64,
    /// The next row of `logs`.
    row: u64,
    words: HashMap<Box<[u8]>, u32>,
    /// Of the granule at hand, the last token at each of the first places of a line: the same one there again says nothing new.
    last: Vec<Vec<u8>>,
    /// Hash, and granule within the segment.
    hashes: Vec<(u32, u8)>,
    /// Where in `hashes` the granule at hand begins.
    granule_from: usize,
    hex: Facts,
    other: Facts,
    is_opaque: bool,
    rows: Builders,
}

struct Builders {
    numbers: [Int64Builder; 5],
    token: StringBuilder,
}

impl Builders {
    fn new() -> Builders {
        Builders { numbers: std::array::from_fn(|_| Int64Builder::new()), token: StringBuilder::new() }
    }

    fn push(&mut self, segment: u64, kind: i64, token: Option<&str>, (number, length): (i64, usize), granules: u32) {
        let numbers = [segment.cast_signed(), kind, number, length as i64, i64::from(granules)];
        self.numbers.iter_mut().zip(numbers).for_each(|(column, n)| column.append_value(n));
        self.token.append_option(token);
    }

    fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let [segment, kind, number, length, granules] = self.numbers.each_mut().map(|b| Arc::new(b.finish()) as ArrayRef);
        let token = Arc::new(self.token.finish());
        RecordBatch::try_new(schema(), vec![segment, kind, token, number, length, granules])
    }
}

impl Default for TokensSidecar {
    fn default() -> TokensSidecar {
        TokensSidecar::new(GRANULE_ROWS)
    }
}

impl TokensSidecar {
    pub(super) fn new(granule_rows: u64) -> TokensSidecar {
        TokensSidecar {
            granule_rows,
            row: 0,
            words: HashMap::new(),
            last: Vec::new(),
            hashes: Vec::new(),
            granule_from: 0,
            hex: Facts::default(),
            other: Facts::default(),
            is_opaque: false,
            rows: Builders::new(),
        }
    }

    /// The next line; gives a segment that it does not belong to any more.
    pub(super) fn line(&mut self, line: &str) -> Result<Option<RecordBatch>, ArrowError> {
        let mut done = None;
        if self.row > 0 && self.row.is_multiple_of(self.granule_rows) {
            self.end_granule();
            if self.row.is_multiple_of(self.granule_rows * SEGMENT_GRANULES) {
                done = Some(self.end_segment()?);
            }
        }
        self.row += 1;
        let bytes = line.as_bytes();
        let (mut at, mut place) = (0, 0);
        while at < bytes.len() {
            if !is_token_byte(bytes[at]) {
                at += 1;
                continue;
            }
            let from = at;
            let mut has_digit = false;
            while at < bytes.len() && is_token_byte(bytes[at]) {
                has_digit |= bytes[at].is_ascii_digit();
                at += 1;
            }
            if self.is_new(place, &bytes[from..at]) {
                self.token(&bytes[from..at], has_digit);
            }
            place += 1;
        }
        Ok(done)
    }

    /// Whether the last token at this place of a line was another one; it is this one from now on.
    fn is_new(&mut self, place: usize, token: &[u8]) -> bool {
        if place == self.last.len() && place < LAST_MAX {
            self.last.push(Vec::new());
        }
        let Some(last) = self.last.get_mut(place) else { return true };
        if *last == token {
            return false;
        }
        last.clear();
        // No token is empty.
        if token.len() <= LAST_MAX_BYTES {
            last.extend_from_slice(token);
        }
        true
    }

    /// Of the row that was counted last.
    fn granule(&self) -> u64 {
        (self.row - 1) / self.granule_rows
    }

    fn token(&mut self, token: &[u8], has_digit: bool) {
        let granule = (self.granule() % SEGMENT_GRANULES) as u8;
        let hashed = token.len() > WORD_MAX_BYTES || (has_digit && token.len() >= ID_MIN_BYTES);
        if !hashed {
            if let Some(granules) = self.words.get_mut(token) {
                *granules |= 1 << granule;
                return;
            }
            if self.words.len() < WORDS_MAX {
                self.words.insert(token.into(), 1 << granule);
                return;
            }
        }
        let facts = if is_hex(token) { &mut self.hex } else { &mut self.other };
        facts.add(token);
        if self.hashes.len() - self.granule_from < HASHES_MAX {
            self.hashes.push((hash_of(token), granule));
        } else {
            self.is_opaque = true;
        }
    }

    fn end_granule(&mut self) {
        let granule = self.granule();
        let (segment, bit) = (granule / SEGMENT_GRANULES * SEGMENT_GRANULES, 1u32 << (granule % SEGMENT_GRANULES));
        if self.is_opaque {
            self.other = Facts { characters: u64::MAX, length: usize::MAX >> 1 };
        }
        for (kind, facts) in [(kind::HEX, self.hex), (kind::OTHER, self.other)] {
            if facts.length > 0 {
                self.rows.push(segment, kind, None, (facts.characters.cast_signed(), facts.length), bit);
            }
        }
        self.hashes[self.granule_from..].sort_unstable();
        let mut kept = self.granule_from;
        for at in self.granule_from..self.hashes.len() {
            if kept == self.granule_from || self.hashes[kept - 1] != self.hashes[at] {
                self.hashes[kept] = self.hashes[at];
                kept += 1;
            }
        }
        self.hashes.truncate(kept);
        self.last.clear();
        (self.granule_from, self.hex, self.other, self.is_opaque) = (kept, Facts::default(), Facts::default(), false);
    }

    fn end_segment(&mut self) -> Result<RecordBatch, ArrowError> {
        let segment = self.granule() / SEGMENT_GRANULES * SEGMENT_GRANULES;
        let mut words: Vec<(Box<[u8]>, u32)> = std::mem::take(&mut self.words).into_iter().collect();
        words.sort_unstable();
        for (word, granules) in &words {
            // Bytes beyond ASCII are all parts of tokens, so that a token of a text is a text.
            self.rows.push(segment, kind::WORD, std::str::from_utf8(word).ok(), (0, 0), *granules);
        }
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.sort_unstable();
        for same in hashes.chunk_by(|a, b| a.0 == b.0) {
            let granules = same.iter().fold(0, |bits, (_, granule)| bits | 1 << granule);
            self.rows.push(segment, kind::HASH, None, (i64::from(same[0].0), 0), granules);
        }
        self.granule_from = 0;
        self.rows.finish()
    }

    pub(super) fn end(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.row == 0 {
            return Ok(None);
        }
        self.end_granule();
        self.end_segment().map(Some)
    }
}

impl Sidecar for TokensSidecar {
    fn table(&self) -> SidecarTable {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let options = TableOptions { plain: own(&[TOKEN]), delta: own(&[NUMBER]), ..TableOptions::default() };
        SidecarTable { name: TOKENS, schema: schema(), options }
    }

    fn rows(&mut self, table: &str, batch: &RecordBatch) -> Result<Vec<RecordBatch>, WriteError> {
        let mut done = Vec::new();
        if table == logs_schema::LOGS
            && let Some(lines) = batch.column_by_name(logs_schema::LINE).and_then(|c| c.as_string_opt::<i32>())
        {
            for line in lines {
                done.extend(self.line(line.unwrap_or(""))?);
            }
        }
        Ok(done)
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, WriteError> {
        Ok(self.end()?)
    }
}
