//! Blocks in a bucket: an object store in memory, with faults.

use super::*;
use crate::runtime::Shutdown;
use crate::storage::catalog::RemoteState;
use crate::storage::tier::{Bucket, BucketConfig, Claim, OwnerError, Tier, attach, testing};
use crate::storage::verify;
use crate::telemetry::Telemetry;
use std::time::{Duration, Instant};

struct House {
    dir: tempfile::TempDir,
    faults: Arc<testing::Faulty>,
}

impl House {
    fn new() -> House {
        House { dir: tempfile::tempdir().unwrap(), faults: Arc::default() }
    }

    fn bucket(&self) -> Bucket {
        testing::bucket(&self.faults, &BucketConfig::parse("s3://b/pre/fix").unwrap())
    }

    fn layout(&self, name: &str) -> Layout {
        let layout = Layout::new(self.dir.path().join(name));
        std::fs::create_dir_all(layout.root()).unwrap();
        layout
    }

    /// A process on the data directory `name`, with the bucket, as `serve` starts one.
    fn start(&self, name: &str) -> Result<(Process, Tier, Arc<Catalog>), OwnerError> {
        let (world, layout) = (World::real(), self.layout(name));
        let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
        let claim = attach(&world, &layout, &catalog, &self.bucket(), &Shutdown::default())?;
        let tier = Tier::with_bucket(world, layout, &catalog, self.bucket(), 8 << 20, Telemetry::default().bucket).unwrap();
        let process = open_tiered(tier.clone(), catalog.clone());
        process.store.recover().unwrap();
        tier.set_owned_for_test(claim == Claim::Owned);
        Ok((process, tier, catalog))
    }
}

fn write(process: &Process, words: &[&str]) {
    let lines: Vec<String> = words.iter().enumerate().map(|(at, word)| format!("{at} {word}")).collect();
    process.append("a", &lines.join("\n")).unwrap();
    process.store.cut().unwrap();
}

/// The newest block whose files here may go.
fn newest(process: &Process, tier: &Tier) -> Option<Arc<Block>> {
    process.store.live_blocks().into_iter().rfind(|block| tier.is_evictable(block.meta().id))
}

#[test]
fn blocks_go_up_are_evicted_and_are_read_from_the_bucket() {
    let house = House::new();
    let (process, tier, catalog) = house.start("d").unwrap();
    write(&process, &["one", "two"]);
    assert!(newest(&process, &tier).is_none(), "the bucket has nothing yet");
    process.store.upload_rest(&Shutdown::default()).unwrap();
    let states: Vec<RemoteState> = catalog.remote_blocks(Signal::Logs).unwrap().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [RemoteState::Verified]);

    let block = newest(&process, &tier).unwrap();
    let home = house.layout("d").block(block.meta());
    assert!(home.exists() && tier.evict(block.meta()).unwrap());
    assert!(!home.exists() && !tier.evict(block.meta()).unwrap());
    assert_eq!(words(&process.rows("a").0), ["one", "two"]);
    let reads = house.faults.reads();
    assert!(!reads.is_empty());
    assert_eq!(words(&process.rows("a").0), ["one", "two"]);
    assert_eq!(house.faults.reads(), reads, "the cache has it");
    drop(process);

    let (process, ..) = house.start("d").unwrap();
    assert_eq!(words(&process.rows("a").0), ["one", "two"], "after a restart");
}

#[test]
fn an_empty_directory_gets_everything_back_and_a_used_one_is_refused() {
    let house = House::new();
    let (process, tier, catalog) = house.start("d").unwrap();
    write(&process, &["one", "two"]);
    write(&process, &["three"]);
    let delete = Delete { selector: "two".into(), min_time: 0, max_time: 9, cancel_within: Duration::ZERO };
    process.store.delete(&TenantId::parse("a").unwrap(), delete).unwrap();
    process.store.upload_rest(&Shutdown::default()).unwrap();
    let columns = catalog.columns(Signal::Logs).unwrap();
    tier.release(&catalog).unwrap();

    let used = house.layout("used");
    let other = start(used.root());
    other.append("a", "1 mine").unwrap();
    drop(other);
    assert!(matches!(house.start("used"), Err(OwnerError::Foreign { .. })));

    let (again, _, restored) = house.start("empty").unwrap();
    assert_eq!(words(&again.rows("a").0), ["one", "three"], "and what was deleted is not");
    let view = again.store.view(&TenantId::parse("a").unwrap());
    assert_eq!(view.tombstones().len(), 1, "the delete is there, too");
    assert_eq!(restored.columns(Signal::Logs).unwrap(), columns);
    assert!(restored.floor(Signal::Logs).unwrap() > 1);
    write(&again, &["four"]);
    again.store.upload_rest(&Shutdown::default()).unwrap();
    assert_eq!(restored.remote_blocks(Signal::Logs).unwrap().len(), 3);

    // The first one is still there, and finds that the prefix is not its own any more.
    assert!(matches!(tier.beat_for_test(&catalog), Err(OwnerError::Foreign { .. })));
    assert!(matches!(house.start("d"), Err(OwnerError::Foreign { .. })));
}

