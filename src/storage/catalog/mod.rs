//! The one commit point: a block exists iff the catalog lists it (invariant 3), and the WAL floor moves in the
//! transaction that lists the block covering it (invariant 4). SQLite, in `catalog.db`.

use super::Tombstone;
use super::block::{BlockId, BlockMeta, FieldIds};
use super::layout::Layout;
use crate::model::Signal;
use crate::runtime::World;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};
use rusqlite_migration::{M, MigrationDefinitionError, Migrations};
use std::collections::HashMap;
use std::path::Path;

mod remote;
mod tombstones;

pub use remote::{Binding, RemoteState, Restored};

const MIGRATIONS: &[&str] = &[
    include_str!("../../../migrations/0001_catalog.sql"),
    include_str!("../../../migrations/0002_tombstones.sql"),
    include_str!("../../../migrations/0003_bucket.sql"),
];

const FIRST_FIELD_ID: i32 = 1000;

#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("catalog.db: {0}{advice}", advice = what_to_do(.0))]
    Sqlite(#[from] rusqlite::Error),
    #[error("catalog.db: {0}")]
    Migration(rusqlite_migration::Error),
    #[error(
        "catalog.db is of a newer monocle than this one, which is {version}: start the newer one, or restore a backup from before it ran",
        version = env!("CARGO_PKG_VERSION")
    )]
    Newer,
    #[error("catalog: facts of a block: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<rusqlite_migration::Error> for CatalogError {
    fn from(error: rusqlite_migration::Error) -> CatalogError {
        match error {
            rusqlite_migration::Error::MigrationDefinition(MigrationDefinitionError::DatabaseTooFarAhead) => CatalogError::Newer,
            rusqlite_migration::Error::RusqliteError { err, .. } => CatalogError::Sqlite(err),
            other => CatalogError::Migration(other),
        }
    }
}

/// What the operator can do about a catalog that cannot be used.
fn what_to_do(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            ". It is damaged: move it away, and `monocle catalog rebuild` makes it anew from the blocks"
        }
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => ". Is the disk full?",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => ". Does it belong to another user?",
        _ => "",
    }
}

/// One atomic change of what exists.
#[derive(Debug, Default)]
pub struct CatalogEdit {
    pub add: Vec<BlockMeta>,
    pub remove: Vec<BlockId>,
    /// New floor of a lane; must be covered by `add`.
    pub floor: Option<(Signal, u64)>,
    /// Blocks all of whose files were found good in the bucket.
    pub uploaded: Vec<BlockMeta>,
    pub tombstones: Vec<TombstoneEdit>,
}

#[derive(Debug)]
pub enum TombstoneEdit {
    Add(Tombstone),
    /// Taken back.
    Cancel(BlockId),
    /// No block has its rows any more.
    Processed(BlockId),
}

pub struct Catalog {
    connection: Mutex<Connection>,
    field_ids: Mutex<HashMap<(Signal, String), i32>>,
    is_new: bool,
    #[cfg(test)]
    watcher: Mutex<Option<Watcher>>,
}

/// Called before a commit with nothing: `false` makes it fail; and after it with all that the catalog holds.
#[cfg(test)]
pub type Watcher = Box<dyn Fn(Option<Vec<u8>>) -> bool + Send>;

#[cfg(test)]
impl Catalog {
    /// Makes commits steps that a test can count, fail and crash between.
    pub fn watch(&self, watcher: Watcher) {
        *self.watcher.lock() = Some(watcher);
    }

    fn before_commit(&self) -> Result<(), rusqlite::Error> {
        let refused = self.watcher.lock().as_ref().is_some_and(|watcher| !watcher(None));
        if refused { Err(rusqlite::Error::InvalidQuery) } else { Ok(()) }
    }

    fn after_commit(&self, connection: &Connection) -> Result<(), rusqlite::Error> {
        if let (Some(watcher), Some(path)) = (&*self.watcher.lock(), connection.path()) {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            watcher(World::real().disk.read(Path::new(path)).ok());
        }
        Ok(())
    }
}

impl Catalog {
    /// Opens or creates the catalog. Durable after each commit (WAL journal, synchronous FULL).
    pub fn open(world: &World, layout: &Layout) -> Result<Catalog, CatalogError> {
        let is_new = !world.disk.exists(&layout.catalog());
        Catalog::open_at(&layout.catalog(), is_new)
    }

    /// Makes a catalog with these contents, in one file.
    pub fn create(path: &Path, restored: &Restored) -> Result<(), CatalogError> {
        let catalog = Catalog::open_at(path, true)?;
        catalog.restore(restored)?;
        // Everything into the one file, so that it can be renamed.
        catalog.connection.into_inner().pragma_update(None, "journal_mode", "DELETE")?;
        Ok(())
    }

