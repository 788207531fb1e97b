//! What was acknowledged, through kills, cuts, torn logs and many writers.

use super::*;

#[test]
fn a_repeated_request_is_not_acknowledged_before_the_first_one() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let first = process.queue("a", "1 slow").unwrap();
    assert_eq!(process.append("a", "1 again").unwrap().accepted, 0);
    assert_eq!(words(&process.rows("a").0), ["slow"]);
    drop(first);
}

#[test]
fn what_was_acknowledged_is_visible_and_survives_a_kill_before_and_after_a_cut() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let appended = process.append("a", "1 one\n2 bad\n3 three").unwrap();
    assert_eq!((appended.accepted, appended.refusals.indexes()), (2, vec![1]));
    process.append("b", "4 four").unwrap();
    assert_eq!(words(&process.rows("a").0), ["one", "three"]);
    process.kill();

    let process = start(dir.path());
    assert_eq!(words(&process.rows("a").0), ["one", "three"]);
    assert_eq!(words(&process.rows("b").0), ["four"]);
    process.store.cut().unwrap();
    assert_eq!(process.rows("a").1, 2);
    process.append("a", &format!("{DAY} tomorrow")).unwrap();
    process.kill();

    let process = start(dir.path());
    let (rows, in_blocks) = process.rows("a");
    assert_eq!((words(&rows), in_blocks), (vec!["one", "three", "tomorrow"], 2));
    process.store.close().unwrap();
    assert_eq!(process.append("a", "9 late").unwrap_err(), AppendError::NotReady);

    assert!(
        World::real().disk.list(&Layout::new(dir.path()).wal(Signal::Logs)).unwrap().is_empty(),
        "a clean stop leaves nothing to replay"
    );
    assert_eq!(start(dir.path()).rows("a").1, 3);
}

#[test]
fn a_request_of_which_everything_is_refused_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let appended = process.append("a", "1 bad").unwrap();
    assert_eq!((appended.accepted, appended.refusals.len()), (0, 1));
    assert_eq!(process.store.wal_bytes(), 0);
}

#[test]
fn a_torn_tail_is_cut_and_damage_in_the_middle_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    for i in 0..3 {
        process.append("a", &format!("{i} word{i}")).unwrap();
    }
    process.kill();
    let wal = Layout::new(dir.path()).wal(Signal::Logs);
    let segment = std::fs::read_dir(&wal).unwrap().next().unwrap().unwrap().path();
    let good = std::fs::read(&segment).unwrap();
    let at = |word: &[u8]| good.windows(word.len()).position(|w| w == word).unwrap();

    let mut torn = good.clone();
    torn.truncate(at(b"word2") + 2);
    std::fs::write(&segment, torn).unwrap();
    let process = start(dir.path());
    assert_eq!(words(&process.rows("a").0), ["word0", "word1"]);
    process.append("a", "5 after").unwrap();
    process.kill();
    assert_eq!(words(&start(dir.path()).rows("a").0), ["word0", "word1", "after"]);

    std::fs::remove_dir_all(&wal).unwrap();
    std::fs::create_dir_all(&wal).unwrap();
    let mut damaged = good.clone();
    damaged[at(b"word1")] ^= 1;
    std::fs::write(&segment, damaged).unwrap();
    assert_eq!(words(&start(dir.path()).rows("a").0), ["word0", "word2"]);
    assert!(std::fs::read_dir(&wal).unwrap().any(|e| e.unwrap().path().extension().is_some_and(|x| x == "damaged")));
}

#[test]
fn blocks_that_the_catalog_does_not_list_are_collected_and_a_lost_catalog_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 one").unwrap();
    process.store.close().unwrap();
    let layout = Layout::new(dir.path());
    let metas = Catalog::open(&World::real(), &layout).unwrap().blocks(Signal::Logs).unwrap();
    let home = layout.block(&metas[0]);
    let orphan = home.parent().unwrap().join("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::create_dir_all(layout.temporary_root().join("half")).unwrap();
    drop(process);
    drop(start(dir.path()));
    assert!(home.exists() && !orphan.exists() && !layout.temporary_root().join("half").exists());

    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    let world = World::real();
    let fresh = Catalog::open(&world, &layout).unwrap();
    assert!(collect_orphans(&world, &layout, &fresh).is_err());
    assert!(home.exists());
}

#[test]
fn a_full_log_refuses_until_a_cut_has_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let body = format!("1 {}", "x".repeat(40_000));
    process.append("a", &body).unwrap();
    process.append("a", &body).unwrap();
    assert_eq!(process.append("a", &body).unwrap_err(), AppendError::WalFull);
    process.store.cut().unwrap();
    process.append("a", &body).unwrap();
    assert_eq!(process.rows("a").0.len(), 3);
}

#[test]
fn concurrent_appends_and_cuts_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let process = &process;
            scope.spawn(move || {
                for i in 0..100 {
                    while process.append("a", &format!("{} {worker}-{i}", i * DAY / 50)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let process = &process;
        scope.spawn(move || {
            for _ in 0..20 {
                process.store.cut().unwrap();
                let (rows, _) = process.rows("a");
                let mut unique = rows.clone();
                unique.dedup();
                assert_eq!(rows.len(), unique.len());
            }
        });
    });
    assert_eq!(process.rows("a").0.len(), 400);
    process.kill();
    assert_eq!(start(dir.path()).rows("a").0.len(), 400);
}
