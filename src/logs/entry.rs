use crate::model::Labels;
use crate::storage::Rows;
use std::sync::Arc;

/// A name and a value of structured metadata. Shared, because the attributes of a resource stand on all of its entries.
pub type Pair = (Arc<str>, Arc<str>);

/// One log line.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Position in the request, in the order in which translation meets the items; refusals name it.
    pub index: u32,
    /// Nanoseconds since the epoch.
    pub ts: i64,
    pub line: String,
    /// Structured metadata; names are unique.
    pub metadata: Vec<Pair>,
}

/// Entries of one stream, in the order in which they came.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamEntries {
    pub labels: Labels,
    pub entries: Vec<Entry>,
}

/// One request's log lines. A stream may occur more than once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogRows {
    pub streams: Vec<StreamEntries>,
}

/// Sets a pair; of two with the same name the later one stays.
pub fn set_pair(pairs: &mut Vec<Pair>, name: &Arc<str>, value: &Arc<str>) {
    match pairs.iter_mut().find(|(n, _)| n == name) {
        Some((_, old)) => *old = value.clone(),
        None => pairs.push((name.clone(), value.clone())),
    }
}

/// Bounds of one entry's structured metadata. Loki's are 128 and 64 KiB (contracts/loki.md 2.2); ours are walls against
/// floods only. Constants, since replay must translate as live ingest did.
pub const METADATA_MAX_PAIRS: usize = 1_024;
pub const METADATA_MAX_BYTES: usize = 1 << 20;

/// Collects structured metadata within its bounds.
#[derive(Debug, Clone, Default)]
pub struct Metadata {
    pairs: Vec<Pair>,
    bytes: usize,
    is_too_large: bool,
}

impl Metadata {
    /// Sets a pair; of two with the same name the later one stays. Beyond the bounds nothing more is taken.
    pub fn set(&mut self, name: &Arc<str>, value: &Arc<str>) {
        if self.is_too_large {
            return;
        }
        self.bytes += name.len() + value.len();
        set_pair(&mut self.pairs, name, value);
        self.is_too_large = self.pairs.len() > METADATA_MAX_PAIRS || self.bytes > METADATA_MAX_BYTES;
    }

    /// Takes over the pairs of `other`, and its being too large.
    pub fn extend(&mut self, other: &Metadata) {
        self.is_too_large |= other.is_too_large;
        other.pairs.iter().for_each(|(name, value)| self.set(name, value));
    }

    pub fn is_too_large(&self) -> bool {
        self.is_too_large
    }

    /// Why an entry with too much of it is refused.
    pub fn complaint(labels: &Labels) -> String {
        format!("stream '{labels}' has structured metadata too large: limit: {METADATA_MAX_PAIRS} pairs and '{METADATA_MAX_BYTES}' bytes")
    }

    pub fn into_pairs(self) -> Vec<Pair> {
        self.pairs
    }
}

impl LogRows {
    /// Estimated bytes of one entry in memory.
    pub fn entry_bytes(entry: &Entry) -> usize {
        40 + entry.line.len() + entry.metadata.iter().map(|(n, v)| n.len() + v.len() + 8).sum::<usize>()
    }

    /// Keeps the entries for which `keep` holds, and no stream without entries.
    pub fn retain(&mut self, mut keep: impl FnMut(&Labels, &Entry) -> bool) {
        for stream in &mut self.streams {
            let labels = stream.labels.clone();
            stream.entries.retain(|e| keep(&labels, e));
        }
        self.streams.retain(|s| !s.entries.is_empty());
    }
}

impl Rows for LogRows {
    fn len(&self) -> usize {
        self.streams.iter().map(|s| s.entries.len()).sum()
    }

    fn bytes(&self) -> usize {
        self.streams.iter().map(|s| s.labels.heap_bytes() + s.entries.iter().map(LogRows::entry_bytes).sum::<usize>()).sum()
    }
}
