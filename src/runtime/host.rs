use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Memory this process may use, in bytes: the limit of its cgroup if there is one, else the machine's RAM; 1 GiB if
/// neither can be read.
pub fn memory_total_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    });
    let limit = |path: &str| fs::read_to_string(path).ok().and_then(|t| t.trim().parse::<u64>().ok());
    let cgroup = limit("/sys/fs/cgroup/memory.max").or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    match (machine, cgroup) {
        (Some(machine), Some(cgroup)) => machine.min(cgroup),
        (found, None) | (None, found) => found.unwrap_or(1 << 30),
    }
}

/// Cores this process may run on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Whose rights this process has, where it can be told: the owner of what the kernel shows of it.
pub fn user_id() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|own| own.uid())
}

/// Holds a data directory for this process; released when dropped, or when the process dies.
pub struct DirectoryLock {
    _file: File,
}

/// Another process holds it: its number, if it has written one.
pub struct Taken(pub Option<u32>);

impl DirectoryLock {
    /// The file has the number of the process that holds it, for people.
    pub fn take(path: &Path) -> io::Result<Result<DirectoryLock, Taken>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                // The lock counts, not what stands in the file: a full disk is no reason not to start.
                let _ = file.write_all(std::process::id().to_string().as_bytes());
                Ok(Ok(DirectoryLock { _file: file }))
            }
            Err(fs::TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                Ok(Err(Taken(read.ok().and_then(|_| text.trim().parse().ok()))))
            }
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }
}

/// A configuration file's text; `None` if there is no such file.
pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
    }
}

/// The machine's name; empty where it cannot be told.
pub fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default()
}

/// The working directory of the process; empty where it is gone.
pub fn working_directory() -> String {
    std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default()
}
