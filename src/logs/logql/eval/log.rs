use super::{Engine, Stats};
use crate::logs::logql::ast::LogExpr;
use crate::logs::logql::pipeline::{Category, Entry, LabelSet, Pipeline};
use crate::logs::source::select;
use crate::model::TimeRange;
use crate::query::QueryError;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

#[derive(Debug, Clone, Copy)]
pub struct LogQuery {
    pub range: TimeRange,
    pub direction: Direction,
    /// Entries of all streams together.
    pub limit: usize,
    /// Nanoseconds between emitted entries at least; 0 emits all.
    pub interval: i64,
}

/// An entry of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundEntry {
    pub ts: i64,
    pub line: String,
    /// By name.
    pub labels: Vec<(String, String, Category)>,
}

struct Candidate {
    stream: u32,
    /// Part and position in it, which grow with acceptance.
    accepted: (u32, u64),
    /// Only where there may be a twin.
    fingerprint: Option<u128>,
    entry: FoundEntry,
}

/// The first `limit` entries in the direction, in that order: by time, then stream, then order of acceptance, which
/// `Backward` reverses (contracts/loki.md 1.5).
pub fn run_log(engine: &Engine<'_>, log: &LogExpr, query: &LogQuery, stats: &mut Stats) -> Result<Vec<FoundEntry>, QueryError> {
    let pipeline = Pipeline::compile(&log.stages, None).map_err(|e| QueryError::Parse(e.to_string()))?;
    let selection = select(engine.view, query.range, &log.matchers, engine.ctx)?;
    let mut order: Vec<usize> = (0..selection.parts()).collect();
    match query.direction {
        Direction::Forward => order.sort_by_key(|p| selection.bounds(*p).0),
        Direction::Backward => order.sort_by_key(|p| std::cmp::Reverse(selection.bounds(*p).1)),
    }
    let mut found = Found { by_time: BTreeMap::new(), count: 0, query: *query };
    for part in order {
        let range = found.open_range();
        let (min, max) = selection.bounds(part);
        if !range.overlaps(min, max) {
            continue;
        }
        let mut position = 0;
        for rows in selection.read(part, range)? {
            engine.ctx.check()?;
            let rows = rows?;
            for (row, stream) in &rows.rows {
                position += 1;
                let (row, ts) = (*row as usize, rows.columns.ts(*row as usize));
                let line = rows.columns.line(row);
                stats.lines += 1;
                stats.bytes += line.len() as u64;
                if !found.open_range().contains(ts) || !pipeline.admits(line) {
                    continue;
                }
                let labels = LabelSet::of_row(&selection.streams[*stream as usize], &rows.columns, row);
                let mut entry = pipeline.entry(line, (ts, engine.now), labels);
                if !pipeline.process(&mut entry) {
                    continue;
                }
                stats.kept += 1;
                let twin = selection.may_have_twin(part, *stream, ts);
                let fingerprint = twin.then(|| rows.columns.fingerprint(row));
                let entry = found_entry(&entry);
                engine.ctx.reserve(entry_bytes(&entry))?;
                found.add(Candidate { stream: *stream, accepted: (part as u32, position), fingerprint, entry });
            }
        }
    }
    Ok(found.finish())
}

fn entry_bytes(entry: &FoundEntry) -> u64 {
    let labels: usize = entry.labels.iter().map(|(n, v, _)| n.len() + v.len() + 56).sum();
    (entry.line.len() + labels + 96) as u64
}

fn found_entry(entry: &Entry<'_>) -> FoundEntry {
    let mut labels: Vec<(String, String, Category)> = entry.labels.output().map(|(n, v, c)| (n.to_owned(), v.to_owned(), c)).collect();
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    FoundEntry { ts: entry.ts, line: entry.line.clone().into_owned(), labels }
}

/// The best candidates so far. Entries of the same nanosecond are kept or dropped together until the end, so that
/// twins among them are never counted twice.
struct Found {
    by_time: BTreeMap<i64, Vec<Candidate>>,
    count: usize,
    query: LogQuery,
}

impl Found {
    /// An interval thins entries out only after all are known.
    fn is_full(&self) -> bool {
        self.query.interval == 0 && self.count >= self.query.limit
    }

    /// Times that may still change the result.
    fn open_range(&self) -> TimeRange {
        let mut range = self.query.range;
        if self.is_full() {
            match self.query.direction {
                Direction::Forward => range.end = self.by_time.last_key_value().map_or(range.end, |(t, _)| (*t).saturating_add(1)),
                Direction::Backward => range.start = self.by_time.first_key_value().map_or(range.start, |(t, _)| *t),
            }
        }
        range
    }

    fn add(&mut self, candidate: Candidate) {
        let group = self.by_time.entry(candidate.entry.ts).or_default();
        if candidate.fingerprint.is_some()
            && let Some(twin) = group.iter_mut().find(|c| c.stream == candidate.stream && c.fingerprint == candidate.fingerprint)
        {
            if candidate.accepted < twin.accepted {
                *twin = candidate;
            }
            return;
        }
        group.push(candidate);
        self.count += 1;
        if self.is_full() {
            let farthest = match self.query.direction {
                Direction::Forward => self.by_time.last_entry(),
                Direction::Backward => self.by_time.first_entry(),
            };
            if let Some(farthest) = farthest
                && self.count - farthest.get().len() >= self.query.limit
            {
                self.count -= farthest.remove().len();
            }
        }
    }

    fn finish(self) -> Vec<FoundEntry> {
        let Found { by_time, query, .. } = self;
        let groups: Box<dyn Iterator<Item = Vec<Candidate>>> = match query.direction {
            Direction::Forward => Box::new(by_time.into_values()),
            Direction::Backward => Box::new(by_time.into_values().rev()),
        };
        let mut out: Vec<FoundEntry> = Vec::new();
        for mut group in groups {
            group.sort_by(|a, b| {
                let accepted = a.accepted.cmp(&b.accepted);
                a.stream.cmp(&b.stream).then(if query.direction == Direction::Forward { accepted } else { accepted.reverse() })
            });
            for candidate in group {
                let too_close = out.last().is_some_and(|last| (last.ts - candidate.entry.ts).abs() < query.interval);
                if too_close {
                    continue;
                }
                if out.len() == query.limit {
                    return out;
                }
                out.push(candidate.entry);
            }
        }
        out
    }
}
