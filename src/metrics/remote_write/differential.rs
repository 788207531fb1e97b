//! The readers of the bytes and prost's messages take, refuse and give the same.

use super::{histogram, reference, translate_1, translate_2};
use crate::ingest;
use crate::ingest::wire_cases::{Kind, Schema, run};
use crate::metrics::rows::MetricRows;
use crate::storage::Refusals;
use bytes::Bytes;
use prost::Message as _;

/// Rows, which items are refused and for which reasons; how that is told belongs to the readers alone.
fn shown(rows: &MetricRows, refusals: &Refusals) -> String {
    let reasons: Vec<_> = refusals.reasons().map(|(reason, count, _)| (reason, count)).collect();
    let unsaid: Vec<_> = refusals.unsaid().collect();
    format!("{rows:?} {:?} {reasons:?} {unsaid:?}", refusals.indexes())
}

fn hex(body: &[u8]) -> String {
    body.iter().map(|b| format!("{b:02x}")).collect()
}

fn label(own: usize) -> Schema {
    let names = Kind::Texts(&["__name__", "__name__", "le", "é", ""]);
    vec![vec![(1, Kind::Message(own)), (2, Kind::Fixed64), (3, Kind::Varint)], vec![(1, names), (2, Kind::Text)]]
}

/// A `Histogram` that is often valid, and its `BucketSpan`, as the messages `own` and `own` + 1.
fn small_histogram(own: usize) -> Schema {
    let count = Kind::Number(&[0, 1, 2, 3]);
    let schema = Kind::Number(&[0, 1, 2, 16, 18, 105, 106]);
    let deltas = Kind::Numbers(&[&[2], &[2, 0], &[4, 1], &[1]]);
    let fields = vec![
        (2, Kind::Fixed64),
        (1, count),
        (3, Kind::Fixed64),
        (4, schema),
        (11, Kind::Message(own + 1)),
        (12, deltas),
        (15, Kind::Varint),
        (17, Kind::Varint),
    ];
    vec![fields, vec![(1, Kind::Number(&[0, 1, 2, 5])), (2, Kind::Number(&[1, 2]))]]
}

/// `WriteRequest`, `TimeSeries`, `Sample`, `MetricMetadata`, `Exemplar`, `Label`, `Histogram` and `BucketSpan`.
fn version_1() -> Schema {
    let series = vec![(1, Kind::Message(5)), (1, Kind::Message(5)), (2, Kind::Message(2)), (3, Kind::Message(4)), (4, Kind::Message(6))];
    let sample = vec![(1, Kind::Fixed64), (2, Kind::Varint)];
    let family = vec![(1, Kind::Varint), (2, Kind::Text), (4, Kind::Text), (5, Kind::Text)];
    let first = vec![vec![(1, Kind::Message(1)), (3, Kind::Message(3))], series, sample, family];
    [first, label(5), small_histogram(6)].concat()
}

/// `Request`, `TimeSeries`, `Sample`, `Metadata`, `Exemplar`, `Histogram` and `BucketSpan`.
fn version_2() -> Schema {
    let references = Kind::Numbers(&[&[1, 2], &[1, 2, 3, 4], &[4, 1, 1, 2], &[3, 4], &[1], &[0, 0], &[1, 9], &[1 << 32 | 1, 2], &[]]);
    let symbols = [&[""], &["__name__"], &["m_total"], &["a"], &["é"]].map(|text: &[&str; 1]| (4, Kind::Texts(text)));
    let mut request = symbols.to_vec();
    request.extend([(5, Kind::Message(1)), (5, Kind::Message(1)), (4, Kind::Text)]);
    let series = vec![
        (1, references),
        (2, Kind::Message(2)),
        (3, Kind::Message(5)),
        (4, Kind::Message(4)),
        (5, Kind::Message(3)),
        (6, Kind::Varint),
    ];
    let sample = vec![(1, Kind::Fixed64), (2, Kind::Varint), (3, Kind::Varint)];
    let text = Kind::Number(&[0, 2, 3, 4, 5, 77]);
    let metadata = vec![(1, Kind::Number(&[0, 1, 2, 3, 5, 7, 9, u64::MAX])), (3, text), (4, text)];
    let exemplar = vec![(1, references), (2, Kind::Fixed64), (3, Kind::Varint)];
    [vec![request, series, sample, metadata, exemplar], small_histogram(5)].concat()
}

#[test]
fn version_1_and_its_messages_agree() {
    let (mut taken, mut stored) = (0, 0);
    run(include_str!("corpus_1.txt"), &version_1(), |body| {
        let ours = translate_1(&Bytes::copy_from_slice(body)).ok();
        let theirs = reference::WriteRequest::decode(body).ok().map(reference::translate_1);
        taken += usize::from(theirs.is_some());
        stored += usize::from(theirs.as_ref().is_some_and(|(rows, _)| !rows.samples.is_empty()));
        assert_eq!(ours.map(|(rows, refusals)| shown(&rows, &refusals)), theirs.map(|(r, f)| shown(&r, &f)), "{}", hex(body));
    });
    assert!(taken > 100 && stored > 10, "{taken} {stored}: cases reach nothing");
}

#[test]
fn version_2_and_its_messages_agree() {
    let (mut taken, mut stored) = (0, 0);
    run(include_str!("corpus_2.txt"), &version_2(), |body| {
        let ours = translate_2(&Bytes::copy_from_slice(body)).ok();
        let ours = ours.map(|(rows, refusals, tally)| {
            let written = tally.written(&refusals);
            (shown(&rows, &refusals), [written.samples, written.histograms, written.exemplars])
        });
        let theirs = reference::Request::decode(body).ok().and_then(reference::translate_2);
        taken += usize::from(theirs.is_some());
        stored += usize::from(theirs.as_ref().is_some_and(|(rows, ..)| !rows.samples.is_empty()));
        assert_eq!(ours, theirs.map(|(rows, refusals, written)| (shown(&rows, &refusals), written)), "{}", hex(body));
    });
    assert!(taken > 100 && stored > 10, "{taken} {stored}: cases reach nothing");
}

#[test]
fn histograms_and_their_messages_agree() {
    let varint = [1, 4, 6, 9, 12, 14, 15, 17].map(|tag| (tag, Kind::Varint));
    let double = [2, 3, 5, 7, 10, 13, 16].map(|tag| (tag, Kind::Fixed64));
    let spans = [8, 11].map(|tag| (tag, Kind::Message(1)));
    let schema = vec![[&varint[..], &double, &spans].concat(), vec![(1, Kind::Varint), (2, Kind::Varint)]];
    let mut taken = 0;
    run("", &schema, |body| {
        let ours = histogram::read(ingest::Message::new(body)).ok();
        let theirs = reference::Histogram::decode(body).ok().map(histogram::Message::from);
        taken += usize::from(theirs.is_some());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{}", hex(body));
    });
    assert!(taken > 100, "{taken}: cases reach nothing");
}
