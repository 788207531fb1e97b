//! Metrics straight from the columns of blocks: no span is put together, but for those of traces that are in several places.

use super::measure::{QueryPlan, Range};
use super::observed::{Measured, Observed};
use crate::model::TimeRange;
use crate::query::{Context, QueryError, fold};
use crate::traces::hunt::{candidates, split};
use crate::traces::index::Index;
use crate::traces::place::{Place, bytes_of};
use crate::traces::scene::Scene;
use crate::traces::source::Source;
use crate::traces::traceql::Inspected;
use crate::traces::traceql::ast::Field;
use crate::traces::traceql::eval::Value;
use crate::traces::vector::{Codes, Facts, Rows, Selection, segments};
use std::collections::HashMap;

/// Combinations of values that are looked up in a table; more of them in a map.
const TABLE_MAX: usize = 64 << 10;

/// Observes the spans of blocks, and gives the traces that have to be put together for that, in order of their ids, which is
/// that of rows in blocks.
pub fn observe<'a>(
    ctx: &'a Context,
    scene: &Scene<'_>,
    (plan, range): (&'a QueryPlan, Range),
    by_columns: bool,
    observed: &mut Observed<'a>,
    inspected: &mut Inspected,
) -> Result<Vec<Place>, QueryError> {
    let time = TimeRange::new(range.grid.start.saturating_add(1), range.grid.end().saturating_add(1));
    let mut later: Vec<Place> = Vec::new();
    for number in scene.numbers().filter(|n| scene.sources.get(*n).overlaps(time)) {
        let held = scene.index(number)?;
        let index: &Index = &held;
        inspected.traces += index.len() as u64;
        inspected.spans += index.len().checked_sub(1).map_or(0, |last| index.rows(last).end);
        let found: Vec<usize> = match scene.sources.get(number) {
            Source::Chunk(_) => (0..index.len()).filter(|at| index.overlaps(*at, time)).collect(),
            Source::Block(block) => {
                let Some(facts) = Facts::new(block, scene.sources.cache())? else { continue };
                let selection = plan.judge.selection(&facts)?;
                let mut exact = by_columns && selection.exact;
                for field in plan.by.iter().chain(plan.function.field()) {
                    exact = exact && facts.supports(field)?;
                }
                let place = (number, index);
                if exact {
                    let seen = fold(
                        ctx,
                        &segments(&facts.groups, index),
                        || (Observed::new(plan, ctx, range), Vec::new()),
                        |(observed, shared), segment| {
                            let rows = Rows::new(ctx, &facts, index, segment.clone());
                            segment_of(scene, place, &selection, rows, observed, shared)
                        },
                    )?;
                    let mut found = Vec::new();
                    for (seen, mut shared) in seen {
                        observed.absorb(seen)?;
                        found.append(&mut shared);
                    }
                    found
                } else {
                    candidates(ctx, scene, place, &facts, &selection, time)?
                }
            }
        };
        ctx.reserve(bytes_of(found.len()))?;
        later.extend(found.into_iter().map(|at| index.place(number, at)));
    }
    later.sort_unstable();
    later.dedup_by_key(|place| place.trace_id);
    Ok(later)
}

