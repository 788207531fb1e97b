//! The world, replaceable in tests: clock, disk, randomness, and the tasks that run until shutdown. Nothing else in the
//! crate (but `storage::tier`) reads a wall clock, draws randomness or touches the file system.

mod clock;
mod disk;
mod host;
mod tasks;

use std::sync::Arc;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, OsDisk, ReadFile, WriteFile};
pub use host::{DirectoryLock, cores, memory_total_bytes, read_text};
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
}

/// Random bits for identifiers. Never for anything whose secrecy matters.
pub fn random_u128() -> u128 {
    rand::random()
}
