//! Every path on disk, built and parsed here only. Bucket paths will equal local ones below the prefix.

use super::block::{BlockId, BlockMeta};
use crate::model::time::{DAY, SECOND};
use crate::model::{Signal, TenantId};
use std::path::{Path, PathBuf};

/// The data directory: `catalog.db`, `wal/<signal>/`, `blocks/`, `tmp/`, `addresses.json`.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub const META: &'static str = "meta.json";

    pub fn new(root: impl Into<PathBuf>) -> Layout {
        Layout { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn catalog(&self) -> PathBuf {
        self.root.join("catalog.db")
    }

    /// The catalog, and what SQLite keeps beside it.
    pub fn catalog_files(&self) -> [PathBuf; 3] {
        ["catalog.db", "catalog.db-wal", "catalog.db-shm"].map(|name| self.root.join(name))
    }

    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub fn addresses(&self) -> PathBuf {
        self.root.join("addresses.json")
    }

    pub fn blocks(&self) -> PathBuf {
        self.root.join(Layout::BLOCKS)
    }

    pub fn tombstones(&self) -> PathBuf {
        self.root.join(Layout::TOMBSTONES)
    }

    /// `tombstones/<tenant>/<ulid>.json`.
    pub fn tombstone(&self, tenant: &TenantId, id: BlockId) -> PathBuf {
        self.tombstones().join(tenant.as_str()).join(format!("{id}.json"))
    }

    pub fn wal(&self, signal: Signal) -> PathBuf {
        self.root.join("wal").join(signal.as_str())
    }

    /// Where unfinished blocks are written; everything below it is garbage after a restart.
    pub fn temporary_root(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn temporary(&self, id: BlockId) -> PathBuf {
        self.temporary_root().join(id.to_string())
    }

    /// `blocks/<tenant>/<signal>/<yyyy>/<mm>/<dd>/<ulid>`.
    pub fn block(&self, meta: &BlockMeta) -> PathBuf {
        let second = meta.day.saturating_mul(DAY / SECOND);
        let date = chrono::DateTime::from_timestamp(second, 0).unwrap_or_default();
        let day = date.format("%Y/%m/%d").to_string();
        self.tenant(&meta.tenant).join(meta.signal.as_str()).join(day).join(meta.id.to_string())
    }

    /// A block's directory, or with a table's name the file, as the bucket has it below its prefix.
    pub fn remote_block(meta: &BlockMeta) -> String {
        Layout::new("").block(meta).to_string_lossy().into_owned()
    }

    pub fn remote_table(meta: &BlockMeta, table: &str) -> String {
        format!("{}/{}", Layout::remote_block(meta), Layout::table_file(table))
    }

    pub fn remote_meta(meta: &BlockMeta) -> String {
        format!("{}/{}", Layout::remote_block(meta), Layout::META)
    }

    /// The block and the name of one of a signal's files in the bucket, if its key is the path of one.
    pub fn remote_file(key: &str, of: Signal) -> Option<(BlockId, &str)> {
        let parts: Vec<&str> = key.split('/').collect();
        let [Layout::BLOCKS, _tenant, signal, _year, _month, _day, id, file] = parts.as_slice() else { return None };
        (*signal == of.as_str()).then_some(())?;
        Some((BlockId::parse(id)?, file))
    }

    /// Below it are all deletes, in the bucket as here.
    pub const TOMBSTONES: &'static str = "tombstones";

    pub fn remote_tombstone(tenant: &TenantId, id: BlockId) -> String {
        Layout::new("").tombstone(tenant, id).to_string_lossy().into_owned()
    }

    /// Below it are all blocks, in the bucket as here.
    pub const BLOCKS: &'static str = "blocks";

    /// Field ids of a signal's columns, in the bucket: footers of blocks have them, too, but it would take many reads.
    pub fn remote_columns(signal: Signal) -> String {
        format!("columns/{signal}.json")
    }

    /// Whom the bucket's prefix belongs to.
    pub const OWNER: &'static str = "monocle.json";

    /// Chunks of remote files that were read.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Where the files of a block that the bucket has go before they are removed.
    pub fn evicted(&self, id: BlockId) -> PathBuf {
        self.temporary_root().join(format!("{id}.evicted"))
    }

    fn tenant(&self, tenant: &TenantId) -> PathBuf {
        self.blocks().join(tenant.as_str())
    }

    pub fn table_file(name: &str) -> String {
        format!("{name}.parquet")
    }

    /// The id in the last component of a block's directory, if the path has the depth of one.
    pub fn block_id(&self, directory: &Path) -> Option<BlockId> {
        let inside = directory.strip_prefix(self.blocks()).ok()?;
        (inside.components().count() == 6).then(|| BlockId::parse(inside.file_name()?.to_str()?)).flatten()
    }

    /// The signal in the path of a block's directory.
    pub fn block_signal(&self, directory: &Path) -> Option<Signal> {
        let inside = directory.strip_prefix(self.blocks()).ok()?;
        Signal::parse(inside.components().nth(1)?.as_os_str().to_str()?)
    }

    /// `<first LSN, 20 digits>.wal`.
    pub fn segment(&self, signal: Signal, first: u64) -> PathBuf {
        self.wal(signal).join(format!("{first:020}.wal"))
    }

    pub fn segment_first(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".wal")?;
        (digits.len() == 20).then(|| digits.parse().ok()).flatten()
    }
}
