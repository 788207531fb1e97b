//! What is allowed, and probably not meant: said at every start and by `monocle check-config`.

use crate::config::Config;
use crate::model::number::format_size;
use crate::model::time::format_rfc3339;
use crate::runtime::{World, memory_total_bytes};

/// 2026, before which nothing of this was written, in nanoseconds since the epoch.
const EARLIEST: i64 = 1_767_225_600_000_000_000;

/// What there should be for `--memory`, in quarters of it: the kernel needs room for what is read and written, too.
const MEMORY_QUARTERS: u64 = 5;

/// One line each.
pub fn warnings(config: &Config, world: &World) -> Vec<String> {
    let mut found = config.warnings.clone();
    found.extend(memory(config.memory_bytes, memory_total_bytes()));
    found.extend(disk(config, world));
    let now = world.clock.now();
    if now < EARLIEST {
        found.push(format!(
            "the clock of this machine says {}: what is sent now seems to come from the future, and is refused or not found. Set it, or start a time service",
            format_rfc3339(now)
        ));
    }
    found
}

fn memory(planned: u64, total: u64) -> Option<String> {
    let peak = planned.saturating_mul(MEMORY_QUARTERS) / 4;
    let (planned, total_text) = (format_size(planned), format_size(total));
    (peak > total).then(|| {
        format!(
            "--memory {planned}: this process may have {total_text} (the machine's RAM, or the limit of its cgroup), which leaves too little for \
             files and for others: it may be killed. Give it more, or say at most --memory {}",
            format_size((total * 4 / MEMORY_QUARTERS) >> 20 << 20)
        )
    })
}

/// What the file system of the data directory has room for, if it can be told.
fn disk(config: &Config, world: &World) -> Option<String> {
    // Of a directory that is not there yet, the one that it will lie in.
    let there = config.data.ancestors().find(|path| !path.as_os_str().is_empty() && world.disk.exists(path));
    let there = there.unwrap_or(std::path::Path::new("."));
    let space = world.disk.space(there).ok()?;
    let stored = world.disk.bytes(&config.data).ok()?;
    let room = space.free_bytes.saturating_add(stored);
    (room < config.disk_bytes).then(|| {
        format!(
            "--disk {}: the file system of {} has room for {} only (free and already stored), so the oldest data goes sooner than that. Free some, \
             or say less",
            format_size(config.disk_bytes),
            config.data.display(),
            format_size(room)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_to_fit_with_room_to_spare() {
        const GIB: u64 = 1 << 30;
        assert_eq!(memory(4 * GIB, 5 * GIB), None);
        let text = memory(4 * GIB + 4, 5 * GIB).unwrap();
        assert!(text.contains("at most --memory 4GiB") && text.contains("5GiB"), "{text}");
    }
}
