use std::borrow::Cow;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// A name and a value of structured metadata. Shared, because the attributes of a resource stand on all of its entries.
pub type Pair = (Arc<str>, Arc<str>);

/// Where a line is.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Nanoseconds since the epoch.
    ts: i64,
    at: u32,
    /// Bytes of the line, and of the pairs behind it.
    line: u32,
    pairs: u32,
    /// Position among the shared pairs, or [`NONE`].
    shared: u32,
}

const NONE: u32 = u32::MAX;

/// Log lines with their times and structured metadata: in one text, since of a line's metadata little is its own and columns
/// would repeat the rest. Names stand once; what a resource and its scope say is there once for all of their lines.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    rows: Vec<Row>,
    /// Of each row its line, and then the pairs that only it has: the number of the name, the length of the value, the value.
    text: String,
    names: Vec<Arc<str>>,
    shared: Vec<Arc<[Pair]>>,
}

/// A number below 2^32 in characters of ASCII, six bits each.
fn push_number(text: &mut String, mut number: u32) {
    while number >= 64 {
        text.push(char::from((number & 63) as u8 | 64));
        number >>= 6;
    }
    text.push(char::from(number as u8));
}

#[inline]
fn take_number(rest: &mut &str) -> Option<u32> {
    let mut number = 0;
    for (at, byte) in rest.bytes().enumerate().take(6) {
        number |= u32::from(byte & 63) << (6 * at);
        if byte & 64 == 0 {
            *rest = rest.get(at + 1..)?;
            return Some(number);
        }
    }
    None
}

/// The pairs that only one line has: the number of each name, and the value.
pub struct OwnPairs<'a>(&'a str);

impl<'a> Iterator for OwnPairs<'a> {
    type Item = (u32, &'a str);

    #[inline]
    fn next(&mut self) -> Option<(u32, &'a str)> {
        let name = take_number(&mut self.0)?;
        let length = take_number(&mut self.0)?;
        let (value, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// A line that is being put together.
pub struct NewLine<'a> {
    lines: &'a mut Lines,
    row: Row,
}

impl NewLine<'_> {
    /// `name` is a number that [`Lines::add_name`] gave.
    pub fn pair(&mut self, name: u32, value: &str) {
        let text = &mut self.lines.text;
        push_number(text, name);
        // Bounded as the whole text is.
        push_number(text, value.len() as u32);
        text.push_str(value);
    }

    pub fn finish(mut self) {
        self.row.pairs = self.lines.text.len() as u32 - self.row.at - self.row.line;
        self.lines.rows.push(self.row);
    }
}

impl Lines {
    /// Room for exactly so much.
    pub fn with_capacity(rows: usize, text_bytes: usize) -> Lines {
        Lines { rows: Vec::with_capacity(rows), text: String::with_capacity(text_bytes), ..Lines::default() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of lines and of the pairs that are not shared. Never 2^32 or more: see [`super::ROWS_MAX_BYTES`].
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes of the lines and own pairs of a row.
    pub fn row_bytes(&self, row: usize) -> usize {
        let row = &self.rows[row];
        row.line as usize + row.pairs as usize
    }

    pub fn heap_bytes(&self) -> usize {
        let text = |n: &Arc<str>| n.len() + 32;
        let pairs = |s: &Arc<[Pair]>| s.iter().map(|(n, v)| text(n) + text(v) + size_of::<Pair>()).sum::<usize>();
        self.rows.capacity() * size_of::<Row>()
            + self.text.capacity()
            + self.names.iter().map(text).sum::<usize>()
            + self.shared.iter().map(pairs).sum::<usize>()
    }

    pub fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    pub fn shared_sets(&self) -> &[Arc<[Pair]>] {
        &self.shared
    }

    /// Nanoseconds since the epoch.
    #[inline]
    pub fn ts(&self, row: usize) -> i64 {
        self.rows[row].ts
    }

    #[inline]
    pub fn line(&self, row: usize) -> &str {
        let Row { at, line, .. } = self.rows[row];
        self.text.get(at as usize..(at + line) as usize).unwrap_or("")
    }

    #[inline]
    pub fn own_pairs(&self, row: usize) -> OwnPairs<'_> {
        let Row { at, line, pairs, .. } = self.rows[row];
        OwnPairs(self.text.get((at + line) as usize..(at + line + pairs) as usize).unwrap_or(""))
    }

    /// Position of the row's shared pairs in [`Lines::shared_sets`].
    #[inline]
    pub fn shared_of(&self, row: usize) -> Option<usize> {
        let shared = self.rows[row].shared;
        (shared != NONE).then_some(shared as usize)
    }

    fn shared_pairs(&self, row: usize) -> &[Pair] {
        self.shared_of(row).and_then(|at| self.shared.get(at)).map_or(&[], |pairs| pairs)
    }

    /// Structured metadata of a row: first what only it has. Names are unique.
    pub fn metadata(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        let own = self.own_pairs(row).filter_map(|(name, value)| Some((&**self.names.get(name as usize)?, value)));
        own.chain(self.shared_pairs(row).iter().map(|(name, value)| (&**name, &**value)))
    }

    /// A new name.
    pub fn add_name(&mut self, name: Arc<str>) -> u32 {
        self.names.push(name);
        self.names.len() as u32 - 1
    }

    /// The position of pairs that several lines share.
    pub fn add_shared(&mut self, pairs: &Arc<[Pair]>) -> Option<u32> {
        /// Those of a sender come one after the other.
        const LAST: usize = 16;
        if pairs.is_empty() {
            return None;
        }
        let first = self.shared.len().saturating_sub(LAST);
        let known = self.shared[first..].iter().position(|s| Arc::ptr_eq(s, pairs) || s == pairs);
        let at = known.map_or(self.shared.len(), |at| first + at);
        if at == self.shared.len() {
            self.shared.push(pairs.clone());
        }
        Some(at as u32)
    }

    /// Appends a line; `shared` is what [`Lines::add_shared`] gave.
    pub fn begin(&mut self, ts: i64, line: &str, shared: Option<u32>) -> NewLine<'_> {
        let row = Row { ts, at: self.text.len() as u32, line: line.len() as u32, pairs: 0, shared: shared.unwrap_or(NONE) };
        self.text.push_str(line);
        NewLine { lines: self, row }
    }

    /// Appends a row of `other`, whose names and shared pairs have the numbers of `places` here.
    pub fn copy(&mut self, other: &Lines, row: usize, places: &Places) {
        let from = other.rows[row];
        let shared = other.shared_of(row).and_then(|at| places.shared.get(at).copied()).unwrap_or(NONE);
        let at = self.text.len() as u32;
        if places.has_same_names {
            self.text.push_str(other.text.get(from.at as usize..(from.at + from.line + from.pairs) as usize).unwrap_or(""));
            self.rows.push(Row { at, shared, ..from });
            return;
        }
        let mut line = self.begin(from.ts, other.line(row), (shared != NONE).then_some(shared));
        for (name, value) in other.own_pairs(row) {
            line.pair(places.names.get(name as usize).copied().unwrap_or_default(), value);
        }
        line.finish();
    }

    /// Where the names and shared pairs of `other` are here; they are added if they are new. `index` has those of before.
    pub fn places(&mut self, other: &Lines, index: &mut NameIndex) -> Places {
        let names: Vec<u32> = other.names.iter().map(|name| index.place(self, name)).collect();
        let has_same_names = names.iter().zip(0..).all(|(place, at)| *place == at);
        let shared = other.shared.iter().map(|pairs| self.add_shared(pairs).unwrap_or(NONE)).collect();
        Places { names, has_same_names, shared }
    }

    /// Keeps the rows for which `keep` holds; their text stays as it is.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut row = 0;
        self.rows.retain(|_| {
            row += 1;
            keep(row - 1)
        });
    }

    /// Gives back what was taken for more.
    pub fn shrink(&mut self) {
        self.rows.shrink_to_fit();
        self.text.shrink_to_fit();
    }

    /// A number that is equal for rows with equal line and metadata, in whatever order and columns the metadata stands,
    /// and different for others but with a probability of 2^-128.
    pub fn fingerprint(&self, row: usize) -> u128 {
        fingerprint(self.line(row), |each| self.metadata(row).for_each(|(name, value)| each(name, value)))
    }

    /// As [`Lines::metadata`], in the form that columns have it.
    #[inline]
    pub fn each_metadata<'a>(&'a self, row: usize, mut each: impl FnMut(&'a str, Cow<'a, str>)) {
        self.metadata(row).for_each(|(name, value)| each(name, Cow::Borrowed(value)));
    }
}

