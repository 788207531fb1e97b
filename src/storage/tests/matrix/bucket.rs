//! The same with a bucket: each of its requests is once the last before a power loss, once lost and once done without an
//! answer, among the operations of the disk and the commits of the catalog around uploads, evictions, merges of what only the
//! bucket has, and removals. Besides, at each step the bucket alone must give back what was in it.

use super::*;
use crate::runtime::Shutdown;
use crate::storage::maintenance::{Holder, OnDisk};
use crate::storage::tier::testing::{Faulty, Strike};
use crate::storage::tier::{Bucket, BucketConfig, attach, testing};
use std::collections::BTreeSet;

/// A table of the run takes a few of them.
const PART_BYTES: usize = 1 << 10;

/// A process that was lost has said nothing for long.
const LATER: i64 = NOW + DAY / 24;

struct Remote {
    faults: Arc<Faulty>,
    catalog: Arc<Catalog>,
    /// What the bucket has for good, and from which step on.
    uploaded: Vec<(String, usize)>,
    /// Whose delete the bucket knows, and from which step on.
    erased: Vec<(&'static str, usize)>,
}

fn bucket_of(faults: &Arc<Faulty>) -> Bucket {
    testing::bucket(faults, &BucketConfig::parse("s3://b/p").unwrap()).in_parts_of(PART_BYTES)
}

/// As `serve` starts one.
fn start_with_bucket(world: World, catalog: &Arc<Catalog>, faults: &Arc<Faulty>) -> Result<Process, String> {
    attach(&world, &layout(), catalog, &bucket_of(faults), &Shutdown::default()).map_err(|e| e.to_string())?;
    let metrics = Telemetry::default().bucket;
    let tier = Tier::with_bucket(world, layout(), catalog, bucket_of(faults), 8 << 20, metrics).map_err(|e| e.to_string())?;
    tier.set_owned_for_test(true);
    let process = open_tiered(tier, catalog.clone());
    process.store.recover().map_err(|e| e.to_string())?;
    Ok(process)
}

/// The keys below `blocks/` of a bucket.
fn blocks_in(faults: &Faulty) -> BTreeSet<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let keys = runtime.block_on(faults.keys());
    keys.iter().filter_map(|key| key.strip_prefix("p/")).filter(|key| key.starts_with("blocks/")).map(str::to_owned).collect()
}

/// Those that a bucket has which holds these blocks and nothing else.
fn keys_of(process: &Process) -> BTreeSet<String> {
    let metas = process.store.block_metas();
    let files = |meta: &block::BlockMeta| {
        let tables = meta.tables.iter().map(|table| Layout::remote_table(meta, &table.name)).collect::<Vec<_>>();
        tables.into_iter().chain([Layout::remote_meta(meta)])
    };
    metas.iter().flat_map(files).collect()
}

impl Run {
    fn start_remote(fail: Option<usize>, strike: Option<(usize, Strike)>) -> (Run, Remote) {
        let (home, disk, catalog, steps) = begin(fail);
        let faults = Arc::new(Faulty::holding(&Objects::default()));
        let (seen, of_disk) = (steps.clone(), disk.clone());
        faults.watch(Box::new(move |objects| seen.lock().bucket_changed(of_disk.operations().len(), objects)));
        faults.strike(strike);
        let world = world_on(&disk);
        // A start that fails is tried again, by whoever watches the process.
        let process = start_with_bucket(world.clone(), &catalog, &faults).or_else(|_| start_with_bucket(world, &catalog, &faults)).unwrap();
        let run = Run { disk, steps, process, stored: Vec::new(), taken: Vec::new(), _home: home };
        (run, Remote { faults, catalog, uploaded: Vec::new(), erased: Vec::new() })
    }

    /// Tells queries and compaction that the bucket answers again, as the owner's beat does.
    fn beat(&self, remote: &Remote) {
        let tier = self.process.store.tier();
        tier.beat_for_test(&remote.catalog).or_else(|_| tier.beat_for_test(&remote.catalog)).unwrap();
    }

    fn last_step(&self) -> usize {
        self.steps.lock().done.len() - 1
    }

    fn upload(&self, remote: &mut Remote) {
        self.step(|store| store.upload_turn_for_test().map_err(|e| e.to_string()));
        let known: BTreeSet<&String> = remote.uploaded.iter().map(|(word, _)| word).collect();
        let new: Vec<String> = self.stored.iter().map(|(word, ..)| word).filter(|word| !known.contains(word)).cloned().collect();
        remote.uploaded.extend(new.into_iter().map(|word| (word, self.last_step())));
    }

    /// As the disk budget does: what the bucket has goes from here.
    fn evict(&self) {
        let holder = OnDisk { store: self.process.store.clone(), retention: None };
        self.step(|store| {
            let ids: Vec<_> = store.block_metas().iter().map(|meta| meta.id).filter(|id| store.tier().is_evictable(*id)).collect();
            holder.let_go(&ids).map_err(|e| e.to_string())
        });
    }

