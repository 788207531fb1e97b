//! Bits of a chunk, and the three codes of numbers in it: variable length in bytes, variable length in bits, and the
//! difference of two floats.

/// Appends bits, the highest of a byte first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not used yet.
    free: u32,
}

/// Lengths of the codes with a variable number of bits: how many bits the number has after a prefix of as many ones, and a
/// zero. The last has no zero.
const LENGTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

impl Bits {
    /// After bytes that are there already.
    pub fn after(bytes: Vec<u8>) -> Bits {
        Bits { bytes, free: 0 }
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The lowest `count` bits, at most 64.
    pub fn push(&mut self, number: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            let part = (number >> (left - taken)) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - taken);
            }
            self.free -= taken;
            left -= taken;
        }
    }

    pub fn double(&mut self, value: f64) {
        self.push(value.to_bits(), 64);
    }

    /// In groups of seven bits, the lowest first.
    pub fn uvarint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.push(number & 0x7f | 0x80, 8);
            number >>= 7;
        }
        self.push(number, 8);
    }

    pub fn varint(&mut self, number: i64) {
        self.uvarint((number << 1 ^ number >> 63).cast_unsigned());
    }

    pub fn unsigned(&mut self, number: u64) {
        self.coded(number, |length| length == 64 || number >> length == 0);
    }

    pub fn signed(&mut self, number: i64) {
        self.coded(number.cast_unsigned(), |length| length == 64 || fits(number, length));
    }

    fn coded(&mut self, number: u64, fits: impl Fn(u32) -> bool) {
        let at = LENGTHS.iter().position(|length| fits(*length)).unwrap_or(LENGTHS.len() - 1);
        let (ones, length) = (at as u32, LENGTHS[at]);
        if at == LENGTHS.len() - 1 {
            self.push(u64::MAX, ones);
        } else {
            self.push((1 << (ones + 1)) - 2, ones + 1);
        }
        self.push(number, length);
    }

    /// The difference of two differences of times, in a chunk of floats.
    pub fn delta_of_delta(&mut self, number: i64) {
        match number {
            0 => self.push(0, 1),
            n if fits(n, 14) => self.prefixed(0b10, 2, n, 14),
            n if fits(n, 17) => self.prefixed(0b110, 3, n, 17),
            n if fits(n, 20) => self.prefixed(0b1110, 4, n, 20),
            n => self.prefixed(0b1111, 4, n, 64),
        }
    }

    fn prefixed(&mut self, prefix: u64, ones: u32, number: i64, length: u32) {
        self.push(prefix, ones);
        self.push(number.cast_unsigned(), length);
    }
}

/// Whether a number has a code of so many bits: the positive half reaches one further than in two's complement.
fn fits(number: i64, length: u32) -> bool {
    match length {
        0 => number == 0,
        length => (1 - (1 << (length - 1))..=1 << (length - 1)).contains(&number),
    }
}

/// A float, written as what differs from the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xor {
    last: u64,
    /// Zeros before and after the bits of the last difference that gave its own; `None` before the first.
    window: Option<(u32, u32)>,
}

impl Xor {
    pub fn after(value: f64) -> Xor {
        Xor { last: value.to_bits(), window: None }
    }

    pub fn push(&mut self, value: f64, out: &mut Bits) {
        let difference = std::mem::replace(&mut self.last, value.to_bits()) ^ value.to_bits();
        if difference == 0 {
            return out.push(0, 1);
        }
        // Five bits hold how many zeros lead.
        let (leading, trailing) = (difference.leading_zeros().min(31), difference.trailing_zeros());
        match self.window {
            Some((before, after)) if leading >= before && trailing >= after => {
                out.push(0b10, 2);
                out.push(difference >> after, 64 - before - after);
            }
            _ => {
                self.window = Some((leading, trailing));
                let length = 64 - leading - trailing;
                out.push(0b11, 2);
                out.push(leading.into(), 5);
                // 64 is written as 0, which no length is.
                out.push((length & 63).into(), 6);
                out.push(difference >> trailing, length);
            }
        }
    }
}
