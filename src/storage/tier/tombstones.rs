//! Deletes in the bucket: the same objects as the files here, so that a rebuild from the bucket hides what was deleted.

use super::{Remote, Tier};
use crate::model::Signal;
use crate::storage::catalog::{Catalog, RemoteState};
use crate::storage::layout::Layout;
use crate::storage::tier::UploadError;
use crate::storage::{Tombstone, TombstoneState};
use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

/// A delete that ended still hides rows of blocks that are on their way out of the bucket: it stays as long as they do.
fn plan(
    known: &[(Tombstone, TombstoneState)],
    there: &HashSet<String>,
    leaving: &[crate::storage::block::BlockMeta],
) -> (Vec<Tombstone>, Vec<String>) {
    let mut wanted = BTreeMap::new();
    for (tombstone, state) in known {
        if *state == TombstoneState::Active || leaving.iter().any(|meta| tombstone.hits(meta)) {
            wanted.insert(Layout::remote_tombstone(&tombstone.tenant, tombstone.id), (tombstone, *state));
        }
    }
    let gone = there.iter().filter(|key| !wanted.contains_key(*key)).cloned().collect();
    let is_new = |key: &String, state: TombstoneState| state == TombstoneState::Active && !there.contains(key);
    let new = wanted.iter().filter(|(key, (_, state))| is_new(key, *state)).map(|(_, (t, _))| (*t).clone()).collect();
    (new, gone)
}

impl Tier {
    /// Makes the bucket's deletes those that count. Blocks; does nothing without a bucket that is ours.
    pub fn sync_tombstones(&self, catalog: &Catalog) -> Result<(), UploadError> {
        let Some(remote) = self.remote.as_ref().filter(|remote| remote.is_owned()) else { return Ok(()) };
        let mut there = remote.tombstones.lock();
        let listed = match there.take() {
            Some(known) => known,
            None => list(remote)?,
        };
        let there = there.insert(listed);
        // Read after the bucket was, so that what is not in it was taken back or has ended.
        let (mut known, mut leaving) = (Vec::new(), Vec::new());
        for signal in Signal::ALL {
            known.extend(catalog.tombstones(signal)?);
            let not_kept = catalog.remote_blocks(signal)?.into_iter().filter(|(_, state)| *state != RemoteState::Verified);
            leaving.extend(not_kept.map(|(meta, _)| meta));
        }
        let (new, gone) = plan(&known, there, &leaving);
        for tombstone in new {
            let key = Layout::remote_tombstone(&tombstone.tenant, tombstone.id);
            remote.reader.bucket.put(&key, serde_json::to_vec(&tombstone)?.into())?;
            there.insert(key);
        }
        remote.reader.bucket.delete(&gone)?;
        for key in gone {
            there.remove(&key);
        }
        Ok(())
    }
}

fn list(remote: &Remote) -> Result<HashSet<String>, UploadError> {
    let mut keys = HashSet::new();
    remote.reader.bucket.list(Layout::TOMBSTONES, |object| {
        keys.insert(object.key);
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}

/// Reads a tombstone as it came from a bucket.
pub fn parse(bytes: &[u8]) -> Result<Tombstone, String> {
    let tombstone: Tombstone = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if tombstone.format > Tombstone::FORMAT {
        return Err(format!("format {} is newer than this program", tombstone.format));
    }
    if tombstone.min_time > tombstone.max_time {
        return Err("its first time is after its last".into());
    }
    Ok(tombstone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = r#"{"format":1,"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","tenant":"a","signal":"logs","selector":"{a=\"b\"}",
        "min_time":5,"max_time":6,"created_at":1,"purge_after":2}"#;

    #[test]
    fn what_counts_goes_up_and_what_was_taken_back_goes() {
        let tombstone = parse(GOOD.as_bytes()).unwrap();
        let key = Layout::remote_tombstone(&tombstone.tenant, tombstone.id);
        assert_eq!(key, "tombstones/a/01ARZ3NDEKTSV4RRFFQ69G5FAV.json");
        let none = HashSet::new();
        let there = HashSet::from([key.clone()]);
        let active = [(tombstone.clone(), TombstoneState::Active)];
        let counts = |(new, gone): (Vec<Tombstone>, Vec<String>)| (new.len(), gone.len());
        assert_eq!(counts(plan(&active, &none, &[])), (1, 0));
        assert_eq!(counts(plan(&active, &there, &[])), (0, 0));
        assert_eq!(plan(&[], &there, &[]).1, std::slice::from_ref(&key), "taken back");
        let ended = [(tombstone.clone(), TombstoneState::Processed)];
        assert_eq!(plan(&ended, &there, &[]).1, [key]);
        let mut old = crate::storage::tests::facts(1, &[]);
        (old.min_time, old.max_time) = (0, 9);
        assert_eq!(counts(plan(&ended, &there, &[old])), (0, 0), "its rows are still in the bucket");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes: Vec<u8>, at in 0..GOOD.len(), with: u8) {
            let _ = parse(&bytes);
            let mut changed = GOOD.as_bytes().to_vec();
            changed[at] = with;
            let _ = parse(&changed);
        }
    }
}
