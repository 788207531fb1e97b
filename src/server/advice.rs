//! What is allowed, and probably not meant: said at every start and by `monocle check-config`.

use crate::config::Config;
use crate::model::number::format_size;
use crate::model::time::format_rfc3339;
use crate::runtime::{World, memory_total_bytes};

/// 2026, before which nothing of this was written, in nanoseconds since the epoch.
const EARLIEST: i64 = 1_767_225_600_000_000_000;

/// What the process has been seen to take beyond `--memory`, in halves of it.
const MEMORY_PEAK_HALVES: u64 = 3;

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
    let peak = planned.saturating_mul(MEMORY_PEAK_HALVES) / 2;
    let (planned, total_text) = (format_size(planned), format_size(total));
    (peak > total).then(|| {
        format!(
            "--memory {planned}: this process may have {total_text} (the machine's RAM, or the limit of its cgroup), and takes up to one and a \
             half times --memory under full load: it may be killed. Give it more, or say at most --memory {}",
            format_size((total * 2 / MEMORY_PEAK_HALVES) >> 20 << 20)
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
    fn memory_has_to_fit_with_its_peaks() {
        const GIB: u64 = 1 << 30;
        assert_eq!(memory(2 * GIB, 3 * GIB), None);
        let text = memory(2 * GIB + 1, 3 * GIB).unwrap();
        assert!(text.contains("--memory 2GiB") && text.contains("3GiB"), "{text}");
    }
}
