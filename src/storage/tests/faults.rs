//! Crashes, stops and failures at awkward moments.

use super::*;
use crate::runtime::{ManualClock, OsDisk};
use crate::storage::wal::Lane;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// What hangs is told from what is slow by this.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs `work` on a thread of its own; the receiver gets its result.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    result
}

fn segments(root: &Path) -> Vec<PathBuf> {
    let wal = Layout::new(root).wal(Signal::Logs);
    let names = World::real().disk.list(&wal).unwrap();
    names.iter().filter(|n| n.ends_with(".wal")).map(|n| wal.join(n)).collect()
}

/// A crash right after a segment was made leaves it empty, or with a header, or with a part of its first frame.
#[test]
fn a_segment_without_a_whole_frame_makes_way_for_the_next_one() {
    let header = [&b"MNCLWAL1"[..], &2u64.to_le_bytes()].concat();
    for left in [Vec::new(), header.clone(), [&header[..], &[40, 0, 0, 0, 1, 2, 3, 4, 2, 0]].concat()] {
        let dir = tempfile::tempdir().unwrap();
        let process = start(dir.path());
        process.append("a", "1 one").unwrap();
        process.kill();
        let unfinished = Layout::new(dir.path()).segment(Signal::Logs, 2);
        std::fs::write(&unfinished, left).unwrap();
        let process = start(dir.path());
        assert!(!unfinished.exists());
        process.append("a", "2 two").unwrap();
        process.store.cut().unwrap();
        process.append("a", "3 three").unwrap();
        process.kill();
        assert_eq!(words(&start(dir.path()).rows("a").0), ["one", "two", "three"]);
    }
}

#[test]
fn damage_to_neighbours_does_not_hide_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    for i in 0..4 {
        process.append("a", &format!("{i} word{i}")).unwrap();
    }
    process.kill();
    let segment = segments(dir.path()).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    for word in [b"word1", b"word2"] {
        let at = bytes.windows(word.len()).position(|w| w == word).unwrap();
        bytes[at] ^= 1;
    }
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(words(&start(dir.path()).rows("a").0), ["word0", "word3"]);
}

#[test]
fn a_segment_that_someone_else_removed_does_not_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 one").unwrap();
    std::fs::remove_file(segments(dir.path()).remove(0)).unwrap();
    process.store.cut().unwrap();
    assert_eq!(process.store.wal_bytes(), 0);
}

/// `close` waits for the append, and the cut comes between the two.
#[test]
fn an_append_a_cut_and_a_stop_at_once_do_not_wait_for_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let process = Arc::new(start(dir.path()));
    let steps: [fn(&Process) -> bool; 3] = [|p| p.append("a", "1 slow").is_ok(), |p| p.store.close().is_ok(), |p| p.store.cut().is_ok()];
    let results = steps.map(|step| {
        let process = process.clone();
        let result = apart(move || step(&process));
        std::thread::sleep(Duration::from_millis(200));
        result
    });
    for result in results {
        assert!(result.recv_timeout(LIMIT).unwrap());
    }
    assert_eq!(words(&start(dir.path()).rows("a").0), ["slow"]);
}

#[test]
fn a_stop_during_replay_does_not_wait_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 slow").unwrap();
    process.kill();
    let (world, layout) = (World::real(), Layout::new(dir.path()));
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    let process = Arc::new(open_on(world, layout, catalog));
    let recovering = process.clone();
    let recovered = apart(move || recovering.store.recover().is_ok());
    std::thread::sleep(Duration::from_millis(100));
    process.store.close().unwrap();
    assert_eq!(recovered.try_recv(), Err(mpsc::TryRecvError::Empty));
    assert!(recovered.recv_timeout(LIMIT).unwrap());
    assert_eq!(words(&start(dir.path()).rows("a").0), ["slow"]);
}

#[test]
fn a_lane_that_has_stopped_answers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = LaneConfig { sync: SyncMode::Group, size_max_bytes: 1 << 20 };
    let layout = Layout::new(dir.path());
    let lane = Lane::start(World::real(), layout, Signal::Logs, config, Vec::new(), 1, Telemetry::default().store).unwrap();
    lane.stop();
    let tenant = TenantId::default_tenant();
    let frame = Frame { lsn: 1, received_at: 0, kind: 0, encoding: 0, tenant, refused: Vec::new(), body: bytes::Bytes::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for commit in [lane.enqueue(frame, Box::new(|| ())), lane.barrier()] {
        let answer = runtime.block_on(async { tokio::time::timeout(LIMIT, commit.durable()).await });
        assert!(answer.unwrap().is_err());
    }
    apart(move || lane.recycle(1)).recv_timeout(LIMIT).unwrap();
}

