//! The engine with a signal made for tests: a row is a time and a word, a request is lines of `time word`.

use super::block::Block;
use super::catalog::Catalog;
use super::layout::Layout;
use super::maintenance::collect_orphans;
use super::tier::Tier;
use super::wal::{Frame, LaneConfig, SyncMode};
use super::*;
use crate::model::time::{DAY, day_of};
use crate::model::{Reason, Signal, TenantId, TimeRange};
use crate::runtime::memory_disk::{MemoryDisk, Operation, Unsynced};
use crate::runtime::{Disk, World};
use crate::telemetry::Telemetry;
use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use arrow_array::{FixedSizeBinaryArray, Int64Array, MapArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

mod bucket;
mod compaction;
mod deletes;
mod faults;
mod full;
mod matrix;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    time: i64,
    word: String,
}

pub(crate) struct WordRows(Vec<Row>);

impl Rows for WordRows {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn bytes(&self) -> usize {
        self.0.len() * 64
    }
}

fn parse(body: &[u8], refused: &[u32]) -> Vec<Row> {
    let text = String::from_utf8_lossy(body);
    let rows = text.lines().enumerate().filter(|(i, _)| !refused.contains(&(*i as u32)));
    rows.map(|(_, line)| {
        let (time, word) = line.split_once(' ').unwrap();
        Row { time: time.parse().unwrap(), word: word.to_owned() }
    })
    .collect()
}

pub(crate) struct WordSpec;

impl Spec for WordSpec {
    type Rows = WordRows;
    type Head = WordHead;

    fn signal(&self) -> Signal {
        Signal::Logs
    }

    fn new_head(&self, _: &TenantId) -> WordHead {
        WordHead::default()
    }

    /// The body `unreadable` is.
    fn replay(&self, frame: &Frame) -> Result<WordRows, ReplayError> {
        if &frame.body[..] == b"unreadable" {
            return Err(ReplayError("it says so".into()));
        }
        let rows = WordRows(parse(&frame.body, &frame.refused));
        rows.take_time();
        Ok(rows)
    }

    fn time_columns(&self) -> &'static [(&'static str, &'static str)] {
        &[("words", "ts")]
    }

    /// Rows with equal time and word are the same; the number tells which was kept.
    fn merge(&self, merge: Merge<'_>, out: &mut block::BlockWriter<'_>) -> Result<Option<Merged>, MergeError> {
        let mut rows: Vec<Row> = Vec::new();
        for input in &merge.inputs {
            merge.pace.step()?;
            let found = try_scan(&input.block, &Scan::default())?.into_iter();
            let wanted = found.filter(|r| merge.times.contains(&r.time) && !input.tombstones.iter().any(|t| selects(t, r)));
            rows.extend(wanted);
        }
        rows.sort();
        rows.dedup();
        if rows.is_empty() {
            return Ok(None);
        }
        let draft = draft(day_of(rows[0].time), &rows)?;
        for table in draft.tables {
            out.open(table.name, &table.schema, &table.options)?;
            out.write(table.name, &table.batches[0])?;
        }
        Ok(Some(Merged { min_time: draft.min_time, max_time: draft.max_time, items: draft.items }))
    }

    fn may_erase(&self, tombstone: &Tombstone, block: &Arc<Block>) -> bool {
        scan(block, &Scan::default()).iter().any(|row| selects(tombstone, row))
    }
}

impl WordRows {
    /// The word `slow` takes a second to prepare and to replay.
    fn take_time(&self) {
        if self.0.iter().any(|row| row.word == "slow") {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }
}

#[derive(Default)]
pub(crate) struct WordHead(Mutex<Vec<Row>>);

impl Head for WordHead {
    type Rows = WordRows;
    type Snapshot = Vec<Row>;

    fn prepare(&self, rows: &WordRows, _: &[Arc<Block>]) {
        rows.take_time();
    }

    /// The word `bad` is refused, and the word `again` counts as there already.
    fn admit(&self, rows: &mut WordRows, refusals: &mut Refusals) {
        for (i, row) in rows.0.iter().enumerate() {
            if row.word == "bad" {
                refusals.refuse(i as u32, Reason::InvalidName, || "bad word".into());
            }
        }
        rows.0.retain(|row| row.word != "bad" && row.word != "again");
    }

