//! Compaction through the store: what is merged, what survives, what the files are afterwards.

use super::*;
use crate::model::time::{HOUR, MINUTE};
use crate::runtime::{ManualClock, OsDisk};
use crate::storage::maintenance::CompactConfig;
use std::time::Duration;

const CONFIG: CompactConfig = CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };

fn at(root: &std::path::Path, now: i64) -> (Process, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::at(now));
    let world = World { clock: clock.clone(), disk: Arc::new(OsDisk) };
    let layout = Layout::new(root);
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    (start_on(world, layout, catalog), clock)
}

fn tenant() -> TenantId {
    TenantId::parse("a").unwrap()
}

fn levels(process: &Process) -> Vec<u8> {
    process.store.view(&tenant()).blocks.iter().map(|b| b.meta().level).collect()
}

fn directories(root: &std::path::Path) -> usize {
    let days = Layout::new(root).blocks().join("a/logs");
    let list = |path: &std::path::Path| World::real().disk.list(path).unwrap();
    let mut count = 0;
    for year in list(&days) {
        for month in list(&days.join(&year)) {
            for day in list(&days.join(&year).join(&month)) {
                count += list(&days.join(&year).join(&month).join(&day)).len();
            }
        }
    }
    count
}

/// A cut every ten minutes, and the loop's merges in between.
#[test]
fn a_month_becomes_a_block_a_day_and_a_query_of_an_hour_touches_one() {
    let dir = tempfile::tempdir().unwrap();
    let (process, clock) = at(dir.path(), 0);
    let steps = 30 * DAY / (60 * MINUTE);
    for step in 1..=steps {
        let now = step * 60 * MINUTE;
        clock.set(now);
        for minute in [50, 30, 10] {
            process.append("a", &format!("{} w{step}-{minute}", now - minute * MINUTE)).unwrap();
        }
        process.store.cut().unwrap();
        while process.store.compact_once(&CONFIG, false).unwrap() {}
    }
    clock.set(30 * DAY + 2 * HOUR);
    while process.store.compact_once(&CONFIG, false).unwrap() {}
    assert_eq!(levels(&process), vec![2; 30]);
    assert_eq!(directories(dir.path()), 30, "the files of what was merged are gone");
    assert_eq!(process.rows("a").0.len() as i64, 3 * steps);
    let view = process.store.view(&tenant());
    assert_eq!(view.blocks_in(TimeRange::new(9 * DAY + HOUR, 9 * DAY + 2 * HOUR)).count(), 1);
    assert_eq!(view.blocks_in(TimeRange::new(9 * DAY + HOUR, 11 * DAY)).count(), 2);
    process.kill();
    assert_eq!(at(dir.path(), 31 * DAY).0.rows("a").0.len() as i64, 3 * steps);
}

#[test]
fn copies_of_a_row_become_one_and_a_forced_merge_leaves_one_block_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let (process, _) = at(dir.path(), HOUR);
    for _ in 0..3 {
        process.append("a", &format!("1 x\n2 y\n{DAY} z")).unwrap();
        process.store.cut().unwrap();
    }
    process.append("a", "2 y").unwrap();
    assert_eq!(process.rows("a").0.len(), 10);
    process.store.compact(&CONFIG).unwrap();
    assert_eq!((words(&process.rows("a").0), levels(&process)), (vec!["x", "y", "z"], vec![2, 2]));
    let view = process.store.view(&tenant());
    let day = view.blocks.iter().find(|b| b.meta().day == 0).unwrap().meta();
    assert_eq!(day.parents.len(), 4);
    assert_eq!(day.wal, Some(block::WalRange { from: 1, to: 5 }));
    process.store.compact(&CONFIG).unwrap();
    assert_eq!(process.store.view(&tenant()).blocks[0].meta().id, view.blocks[0].meta().id, "nothing is left to do");
}

