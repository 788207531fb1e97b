use super::{Clause, character_bits, hash_of, is_token_byte, kind};
use super::{GRANULE_ROWS, GRANULES, KIND, LENGTH, NUMBER, SEGMENT, SEGMENT_GRANULES, TOKEN, TOKENS};
use crate::query::{Context, QueryError};
use crate::storage::block::{Block, ReadError};
use crate::storage::{Predicate, Scan, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Int64Array, RecordBatch, StringArray};
use memchr::memmem::Finder;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A part of a token is looked for from this length on: nearly every granule has shorter ones.
const PART_MIN_BYTES: usize = 3;
/// Pieces of all texts of a query that are looked for; further ones rule nothing out.
const PIECES_MAX: usize = 64;
/// A selection of fewer granules than this is read at once.
const GRANULES_MIN: u64 = 2;

/// A text that a line must contain, as pieces of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Piece {
    text: Vec<u8>,
    /// The text goes on before or behind the piece without being part of the token, so the token begins or ends with it.
    begins: bool,
    ends: bool,
}

impl Piece {
    fn is_whole(&self) -> bool {
        self.begins && self.ends
    }

    fn is_in(&self, finder: &Finder<'_>, token: &[u8]) -> bool {
        match (self.begins, self.ends) {
            (true, true) => token == self.text,
            (true, false) => token.starts_with(&self.text),
            (false, true) => token.ends_with(&self.text),
            (false, false) => finder.find(token).is_some(),
        }
    }
}

impl Text {
    /// What a line must hold that contains `text`.
    pub fn of(text: &str) -> Text {
        let bytes = text.as_bytes();
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            if !is_token_byte(bytes[at]) {
                at += 1;
                continue;
            }
            let from = at;
            while at < bytes.len() && is_token_byte(bytes[at]) {
                at += 1;
            }
            let piece = Piece { text: bytes[from..at].to_vec(), begins: from > 0, ends: at < bytes.len() };
            if piece.is_whole() || piece.text.len() >= PART_MIN_BYTES {
                pieces.push(piece);
            }
        }
        Text { pieces }
    }

    /// Whether it can rule anything out.
    pub fn tells(&self) -> bool {
        !self.pieces.is_empty()
    }
}

/// Granules, a bit each in the words of their segments.
type Granules = Vec<u32>;

/// What is found of one piece.
struct Wanted<'a> {
    piece: &'a Piece,
    finder: Finder<'a>,
    hash: u32,
    characters: u64,
    /// Where the piece may be.
    found: Granules,
    /// Where there is a token with the piece's hash, and where that counts, too.
    hashed: Granules,
    exact: Granules,
}

impl<'a> Wanted<'a> {
    fn new(piece: &'a Piece, segments: usize) -> Wanted<'a> {
        let none = || vec![0; segments];
        // Any whole token may be among the hashed ones.
        let exact = vec![if piece.is_whole() { u32::MAX } else { 0 }; segments];
        let (hash, characters) = (hash_of(&piece.text), character_bits(&piece.text));
        Wanted { piece, finder: Finder::new(&piece.text), hash, characters, found: none(), hashed: none(), exact }
    }

    fn result(mut self) -> Granules {
        for ((found, hashed), exact) in self.found.iter_mut().zip(self.hashed).zip(self.exact) {
            *found |= hashed & exact;
        }
        self.found
    }
}

/// The columns of a batch of `tokens`.
struct TokenColumns<'a> {
    segment: &'a Int64Array,
    kind: &'a Int64Array,
    token: &'a StringArray,
    number: &'a Int64Array,
    length: &'a Int64Array,
    granules: &'a Int64Array,
}

impl<'a> TokenColumns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<TokenColumns<'a>> {
        let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        Some(TokenColumns {
            segment: number(SEGMENT)?,
            kind: number(KIND)?,
            token: batch.column_by_name(TOKEN)?.as_string_opt()?,
            number: number(NUMBER)?,
            length: number(LENGTH)?,
            granules: number(GRANULES)?,
        })
    }
}

