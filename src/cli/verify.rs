use super::progress::Progress;
use crate::config::Config;
use crate::runtime::World;
use crate::server::lock_directory;
use crate::storage::catalog::Catalog;
use crate::storage::layout::Layout;
use crate::storage::rebuild::rebuild;
use crate::storage::tier::Bucket;
use crate::storage::verify::{verify, verify_bucket};
use std::io::{self, Write};

/// Reads everything that is stored, with `--s3` in the bucket, too, and says what is wrong with it. Works beside a running process, too.
pub(super) fn check(config: Config) -> Result<(), String> {
    let (world, layout) = (World::real(), Layout::new(&config.data));
    if !world.disk.exists(&layout.catalog()) {
        return Err(format!("{} does not exist: wrong --data, or lost (see `monocle catalog rebuild`)", layout.catalog().display()));
    }
    let catalog = Catalog::open(&world, &layout).map_err(|e| e.to_string())?;
    let mut progress = Progress::new("verify");
    let verified = verify(&world, &layout, &catalog, |done, of| progress.bytes(done, of));
    drop(progress);
    let mut report = verified.map_err(|e| e.to_string())?;
    if let Some(bucket) = config.bucket.as_ref().map(Bucket::connect).transpose().map_err(|e| e.to_string())? {
        let mut progress = Progress::new("verify of the bucket");
        verify_bucket(&catalog, &bucket, &mut report, |done, of| progress.bytes(done, of)).map_err(|e| e.to_string())?;
    }
    let mut out = io::stdout();
    let lines =
        report.errors.iter().map(|line| format!("error: {line}\n")).chain(report.notes.iter().map(|line| format!("note: {line}\n")));
    let text: String = lines.collect();
    let summary = format!(
        "{} blocks here and {} in the bucket ({} MiB) and {} frames read, {} blocks only in the bucket; {} errors, {} notes\n",
        report.blocks,
        report.remote_read,
        report.bytes >> 20,
        report.frames,
        report.remote,
        report.errors.len(),
        report.notes.len()
    );
    out.write_all((text + &summary).as_bytes()).map_err(|e| e.to_string())?;
    if report.errors.is_empty() { Ok(()) } else { Err(format!("{} errors", report.errors.len())) }
}

/// Makes a new catalog from the files of blocks, here and in the bucket.
pub(super) fn rebuild_catalog(config: Config) -> Result<(), String> {
    let (world, layout) = (World::real(), Layout::new(&config.data));
    if !world.disk.exists(&layout.blocks()) {
        return Err(format!("{} does not exist: with --s3, `monocle serve` fills an empty directory by itself", layout.blocks().display()));
    }
    let _lock = lock_directory(&config.data).map_err(|e| e.to_string())?;
    let bucket = config.bucket.as_ref().map(Bucket::connect).transpose().map_err(|e| e.to_string())?;
    let mut progress = Progress::new("catalog rebuild");
    let rebuilt = rebuild(&world, &layout, bucket.as_ref(), |done, of| progress.count(done, of, "blocks"));
    drop(progress);
    let rebuilt = rebuilt.map_err(|e| e.to_string())?;
    let text = format!(
        "catalog rebuilt: {} blocks with {} items, {} of them only in the bucket; {} blocks here are left out\n",
        rebuilt.blocks, rebuilt.items, rebuilt.remote, rebuilt.left_out
    );
    io::stdout().write_all(text.as_bytes()).map_err(|e| e.to_string())
}
