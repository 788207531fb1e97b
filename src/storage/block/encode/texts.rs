use super::codes::{Codes, width_of};
use super::{DICTIONARY_MAX_BYTES, Form, PAGE_BYTES};
use arrow_array::{FixedSizeBinaryArray, StringArray};
use hashbrown::HashTable;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64;

/// A key of a batch's dictionary that was not met yet.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// The texts of a column, or bytes of one length: those of the page in progress, and the dictionary so far.
pub(super) struct Texts {
    /// Without lengths in front.
    fixed: bool,
    form: Form,
    dictionary: Dictionary,
    /// The place of the text before.
    last: Option<u32>,
    codes: Codes,
    page: Vec<u8>,
    with_bounds: bool,
    /// Smallest and largest of the page, unless they are in the dictionary.
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    bloom: Option<Sbbf>,
}

/// Distinct texts in the order in which they came first.
#[derive(Default)]
struct Dictionary {
    /// In plain encoding.
    bytes: Vec<u8>,
    /// Where each stands in them.
    texts: Vec<Range<u32>>,
    /// By the number of the page that had each last.
    seen: Vec<u32>,
    page: u32,
    places: HashTable<u32>,
}

impl Dictionary {
    fn get(&self, code: u32) -> &[u8] {
        self.texts.get(code as usize).and_then(|at| self.bytes.get(at.start as usize..at.end as usize)).unwrap_or_default()
    }

    /// The place of a text, and whether it is new.
    fn place(&mut self, text: &[u8]) -> (u32, bool) {
        let hash = xxh3_64(text);
        if let Some(place) = self.places.find(hash, |place| self.get(*place) == text) {
            return (*place, false);
        }
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place = number(self.texts.len());
        plain(text, false, &mut self.bytes);
        let end = self.bytes.len();
        self.texts.push(number(end - text.len())..number(end));
        self.seen.push(UNKNOWN);
        let (texts, bytes) = (&self.texts, &self.bytes);
        let hash_of = |place: &u32| {
            let at = &texts[*place as usize];
            xxh3_64(&bytes[at.start as usize..at.end as usize])
        };
        self.places.insert_unique(hash, place, hash_of);
        (place, true)
    }

    /// Smallest and largest of these.
    fn bounds(&mut self, codes: &[u32]) -> Option<(Vec<u8>, Vec<u8>)> {
        self.page += 1;
        let first = *codes.first()?;
        let (mut min, mut max) = (first, first);
        for code in codes {
            let seen = self.seen.get_mut(*code as usize)?;
            if std::mem::replace(seen, self.page) == self.page {
                continue;
            }
            let own = self.get(*code);
            if own < self.get(min) {
                min = *code;
            } else if own > self.get(max) {
                max = *code;
            }
        }
        Some((self.get(min).to_vec(), self.get(max).to_vec()))
    }
}

impl Texts {
    pub fn new(fixed: bool, form: Form, with_bounds: bool, bloom: Option<Sbbf>) -> Texts {
        Texts {
            fixed,
            form,
            dictionary: Dictionary::default(),
            last: None,
            codes: Codes::default(),
            page: Vec::new(),
            with_bounds,
            bounds: None,
            bloom,
        }
    }

    pub fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// Takes the first of these rows, and says how many.
    pub fn take(&mut self, texts: &StringArray, rows: Range<usize>) -> usize {
        let offsets = texts.value_offsets();
        if self.form == Form::Dictionary && offsets[rows.start] == offsets[rows.end] {
            let code = self.code(&[]);
            self.codes.run(code, rows.len());
            return rows.len();
        }
        self.each(rows, |row| texts.value(row).as_bytes())
    }

    pub fn take_fixed(&mut self, texts: &FixedSizeBinaryArray, rows: Range<usize>) -> usize {
        self.each(rows, |row| texts.value(row))
    }

