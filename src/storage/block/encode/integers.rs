use super::codes::{Codes, width_of};
use super::{DICTIONARY_MAX_BYTES, Form, delta};
use hashbrown::HashTable;
use parquet::basic::Encoding;

/// The integers of a column: those of the page in progress, and the dictionary so far.
pub(super) struct Integers {
    /// Of 64 bits, not 32.
    wide: bool,
    form: Form,
    /// In the order in which they came first; `places` finds them.
    dictionary: Vec<i64>,
    places: HashTable<u32>,
    /// The one before, and its place.
    last: Option<(i64, u32)>,
    codes: Codes,
    page: Vec<i64>,
    /// Smallest and largest of the page.
    bounds: Option<(i64, i64)>,
}

impl Integers {
    pub fn new(wide: bool, form: Form) -> Integers {
        Integers {
            wide,
            form,
            dictionary: Vec::new(),
            places: HashTable::new(),
            last: None,
            codes: Codes::default(),
            page: Vec::new(),
            bounds: None,
        }
    }

    pub fn is_wide(&self) -> bool {
        self.wide
    }

    /// Takes the first of `values`, and says how many.
    pub fn take<T: Copy + Ord + Into<i64>>(&mut self, values: &[T]) -> usize {
        let taken = match self.form {
            Form::Dictionary => self.encode(values),
            Form::Plain | Form::Delta => {
                self.page.extend(values.iter().map(|v| (*v).into()));
                values.len()
            }
        };
        let values = &values[..taken];
        if let (Some(min), Some(max)) = (values.iter().min(), values.iter().max()) {
            let (min, max) = ((*min).into(), (*max).into());
            self.bounds = Some(self.bounds.map_or((min, max), |(low, high)| (low.min(min), high.max(max))));
        }
        taken
    }

    fn encode<T: Copy + PartialEq + Into<i64>>(&mut self, values: &[T]) -> usize {
        let Some(first) = values.first() else { return 0 };
        if values.iter().all(|v| v == first) {
            let code = self.code((*first).into());
            self.codes.run(code, values.len());
            return values.len();
        }
        for (at, value) in values.iter().enumerate() {
            let code = self.code((*value).into());
            self.codes.push(code);
            if self.is_full() {
                return at + 1;
            }
        }
        values.len()
    }

    fn code(&mut self, value: i64) -> u32 {
        if let Some((last, code)) = self.last
            && last == value
        {
            return code;
        }
        let dictionary = &self.dictionary;
        let hash = hash(value);
        let found = self.places.find(hash, |place| dictionary[*place as usize] == value).copied();
        let code = found.unwrap_or_else(|| {
            let place = u32::try_from(self.dictionary.len()).unwrap_or(u32::MAX);
            self.dictionary.push(value);
            let dictionary = &self.dictionary;
            self.places.insert_unique(hash, place, |place| self::hash(dictionary[*place as usize]));
            place
        });
        self.last = Some((value, code));
        code
    }

    fn bytes_of_each(&self) -> usize {
        if self.wide { size_of::<i64>() } else { size_of::<i32>() }
    }

    /// The dictionary takes no more.
    pub fn is_full(&self) -> bool {
        self.form == Form::Dictionary && self.dictionary.len() * self.bytes_of_each() >= DICTIONARY_MAX_BYTES
    }

    /// Writes the page, and begins another one.
    pub fn write_page(&mut self, out: &mut Vec<u8>) -> Encoding {
        let encoding = match self.form {
            Form::Dictionary => {
                let width = width_of((self.dictionary.len() as u64).saturating_sub(1));
                out.push(width as u8);
                self.codes.write(width, out);
                Encoding::RLE_DICTIONARY
            }
            Form::Delta => {
                delta::write(&self.page, self.wide, out);
                Encoding::DELTA_BINARY_PACKED
            }
            Form::Plain => {
                plain(&self.page, self.wide, out);
                Encoding::PLAIN
            }
        };
        if self.is_full() {
            self.form = Form::Plain;
        }
        self.codes.clear();
        self.page.clear();
        encoding
    }

    /// Smallest and largest of the page in progress, which are forgotten.
    pub fn take_bounds(&mut self) -> Option<(i64, i64)> {
        self.bounds.take()
    }

    /// In plain encoding, and how many there are.
    pub fn dictionary(&self) -> (Vec<u8>, usize) {
        let mut out = Vec::with_capacity(self.dictionary.len() * self.bytes_of_each());
        plain(&self.dictionary, self.wide, &mut out);
        (out, self.dictionary.len())
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.codes.memory() + (self.page.capacity() + self.dictionary.capacity()) * size_of::<i64>() + self.places.allocation_size()
    }
}

fn plain(values: &[i64], wide: bool, out: &mut Vec<u8>) {
    if wide {
        values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
    } else {
        values.iter().for_each(|v| out.extend_from_slice(&(*v as i32).to_le_bytes()));
    }
}

/// The table looks at the lowest and at the highest bits.
fn hash(value: i64) -> u64 {
    let mixed = value.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}
