//! Whose a bucket's prefix is. Its `monocle.json` names the data directory that writes there, so that two never mix: another
//! directory is refused, and a process that finds a new owner stops writing.

use super::bucket::{Bucket, BucketError};
use super::{Remote, Tier, restore};
use crate::runtime::{Shutdown, World, random_u128};
use crate::storage::block::BlockId;
use crate::storage::catalog::{Binding, Catalog, CatalogError};
use crate::storage::layout::Layout;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// How often the owner writes that it is alive.
const BEAT: Duration = Duration::from_secs(10);

/// A prefix whose owner has written nothing for so long may be taken over by an empty data directory.
const WATCH: Duration = Duration::from_secs(25);

/// One that old by our clock need not be watched.
const LONG_GONE: Duration = Duration::from_secs(600);

/// The clocks of this machine and of the bucket may differ so much.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Version of this record.
    pub format: u32,
    /// The data directory, by a ULID of its own.
    pub owner: String,
    /// The process, the same way.
    pub session: String,
    /// Counts up while the process lives.
    pub beat: u64,
    /// The process has stopped in order.
    #[serde(default)]
    pub released: bool,
    /// Nanoseconds since the epoch.
    pub written_at: i64,
}

impl Owner {
    pub const FORMAT: u32 = 1;

    /// Reads `monocle.json` as it came from a bucket.
    pub fn parse(bytes: &[u8]) -> Result<Owner, String> {
        let owner: Owner = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if owner.format > Owner::FORMAT {
            return Err(format!("format {} is newer than this program", owner.format));
        }
        if BlockId::parse(&owner.owner).is_none() || BlockId::parse(&owner.session).is_none() {
            return Err("owner and session must be ULIDs".into());
        }
        Ok(owner)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error(
        "{url} belongs to another data directory ({owner}): give each its own prefix, or start with an empty data directory to take it over"
    )]
    Foreign { url: String, owner: String },
    #[error("{url} is in use by another running monocle (data directory {owner}): stop that one first, or choose another prefix")]
    InUse { url: String, owner: String },
    #[error("this data directory belongs to {bound}, and --s3 says {said}: the older blocks are only there")]
    Moved { bound: String, said: String },
    #[error("{0} holds blocks, but no monocle.json that says whose they are")]
    Unmarked(String),
    #[error("{0} has lost its monocle.json, and perhaps more: this data directory has blocks that only the bucket holds")]
    Emptied(String),
    #[error("monocle.json in {url} cannot be read: {why}")]
    Damaged { url: String, why: String },
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("{0}")]
    Catalog(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Restore(#[from] restore::RestoreError),
}

/// How a data directory stands to the bucket at start.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    Owned,
    /// The bucket does not answer; what is its is known from before, or nothing is.
    Later,
}

/// At start, before blocks are loaded: makes sure that the prefix is this data directory's, and fills the catalog of an empty
/// data directory with what the bucket has. Blocks, perhaps for half a minute.
pub fn attach(world: &World, layout: &Layout, catalog: &Catalog, bucket: &Bucket, shutdown: &Shutdown) -> Result<Claim, OwnerError> {
    let bound = catalog.binding()?;
    if let Some(bound) = bound.as_ref().filter(|bound| bound.url != bucket.url()) {
        return Err(OwnerError::Moved { bound: bound.url.clone(), said: bucket.url().to_owned() });
    }
    let is_empty = bound.is_none() && is_empty(world, layout, catalog)?;
    let claimed = match &bound {
        Some(bound) => resume(catalog, bucket, bound),
        None => claim(world, layout, catalog, bucket, is_empty, shutdown),
    };
    compare_clocks(world, bucket);
    match claimed {
        Ok(()) => Ok(Claim::Owned),
        // Ingest never waits for a bucket. An empty directory does: what it is to hold is known to the bucket alone.
        Err(OwnerError::Bucket(error @ BucketError::Unavailable(_))) if !is_empty => {
            tracing::error!(bucket = bucket.url(), %error, "starting without the bucket");
            Ok(Claim::Later)
        }
        Err(error) => Err(error),
    }
}

