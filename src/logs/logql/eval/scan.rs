use super::{Engine, Stats};
use crate::logs::logql::ast::LogExpr;
use crate::logs::logql::pipeline::{Entry, LabelSet, Pipeline};
use crate::logs::source::{Selection, select};
use crate::model::{Labels, TimeRange};
use crate::query::QueryError;
use std::collections::HashSet;

/// Calls `visit` for every distinct entry that survives the pipeline, stream by stream only within a part, in no order
/// of time. Twins (decisions 16) are found by the fingerprints of rows that may have any.
pub fn each_entry(
    engine: &Engine<'_>,
    log: &LogExpr,
    pipeline: &Pipeline,
    range: TimeRange,
    stats: &mut Stats,
    visit: &mut dyn FnMut(&mut Entry<'_>) -> Result<(), QueryError>,
) -> Result<Selection, QueryError> {
    let selection = select(engine.view, range, &log.matchers, engine.ctx)?;
    let mut seen: HashSet<(u32, i64, u128)> = HashSet::new();
    for part in 0..selection.parts() {
        for rows in selection.read(part, range)? {
            engine.ctx.check()?;
            let rows = rows?;
            for (row, stream) in &rows.rows {
                let row = *row as usize;
                let line = rows.columns.line(row);
                stats.lines += 1;
                stats.bytes += line.len() as u64;
                if !pipeline.admits(line) {
                    continue;
                }
                let ts = rows.columns.ts(row);
                if selection.may_have_twin(part, *stream, ts) {
                    engine.ctx.reserve(SEEN_BYTES)?;
                    if !seen.insert((*stream, ts, rows.columns.fingerprint(row))) {
                        continue;
                    }
                }
                let labels: &Labels = &selection.streams[*stream as usize];
                let labels = LabelSet::of_row(labels, &rows.columns, row);
                let mut entry = pipeline.entry(line, (ts, engine.now), labels);
                if pipeline.process(&mut entry) {
                    stats.kept += 1;
                    visit(&mut entry)?;
                }
            }
        }
    }
    Ok(selection)
}

/// Memory of one remembered fingerprint.
const SEEN_BYTES: u64 = 64;
