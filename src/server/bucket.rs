//! The bucket's part in start and stop.

use super::ServeError;
use super::rooms::Room;
use crate::config::Config;
use crate::model::Signal;
use crate::runtime::{Shutdown, World};
use crate::storage::block::BlockId;
use crate::storage::catalog::{Binding, Catalog};
use crate::storage::layout::Layout;
use crate::storage::tier::{Bucket, BucketError, OwnerError, Tier, attach};
use crate::telemetry::Telemetry;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Of the disk budget, what queries have read of blocks that only a bucket has takes at most a tenth.
const CACHE_SHARE: u64 = 10;

/// Where blocks are. With a bucket, its prefix is ours afterwards, and the catalog has what an empty directory found there.
pub(super) async fn open(
    config: &Config,
    disk_bytes: u64,
    world: &World,
    layout: &Layout,
    catalog: &Arc<Catalog>,
    telemetry: &Telemetry,
    shutdown: &Shutdown,
) -> Result<Tier, ServeError> {
    let Some(bucket) = &config.bucket else {
        return match only_remote(world, layout, catalog)? {
            Some(binding) => Err(ServeError::BucketNeeded(binding.url)),
            None => Ok(Tier::new(world.clone(), layout.clone())),
        };
    };
    let bucket = bucket.clone();
    let (world, layout, catalog, metrics) = (world.clone(), layout.clone(), catalog.clone(), telemetry.bucket.clone());
    let shutdown = shutdown.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let bucket = Bucket::connect(&bucket)?;
        attach(&world, &layout, &catalog, &bucket, &shutdown)?;
        Ok(Tier::with_bucket(world, layout, &catalog, bucket, disk_bytes / CACHE_SHARE, metrics)?)
    });
    opened.await.map_err(io::Error::other)?
}

/// The bucket that holds blocks whose files are not here any more, if there is one.
fn only_remote(world: &World, layout: &Layout, catalog: &Catalog) -> Result<Option<Binding>, ServeError> {
    let Some(binding) = catalog.binding()? else { return Ok(None) };
    for signal in Signal::ALL {
        let remote: HashSet<BlockId> = catalog.remote_blocks(signal)?.into_iter().map(|(meta, _)| meta.id).collect();
        if catalog.blocks(signal)?.iter().any(|meta| remote.contains(&meta.id) && !world.disk.exists(&layout.block(meta))) {
            return Ok(Some(binding));
        }
    }
    Ok(None)
}

/// Uploads the blocks of the last cut, and lets go of the prefix. What does not go in time goes after the next start.
pub(super) async fn close(rooms: Arc<[Room]>, tier: Tier, catalog: Arc<Catalog>, limit: Duration) {
    let late = Shutdown::default();
    let in_time = late.clone();
    let work = tokio::task::spawn_blocking(move || {
        for room in rooms.iter() {
            if let Err(error) = room.engine.upload_rest(&in_time) {
                tracing::warn!(%error, "the last blocks are not in the bucket yet");
                return;
            }
        }
        if !in_time.is_requested()
            && let Err(error) = tier.release(&catalog)
        {
            tracing::warn!(%error, "cannot let go of the bucket's prefix");
        }
    });
    if tokio::time::timeout(limit, work).await.is_err() {
        late.request();
        tracing::warn!("stopping before the last blocks are in the bucket");
    }
}

/// What the operator can do about a bucket that does not do as it should, by the codes that S3 gives.
/// Source: Amazon S3 API reference, "Error responses".
pub(super) fn what_to_do(error: &BucketError) -> &'static str {
    let text = match error {
        BucketError::Refused(text) | BucketError::Unavailable(text) => text.as_str(),
        _ => return "",
    };
    let known = [
        (
            "/latest/api/token",
            ". There are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role that has some",
        ),
        ("NoSuchBucket", ". There is no such bucket: create it, or mend the name in --s3"),
        ("InvalidAccessKeyId", ". The key is not known there: look at AWS_ACCESS_KEY_ID (and --s3-endpoint)"),
        ("SignatureDoesNotMatch", ". The secret does not belong to the key: look at AWS_SECRET_ACCESS_KEY"),
        ("RequestTimeTooSkewed", ". The clocks differ by more than 15 minutes: set this machine's, or start a time service"),
        ("AuthorizationHeaderMalformed", ". The bucket is in another region: --s3-region names it"),
        ("PermanentRedirect", ". The bucket is in another region: --s3-region names it"),
        ("IllegalLocationConstraint", ". The bucket is in another region: --s3-region names it"),
        ("ExpiredToken", ". The credentials have expired: give new AWS_… variables"),
        ("AccessDenied", ". The key may not do this: it has to list, read, write and delete below the prefix"),
        ("redirect", ". The bucket may be in another region: --s3-region names it"),
        ("invalid peer certificate", ". It is not from an authority that is known here: AWS_CA_BUNDLE names a file with others"),
        ("(Connect)", ". Nothing answers there: look at --s3-endpoint, and whether that server runs"),
        ("onnection refused", ". Nothing answers there: look at --s3-endpoint, and whether that server runs"),
    ];
    let found = known.into_iter().find(|(code, _)| text.contains(code));
    found.map_or(". Look at --s3, --s3-endpoint, --s3-region and the AWS_… variables with the keys", |(_, advice)| advice)
}

pub(super) fn what_to_do_about(error: &OwnerError) -> &'static str {
    match error {
        OwnerError::Bucket(error) => what_to_do(error),
        _ => "",
    }
}
