//! Floats of one series in a few bytes each. The newest is kept as it is, and every one before it as its difference to the
//! next, written so that it is read from the end: what a query wants is mostly near the end, and a series of one sample
//! needs no list at all.
//!
//! A difference, from its last byte to its first: a byte with the number of bytes in which the values differ (bits 0 to 3),
//! how many equal ones follow them (bits 4 to 6), and whether the start times differ (bit 7); the change of the distance in
//! time; the number of batches between; the difference of the start times, if any; those bytes of the values. Numbers are
//! varints, signed ones as zigzag.

/// One sample and the batch that brought it. Times in milliseconds since the epoch; a `start` of 0 is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Float {
    pub ts: i64,
    pub start: i64,
    pub value: f64,
    pub batch: u32,
}

/// In order of acceptance; batches ascend.
#[derive(Debug, Default)]
pub struct Floats {
    bytes: Vec<u8>,
    last: Float,
    /// From the sample before the last one to it; 0 if there is none.
    distance: i64,
    count: u32,
    out_of_order: bool,
    has_start: bool,
}

const START_DIFFERS: u8 = 1 << 7;

impl Floats {
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether each sample is later than the one before it.
    pub fn is_in_order(&self) -> bool {
        !self.out_of_order
    }

    /// Whether the start time of any sample is known.
    pub fn has_start(&self) -> bool {
        self.has_start
    }

    pub fn push(&mut self, next: Float) {
        self.has_start |= next.start != 0;
        if self.count > 0 {
            let distance = next.ts.wrapping_sub(self.last.ts);
            self.out_of_order |= next.ts <= self.last.ts;
            self.make_room();
            let flipped = next.value.to_bits() ^ self.last.value.to_bits();
            let equal_after = if flipped == 0 { 0 } else { flipped.trailing_zeros() / 8 };
            let differing = 8 - flipped.leading_zeros() / 8 - equal_after;
            self.bytes.extend_from_slice(&(flipped >> (8 * equal_after)).to_le_bytes()[..differing as usize]);
            let mut head = differing as u8 | (equal_after as u8) << 4;
            if next.start != self.last.start {
                head |= START_DIFFERS;
                put(&mut self.bytes, zigzag(next.start.wrapping_sub(self.last.start)));
            }
            put(&mut self.bytes, u64::from(next.batch.wrapping_sub(self.last.batch)));
            put(&mut self.bytes, zigzag(distance.wrapping_sub(self.distance)));
            self.bytes.push(head);
            self.distance = distance;
        }
        self.last = next;
        self.count += 1;
    }

    /// A difference takes at most 39 bytes. Lists grow by a quarter: half of them would be air otherwise.
    fn make_room(&mut self) {
        const ONE: usize = 39;
        if self.bytes.is_empty() {
            // What two samples at regular times take.
            self.bytes.reserve_exact(16);
        }
        let (length, room) = (self.bytes.len(), self.bytes.capacity());
        if length >= 16 && room - length < ONE {
            self.bytes.reserve_exact((length / 4).max(ONE));
        }
    }

    /// From the newest to the oldest.
    pub fn backwards(&self) -> impl Iterator<Item = Float> {
        let (mut at, mut now, mut distance) = (self.bytes.len(), self.last, self.distance);
        (0..self.count).map(move |n| {
            if n > 0 {
                let head = self.before(&mut at);
                let change = unzigzag(self.number(&mut at));
                now.batch = now.batch.wrapping_sub(self.number(&mut at) as u32);
                if head & START_DIFFERS != 0 {
                    now.start = now.start.wrapping_sub(unzigzag(self.number(&mut at)));
                }
                let differing = usize::from(head & 0xf);
                let mut flipped = [0; 8];
                flipped[..differing].copy_from_slice(&self.bytes[at - differing..at]);
                at -= differing;
                let flipped = u64::from_le_bytes(flipped) << (8 * (head >> 4 & 7));
                now.value = f64::from_bits(now.value.to_bits() ^ flipped);
                now.ts = now.ts.wrapping_sub(distance);
                distance = distance.wrapping_sub(change);
            }
            now
        })
    }

    fn before(&self, at: &mut usize) -> u8 {
        *at -= 1;
        self.bytes[*at]
    }

    fn number(&self, at: &mut usize) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.before(at);
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
            shift += 7;
        }
    }
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// A varint whose first byte comes last.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    let from = bytes.len();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes[from..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> impl Strategy<Value = Float> {
        let time = prop_oneof![any::<i64>(), 0i64..100_000, Just(i64::MIN), Just(i64::MAX)];
        let start = prop_oneof![Just(0i64), Just(7), any::<i64>()];
        let value = prop_oneof![any::<u64>().prop_map(f64::from_bits), (0u32..1000).prop_map(f64::from), Just(f64::NAN), Just(-0.0)];
        (time, start, value, any::<u8>()).prop_map(|(ts, start, value, batch)| Float { ts, start, value, batch: batch.into() })
    }

    proptest! {
        #[test]
        fn every_sample_comes_back_to_the_bit(samples in proptest::collection::vec(sample(), 0..50)) {
            let (mut floats, mut batch) = (Floats::default(), 0);
            let samples: Vec<Float> = samples.into_iter().map(|s| { batch += s.batch; Float { batch, ..s } }).collect();
            samples.iter().for_each(|s| floats.push(*s));
            let mut back: Vec<Float> = floats.backwards().collect();
            back.reverse();
            let parts = |s: &Float| (s.ts, s.start, s.value.to_bits(), s.batch);
            prop_assert_eq!(back.iter().map(parts).collect::<Vec<_>>(), samples.iter().map(parts).collect::<Vec<_>>());
            prop_assert_eq!(floats.is_in_order(), samples.windows(2).all(|w| w[0].ts < w[1].ts));
        }
    }

    #[test]
    fn an_hour_of_a_counter_takes_few_bytes() {
        let mut floats = Floats::default();
        for n in 0..240u32 {
            floats.push(Float { ts: 1_772_928_000_000 + i64::from(n) * 15_000, start: 5, value: f64::from(n * 37), batch: n * 200 });
        }
        assert!(floats.bytes.capacity() < 240 * 8, "{}", floats.bytes.capacity());
    }
}
