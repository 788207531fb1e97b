use super::{HeadStats, Spec, Store};
use crate::model::{Signal, TenantId};
use std::collections::BTreeMap;

/// What a store holds at this moment, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStatus {
    pub signal: Signal,
    /// Write-ahead log that no block covers yet.
    pub wal_bytes: u64,
    pub head: HeadStats,
    /// By day, then level, then tenant.
    pub blocks: Vec<BlockTotals>,
}

/// The live blocks of one tenant, level and UTC day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockTotals {
    pub tenant: TenantId,
    pub level: u8,
    /// Days since the epoch.
    pub day: i64,
    pub blocks: u64,
    pub bytes: u64,
    pub items: u64,
}

impl<S: Spec> Store<S> {
    pub fn status(&self) -> StoreStatus {
        let mut totals: BTreeMap<(i64, u8, String), BlockTotals> = BTreeMap::new();
        for meta in self.block_metas() {
            let key = (meta.day, meta.level, meta.tenant.to_string());
            let empty = BlockTotals { tenant: meta.tenant.clone(), level: meta.level, day: meta.day, blocks: 0, bytes: 0, items: 0 };
            let of = totals.entry(key).or_insert(empty);
            of.blocks += 1;
            of.bytes += meta.bytes();
            of.items += meta.items;
        }
        let blocks = totals.into_values().collect();
        StoreStatus { signal: self.signal_of(), wal_bytes: self.wal_bytes(), head: self.head_stats(), blocks }
    }
}
