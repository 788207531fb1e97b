//! Every operation of a run with appends, cuts, a delete, a merge and an expiry is once the last before a power loss and once
//! one that fails; what was acknowledged is there once afterwards, and nothing is left over.

use super::*;
use crate::runtime::ManualClock;
use crate::runtime::memory_disk::Fault;
use crate::storage::maintenance::{CompactConfig, find_blocks};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const CONFIG: CompactConfig = CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };
const NOW: i64 = 2 * DAY + DAY / 2;

/// Commits of the catalog, as steps among those of the disk.
#[derive(Default)]
struct Commits {
    /// How many operations the disk had seen, and what the catalog held from then on.
    done: Vec<(usize, Vec<u8>)>,
    tried: usize,
    /// The one that fails.
    fail: Option<usize>,
}

struct Run {
    disk: MemoryDisk,
    commits: Arc<Mutex<Commits>>,
    process: Process,
    /// Words that were acknowledged, when (operations of the disk), and how often they were sent until then: where a signal
    /// drops copies of a row, the words here keep them.
    stored: Vec<(String, usize, usize)>,
    /// Words that a delete or an expiry has taken, from and until when it was not sure.
    taken: Vec<(&'static str, usize, usize)>,
    _home: tempfile::TempDir,
}

fn layout() -> Layout {
    Layout::new("/data")
}

/// A process on `disk`, with a catalog that lies elsewhere.
fn process_on(disk: &MemoryDisk, catalog: Arc<Catalog>) -> Process {
    let world = World { clock: Arc::new(ManualClock::at(NOW)), disk: Arc::new(disk.clone()) };
    start_on(world, layout(), catalog)
}

impl Run {
    fn start(fail: Option<usize>, fault: Option<Fault>) -> Run {
        let home = tempfile::tempdir().unwrap();
        let disk = MemoryDisk::default();
        disk.create_dir_all(layout().root()).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let catalog = Arc::new(Catalog::open(&World::real(), &Layout::new(home.path())).unwrap());
        let empty = World::real().disk.read(&Layout::new(home.path()).catalog()).unwrap();
        let commits = Arc::new(Mutex::new(Commits { done: vec![(0, empty)], tried: 0, fail }));
        let process = process_on(&disk, catalog.clone());
        disk.set_fault(fault);
        let (seen, of_disk) = (commits.clone(), disk.clone());
        catalog.watch(Box::new(move |image| {
            let mut commits = seen.lock();
            match image {
                Some(image) => commits.done.push((of_disk.operations().len(), image)),
                None => {
                    commits.tried += 1;
                    return commits.fail != Some(commits.tried - 1);
                }
            }
            true
        }));
        Run { disk, commits, process, stored: Vec::new(), taken: Vec::new(), _home: home }
    }

