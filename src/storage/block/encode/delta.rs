//! Integers as differences (Parquet's encodings, DELTA_BINARY_PACKED).

use super::codes::{pack, varint, width_of};

/// Differences that share their smallest one, and of these the ones that have the same width.
const BLOCK: usize = 128;
const MINIBLOCK: usize = 32;

/// `wide` integers are those of 64 bits, others of 32: their differences wrap.
pub(super) fn write(values: &[i64], wide: bool, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint((BLOCK / MINIBLOCK) as u64, out);
    varint(values.len() as u64, out);
    zigzag(values.first().copied().unwrap_or(0), out);
    let difference = |a: i64, b: i64| if wide { a.wrapping_sub(b) } else { i64::from((a as i32).wrapping_sub(b as i32)) };
    let above = |a: i64, min: i64| if wide { a.wrapping_sub(min) as u64 } else { u64::from((a as i32).wrapping_sub(min as i32) as u32) };
    let mut deltas = Vec::with_capacity(BLOCK);
    let mut rest = values;
    while let [_, next @ ..] = rest
        && !next.is_empty()
    {
        deltas.clear();
        deltas.extend(rest.iter().zip(next).take(BLOCK).map(|(before, value)| difference(*value, *before)));
        rest = &rest[deltas.len()..];
        let min = deltas.iter().copied().min().unwrap_or(0);
        zigzag(min, out);
        let widths = out.len();
        out.resize(widths + BLOCK / MINIBLOCK, 0);
        for (number, part) in deltas.chunks(MINIBLOCK).enumerate() {
            let all_bits = part.iter().fold(0, |bits, delta| bits | above(*delta, min));
            let width = width_of(all_bits);
            out[widths + number] = width as u8;
            let end = out.len() + MINIBLOCK / 8 * width as usize;
            pack(part.iter().map(|delta| above(*delta, min)), width, out);
            out.resize(end, 0);
        }
    }
}

fn zigzag(value: i64, out: &mut Vec<u8>) {
    varint(((value << 1) ^ (value >> 63)) as u64, out);
}
