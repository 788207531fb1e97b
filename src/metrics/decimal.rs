//! Floats as decimals: most measured values are short decimal numbers, and integers compress far better than doubles.
//! A value is stored as `i` with `div`, if `i as f64 / div` has exactly its bits, and as itself otherwise.

/// Divisors are powers of ten up to this exponent.
const EXPONENT_MAX: usize = 9;

const POWERS: [f64; EXPONENT_MAX + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Beyond 2^53 not every integer is a float, so nothing there is gained by an integer.
const MANTISSA_MAX: f64 = 9_007_199_254_740_992.0;

/// The integer that stands for `value` under `div`, if it gives back the same bits.
/// The check goes through the integer, so that -0.0, NaN and infinities fail it by themselves.
pub fn encode(value: f64, div: f64) -> Option<i64> {
    let scaled = (value * div).round();
    if scaled.is_nan() || scaled.abs() > MANTISSA_MAX {
        return None;
    }
    let integer = scaled as i64;
    (decode(integer, div).to_bits() == value.to_bits()).then_some(integer)
}

pub fn decode(integer: i64, div: f64) -> f64 {
    integer as f64 / div
}

/// The divisor for a run of values of one series: the smallest that encodes as many of them as any does.
pub fn divisor(values: &[f64]) -> f64 {
    let mut best = (0, 1.0);
    for div in POWERS {
        let fit = values.iter().filter(|v| encode(**v, div).is_some()).count();
        if fit > best.0 {
            best = (fit, div);
        }
        if fit == values.len() {
            break;
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_decimals_take_the_smallest_divisor() {
        assert_eq!(divisor(&[1.0, 2.0, -3.0]), 1.0);
        assert_eq!(divisor(&[1.5, 2.25]), 100.0);
        assert_eq!(divisor(&[0.836588, f64::NAN]), 1e6);
        assert_eq!(encode(0.1, 10.0), Some(1));
        for odd in [-0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, f64::from_bits(crate::metrics::STALE_NAN)] {
            assert!(POWERS.iter().all(|d| encode(odd, *d).is_none()), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn every_bit_pattern_survives(bits in any::<u64>(), power in 0..=EXPONENT_MAX) {
            let value = f64::from_bits(bits);
            if let Some(integer) = encode(value, POWERS[power]) {
                prop_assert_eq!(decode(integer, POWERS[power]).to_bits(), bits);
            }
        }

        #[test]
        fn decimals_of_nine_places_are_encoded(integer in -1_000_000_000_000i64..1_000_000_000_000, power in 0..=EXPONENT_MAX) {
            let value = integer as f64 / POWERS[power];
            prop_assume!(integer != 0);
            prop_assert_eq!(encode(value, POWERS[power]), Some(integer));
        }
    }
}
