use super::{Catalog, CatalogError, TombstoneEdit};
use crate::model::{Signal, TenantId};
use crate::storage::{Tombstone, TombstoneState};
use rusqlite::{Transaction, params};

/// Processed tombstones that are remembered for those who ask what became of them, for each tenant and signal.
const PROCESSED_MAX: u32 = 1_000;

pub(super) fn apply(transaction: &Transaction<'_>, edit: &TombstoneEdit) -> Result<(), CatalogError> {
    match edit {
        TombstoneEdit::Add(t) => {
            let record = serde_json::to_string(t)?;
            let values = params![t.id.to_string(), t.tenant.as_str(), t.signal.as_str(), TombstoneState::Active.as_str(), record];
            transaction.execute("INSERT INTO tombstones (id, tenant, signal, state, record) VALUES (?1, ?2, ?3, ?4, ?5)", values)?;
        }
        TombstoneEdit::Cancel(id) => {
            transaction.execute("DELETE FROM tombstones WHERE id = ?1", params![id.to_string()])?;
        }
        TombstoneEdit::Processed(id) => {
            let (id, state) = (id.to_string(), TombstoneState::Processed.as_str());
            transaction.execute("UPDATE tombstones SET state = ?2 WHERE id = ?1", params![id, state])?;
            transaction.execute(
                "DELETE FROM tombstones WHERE id IN (
                   SELECT o.id FROM tombstones o JOIN tombstones t ON t.id = ?1 AND o.tenant = t.tenant AND o.signal = t.signal
                   WHERE o.state = ?2 ORDER BY o.id DESC LIMIT -1 OFFSET ?3)",
                params![id, state, PROCESSED_MAX],
            )?;
        }
    }
    Ok(())
}

impl Catalog {
    /// Those of a signal, oldest first.
    pub fn tombstones(&self, signal: Signal) -> Result<Vec<(Tombstone, TombstoneState)>, CatalogError> {
        self.select("WHERE signal = ?1 AND ?2 = ?2", (signal, ""))
    }

    /// Those of a signal and tenant, oldest first.
    pub fn tombstones_of(&self, signal: Signal, tenant: &TenantId) -> Result<Vec<(Tombstone, TombstoneState)>, CatalogError> {
        self.select("WHERE signal = ?1 AND tenant = ?2", (signal, tenant.as_str()))
    }

    fn select(&self, which: &str, (signal, tenant): (Signal, &str)) -> Result<Vec<(Tombstone, TombstoneState)>, CatalogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare(&format!("SELECT record, state FROM tombstones {which} ORDER BY id"))?;
        let rows = statement.query_map(params![signal.as_str(), tenant], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.map(|row| {
            let (record, state) = row?;
            let state = if state == TombstoneState::Active.as_str() { TombstoneState::Active } else { TombstoneState::Processed };
            Ok((serde_json::from_str(&record)?, state))
        })
        .collect()
    }
}
