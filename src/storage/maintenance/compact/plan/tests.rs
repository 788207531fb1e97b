use super::*;
use crate::model::Signal;
use crate::storage::Delete;
use crate::storage::block::TableMeta;

const POLICY: Policy = Policy { window: HOUR, bytes_max: 1000, inputs_max: 24, force: false };

fn id(number: i64) -> BlockId {
    BlockId::new(number * 1_000_000, 0)
}

/// Made in the given minute of day 0, of the minutes before.
fn block(minute: i64, level: u8, bytes: u64) -> BlockMeta {
    let table = TableMeta { name: "t".into(), rows: 1, bytes, sha256: String::new(), chunks: Vec::new() };
    let max_time = minute * MINUTE - 1;
    BlockMeta {
        level,
        min_time: max_time - 5 * MINUTE,
        max_time,
        tables: vec![table],
        day: max_time.div_euclid(DAY),
        ..BlockMeta::new(id(minute), &TenantId::default_tenant(), Signal::Logs, minute * MINUTE)
    }
}

fn next(blocks: &[BlockMeta], minute: i64, policy: &Policy) -> Option<Job> {
    let none = HashSet::new();
    plan(&State { blocks, held: &[], dirty: &none, still: &none }, minute * MINUTE, policy)
}

fn ids(numbers: &[i64]) -> Vec<BlockId> {
    numbers.iter().map(|n| id(*n)).collect()
}

#[test]
fn a_window_is_merged_when_it_is_over_or_has_many() {
    let blocks: Vec<BlockMeta> = (1..=12).map(|i| block(5 * i, 0, 1)).collect();
    assert_eq!(next(&blocks, 69, &POLICY), None);
    let job = next(&blocks, 70, &POLICY).unwrap();
    assert_eq!((job.inputs.len(), job.level, job.split), (12, 1, false));
    let many: Vec<BlockMeta> = (1..=20).map(|i| block(i, 0, 1)).collect();
    assert_eq!(next(&many, 20, &POLICY).unwrap().inputs.len(), 20);
    assert_eq!(next(&many[..15], 20, &POLICY), None);
}

#[test]
fn a_day_becomes_one_block_when_it_is_over() {
    let blocks: Vec<BlockMeta> = (1..=23).map(|i| block(60 * i, 1, 1)).collect();
    assert_eq!(next(&blocks, 24 * 60 + 59, &POLICY), None);
    let job = next(&blocks, 25 * 60, &POLICY).unwrap();
    assert_eq!((job.inputs.len(), job.level), (23, TOP_LEVEL));
    assert_eq!(next(&blocks, 23 * 60, &Policy { force: true, ..POLICY }).unwrap(), job);
    let few = next(&blocks, 25 * 60, &Policy { inputs_max: 8, ..POLICY }).unwrap();
    assert_eq!((few.inputs, few.level), (ids(&[60, 120, 180, 240, 300, 360, 420, 480]), 1));
    let large = next(&blocks, 25 * 60, &Policy { bytes_max: 3, ..POLICY }).unwrap();
    assert_eq!((large.inputs, large.level), (ids(&[60, 120, 180]), TOP_LEVEL));
}

#[test]
fn latecomers_wait_for_company() {
    let mut blocks = vec![block(1440, 2, 100), block(1000, 0, 1)];
    blocks[1].created_at = 3000 * MINUTE;
    assert_eq!(next(&blocks, 3001, &POLICY), None);
    assert_eq!(next(&blocks, 3000 + 360, &POLICY).unwrap().inputs.len(), 2);
    assert_eq!(next(&blocks[..1], 9000, &POLICY), None, "a day that is one block stays");
    let large = [block(1440, 2, 999), block(1000, 0, 5)];
    assert_eq!(next(&large, 9000, &POLICY).unwrap().inputs, ids(&[1000]), "what does not fit beside it is made whole alone");
}

#[test]
fn what_may_be_taken_back_keeps_earlier_and_later_rows_apart() {
    let blocks = [block(10, 0, 1), block(20, 0, 1), block(30, 0, 1), block(40, 0, 1)];
    let delete = Delete { selector: "x".into(), min_time: 0, max_time: i64::MAX, cancel_within: std::time::Duration::from_secs(9) };
    let tombstone = Tombstone::new(id(25), TenantId::default_tenant(), Signal::Logs, delete, 0);
    let none = HashSet::new();
    let state = State { blocks: &blocks, held: &[Arc::new(tombstone)], dirty: &none, still: &none };
    let job = plan(&state, 25 * HOUR, &POLICY).unwrap();
    assert_eq!(job.inputs, ids(&[10, 20]));
}

#[test]
fn only_neighbours_are_merged_and_mixed_blocks_go_first() {
    let mut blocks = vec![block(10, 0, 1), block(20, 0, 1), block(30, 0, 1), block(40, 0, 1)];
    let (none, sick) = (HashSet::new(), HashSet::from([id(20)]));
    let state = State { blocks: &blocks, held: &[], dirty: &none, still: &sick };
    assert_eq!(plan(&state, 25 * HOUR, &POLICY).unwrap().inputs, ids(&[10]), "level 0 of a day that is over");
    blocks[0].level = 2;
    let state = State { blocks: &blocks, held: &[], dirty: &none, still: &sick };
    assert_eq!(plan(&state, 25 * HOUR, &POLICY).unwrap().inputs, ids(&[30, 40]));
    blocks[2].mixed = true;
    let state = State { blocks: &blocks, held: &[], dirty: &none, still: &sick };
    assert_eq!(plan(&state, 25 * HOUR, &POLICY).unwrap(), Job { inputs: ids(&[30]), level: 0, split: true });
}

#[test]
fn deleted_rows_are_purged_where_nothing_else_is_to_do() {
    let blocks = [block(10, 2, 1)];
    let (dirty, none) = (HashSet::from([id(10)]), HashSet::new());
    let state = State { blocks: &blocks, held: &[], dirty: &dirty, still: &none };
    assert_eq!(plan(&state, 25 * HOUR, &POLICY).unwrap(), Job { inputs: ids(&[10]), level: 2, split: false });
}