    /// What cannot be read of the bucket fails at most once.
    fn compact(&self, remote: &Remote) {
        let compact = || self.process.store.compact(&CONFIG);
        if compact().is_err() {
            self.beat(remote);
            compact().unwrap();
        }
        self.beat(remote);
    }

    fn erase(&mut self, remote: &mut Remote, word: &'static str) {
        self.delete(word);
        self.beat(remote);
        self.step(|store| store.tier().sync_tombstones(&remote.catalog).map_err(|e| e.to_string()));
        remote.erased.push((word, self.last_step()));
    }

    fn remote_script(mut self, mut remote: Remote) -> (Run, Remote) {
        let second = 1_000_000_000;
        self.beat(&remote);
        for (at, word) in (1..).zip(["old-0", "old-1"]) {
            self.append(at * second, word);
        }
        self.step(|store| store.cut().map_err(|e| e.to_string()));
        self.upload(&mut remote);
        self.evict();
        // Of two days, which a merge splits.
        self.append(DAY + second, "mixed-0");
        self.append(DAY * 2 + second, "mixed-1");
        self.step(|store| store.cut().map_err(|e| e.to_string()));
        self.upload(&mut remote);
        self.append(DAY + 2 * second, "one-0");
        self.append(DAY + 3 * second, "gone");
        self.erase(&mut remote, "gone");
        self.append(DAY + 4 * second, "one-1");
        self.compact(&remote);
        self.upload(&mut remote);
        self.evict();
        // Its rows are only in the bucket.
        self.erase(&mut remote, "mixed-1");
        self.compact(&remote);
        self.append(2 * DAY + 5 * second, "new-0");
        self.step(|store| store.cut().map_err(|e| e.to_string()));
        self.upload(&mut remote);
        self.expire(&["old-0", "old-1"]);
        self.upload(&mut remote);
        self.append(2 * DAY + 6 * second, "new-1");
        (self, remote)
    }

    /// What a process finds that starts after a power loss behind `count` operations of the disk, when catalog and bucket were
    /// as in `mark`; and that it goes on from there until here and in the bucket is what the catalog lists, and nothing else.
    fn reopen_remote(&self, count: usize, unsynced: Unsynced, mark: &Mark, what: &str) {
        let home = home();
        let catalog = catalog_of(&home, &mark.image);
        let faults = Arc::new(Faulty::holding(&mark.objects));
        let disk = self.disk.lose_power(count, unsynced);
        let process = start_with_bucket(world_on(&disk), &catalog, &faults).unwrap_or_else(|e| panic!("{e} {what}"));
        self.check(&process, count, what);
        self.check_files(&process, &disk, what);
        process.store.compact(&CONFIG).unwrap_or_else(|e| panic!("{e} {what}"));
        process.store.upload_turn_for_test().unwrap_or_else(|e| panic!("{e} {what}"));
        self.check(&process, count, what);
        self.check_files(&process, &disk, what);
        assert_eq!(blocks_in(&faults), keys_of(&process), "{what}");
        process.store.close().unwrap();
    }

    /// Here is what the catalog lists, apart from what only the bucket has.
    fn check_files(&self, process: &Process, disk: &MemoryDisk, what: &str) {
        let metas = process.store.block_metas();
        let here: BTreeSet<_> = metas.iter().map(|meta| meta.id).filter(|id| process.store.tier().is_local(*id)).collect();
        let found: BTreeSet<_> = find_blocks(&world_on(disk), &layout()).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(found, here, "{what}");
        assert!(disk.list(&layout().temporary_root()).unwrap().is_empty(), "{what}");
    }

    /// What an empty directory gets back when the bucket was as in step `number`.
    fn restore(&self, remote: &Remote, number: usize, mark: &Mark) {
        let home = home();
        let catalog = Arc::new(Catalog::open(&World::real(), &Layout::new(home.path())).unwrap());
        let (faults, disk) = (Arc::new(Faulty::holding(&mark.objects)), MemoryDisk::default());
        disk.create_dir_all(layout().root()).unwrap();
        let world = World { clock: Arc::new(ManualClock::at(LATER)), disk: Arc::new(disk) };
        let process = match start_with_bucket(world, &catalog, &faults) {
            Ok(process) => process,
            Err(error) => panic!("{error}, from the bucket alone, step {number}"),
        };
        for round in ["found", "merged"] {
            let found = process.rows("a").0;
            for (word, _, sent) in &self.stored {
                let copies = found.iter().filter(|row| row.word == *word).count();
                let what = format!("{copies} of {word} {round} in the bucket alone, step {number}");
                assert!(copies <= *sent, "{what}");
                let is_there = remote.uploaded.iter().any(|(uploaded, from)| uploaded == word && *from <= number);
                if remote.erased.iter().any(|(erased, from)| erased == word && *from <= number) {
                    assert_eq!(copies, 0, "{what}");
                } else if is_there && !self.taken.iter().any(|(taken, ..)| taken == word) {
                    assert!(copies >= 1, "{what}");
                }
            }
            process.store.compact(&CONFIG).unwrap();
            process.store.upload_turn_for_test().unwrap();
        }
        // Files of an upload that never ended stay for a day.
        let (there, listed) = (blocks_in(&faults), keys_of(&process));
        let stray = |key: &String| !there.contains(&format!("{}/{}", key.rsplit_once('/').unwrap().0, Layout::META));
        assert!(there.is_superset(&listed) && there.difference(&listed).all(stray), "{there:?} of {listed:?}, step {number}");
        process.store.close().unwrap();
    }

