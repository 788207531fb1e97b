use super::*;
use crate::ingest::Message;
use crate::metrics::STALE_NAN;
use crate::metrics::histogram::{CUSTOM_SCHEMA, Histogram, ResetHint};
use crate::metrics::rows::{Exemplar, HistogramSample, Metadata, MetricType, Value};
use crate::model::Labels;
use proptest::prelude::*;
use std::sync::Arc;

/// A field with bytes, shorter than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()][..], bytes].concat()
}

fn label(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name), field(2, value)].concat())
}

fn sample(value: f64, ts: u8) -> Vec<u8> {
    field(2, &[&[9][..], &value.to_bits().to_le_bytes(), &[16, ts]].concat())
}

fn series_1(parts: &[Vec<u8>]) -> Vec<u8> {
    field(1, &parts.concat())
}

/// `labels value @ms`, or the histogram.
fn lines(rows: &MetricRows) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Float(v) => format!("{v}"),
        Value::Histogram(h) => h.to_string(),
    };
    rows.samples.iter().map(|s| format!("{} {} @{}", rows.series[s.series as usize].labels, text(&s.value), s.ts)).collect()
}

#[test]
fn version_1_skips_what_is_no_series_and_sorts_labels() {
    let body = [
        series_1(&[label(b"z", b"1"), label(b"__name__", b"m"), label(b"a", b""), sample(1.5, 7)]),
        series_1(&[label(b"a", b"1"), sample(1.0, 1)]),
        series_1(&[label(b"__name__", b"m"), label(b"b", b"\xff"), sample(1.0, 1)]),
        series_1(&[label(b"__name__", b"m"), label(b"b", b"1"), label(b"b", b"1"), sample(1.0, 1)]),
        field(3, &[&[8, 1][..], &field(2, b"m"), &field(4, b"help"), &field(5, b"s")].concat()),
    ]
    .concat();
    let (rows, refusals) = translate_1(&body).unwrap();
    assert_eq!(lines(&rows), [r#"{__name__="m", z="1"} 1.5 @7"#]);
    assert!(refusals.is_empty() && rows.all_or_nothing);
    assert_eq!((refusals.indexes(), refusals.unsaid().collect::<Vec<_>>()), (vec![1, 2, 3], vec![("invalid_label", 3)]));
    let described = &rows.families[0];
    assert_eq!((described.family.as_str(), described.kind, described.unit.as_str()), ("m", MetricType::Counter, "s"));
}

#[test]
fn a_staleness_marker_keeps_its_bits() {
    let body =
        series_1(&[label(b"__name__", b"m"), sample(f64::from_bits(STALE_NAN), 7), sample(f64::from_bits(0x7ff8_dead_beef_0001), 8)]);
    let (rows, _) = translate_1(&body).unwrap();
    let bits: Vec<u64> = rows.samples.iter().map(|s| if let Value::Float(v) = s.value { v.to_bits() } else { 0 }).collect();
    assert_eq!(bits, [STALE_NAN, 0x7ff8_dead_beef_0001]);
}

fn symbols(texts: &[&[u8]]) -> Vec<u8> {
    texts.iter().flat_map(|t| field(4, t)).collect()
}

#[test]
fn version_2_refuses_what_is_faulty_and_counts_what_is_written() {
    let table = symbols(&[b"", b"__name__", b"m", b"a", b"1", b"\xff"]);
    let good = field(5, &[field(1, &[1, 2]), sample(1.0, 1), sample(2.0, 2)].concat());
    let faulty = [
        field(5, &[field(1, &[1, 2, 3]), sample(1.0, 1)].concat()),
        field(5, &[field(1, &[1, 9]), sample(1.0, 1)].concat()),
        field(5, &[field(1, &[3, 4]), sample(1.0, 1), sample(1.0, 2)].concat()),
        field(5, &[field(1, &[1, 2, 3, 5]), sample(1.0, 1)].concat()),
        field(5, &[field(1, &[1, 2, 3, 4, 3, 4]), sample(1.0, 1)].concat()),
        field(5, &field(1, &[1, 2])),
        field(5, &[field(1, &[1, 2]), sample(1.0, 1), field(5, &[24, 77])].concat()),
    ]
    .concat();
    // Symbols after the series that refer to them.
    let body = [faulty, good, table].concat();
    let (rows, refusals, tally) = translate_2(&body).unwrap();
    assert_eq!(lines(&rows), [r#"{__name__="m"} 1 @1"#, r#"{__name__="m"} 2 @2"#]);
    assert_eq!(
        refusals.messages(),
        [
            "parsing labels for series [1 2 3]: invalid labelRefs length 3",
            "parsing labels for series [1 9]: labelRefs (value) = 9 outside of symbols table (size 6)",
            "invalid metric name or labels, got {a=\"1\"}",
            "invalid metric name or labels, got {__name__=\"m\"}",
            "invalid labels for series, labels {__name__=\"m\", a=\"1\", a=\"1\"}, duplicated label a",
            "TimeSeries must contain at least one sample or histogram for series {__name__=\"m\"}",
            "parsing metadata for series {__name__=\"m\"}: helpRef = 77 outside of symbols table (size 6)",
        ]
    );
    assert_eq!(tally.written(&refusals), Written { samples: 2, histograms: 0, exemplars: 0 });
    assert!(translate_2(&[symbols(&[b"x"]), field(5, &[])].concat()).is_err());
}

/// An integer histogram: schema, spans of (offset, length) zigzagged, deltas zigzagged, count, sum.
fn integers(schema: u8, spans: &[(u8, u8)], deltas: &[u8], count: u8, more: &[u8]) -> Result<Histogram, String> {
    let spans = spans.iter().flat_map(|(offset, length)| field(11, &[8, *offset, 16, *length]));
    let bytes = [&[8, count, 32, schema][..], &spans.collect::<Vec<u8>>(), &field(12, deltas), &[120, 9], more].concat();
    histogram::decode(Message::new(&bytes)).unwrap().map(|sample| (*sample.histogram).clone())
}

#[test]
fn integer_histograms_are_sums_of_deltas() {
    // Spans at 0 (two buckets) and three further on (one); counts 1, 3, 2.
    let h = integers(2, &[(0, 2), (6, 1)], &[2, 4, 1], 6, &[]).unwrap();
    assert_eq!((h.schema, &h.positive[..], h.count), (1, &[(0, 1.0), (1, 3.0), (5, 2.0)][..], 6.0));
    let finer = integers(18, &[(2, 2)], &[2, 0], 2, &[]).unwrap();
    assert_eq!((finer.schema, &finer.positive[..]), (8, &[(1, 2.0)][..]));
}

#[test]
fn faulty_histograms_are_refused() {
    let bounds = custom;
    for (fault, result) in [
        ("invalid schema", integers(9, &[], &[], 0, &[])),
        ("invalid schema", integers(106, &[], &[], 0, &[])),
        ("different number of buckets", integers(0, &[(0, 2)], &[2], 1, &[])),
        ("offset is negative", integers(0, &[(0, 1), (1, 1)], &[2, 0], 2, &[])),
        ("count is negative", integers(0, &[(0, 1)], &[1], 0, &[])),
        ("should equal", integers(0, &[(0, 1)], &[2], 2, &[])),
        ("strictly increasing", integers(105, &[(0, 1)], &[2], 1, &bounds(&[1.0, 1.0]))),
        ("must not be NaN", integers(105, &[(0, 1)], &[2], 1, &bounds(&[f64::NAN]))),
        ("must not be +Inf", integers(105, &[(0, 1)], &[2], 1, &bounds(&[f64::INFINITY]))),
        ("insufficient to cover", integers(105, &[(0, 3)], &[2, 0, 0], 3, &bounds(&[1.0]))),
        ("zero count and threshold", integers(105, &[(0, 1)], &[2], 1, &[48, 1])),
        ("must not have negative buckets", integers(105, &[(0, 1)], &[2], 1, &field(8, &[16, 0]))),
    ] {
        let message = result.expect_err(fault);
        assert!(message.contains(fault), "{fault}: {message}");
    }
    let good = integers(105, &[(0, 2)], &[2, 0], 2, &bounds(&[1.0])).unwrap();
    assert_eq!((good.schema, &good.positive[..], &good.custom[..]), (CUSTOM_SCHEMA, &[(0, 1.0), (1, 1.0)][..], &[1.0][..]));
}

/// Field 16, whose key takes two bytes.
fn custom(bounds: &[f64]) -> Vec<u8> {
    let packed: Vec<u8> = bounds.iter().flat_map(|b| b.to_bits().to_le_bytes()).collect();
    [&[0x82, 0x01, u8::try_from(packed.len()).unwrap()][..], &packed].concat()
}

#[test]
fn our_own_bodies_come_back_as_they_were() {
    let labels = Labels::from_pairs([("__name__", "d_bucket"), ("le", "1"), ("ü", "x")]);
    let metadata = Metadata { family: "d".into(), kind: MetricType::Histogram, unit: "s".into(), help: "help".into() };
    let native = Histogram {
        hint: ResetHint::Gauge,
        schema: 3,
        zero_threshold: 0.5,
        zero_count: 1.0,
        count: 7.5,
        sum: -3.0,
        positive: vec![(-3, 1.0), (-2, 1.0), (5, 2.0)],
        negative: vec![(1, 2.5)],
        custom: Arc::from([]),
    };
    let nhcb =
        Histogram { schema: CUSTOM_SCHEMA, count: 2.0, positive: vec![(1, 2.0)], custom: Arc::from([1.0, 2.0]), ..Histogram::default() };
    let histograms = [native, nhcb].map(|h| HistogramSample { ts: 9, start: 4, histogram: Arc::new(h) });
    let exemplar = Exemplar { ts: 3, value: 0.5, labels: Labels::from_pairs([("trace_id", "ab")]) };
    let mut body = WriteBody::default();
    let floats = [(1, 0, 1.5), (-2, -3, f64::from_bits(STALE_NAN))];
    let write =
        SeriesWrite { metadata: Some(&metadata), floats: &floats, histograms: &histograms, exemplars: std::slice::from_ref(&exemplar) };
    body.series(&labels, write);
    let (rows, refusals, tally) = translate_2(&body.finish()).unwrap();
    assert!(refusals.is_empty(), "{}", refusals.message());
    assert_eq!((&rows.series[0].labels, rows.series[0].metadata.as_deref()), (&labels, Some(&metadata)));
    assert_eq!(rows.samples[..2].iter().map(|s| (s.ts, s.start)).collect::<Vec<_>>(), [(1, 0), (-2, -3)]);
    for (sample, sent) in rows.samples[2..].iter().zip(&histograms) {
        let Value::Histogram(histogram) = &sample.value else { panic!("{sample:?}") };
        assert_eq!((histogram, sample.ts, sample.start), (&sent.histogram, 9, 4));
    }
    assert_eq!(rows.exemplars[0].exemplar, exemplar);
    assert_eq!(tally.written(&refusals), Written { samples: 2, histograms: 2, exemplars: 1 });
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = translate_1(&bytes);
        let _ = translate_2(&bytes);
        let _ = histogram::decode(Message::new(&bytes));
    }

    /// Messages of the right form with any numbers in them.
    #[test]
    fn arbitrary_histograms_never_panic(
        numbers in proptest::collection::vec((1u64..18, any::<u64>(), any::<bool>()), 0..20),
        spans in proptest::collection::vec((any::<i32>(), 0u64..4), 0..5),
    ) {
        let varint = |out: &mut Vec<u8>, mut n: u64| {
            while n >= 0x80 { out.push(n as u8 | 0x80); n >>= 7; }
            out.push(n as u8);
        };
        let mut bytes = Vec::new();
        for (number, value, is_float) in numbers {
            varint(&mut bytes, number << 3 | u64::from(is_float));
            if is_float { bytes.extend(value.to_le_bytes()); } else { varint(&mut bytes, value); }
        }
        for (offset, length) in spans {
            let mut span = vec![8];
            varint(&mut span, u64::from((offset << 1 ^ offset >> 31).cast_unsigned()));
            span.push(16);
            varint(&mut span, length);
            bytes.extend(field(11, &span));
        }
        if let Ok(Ok(sample)) = histogram::decode(Message::new(&bytes)) {
            let mut sum = (*sample.histogram).clone();
            let _ = sum.add(&sample.histogram);
            let _ = sample.histogram.buckets();
        }
        let message = field(5, &[field(1, &[1, 2]), field(3, &bytes[..bytes.len().min(100)])].concat());
        let _ = translate_2(&[symbols(&[b"", b"__name__", b"m"]), message].concat());
    }

    #[test]
    fn every_float_comes_back_to_the_bit(bits in any::<u64>(), ts in any::<i64>(), start in any::<i64>()) {
        let mut body = WriteBody::default();
        let labels = Labels::from_pairs([("__name__", "m")]);
        body.series(&labels, SeriesWrite { floats: &[(ts, start, f64::from_bits(bits))], ..SeriesWrite::default() });
        let (rows, _, _) = translate_2(&body.finish()).unwrap();
        let Value::Float(value) = rows.samples[0].value else { panic!("{rows:?}") };
        prop_assert_eq!((value.to_bits(), rows.samples[0].ts, rows.samples[0].start), (bits, ts, start));
    }
}