/// S3 refuses requests that are signed with a time 15 minutes off: better to know earlier.
/// Source: Amazon S3 API reference, "RequestTimeTooSkewed".
fn compare_clocks(world: &World, bucket: &Bucket) {
    let Some(ahead) = bucket.time().map(|there| world.clock.now().saturating_sub(there)) else { return };
    if ahead.unsigned_abs() > CLOCK_TOLERANCE.as_nanos() as u64 {
        let (seconds, side) = (ahead.unsigned_abs() / 1_000_000_000, if ahead > 0 { "ahead of" } else { "behind" });
        tracing::warn!(
            bucket = bucket.url(),
            seconds,
            "the clock of this machine is {side} the bucket's: it refuses requests from 15 minutes on (check `date` and the time service)"
        );
    }
}

fn is_empty(world: &World, layout: &Layout, catalog: &Catalog) -> Result<bool, OwnerError> {
    let mut files = world.disk.list(&layout.blocks())?.len();
    for signal in crate::model::Signal::ALL {
        files += world.disk.list(&layout.wal(signal))?.len();
    }
    Ok(files == 0 && catalog.is_unused()?)
}

fn read(bucket: &Bucket) -> Result<Option<Owner>, OwnerError> {
    let damaged = |why| OwnerError::Damaged { url: bucket.url().to_owned(), why };
    bucket.get_small(Layout::OWNER)?.map(|bytes| Owner::parse(&bytes).map_err(damaged)).transpose()
}

/// Whose the prefix is, if anybody's.
pub fn owner_of(bucket: &Bucket) -> Result<Option<String>, OwnerError> {
    Ok(read(bucket)?.map(|owner| owner.owner))
}

fn foreign(bucket: &Bucket, owner: &Owner) -> OwnerError {
    OwnerError::Foreign { url: bucket.url().to_owned(), owner: owner.owner.clone() }
}

/// The catalog says that the prefix is ours: so must the bucket.
fn resume(catalog: &Catalog, bucket: &Bucket, bound: &Binding) -> Result<(), OwnerError> {
    match read(bucket)? {
        Some(found) if found.owner == bound.owner => Ok(()),
        Some(found) => Err(foreign(bucket, &found)),
        None => {
            for signal in crate::model::Signal::ALL {
                if !catalog.remote_blocks(signal)?.is_empty() {
                    return Err(OwnerError::Emptied(bucket.url().to_owned()));
                }
            }
            // A crash came between the two steps of `claim`.
            Ok(())
        }
    }
}

fn claim(
    world: &World,
    layout: &Layout,
    catalog: &Catalog,
    bucket: &Bucket,
    is_empty: bool,
    shutdown: &Shutdown,
) -> Result<(), OwnerError> {
    let ours = Binding { url: bucket.url().to_owned(), owner: new_id(world) };
    match read(bucket)? {
        Some(found) if is_empty => {
            wait_until_left(world, bucket, found, shutdown)?;
            // The old owner, should it still be there, sees this and stops writing.
            bucket.put(Layout::OWNER, record(world, &ours.owner, &new_id(world), 0, false).into())?;
            Ok(restore::from_bucket(world, layout, catalog, bucket, ours)?)
        }
        Some(found) => Err(foreign(bucket, &found)),
        None => {
            let mut is_bare = true;
            bucket.list(Layout::BLOCKS, |_| {
                is_bare = false;
                ControlFlow::Break(())
            })?;
            if !is_bare {
                return Err(OwnerError::Unmarked(bucket.url().to_owned()));
            }
            catalog.bind(&ours)?;
            match bucket.put_new(Layout::OWNER, record(world, &ours.owner, &new_id(world), 0, false).into()) {
                Ok(()) => Ok(()),
                Err(BucketError::Exists(_)) => {
                    catalog.unbind()?;
                    Err(read(bucket)?.map_or_else(|| OwnerError::Unmarked(bucket.url().to_owned()), |found| foreign(bucket, &found)))
                }
                // Whether it was written is not known; the binding tells next time.
                Err(error) => Err(error.into()),
            }
        }
    }
}

fn new_id(world: &World) -> String {
    BlockId::new(world.clock.now(), random_u128()).to_string()
}

fn record(world: &World, owner: &str, session: &str, beat: u64, released: bool) -> Vec<u8> {
    let written_at = world.clock.now();
    let owner = Owner { format: Owner::FORMAT, owner: owner.to_owned(), session: session.to_owned(), beat, released, written_at };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&owner).unwrap_or_default()
}