    /// After a run in which something failed once.
    fn check_remote(self, remote: Remote, what: &str) {
        let count = self.disk.operations().len();
        self.beat(&remote);
        self.check(&self.process, count, what);
        let steps = std::mem::take(&mut *self.steps.lock());
        let last = steps.done.last().unwrap();
        self.reopen_remote(count, Unsynced::Lost, last, what);
        self.restore(&remote, steps.done.len() - 1, last);
        self.end();
    }
}

#[test]
fn a_power_loss_around_any_request_to_a_bucket_loses_and_doubles_nothing() {
    let (run, remote) = Run::start_remote(None, None);
    let (run, remote) = run.remote_script(remote);
    let steps = std::mem::take(&mut *run.steps.lock());
    let operations = run.disk.operations();
    // The log alone is the subject above.
    let is_of_log = |number: usize| operations.get(number).is_some_and(|o| o.path().starts_with(layout().wal(Signal::Logs)));
    let mut points = 0;
    for count in 0..=operations.len() {
        let has_mark = steps.done.iter().any(|mark| mark.at == count);
        if !has_mark && (is_of_log(count) || !is_worth_it(&operations, count)) {
            continue;
        }
        for (number, mark) in steps.possible(count) {
            let unsynced = UNSYNCED[points % UNSYNCED.len()];
            let what = format!("after {count} operations and {number} steps, {unsynced:?}");
            run.reopen_remote(count, unsynced, mark, &what);
            points += 1;
        }
    }
    for (number, mark) in steps.done.iter().enumerate().skip(1) {
        run.restore(&remote, number, mark);
    }
    let requests = remote.faults.requests();
    eprintln!(
        "{} operations, {} commits and {requests} requests, {points} power losses, {} losses of the directory",
        operations.len(),
        steps.commits,
        steps.done.len() - 1
    );
    run.end();
    assert!(requests > 60 && points > 100);
}

#[test]
fn a_failure_of_any_request_to_a_bucket_loses_and_doubles_nothing() {
    let (run, remote) = Run::start_remote(None, None);
    let (run, remote) = run.remote_script(remote);
    let (requests, reads, commits) = (remote.faults.requests(), remote.faults.reads(), run.steps.lock().commits);
    run.end();
    let mut points = 0;
    for number in 0..requests {
        let strikes = if reads.contains(&number) { [Strike::Lost, Strike::Short] } else { [Strike::Lost, Strike::AnswerLost] };
        for strike in strikes {
            let (run, remote) = Run::start_remote(None, Some((number, strike)));
            let (run, remote) = run.remote_script(remote);
            run.check_remote(remote, &format!("request {number}: {strike:?}"));
            points += 1;
        }
    }
    for commit in 0..commits {
        let (run, remote) = Run::start_remote(Some(commit), None);
        let (run, remote) = run.remote_script(remote);
        run.check_remote(remote, &format!("commit {commit} failed"));
    }
    eprintln!("{requests} requests failed in {points} ways, and {commits} commits");
    assert!(requests > 60 && commits > 10);
}

#[test]
fn a_failure_of_the_disk_around_a_bucket_loses_and_doubles_nothing() {
    let (run, remote) = Run::start_remote(None, None);
    let first = run.disk.tried();
    let (run, _) = run.remote_script(remote);
    let operations = run.disk.operations();
    run.end();
    let spared = layout().wal(Signal::Logs);
    let is_worth_it = |number: &usize| !operations[*number].path().starts_with(&spared) && is_worth_it(&operations, *number);
    let mut points = 0;
    for number in (first..operations.len()).filter(is_worth_it) {
        let (run, remote) = Run::start_remote(None, None);
        let fault =
            Fault { operations: number..number + 1, kind: io::ErrorKind::Other, torn: number % 2 == 0, except: Some(spared.clone()) };
        run.disk.set_fault(Some(fault));
        let (run, remote) = run.remote_script(remote);
        run.check_remote(remote, &format!("{:?} failed", operations[number]));
        points += 1;
    }
    eprintln!("{points} operations of the disk failed");
    assert!(points > 40);
}
