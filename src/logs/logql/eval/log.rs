use super::{Engine, Stats};
use crate::logs::logql::ast::LogExpr;
use crate::logs::logql::pipeline::{Category, Entry, LabelSet, Pipeline};
use crate::logs::source::{Columns, Needs, Selection, select};
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
    let needs = pipeline.needs(true);
    let mut order: Vec<usize> = (0..selection.parts()).collect();
    match query.direction {
        Direction::Forward => order.sort_by_key(|p| selection.bounds(*p).0),
        Direction::Backward => order.sort_by_key(|p| std::cmp::Reverse(selection.bounds(*p).1)),
    }
    let mut run = Run { engine, pipeline: &pipeline, needs: &needs, selection: &selection, stats };
    let mut found = Found { by_time: BTreeMap::new(), count: 0, query: *query };
    // While nothing says that few entries pass, only the part's nearest times are read first.
    let mut yields = query.interval == 0;
    for part in order {
        let bounds = selection.bounds(part);
        if let Some(nearest) = nearest(query, bounds, selection.rows(part)).filter(|_| yields) {
            let (before, kept) = (run.stats.lines, run.stats.kept);
            run.part(part, nearest, &mut found)?;
            yields = found.is_full() || (run.stats.kept - kept) * POOR_YIELD >= run.stats.lines - before;
            let rest = match query.direction {
                Direction::Forward => TimeRange::new(nearest.end, i64::MAX),
                Direction::Backward => TimeRange::new(i64::MIN, nearest.start),
            };
            run.part(part, rest, &mut found)?;
        } else {
            run.part(part, query.range, &mut found)?;
        }
    }
    Ok(found.finish())
}

/// One entry in so many is few.
const POOR_YIELD: u64 = 16;
/// Rows that are read for each that is wanted.
const NEAREST_ROWS: u64 = 4;

/// The times of a part that hold a few times the limit of its rows, nearest to where the query begins; `None` if that is
/// much of the part.
fn nearest(query: &LogQuery, (min, max): (i64, i64), rows: u64) -> Option<TimeRange> {
    let (from, to) = (min.max(query.range.start), max.min(query.range.end));
    let wanted = (query.limit as u64).saturating_mul(NEAREST_ROWS);
    let width = i64::try_from(i128::from(max.saturating_sub(min)) * i128::from(wanted) / i128::from(rows.max(1))).ok()?;
    if width >= to.saturating_sub(from) / 2 {
        return None;
    }
    Some(match query.direction {
        Direction::Forward => TimeRange::new(from, from.saturating_add(width)),
        Direction::Backward => TimeRange::new(to.saturating_sub(width), to.saturating_add(1)),
    })
}

struct Run<'a> {
    engine: &'a Engine<'a>,
    pipeline: &'a Pipeline,
    needs: &'a Needs,
    selection: &'a Selection,
    stats: &'a mut Stats,
}

impl Run<'_> {
    /// Takes the entries of a part in `range` that may still change the result.
    fn part(&mut self, part: usize, range: TimeRange, found: &mut Found) -> Result<(), QueryError> {
        let open = found.open_range();
        let range = TimeRange::new(range.start.max(open.start), range.end.min(open.end));
        let (min, max) = self.selection.bounds(part);
        if range.start >= range.end || !range.overlaps(min, max) {
            return Ok(());
        }
        let mut position = 0;
        for rows in self.selection.read(part, range, self.needs)? {
            self.engine.ctx.check()?;
            let rows = rows?;
            let mut since = 0;
            for (row, stream) in &rows.rows {
                position += 1;
                self.engine.ctx.check_every(&mut since, rows.columns.line(*row as usize).len())?;
                self.entry(part, position, &rows.columns, (*row as usize, *stream), found)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        part: usize,
        position: u64,
        columns: &Columns,
        (row, stream): (usize, u32),
        found: &mut Found,
    ) -> Result<(), QueryError> {
        let (ts, line) = (columns.ts(row), columns.line(row));
        self.stats.lines += 1;
        self.stats.bytes += line.len() as u64;
        if !found.open_range().contains(ts) || !self.pipeline.admits(line) {
            return Ok(());
        }
        let labels = LabelSet::of_row(&self.selection.streams[stream as usize], columns, row, None, false);
        let mut entry = self.pipeline.entry(line, (ts, self.engine.now), labels);
        if !self.pipeline.process(&mut entry) {
            return Ok(());
        }
        self.stats.kept += 1;
        let twin = self.selection.may_have_twin(part, stream, ts);
        let fingerprint = twin.then(|| columns.fingerprint(row));
        let entry = found_entry(&entry);
        self.engine.ctx.reserve(entry_bytes(&entry))?;
        let dropped = found.add(Candidate { stream, accepted: (part as u32, position), fingerprint, entry });
        self.engine.ctx.release(dropped);
        Ok(())
    }
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

    /// Gives the bytes of what was dropped for it, or of itself.
    fn add(&mut self, candidate: Candidate) -> u64 {
        let group = self.by_time.entry(candidate.entry.ts).or_default();
        if candidate.fingerprint.is_some()
            && let Some(twin) = group.iter_mut().find(|c| c.stream == candidate.stream && c.fingerprint == candidate.fingerprint)
        {
            let other = if candidate.accepted < twin.accepted { std::mem::replace(twin, candidate) } else { candidate };
            return entry_bytes(&other.entry);
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
                let dropped = farthest.remove();
                self.count -= dropped.len();
                return dropped.iter().map(|c| entry_bytes(&c.entry)).sum();
            }
        }
        0
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