    /// Of rows that are keys of texts; `codes` are the places of those texts, as far as they are known.
    pub fn take_keys(&mut self, keys: &[i32], texts: &StringArray, codes: &mut [u32], rows: Range<usize>) -> usize {
        let text = |key: i32| texts.value(key.cast_unsigned() as usize).as_bytes();
        if self.form != Form::Dictionary {
            return self.each(rows, |row| text(keys[row]));
        }
        let keys = &keys[rows];
        let mut code_of = |own: &mut Texts, key: i32| match &mut codes[key.cast_unsigned() as usize] {
            code if *code == UNKNOWN => {
                *code = own.code(text(key));
                *code
            }
            code => *code,
        };
        let Some(first) = keys.first() else { return 0 };
        if keys.iter().all(|key| key == first) {
            let code = code_of(self, *first);
            self.codes.run(code, keys.len());
            return keys.len();
        }
        for (at, key) in keys.iter().enumerate() {
            let code = code_of(self, *key);
            self.codes.push(code);
            if self.is_full() {
                return at + 1;
            }
        }
        keys.len()
    }

    fn each<'t>(&mut self, rows: Range<usize>, text: impl Fn(usize) -> &'t [u8]) -> usize {
        for row in rows.clone() {
            match self.form {
                Form::Dictionary => {
                    let code = self.code(text(row));
                    self.codes.push(code);
                }
                Form::Plain | Form::Delta => self.plain(text(row)),
            }
            if self.is_full() {
                return row + 1 - rows.start;
            }
        }
        rows.len()
    }

    fn code(&mut self, text: &[u8]) -> u32 {
        if let Some(last) = self.last
            && self.dictionary.get(last) == text
        {
            return last;
        }
        let (code, is_new) = self.dictionary.place(text);
        if is_new && let Some(bloom) = &mut self.bloom {
            bloom.insert(text);
        }
        self.last = Some(code);
        code
    }

    fn plain(&mut self, text: &[u8]) {
        plain(text, self.fixed, &mut self.page);
        if let Some(bloom) = &mut self.bloom {
            bloom.insert(text);
        }
        if !self.with_bounds {
            return;
        }
        match &mut self.bounds {
            None => self.bounds = Some((text.to_vec(), text.to_vec())),
            Some((min, _)) if text < min.as_slice() => text.clone_into(min),
            Some((_, max)) if text > max.as_slice() => text.clone_into(max),
            Some(_) => {}
        }
    }

    /// The page, or the dictionary, takes no more.
    pub fn is_full(&self) -> bool {
        match self.form {
            Form::Dictionary => self.dictionary.bytes.len() >= DICTIONARY_MAX_BYTES,
            Form::Plain | Form::Delta => self.page.len() >= PAGE_BYTES,
        }
    }

    /// Writes the page, and begins another one.
    pub fn write_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        let encoding = match self.form {
            Form::Dictionary => {
                let width = width_of((self.dictionary.texts.len() as u64).saturating_sub(1));
                out.push(width as u8);
                self.codes.write(width, out);
                if self.is_full() {
                    self.form = Form::Plain;
                }
                Encoding::RLE_DICTIONARY
            }
            Form::Plain | Form::Delta => {
                out.extend_from_slice(&self.page);
                Encoding::PLAIN
            }
        };
        self.codes.clear();
        self.page.clear();
        encoding
    }

    /// Smallest and largest of the page in progress, which are forgotten; nothing if they are not wanted.
    pub fn take_bounds(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        match self.form {
            Form::Dictionary if self.with_bounds => self.dictionary.bounds(self.codes.distinct()),
            _ => self.bounds.take(),
        }
    }

    /// In plain encoding, and how many there are.
    pub fn dictionary(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.dictionary.bytes), self.dictionary.texts.len())
    }

    /// The filter of all of them, as small as its errors allow.
    pub fn take_bloom(&mut self, errors: f64) -> Option<Sbbf> {
        let mut bloom = self.bloom.take()?;
        bloom.fold_to_target_fpp(errors);
        Some(bloom)
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        let Dictionary { bytes, texts, seen, places, .. } = &self.dictionary;
        let dictionary = bytes.capacity() + texts.capacity() * size_of::<Range<u32>>() + seen.capacity() * size_of::<u32>();
        let bloom = self.bloom.as_ref().map_or(0, |bloom| bloom.num_blocks() * 32);
        self.codes.memory() + self.page.capacity() + dictionary + places.allocation_size() + bloom
    }
}

fn plain(text: &[u8], fixed: bool, out: &mut Vec<u8>) {
    if !fixed {
        // The format has no longer ones.
        out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    out.extend_from_slice(text);
}
