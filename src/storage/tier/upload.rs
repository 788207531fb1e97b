//! Blocks go up as soon as they are cut: files first, each checked, then `meta.json`, which makes the block exist in the
//! bucket; and then the catalog is told.

use super::bucket::{Bucket, BucketError};
use super::{Remote, Tier, remove};
use crate::runtime::{ReadFile, Shutdown};
use crate::storage::block::{Block, BlockId, BlockMeta, TableMeta};
use crate::storage::catalog::{CatalogEdit, CatalogError, RemoteState};
use crate::storage::layout::Layout;
use crate::storage::maintenance::MaintenanceError;
use crate::storage::{Spec, Store};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Publish(#[from] MaintenanceError),
    #[error("upload: {0}")]
    Io(#[from] io::Error),
    #[error("{path} is not what it was when it was written: run `monocle verify`")]
    Damaged { path: String },
    #[error("upload: {0}")]
    Json(#[from] serde_json::Error),
}

const TICK: Duration = Duration::from_secs(1);

/// The wait after a failure doubles from the first to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// One signal's loop: uploads what the bucket does not have, and removes from it what is not live any more.
pub async fn run<S: Spec>(store: Arc<Store<S>>, shutdown: Shutdown) {
    let Some(remote) = store.tier().remote.clone() else { return };
    let (mut pause, mut retry) = (TICK, RETRY.0);
    let mut sweep = remove::Sweep::default();
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = tokio::time::sleep(pause) => {}
        }
        if !store.is_ready() || !remote.is_owned() {
            pause = TICK;
            continue;
        }
        let step = (store.clone(), remote.clone(), shutdown.clone(), std::mem::take(&mut sweep));
        let done = tokio::task::spawn_blocking(move || {
            let (store, remote, shutdown, mut sweep) = step;
            let done = store.upload_pass(&remote, &shutdown).and_then(|()| store.sweep(&remote, &mut sweep, &shutdown));
            (done, sweep)
        });
        let failure = match done.await {
            Ok((Ok(()), kept)) => {
                (sweep, pause, retry) = (kept, TICK, RETRY.0);
                continue;
            }
            Ok((Err(error), kept)) => {
                sweep = kept;
                if let UploadError::Bucket(error) = &error {
                    remote.reader.health.failed(error);
                }
                error.to_string()
            }
            Err(error) => error.to_string(),
        };
        remote.reader.metrics.upload_failed(store.spec().signal());
        tracing::warn!(signal = %store.spec().signal(), error = failure, again_in_s = retry.as_secs(), "upload failed, will be tried again");
        (pause, retry) = (retry, (retry * 2).min(RETRY.1));
    }
}

/// Live blocks that the bucket does not have, oldest first: so a block is there only after all that were there before it.
fn plan<'a>(live: &'a [Arc<Block>], known: &HashMap<BlockId, RemoteState>) -> Vec<&'a Arc<Block>> {
    let mut waiting: Vec<&Arc<Block>> = live.iter().filter(|b| known.get(&b.meta().id) != Some(&RemoteState::Verified)).collect();
    waiting.sort_by_key(|block| block.meta().id);
    waiting
}

impl<S: Spec> Store<S> {
    /// At a stop in order, after the last cut.
    pub fn upload_rest(&self, shutdown: &Shutdown) -> Result<(), UploadError> {
        self.tier().remote.as_ref().map_or(Ok(()), |remote| self.upload_pass(remote, shutdown))
    }

    /// Uploads everything that waits. What was found good in the bucket is committed block by block.
    pub(super) fn upload_pass(&self, remote: &Remote, shutdown: &Shutdown) -> Result<(), UploadError> {
        let signal = self.spec().signal();
        let known = self.catalog().remote_blocks(signal)?.into_iter().map(|(meta, state)| (meta.id, state)).collect();
        let live = self.live_blocks();
        let waiting = plan(&live, &known);
        let metrics = &remote.reader.metrics;
        metrics.waiting(signal, waiting.len() as u64);
        for (left, block) in waiting.iter().enumerate().map(|(at, block)| (waiting.len() - at - 1, block)) {
            if shutdown.is_requested() || !remote.is_owned() {
                return Ok(());
            }
            let meta = block.meta();
            if !self.catalog().upload_begins(meta)? {
                continue;
            }
            self.upload_columns(remote)?;
            // Held meanwhile, so its files stay here even if it is replaced.
            upload_block(self.tier(), &remote.reader.bucket, meta)?;
            self.publish(&CatalogEdit { uploaded: vec![meta.clone()], ..CatalogEdit::default() }, None)?;
            if self.is_live(meta) {
                remote.verified.write().insert(meta.id);
            }
            remote.reader.health.answered();
            metrics.uploaded(signal, meta.bytes());
            metrics.waiting(signal, left as u64);
            tracing::debug!(%signal, block = %meta.id, bytes = meta.bytes(), "block uploaded");
        }
        Ok(())
    }