#[test]
fn damage_on_the_way_up_or_down_is_noticed() {
    let house = House::new();
    let (process, tier, catalog) = house.start("d").unwrap();
    write(&process, &["one", "two"]);
    house.faults.garble_puts(true);
    let error = process.store.upload_rest(&Shutdown::default()).unwrap_err().to_string();
    assert!(error.contains("other bytes arrived"), "{error}");
    assert_eq!(catalog.remote_blocks(Signal::Logs).unwrap()[0].1, RemoteState::Uploading);
    assert!(newest(&process, &tier).is_none());
    house.faults.garble_puts(false);
    process.store.upload_rest(&Shutdown::default()).unwrap();

    tier.evict(newest(&process, &tier).unwrap().meta()).unwrap();
    house.faults.garble_gets(true);
    let view = process.store.view(&TenantId::parse("a").unwrap());
    let error = view.blocks[0].table("words").map(drop).unwrap_err().to_string();
    assert!(error.contains("checksum"), "{error}");
    house.faults.garble_gets(false);
    assert_eq!(words(&process.rows("a").0), ["one", "two"]);
}

#[test]
fn a_local_file_that_was_changed_never_goes_up() {
    let house = House::new();
    let (process, ..) = house.start("d").unwrap();
    write(&process, &["one"]);
    let block = process.store.view(&TenantId::parse("a").unwrap()).blocks[0].clone();
    let file = house.layout("d").block(block.meta()).join("words.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = process.store.upload_rest(&Shutdown::default()).unwrap_err().to_string();
    assert!(error.contains("is not what it was"), "{error}");
}

#[test]
fn a_bucket_that_is_down_holds_up_neither_ingest_nor_what_is_here() {
    let house = House::new();
    let (process, tier, _) = house.start("d").unwrap();
    write(&process, &["remote"]);
    process.store.upload_rest(&Shutdown::default()).unwrap();
    tier.evict(newest(&process, &tier).unwrap().meta()).unwrap();
    house.faults.down(true);
    write(&process, &["local"]);
    assert!(process.store.upload_rest(&Shutdown::default()).is_err());
    let tenant = TenantId::parse("a").unwrap();
    let view = process.store.view(&tenant);
    assert!(view.blocks[0].table("words").is_err(), "the first to ask finds out");
    let asked = Instant::now();
    let view = process.store.view(&tenant);
    assert_eq!(view.blocks.len(), 1);
    assert!(view.missing.warning().is_none(), "nothing was asked of it yet");
    assert_eq!(view.blocks_in(TimeRange::new(0, 10)).count(), 1);
    assert!(view.missing.warning().is_some_and(|text| text.contains("1 block")));
    assert_eq!(words(&process.rows("a").0), ["local"]);
    assert!(asked.elapsed() < Duration::from_secs(1));
    drop(process);

    // It starts without the bucket, too, and takes what it is sent.
    let (process, tier, catalog) = house.start("d").unwrap();
    write(&process, &["later"]);
    house.faults.down(false);
    tier.beat_for_test(&catalog).unwrap();
    process.store.upload_rest(&Shutdown::default()).unwrap();
    assert_eq!(words(&process.rows("a").0), ["later", "local", "remote"]);
    assert_eq!(catalog.remote_blocks(Signal::Logs).unwrap().len(), 3);

    house.faults.down(true);
    assert!(matches!(house.start("fresh"), Err(OwnerError::Bucket(_))), "what an empty one is to hold, only the bucket knows");
}

#[test]
fn an_interrupted_upload_is_continued_and_a_block_without_meta_is_none() {
    let house = House::new();
    let (process, tier, catalog) = house.start("d").unwrap();
    write(&process, &["one"]);
    house.faults.fail_puts_of("meta.json");
    assert!(process.store.upload_rest(&Shutdown::default()).is_err());
    tier.release(&catalog).unwrap();
    let (other, ..) = house.start("empty").unwrap();
    assert!(other.rows("a").0.is_empty());
    drop((other, process));

    let house = House::new();
    let (process, _, catalog) = house.start("d").unwrap();
    write(&process, &["one"]);
    house.faults.fail_puts_of("meta.json");
    assert!(process.store.upload_rest(&Shutdown::default()).is_err());
    process.kill();
    house.faults.fail_puts_of("-");
    let (process, ..) = house.start("d").unwrap();
    process.store.upload_rest(&Shutdown::default()).unwrap();
    assert_eq!(catalog.remote_blocks(Signal::Logs).unwrap()[0].1, RemoteState::Verified);
}

/// The upload's list of blocks is older than the change of another thread.
#[test]
fn what_was_replaced_before_its_upload_began_never_goes_up() {
    let house = House::new();
    let (process, _, catalog) = house.start("d").unwrap();
    write(&process, &["one"]);
    let meta = process.store.live_blocks()[0].meta().clone();
    process.store.publish(&catalog::CatalogEdit { remove: vec![meta.id], ..Default::default() }, None).unwrap();
    assert!(!catalog.upload_begins(&meta).unwrap());
    assert!(catalog.remote_blocks(Signal::Logs).unwrap().is_empty());
}

/// A rebuild from the bucket tells by parents alone what stands for what.
#[test]
fn no_link_of_a_line_of_merges_is_missing_in_the_bucket() {
    let house = House::new();
    let (process, ..) = house.start("d").unwrap();
    let merge = || process.store.compact(&maintenance::CompactConfig { bytes_max: 1 << 30, inputs_max: 24 }).unwrap();
    let levels = || process.store.block_metas().iter().map(|meta| (meta.level, meta.items)).collect::<Vec<_>>();
    process.append("a", &format!("1 mixed\n{DAY} mixed")).unwrap();
    process.store.cut().unwrap();
    process.store.upload_rest(&Shutdown::default()).unwrap();
    process.append("a", "2 two").unwrap();
    merge();
    let waiting = levels();
    assert_eq!(waiting.len(), 3, "split, and no further before both parts are there: {waiting:?}");
    write(&process, &["three"]);
    write(&process, &["four"]);
    merge();
    assert!(levels().len() < 5, "what was never there is merged all the same");
    process.store.upload_rest(&Shutdown::default()).unwrap();
    merge();
    assert_eq!(levels().len(), 2);
    assert_eq!(process.rows("a").0.len(), 5);
}

#[test]
fn what_the_bucket_has_is_read_and_compared() {
    let house = House::new();
    let (process, _, catalog) = house.start("d").unwrap();
    write(&process, &["one", "two"]);
    process.store.upload_rest(&Shutdown::default()).unwrap();
    let check = || {
        let mut report = verify::Report::default();
        verify::verify_bucket(&catalog, &house.bucket(), &mut report, |_, _| {}).map(|()| report)
    };
    let report = check().unwrap();
    assert!(report.errors.is_empty() && report.remote_read == 1 && report.bytes > 0, "{:?}", report.errors);

    house.faults.garble_gets(true);
    let report = check().unwrap();
    assert!(
        !report.errors.is_empty() && report.errors.iter().all(|line| line.ends_with("SHA-256 is wrong, first in MiB 0")),
        "{:?}",
        report.errors
    );
    house.faults.garble_gets(false);

    house.faults.down(true);
    assert!(check().is_err(), "nothing is known of a bucket that does not answer");
    house.faults.down(false);

    let meta = process.store.live_blocks()[0].meta().clone();
    house.bucket().delete(&[Layout::remote_table(&meta, &meta.tables[0].name)]).unwrap();
    let errors = check().unwrap().errors;
    assert!(errors.len() == 1 && errors[0].ends_with("it is not there"), "{errors:?}");
}
