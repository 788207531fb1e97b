//! Every operation of a run with appends, cuts, a delete, a merge and an expiry is once the last before a power loss and once
//! one that fails; what was acknowledged is there once afterwards, and nothing is left over.

use super::*;
use crate::runtime::ManualClock;
use crate::runtime::memory_disk::Fault;
use crate::storage::maintenance::{CompactConfig, find_blocks};
use crate::storage::tier::testing::Objects;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const CONFIG: CompactConfig = CompactConfig { bytes_max: 1 << 30, inputs_max: 24 };
const NOW: i64 = 2 * DAY + DAY / 2;
const UNSYNCED: [Unsynced; 4] = [Unsynced::Lost, Unsynced::Torn, Unsynced::Garbled, Unsynced::Kept];

mod bucket;

/// What the catalog and the bucket held when the disk had seen so many operations.
struct Mark {
    at: usize,
    image: Arc<Vec<u8>>,
    objects: Arc<Objects>,
}

/// Commits of the catalog and changes of the bucket, as steps among those of the disk.
#[derive(Default)]
struct Steps {
    /// In order; the first one is how all began.
    done: Vec<Mark>,
    commits: usize,
    /// The commit that fails.
    fail: Option<usize>,
}

impl Steps {
    /// Of steps between two operations of the disk each may or may not have happened: the marks that a power loss behind
    /// `count` operations may leave.
    fn possible(&self, count: usize) -> impl Iterator<Item = (usize, &Mark)> {
        let last = self.done.iter().rposition(|mark| mark.at < count).unwrap_or(0);
        self.done.iter().enumerate().filter(move |(n, mark)| *n == last || mark.at == count)
    }

    fn committed(&mut self, at: usize, image: Vec<u8>) {
        let objects = self.done.last().map(|mark| mark.objects.clone()).unwrap_or_default();
        self.done.push(Mark { at, image: Arc::new(image), objects });
    }

    fn bucket_changed(&mut self, at: usize, objects: Arc<Objects>) {
        let image = self.done.last().map(|mark| mark.image.clone()).unwrap_or_default();
        self.done.push(Mark { at, image, objects });
    }
}

struct Run {
    disk: MemoryDisk,
    steps: Arc<Mutex<Steps>>,
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

/// Where a catalog lies: in memory if possible, since its own durability is not what is asked here.
fn home() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn world_on(disk: &MemoryDisk) -> World {
    World { clock: Arc::new(ManualClock::at(NOW)), disk: Arc::new(disk.clone()) }
}

/// A process on `disk`, with a catalog that lies elsewhere.
fn process_on(disk: &MemoryDisk, catalog: Arc<Catalog>) -> Process {
    start_on(world_on(disk), layout(), catalog)
}

/// The catalog as `image` has it.
fn catalog_of(home: &tempfile::TempDir, image: &[u8]) -> Arc<Catalog> {
    std::fs::write(Layout::new(home.path()).catalog(), image).unwrap();
    Arc::new(Catalog::open(&World::real(), &Layout::new(home.path())).unwrap())
}

/// An empty disk, and an empty catalog whose changes become steps.
fn begin(fail: Option<usize>) -> (tempfile::TempDir, MemoryDisk, Arc<Catalog>, Arc<Mutex<Steps>>) {
    let (home, disk) = (home(), MemoryDisk::default());
    disk.create_dir_all(layout().root()).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let catalog = Arc::new(Catalog::open(&World::real(), &Layout::new(home.path())).unwrap());
    let steps = Arc::new(Mutex::new(Steps { fail, ..Steps::default() }));
    steps.lock().committed(0, World::real().disk.read(&Layout::new(home.path()).catalog()).unwrap());
    let (seen, of_disk) = (steps.clone(), disk.clone());
    catalog.watch(Box::new(move |image| {
        let at = of_disk.operations().len();
        let mut steps = seen.lock();
        match image {
            Some(image) => steps.committed(at, image),
            None => {
                steps.commits += 1;
                return steps.fail != Some(steps.commits - 1);
            }
        }
        true
    }));
    (home, disk, catalog, steps)
}

impl Run {
    fn start(fail: Option<usize>, fault: Option<Fault>) -> Run {
        let (home, disk, catalog, steps) = begin(fail);
        let process = process_on(&disk, catalog);
        disk.set_fault(fault);
        Run { disk, steps, process, stored: Vec::new(), taken: Vec::new(), _home: home }
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

    fn delete(&mut self, word: &'static str) {
        let before = self.disk.operations().len();
        let delete = || Delete { selector: word.into(), min_time: 0, max_time: NOW, cancel_within: Duration::ZERO };
        self.step(|store| store.delete(&TenantId::parse("a").unwrap(), delete()).map(|_| ()).map_err(|e| e.to_string()));
        self.taken.push((word, before, self.disk.operations().len()));
    }

    /// These words are all that is older than two days.
    fn expire(&mut self, words: &[&'static str]) {
        let before = self.disk.operations().len();
        self.step(|store| store.expire(Some(Duration::from_secs(86_400 * 2))).map_err(|e| e.to_string()));
        self.taken.extend(words.iter().map(|word| (*word, before, self.disk.operations().len())));
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
        self.delete("gone");
        self.step(|store| store.compact(&CONFIG).map_err(|e| e.to_string()));
        self.expire(&["old-0", "old-1"]);
        for (at, word) in (0..).zip(["new-0", "new-1"]) {
            self.append(2 * DAY + at, word);
        }
        self
    }

    /// What a process finds that starts after a power loss behind `count` operations.
    fn reopen_and_check(&self, count: usize, unsynced: Unsynced, image: &[u8]) {
        let home = home();
        let catalog = catalog_of(&home, image);
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
    let steps = std::mem::take(&mut *run.steps.lock());
    let mut points = 0;
    let operations = run.disk.operations();
    for count in (0..=total).filter(|count| is_worth_it(&operations, *count)) {
        for (_, mark) in steps.possible(count) {
            for unsynced in UNSYNCED {
                run.reopen_and_check(count, unsynced, &mark.image);
                points += 1;
            }
        }
    }
    run.end();
    eprintln!("{total} operations and {} commits, {points} power losses", steps.commits);
    assert!(steps.commits > 6 && points > 400);
}

#[test]
fn a_failure_of_any_step_loses_and_doubles_nothing() {
    let run = Run::start(None, None);
    let first = run.disk.tried();
    let run = run.script();
    let operations = run.disk.operations();
    let commits = run.steps.lock().commits;
    run.end();
    let checked = |run: Run, what: &str| {
        let count = run.disk.operations().len();
        run.check(&run.process, count, what);
        let image = run.steps.lock().done.last().unwrap().image.clone();
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