    fn apply(&self, rows: WordRows) {
        if rows.0.iter().any(|row| row.word == "slow") {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        self.0.lock().extend(rows.0);
    }

    fn snapshot(&self) -> Vec<Row> {
        self.0.lock().clone()
    }

    fn stats(&self) -> HeadStats {
        let rows = self.0.lock().len() as u64;
        HeadStats { rows, bytes: rows * 64 }
    }

    fn cut(&self) -> Box<dyn Iterator<Item = Result<BlockDraft, arrow_schema::ArrowError>> + '_> {
        let mut days: BTreeMap<i64, Vec<Row>> = BTreeMap::new();
        let rows = self.0.lock().clone();
        // The word `old` makes one block of all days.
        let mixed = rows.iter().any(|r| r.word == "old");
        let newest = rows.iter().map(|r| day_of(r.time)).max();
        for row in rows {
            let day = newest.filter(|_| mixed).unwrap_or(day_of(row.time));
            days.entry(day).or_default().push(row);
        }
        Box::new(days.into_iter().map(move |(day, mut rows)| {
            rows.sort();
            Ok(BlockDraft { mixed, ..draft(day, &rows)? })
        }))
    }
}

/// The word `unwritable` fails.
fn draft(day: i64, rows: &[Row]) -> Result<BlockDraft, arrow_schema::ArrowError> {
    if rows.iter().any(|r| r.word == "unwritable") {
        return Err(arrow_schema::ArrowError::ComputeError("unwritable".into()));
    }
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), false),
        Field::new("span.a/b", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
        Field::new("id", DataType::FixedSizeBinary(2), false),
    ]));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(rows.iter().map(|r| Some(r.time)).collect::<TimestampNanosecondArray>().with_timezone("UTC")),
            Arc::new(rows.iter().map(|r| Some(r.word.as_str())).collect::<StringArray>()),
            Arc::new((0..rows.len() as i64).map(|i| (i % 3 != 0).then_some(i)).collect::<Int64Array>()),
            Arc::new(FixedSizeBinaryArray::try_from_iter((0..rows.len()).map(|i| (i as u16).to_be_bytes()))?),
        ],
    )?;
    let options = TableOptions {
        sorted_by: vec!["ts"],
        delta: vec!["ts".into()],
        bloom: vec!["id".into()],
        row_group_rows: 100,
        page_rows: 10,
        ..TableOptions::default()
    };
    let (min_time, max_time) = (rows[0].time, rows[rows.len() - 1].time);
    let tables = vec![TableDraft { name: "words", schema, batches: vec![batch], options }];
    Ok(BlockDraft { day, mixed: false, min_time, max_time, items: rows.len() as u64, tables, more: None })
}

/// The facts of a block without tables, made at millisecond `n`, and of those made at `parents`.
pub(crate) fn facts(n: u64, parents: &[u64]) -> block::BlockMeta {
    let id = |n: u64| block::BlockId::new(n as i64 * 1_000_000, 0);
    let text = serde_json::json!({
        "format": 1, "id": id(n), "tenant": "a", "signal": "logs", "level": 0, "day": 0,
        "min_time": 0, "max_time": 0, "items": 1, "created_at": 0,
    });
    block::BlockMeta { parents: parents.iter().map(|n| id(*n)).collect(), ..serde_json::from_value(text).unwrap() }
}

struct Process {
    store: Arc<Store<WordSpec>>,
}

fn start(root: &std::path::Path) -> Process {
    let (world, layout) = (World::real(), Layout::new(root));
    let catalog = Arc::new(Catalog::open(&world, &layout).unwrap());
    start_on(world, layout, catalog)
}

/// For tests of rooms above that need any store.
pub(crate) fn word_store(root: &std::path::Path) -> Arc<Store<WordSpec>> {
    start(root).store
}

/// The rows of a request's body.
pub(crate) fn words_of(body: &[u8]) -> WordRows {
    WordRows(parse(body, &[]))
}

fn start_on(world: World, layout: Layout, catalog: Arc<Catalog>) -> Process {
    let process = open_on(world, layout, catalog);
    process.store.recover().unwrap();
    process
}

fn open_on(world: World, layout: Layout, catalog: Arc<Catalog>) -> Process {
    open_tiered(Tier::new(world, layout), catalog)
}

