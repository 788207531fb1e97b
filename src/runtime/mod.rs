//! The world, replaceable in tests: clock, disk, randomness, and the tasks that run until shutdown. Nothing else in the
//! crate (but `storage::tier`) reads a wall clock, draws randomness or touches the file system.

mod allocations;
mod background;
mod budget;
mod clock;
mod disk;
mod host;
mod memory;
#[cfg(test)]
pub mod memory_disk;
mod metered;
mod pace;
mod tasks;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use allocations::Allocations;
pub use background::{Behind, in_background};
pub use budget::{Budget, Reservation, Short};
pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, OsDisk, ReadFile, Space, WriteFile, is_full, occupied};
pub use host::{DirectoryLock, Taken, cores, hostname, memory_total_bytes, read_text, user_id, working_directory};
pub use memory::{Memory, MemoryUse, Pressure, Purpose, Shrink, give_back_freed};
pub use metered::MeteredDisk;
pub use pace::{Pace, Rate};
pub use tasks::{Shutdown, Tasks};

/// The parts of the world that storage needs, handed down from `server`.
#[derive(Clone)]
pub struct World {
    pub clock: Arc<dyn Clock>,
    pub disk: Arc<dyn Disk>,
}

impl World {
    pub fn real() -> World {
        World { clock: Arc::new(SystemClock), disk: Arc::new(OsDisk) }
    }

    /// Creates `directory`, which lies below `root`, and syncs every directory from its parent up to `root`: a new
    /// directory is only as durable as its entry in its parent. One that exists is synced, too, because the process that
    /// made it may have died before it could.
    pub fn create_dir_durable(&self, root: &Path, directory: &Path) -> io::Result<()> {
        self.disk.create_dir_all(directory)?;
        for ancestor in directory.ancestors().skip(1) {
            self.disk.sync_dir(ancestor)?;
            if ancestor == root {
                break;
            }
        }
        Ok(())
    }
}

/// Random bits for identifiers. Never for anything whose secrecy matters.
#[expect(clippy::disallowed_methods, reason = "the one place that draws random bits")]
pub fn random_u128() -> u128 {
    rand::random()
}
