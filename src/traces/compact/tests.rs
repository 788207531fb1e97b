use super::*;
use crate::traces::columns::batch as batch_of;
use crate::traces::columns::tests::span;
use crate::traces::span::Span;
use crate::traces::span_ref::SpanRef;
use crate::traces::trace::{Trace, parts_of};
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, DictionaryArray};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// As a file is read: with dictionaries, or without.
fn as_read(batch: &RecordBatch, with_dictionaries: bool) -> RecordBatch {
    let plain = without_dictionaries(batch).unwrap();
    let keyed = |column: &ArrayRef| -> ArrayRef {
        match column.as_string_opt::<i32>() {
            Some(texts) if with_dictionaries => Arc::new(texts.iter().collect::<DictionaryArray<Int32Type>>()),
            _ => column.clone(),
        }
    };
    let fields = plain.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    batch_of(fields, plain.columns().iter().map(keyed).collect()).unwrap()
}

/// The rows of an input with these spans, and its traces.
fn input(spans: &[Span], plan: &Plan, with_dictionaries: bool) -> (InputRows, Vec<Part>) {
    let mut by_id: BTreeMap<TraceId, Vec<Span>> = BTreeMap::new();
    spans.iter().for_each(|s| by_id.entry(s.trace_id).or_default().push(s.clone()));
    let spans: Vec<Span> = by_id.into_iter().flat_map(|(id, spans)| Trace::assemble(id, spans).spans).collect();
    let borrowed: Vec<SpanRef<'_>> = spans.iter().map(SpanRef::from).collect();
    let mut tables = TableBatches::default();
    tables.add(&borrowed, plan).unwrap();
    // In two batches, as a file would come.
    let taken = |batches: Vec<RecordBatch>| {
        let batches = batches.iter().map(|b| as_read(b, with_dictionaries));
        let halves = batches.flat_map(|b| [b.slice(0, b.num_rows() / 2), b.slice(b.num_rows() / 2, b.num_rows().div_ceil(2))]);
        Taken { first: 0, batches: halves.filter(|b| b.num_rows() > 0).collect() }
    };
    let rows = InputRows { spans: taken(tables.spans), events: taken(tables.events), links: taken(tables.links) };
    (rows, parts_of(&spans, 0, 0, 0))
}

fn step(inputs: &[Vec<Part>]) -> Step {
    let mut traces: BTreeMap<TraceId, Vec<(usize, Part)>> = BTreeMap::new();
    for (number, parts) in inputs.iter().enumerate() {
        parts.iter().for_each(|part| traces.entry(part.trace_id).or_default().push((number, part.clone())));
    }
    Step { traces: traces.into_values().collect(), ends: Vec::new() }
}

fn plan_of(spans: &[Span]) -> Plan {
    Plan::choose(&spans.iter().map(SpanRef::from).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn copied_columns_are_those_that_rows_would_give(inputs in vec(vec(span(), 1..6), 1..4), with_columns: bool, late: bool, keyed: bool) {
        // Of one plan, as blocks of one sender are; without columns all attributes are in the rest maps.
        let plan = if with_columns { plan_of(&inputs.concat()) } else { Plan::default() };
        let (taken, parts): (Vec<_>, Vec<_>) = inputs.iter().map(|spans| input(spans, &plan, keyed)).unzip();
        let step = step(&parts);
        let times = if late { 1 << 61..=i64::MAX } else { i64::MIN..=i64::MAX };
        let (mut copied, mut written) = (TableBatches::default(), TableBatches::default());
        let rows: Vec<InputRows> = taken.iter().map(|taken| taken.without_dictionaries().unwrap()).collect();
        by_rows::add(&step, &rows, &times, &plan, &mut written).unwrap();
        if by_columns::add(&step, &taken, &times, &plan, &mut copied).unwrap() {
            let plain = |batches: Vec<RecordBatch>| batches.iter().map(|b| without_dictionaries(b).unwrap()).collect::<Vec<_>>();
            prop_assert_eq!(plain(copied.spans), plain(written.spans));
            prop_assert_eq!(plain(copied.events), plain(written.events));
            prop_assert_eq!(plain(copied.links), plain(written.links));
            prop_assert_eq!(copied.traces, written.traces);
        } else {
            prop_assert!(with_columns, "without columns nothing can move");
            prop_assert_eq!(copied.items, 0);
        }
    }
}

#[test]
fn attributes_that_move_are_not_copied() {
    use crate::model::{Attribute, AttributeValue};
    let spans = [Span {
        trace_id: TraceId([1; 16]),
        attributes: vec![Attribute::new("route", AttributeValue::String("/".into()))],
        ..Span::default()
    }];
    let everywhere = i64::MIN..=i64::MAX;
    let (with, without) = (plan_of(&spans), Plan::default());
    for (of_block, wanted, stays) in [(&with, &with, true), (&without, &without, true), (&with, &without, false), (&without, &with, false)]
    {
        let (rows, parts) = input(&spans, of_block, true);
        let mut tables = TableBatches::default();
        assert_eq!(by_columns::add(&step(&[parts]), &[rows], &everywhere, wanted, &mut tables).unwrap(), stays);
    }
}
