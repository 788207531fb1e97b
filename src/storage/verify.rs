//! Whether everything that is stored is still what was written: every checksum of blocks and frames, and whether catalog and
//! files tell the same. Reads everything and changes nothing.

mod remote;

use super::block::{BlockId, BlockMeta, CHUNK_BYTES, ChunkSums, TableMeta, describe};
use super::catalog::{Catalog, CatalogError, RemoteState};
use super::layout::Layout;
use super::tier::BucketError;
use super::wal::{Found, scan, segments};
use crate::model::Signal;
use crate::runtime::World;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

pub use remote::verify_bucket;

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error("verify: {0}")]
    Bucket(#[from] BucketError),
    #[error("verify: {0}")]
    Io(#[from] io::Error),
}

/// What was looked at, and what is wrong.
#[derive(Debug, Default)]
pub struct Report {
    pub blocks: u64,
    pub bytes: u64,
    /// Blocks whose files are only in the bucket.
    pub remote: u64,
    /// Blocks of the bucket that were read there.
    pub remote_read: u64,
    pub frames: u64,
    /// One line each: something was lost or changed.
    pub errors: Vec<String>,
    /// One line each: what a crash leaves behind, and the next start puts in order.
    pub notes: Vec<String>,
}

/// Findings that are kept of each kind: a disk that is gone should not fill memory with its loss.
const FINDINGS_MAX: usize = 10_000;

impl Report {
    fn error(&mut self, line: impl Into<String>) {
        if self.errors.len() < FINDINGS_MAX {
            self.errors.push(line.into());
        }
    }

    /// Compares the contents of a table's file with what they were.
    fn compare(&mut self, place: &str, table: &TableMeta, sha256: &str, chunks: &[u32]) -> bool {
        let is_same = sha256 == table.sha256;
        if !is_same {
            let damaged = chunks.iter().zip(&table.chunks).position(|(is, was)| is != was);
            let mib = damaged.map_or(String::new(), |mib| format!(", first in MiB {mib}"));
            self.error(format!("{place}: SHA-256 is wrong{mib}"));
        }
        is_same
    }

    fn note(&mut self, line: impl Into<String>) {
        if self.notes.len() < FINDINGS_MAX {
            self.notes.push(line.into());
        }
    }
}

/// Checks a data directory. `progress` is told how many bytes of how many in blocks were read, after each file.
pub fn verify(world: &World, layout: &Layout, catalog: &Catalog, mut progress: impl FnMut(u64, u64)) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    for line in catalog.check()? {
        report.error(format!("catalog.db: {line}"));
    }
    let mut listed = HashSet::new();
    let (mut local, mut total) = (Vec::new(), 0);
    for signal in Signal::ALL {
        let remote = catalog.remote_blocks(signal)?.into_iter().filter(|(_, state)| *state == RemoteState::Verified);
        let remote: HashSet<BlockId> = remote.map(|(meta, _)| meta.id).collect();
        for meta in catalog.blocks(signal)? {
            listed.insert(meta.id);
            if world.disk.exists(&layout.block(&meta)) {
                total += meta.bytes();
                local.push(meta);
            } else if remote.contains(&meta.id) {
                report.remote += 1;
            } else if is_listed(catalog, &meta)? {
                report.error(format!("{}: the catalog lists it, and it is not there", layout.block(&meta).display()));
            }
        }
    }
    for meta in &local {
        let before = report.errors.len();
        verify_block(world, layout, meta, &mut report, &mut |bytes| progress(bytes, total));
        // Of a running process a block may go meanwhile.
        if report.errors.len() > before && !is_listed(catalog, meta)? {
            report.errors.truncate(before);
        }
    }
    for (id, path) in super::maintenance::find_blocks(world, layout)? {
        if !listed.contains(&id) {
            report.note(format!("{}: the catalog does not list it", path.display()));
        }
    }
    for signal in Signal::ALL {
        verify_lane(world, layout, signal, catalog.floor(signal)?, &mut report)?;
    }
    Ok(report)
}

fn is_listed(catalog: &Catalog, meta: &BlockMeta) -> Result<bool, CatalogError> {
    Ok(catalog.blocks(meta.signal)?.iter().any(|listed| listed.id == meta.id))
}

