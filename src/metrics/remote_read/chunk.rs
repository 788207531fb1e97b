//! Samples as Prometheus's chunks of floats and of float histograms.

use super::bits::{Bits, Xor};
use crate::metrics::histogram::{Buckets, Histogram, ResetHint, runs};
use crate::metrics::promql::SeriesData;
use crate::metrics::rows::HistogramSample;
use std::collections::BTreeSet;

/// Samples of one chunk at most, as Prometheus cuts its own.
const SAMPLES_MAX: usize = 120;

/// How the bytes of a chunk are to be read, as `Chunk.Encoding` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Xor = 1,
    FloatHistogram = 3,
}

/// Times in milliseconds since the epoch, both inclusive.
#[derive(Debug)]
pub(super) struct Chunk {
    pub min: i64,
    pub max: i64,
    pub encoding: Encoding,
    pub data: Vec<u8>,
}

/// Chunks of the series in order of time. Where a float and a histogram have one time, the float counts.
pub(super) fn chunks(series: &SeriesData) -> impl Iterator<Item = Chunk> + '_ {
    let (mut floats, mut histograms) = (0, 0);
    std::iter::from_fn(move || {
        let next_float = series.ts.get(floats).copied();
        while series.histograms.get(histograms).is_some_and(|h| Some(h.ts) == next_float) {
            histograms += 1;
        }
        let next_histogram = series.histograms.get(histograms).map(|h| h.ts);
        match (next_float, next_histogram) {
            (None, None) => None,
            (Some(ts), bound) if bound.is_none_or(|bound| ts < bound) => {
                let rest = &series.ts[floats..];
                let length = bound.map_or(rest.len(), |bound| rest.partition_point(|t| *t < bound)).min(SAMPLES_MAX);
                let values = &series.values[floats..floats + length];
                floats += length;
                Some(of_floats(&rest[..length], values))
            }
            (bound, _) => {
                let rest = &series.histograms[histograms..];
                let until = bound.map_or(rest.len(), |bound| rest.partition_point(|h| h.ts < bound)).min(SAMPLES_MAX);
                let length = alike(&rest[..until]);
                histograms += length;
                Some(of_histograms(&rest[..length]))
            }
        }
    })
}

fn header(samples: usize) -> Vec<u8> {
    // SAMPLES_MAX fits.
    u16::try_from(samples).unwrap_or(u16::MAX).to_be_bytes().to_vec()
}

/// Of as many times as values, at least one.
fn of_floats(times: &[i64], values: &[f64]) -> Chunk {
    let mut out = Bits::after(header(times.len()));
    let mut before: Option<(i64, u64, Xor)> = None;
    for (at, (ts, value)) in times.iter().zip(values).enumerate() {
        let (delta, mut xor) = match before {
            None => {
                out.varint(*ts);
                out.double(*value);
                (0, Xor::after(*value))
            }
            Some((last, last_delta, xor)) => {
                let delta = ts.wrapping_sub(last).cast_unsigned();
                if at == 1 {
                    out.uvarint(delta);
                } else {
                    out.delta_of_delta(delta.wrapping_sub(last_delta).cast_signed());
                }
                (delta, xor)
            }
        };
        if at > 0 {
            xor.push(*value, &mut out);
        }
        before = Some((*ts, delta, xor));
    }
    let ends = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
    Chunk { min: ends.0, max: ends.1, encoding: Encoding::Xor, data: out.finish() }
}

/// How many of the first histograms go into one chunk: those of one layout without a reset between them, since a reader
/// takes every further one of a chunk for no reset. One that ends the series is alone: it has no layout.
fn alike(samples: &[HistogramSample]) -> usize {
    let continues = |pair: &[HistogramSample]| {
        let (a, b) = (&pair[0].histogram, &pair[1].histogram);
        let same_layout = a.schema == b.schema && a.zero_threshold.to_bits() == b.zero_threshold.to_bits() && a.custom == b.custom;
        let both_gauges = (a.hint == ResetHint::Gauge) == (b.hint == ResetHint::Gauge);
        let ends = a.is_stale() || b.is_stale();
        !ends && same_layout && both_gauges && (b.hint == ResetHint::Gauge || !b.is_reset_after(a))
    };
    1 + samples.windows(2).take_while(|pair| continues(pair)).count()
}

