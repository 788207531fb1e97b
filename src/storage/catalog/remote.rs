//! What the bucket holds, as far as this data directory knows: a cache of the bucket itself, and what is still to be done there.

use super::{Catalog, CatalogError, FIRST_FIELD_ID, TombstoneEdit, insert, tombstones};
use crate::model::Signal;
use crate::storage::Tombstone;
use crate::storage::block::{BlockId, BlockMeta};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::{BTreeMap, HashSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// Some of its files may be there.
    Uploading,
    /// All of it is there and was checked: the local copy may go.
    Verified,
    /// It is not live any more, and is to be removed from the bucket.
    Obsolete,
}

impl RemoteState {
    pub const fn as_str(self) -> &'static str {
        match self {
            RemoteState::Uploading => "uploading",
            RemoteState::Verified => "verified",
            RemoteState::Obsolete => "obsolete",
        }
    }

    fn parse(text: &str) -> RemoteState {
        [RemoteState::Verified, RemoteState::Obsolete].into_iter().find(|s| s.as_str() == text).unwrap_or(RemoteState::Uploading)
    }
}

/// The bucket's prefix that belongs to this data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub url: String,
    pub owner: String,
}

/// A whole catalog, made anew from the files of blocks.
#[derive(Debug, Default)]
pub struct Restored {
    pub blocks: Vec<BlockMeta>,
    /// Those of these blocks that are in the bucket.
    pub remote: HashSet<BlockId>,
    /// In the bucket, but others stand for them.
    pub obsolete: Vec<BlockMeta>,
    pub floors: BTreeMap<Signal, u64>,
    /// Field ids by path.
    pub columns: BTreeMap<Signal, BTreeMap<String, i32>>,
    /// The active ones.
    pub tombstones: Vec<Tombstone>,
    pub binding: Option<Binding>,
}

/// The transaction that removes a block from the list also says what is to become of its copy in the bucket.
pub(super) fn removed(transaction: &Transaction<'_>, id: BlockId) -> Result<(), CatalogError> {
    let state = RemoteState::Obsolete.as_str();
    transaction.execute("UPDATE remote_blocks SET state = ?2 WHERE id = ?1", params![id.to_string(), state])?;
    Ok(())
}

/// One that was removed from the list while it was uploaded stays obsolete.
pub(super) fn verified(transaction: &Transaction<'_>, meta: &BlockMeta) -> Result<(), CatalogError> {
    let (id, state) = (meta.id.to_string(), RemoteState::Verified.as_str());
    transaction.execute("UPDATE remote_blocks SET state = ?2 WHERE id = ?1 AND id IN (SELECT id FROM blocks)", params![id, state])?;
    Ok(())
}

fn put(connection: &Connection, meta: &BlockMeta, state: RemoteState) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO remote_blocks (id, signal, state, meta) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
        params![meta.id.to_string(), meta.signal.as_str(), state.as_str(), serde_json::to_string(meta)?],
    )?;
    Ok(())
}

impl Catalog {
    pub fn binding(&self) -> Result<Option<Binding>, CatalogError> {
        let row = |row: &rusqlite::Row<'_>| Ok(Binding { url: row.get(0)?, owner: row.get(1)? });
        Ok(self.connection.lock().query_row("SELECT url, owner FROM bucket", [], row).optional()?)
    }

    pub fn bind(&self, binding: &Binding) -> Result<(), CatalogError> {
        self.change(|connection| bind(connection, binding))
    }

    /// Forgets a bucket to which nothing was written.
    pub fn unbind(&self) -> Result<(), CatalogError> {
        self.change(|connection| Ok(connection.execute("DELETE FROM bucket", []).map(drop)?))
    }

