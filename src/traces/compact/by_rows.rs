//! Spans are read whole and written anew, wherever their attributes stand.

use super::{InputRows, Step, damaged};
use crate::storage::MergeError;
use crate::traces::columns::{EventReader, LinkReader, Plan, Projection, SpanReader};
use crate::traces::cut::TableBatches;
use crate::traces::schema;
use crate::traces::span_ref::SpanRef;
use crate::traces::trace::assemble;
use std::ops::RangeInclusive;

/// Adds the spans of a step to the tables.
pub(super) fn add(
    step: &Step,
    taken: &[InputRows],
    times: &RangeInclusive<i64>,
    plan: &Plan,
    tables: &mut TableBatches,
) -> Result<(), MergeError> {
    let everything = Projection::all();
    let readers: Vec<_> = taken
        .iter()
        .map(|rows| {
            (
                rows.spans.batches.iter().map(|batch| SpanReader::new(batch, &everything)).collect::<Vec<_>>(),
                rows.events.batches.iter().map(|batch| EventReader::new(batch, &everything)).collect::<Vec<_>>(),
                rows.links.batches.iter().map(|batch| LinkReader::new(batch, &everything)).collect::<Vec<_>>(),
            )
        })
        .collect();
    let mut spans: Vec<SpanRef<'_>> = Vec::new();
    let mut own: Vec<SpanRef<'_>> = Vec::new();
    for parts in &step.traces {
        for (number, part) in parts {
            let (from, of) = (&taken[*number], &readers[*number]);
            let first = own.len();
            from.spans.each(&of.0, &part.spans, |reader, row| own.push(reader.borrow(row)));
            let index = |row: u64| row.checked_sub(part.spans.start).map(|i| first + i as usize);
            let mut is_whole = true;
            from.events.each(&of.1, &part.events, |reader, row| {
                let (span, event) = reader.borrow(row);
                match index(span).and_then(|i| own.get_mut(i)) {
                    Some(span) => span.events.push(event),
                    None => is_whole = false,
                }
            });
            from.links.each(&of.2, &part.links, |reader, row| {
                let (span, link) = reader.borrow(row);
                match index(span).and_then(|i| own.get_mut(i)) {
                    Some(span) => span.links.push(link),
                    None => is_whole = false,
                }
            });
            if !is_whole {
                return Err(damaged(schema::SPANS));
            }
        }
        if parts.len() > 1 {
            assemble(&mut own);
        }
        spans.extend(own.drain(..).filter(|s| times.contains(&s.start)));
    }
    if !spans.is_empty() {
        tables.add(&spans, plan)?;
    }
    Ok(())
}