/// Returns when nobody has written to the owner's record for a while, and fails as soon as somebody does.
fn wait_until_left(world: &World, bucket: &Bucket, found: Owner, shutdown: &Shutdown) -> Result<(), OwnerError> {
    let age = u128::try_from(world.clock.now().saturating_sub(found.written_at)).unwrap_or(0);
    if found.released || age > LONG_GONE.as_nanos() {
        return Ok(());
    }
    tracing::info!(
        bucket = bucket.url(),
        wait_s = WATCH.as_secs(),
        "the prefix has an owner that did not stop in order; watching whether it lives"
    );
    let until = std::time::Instant::now() + WATCH;
    while std::time::Instant::now() < until {
        if shutdown.is_requested() {
            return Err(OwnerError::InUse { url: bucket.url().to_owned(), owner: found.owner });
        }
        std::thread::sleep(Duration::from_secs(1));
        match read(bucket)? {
            Some(now) if now == found => {}
            Some(now) if now.released => return Ok(()),
            _ => return Err(OwnerError::InUse { url: bucket.url().to_owned(), owner: found.owner }),
        }
    }
    Ok(())
}

/// Keeps the prefix ours until shutdown: says that this process lives, and notices when another took over. It is also what
/// finds out that the bucket is down, and that it is back.
pub async fn keep(tier: Tier, catalog: Arc<Catalog>, shutdown: Shutdown) {
    let Some(remote) = tier.remote.clone() else { return };
    let session = new_id(&tier.world);
    // Counts what the bucket has confirmed: until our session is known to be in the record, another one there is that of a start
    // or of an earlier process of this directory.
    let mut beat = 1;
    loop {
        let step = (tier.clone(), catalog.clone(), remote.clone(), session.clone(), shutdown.clone());
        let alive = tokio::task::spawn_blocking(move || step.0.beat(&step.1, &step.2, &step.3, beat, &step.4)).await;
        let wait = match alive {
            Ok(Ok(())) => {
                beat += 1;
                BEAT
            }
            Ok(Err(OwnerError::Bucket(error))) => {
                remote.reader.health.failed(&error);
                BEAT / 2
            }
            Ok(Err(error)) => {
                remote.set_owned(false);
                tracing::error!(%error, "nothing is written to the bucket any more");
                BEAT * 6
            }
            Err(error) => {
                tracing::error!(%error, "cannot say to the bucket that this process lives");
                BEAT
            }
        };
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Tier {
    pub(super) fn beat(&self, catalog: &Catalog, remote: &Remote, session: &str, beat: u64, shutdown: &Shutdown) -> Result<(), OwnerError> {
        let bucket = &remote.reader.bucket;
        let bound = match catalog.binding()? {
            Some(bound) => bound,
            None => {
                // The bucket was down when we started; the directory is not empty.
                claim(&self.world, &self.layout, catalog, bucket, false, shutdown)?;
                catalog.binding()?.ok_or_else(|| OwnerError::Catalog("the bucket is not bound".into()))?
            }
        };
        match read(bucket)? {
            Some(found) if found.owner != bound.owner => return Err(foreign(bucket, &found)),
            // Someone else runs on a copy of this directory.
            Some(found) if beat > 1 && found.session != session => {
                return Err(OwnerError::InUse { url: bucket.url().to_owned(), owner: found.owner });
            }
            None if beat > 1 => return Err(OwnerError::Emptied(bucket.url().to_owned())),
            _ => {}
        }
        bucket.put(Layout::OWNER, record(&self.world, &bound.owner, session, beat, false).into())?;
        remote.reader.health.answered();
        remote.set_owned(true);
        if let Err(error) = self.sync_tombstones(catalog) {
            tracing::warn!(%error, "deletes are not in the bucket yet");
        }
        Ok(())
    }

    /// At a stop in order: an empty directory may take the prefix over at once.
    pub fn release(&self, catalog: &Catalog) -> Result<(), OwnerError> {
        let Some(remote) = self.remote.as_ref().filter(|remote| remote.is_owned()) else { return Ok(()) };
        let Some(bound) = catalog.binding()? else { return Ok(()) };
        remote.set_owned(false);
        let bucket = &remote.reader.bucket;
        bucket.put(Layout::OWNER, record(&self.world, &bound.owner, &new_id(&self.world), 0, true).into())?;
        Ok(())
    }
}

impl From<CatalogError> for OwnerError {
    fn from(error: CatalogError) -> OwnerError {
        OwnerError::Catalog(error.to_string())
    }
}