/// Observes the rows of traces that lie whole in the block; the others that may matter are added to `shared`.
fn segment_of(
    scene: &Scene<'_>,
    (number, index): (usize, &Index),
    selection: &Selection,
    mut rows: Rows<'_>,
    observed: &mut Observed<'_>,
    shared: &mut Vec<usize>,
) -> Result<(), QueryError> {
    let (mut whole, mut others) = split(scene, (number, index), &rows, None);
    selection.keep(&mut rows, &mut whole, false)?;
    if others.contains(&true) {
        selection.touch(&mut rows, &mut others)?;
        let traces = rows.segment.traces.clone().zip(&rows.bounds);
        shared.extend(traces.filter(|(_, b)| others[(*b).clone()].contains(&true)).map(|(at, _)| at));
    }
    if !whole.contains(&true) {
        return Ok(());
    }
    let plan = observed.plan;
    let known: Vec<Field> = plan.shown.fields().cloned().collect();
    let by: Vec<_> = plan.by.iter().map(|field| rows.column(field)).collect::<Result<_, _>>()?;
    let measured = plan.function.field().map(|field| rows.column(field)).transpose()?;
    for (piece, place) in rows.pieces() {
        let mask = &whole[place.clone()];
        if !mask.contains(&true) {
            continue;
        }
        let starts = rows.starts(piece)?;
        let locate = observed.grid.locator();
        let mut groups = Groups::new(by.iter().map(|column| column.codes(piece, mask)).collect(), mask.len());
        let numbers = measured.as_ref().map(|column| (column, column.integers(piece)));
        for (row, start) in starts.values().iter().enumerate().filter(|(row, _)| mask[*row]) {
            let Some(interval) = locate(*start) else { continue };
            let measured = match &numbers {
                None => Measured::of(plan, None),
                Some((_, Some(integers))) => integers.at(row).and_then(|value| Measured::of(plan, Some(&value))),
                Some((column, None)) => Measured::of(plan, Some(&column.value(piece, row))),
            };
            let Some(measured) = measured else { continue };
            let series = groups.series(observed, row)?;
            observed.add(series, interval, measured);
            if observed.chooser.is_open(*start) {
                let id = index.id(rows.trace_at(place.start + row));
                if observed.chooser.wants(*start, id) {
                    let labels = plan.shown.labels(rows.columns(&known)?.row(piece, row));
                    let key = observed.key(series).to_owned();
                    observed.chooser.take(&key, (*start, id), measured.value(), labels);
                }
            }
        }
    }
    Ok(())
}

/// Combinations are numbered anew before their numbers grow beyond this: far from 64 bits, since a further field has no more
/// values than there are rows.
const COMBINATIONS_MAX: u64 = 1 << 40;

/// Gives the combinations that occur the numbers from 0 on, and tells how many there are.
fn renumber(combinations: &mut [u64]) -> u64 {
    let mut numbers: HashMap<u64, u64> = HashMap::new();
    for combination in combinations {
        let next = numbers.len() as u64;
        *combination = *numbers.entry(*combination).or_insert(next);
    }
    numbers.len() as u64
}

/// The series of each combination of values.
struct Groups<'a> {
    codes: Vec<Codes<'a>>,
    /// The combination of each row.
    combinations: Vec<u64>,
    table: Vec<u32>,
    map: HashMap<u64, u32>,
}

const NONE: u32 = u32::MAX;

impl<'a> Groups<'a> {
    fn new(codes: Vec<Codes<'a>>, rows: usize) -> Groups<'a> {
        let mut combinations = vec![0; rows];
        let mut all = 1u64;
        for codes in &codes {
            let size = codes.values.len() as u64;
            if all.saturating_mul(size) > COMBINATIONS_MAX {
                all = renumber(&mut combinations);
            }
            codes.codes.each(|row, code| combinations[row] = combinations[row] * size + u64::from(code));
            all = all.saturating_mul(size);
        }
        let table = usize::try_from(all).ok().filter(|all| *all <= TABLE_MAX).unwrap_or(0);
        Groups { codes, combinations, table: vec![NONE; table], map: HashMap::new() }
    }

    fn series(&mut self, observed: &mut Observed<'_>, row: usize) -> Result<usize, QueryError> {
        let combination = self.combinations[row];
        let slot = match self.table.get_mut(combination as usize) {
            Some(slot) => slot,
            None => self.map.entry(combination).or_insert(NONE),
        };
        if *slot == NONE {
            let values = self.codes.iter().map(|c| c.values.get(c.codes.at(row) as usize).cloned().unwrap_or(Value::Nil));
            let series = observed.series_of(observed.plan.labels(values))?;
            *slot = u32::try_from(series).unwrap_or(NONE);
        }
        Ok(*slot as usize)
    }
}
