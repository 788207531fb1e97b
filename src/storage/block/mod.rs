//! Immutable Parquet files under one [`BlockMeta`]: written once, never changed, deleted only when no View holds them.

mod checksum;
mod describe;
mod encode;
mod fields;
mod kept;
mod meta;
mod pages;
mod parse;
mod pruning;
mod read;
mod write;

pub use checksum::{CHUNK_BYTES, ChunkSums};
pub use describe::{ColumnDescription, Description, describe};
pub use fields::FieldIds;
pub use kept::{Kept, KeptParts};
pub use meta::{BlockId, BlockMeta, TableMeta, WalRange};
pub(super) use meta::{signal_text, tenant_text};
pub use read::{Block, ReadError, Table};
pub use write::{BlockWriter, Facts, Sidecar, SidecarTable, WriteError, relabel, write_block};

/// The key of a table's footer under which the block's facts stand, so that the catalog can be rebuilt from the files.
pub const FOOTER_KEY: &str = "monocle.block";
