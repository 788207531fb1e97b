use crate::logs::rows::{Lines, LogRows, NameIndex, StreamRows};
use crate::logs::source::Run;
use crate::model::Labels;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows of one request, or of several merged ones: the rows of a stream stand together, in order of acceptance.
#[derive(Debug)]
pub struct Chunk {
    lines: Lines,
    runs: Vec<Run>,
    bytes: u64,
}

/// The rows of a stream in one of several chunks: which one, and where.
type Share = (usize, Range<u64>);

impl Chunk {
    pub fn new(rows: LogRows) -> Chunk {
        let (lines, streams) = rows.into_lines();
        let run = |StreamRows { labels, id, rows }: StreamRows| {
            let rows_of = rows.start as u64..rows.start as u64;
            let mut run = Run { labels, id, rows: rows_of, min_ts: i64::MAX, max_ts: i64::MIN, bytes: 0 };
            rows.for_each(|row| run.extend(lines.ts(row), lines.line(row).len()));
            run
        };
        let runs: Vec<Run> = streams.into_iter().map(run).collect();
        let chunk = Chunk::assemble(lines, runs);
        let mut ids: Vec<i64> = chunk.runs.iter().map(|r| r.id).collect();
        ids.sort_unstable();
        // Where rows were refused, their text is still there.
        let is_tidy = chunk.live_bytes() * 2 >= chunk.lines.text_bytes();
        if is_tidy && ids.windows(2).all(|pair| pair[0] != pair[1]) { chunk } else { Chunk::merge(&[&chunk]) }
    }

    fn assemble(lines: Lines, runs: Vec<Run>) -> Chunk {
        let bytes = (lines.heap_bytes() + runs.iter().map(Run::heap_bytes).sum::<usize>()) as u64;
        Chunk { lines, runs, bytes }
    }

    pub fn rows(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Estimated memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that a merged chunk has of this one, at most.
    pub fn text_bytes(&self) -> usize {
        self.lines.text_bytes()
    }

    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The stream of a row.
    pub fn stream_id(&self, row: usize) -> i64 {
        let at = self.runs.partition_point(|run| run.rows.end <= row as u64);
        self.runs.get(at).map_or(0, |run| run.id)
    }

    /// The rows of all, chunk after chunk and stream by stream.
    pub fn merge(chunks: &[&Chunk]) -> Chunk {
        let mut merged: Vec<(Run, Vec<Share>)> = Vec::with_capacity(chunks.iter().map(|c| c.runs.len()).max().unwrap_or(0));
        let mut index: HashMap<&Labels, usize> = HashMap::new();
        for (number, chunk) in chunks.iter().enumerate() {
            for run in &chunk.runs {
                let at = *index.entry(&run.labels).or_insert_with(|| {
                    merged.push((Run { rows: 0..0, min_ts: i64::MAX, max_ts: i64::MIN, bytes: 0, ..run.clone() }, Vec::new()));
                    merged.len() - 1
                });
                merged[at].0.absorb(run);
                merged[at].1.push((number, run.rows.clone()));
            }
        }
        let rows = chunks.iter().map(|c| c.lines.len()).sum();
        let mut lines = Lines::with_capacity(rows, chunks.iter().map(|c| c.live_bytes()).sum());
        let mut names = NameIndex::default();
        let places: Vec<_> = chunks.iter().map(|chunk| lines.places(&chunk.lines, &mut names)).collect();
        let mut runs = Vec::with_capacity(merged.len());
        for (mut run, shares) in merged {
            let start = lines.len() as u64;
            for (number, rows) in shares {
                rows.for_each(|row| lines.copy(&chunks[number].lines, row as usize, &places[number]));
            }
            run.rows = start..lines.len() as u64;
            runs.push(run);
        }
        lines.shrink();
        Chunk::assemble(lines, runs)
    }

    fn live_bytes(&self) -> usize {
        (0..self.lines.len()).map(|row| self.lines.row_bytes(row)).sum()
    }
}

/// Chunks of a head, small ones merged as they come: as many as [`FAN`] of one size become one, so that each row is copied a
/// logarithmic number of times.
#[derive(Debug, Clone, Default)]
pub struct Chunks {
    /// In order of acceptance; of each its level.
    all: Vec<(u32, Arc<Chunk>)>,
}

/// Chunks of one level that become one of the next.
const FAN: usize = 8;

/// Chunks are merged up to these bounds.
const ROWS_MAX: u64 = 32_768;
const TEXT_MAX: usize = 16 << 20;

impl Chunks {
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.all.iter().map(|(_, chunk)| chunk)
    }

    /// Adds a chunk, and returns by how much the bytes of all have changed.
    pub fn push(&mut self, chunk: Chunk) -> i64 {
        // One that is as large as several small ones is on their level.
        let level = chunk.rows().checked_ilog(FAN as u64).unwrap_or(0);
        let mut change = chunk.bytes() as i64;
        self.all.push((level, Arc::new(chunk)));
        while let Some(some) = self.mergeable() {
            let parts: Vec<&Chunk> = self.all[some..].iter().map(|(_, chunk)| &**chunk).collect();
            let merged = Chunk::merge(&parts);
            change += merged.bytes() as i64 - parts.iter().map(|c| c.bytes() as i64).sum::<i64>();
            let level = self.all[some..].iter().map(|(level, _)| *level).max().unwrap_or(0) + 1;
            self.all.truncate(some);
            self.all.push((level, Arc::new(merged)));
        }
        change
    }

    /// Where the newest chunks begin that are to become one.
    fn mergeable(&self) -> Option<usize> {
        let (level, _) = self.all.last()?;
        let newest = self.all.iter().rev().take_while(|(other, _)| other <= level);
        let (mut count, mut equal, mut rows, mut text) = (0, 0, 0, 0);
        for (other, chunk) in newest {
            count += 1;
            equal += usize::from(other == level);
            rows += chunk.rows();
            text += chunk.text_bytes();
            if rows > ROWS_MAX || text > TEXT_MAX {
                return None;
            }
            if equal == FAN {
                return Some(self.all.len() - count);
            }
        }
        None
    }
}
