//! Acknowledged entries that are in no block yet: immutable chunks in order of acceptance. Small chunks are merged as
//! they come, so that a thousand small requests do not leave a thousand small chunks behind.

mod chunk;
mod cut;

pub use chunk::Chunk;
use chunk::Chunks;
pub use cut::{dense_labels, logs_options, sort_key};

use super::rows::LogRows;
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
    chunks: Chunks,
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
        for stream in rows.streams() {
            let id = stream.id;
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
        rows.retain_streams(|rows, stream| {
            if self.refuses_more(&ids).is_some() && !ids.contains_key(&stream.id) {
                for entry in rows.of_stream(stream) {
                    refusals.refuse(entry.index, Reason::TooManyStreams, || too_many_streams(&stream.labels));
                }
                return false;
            }
            let owner = ids.entry(stream.id).or_insert_with(|| stream.labels.clone());
            if *owner == stream.labels {
                return true;
            }
            for entry in rows.of_stream(stream) {
                let message = || format!("stream '{}' has the id of stream '{owner}'", stream.labels);
                refusals.refuse(entry.index, Reason::IdCollision, message);
            }
            false
        });
    }

    fn apply(&self, rows: LogRows) {
        let chunk = Chunk::new(rows);
        let rows = chunk.rows();
        // One thread at a time is here, so that what is merged meanwhile need not be locked.
        let mut chunks = self.state.lock().chunks.clone();
        let change = chunks.push(chunk);
        let mut state = self.state.lock();
        state.chunks = chunks;
        state.stats.rows += rows;
        state.stats.bytes = state.stats.bytes.saturating_add_signed(change);
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { chunks: self.state.lock().chunks.iter().cloned().collect() }
    }

    fn stats(&self) -> HeadStats {
        let mut stats = self.state.lock().stats;
        stats.bytes += (self.ids.lock().len() * ID_BYTES) as u64;
        stats
    }

    fn cut(&self) -> Box<dyn Iterator<Item = Result<BlockDraft, ArrowError>> + '_> {
        Box::new(cut::drafts(self.snapshot().chunks))
    }
}

#[cfg(test)]
mod tests;
