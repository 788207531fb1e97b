//! A reader of the chunks, written after the format's description, gives back what was written.

use super::answer::{Samples, Stream};
use super::bits::Bits;
use super::chunk::{Encoding, chunks};
use super::{Form, ReadRequest};
use crate::ingest::Message;
use crate::metrics::STALE_NAN;
use crate::metrics::histogram::{Buckets, CUSTOM_SCHEMA, Histogram, ResetHint};
use crate::metrics::promql::{Interval, SeriesData};
use crate::metrics::rows::HistogramSample;
use crate::model::{Labels, MatchOp};
use proptest::prelude::*;
use std::sync::Arc;

/// Reads bits, the highest of a byte first.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn bits(&mut self, count: u32) -> u64 {
        (0..count).fold(0, |number, _| {
            let bit = self.bytes[self.at / 8] >> (7 - self.at % 8) & 1;
            self.at += 1;
            number << 1 | u64::from(bit)
        })
    }

    fn double(&mut self) -> f64 {
        f64::from_bits(self.bits(64))
    }

    fn uvarint(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.bits(8);
            number |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }

    fn varint(&mut self) -> i64 {
        let number = self.uvarint();
        (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
    }

    fn ones(&mut self, max: u32) -> u32 {
        (0..max).take_while(|_| self.bits(1) == 1).count() as u32
    }

    /// As two's complement, but that the lowest number stands for the highest one more.
    fn shifted(&mut self, length: u32) -> i64 {
        let number = self.bits(length).cast_signed();
        if length < 64 && number > 1 << (length - 1) { number - (1 << length) } else { number }
    }

    fn signed(&mut self) -> i64 {
        match [0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8) as usize] {
            0 => 0,
            length => self.shifted(length),
        }
    }

    fn unsigned(&mut self) -> u64 {
        let length = [0, 3, 6, 9, 12, 18, 25, 56, 64][self.ones(8) as usize];
        self.bits(length)
    }

    fn delta_of_delta(&mut self) -> i64 {
        match [0, 14, 17, 20, 64][self.ones(4) as usize] {
            0 => 0,
            length => self.shifted(length),
        }
    }
}

struct Follow {
    last: u64,
    leading: u32,
    trailing: u32,
}

impl Follow {
    fn new(value: f64) -> Follow {
        Follow { last: value.to_bits(), leading: 0xff, trailing: 0 }
    }

    fn next(&mut self, reader: &mut Reader<'_>) -> f64 {
        if reader.bits(1) == 1 {
            if reader.bits(1) == 1 {
                self.leading = reader.bits(5) as u32;
                let length = match reader.bits(6) as u32 {
                    0 => 64,
                    length => length,
                };
                self.trailing = 64 - self.leading - length;
            }
            let length = 64 - self.leading - self.trailing;
            self.last ^= reader.bits(length) << self.trailing;
        }
        f64::from_bits(self.last)
    }
}

fn floats(data: &[u8]) -> Vec<(i64, u64)> {
    let mut reader = Reader { bytes: data, at: 0 };
    let count = reader.bits(16);
    let (mut ts, mut delta) = (reader.varint(), 0u64);
    let mut value = Follow::new(reader.double());
    let mut all = vec![(ts, value.last)];
    for at in 1..count {
        delta = if at == 1 { reader.uvarint() } else { delta.wrapping_add(reader.delta_of_delta().cast_unsigned()) };
        ts = ts.wrapping_add(delta.cast_signed());
        all.push((ts, value.next(&mut reader).to_bits()));
    }
    assert_eq!(reader.at.div_ceil(8), data.len());
    all
}

fn spans(reader: &mut Reader<'_>) -> Vec<i32> {
    let mut indexes = Vec::new();
    let mut next = 0i64;
    for _ in 0..reader.unsigned() {
        let (length, gap) = (reader.unsigned(), reader.signed());
        next += gap;
        for _ in 0..length {
            indexes.push(next as i32);
            next += 1;
        }
    }
    indexes
}

