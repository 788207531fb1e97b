use super::{Engine, Stats};
use crate::logs::logql::ast::LogExpr;
use crate::logs::logql::pipeline::{Entry, LabelSet, Pipeline};
use crate::logs::source::{Needs, Rows, Selection, select};
use crate::model::TimeRange;
use crate::query::{QueryError, fold};
use parking_lot::Mutex;
use std::collections::HashSet;

/// Memory of one remembered fingerprint.
const SEEN_BYTES: u64 = 64;

/// Which entries, and in what order they are wanted.
pub struct Entries<'a> {
    pub log: &'a LogExpr,
    pub pipeline: &'a Pipeline,
    pub needs: &'a Needs,
    pub range: TimeRange,
    /// One accumulator takes all entries in order of acceptance, instead of several at a time.
    pub in_order: bool,
}

/// Takes every distinct entry that survives the pipeline into an accumulator: stream by stream only within a part, in no
/// order of time. Gives the accumulators of all threads.
pub fn fold_entries<A: Send>(
    engine: &Engine<'_>,
    entries: &Entries<'_>,
    stats: &mut Stats,
    start: impl Fn() -> A + Sync,
    visit: impl Fn(&mut A, &mut Entry<'_>) -> Result<(), QueryError> + Sync,
) -> Result<Vec<A>, QueryError> {
    let selection = select(engine.view, entries.range, &entries.log.matchers, engine.ctx)?;
    let scan = EntryScan { engine, entries, selection: &selection, seen: Mutex::default() };
    let all: Vec<usize> = (0..selection.parts()).collect();
    let items: Vec<&[usize]> = if entries.in_order { vec![&all] } else { all.chunks(1).collect() };
    let step = |(accumulator, stats): &mut (A, Stats), parts: &&[usize]| {
        parts.iter().try_for_each(|part| scan.part(*part, stats, &mut |entry| visit(accumulator, entry)))
    };
    let done = fold(engine.ctx, &items, || (start(), Stats::default()), step)?;
    let mut accumulators = Vec::with_capacity(done.len());
    for (accumulator, read) in done {
        stats.add(&read);
        accumulators.push(accumulator);
    }
    Ok(accumulators)
}

struct EntryScan<'a> {
    engine: &'a Engine<'a>,
    entries: &'a Entries<'a>,
    selection: &'a Selection,
    /// Twins (decisions 16) are found by the fingerprints of rows that may have any.
    seen: Mutex<HashSet<(u32, i64, u128)>>,
}

type Visit<'a> = &'a mut dyn FnMut(&mut Entry<'_>) -> Result<(), QueryError>;

impl EntryScan<'_> {
    fn part(&self, part: usize, stats: &mut Stats, visit: Visit<'_>) -> Result<(), QueryError> {
        for rows in self.selection.read(part, self.entries.range, self.entries.needs)? {
            self.engine.ctx.check()?;
            self.rows(part, &rows?, stats, visit)?;
        }
        Ok(())
    }

    fn rows(&self, part: usize, rows: &Rows, stats: &mut Stats, visit: Visit<'_>) -> Result<(), QueryError> {
        let Entries { pipeline, needs, .. } = self.entries;
        let mut since = 0;
        for (row, stream) in &rows.rows {
            let row = *row as usize;
            let line = rows.columns.line(row);
            self.engine.ctx.check_every(&mut since, line.len())?;
            stats.lines += 1;
            stats.bytes += line.len() as u64;
            if !pipeline.admits(line) {
                continue;
            }
            let ts = rows.columns.ts(row);
            if self.selection.may_have_twin(part, *stream, ts) {
                self.engine.ctx.reserve(SEEN_BYTES)?;
                if !self.seen.lock().insert((*stream, ts, rows.columns.fingerprint(row))) {
                    continue;
                }
            }
            let labels = &self.selection.streams[*stream as usize];
            let labels = LabelSet::of_row(labels, &rows.columns, row, needs.metadata.as_deref(), pipeline.is_bare());
            let mut entry = pipeline.entry(line, (ts, self.engine.now), labels);
            if pipeline.process(&mut entry) {
                stats.kept += 1;
                visit(&mut entry)?;
            }
        }
        Ok(())
    }
}