fn verify_block(world: &World, layout: &Layout, meta: &BlockMeta, report: &mut Report, progress: &mut dyn FnMut(u64)) {
    let home = layout.block(meta);
    report.blocks += 1;
    let path = home.join(Layout::META);
    match world.disk.read(&path).map_err(|e| e.to_string()).and_then(|bytes| BlockMeta::parse(&bytes)) {
        Ok(found) if found == *meta => {}
        Ok(_) => report.error(format!("{}: the catalog says otherwise", path.display())),
        Err(why) => report.error(format!("{}: {why}", path.display())),
    }
    for table in &meta.tables {
        let path = home.join(Layout::table_file(&table.name));
        let read = read_sums(world, &path);
        report.bytes += table.bytes;
        progress(report.bytes);
        let (bytes, sha256, chunks) = match read {
            Ok(sums) => sums,
            Err(error) => {
                report.error(error.to_string());
                continue;
            }
        };
        let path = path.display();
        if bytes != table.bytes {
            report.error(format!("{path}: {bytes} bytes, and there were {}", table.bytes));
        } else if report.compare(&path.to_string(), table, &sha256, &chunks) {
            verify_footer(world, layout, meta, &table.name, table.bytes, report);
        }
    }
}

/// A file that is as it was written may still not be what the catalog takes it for.
fn verify_footer(world: &World, layout: &Layout, meta: &BlockMeta, table: &str, bytes: u64, report: &mut Report) {
    let path = layout.block(meta).join(Layout::table_file(table));
    let footer = world.disk.open(&path).map_err(|e| e.to_string()).and_then(|file| describe(table, file, bytes).map_err(|e| e.to_string()));
    match footer {
        Ok(footer) => {
            let facts = footer.facts.and_then(|facts| BlockMeta::parse(facts.as_bytes()).ok());
            if facts.is_none_or(|facts| facts.id != meta.id || facts.tenant != meta.tenant) {
                report.error(format!("{}: its footer names another block", path.display()));
            }
        }
        Err(why) => report.error(format!("{}: {why}", path.display())),
    }
}

/// Length, SHA-256 and chunk checksums of a file, a MiB at a time.
fn read_sums(world: &World, path: &Path) -> io::Result<(u64, String, Vec<u32>)> {
    let file = world.disk.open(path)?;
    let length = file.length()?;
    let (mut hash, mut chunks, mut at) = (Sha256::new(), ChunkSums::default(), 0);
    let mut buffer = vec![0; CHUNK_BYTES];
    while at < length {
        let count = (length - at).min(CHUNK_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..count], at)?;
        hash.update(&buffer[..count]);
        chunks.update(&buffer[..count]);
        at += count as u64;
    }
    Ok((length, hex(&hash.finalize()), chunks.finish()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn verify_lane(world: &World, layout: &Layout, signal: Signal, floor: u64, report: &mut Report) -> io::Result<()> {
    let firsts = segments(world, layout, signal)?;
    let mut next = None;
    for (index, first) in firsts.iter().enumerate() {
        let path = layout.segment(signal, *first);
        let is_last = index + 1 == firsts.len();
        scan(world, &path, *first, |found| match found {
            Found::Frame(at, frame) => {
                report.frames += 1;
                if next.is_some_and(|next| frame.lsn != next) && frame.lsn > floor {
                    report.error(format!("{}: frame {} at byte {at} does not follow the one before it", path.display(), frame.lsn));
                }
                next = Some(frame.lsn + 1);
            }
            Found::Foreign => report.error(format!("{}: it does not begin as a segment does", path.display())),
            Found::Damaged(from, to) => {
                report.error(format!("{}: checksum of bytes {from} to {to} is wrong", path.display()));
                next = None;
            }
            Found::Unreadable(at) if is_last => {
                report.note(format!("{}: a write was interrupted at byte {at}; it was never acknowledged", path.display()));
            }
            Found::Unreadable(at) => report.error(format!("{}: nothing can be read from byte {at} on", path.display())),
        })?;
    }
    let damaged = |name: &&String| Path::new(name).extension().is_some_and(|e| e == "damaged");
    for name in world.disk.list(&layout.wal(signal))?.iter().filter(damaged) {
        let path: PathBuf = layout.wal(signal).join(name);
        report.error(format!("{}: a start before this set it aside", path.display()));
    }
    Ok(())
}
