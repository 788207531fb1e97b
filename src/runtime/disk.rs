use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The file system, as far as storage needs it. Errors carry the path.
///
/// What was written is durable only after [`WriteFile::sync`], and a name (created, renamed, removed) only after
/// [`Disk::sync_dir`] of its directory: a replacement that forgets everything else is how power loss is tested.
pub trait Disk: Send + Sync + 'static {
    /// A new file; an existing one is an error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Cuts a file and makes the cut durable.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, sorted; empty if it does not exist.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    fn exists(&self, path: &Path) -> bool;
    /// What a file, or all files below a directory, take of the disk, each counted as [`occupied`] says; 0 if there is none.
    fn bytes(&self, path: &Path) -> io::Result<u64>;

    /// The file system that holds `path`; without bounds where that is not known.
    fn space(&self, path: &Path) -> io::Result<Space> {
        let _ = path;
        Ok(Space { total_bytes: u64::MAX, free_bytes: u64::MAX })
    }
}

/// Of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    pub total_bytes: u64,
    /// What this process may still use.
    pub free_bytes: u64,
}

/// File systems give out their space in pages of so many bytes, nearly everywhere.
const PAGE_BYTES: u64 = 4_096;

/// What a file of this length takes of the disk.
pub fn occupied(length: u64) -> u64 {
    length.next_multiple_of(PAGE_BYTES)
}

/// Whether an operation failed for want of room (ENOSPC, EDQUOT): it may succeed later, and nothing else is wrong.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

pub trait WriteFile: Write + Send {
    /// Extends the file with zeros to `length`, so that later syncs need not write its size.
    fn reserve(&mut self, length: u64) -> io::Result<()>;
    /// fdatasync: contents, and the size if it changed.
    fn sync(&mut self) -> io::Result<()>;
}

pub trait ReadFile: Send + Sync {
    fn length(&self) -> io::Result<u64>;
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// The real file system.
pub struct OsDisk;

fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

impl Disk for OsDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = at(path, OpenOptions::new().write(true).create_new(true).open(path))?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        Ok(Arc::new(OsFile(at(path, File::open(path))?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        at(path, fs::read(path))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let cut = |f: File| f.set_len(length).and_then(|()| f.sync_all());
        at(path, OpenOptions::new().write(true).open(path).and_then(cut))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        at(from, fs::rename(from, to))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        at(path, fs::create_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        at(path, File::open(path).and_then(|d| d.sync_all()))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        at(path, fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        at(path, fs::remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => at(path, other)?,
        };
        let mut names = entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        let found = match fs::symlink_metadata(path) {
            // Gone, or removed while this walk was on its way.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => at(path, other)?,
        };
        if !found.is_dir() {
            return Ok(occupied(found.len()));
        }
        let names = self.list(path)?;
        names.iter().map(|name| self.bytes(&path.join(name))).sum()
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = at(path, rustix::fs::statvfs(path).map_err(io::Error::from))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { total_bytes: bytes(found.f_blocks), free_bytes: bytes(found.f_bavail) })
    }
}

struct OsFile(File);

impl Write for OsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl WriteFile for OsFile {
    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl ReadFile for OsFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}
