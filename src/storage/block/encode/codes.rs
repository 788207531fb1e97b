//! Small numbers as runs and packed bits (Parquet's encodings, "Run Length Encoding / Bit-Packing Hybrid").

/// Equal numbers from which on they are written as a run.
const RUN_MIN: usize = 8;

/// The numbers of a page. While all are equal, only their count is kept.
#[derive(Default)]
pub(super) struct Codes {
    first: u32,
    /// How many there are, as long as all are equal.
    equal: usize,
    /// All of them, otherwise.
    each: Vec<u32>,
}

impl Codes {
    pub fn push(&mut self, code: u32) {
        if self.each.is_empty() { self.run(code, 1) } else { self.each.push(code) }
    }

    pub fn run(&mut self, code: u32, count: usize) {
        if count == 0 {
            return;
        }
        if !self.each.is_empty() {
            self.each.resize(self.each.len() + count, code);
        } else if self.equal == 0 || self.first == code {
            self.first = code;
            self.equal += count;
        } else {
            self.each.resize(self.equal, self.first);
            self.each.resize(self.equal + count, code);
        }
    }

    /// All of them, or the one that they are.
    pub fn distinct(&self) -> &[u32] {
        match (self.each.is_empty(), self.equal) {
            (false, _) => &self.each,
            (true, 0) => &[],
            (true, _) => std::slice::from_ref(&self.first),
        }
    }

    pub fn clear(&mut self) {
        self.equal = 0;
        self.each.clear();
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.each.capacity() * size_of::<u32>()
    }

    /// `width` is how many bits the largest of them needs.
    pub fn write(&self, width: u32, out: &mut Vec<u8>) {
        if self.each.is_empty() {
            if self.equal > 0 {
                write_run(self.first, self.equal, width, out);
            }
            return;
        }
        // Where the numbers that are packed begin, and where those begin that were not looked at.
        let (mut packed, mut at) = (0, 0);
        while let Some(code) = self.each.get(at) {
            let equal = self.each[at..].iter().take_while(|other| *other == code).count();
            if equal < RUN_MIN {
                at += RUN_MIN;
                continue;
            }
            write_packed(&self.each[packed..at], width, out);
            write_run(*code, equal, width, out);
            at += equal;
            packed = at;
        }
        write_packed(&self.each[packed..], width, out);
    }
}

fn write_run(code: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    varint((count as u64) << 1, out);
    out.extend_from_slice(&code.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// In groups of eight, of which only the last of a page may be padded.
fn write_packed(codes: &[u32], width: u32, out: &mut Vec<u8>) {
    if codes.is_empty() {
        return;
    }
    let groups = codes.len().div_ceil(RUN_MIN);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    pack(codes.iter().map(|code| u64::from(*code)), width, out);
    out.resize(end, 0);
}

/// One behind the other, each `width` bits from the lowest on, of 64 at most.
pub(super) fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let (mut bits, mut filled) = (0u128, 0);
    for value in values {
        bits |= u128::from(value) << filled;
        filled += width;
        if filled >= u64::BITS {
            out.extend_from_slice(&(bits as u64).to_le_bytes());
            bits >>= u64::BITS;
            filled -= u64::BITS;
        }
    }
    out.extend_from_slice(&bits.to_le_bytes()[..filled.div_ceil(8) as usize]);
}

/// Seven bits a byte, the lowest first.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bits that the number needs.
pub(super) fn width_of(largest: u64) -> u32 {
    u64::BITS - largest.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(codes: &[u32], width: u32) -> Vec<u8> {
        let (mut all, mut out) = (Codes::default(), Vec::new());
        codes.iter().for_each(|code| all.push(*code));
        all.write(width, &mut out);
        out
    }

    fn read(mut bytes: &[u8], width: u32, count: usize) -> Vec<u32> {
        let mut codes = Vec::new();
        while codes.len() < count {
            let (mut header, mut shift) = (0u64, 0);
            while let Some((byte, rest)) = bytes.split_first() {
                header |= u64::from(byte & 0x7f) << shift;
                (bytes, shift) = (rest, shift + 7);
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let number = |bits: &dyn Fn(u32) -> bool| (0..width).map(|bit| u32::from(bits(bit)) << bit).sum::<u32>();
            if header & 1 == 0 {
                let (own, rest) = bytes.split_at(width.div_ceil(8) as usize);
                let code = number(&|bit| own[bit as usize / 8] >> (bit % 8) & 1 == 1);
                codes.extend(std::iter::repeat_n(code, (header >> 1) as usize));
                bytes = rest;
            } else {
                let (own, rest) = bytes.split_at((header >> 1) as usize * width as usize);
                let bit_at = |at: u32| own[at as usize / 8] >> (at % 8) & 1 == 1;
                codes.extend((0..(header >> 1) as u32 * 8).map(|n| number(&|bit| bit_at(n * width + bit))));
                bytes = rest;
            }
        }
        assert!(bytes.is_empty());
        codes.truncate(count);
        codes
    }

    #[test]
    fn equal_numbers_are_a_run() {
        assert_eq!(written(&[5; 300], 3), [0xd8, 4, 5]);
        assert_eq!(written(&[0; 300], 0), [0xd8, 4]);
        assert!(written(&[], 3).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(runs in proptest::collection::vec((0u32..9, 1usize..40), 1..30), width in 4u32..33) {
            let codes: Vec<u32> = runs.iter().flat_map(|(code, count)| std::iter::repeat_n(*code, *count)).collect();
            prop_assert_eq!(read(&written(&codes, width), width, codes.len()), codes);
        }
    }
}
