//! The disk budget, and disks that are full.

use super::*;
use crate::runtime::memory_disk::Fault;
use crate::storage::maintenance::{CompactConfig, DiskRoom, Holder, OnDisk};
use std::io;
use std::time::Duration;

const MIB: u64 = 1 << 20;

fn room_at(dir: &std::path::Path, wanted: u64) -> (World, Arc<DiskRoom>) {
    DiskRoom::open(&World::real(), &Layout::new(dir), wanted).unwrap()
}

fn bounded(dir: &std::path::Path, wanted: u64) -> (Process, Arc<DiskRoom>, Vec<Arc<dyn Holder>>) {
    let (world, room) = room_at(dir, wanted);
    let layout = Layout::new(dir);
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    let process = start_on(world, layout, catalog);
    process.store.keep_within(room.clone());
    let holder: Arc<dyn Holder> = Arc::new(OnDisk { store: process.store.clone(), retention: None });
    (process, room, vec![holder])
}

/// Words that do not compress, one block of about 100 kB.
fn fill(process: &Process, time: i64) -> Result<(), AppendError> {
    let word = |i: i64| format!("{} {:032x}{:032x}", time + i, crate::runtime::random_u128(), crate::runtime::random_u128());
    process.append("a", &(0..1_000).map(word).collect::<Vec<_>>().join("\n"))?;
    process.store.cut().unwrap();
    Ok(())
}

#[test]
fn the_budget_holds_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let (process, room, holders) = bounded(dir.path(), 4 * MIB);
    let before = room.used();
    for i in 0..60 {
        fill(&process, i * 10_000).unwrap();
        room.enforce(&holders).unwrap();
        assert!(room.used() <= room.max(), "{} bytes after {i}", room.used());
        let there = World::real().disk.bytes(dir.path()).unwrap();
        assert!(room.used().abs_diff(there) <= 64 << 10, "{} are counted, {there} are there", room.used());
    }
    let times: Vec<i64> = process.store.block_metas().iter().map(|meta| meta.min_time).collect();
    assert!((5..60).contains(&times.len()), "{} blocks", times.len());
    assert_eq!(times, (60 - times.len() as i64..60).map(|i| i * 10_000).collect::<Vec<_>>());
    assert!(room.used() > before + 2 * MIB, "no more goes than must");
    assert!(process.store.compact_once(&CompactConfig { bytes_max: room.part(), inputs_max: 4 }, true).unwrap());
    drop(process);
    drop(holders);
    let (process, room, _) = bounded(dir.path(), 4 * MIB);
    assert!(room.used().abs_diff(World::real().disk.bytes(dir.path()).unwrap()) <= 64 << 10);
    assert!(!process.store.block_metas().is_empty());
}

#[test]
fn blocks_that_a_query_still_reads_do_not_make_others_go() {
    let dir = tempfile::tempdir().unwrap();
    let (process, room, holders) = bounded(dir.path(), 4 * MIB);
    let mut blocks = 0;
    while fill(&process, blocks * 10_000).is_ok() {
        blocks += 1;
    }
    let view = process.store.view(&TenantId::parse("a").unwrap());
    room.enforce(&holders).unwrap();
    let kept = process.store.block_metas().len();
    assert!((1..blocks as usize).contains(&kept), "{kept} of {blocks}");
    for _ in 0..3 {
        room.enforce(&holders).unwrap();
    }
    assert_eq!(process.store.block_metas().len(), kept);
    assert_eq!(view.blocks.iter().map(|block| scan(block, &Scan::default()).len()).sum::<usize>(), 1_000 * blocks as usize);
    let used = room.used();
    drop(view);
    assert!(room.used() < used, "the files go with the last who reads them");
}

#[test]
fn without_room_writes_are_refused_before_the_log_and_reads_and_cuts_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (process, room, holders) = bounded(dir.path(), 4 * MIB);
    process.append("a", "1 one").unwrap();
    // Not ours, but in our directory.
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![1; 4 * MIB as usize]).unwrap();
    drop(process);
    drop((room, holders));
    let (process, room, holders) = bounded(dir.path(), 4 * MIB);
    room.enforce(&holders).unwrap();
    let wal = process.store.wal_bytes();
    assert_eq!(process.append("a", "2 two").unwrap_err(), AppendError::DiskFull);
    assert_eq!(process.store.wal_bytes(), wal);
    assert_eq!(words(&process.rows("a").0), ["one"]);
    process.store.cut().unwrap();
    assert_eq!(process.rows("a").1, 1);
    room.disk().remove_file(&ballast).unwrap();
    process.append("a", "2 two").unwrap();
    assert_eq!(words(&process.rows("a").0), ["one", "two"]);
}

fn process_on(disk: &MemoryDisk, home: &std::path::Path, sync: SyncMode) -> Process {
    let world = World { clock: World::real().clock, disk: Arc::new(disk.clone()) };
    let catalog = Arc::new(Catalog::open(&World::real(), &Layout::new(home)).unwrap());
    let tier = Tier::new(world, Layout::new("/data"));
    collect_orphans(tier.world(), tier.layout(), &catalog).unwrap();
    let lane = LaneConfig { sync, size_max_bytes: 64 << 10 };
    let config = StoreConfig { lane, head_max_bytes: 1 << 20 };
    let store = Arc::new(Store::open(WordSpec, tier, catalog, config, Telemetry::default().store).unwrap());
    store.recover().unwrap();
    Process { store }
}

