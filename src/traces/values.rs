//! Values of fields straight from the columns of blocks: no span is put together, but for those of traces that are in several
//! places.

use super::hunt::{candidates, split};
use super::index::Index;
use super::place::{Place, bytes_of};
use super::scene::Scene;
use super::source::{Source, Sources, TraceRef};
use super::tags::Distinct;
use super::traceql::ast::{Expr, Field, Pipeline, Spanset, Stage};
use super::vector::{Facts, Rows, Selection, segments};
use crate::model::TimeRange;
use crate::query::{Context, QueryError, fold};

/// Adds the values that the fields have in blocks, in spans that satisfy the filter and belong to traces of the range; and
/// gives the traces whose spans have to be looked at for the rest.
pub fn of_blocks(
    ctx: &Context,
    sources: &Sources,
    range: TimeRange,
    filter: Expr,
    fields: &[Field],
    distinct: &mut Distinct,
) -> Result<Vec<TraceRef>, QueryError> {
    let pipeline = Pipeline { stages: vec![Stage::Spanset(Spanset::Filter(filter))] };
    let scene = Scene::new(ctx, sources, range)?;
    let mut later: Vec<Place> = Vec::new();
    for number in scene.numbers() {
        let held = scene.index(number)?;
        let index: &Index = &held;
        let found: Vec<usize> = match sources.get(number) {
            // A trace may overlap the range though this part of it does not.
            Source::Chunk(_) => (0..index.len()).collect(),
            outside if !outside.overlaps(range) => {
                (0..index.len()).filter(|at| scene.shared(number).is_some_and(|shared| shared.get(*at))).collect()
            }
            Source::Block(block) => {
                let Some(facts) = Facts::new(block, sources.cache())? else { continue };
                let selection = Selection::new(&pipeline, &facts)?;
                let mut exact = selection.exact;
                for field in fields {
                    exact = exact && facts.supports(field)?;
                }
                if !exact {
                    candidates(ctx, &scene, (number, index), &facts, &selection, range)?
                } else {
                    let limit = distinct.room();
                    let seen = fold(
                        ctx,
                        &segments(&facts.groups, index),
                        || (Distinct::new(limit), Vec::new()),
                        |(distinct, later), segment| {
                            let rows = Rows::new(ctx, &facts, index, segment.clone());
                            later.extend(of_segment(&scene, (number, index), range, &selection, fields, rows, distinct)?);
                            Ok(())
                        },
                    )?;
                    let mut found = Vec::new();
                    for (seen, mut later) in seen {
                        distinct.absorb(seen);
                        found.append(&mut later);
                    }
                    found
                }
            }
        };
        if distinct.is_full() {
            return Ok(Vec::new());
        }
        ctx.reserve(bytes_of(found.len()))?;
        later.extend(found.into_iter().map(|at| index.place(number, at)));
    }
    later.sort_unstable();
    later.dedup_by_key(|place| place.trace_id);
    let traces = later.iter().filter_map(|place| scene.trace(place));
    let traces: Vec<TraceRef> = traces.filter(|trace| range.overlaps(trace.start, trace.end)).collect();
    ctx.reserve(traces.iter().map(TraceRef::bytes).sum())?;
    Ok(traces)
}

/// Adds the values of a segment, and gives the traces of it that are elsewhere, too, and may have some.
fn of_segment(
    scene: &Scene<'_>,
    (number, index): (usize, &Index),
    range: TimeRange,
    selection: &Selection,
    fields: &[Field],
    mut rows: Rows<'_>,
    distinct: &mut Distinct,
) -> Result<Vec<usize>, QueryError> {
    if distinct.is_full() {
        return Ok(Vec::new());
    }
    let (mut whole, mut others) = split(scene, (number, index), &rows, Some(range));
    match selection.keep(&mut rows, &mut whole, false) {
        // A filter that fails on one span holds for others: they are judged one by one.
        Err(QueryError::Execution(_)) => return Ok(rows.segment.traces.clone().collect()),
        kept => kept?,
    }
    if others.contains(&true) {
        selection.touch(&mut rows, &mut others)?;
    }
    if whole.contains(&true) {
        for field in fields {
            let column = rows.column(field)?;
            for (piece, place) in rows.pieces() {
                let mask = &whole[place];
                let codes = column.codes(piece, mask);
                let mut used = vec![false; codes.values.len()];
                codes.codes.each(|row, code| {
                    if mask[row]
                        && let Some(used) = used.get_mut(code as usize)
                    {
                        *used = true;
                    }
                });
                codes.values.into_iter().zip(used).filter(|(_, used)| *used).for_each(|(value, _)| distinct.add(value));
            }
        }
    }
    let traces = rows.segment.traces.clone().zip(&rows.bounds);
    Ok(traces.filter(|(_, rows)| others[(*rows).clone()].contains(&true)).map(|(at, _)| at).collect())
}