    /// The numbers of columns are in the bucket before the first block that uses them.
    fn upload_columns(&self, remote: &Remote) -> Result<(), UploadError> {
        let signal = self.spec().signal();
        let columns = self.catalog().columns(signal)?;
        let mut uploaded = remote.columns.lock();
        if uploaded.get(&signal) != Some(&columns.len()) {
            remote.reader.bucket.put(&Layout::remote_columns(signal), serde_json::to_vec(&columns)?.into())?;
            // Columns are only ever added, so their number tells one state from another.
            uploaded.insert(signal, columns.len());
        }
        Ok(())
    }
}

fn upload_block(tier: &Tier, bucket: &Bucket, meta: &BlockMeta) -> Result<(), UploadError> {
    for table in &meta.tables {
        let path = tier.layout.block(meta).join(Layout::table_file(&table.name));
        let file = tier.world.disk.open(&path)?;
        let digests = Digests::of(file.as_ref(), table.bytes, bucket.part_bytes())?;
        if digests.sha256 != table.sha256 {
            return Err(UploadError::Damaged { path: path.display().to_string() });
        }
        let key = Layout::remote_table(meta, &table.name);
        if !is_there(bucket, &key, table, &digests)? {
            let mut parts = Parts { file: file.as_ref(), at: 0, length: table.bytes, part_bytes: bucket.part_bytes() };
            bucket.put_parts(&key, || parts.next_part())?;
            verify(bucket, &key, table, &digests)?;
        }
    }
    bucket.put_new(&Layout::remote_meta(meta), tier.world.disk.read(&tier.layout.block(meta).join(Layout::META))?.into())?;
    Ok(())
}

/// From an upload that was interrupted, say.
fn is_there(bucket: &Bucket, key: &str, table: &TableMeta, digests: &Digests) -> Result<bool, BucketError> {
    let info = bucket.head(key)?;
    Ok(info.is_some_and(|info| info.bytes == table.bytes && info.etag.as_ref() == Some(&digests.etag)))
}

/// The object has the size and, by its ETag or byte for byte, the contents of the file. Servers that encrypt with keys of
/// their own give other ETags, and so do some others: then it is read back.
fn verify(bucket: &Bucket, key: &str, table: &TableMeta, digests: &Digests) -> Result<(), BucketError> {
    let info = bucket.head(key)?.ok_or_else(|| BucketError::Damaged(key.to_owned(), "it is gone after its upload".into()))?;
    if info.bytes != table.bytes {
        return Err(BucketError::Damaged(key.to_owned(), format!("{} bytes arrived of {}", info.bytes, table.bytes)));
    }
    if info.etag.as_ref() == Some(&digests.etag) {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let mut at = 0;
    while at < table.bytes {
        let end = (at + bucket.part_bytes() as u64).min(table.bytes);
        hash.update(bucket.get_range(key, at..end)?);
        at = end;
    }
    if hex(&hash.finalize()) == table.sha256 {
        return Ok(());
    }
    Err(BucketError::Damaged(key.to_owned(), "other bytes arrived than were sent".into()))
}

/// Of one file, in one pass.
struct Digests {
    sha256: String,
    /// What S3 gives: the MD5 of the file, or of its parts' MD5s with their number.
    etag: String,
}

impl Digests {
    fn of(file: &dyn ReadFile, length: u64, part_bytes: usize) -> io::Result<Digests> {
        let (mut sha256, mut parts) = (Sha256::new(), Vec::new());
        let mut reader = Parts { file, at: 0, length, part_bytes };
        while let Some(part) = reader.read()? {
            sha256.update(&part);
            parts.push(Md5::digest(&part));
        }
        let etag = match parts.as_slice() {
            [] => hex(&Md5::digest(b"")),
            [only] => hex(only),
            many => format!("{}-{}", hex(&Md5::digest(many.concat())), many.len()),
        };
        Ok(Digests { sha256: hex(&sha256.finalize()), etag })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A file in the pieces in which it goes up.
struct Parts<'a> {
    file: &'a dyn ReadFile,
    at: u64,
    length: u64,
    part_bytes: usize,
}

impl Parts<'_> {
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let count = (self.length - self.at).min(self.part_bytes as u64);
        if count == 0 {
            return Ok(None);
        }
        let mut part = vec![0; count as usize];
        self.file.read_exact_at(&mut part, self.at)?;
        self.at += count;
        Ok(Some(part))
    }

    fn next_part(&mut self) -> Result<Option<Bytes>, BucketError> {
        self.read().map(|part| part.map(Bytes::from)).map_err(|e| BucketError::Local(e.to_string()))
    }
}
