//! What is not live any more goes from the bucket, late: queries that still use it end first, and what replaced it is there
//! before.

use super::Remote;
use super::upload::UploadError;
use crate::runtime::Shutdown;
use crate::storage::block::{BlockId, BlockMeta};
use crate::storage::catalog::RemoteState;
use crate::storage::layout::Layout;
use crate::storage::{Spec, Store};
use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// From when a block is found obsolete: longer than any query takes, and time for other readers of the bucket.
const GRACE: Duration = Duration::from_secs(15 * 60);

/// How often files are looked for that no catalog knows.
const STRAYS_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Files that no catalog knows may be those of an upload that is under way, and stay at least so long.
const STRAY_AGE_NANOS: i64 = 24 * 3600 * 1_000_000_000;

/// What one signal's loop remembers of the bucket between passes.
pub struct Sweep {
    grace: Duration,
    obsolete_since: HashMap<BlockId, Instant>,
    strays_looked_for: Option<Instant>,
}

impl Default for Sweep {
    fn default() -> Sweep {
        Sweep::after(GRACE)
    }
}

impl Sweep {
    /// Obsolete blocks stay for `grace`.
    pub fn after(grace: Duration) -> Sweep {
        Sweep { grace, obsolete_since: HashMap::new(), strays_looked_for: None }
    }
}

/// Obsolete blocks that may go now. None may while a live block that compaction made is not in the bucket: it may be the one
/// that has their rows.
fn plan(sweep: &Sweep, obsolete: &[BlockMeta], live: &[BlockMeta], verified: &HashSet<BlockId>, now: Instant) -> Vec<BlockMeta> {
    if live.iter().any(|meta| !meta.parents.is_empty() && !verified.contains(&meta.id)) {
        return Vec::new();
    }
    let since = &sweep.obsolete_since;
    let is_due = |meta: &&BlockMeta| since.get(&meta.id).is_some_and(|since| now.duration_since(*since) >= sweep.grace);
    let mut due: Vec<BlockMeta> = obsolete.iter().filter(is_due).cloned().collect();
    // Without its parents, a block counts for whoever rebuilds from the bucket: one that stands for nothing goes before them,
    // and one that another was made of goes after its own.
    let parents: HashSet<BlockId> = obsolete.iter().chain(live).flat_map(|meta| meta.parents.iter().copied()).collect();
    due.sort_by_key(|meta| (parents.contains(&meta.id), meta.id));
    due
}

impl<S: Spec> Store<S> {
    pub(super) fn sweep(&self, remote: &Remote, sweep: &mut Sweep, shutdown: &Shutdown) -> Result<(), UploadError> {
        let signal = self.spec().signal();
        let known = self.catalog().remote_blocks(signal)?;
        let in_state = |state| known.iter().filter(move |(_, s)| *s == state).map(|(meta, _)| meta);
        let obsolete: Vec<BlockMeta> = in_state(RemoteState::Obsolete).cloned().collect();
        let verified: HashSet<BlockId> = in_state(RemoteState::Verified).map(|meta| meta.id).collect();
        let now = Instant::now();
        sweep.obsolete_since.retain(|id, _| obsolete.iter().any(|meta| meta.id == *id));
        for meta in &obsolete {
            sweep.obsolete_since.entry(meta.id).or_insert(now);
        }
        for meta in plan(sweep, &obsolete, &self.block_metas(), &verified, now) {
            if shutdown.is_requested() || !remote.is_owned() {
                return Ok(());
            }
            // meta.json first: from then on nobody takes the rest for a block.
            let mut keys = vec![Layout::remote_meta(&meta)];
            keys.extend(meta.tables.iter().map(|table| Layout::remote_table(&meta, &table.name)));
            remote.reader.bucket.delete(&keys)?;
            self.catalog().removed_from_bucket(meta.id)?;
            remote.reader.metrics.removed(signal);
            tracing::debug!(%signal, block = %meta.id, "obsolete block removed from the bucket");
        }
        if sweep.strays_looked_for.is_none_or(|last| last.elapsed() >= STRAYS_EVERY) {
            self.remove_strays(remote)?;
            sweep.strays_looked_for = Some(now);
        }
        Ok(())
    }

    /// Files without a `meta.json` beside them that no catalog knows: an upload that was interrupted, and then its data
    /// directory lost.
    fn remove_strays(&self, remote: &Remote) -> Result<(), UploadError> {
        let signal = self.spec().signal();
        let known: HashSet<BlockId> = self.catalog().remote_blocks(signal)?.into_iter().map(|(meta, _)| meta.id).collect();
        let oldest = self.world().clock.now().saturating_sub(STRAY_AGE_NANOS);
        let mut strays: HashMap<BlockId, Option<Vec<String>>> = HashMap::new();
        remote.reader.bucket.list(Layout::BLOCKS, |object| {
            if let Some((id, file)) = Layout::remote_file(&object.key, signal)
                && !known.contains(&id)
            {
                let files = strays.entry(id).or_insert_with(|| Some(Vec::new()));
                match files {
                    Some(files) if file != Layout::META && object.modified_at < oldest => files.push(object.key),
                    _ => *files = None,
                }
            }
            ControlFlow::Continue(())
        })?;
        for (id, files) in strays {
            match files {
                Some(files) => {
                    tracing::warn!(%signal, block = %id, "files of an upload that never ended are removed from the bucket");
                    remote.reader.bucket.delete(&files)?;
                }
                None => tracing::debug!(%signal, block = %id, "the bucket has files that the catalog does not know; they stay"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::facts;

    fn due(obsolete: &[BlockMeta], live: &[BlockMeta], verified: &[u64]) -> Vec<u64> {
        let now = Instant::now();
        let sweep = Sweep { obsolete_since: obsolete.iter().map(|meta| (meta.id, now)).collect(), ..Sweep::after(Duration::ZERO) };
        let verified = verified.iter().map(|n| facts(*n, &[]).id).collect();
        plan(&sweep, obsolete, live, &verified, now).iter().map(|meta| meta.id.0.timestamp_ms()).collect()
    }

    #[test]
    fn what_a_rebuild_would_count_wrongly_goes_first_and_nothing_before_what_replaced_it_is_there() {
        let line = [facts(1, &[]), facts(2, &[1]), facts(3, &[])];
        assert_eq!(due(&line, &[facts(5, &[2, 3])], &[5]), [1, 2, 3], "from the first to the last of a line");
        assert_eq!(due(&line, &[facts(5, &[2, 3])], &[]), [0; 0]);
        let twice = [facts(1, &[]), facts(2, &[]), facts(4, &[1, 2])];
        assert_eq!(due(&twice, &[facts(5, &[1, 2])], &[5]), [4, 1, 2], "two were made of the same, and the first one never counted");
        assert_eq!(plan(&Sweep::default(), &line, &[], &HashSet::new(), Instant::now()).len(), 0, "the grace is not over");
    }
}