/// What of one histogram follows from sample to sample.
struct Counts {
    all: [Xor; 3],
    positive: Vec<Xor>,
    negative: Vec<Xor>,
}

/// Of histograms that are [`alike`], at least one.
fn of_histograms(samples: &[HistogramSample]) -> Chunk {
    let empty = Histogram::default();
    let first = samples.first().map_or(&empty, |s| &*s.histogram);
    let mut data = header(samples.len());
    data.push(match first.hint {
        ResetHint::Unknown => 0,
        ResetHint::NotReset => 0b0100_0000,
        ResetHint::Reset => 0b1000_0000,
        ResetHint::Gauge => 0b1100_0000,
    });
    let mut out = Bits::after(data);
    // Buckets that some of the samples have, all of them have here.
    let union = |side: fn(&Histogram) -> &Buckets| -> Vec<i32> {
        let indexes: BTreeSet<i32> = samples.iter().flat_map(|s| side(&s.histogram)).map(|(index, _)| *index).collect();
        indexes.into_iter().collect()
    };
    let is_stale = first.is_stale();
    let (positive, negative) = if is_stale { Default::default() } else { (union(|h| &h.positive), union(|h| &h.negative)) };
    layout(&mut out, if is_stale { &empty } else { first }, &positive, &negative);
    let mut before: Option<(i64, i64, Counts)> = None;
    for (at, sample) in samples.iter().enumerate() {
        let h = &sample.histogram;
        let numbers = if is_stale { [0.0, 0.0, h.sum] } else { [h.count, h.zero_count, h.sum] };
        let (plus, minus) = (dense(&h.positive, &positive), dense(&h.negative, &negative));
        before = Some(match before {
            None => {
                out.signed(sample.ts);
                numbers.iter().chain(&plus).chain(&minus).for_each(|value| out.double(*value));
                let after = |values: &[f64]| values.iter().map(|v| Xor::after(*v)).collect();
                let counts = Counts { all: numbers.map(Xor::after), positive: after(&plus), negative: after(&minus) };
                (sample.ts, 0, counts)
            }
            Some((last, last_delta, mut counts)) => {
                let delta = sample.ts.wrapping_sub(last);
                if at == 1 {
                    out.unsigned(delta.cast_unsigned());
                } else {
                    out.signed(delta.wrapping_sub(last_delta));
                }
                let pairs = counts.all.iter_mut().zip(&numbers);
                let pairs = pairs.chain(counts.positive.iter_mut().zip(&plus)).chain(counts.negative.iter_mut().zip(&minus));
                pairs.for_each(|(xor, value)| xor.push(*value, &mut out));
                (sample.ts, delta, counts)
            }
        });
    }
    let ends = (samples.first().map_or(0, |s| s.ts), samples.last().map_or(0, |s| s.ts));
    Chunk { min: ends.0, max: ends.1, encoding: Encoding::FloatHistogram, data: out.finish() }
}

/// The counts of the buckets with these indexes.
fn dense(buckets: &Buckets, indexes: &[i32]) -> Vec<f64> {
    let mut rest = buckets.iter().peekable();
    let count = |index: &i32| rest.next_if(|(at, _)| at == index).map_or(0.0, |(_, count)| *count);
    indexes.iter().map(count).collect()
}

fn layout(out: &mut Bits, h: &Histogram, positive: &[i32], negative: &[i32]) {
    // A threshold that is a power of two has a code of its own; any may be written in full.
    if h.zero_threshold == 0.0 {
        out.push(0, 8);
    } else {
        out.push(255, 8);
        out.double(h.zero_threshold);
    }
    out.signed(h.schema.into());
    for indexes in [positive, negative] {
        let spans: Vec<(i64, usize)> = runs(indexes).collect();
        out.unsigned(spans.len() as u64);
        for (gap, length) in spans {
            out.unsigned(length as u64);
            out.signed(gap);
        }
    }
    if h.is_custom() {
        out.unsigned(h.custom.len() as u64);
        for bound in h.custom.iter() {
            // The short code of thousandths is not needed: a zero says that the float follows.
            out.push(0, 1);
            out.double(*bound);
        }
    }
}