fn populated(indexes: &[i32], values: &[f64]) -> Buckets {
    indexes.iter().copied().zip(values.iter().copied()).filter(|(_, count)| *count != 0.0).collect()
}

fn histograms(data: &[u8]) -> Vec<(i64, Histogram)> {
    let mut reader = Reader { bytes: data, at: 0 };
    let count = reader.bits(16);
    let first = match reader.bits(8) {
        0x40 => ResetHint::NotReset,
        0x80 => ResetHint::Reset,
        0xc0 => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    let zero_threshold = match reader.bits(8) {
        0 => 0.0,
        255 => reader.double(),
        exponent => 0.5 * 2f64.powi(exponent as i32 - 243),
    };
    let schema = reader.signed() as i32;
    let (positive, negative) = (spans(&mut reader), spans(&mut reader));
    let custom: Vec<f64> = if schema == CUSTOM_SCHEMA {
        let bound = |reader: &mut Reader<'_>| match reader.unsigned() {
            0 => reader.double(),
            thousandths => (thousandths - 1) as f64 / 1000.0,
        };
        (0..reader.unsigned()).map(|_| bound(&mut reader)).collect()
    } else {
        Vec::new()
    };
    let numbers = 3 + positive.len() + negative.len();
    let (mut ts, mut delta) = (reader.signed(), 0i64);
    let mut follow: Vec<Follow> = (0..numbers).map(|_| Follow::new(reader.double())).collect();
    let mut all = Vec::new();
    for at in 0..count {
        if at > 0 {
            delta = if at == 1 { reader.unsigned().cast_signed() } else { delta.wrapping_add(reader.signed()) };
            ts = ts.wrapping_add(delta);
            for f in &mut follow {
                f.next(&mut reader);
            }
        }
        let values: Vec<f64> = follow.iter().map(|f| f64::from_bits(f.last)).collect();
        let (plus, minus) = values[3..].split_at(positive.len());
        let hint = if at == 0 || first == ResetHint::Gauge { first } else { ResetHint::NotReset };
        let histogram = Histogram {
            hint,
            schema,
            zero_threshold,
            zero_count: values[1],
            count: values[0],
            sum: values[2],
            positive: populated(&positive, plus),
            negative: populated(&negative, minus),
            custom: custom.clone().into(),
        };
        all.push((ts, histogram));
    }
    assert_eq!(reader.at.div_ceil(8), data.len());
    all
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -100_000..100_000i64, (0..200i64).prop_map(|n| 1_773_145_500_000 + n * 15_000)]
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        (-50..50i32).prop_map(f64::from),
        (0..1000i32).prop_map(|n| f64::from(n) / 10.0),
        Just(f64::from_bits(STALE_NAN)),
    ]
}

fn any_buckets() -> impl Strategy<Value = Buckets> {
    proptest::collection::btree_map(-40..40i32, (1..9i32).prop_map(f64::from), 0..12).prop_map(|m| m.into_iter().collect())
}

fn any_histogram() -> impl Strategy<Value = Histogram> {
    let hint = prop_oneof![Just(ResetHint::Unknown), Just(ResetHint::Reset), Just(ResetHint::NotReset), Just(ResetHint::Gauge)];
    let schema = prop_oneof![Just(0), Just(0), -4..=8i32, Just(CUSTOM_SCHEMA)];
    let zero = prop_oneof![Just((0.0, 0.0)), Just((1e-128, 2.0)), Just((0.5, 1.0))];
    (hint, schema, zero, any_value(), any_buckets(), any_buckets()).prop_map(|(hint, schema, zero, sum, positive, negative)| {
        let count = positive.iter().chain(&negative).map(|b| b.1).sum::<f64>() + zero.1;
        let h =
            Histogram { hint, schema, zero_threshold: zero.0, zero_count: zero.1, count, sum, positive, negative, custom: Arc::from([]) };
        if schema != CUSTOM_SCHEMA {
            return h;
        }
        let positive = h.positive.into_iter().filter(|b| (0..=2).contains(&b.0)).collect();
        Histogram { zero_threshold: 0.0, zero_count: 0.0, positive, negative: Buckets::new(), custom: [-0.25, 12.5].into(), ..h }
    })
}

