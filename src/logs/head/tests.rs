use super::*;
use crate::logs::reference::{Given, rows_of};
use crate::logs::schema;
use crate::model::time::DAY;
use crate::storage::Portion;
use arrow_array::{Array as _, RecordBatch};

fn rows(stream: &str, entries: &[Given<'_>]) -> LogRows {
    rows_of([(Labels::from_pairs([("service_name", stream)]), entries)])
}

/// A draft whose further rows are read, too.
struct Whole {
    day: i64,
    mixed: bool,
    times: (i64, i64),
    items: u64,
    logs: Vec<RecordBatch>,
    streams: Vec<RecordBatch>,
}

fn whole(draft: Result<BlockDraft, ArrowError>) -> Whole {
    let BlockDraft { day, mixed, min_time, max_time, items, tables, more } = draft.unwrap();
    let mut whole = Whole { day, mixed, times: (min_time, max_time), items, logs: Vec::new(), streams: Vec::new() };
    let mut all = tables;
    for portion in more.into_iter().flatten() {
        let Portion { min_time, max_time, items, tables } = portion.unwrap();
        whole.times = (whole.times.0.min(min_time), whole.times.1.max(max_time));
        whole.items += items;
        all.extend(tables);
    }
    for table in all {
        if table.name == schema::LOGS { &mut whole.logs } else { &mut whole.streams }.extend(table.batches);
    }
    whole
}

fn lines(whole: &Whole) -> Vec<String> {
    let lines = |b: &RecordBatch| {
        let c = crate::logs::source::Columns::read(b).unwrap();
        (0..c.len()).map(|r| c.line(r).to_owned()).collect::<Vec<_>>()
    };
    whole.logs.iter().flat_map(lines).collect()
}

#[test]
fn small_chunks_merge_and_keep_the_order_of_acceptance() {
    let head = LogsHead::default();
    for i in 0..100 {
        head.apply(rows(if i % 2 == 0 { "a" } else { "b" }, &[(5, &format!("{i:02}"), &[])]));
    }
    let chunks = head.snapshot().chunks;
    assert!(chunks.len() < 20, "{}", chunks.len());
    assert_eq!(chunks.iter().map(|c| c.rows()).sum::<u64>(), 100);
    let mut evens = Vec::new();
    for chunk in &chunks {
        for run in chunk.runs().iter().filter(|r| r.labels.value("service_name") == "a") {
            evens.extend(run.rows.clone().map(|r| chunk.lines().line(r as usize).to_owned()));
        }
    }
    assert_eq!(evens, (0..50).map(|i| format!("{:02}", 2 * i)).collect::<Vec<_>>());
    assert_eq!(head.stats().rows, 100);
}

#[test]
fn a_cut_sorts_drops_duplicates_and_splits_days() {
    let head = LogsHead::default();
    let md: &[(&str, &str)] = &[("a", "1"), ("trace_id", "ba944992eeddcd8a02bcf5b1a4441acb")];
    let reversed: &[(&str, &str)] = &[("trace_id", "ba944992eeddcd8a02bcf5b1a4441acb"), ("a", "1")];
    head.apply(rows("b", &[(DAY + 7, "late", md), (DAY + 5, "x", md), (DAY + 5, "w", &[]), (DAY + 5, "x", reversed), (DAY + 5, "x", &[])]));
    head.apply(rows("a", &[(9, "early", &[])]));
    head.apply(rows("b", &[(DAY + 5, "w", &[])]));
    let drafts: Vec<Whole> = head.cut().map(whole).collect();
    assert_eq!(drafts.iter().map(|d| (d.day, d.items, d.mixed)).collect::<Vec<_>>(), [(0, 1, false), (1, 4, false)]);
    assert_eq!(lines(&drafts[1]), ["x", "w", "x", "late"]);
    assert_eq!(drafts[1].times, (DAY + 5, DAY + 7));
    let schema = drafts[1].logs[0].schema();
    assert!(schema.index_of("md.a").is_ok() && schema.index_of(schema::OBSERVED_TS).is_err());
    let streams = &drafts[1].streams[0];
    assert_eq!(streams.num_rows(), 1);
    assert!(streams.column_by_name("label.service_name").unwrap().is_valid(0));
}

#[test]
fn more_than_32_days_end_in_one_mixed_block() {
    let head = LogsHead::default();
    for day in 0..40 {
        head.apply(rows("a", &[(day * DAY, "x", &[])]));
    }
    let drafts: Vec<Whole> = head.cut().map(whole).collect();
    assert_eq!(drafts.len(), 33);
    assert_eq!((drafts[0].mixed, drafts[0].items, drafts[0].day, drafts[0].times.0), (true, 8, 7, 0));
}

#[test]
fn a_second_label_set_with_a_live_id_is_refused() {
    let head = LogsHead::default();
    let mut first = rows("a", &[(1, "x", &[])]);
    head.ids.lock().insert(first.streams()[0].id, Labels::from_pairs([("other", "o")]));
    let mut refusals = Refusals::default();
    head.admit(&mut first, &mut refusals);
    assert!(first.streams().is_empty());
    assert_eq!(refusals.reasons().map(|(r, n, _)| (r, n)).collect::<Vec<_>>(), [("id_collision", 1)]);
}