    fn open_at(path: &Path, is_new: bool) -> Result<Catalog, CatalogError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -2_000)?;
        Migrations::new(MIGRATIONS.iter().map(|sql| M::up(sql)).collect()).to_latest(&mut connection)?;
        Ok(Catalog {
            connection: Mutex::new(connection),
            field_ids: Mutex::default(),
            is_new,
            #[cfg(test)]
            watcher: Mutex::default(),
        })
    }

    /// Whether this process made it.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    pub fn commit(&self, edit: &CatalogEdit) -> Result<(), CatalogError> {
        self.change(|connection| {
            let transaction = connection.transaction()?;
            for meta in &edit.add {
                insert(&transaction, meta)?;
            }
            for id in &edit.remove {
                transaction.execute("DELETE FROM blocks WHERE id = ?1", params![id.to_string()])?;
                remote::removed(&transaction, *id)?;
            }
            for meta in &edit.uploaded {
                remote::verified(&transaction, meta)?;
            }
            if let Some((signal, lsn)) = edit.floor {
                transaction.execute(
                    "INSERT INTO wal_floors (signal, lsn) VALUES (?1, ?2) ON CONFLICT (signal) DO UPDATE SET lsn = excluded.lsn",
                    params![signal.as_str(), lsn.cast_signed()],
                )?;
            }
            for tombstone in &edit.tombstones {
                tombstones::apply(&transaction, tombstone)?;
            }
            Ok(transaction.commit()?)
        })
    }

    /// Every write goes through here. It is durable when this returns.
    fn change<T>(&self, write: impl FnOnce(&mut Connection) -> Result<T, CatalogError>) -> Result<T, CatalogError> {
        #[cfg(test)]
        self.before_commit()?;
        let mut connection = self.connection.lock();
        let written = write(&mut connection)?;
        #[cfg(test)]
        self.after_commit(&connection)?;
        Ok(written)
    }

    /// Live blocks of a signal in order of their ids.
    pub fn blocks(&self, signal: Signal) -> Result<Vec<BlockMeta>, CatalogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare("SELECT meta FROM blocks WHERE signal = ?1 ORDER BY id")?;
        let rows = statement.query_map(params![signal.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|meta| Ok(serde_json::from_str(&meta?)?)).collect()
    }

    pub fn floor(&self, signal: Signal) -> Result<u64, CatalogError> {
        let connection = self.connection.lock();
        let floor = connection
            .query_row("SELECT lsn FROM wal_floors WHERE signal = ?1", params![signal.as_str()], |row| row.get::<_, i64>(0))
            .optional()?;
        Ok(floor.unwrap_or(0).cast_unsigned())
    }

    fn allocate(&self, signal: Signal, path: &str) -> Result<i32, CatalogError> {
        let mut known = self.field_ids.lock();
        if let Some(id) = known.get(&(signal, path.to_owned())) {
            return Ok(*id);
        }
        let id = self.change(|connection| {
            connection.execute(
                "INSERT INTO columns (field_id, signal, path) SELECT max(coalesce(max(field_id), 0) + 1, ?1), ?2, ?3 FROM columns
                 WHERE true ON CONFLICT (signal, path) DO NOTHING",
                params![FIRST_FIELD_ID, signal.as_str(), path],
            )?;
            let id = "SELECT field_id FROM columns WHERE signal = ?1 AND path = ?2";
            Ok(connection.query_row(id, params![signal.as_str(), path], |row| row.get(0))?)
        })?;
        known.insert((signal, path.to_owned()), id);
        Ok(id)
    }
}

fn insert(transaction: &Transaction<'_>, meta: &BlockMeta) -> Result<(), CatalogError> {
    transaction.execute(
        "INSERT INTO blocks (id, tenant, signal, level, min_time, max_time, bytes, meta) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            meta.id.to_string(),
            meta.tenant.as_str(),
            meta.signal.as_str(),
            meta.level,
            meta.min_time,
            meta.max_time,
            meta.bytes().cast_signed(),
            serde_json::to_string(meta)?,
        ],
    )?;
    Ok(())
}

/// Numbers for the columns of one signal's files.
pub struct SignalFields<'a> {
    pub catalog: &'a Catalog,
    pub signal: Signal,
}

impl FieldIds for SignalFields<'_> {
    fn field_id(&self, path: &str) -> Result<i32, String> {
        self.catalog.allocate(self.signal, path).map_err(|e| e.to_string())
    }
}