/// What can be told apart in a chunk: of a histogram that ends a series only that it does.
fn bare(h: &Histogram) -> String {
    if h.is_stale() {
        "stale".to_owned()
    } else {
        format!("{:?} sum {:x}", Histogram { hint: ResetHint::Unknown, sum: 0.0, ..h.clone() }, h.sum.to_bits())
    }
}

proptest! {
    #[test]
    fn numbers_of_every_length_are_read_back(signed in proptest::collection::vec((any::<i64>(), 0..64u32), 1..50)) {
        let mut out = Bits::default();
        let numbers: Vec<i64> = signed.iter().map(|(n, shift)| n >> shift).collect();
        for n in &numbers {
            out.signed(*n);
            out.unsigned(n.cast_unsigned());
            out.delta_of_delta(*n);
            out.varint(*n);
        }
        let bytes = out.finish();
        let mut reader = Reader { bytes: &bytes, at: 0 };
        for n in numbers {
            prop_assert_eq!((reader.signed(), reader.unsigned(), reader.delta_of_delta(), reader.varint()), (n, n.cast_unsigned(), n, n));
        }
    }

    #[test]
    fn chunks_hold_what_the_series_holds(
        samples in proptest::collection::btree_map(any_time(), any_value(), 0..300),
        histograms_at in proptest::collection::btree_map(any_time(), any_histogram(), 0..60),
    ) {
        let kept: Vec<(i64, Histogram)> = histograms_at.into_iter().filter(|(ts, _)| !samples.contains_key(ts)).collect();
        let series = SeriesData {
            ts: samples.keys().copied().collect(),
            values: samples.values().copied().collect(),
            histograms: kept.iter().map(|(ts, h)| HistogramSample { ts: *ts, start: 0, histogram: Arc::new(h.clone()) }).collect(),
            ..SeriesData::new(Labels::from_pairs([("__name__", "x")]))
        };
        let (mut seen_floats, mut seen_histograms, mut last) = (Vec::new(), Vec::new(), None);
        for chunk in chunks(&series) {
            prop_assert!(chunk.min <= chunk.max && last.is_none_or(|last| last < chunk.min));
            last = Some(chunk.max);
            let times: Vec<i64> = match chunk.encoding {
                Encoding::Xor => {
                    let read = floats(&chunk.data);
                    seen_floats.extend(read.iter().copied());
                    read.iter().map(|s| s.0).collect()
                }
                Encoding::FloatHistogram => {
                    let read = histograms(&chunk.data);
                    seen_histograms.extend(read.iter().cloned());
                    read.iter().map(|s| s.0).collect()
                }
            };
            prop_assert!(times.len() <= 120 && times.first() == Some(&chunk.min) && times.last() == Some(&chunk.max));
        }
        prop_assert_eq!(seen_floats, samples.iter().map(|(ts, v)| (*ts, v.to_bits())).collect::<Vec<_>>());
        let of = |all: &[(i64, Histogram)]| all.iter().map(|(ts, h)| (*ts, bare(h))).collect::<Vec<_>>();
        prop_assert_eq!(of(&seen_histograms), of(&kept));
        // A reader never takes a reset for none.
        let resets = |all: &[(i64, Histogram)]| {
            let live: Vec<&Histogram> = all.iter().map(|(_, h)| h).collect();
            live.windows(2).map(|w| w[0].is_stale() || w[1].is_stale() || w[1].hint == ResetHint::Gauge || w[1].is_reset_after(w[0])).collect::<Vec<_>>()
        };
        prop_assert_eq!(resets(&seen_histograms), resets(&kept));
    }

    #[test]
    fn no_bytes_make_the_request_decoder_fail_badly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = ReadRequest::decode(&bytes);
        let _ = ReadRequest::decode(&snap::raw::Encoder::new().compress_vec(&bytes).unwrap());
    }
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn decoded(plain: &[u8]) -> Result<ReadRequest, String> {
    ReadRequest::decode(&snap::raw::Encoder::new().compress_vec(plain).unwrap()).map_err(|f| f.message)
}

