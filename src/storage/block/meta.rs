use crate::model::{Signal, TenantId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A ULID: unique without coordination, and ordered by the time at which the block was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub ulid::Ulid);

impl BlockId {
    pub fn new(now_nanos: i64, random: u128) -> BlockId {
        BlockId(ulid::Ulid::from_parts(u64::try_from(now_nanos / crate::model::time::MILLI).unwrap_or(0), random))
    }

    /// As [`BlockId::new`], but later than `newest`.
    pub fn after(newest: Option<BlockId>, now_nanos: i64, random: u128) -> BlockId {
        let id = BlockId::new(now_nanos, random);
        match newest.map(|n| n.0.timestamp_ms()) {
            Some(newest) if newest >= id.0.timestamp_ms() => BlockId(ulid::Ulid::from_parts(newest + 1, random)),
            _ => id,
        }
    }

    pub fn parse(text: &str) -> Option<BlockId> {
        ulid::Ulid::from_string(text).ok().map(BlockId)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for BlockId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<BlockId, D::Error> {
        let text = String::deserialize(d)?;
        BlockId::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("not a block id: {text}")))
    }
}

/// The facts of a block: `meta.json` beside its files, the footers of the files, and the catalog all hold them.
/// Fields are only ever added, and a reader ignores those it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMeta {
    /// Version of the layout of the block.
    pub format: u32,
    pub id: BlockId,
    #[serde(with = "tenant_text")]
    pub tenant: TenantId,
    #[serde(with = "signal_text")]
    pub signal: Signal,
    /// Compaction depth; 0 is as cut from a head.
    pub level: u8,
    /// The UTC day the block is filed under, counted from the epoch.
    pub day: i64,
    /// Whether rows of older days are in it, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mixed: bool,
    /// Times of the oldest and newest row, nanoseconds since the epoch, both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    /// Samples, lines or spans.
    pub items: u64,
    /// Blocks that this one replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<BlockId>,
    /// The newest level-0 block whose rows are in it, for a block that compaction made: blocks are in the order in which
    /// their rows were accepted by this, not by their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<BlockId>,
    /// The newest tombstone that compaction knew of: it and all earlier ones have no rows here any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<BlockId>,
    /// Its rows came in frames from the first of these to before the second. Of a block that compaction made, not all rows
    /// of these frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<WalRange>,
    pub created_at: i64,
    /// Known once the files are written, so empty in footers.
    #[serde(default)]
    pub tables: Vec<TableMeta>,
}

/// Frames `[from, to)` of the signal's lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalRange {
    pub from: u64,
    pub to: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMeta {
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    /// Lower-case hex of the whole file.
    pub sha256: String,
    /// CRC32C of each MiB of the file; none for files of before there were any.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "super::checksum::hex")]
    pub chunks: Vec<u32>,
}

impl BlockMeta {
    pub const FORMAT: u32 = 1;

    /// Of a level-0 block without rows.
    pub fn new(id: BlockId, tenant: &TenantId, signal: Signal, now: i64) -> BlockMeta {
        BlockMeta {
            format: BlockMeta::FORMAT,
            id,
            tenant: tenant.clone(),
            signal,
            level: 0,
            day: 0,
            mixed: false,
            min_time: 0,
            max_time: 0,
            items: 0,
            parents: Vec::new(),
            through: None,
            purged: None,
            wal: None,
            created_at: now,
            tables: Vec::new(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|t| t.bytes).sum()
    }

    /// Its place in the order of acceptance.
    pub fn through(&self) -> BlockId {
        self.through.unwrap_or(self.id)
    }

    pub fn table(&self, name: &str) -> Option<&TableMeta> {
        self.tables.iter().find(|t| t.name == name)
    }
}

pub mod tenant_text {
    use super::TenantId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(tenant: &TenantId, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(tenant)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<TenantId, D::Error> {
        TenantId::parse(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

pub mod signal_text {
    use super::Signal;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(signal: &Signal, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(signal)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Signal, D::Error> {
        let text = String::deserialize(d)?;
        Signal::parse(&text).ok_or_else(|| D::Error::custom(format!("not a signal: {text}")))
    }
}