    fn append(&mut self, time: i64, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut sent = 1;
        while let Err(error) = self.process.append("a", &format!("{time} {word}")) {
            assert_eq!(error, AppendError::DiskFull);
            assert!(Instant::now() < deadline);
            sent += 1;
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stored.push((word.to_owned(), self.disk.operations().len(), sent));
    }

    /// As the loop does: what failed is tried again.
    fn step(&self, work: impl Fn(&Store<WordSpec>) -> Result<(), String>) {
        let failure = work(&self.process.store).err();
        if let Some(first) = failure
            && let Err(second) = work(&self.process.store)
        {
            panic!("{first}, then {second}");
        }
    }

    fn script(mut self) -> Run {
        let (second, seconds) = (1_000_000_000, |n: i64| n * 1_000_000_000);
        for (day, words) in [(0, ["old-0", "old-1"]), (1, ["one-0", "one-1"]), (1, ["two-0", "two-1"])] {
            for (at, word) in (1..).zip(words) {
                self.append(day * DAY + seconds(at) + if word.starts_with("two") { 100 * second } else { 0 }, word);
            }
            self.step(|store| store.cut().map_err(|e| e.to_string()));
        }
        self.append(DAY + seconds(200), "gone");
        let before = self.disk.operations().len();
        let delete = || Delete { selector: "gone".into(), min_time: 0, max_time: NOW, cancel_within: Duration::ZERO };
        self.step(|store| store.delete(&TenantId::parse("a").unwrap(), delete()).map(|_| ()).map_err(|e| e.to_string()));
        self.taken.push(("gone", before, self.disk.operations().len()));
        self.step(|store| store.compact(&CONFIG).map_err(|e| e.to_string()));
        let before = self.disk.operations().len();
        self.step(|store| store.expire(Some(Duration::from_secs(86_400 * 2))).map_err(|e| e.to_string()));
        for word in ["old-0", "old-1"] {
            self.taken.push((word, before, self.disk.operations().len()));
        }
        for (at, word) in (0..).zip(["new-0", "new-1"]) {
            self.append(2 * DAY + at, word);
        }
        self
    }

    /// What a process finds that starts after a power loss behind `count` operations.
    fn reopen_and_check(&self, count: usize, unsynced: Unsynced, image: &[u8]) {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(Layout::new(home.path()).catalog(), image).unwrap();
        let catalog = Arc::new(Catalog::open(&World::real(), &Layout::new(home.path())).unwrap());
        let disk = self.disk.lose_power(count, unsynced);
        let process = process_on(&disk, catalog.clone());
        let what = format!("after {count} operations, {unsynced:?}");
        self.check(&process, count, &what);
        let world = World { disk: Arc::new(disk.clone()), ..World::real() };
        let listed: Vec<_> = catalog.blocks(Signal::Logs).unwrap().iter().map(|meta| meta.id).collect();
        let found: Vec<_> = find_blocks(&world, &layout()).unwrap().into_iter().map(|(id, _)| id).collect();
        assert!(found.iter().all(|id| listed.contains(id)) && found.len() == listed.len(), "{what}: {found:?} of {listed:?}");
        assert!(disk.list(&layout().temporary_root()).unwrap().is_empty(), "{what}");
        // It goes on from there.
        process.store.compact(&CONFIG).unwrap();
        self.check(&process, count, &what);
        process.store.close().unwrap();
    }

    fn check(&self, process: &Process, count: usize, what: &str) {
        let found = process.rows("a").0;
        for (word, at, sent) in &self.stored {
            let copies = found.iter().filter(|row| row.word == *word).count();
            let taken = self.taken.iter().find(|(taken, ..)| taken == word);
            match taken {
                // The last step of a delete is a commit, which a power loss right behind it may have missed.
                Some((_, _, done)) if *done < count => assert_eq!(copies, 0, "{word} {what}"),
                Some((_, begun, _)) if *begun <= count => assert!(copies <= *sent, "{word} {what}"),
                _ if *at <= count => assert!((1..=*sent).contains(&copies), "{copies} of {word} {what}"),
                _ => assert!(copies <= *sent, "{word} {what}"),
            }
        }
    }

    /// The lane's thread ends, and what it takes is given back.
    fn end(self) {
        self.disk.set_fault(None);
        let _ = self.process.store.close();
    }
}

/// Writes to a file that nothing lists, and that the next start removes, are much the same: every eighth stands for the rest.
fn is_worth_it(operations: &[Operation], number: usize) -> bool {
    let is_unlisted = |o: &Operation| matches!(o, Operation::Write(path, ..) if path.starts_with(layout().temporary_root()));
    number.is_multiple_of(8) || !operations.get(number).is_some_and(is_unlisted)
}

#[test]
fn a_power_loss_after_any_step_loses_and_doubles_nothing() {
    let run = Run::start(None, None).script();
    let total = run.disk.operations().len();
    let commits = std::mem::take(&mut run.commits.lock().done);
    let mut points = 0;
    let operations = run.disk.operations();
    for count in (0..=total).filter(|count| is_worth_it(&operations, *count)) {
        // Of commits between two operations each may or may not have happened.
        let last = commits.iter().rposition(|(at, _)| *at < count).unwrap_or(0);
        let possible = commits.iter().enumerate().filter(|(n, (at, _))| *n == last || *at == count);
        for (_, (_, image)) in possible {
            for unsynced in [Unsynced::Lost, Unsynced::Torn, Unsynced::Garbled, Unsynced::Kept] {
                run.reopen_and_check(count, unsynced, image);
                points += 1;
            }
        }
    }
    run.end();
    eprintln!("{total} operations and {} commits, {points} power losses", commits.len() - 1);
    assert!(commits.len() > 6 && points > 400);
}

#[test]
fn a_failure_of_any_step_loses_and_doubles_nothing() {
    let run = Run::start(None, None);
    let first = run.disk.tried();
    let run = run.script();
    let operations = run.disk.operations();
    let commits = run.commits.lock().tried;
    run.end();
    let checked = |run: Run, what: &str| {
        let count = run.disk.operations().len();
        run.check(&run.process, count, what);
        let image = run.commits.lock().done.last().unwrap().1.clone();
        run.reopen_and_check(count, Unsynced::Lost, &image);
        run.end();
    };
    let mut points = 0;
    let worth_it = (first..operations.len()).filter(|number| is_worth_it(&operations, *number));
    for (number, operation) in worth_it.map(|number| (number, &operations[number])) {
        // Any other failure of the log ends the process, which is a power loss at that point.
        let spared = Layout::new("/data").wal(Signal::Logs);
        let faults = [(io::ErrorKind::StorageFull, None), (io::ErrorKind::Other, Some(spared))];
        for (kind, except) in faults {
            let fault = Fault { operations: number..number + 1, kind, torn: number % 2 == 0, except };
            checked(Run::start(None, Some(fault)).script(), &format!("{operation:?} failed: {kind:?}"));
            points += 1;
        }
    }
    for commit in 0..commits {
        checked(Run::start(Some(commit), None).script(), &format!("commit {commit} failed"));
    }
    eprintln!("{points} operations and {commits} commits failed");
    assert!(points > 100 && commits > 6);
}
