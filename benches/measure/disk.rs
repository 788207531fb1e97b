//! What a directory takes.

use std::io;
use std::path::Path;

/// Bytes of all files below, as their lengths say. What goes away while it is counted counts nothing.
pub fn size(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let Ok(entry) = entry else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() { size(&entry.path()).unwrap_or(0) } else { metadata.len() };
    }
    Ok(bytes)
}
