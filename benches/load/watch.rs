//! What is seen of a server and its directory while it runs.

use crate::Result;
use crate::disk::size;
use crate::memory::resident;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MEMORY_EVERY: Duration = Duration::from_millis(100);
const DISK_EVERY: u32 = 10;

/// What was seen until now. Bytes.
#[derive(Default)]
pub struct Seen {
    pub resident_peak: u64,
    resident_sum: u64,
    samples: u64,
    pub disk_peak: u64,
    blocks: HashMap<String, Facts>,
}

struct Facts {
    signal: String,
    /// Nanoseconds since 1970.
    max_time: u64,
    parents: Vec<String>,
    is_here: bool,
}

impl Seen {
    pub fn resident_mean(&self) -> u64 {
        self.resident_sum / self.samples.max(1)
    }

    /// The newest time, in nanoseconds since 1970, of the blocks of each signal that went without having been merged.
    pub fn dropped(&self) -> BTreeMap<&str, u64> {
        let merged: HashSet<&String> = self.blocks.values().flat_map(|facts| &facts.parents).collect();
        let mut dropped = BTreeMap::new();
        for (_, facts) in self.blocks.iter().filter(|(id, facts)| !facts.is_here && !merged.contains(id)) {
            let newest = dropped.entry(facts.signal.as_str()).or_insert(0);
            *newest = facts.max_time.max(*newest);
        }
        dropped
    }

    fn look_at_memory(&mut self, pid: u32) -> Result<()> {
        let now = resident(&pid.to_string())?;
        self.resident_peak = self.resident_peak.max(now.peak);
        self.resident_sum += now.now;
        self.samples += 1;
        Ok(())
    }

    fn look_at_disk(&mut self, data: &Path) -> Result<()> {
        self.disk_peak = self.disk_peak.max(size(data)?);
        self.blocks.values_mut().for_each(|facts| facts.is_here = false);
        let mut found = Vec::new();
        find(&data.join("blocks"), &mut found);
        for (id, directory) in found {
            match self.blocks.get_mut(&id) {
                Some(facts) => facts.is_here = true,
                None => {
                    // It may have gone since it was listed.
                    let facts = std::fs::read(directory.join("meta.json")).ok().and_then(|text| facts(&text));
                    self.blocks.extend(facts.map(|facts| (id, facts)));
                }
            }
        }
        Ok(())
    }
}

fn facts(text: &[u8]) -> Option<Facts> {
    let meta: Value = serde_json::from_slice(text).ok()?;
    let parents = meta["parents"].as_array().into_iter().flatten().filter_map(|id| Some(id.as_str()?.to_owned())).collect();
    Some(Facts { signal: meta["signal"].as_str()?.to_owned(), max_time: meta["max_time"].as_u64()?, parents, is_here: true })
}

/// Directories with files of a block, by its id.
fn find(directory: &Path, found: &mut Vec<(String, PathBuf)>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.join("meta.json").exists() {
            found.push((entry.file_name().to_string_lossy().into_owned(), path));
        } else if path.is_dir() {
            find(&path, found);
        }
    }
}

/// Looks every now and then until it is asked what it saw.
pub struct Watch {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Watch {
    pub fn start(pid: u32, data: PathBuf) -> Watch {
        let end = Arc::new(AtomicBool::new(false));
        let until = end.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            let mut next = Instant::now();
            for turn in 0u32.. {
                seen.look_at_memory(pid)?;
                let ends = until.load(Ordering::Relaxed);
                if turn % DISK_EVERY == 0 || ends {
                    seen.look_at_disk(&data)?;
                }
                if ends {
                    break;
                }
                next += MEMORY_EVERY;
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(seen)
        });
        Watch { end, thread }
    }

    pub fn end(self) -> Result<Seen> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the watch ended early")?
    }
}
