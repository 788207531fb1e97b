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

mod appends;
mod bucket;
mod compaction;
mod deletes;
mod faults;
mod files;
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
        // What cannot be read may hold anything.
        try_scan(block, &Scan::default()).map_or(true, |rows| rows.iter().any(|row| selects(tombstone, row)))
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
        // A word that begins so makes one block of all days.
        let mixed = rows.iter().any(|r| r.word.starts_with("mixed"));
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

    fn queue(&self, tenant: &str, body: &str) -> Result<Ticket, AppendError> {
        self.queue_body(tenant, body, body)
    }

    /// A request whose frame says something else than its rows.
    fn queue_body(&self, tenant: &str, rows: &str, body: &str) -> Result<Ticket, AppendError> {
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
