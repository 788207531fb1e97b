//! Memory of a process, as Linux counts it.

use std::io;

/// Bytes in RAM.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resident {
    pub now: u64,
    /// At most since the process began, or since its `clear_refs` was written.
    pub peak: u64,
}

/// Of `process`: a number, or `self`. All zero for one that has just ended.
pub fn resident(process: &str) -> io::Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    // Lines such as `VmRSS:  1234 kB`.
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
        value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Ok(Resident { now: bytes("VmRSS:"), peak: bytes("VmHWM:") })
}