/// Looks for all pieces at once, batch by batch.
pub(super) struct Search<'a> {
    wanted: Vec<Wanted<'a>>,
    segments: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(clauses: &'a [Clause], granules: u64) -> Search<'a> {
        let segments = usize::try_from(granules.div_ceil(SEGMENT_GRANULES)).unwrap_or(0);
        let mut pieces: Vec<&Piece> = clauses.iter().flatten().flatten().flat_map(|t| &t.pieces).collect();
        pieces.sort_unstable();
        pieces.dedup();
        pieces.truncate(PIECES_MAX);
        Search { wanted: pieces.into_iter().map(|p| Wanted::new(p, segments)).collect(), segments }
    }

    fn hashes(&self) -> Vec<Value> {
        self.wanted.iter().map(|w| Value::Int(i64::from(w.hash))).collect()
    }

    /// `None`, and the search tells nothing, if the batch is not as it should be.
    pub(super) fn batch(&mut self, batch: &RecordBatch) -> Option<()> {
        let columns = TokenColumns::of(batch)?;
        for row in 0..batch.num_rows() {
            let segment = usize::try_from(columns.segment.value(row)).ok()? / SEGMENT_GRANULES as usize;
            let granules = u32::try_from(columns.granules.value(row)).ok()?;
            if segment >= self.segments {
                return None;
            }
            match columns.kind.value(row) {
                kind::WORD => {
                    let word = columns.token.value(row).as_bytes();
                    for wanted in &mut self.wanted {
                        // A word that is too short cannot hold the piece.
                        if wanted.piece.text.len() <= word.len() && wanted.piece.is_in(&wanted.finder, word) {
                            wanted.found[segment] |= granules;
                        }
                    }
                }
                kind::HASH => {
                    let hash = u32::try_from(columns.number.value(row)).ok()?;
                    let same = self.wanted.iter_mut().filter(|w| w.hash == hash);
                    same.for_each(|w| w.hashed[segment] |= granules);
                }
                of @ (kind::HEX | kind::OTHER) => {
                    let (characters, longest) = (columns.number.value(row).cast_unsigned(), columns.length.value(row));
                    for wanted in &mut self.wanted {
                        let length = i64::try_from(wanted.piece.text.len()).unwrap_or(i64::MAX);
                        let fits = wanted.characters & !characters == 0 && longest >= length;
                        // All of a granule's hashes may be missing if its tokens are said to have all characters.
                        let is_opaque = of == kind::OTHER && characters == u64::MAX;
                        if fits && (is_opaque || (longest > length && !wanted.piece.is_whole())) {
                            wanted.found[segment] |= granules;
                        } else if fits {
                            wanted.exact[segment] |= granules;
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// Where every clause has an alternative all of whose texts may be there.
    pub(super) fn result(self, clauses: &[Clause]) -> Granules {
        let segments = self.segments;
        let found: BTreeMap<&Piece, Granules> = self.wanted.into_iter().map(|w| (w.piece, w.result())).collect();
        let mut all = vec![u32::MAX; segments];
        for clause in clauses {
            let mut any = vec![0u32; segments];
            for alternative in clause {
                let mut both = vec![u32::MAX; segments];
                for granules in alternative.iter().flat_map(|t| &t.pieces).filter_map(|p| found.get(p)) {
                    both.iter_mut().zip(granules).for_each(|(a, b)| *a &= b);
                }
                any.iter_mut().zip(both).for_each(|(a, b)| *a |= b);
            }
            all.iter_mut().zip(any).for_each(|(a, b)| *a &= b);
        }
        all
    }
}

/// Rows of `logs` among `rows` that may satisfy all clauses, of each of which one alternative's texts must all be in the line.
/// `None` if nothing is known of it.
pub fn allowed_rows(
    block: &Arc<Block>,
    clauses: &[Clause],
    rows: &[Range<u64>],
    ctx: &Context,
) -> Result<Option<Vec<Range<u64>>>, QueryError> {
    let unreadable = |e: ReadError| QueryError::Storage(e.to_string());
    let asked: u64 = rows.iter().map(|r| r.end - r.start).sum();
    let tells = clauses.iter().any(|clause| clause.iter().all(|texts| texts.iter().any(Text::tells)));
    if !tells || asked < GRANULES_MIN * GRANULE_ROWS {
        return Ok(None);
    }
    let (Some(table), Some(logs)) = (block.table(TOKENS).map_err(unreadable)?, block.meta().table(crate::logs::schema::LOGS)) else {
        return Ok(None);
    };
    let mut search = Search::new(clauses, logs.rows.div_ceil(GRANULE_ROWS));
    let of_kinds = |min, max| Predicate::Between { column: KIND.into(), min, max };
    let hashes = Predicate::OneOf { column: NUMBER.into(), values: search.hashes() };
    let scans = [
        Scan::default().with(of_kinds(kind::WORD, kind::WORD)),
        Scan::default().with(of_kinds(kind::HASH, kind::HASH)).with(hashes),
        Scan::default().with(of_kinds(kind::HEX, kind::OTHER)),
    ];
    for scan in scans {
        for batch in table.scan(&scan).map_err(unreadable)? {
            ctx.check()?;
            if search.batch(&batch.map_err(unreadable)?).is_none() {
                tracing::warn!(block = %block.meta().id, "the token index has another shape: it is not used");
                return Ok(None);
            }
        }
    }
    let granules = search.result(clauses);
    let is_allowed = |granule: u64| granules[(granule / SEGMENT_GRANULES) as usize] >> (granule % SEGMENT_GRANULES) & 1 == 1;
    let mut allowed: Vec<Range<u64>> = Vec::new();
    for range in rows {
        let mut at = range.start;
        while at < range.end {
            let end = ((at / GRANULE_ROWS + 1) * GRANULE_ROWS).min(range.end);
            if is_allowed(at / GRANULE_ROWS) {
                match allowed.last_mut() {
                    Some(last) if last.end == at => last.end = end,
                    _ => allowed.push(at..end),
                }
            }
            at = end;
        }
    }
    Ok(Some(allowed))
}
