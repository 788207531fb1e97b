//! Acknowledged entries that are in no block yet: immutable chunks in order of acceptance. Small chunks are merged as
//! they come, so that a thousand small requests do not leave a thousand small batches behind.

mod chunk;
mod cut;

pub use chunk::Chunk;
pub use cut::{dense_labels, logs_options, sort_key};

use super::entry::LogRows;
use super::source::kept_streams;
use crate::model::{Labels, Reason};
use crate::storage::block::Block;
use crate::storage::{BlockDraft, Head, HeadStats, Refusals};
use arrow_schema::ArrowError;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Memory of one id in use.
const ID_BYTES: usize = 48;

#[derive(Default)]
pub struct LogsHead {
    state: Mutex<State>,
    /// Labels behind every stream id that is in use, here or in a block.
    ids: Mutex<HashMap<i64, Labels>>,
    /// Streams that entries may belong to.
    streams_max: Option<u64>,
}

#[derive(Default)]
struct State {
    chunks: Vec<Arc<Chunk>>,
    stats: HeadStats,
}

/// The chunks at one instant, oldest first.
pub struct Snapshot {
    pub chunks: Vec<Arc<Chunk>>,
}

impl LogsHead {
    pub fn bounded(streams_max: Option<u64>) -> LogsHead {
        LogsHead { streams_max, ..LogsHead::default() }
    }

    /// How many streams there may be, if there are as many.
    fn refuses_more(&self, ids: &HashMap<i64, Labels>) -> Option<u64> {
        self.streams_max.filter(|max| ids.len() as u64 >= *max)
    }

    fn push(&self, chunk: Chunk) -> Result<(), ArrowError> {
        let mut state = self.state.lock();
        state.stats.rows += chunk.rows();
        state.stats.bytes += chunk.bytes();
        state.chunks.push(Arc::new(chunk));
        while let [.., a, b] = &state.chunks[..]
            && a.merges_with(b)
        {
            let merged = Arc::new(a.merge(b)?);
            // A stream that both have is there once now.
            let separate = a.bytes() + b.bytes();
            state.stats.bytes = (state.stats.bytes + merged.bytes()).saturating_sub(separate);
            let keep = state.chunks.len() - 2;
            state.chunks.truncate(keep);
            state.chunks.push(merged);
        }
        Ok(())
    }
}

/// Loki's words (contracts/loki.md 2.2).
fn too_many_streams(labels: &Labels) -> String {
    format!(
        "maximum active stream limit exceeded when trying to create stream {labels}, reduce the number of active streams (reduce labels \
         or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: 'fake'"
    )
}

impl Head for LogsHead {
    type Rows = LogRows;
    type Snapshot = Snapshot;

    fn prepare(&self, rows: &LogRows, blocks: &[Arc<Block>]) {
        for stream in &rows.streams {
            let id = stream.labels.stable_id();
            let known = |ids: &HashMap<i64, Labels>| ids.contains_key(&id) || self.refuses_more(ids).is_some();
            if known(&self.ids.lock()) {
                continue;
            }
            // A block that cannot be read is reported by queries; here it only means one check less, as does one with very many
            // streams: whoever reads or merges blocks tells streams with one id apart.
            let tables = blocks.iter().filter_map(|b| kept_streams(b).ok().flatten());
            let other = tables.into_iter().find_map(|t| t.labels_of(id).cloned());
            if let Some(labels) = other {
                self.ids.lock().entry(id).or_insert(labels);
            }
        }
    }

    fn admit(&self, rows: &mut LogRows, refusals: &mut Refusals) {
        let mut ids = self.ids.lock();
        rows.streams.retain(|stream| {
            if self.refuses_more(&ids).is_some() && !ids.contains_key(&stream.labels.stable_id()) {
                for entry in &stream.entries {
                    refusals.refuse(entry.index, Reason::TooManyStreams, || too_many_streams(&stream.labels));
                }
                return false;
            }
            let owner = ids.entry(stream.labels.stable_id()).or_insert_with(|| stream.labels.clone());
            if *owner == stream.labels {
                return true;
            }
            for entry in &stream.entries {
                let message = || format!("stream '{}' has the id of stream '{owner}'", stream.labels);
                refusals.refuse(entry.index, Reason::IdCollision, message);
            }
            false
        });
    }

    fn apply(&self, rows: LogRows) {
        let built = Chunk::build(&rows).and_then(|chunk| self.push(chunk));
        if let Err(error) = built {
            // Cannot happen within the bounds of a request: offsets of a chunk fit 31 bits.
            tracing::error!(%error, "log entries are in the write-ahead log but not in the head");
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { chunks: self.state.lock().chunks.clone() }
    }

    fn stats(&self) -> HeadStats {
        let mut stats = self.state.lock().stats;
        stats.bytes += (self.ids.lock().len() * ID_BYTES) as u64;
        stats
    }

    fn cut(&self) -> Box<dyn Iterator<Item = Result<BlockDraft, ArrowError>> + '_> {
        cut::drafts(self.snapshot().chunks)
    }
}

#[cfg(test)]
mod tests;