#[test]
fn a_mixed_block_is_split_into_its_days() {
    let dir = tempfile::tempdir().unwrap();
    let (process, _) = at(dir.path(), 100 * DAY);
    let rows: Vec<String> = (0..40).map(|day| format!("{} mixed", day * DAY + 5)).collect();
    process.append("a", &rows.join("\n")).unwrap();
    process.store.cut().unwrap();
    let before = process.rows("a").0;
    assert_eq!(process.store.view(&tenant()).blocks.len(), 1);
    while process.store.compact_once(&CONFIG, false).unwrap() {}
    let metas: Vec<_> = process.store.view(&tenant()).blocks.iter().map(|b| b.meta().clone()).collect();
    assert_eq!(metas.len(), 40);
    assert!(metas.iter().all(|m| !m.mixed && m.level == 2 && day_of(m.min_time) == m.day && day_of(m.max_time) == m.day));
    assert_eq!(process.rows("a").0, before);
}

#[test]
fn deleted_rows_leave_the_files_and_then_the_delete_is_processed() {
    let dir = tempfile::tempdir().unwrap();
    let (process, clock) = at(dir.path(), 10 * DAY);
    process.append("a", "1 x\n2 y").unwrap();
    let delete = |selector: &str, hours: u64| Delete {
        selector: selector.into(),
        min_time: 0,
        max_time: DAY,
        cancel_within: Duration::from_secs(3600 * hours),
    };
    process.store.delete(&tenant(), delete("x", 0)).unwrap();
    process.append("a", "1 x\n3 y").unwrap();
    let held = process.store.delete(&tenant(), delete("y", 24)).unwrap();
    process.append("a", "4 y").unwrap();
    process.store.compact(&CONFIG).unwrap();
    let times = |p: &Process| p.rows("a").0.iter().map(|r| r.time).collect::<Vec<_>>();
    assert_eq!(times(&process), [1, 4]);
    let stored = || -> usize { process.store.view(&tenant()).blocks.iter().map(|b| scan(b, &Scan::default()).len()).sum() };
    assert_eq!(stored(), 4, "one x is purged, and both y may come back");
    let states = |p: &Process| p.store.deletes(&tenant()).unwrap().iter().map(|d| d.1).collect::<Vec<_>>();
    assert_eq!(states(&process), [TombstoneState::Processed, TombstoneState::Active]);
    clock.set(12 * DAY);
    process.store.compact(&CONFIG).unwrap();
    assert_eq!((times(&process), stored()), (vec![1, 4], 2));
    assert_eq!(states(&process), [TombstoneState::Processed; 2]);
    assert!(process.store.view(&tenant()).blocks.iter().all(|b| b.meta().purged == Some(held.id)));
    process.append("a", "2 y").unwrap();
    process.store.compact(&CONFIG).unwrap();
    assert_eq!(times(&process), [1, 2, 4]);
}

#[test]
fn what_cannot_be_merged_does_not_hold_up_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (process, _) = at(dir.path(), 10 * DAY);
    for day in [1, 2] {
        for i in 0..2 {
            process.append("a", &format!("{} w{i}", day * DAY + i)).unwrap();
            process.store.cut().unwrap();
        }
    }
    let first = process.store.view(&tenant()).blocks[0].meta().clone();
    let path = Layout::new(dir.path()).block(&first).join("words.parquet");
    std::fs::write(&path, vec![0; std::fs::metadata(&path).unwrap().len() as usize]).unwrap();
    assert!(process.store.compact_once(&CONFIG, true).is_err());
    while process.store.compact_once(&CONFIG, true).unwrap() {}
    assert_eq!(levels(&process), [0, 0, 2]);
    assert_eq!(World::real().disk.list(&Layout::new(dir.path()).temporary_root()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_merge_stops_when_the_process_does_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (process, _) = at(dir.path(), 10 * DAY);
    for i in 0..2 {
        process.append("a", &format!("{i} x")).unwrap();
        process.store.cut().unwrap();
    }
    process.store.close().unwrap();
    assert!(!process.store.compact_once(&CONFIG, true).unwrap());
    assert_eq!(levels(&process), [0, 0]);
    assert_eq!(directories(dir.path()), 2);
}