fn open_tiered(tier: Tier, catalog: Arc<Catalog>) -> Process {
    collect_orphans(tier.world(), tier.layout(), &catalog).unwrap();
    let config = StoreConfig { lane: LaneConfig { sync: SyncMode::Group, size_max_bytes: 64 << 10 }, head_max_bytes: 1 << 20 };
    let store = Store::open(WordSpec, tier, catalog, config, Telemetry::default().store).unwrap();
    Process { store: Arc::new(store) }
}

impl Process {
    /// Leaves everything as a killed process does: nothing is flushed, only the thread ends.
    fn kill(self) {
        std::mem::forget(self.store);
    }

    fn append(&self, tenant: &str, body: &str) -> Result<Appended, AppendError> {
        let ticket = self.queue(tenant, body)?;
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ticket.durable())
    }

    fn queue(&self, tenant: &str, body: &str) -> Result<store::Ticket, AppendError> {
        self.queue_body(tenant, body, body)
    }

    /// A request whose frame says something else than its rows.
    fn queue_body(&self, tenant: &str, rows: &str, body: &str) -> Result<store::Ticket, AppendError> {
        let payload = Payload { kind: 1, encoding: 0, received_at: 7, body: body.to_owned().into() };
        let rows = WordRows(parse(rows.as_bytes(), &[]));
        let batch = Batch { tenant: TenantId::parse(tenant).unwrap(), payload, rows, refusals: Refusals::default() };
        self.store.append(Admitted::new(batch))
    }

    /// All rows of a tenant, sorted, and how many of them are in blocks.
    fn rows(&self, tenant: &str) -> (Vec<Row>, usize) {
        let view = self.store.view(&TenantId::parse(tenant).unwrap());
        let mut rows: Vec<Row> = view.heads.iter().flatten().cloned().collect();
        let in_head = rows.len();
        for block in &view.blocks {
            let hidden = view.tombstones_of(block);
            rows.extend(scan(block, &Scan::default()).into_iter().filter(|row| !hidden.iter().any(|t| selects(t, row))));
        }
        let in_blocks = rows.len() - in_head;
        rows.sort();
        (rows, in_blocks)
    }
}

fn scan(block: &Arc<Block>, scan: &Scan) -> Vec<Row> {
    try_scan(block, scan).unwrap()
}

fn try_scan(block: &Arc<Block>, scan: &Scan) -> Result<Vec<Row>, block::ReadError> {
    let mut rows = Vec::new();
    for batch in block.table("words")?.unwrap().scan(scan)? {
        let batch = batch?;
        let times = batch.column_by_name("ts").unwrap().as_primitive::<TimestampNanosecondType>();
        let words = batch.column_by_name("span.a/b").unwrap().as_string::<i32>();
        rows.extend((0..batch.num_rows()).map(|i| Row { time: times.value(i), word: words.value(i).to_owned() }));
    }
    Ok(rows)
}

/// A selector is a word.
fn selects(tombstone: &Tombstone, row: &Row) -> bool {
    tombstone.covers(row.time) && tombstone.selector == row.word
}

fn words(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|r| r.word.as_str()).collect()
}

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

#[test]
fn a_view_keeps_the_files_of_blocks_that_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.append("a", "1 one").unwrap();
    process.store.cut().unwrap();
    let view = process.store.view(&TenantId::parse("a").unwrap());
    let home = Layout::new(dir.path()).block(view.blocks[0].meta());
    let remove = vec![view.blocks[0].meta().id];
    process.store.publish(&catalog::CatalogEdit { remove, ..Default::default() }, None).unwrap();
    assert!(process.rows("a").0.is_empty());
    assert_eq!(scan(&view.blocks[0], &Scan::default()).len(), 1);
    drop(view);
    assert!(!home.exists());
}