    /// Before the first byte goes to the bucket, so that nothing of it is ever forgotten there. `false` if the block is not live
    /// any more: it must not go up, since nothing would take it away again.
    pub fn upload_begins(&self, meta: &BlockMeta) -> Result<bool, CatalogError> {
        self.change(|connection| {
            let live = "SELECT count(*) FROM blocks WHERE id = ?1";
            if connection.query_row(live, params![meta.id.to_string()], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(false);
            }
            put(connection, meta, RemoteState::Uploading).map(|()| true)
        })
    }

    /// Blocks of a signal of which something may be in the bucket, in order of their ids.
    pub fn remote_blocks(&self, signal: Signal) -> Result<Vec<(BlockMeta, RemoteState)>, CatalogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT meta, state FROM remote_blocks WHERE signal = ?1 ORDER BY id")?;
        let rows = statement.query_map(params![signal.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (meta, state) = row?;
            Ok((serde_json::from_str(&meta)?, RemoteState::parse(&state)))
        })
        .collect()
    }

    /// Nothing of the obsolete block is in the bucket any more.
    pub fn removed_from_bucket(&self, id: BlockId) -> Result<(), CatalogError> {
        let gone = "DELETE FROM remote_blocks WHERE id = ?1 AND state = ?2";
        let values = params![id.to_string(), RemoteState::Obsolete.as_str()];
        self.change(|connection| Ok(connection.execute(gone, values).map(drop)?))
    }

    /// Field ids that a signal's blocks were given, by path.
    pub fn columns(&self, signal: Signal) -> Result<BTreeMap<String, i32>, CatalogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT path, field_id FROM columns WHERE signal = ?1")?;
        let rows = statement.query_map(params![signal.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What SQLite finds wrong with its file.
    pub fn check(&self) -> Result<Vec<String>, CatalogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare("PRAGMA integrity_check")?;
        let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(lines.into_iter().filter(|line| line != "ok").collect())
    }

    /// Nothing was ever committed to it.
    pub fn is_unused(&self) -> Result<bool, CatalogError> {
        let count = "SELECT (SELECT count(*) FROM blocks) + (SELECT count(*) FROM wal_floors) + (SELECT count(*) FROM bucket)";
        Ok(self.connection.lock().query_row(count, [], |row| row.get::<_, i64>(0))? == 0)
    }

    /// Fills an unused catalog, in one transaction.
    pub fn restore(&self, restored: &Restored) -> Result<(), CatalogError> {
        self.change(|connection| fill(connection, restored))
    }
}

fn fill(connection: &mut Connection, restored: &Restored) -> Result<(), CatalogError> {
    let transaction = connection.transaction()?;
    for meta in &restored.blocks {
        insert(&transaction, meta)?;
        if restored.remote.contains(&meta.id) {
            put(&transaction, meta, RemoteState::Verified)?;
        }
    }
    for meta in &restored.obsolete {
        put(&transaction, meta, RemoteState::Obsolete)?;
    }
    for (signal, lsn) in &restored.floors {
        transaction.execute("INSERT INTO wal_floors (signal, lsn) VALUES (?1, ?2)", params![signal.as_str(), lsn.cast_signed()])?;
    }
    for (signal, columns) in &restored.columns {
        for (path, id) in columns.iter().filter(|(_, id)| **id >= FIRST_FIELD_ID) {
            let values = params![id, signal.as_str(), path];
            transaction.execute("INSERT INTO columns (field_id, signal, path) VALUES (?1, ?2, ?3)", values)?;
        }
    }
    for tombstone in &restored.tombstones {
        tombstones::apply(&transaction, &TombstoneEdit::Add(tombstone.clone()))?;
    }
    if let Some(binding) = &restored.binding {
        bind(&transaction, binding)?;
    }
    Ok(transaction.commit()?)
}

fn bind(connection: &Connection, binding: &Binding) -> Result<(), CatalogError> {
    connection.execute(
        "INSERT INTO bucket (only, url, owner) VALUES (1, ?1, ?2) ON CONFLICT (only) DO UPDATE SET url = ?1, owner = ?2",
        params![binding.url, binding.owner],
    )?;
    Ok(())
}