/// Whatever operation of the log fails for want of room, and for how long: who was told that it is stored finds it, once,
/// after a crash too, and so does who sends again after the disk has room.
#[test]
fn a_full_disk_stops_the_log_and_neither_loses_nor_doubles_anything() {
    let sends = |process: &Process| -> Vec<String> {
        let mut stored = Vec::new();
        for word in ["one", "two", "three"] {
            let sent = format!("{} {word}", stored.len());
            // A client that tries again until it is taken.
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while let Err(error) = process.append("a", &sent) {
                assert_eq!(error, AppendError::DiskFull);
                assert!(std::time::Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(20));
            }
            stored.push(word.to_owned());
        }
        stored
    };
    let run = |sync, kind, first, torn| {
        let home = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::default();
        disk.create_dir_all(std::path::Path::new("/data")).unwrap();
        disk.sync_dir(std::path::Path::new("/")).unwrap();
        let process = process_on(&disk, home.path(), sync);
        let from = disk.tried() + first;
        disk.set_fault(Some(Fault { operations: from..from + 2, kind, torn, except: None }));
        let stored = sends(&process);
        let was_met = disk.tried() > from;
        disk.set_fault(None);
        let unique = |process: &Process| {
            let mut found = process.rows("a").0;
            // A request that was sent again counts once, as every signal has it.
            found.dedup();
            words(&found).iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(unique(&process), stored, "{first} {torn} {sync:?}");
        let in_memory = process.rows("a").0;
        process.kill();
        let unsynced = if sync == SyncMode::Group { Unsynced::Lost } else { Unsynced::Kept };
        let after = disk.lose_power(disk.operations().len(), unsynced);
        let process = process_on(&after, home.path(), sync);
        assert_eq!(process.rows("a").0, in_memory, "replay finds each frame once: {first} {torn} {sync:?}");
        process.store.close().unwrap();
        assert_eq!(unique(&process), stored);
        usize::from(was_met)
    };
    let full = io::ErrorKind::StorageFull;
    let modes = [(SyncMode::Group, full), (SyncMode::Group, io::ErrorKind::QuotaExceeded), (SyncMode::Os, full)];
    let points: usize = std::thread::scope(|scope| {
        let of_mode = |(sync, kind)| (0..12).map(|first| run(sync, kind, first, false) + run(sync, kind, first, true)).sum::<usize>();
        let threads = modes.map(|mode| scope.spawn(move || of_mode(mode)));
        threads.map(|thread| thread.join().unwrap()).iter().sum()
    });
    assert!(points > 40, "only {points} of the runs met the full disk");
}

#[test]
fn a_stop_while_the_disk_is_full_does_not_wait_for_room() {
    let home = tempfile::tempdir().unwrap();
    let disk = MemoryDisk::default();
    disk.create_dir_all(std::path::Path::new("/data")).unwrap();
    let process = process_on(&disk, home.path(), SyncMode::Group);
    process.append("a", "1 one").unwrap();
    disk.set_fault(Some(Fault { operations: 0..usize::MAX, kind: io::ErrorKind::StorageFull, torn: false, except: None }));
    assert_eq!(process.append("a", "2 two").unwrap_err(), AppendError::DiskFull);
    assert!(process.store.close().is_err());
    disk.set_fault(None);
    assert_eq!(words(&process_on(&disk, home.path(), SyncMode::Group).rows("a").0), ["one"]);
}

#[test]
fn who_fills_the_head_leaves_the_last_quarter_to_others() {
    let home = tempfile::tempdir().unwrap();
    let world = World { clock: World::real().clock, disk: Arc::new(MemoryDisk::default()) };
    world.disk.create_dir_all(std::path::Path::new("/data")).unwrap();
    let catalog = Arc::new(Catalog::open(&World::real(), &Layout::new(home.path())).unwrap());
    let lane = LaneConfig { sync: SyncMode::None, size_max_bytes: 16 << 20 };
    let config = StoreConfig { lane, head_max_bytes: 64 << 10 };
    let tier = Tier::new(world, Layout::new("/data"));
    let store = Arc::new(Store::open(WordSpec, tier, catalog, config, Telemetry::default().store).unwrap());
    store.recover().unwrap();
    let process = Process { store };
    process.append("modest", "1 word").unwrap();
    let many: Vec<String> = (0..64).map(|time| format!("{time} word")).collect();
    let mut sent = 0;
    while process.append("greedy", &many.join("\n")).is_ok() {
        sent += 1;
        assert!(sent < 100_000);
    }
    assert_eq!(process.append("greedy", "1 word").unwrap_err(), AppendError::HeadFull);
    process.append("modest", "2 word").unwrap();
    process.append("new", "2 word").unwrap();
    process.store.cut().unwrap();
    process.append("greedy", "1000 word").unwrap();
}
