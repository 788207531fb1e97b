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

impl LogRows {
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
        let entry = |e: &Entry| 40 + e.line.len() + e.metadata.iter().map(|(n, v)| n.len() + v.len() + 8).sum::<usize>();
        self.streams.iter().map(|s| s.labels.heap_bytes() + s.entries.iter().map(entry).sum::<usize>()).sum()
    }
}
