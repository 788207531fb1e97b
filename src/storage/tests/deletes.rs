//! Tombstones: what they hide, for how long, and what a restart leaves of them.

use super::*;
use crate::storage::maintenance::DeleteError;
use std::time::Duration;

fn tenant() -> TenantId {
    TenantId::parse("a").unwrap()
}

fn delete(word: &str, min_time: i64, max_time: i64) -> Delete {
    Delete { selector: word.to_owned(), min_time, max_time, cancel_within: Duration::ZERO }
}

fn files(root: &std::path::Path) -> Vec<String> {
    World::real().disk.list(&Layout::new(root).tombstones().join("a")).unwrap()
}

#[test]
fn a_delete_hides_what_was_accepted_before_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 x\n2 y\n5 x").unwrap();
    process.append("b", "1 x").unwrap();
    process.store.cut().unwrap();
    process.append("a", "3 x").unwrap();
    process.store.delete(&tenant(), delete("x", 0, 4)).unwrap();
    process.append("a", "1 x\n4 x").unwrap();
    let expected = ["x", "y", "x", "x"];
    let times = |process: &Process| process.rows("a").0.iter().map(|r| r.time).collect::<Vec<_>>();
    assert_eq!((words(&process.rows("a").0), times(&process)), (expected.to_vec(), vec![1, 2, 4, 5]));
    assert_eq!(process.rows("b").0.len(), 1);
    process.kill();

    let process = start(dir.path());
    assert_eq!(times(&process), [1, 2, 4, 5]);
    process.store.cut().unwrap();
    assert_eq!(times(&process), [1, 2, 4, 5], "rows that came later stay when they are cut");
    process.kill();
    assert_eq!(times(&start(dir.path())), [1, 2, 4, 5]);
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn a_delete_can_be_taken_back_within_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 x").unwrap();
    let late = process.store.delete(&tenant(), delete("x", 0, 4)).unwrap();
    let early = process.store.delete(&tenant(), Delete { cancel_within: Duration::from_secs(3600), ..delete("x", 0, 4) }).unwrap();
    assert!(matches!(process.store.cancel_delete(&tenant(), late.id, false), Err(DeleteError::Processed)));
    assert!(matches!(process.store.cancel_delete(&TenantId::parse("b").unwrap(), early.id, false), Err(DeleteError::Unknown)));
    process.store.cancel_delete(&tenant(), early.id, false).unwrap();
    assert!(process.rows("a").0.is_empty(), "the other one still hides it");
    process.store.cancel_delete(&tenant(), late.id, true).unwrap();
    assert_eq!(process.rows("a").0.len(), 1);
    assert!(files(dir.path()).is_empty() && process.store.deletes(&tenant()).unwrap().is_empty());
}

#[test]
fn a_delete_that_hits_no_block_is_processed_and_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 x").unwrap();
    let idle = process.store.delete(&tenant(), delete("nothing", 0, 4)).unwrap();
    let busy = process.store.delete(&tenant(), delete("x", 0, 4)).unwrap();
    let waits = process.store.delete(&tenant(), Delete { cancel_within: Duration::from_secs(3600), ..delete("none", 0, 4) }).unwrap();
    process.store.settle_tombstones().unwrap();
    let states = |p: &Process| p.store.deletes(&tenant()).unwrap().into_iter().map(|(t, s)| (t.id, s)).collect::<Vec<_>>();
    let expected = [(idle.id, TombstoneState::Processed), (busy.id, TombstoneState::Active), (waits.id, TombstoneState::Active)];
    assert_eq!(states(&process), expected);
    assert_eq!(files(dir.path()).len(), 2);
    process.kill();
    let process = start(dir.path());
    assert_eq!(states(&process), expected);
    assert_eq!(process.store.view(&tenant()).tombstones().len(), 2);
}

#[test]
fn files_of_tombstones_follow_the_catalog_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 x").unwrap();
    let tombstone = process.store.delete(&tenant(), delete("x", 0, 4)).unwrap();
    process.kill();
    let path = Layout::new(dir.path()).tombstone(&tenant(), tombstone.id);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..9]).unwrap();
    std::fs::write(path.with_file_name("01ARZ3NDEKTSV4RRFFQ69G5FAV.json"), "{").unwrap();
    drop(start(dir.path()));
    assert_eq!((files(dir.path()).len(), std::fs::read(&path).unwrap()), (1, whole));
}
