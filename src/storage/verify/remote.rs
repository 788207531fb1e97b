//! The same of what the bucket has: every object that the catalog takes for good is read and compared.

use super::{Report, VerifyError};
use crate::model::Signal;
use crate::storage::block::{BlockMeta, ChunkSums, TableMeta};
use crate::storage::catalog::{Catalog, CatalogError, RemoteState};
use crate::storage::layout::Layout;
use crate::storage::tier::{Bucket, BucketError};
use sha2::{Digest, Sha256};

/// Bytes of an object that are read at a time.
const READ_BYTES: u64 = 8 << 20;

/// Checks the blocks of a bucket, and counts them in the report. `progress` is told how many bytes of how many were read, after
/// each object. Fails where the bucket does not answer: nothing is known of its blocks then.
pub fn verify_bucket(
    catalog: &Catalog,
    bucket: &Bucket,
    report: &mut Report,
    mut progress: impl FnMut(u64, u64),
) -> Result<(), VerifyError> {
    let mut metas = Vec::new();
    for signal in Signal::ALL {
        metas.extend(verified(catalog, signal)?);
    }
    let total = metas.iter().map(BlockMeta::bytes).sum();
    let mut done = 0;
    for meta in &metas {
        let before = report.errors.len();
        verify_facts(bucket, meta, report)?;
        for table in &meta.tables {
            verify_object(bucket, meta, table, report)?;
            done += table.bytes;
            progress(done, total);
        }
        // Beside a running process a block may go meanwhile.
        if report.errors.len() > before && !verified(catalog, meta.signal)?.iter().any(|listed| listed.id == meta.id) {
            report.errors.truncate(before);
        }
        report.remote_read += 1;
    }
    Ok(())
}

/// What the bucket has for good.
fn verified(catalog: &Catalog, signal: Signal) -> Result<Vec<BlockMeta>, CatalogError> {
    let all = catalog.remote_blocks(signal)?.into_iter();
    Ok(all.filter(|(_, state)| *state == RemoteState::Verified).map(|(meta, _)| meta).collect())
}

fn verify_facts(bucket: &Bucket, meta: &BlockMeta, report: &mut Report) -> Result<(), BucketError> {
    let key = Layout::remote_meta(meta);
    match bucket.get_small(&key)?.map(|bytes| BlockMeta::parse(&bytes)) {
        Some(Ok(found)) if found == *meta => {}
        Some(Ok(_)) => report.error(format!("{}/{key}: the catalog says otherwise", bucket.url())),
        Some(Err(why)) => report.error(format!("{}/{key}: {why}", bucket.url())),
        None => report.error(format!("{}/{key}: the catalog lists it, and it is not there", bucket.url())),
    }
    Ok(())
}

fn verify_object(bucket: &Bucket, meta: &BlockMeta, table: &TableMeta, report: &mut Report) -> Result<(), BucketError> {
    let key = Layout::remote_table(meta, &table.name);
    let place = format!("{}/{key}", bucket.url());
    let Some(info) = bucket.head(&key)? else {
        report.error(format!("{place}: the catalog lists it, and it is not there"));
        return Ok(());
    };
    if info.bytes != table.bytes {
        report.error(format!("{place}: {} bytes, and there were {}", info.bytes, table.bytes));
        return Ok(());
    }
    let (mut hash, mut chunks, mut at) = (Sha256::new(), ChunkSums::default(), 0);
    while at < table.bytes {
        let end = (at + READ_BYTES).min(table.bytes);
        let bytes = bucket.get_range(&key, at..end)?;
        hash.update(&bytes);
        chunks.update(&bytes);
        at = end;
    }
    report.bytes += table.bytes;
    report.compare(&place, table, &super::hex(&hash.finalize()), &chunks.finish());
    Ok(())
}