/// See [`Lines::fingerprint`]; `metadata` calls what it is given for each pair.
pub fn fingerprint(line: &str, metadata: impl FnOnce(&mut dyn FnMut(&str, &str))) -> u128 {
    let mut sum = xxhash_rust::xxh3::xxh3_128(line.as_bytes());
    let mut hash = Xxh3::new();
    metadata(&mut |name, value| {
        hash.reset();
        hash.update(name.as_bytes());
        hash.update(&[0xff]);
        hash.update(value.as_bytes());
        sum = sum.wrapping_add(hash.digest128());
    });
    sum
}

/// Where names and shared pairs of some [`Lines`] are in others.
pub struct Places {
    names: Vec<u32>,
    has_same_names: bool,
    shared: Vec<u32>,
}

/// The names of some [`Lines`], by their text.
#[derive(Debug, Default)]
pub struct NameIndex(std::collections::HashMap<Arc<str>, u32>);

impl NameIndex {
    /// The number of a name in `lines`; it is added if it is new.
    pub fn place(&mut self, lines: &mut Lines, name: &Arc<str>) -> u32 {
        match self.0.get(name) {
            Some(place) => *place,
            None => self.add(lines, name.clone()),
        }
    }

    pub fn get(&self, name: &str) -> Option<u32> {
        self.0.get(name).copied()
    }

    pub fn add(&mut self, lines: &mut Lines, name: Arc<str>) -> u32 {
        let place = lines.add_name(name.clone());
        self.0.insert(name, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_they_were_written(numbers in proptest::collection::vec(any::<u32>(), 0..9)) {
            let mut text = String::new();
            numbers.iter().for_each(|n| push_number(&mut text, *n));
            let mut rest = text.as_str();
            for number in numbers {
                prop_assert_eq!(take_number(&mut rest), Some(number));
            }
            prop_assert_eq!(take_number(&mut rest), None);
        }
    }
}
