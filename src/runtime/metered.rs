use super::{Disk, ReadFile, Space, WriteFile, occupied};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A disk that knows at any time what the files below its root take, as long as they are written through it.
pub struct MeteredDisk {
    inner: Arc<dyn Disk>,
    used: Used,
}

#[derive(Clone, Default)]
struct Used(Arc<AtomicU64>);

impl Used {
    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    fn replace(&self, before: u64, after: u64) {
        self.add(after);
        self.sub(before);
    }
}

impl MeteredDisk {
    /// Measures everything below `root`, once.
    pub fn over(inner: Arc<dyn Disk>, root: &Path) -> io::Result<MeteredDisk> {
        let used = Used::default();
        used.add(inner.bytes(root)?);
        Ok(MeteredDisk { inner, used })
    }

    /// Bytes of all files, each as [`occupied`] counts.
    pub fn used(&self) -> u64 {
        self.used.0.load(Ordering::Relaxed)
    }

    /// Does what changes the size of what is at `path`, however it ends.
    fn measured<T>(&self, path: &Path, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let before = self.inner.bytes(path).unwrap_or(0);
        let result = change();
        self.used.replace(before, self.inner.bytes(path).unwrap_or(before));
        result
    }
}

impl Disk for MeteredDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.inner.create(path)?;
        Ok(Box::new(MeteredFile { file, used: self.used.clone(), position: 0, length: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.inner.open(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.measured(path, || self.inner.truncate(path, length))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // What stood there goes.
        let replaced = self.inner.bytes(to).unwrap_or(0);
        self.inner.rename(from, to)?;
        self.used.sub(replaced);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.measured(path, || self.inner.remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.measured(path, || self.inner.remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.inner.list(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.bytes(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }
}

struct MeteredFile {
    file: Box<dyn WriteFile>,
    used: Used,
    position: u64,
    length: u64,
}

impl MeteredFile {
    fn grows_to(&mut self, length: u64) {
        self.used.replace(occupied(self.length), occupied(length));
        self.length = length;
    }
}

impl Write for MeteredFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.position += written as u64;
        self.grows_to(self.length.max(self.position));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl WriteFile for MeteredFile {
    fn reserve(&mut self, length: u64) -> io::Result<()> {
        self.file.reserve(length)?;
        self.grows_to(length);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::OsDisk;

    #[test]
    fn what_is_counted_is_what_lies_there_whatever_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("before"), [0; 5_000]).unwrap();
        let disk = MeteredDisk::over(Arc::new(OsDisk), dir.path()).unwrap();
        let check = |expected: u64| {
            assert_eq!((disk.used(), disk.bytes(dir.path()).unwrap()), (expected, expected));
        };
        check(8_192);
        let mut file = disk.create(&at("a")).unwrap();
        file.write_all(&[1; 10]).unwrap();
        check(8_192 + 4_096);
        file.reserve(1 << 20).unwrap();
        file.write_all(&[1; 10_000]).unwrap();
        check(8_192 + (1 << 20));
        assert!(disk.create(&at("a")).is_err());
        disk.truncate(&at("a"), 4_097).unwrap();
        check(8_192 + 8_192);
        disk.rename(&at("a"), &at("before")).unwrap();
        check(8_192);
        disk.create_dir_all(&at("d/e")).unwrap();
        disk.create(&at("d/e/f")).unwrap().write_all(&[1]).unwrap();
        check(12_288);
        assert!(disk.remove_file(&at("missing")).is_err());
        disk.remove_dir_all(&at("d")).unwrap();
        disk.remove_file(&at("before")).unwrap();
        check(0);
    }
}
