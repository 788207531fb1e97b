//! What a request becomes, whatever protocol it spoke: lines of streams.

mod builder;
mod group;
mod lines;

pub use builder::{Keys, RowsBuilder, flatten};
pub use group::{Group, KnownGroups, Metadata};
pub use lines::{Lines, NameIndex, Pair, fingerprint};

use crate::model::Labels;
use crate::storage::Rows;
use std::ops::Range;

/// Bounds of one entry's structured metadata. Loki's are 128 and 64 KiB (contracts/loki.md 2.2); ours are walls against
/// floods only. Constants, since replay must translate as live ingest did.
pub const METADATA_MAX_PAIRS: usize = 1_024;
pub const METADATA_MAX_BYTES: usize = 1 << 20;

/// Bytes that the rows of one request may take; entries that find no room are refused. A request is smaller by far, but empty
/// entries and names put together out of nested ones are not.
pub const ROWS_MAX_BYTES: usize = 1 << 30;

/// Rows of one stream that came together.
#[derive(Debug, Clone)]
pub struct StreamRows {
    pub labels: Labels,
    pub id: i64,
    pub rows: Range<usize>,
}

/// One request's log lines. A stream may occur more than once.
#[derive(Debug, Clone, Default)]
pub struct LogRows {
    lines: Lines,
    /// Of each row its position in the request, in the order in which translation meets the items; refusals name it.
    indexes: Vec<u32>,
    /// Together they have all rows, in order.
    streams: Vec<StreamRows>,
}

/// One line of a [`LogRows`].
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    pub labels: &'a Labels,
    pub index: u32,
    lines: &'a Lines,
    row: usize,
}

impl<'a> RowRef<'a> {
    /// Nanoseconds since the epoch.
    pub fn ts(self) -> i64 {
        self.lines.ts(self.row)
    }

    pub fn line(self) -> &'a str {
        self.lines.line(self.row)
    }

    pub fn metadata(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.lines.metadata(self.row)
    }

    /// Estimated bytes in memory.
    pub fn bytes(self) -> usize {
        40 + self.line().len() + self.metadata().map(|(n, v)| n.len() + v.len() + 8).sum::<usize>()
    }
}

impl LogRows {
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    pub fn into_lines(self) -> (Lines, Vec<StreamRows>) {
        (self.lines, self.streams)
    }

    pub fn streams(&self) -> &[StreamRows] {
        &self.streams
    }

    /// The lines of one of the streams.
    pub fn of_stream<'a>(&'a self, stream: &'a StreamRows) -> impl ExactSizeIterator<Item = RowRef<'a>> + Clone {
        stream.rows.clone().map(|row| self.row(&stream.labels, row))
    }

    fn row<'a>(&'a self, labels: &'a Labels, row: usize) -> RowRef<'a> {
        RowRef { labels, index: self.indexes[row], lines: &self.lines, row }
    }

    /// Keeps the lines for which `keep` holds, and no stream without lines.
    pub fn retain(&mut self, mut keep: impl FnMut(RowRef<'_>) -> bool) {
        let kept: Vec<bool> = self.streams.iter().flat_map(|s| self.of_stream(s)).map(&mut keep).collect();
        if kept.iter().all(|keep| *keep) {
            return;
        }
        self.lines.retain(|row| kept[row]);
        let mut at = 0;
        self.indexes.retain(|_| {
            at += 1;
            kept[at - 1]
        });
        let mut end = 0;
        for stream in &mut self.streams {
            let rows = kept[stream.rows.clone()].iter().filter(|keep| **keep).count();
            stream.rows = end..end + rows;
            end += rows;
        }
        self.streams.retain(|s| !s.rows.is_empty());
    }

    /// Keeps the streams for which `keep` holds.
    pub fn retain_streams(&mut self, mut keep: impl FnMut(&LogRows, &StreamRows) -> bool) {
        let kept: Vec<bool> = self.streams.iter().map(|stream| keep(self, stream)).collect();
        if kept.iter().all(|keep| *keep) {
            return;
        }
        let mut at = 0;
        let mut of = Vec::with_capacity(self.indexes.len());
        for (stream, keep) in self.streams.iter().zip(&kept) {
            of.resize(of.len() + stream.rows.len(), *keep);
        }
        self.retain(|_| {
            at += 1;
            of[at - 1]
        });
    }

    fn push_row(&mut self, (labels, id): (&Labels, i64), index: u32) {
        match self.streams.last_mut() {
            Some(last) if last.id == id && last.labels == *labels => last.rows.end += 1,
            _ => {
                let at = self.indexes.len();
                self.streams.push(StreamRows { labels: labels.clone(), id, rows: at..at + 1 });
            }
        }
        self.indexes.push(index);
    }

    /// A copy of the first lines of each of some streams: pairs of a stream's position and how many.
    pub fn first_of(&self, counts: &[(usize, usize)]) -> LogRows {
        let mut rows = LogRows::default();
        let places = rows.lines.places(&self.lines, &mut NameIndex::default());
        for (stream, count) in counts {
            let stream = &self.streams[*stream];
            for row in stream.rows.clone().take(*count) {
                rows.lines.copy(&self.lines, row, &places);
                rows.push_row((&stream.labels, stream.id), self.indexes[row]);
            }
        }
        rows
    }
}

impl Rows for LogRows {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn bytes(&self) -> usize {
        self.lines.heap_bytes() + self.streams.iter().map(|s| size_of::<StreamRows>() + s.labels.heap_bytes()).sum::<usize>()
    }
}

/// Index, time, text and metadata.
#[cfg(test)]
pub type ShownLine = (u32, i64, String, Vec<String>);

#[cfg(test)]
impl LogRows {
    /// Labels, and their lines.
    pub fn shown(&self) -> Vec<(String, Vec<ShownLine>)> {
        let line = |r: RowRef<'_>| (r.index, r.ts(), r.line().to_owned(), r.metadata().map(|(n, v)| format!("{n}={v}")).collect());
        self.streams.iter().map(|s| (s.labels.to_string(), self.of_stream(s).map(line).collect())).collect()
    }
}