/// The first start after the loss makes a catalog, so the second one finds an empty one.
#[test]
fn a_lost_catalog_stops_every_start() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 one").unwrap();
    process.store.close().unwrap();
    let (world, layout) = (World::real(), Layout::new(dir.path()));
    let home = layout.block(process.store.view(&TenantId::parse("a").unwrap()).blocks[0].meta());
    drop(process);
    for file in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    for _ in 0..3 {
        let catalog = Catalog::open(&world, &layout).unwrap();
        assert!(collect_orphans(&world, &layout, &catalog).is_err());
        assert!(home.exists());
    }
}

/// It is tried again and again: what each attempt leaves would fill the disk.
#[test]
fn a_cut_that_fails_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", &format!("1 one\n{DAY} unwritable")).unwrap();
    assert!(process.store.cut().is_err());
    let (disk, layout) = (World::real().disk, Layout::new(dir.path()));
    assert_eq!(disk.list(&layout.blocks().join("a/logs/1970/01/01")).unwrap(), Vec::<String>::new());
    assert_eq!(disk.list(&layout.temporary_root()).unwrap(), Vec::<String>::new());
    assert_eq!(process.rows("a").0.len(), 2);
}

#[test]
fn blocks_are_in_the_order_of_their_cuts_whatever_the_clock_does() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(1_000 * DAY));
    let world = World { clock: clock.clone(), disk: Arc::new(OsDisk) };
    let layout = Layout::new(dir.path());
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    let process = start_on(world, layout, catalog);
    for i in 0..5 {
        clock.set((1_000 - i / 2) * DAY);
        process.append("a", &format!("1 word{i}")).unwrap();
        process.store.cut().unwrap();
    }
    let view = process.store.view(&TenantId::parse("a").unwrap());
    let found: Vec<String> = view.blocks.iter().map(|b| scan(b, &Scan::default()).remove(0).word).collect();
    assert_eq!(found, ["word0", "word1", "word2", "word3", "word4"]);
}

/// Where a frame ends is known from its length alone: with that gone, the next one is looked for.
#[test]
fn a_wrong_length_hides_one_frame_and_leaves_a_copy_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    for i in 0..4 {
        process.append("a", &format!("{i} word{i}")).unwrap();
    }
    process.kill();
    let segment = segments(dir.path()).remove(0);
    let good = std::fs::read(&segment).unwrap();
    let of_word1 = good.windows(5).position(|w| w == b"word1").unwrap() - b"1 ".len() - "a".len() - 31;
    assert_eq!(good[of_word1..of_word1 + 4], 31u32.to_le_bytes(), "the length of the frame, 31 bytes behind its prefix");
    for wrong in [0u32, 5, 32, 200, u32::MAX] {
        let mut bytes = good.clone();
        bytes[of_word1..of_word1 + 4].copy_from_slice(&wrong.to_le_bytes());
        std::fs::write(&segment, bytes).unwrap();
        let process = start(dir.path());
        assert_eq!(words(&process.rows("a").0), ["word0", "word2", "word3"], "length {wrong}");
        process.kill();
        let copy = segment.with_extension(format!("{of_word1}.damaged"));
        assert!(std::fs::read(&copy).unwrap().windows(5).any(|w| w == b"word1"));
        std::fs::remove_file(copy).unwrap();
    }
}

#[test]
fn what_is_cut_from_the_end_of_the_log_leaves_its_newest_copy() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..2 {
        let process = start(dir.path());
        process.append("a", &format!("{i} word{i}")).unwrap();
        process.kill();
        let segment = segments(dir.path()).pop().unwrap();
        let mut bytes = std::fs::read(&segment).unwrap();
        let at = bytes.windows(4).position(|w| w == b"word").unwrap();
        bytes[at] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
        assert!(start(dir.path()).rows("a").0.is_empty());
        let lane = Layout::new(dir.path()).wal(Signal::Logs);
        let names = World::real().disk.list(&lane).unwrap();
        assert_eq!(names.iter().filter(|n| n.ends_with(".torn")).count(), 1, "{names:?}");
    }
}

/// A frame that a later version wrote, say: what it says is kept, and it is not read again at every start.
#[test]
fn a_frame_of_no_use_is_set_aside_and_cut() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.queue_body("a", "1 word", "unreadable").unwrap();
    process.append("a", "2 two").unwrap();
    process.kill();
    let process = start(dir.path());
    assert_eq!(words(&process.rows("a").0), ["two"]);
    process.kill();
    let process = start(dir.path());
    process.store.cut().unwrap();
    process.kill();
    let lane = Layout::new(dir.path()).wal(Signal::Logs);
    let names = World::real().disk.list(&lane).unwrap();
    assert!(matches!(&names[..], [only] if only.ends_with(".damaged")), "{names:?}");
    assert!(std::fs::read(lane.join(&names[0])).unwrap().ends_with(b"unreadable"));
    assert_eq!(start(dir.path()).rows("a").1, 1);

    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.queue_body("a", "1 word", "unreadable").unwrap();
    process.append("a", "2 again").unwrap();
    process.kill();
    let process = start(dir.path());
    process.store.cut().unwrap();
    assert_eq!(process.store.wal_bytes(), 0, "nothing else is there to cut");
}
