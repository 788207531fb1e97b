//! Deletes by selector. A tombstone hides rows from every query as soon as the delete is answered; compaction takes them
//! out of the files later.

use super::block::{BlockId, BlockMeta};
use crate::model::{Signal, TenantId};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::sync::{Arc, OnceLock};

/// One delete. It hits the rows that were accepted before it, lie within its times, and satisfy its selector, which only
/// the signal's room can read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Tombstone {
    /// Version of this record.
    pub format: u32,
    /// Later than the ids of all blocks whose rows were accepted before it, and earlier than those of all later ones.
    pub id: BlockId,
    #[serde(with = "super::block::tenant_text")]
    pub tenant: TenantId,
    #[serde(with = "super::block::signal_text")]
    pub signal: Signal,
    pub selector: String,
    /// Nanoseconds since the epoch, both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    pub created_at: i64,
    /// Until then it can be taken back, so the rows stay in the files.
    pub purge_after: i64,
    #[serde(skip)]
    compiled: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Clone for Tombstone {
    fn clone(&self) -> Tombstone {
        Tombstone {
            tenant: self.tenant.clone(),
            selector: self.selector.clone(),
            compiled: OnceLock::new(),
            format: self.format,
            id: self.id,
            signal: self.signal,
            min_time: self.min_time,
            max_time: self.max_time,
            created_at: self.created_at,
            purge_after: self.purge_after,
        }
    }
}

impl Tombstone {
    pub const FORMAT: u32 = 1;

    pub(super) fn new(id: BlockId, tenant: TenantId, signal: Signal, delete: Delete, now: i64) -> Tombstone {
        let wait = i64::try_from(delete.cancel_within.as_nanos()).unwrap_or(i64::MAX);
        Tombstone {
            format: Tombstone::FORMAT,
            id,
            tenant,
            signal,
            selector: delete.selector,
            min_time: delete.min_time,
            max_time: delete.max_time,
            created_at: now,
            purge_after: now.saturating_add(wait),
            compiled: OnceLock::new(),
        }
    }

    /// Whether rows of the block may be hit, as far as times and the order of acceptance tell.
    pub fn hits(&self, block: &BlockMeta) -> bool {
        let accepted_before = block.through() < self.id && block.purged.is_none_or(|purged| purged < self.id);
        accepted_before && self.min_time <= block.max_time && block.min_time <= self.max_time
    }

    /// Whether a row at this time can be hit, nanoseconds since the epoch.
    pub fn covers(&self, time: i64) -> bool {
        (self.min_time..=self.max_time).contains(&time)
    }

    /// The selector as the signal's room reads it, made once.
    pub fn compiled<T: Send + Sync + 'static>(&self, compile: impl Fn(&str) -> T) -> Arc<T> {
        let shared = self.compiled.get_or_init(|| Arc::new(compile(&self.selector)));
        shared.clone().downcast().unwrap_or_else(|_| Arc::new(compile(&self.selector)))
    }
}

/// What a delete asks for.
#[derive(Debug, Clone)]
pub struct Delete {
    /// In the language of the signal's room, which has checked it.
    pub selector: String,
    /// Nanoseconds since the epoch, both inclusive.
    pub min_time: i64,
    pub max_time: i64,
    /// How long it can be taken back.
    pub cancel_within: std::time::Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TombstoneState {
    /// It hides rows.
    Active,
    /// No block holds a row that it would hide.
    Processed,
}

impl TombstoneState {
    pub const fn as_str(self) -> &'static str {
        match self {
            TombstoneState::Active => "active",
            TombstoneState::Processed => "processed",
        }
    }
}
