//! The data directory at start: it is there, can be written to, and is nobody else's.

use crate::runtime::{DirectoryLock, Taken, World, user_id};
use crate::storage::layout::Layout;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("cannot use data directory {}: {}", path.display(), why(.path, .cause))]
    Unusable { path: PathBuf, cause: io::Error },
    #[error(
        "data directory {} is in use by another monocle{}: stop that one, or give this one a directory of its own (--data DIR, and ports of its own)",
        path.display(), process.map(|id| format!(" (process {id})")).unwrap_or_default()
    )]
    InUse { path: PathBuf, process: Option<u32> },
}

fn why(path: &Path, cause: &io::Error) -> String {
    let user = user_id().map_or_else(|| "this user".to_owned(), |id| format!("user {id}"));
    match cause.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{cause}. {user} has to be able to write there: chown it, or name another one (--data DIR); for a container, the volume's owner"
            )
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            format!("it, or what it lies in, is a file ({cause}). Name a directory (--data DIR)")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            format!("{cause}. Name a directory elsewhere (--data DIR), or mount a volume at {}", path.display())
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("{cause}. Free some of the disk, or name a directory elsewhere (--data DIR)")
        }
        _ => format!("{cause} (--data DIR names another one)"),
    }
}

/// Creates it if need be, and takes it for this process.
pub(super) fn open(world: &World, layout: &Layout) -> Result<DirectoryLock, DirectoryError> {
    let root = layout.root();
    let unusable = |cause| DirectoryError::Unusable { path: root.to_owned(), cause };
    world.disk.create_dir_all(root).map_err(unusable)?;
    if let Some(parent) = root.parent().filter(|p| !p.as_os_str().is_empty()) {
        // Makes a new directory durable. What lies in one that cannot be read was there before.
        match world.disk.sync_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(unusable(error)),
            _ => {}
        }
    }
    lock_directory(root)
}

/// Takes a data directory that is there for this process.
pub fn lock_directory(root: &Path) -> Result<DirectoryLock, DirectoryError> {
    match DirectoryLock::take(&Layout::new(root).lock()) {
        Ok(Ok(lock)) => Ok(lock),
        Ok(Err(Taken(process))) => Err(DirectoryError::InUse { path: root.to_owned(), process }),
        Err(cause) => Err(DirectoryError::Unusable { path: root.to_owned(), cause }),
    }
}
