//! References of series by their ids: a few small tables instead of one large, so that none takes long to grow.

use hashbrown::HashTable;

const TABLES: usize = 256;

#[derive(Debug)]
pub struct Ids {
    tables: Vec<HashTable<u32>>,
}

impl Default for Ids {
    fn default() -> Ids {
        Ids { tables: (0..TABLES).map(|_| HashTable::new()).collect() }
    }
}

/// The table of an id, and its hash there. Ids are hashes already, but one table has those with equal low bits.
fn place(id: i64) -> (usize, u64) {
    let id = id.cast_unsigned();
    (id as usize % TABLES, id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32))
}

impl Ids {
    pub fn find(&self, id: i64, has_id: impl Fn(u32) -> bool) -> Option<u32> {
        let (table, hash) = place(id);
        self.tables[table].find(hash, |r| has_id(*r)).copied()
    }

    /// `id_of` gives the id of a reference.
    pub fn insert(&mut self, id: i64, reference: u32, id_of: impl Fn(u32) -> i64) {
        let (table, hash) = place(id);
        self.tables[table].insert_unique(hash, reference, |r| place(id_of(*r)).1);
    }

    pub fn remove(&mut self, id: i64, reference: u32) {
        let (table, hash) = place(id);
        if let Ok(entry) = self.tables[table].find_entry(hash, |r| *r == reference) {
            entry.remove();
        }
    }
}