#[test]
fn a_scan_returns_exactly_the_rows_that_satisfy_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let body: Vec<String> = (0..350).map(|i| format!("{i} w{}", i % 7)).collect();
    process.append("a", &body.join("\n")).unwrap();
    process.store.cut().unwrap();
    let view = process.store.view(&TenantId::parse("a").unwrap());
    assert_eq!(view.blocks_in(TimeRange::new(349, 350)).count(), 1);
    assert_eq!(view.blocks_in(TimeRange::new(350, 360)).count(), 0);
    let block = &view.blocks[0];
    let times = |s: &Scan| scan(block, s).iter().map(|r| r.time).collect::<Vec<_>>();
    let between = Predicate::Between { column: "ts".into(), min: 95, max: 104 };
    assert_eq!(times(&Scan::default().with(between.clone())), (95..=104).collect::<Vec<_>>());
    assert_eq!(times(&Scan::default().rows(vec![0..2, 98..103, 340..400]).with(between)), (98..=102).collect::<Vec<_>>());
    assert_eq!(times(&Scan::default().rows(vec![0..2, 99..101, 349..350])), [0, 1, 99, 100, 349]);
    let word = Predicate::OneOf { column: "span.a/b".into(), values: vec![Value::Text("w6".into())] };
    assert_eq!(times(&Scan::default().with(word.clone())).len(), 50);
    let id = Predicate::OneOf { column: "id".into(), values: vec![Value::Bytes(vec![0, 200])] };
    assert_eq!(times(&Scan::default().with(id)), [200]);
    let number = Predicate::OneOf { column: "number".into(), values: vec![Value::Int(3), Value::Int(4)] };
    assert_eq!(times(&Scan::default().with(number)), [4], "row 3 is null");
    let elsewhere = Predicate::OneOf { column: "absent".into(), values: vec![Value::Int(1)] };
    assert_eq!(times(&Scan::default().with(elsewhere)).len(), 350);
}

#[test]
fn every_column_has_a_number_that_stays_and_the_footer_has_the_facts() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let mut seen = Vec::new();
    for i in 0..2 {
        process.append("a", &format!("{i} x")).unwrap();
        process.store.cut().unwrap();
        let view = process.store.view(&TenantId::parse("a").unwrap());
        let table = view.blocks[i].table("words").unwrap().unwrap();
        let ids: Vec<String> = table.schema().fields().iter().map(|f| f.metadata()["PARQUET:field_id"].clone()).collect();
        let facts: serde_json::Value = serde_json::from_str(&table.schema().metadata()[super::block::FOOTER_KEY]).unwrap();
        assert_eq!(facts["id"], view.blocks[i].meta().id.to_string());
        assert_eq!((facts["tenant"].as_str(), facts["wal"]["from"].as_u64()), (Some("a"), Some(i as u64 + 1)));
        seen.push(ids);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
}

#[test]
fn nested_columns_are_numbered_too_and_come_back() {
    let keys = arrow_array::builder::StringBuilder::new();
    let mut builder = arrow_array::builder::MapBuilder::new(None, keys, arrow_array::builder::StringBuilder::new());
    builder.keys().append_value("k");
    builder.values().append_value("v");
    builder.append(true).unwrap();
    let map: MapArray = builder.finish();
    let schema = Arc::new(Schema::new(vec![Field::new("rest", map.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![Arc::new(map.clone())]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (world, layout) = (World::real(), Layout::new(dir.path()));
    world.disk.create_dir_all(layout.root()).unwrap();
    let catalog = Catalog::open(&world, &layout).unwrap();
    let fields = catalog::SignalFields { catalog: &catalog, signal: Signal::Logs };
    let tables = vec![TableDraft {
        name: "t",
        schema,
        batches: vec![batch],
        options: TableOptions { plain: vec!["rest/entries/keys".into()], ..Default::default() },
    }];
    let draft = BlockDraft { day: 0, mixed: false, min_time: 0, max_time: 0, items: 1, tables, more: None };
    let wal = block::WalRange { from: 1, to: 2 };
    let meta =
        block::write_block(&world, &layout, &fields, (block::BlockId::new(0, 1), &TenantId::default_tenant(), Signal::Logs, wal), draft)
            .unwrap();
    let block = Arc::new(Block::new(meta, tier::Tier::new(world, layout)));
    let table = block.table("t").unwrap().unwrap();
    let back = table.scan(&Scan::default()).unwrap().next().unwrap().unwrap();
    let entries = back.column(0).as_map().value(0);
    assert_eq!(entries.column(0).as_string::<i32>().value(0), "k");
    assert_eq!(entries.column(1).as_string::<i32>().value(0), "v");
}