#[test]
fn a_request_is_read_with_its_hints() {
    let matcher =
        |kind: u8, name: &str, value: &str| field(3, &[&[8, kind][..], &field(2, name.as_bytes()), &field(3, value.as_bytes())].concat());
    // From 100 to 300; the hint says from 200 to 400.
    let hints = field(4, &[&field(2, b"rate")[..], &[24, 0xc8, 1, 32, 0x90, 3]].concat());
    let query = [&[8, 100, 16, 0xac, 2][..], &matcher(0, "__name__", "up"), &matcher(3, "job", "a|b"), &hints].concat();
    let request = decoded(&[field(1, &query), vec![16, 7, 16, 1]].concat()).unwrap();
    assert_eq!(request.form, Form::Chunks);
    let query = &request.queries[0];
    assert_eq!(query.interval, Interval { from: 200, to: 300 });
    let matchers: Vec<(&str, MatchOp, &str)> = query.matchers.iter().map(|m| (&*m.name, m.op, &*m.value)).collect();
    assert_eq!(matchers, [("__name__", MatchOp::Equal, "up"), ("job", MatchOp::NotRegex, "a|b")]);
    assert!(!query.only_series);
    let series = decoded(&field(1, &field(4, &field(2, b"series")))).unwrap();
    assert_eq!((series.form, series.queries[0].only_series), (Form::Samples, true));
    assert!(decoded(&[16, 7]).unwrap_err().starts_with("server does not support any of the requested response types: [7]"));
    for bad in [matcher(4, "a", "b"), matcher(2, "a", "(")] {
        assert!(decoded(&field(1, &bad)).is_err());
    }
}

#[test]
fn a_long_series_is_told_in_several_frames_and_each_query_in_its_place() {
    let labels = Labels::from_pairs([("__name__", "x"), ("n", "a")]);
    let count = 300_000i64;
    let long = SeriesData {
        ts: (0..count).map(|i| i * 1000).collect(),
        values: (0..count).map(|i| f64::from_bits((i.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect(),
        ..SeriesData::new(labels.clone())
    };
    let mut stream = Stream::default();
    stream.series(&long);
    stream.end_query();
    stream.series(&SeriesData::new(labels.clone()));
    let body = stream.finish();
    let (mut rest, mut queries, mut samples) = (&body[..], Vec::new(), 0);
    while !rest.is_empty() {
        let mut reader = Reader { bytes: rest, at: 0 };
        let (length, sum) = (reader.uvarint() as usize, reader.bits(32));
        let message = &rest[reader.at / 8..][..length];
        assert_eq!(u64::from(crc32c::crc32c(message)), sum);
        assert!(length < 2 << 20);
        rest = &rest[reader.at / 8 + length..];
        let mut cursor = Message::new(message);
        let mut query = 0;
        while let Some(value) = cursor.field().unwrap() {
            if value.tag == 2 {
                query = value.varint().unwrap();
                continue;
            }
            let mut series = value.message().unwrap();
            let mut names = 0;
            while let Some(value) = series.field().unwrap() {
                if value.tag == 1 {
                    names += 1;
                    continue;
                }
                let mut chunk = value.message().unwrap();
                while let Some(value) = chunk.field().unwrap() {
                    if value.tag == 4 {
                        samples += floats(value.bytes().unwrap()).len();
                    }
                }
            }
            assert_eq!(names, 2);
        }
        queries.push(query);
    }
    assert_eq!(samples, 300_000);
    assert_eq!((queries.first(), queries.last(), queries.len() > 2), (Some(&0), Some(&1), true));
    let mut whole = Samples::default();
    whole.end_query();
    whole.end_query();
    assert_eq!(whole.finish(), [10, 0, 10, 0]);
}
