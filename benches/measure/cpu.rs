//! CPU time of a process, as Linux counts it.

use std::io;
use std::time::Duration;

/// One tick of the times in `/proc/PID/stat`.
pub const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads of `process`: a number, or `self`.
pub fn cpu_time(process: &str) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the name in parentheses; fields 14 and 15 are the times.
    let (_, fields) = stat.rsplit_once(')').ok_or_else(|| io::Error::other("no name in /proc/PID/stat"))?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>();
    ticks.map(|ticks| TICK * ticks).map_err(io::Error::other)
}
