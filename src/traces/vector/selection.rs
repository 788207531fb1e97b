//! Spansets on the rows of a segment.

use super::column::Column;
use super::cond::Cond;
use super::facts::{Facts, View};
use super::rows::Rows;
use crate::query::QueryError;
use crate::traces::trace::Nested;
use crate::traces::traceql::ast::{Field, Form, Intrinsic, Pipeline, Spanset, SpansetOp, Stage};
use crate::traces::traceql::eval::{BITS, related, related_bits};
use std::ops::Range;
use std::sync::Arc;

/// The spanset stages of a pipeline, for one block.
#[derive(Debug)]
pub struct Selection {
    choice: Choice,
    /// Its filters, as far as they can be judged by a part of a trace.
    filters: Vec<Cond>,
    /// Whether the rows it gives are those of the pipeline; otherwise they are all of those and perhaps more.
    pub exact: bool,
}

#[derive(Debug)]
enum Choice {
    Filter(Cond),
    /// One after another, each on what the one before left.
    Steps(Vec<Choice>),
    Binary {
        op: SpansetOp,
        left: Box<Choice>,
        right: Box<Choice>,
        /// Whether the left side gives no span too many: one too many would take spans away from a negated form.
        left_exact: bool,
    },
}

impl Selection {
    pub fn new(pipeline: &Pipeline, facts: &Facts<'_>) -> Result<Selection, QueryError> {
        let (choice, exact) = steps(pipeline, View { facts, whole: true })?;
        let mut filters = Vec::new();
        steps(pipeline, View { facts, whole: false })?.0.into_filters(&mut filters);
        Ok(Selection { choice, filters, exact })
    }

    /// Of the rows of whole traces in `within`, those that are left.
    pub fn keep(&self, rows: &mut Rows<'_>, within: &mut [bool], lenient: bool) -> Result<(), QueryError> {
        self.choice.keep(rows, within, lenient)
    }

    /// Of the rows in `within`, those that satisfy any of its filters: a trace that has none, here or elsewhere, cannot
    /// match.
    pub fn touch(&self, rows: &mut Rows<'_>, within: &mut [bool]) -> Result<(), QueryError> {
        if self.filters.is_empty() {
            return Ok(());
        }
        let mut any = vec![false; within.len()];
        for filter in &self.filters {
            let mut holds = within.to_vec();
            filter.keep(rows, &mut holds, true)?;
            any.iter_mut().zip(&holds).for_each(|(any, holds)| *any |= holds);
        }
        within.copy_from_slice(&any);
        Ok(())
    }
}

fn steps(pipeline: &Pipeline, facts: View<'_>) -> Result<(Choice, bool), QueryError> {
    let (mut choices, mut exact) = (Vec::new(), true);
    for stage in &pipeline.stages {
        match stage {
            Stage::Spanset(spanset) => {
                let (choice, own) = of_spanset(spanset, facts)?;
                choices.push(choice);
                exact &= own;
            }
            Stage::Select(_) => {}
            // They only take spans away, or make a query fail.
            Stage::Scalar(_) | Stage::By(_) | Stage::Coalesce => exact = false,
        }
    }
    Ok((Choice::Steps(choices), exact))
}

fn of_spanset(spanset: &Spanset, facts: View<'_>) -> Result<(Choice, bool), QueryError> {
    match spanset {
        Spanset::Filter(expr) => {
            let (cond, exact) = Cond::new(expr, facts)?;
            Ok((Choice::Filter(cond), exact))
        }
        Spanset::Pipeline(pipeline) => steps(pipeline, facts),
        Spanset::Binary { op, left, right } => {
            let ((left, left_exact), (right, right_exact)) = (of_spanset(left, facts)?, of_spanset(right, facts)?);
            let choice = Choice::Binary { op: *op, left: Box::new(left), right: Box::new(right), left_exact };
            Ok((choice, left_exact && right_exact))
        }
    }
}

impl Choice {
    fn into_filters(self, out: &mut Vec<Cond>) {
        match self {
            Choice::Filter(cond) => out.push(cond),
            Choice::Steps(steps) => steps.into_iter().for_each(|s| s.into_filters(out)),
            Choice::Binary { left, right, .. } => {
                left.into_filters(out);
                right.into_filters(out);
            }
        }
    }

    fn keep(&self, rows: &mut Rows<'_>, within: &mut [bool], lenient: bool) -> Result<(), QueryError> {
        match self {
            Choice::Filter(cond) => cond.keep(rows, within, lenient),
            Choice::Steps(steps) => steps.iter().try_for_each(|s| s.keep(rows, within, lenient)),
            Choice::Binary { op: SpansetOp::Structural(_, Form::Negated), right, left_exact: false, .. } => {
                right.keep(rows, within, lenient)
            }
            Choice::Binary { op, left, right, .. } => {
                let mut first = within.to_vec();
                left.keep(rows, &mut first, lenient)?;
                let needs_both = !matches!(op, SpansetOp::Or | SpansetOp::Structural(_, Form::Negated));
                if needs_both {
                    only_traces_of(rows, &first, within);
                }
                right.keep(rows, within, lenient)?;
                if needs_both {
                    only_traces_of(rows, within, &mut first);
                }
                combine(*op, rows, &first, within)
            }
        }
    }
}

/// Takes rows away of traces that have none in `others`.
fn only_traces_of(rows: &Rows<'_>, others: &[bool], within: &mut [bool]) {
    for bounds in &rows.bounds {
        if !others[bounds.clone()].contains(&true) {
            within[bounds.clone()].fill(false);
        }
    }
}

/// `right` becomes `left op right`, trace by trace; for all but `||` and negated forms both sides have rows in the same
/// traces.
fn combine(op: SpansetOp, rows: &mut Rows<'_>, left: &[bool], right: &mut [bool]) -> Result<(), QueryError> {
    let SpansetOp::Structural(relation, form) = op else {
        right.iter_mut().zip(left).for_each(|(right, left)| *right |= left);
        return Ok(());
    };
    if !right.contains(&true) || (form == Form::Negated && !left.contains(&true)) {
        return Ok(());
    }
    let nested = Numbers::read(rows)?;
    let pieces: Vec<_> = rows.pieces().collect();
    let mut numbers = Vec::new();
    for bounds in &rows.bounds {
        let (first, second) = (&left[bounds.clone()], &mut right[bounds.clone()]);
        if !second.contains(&true) || !first.contains(&true) {
            // Without a left side, a negated form keeps all; no other form has a right side then.
            continue;
        }
        nested.fill(&pieces, bounds.clone(), &mut numbers);
        if numbers.len() <= BITS {
            let set = |side: &[bool]| side.iter().enumerate().fold(0, |all, (i, on)| all | u64::from(*on) << i);
            let kept = related_bits(relation, form, &numbers, set(first), set(second));
            second.iter_mut().enumerate().for_each(|(i, on)| *on = kept >> i & 1 == 1);
        } else {
            let positions = |side: &[bool]| -> Vec<usize> { side.iter().enumerate().filter(|(_, on)| **on).map(|(i, _)| i).collect() };
            let kept = related(relation, form, &numbers, &positions(first), &positions(second));
            second.fill(false);
            kept.into_iter().for_each(|i| second[i] = true);
        }
    }
    Ok(())
}

/// The nested-set numbers of a segment.
struct Numbers([Arc<Column>; 3]);

impl Numbers {
    fn read(rows: &mut Rows<'_>) -> Result<Numbers, QueryError> {
        let mut column = |intrinsic| rows.column(&Field::Intrinsic(intrinsic));
        Ok(Numbers([column(Intrinsic::NestedSetLeft)?, column(Intrinsic::NestedSetRight)?, column(Intrinsic::NestedSetParent)?]))
    }

    fn fill(&self, pieces: &[(usize, Range<usize>)], bounds: Range<usize>, out: &mut Vec<Nested>) {
        out.clear();
        for (piece, place) in pieces.iter().filter(|(_, place)| place.start < bounds.end && bounds.start < place.end) {
            let [left, right, parent] = self.0.each_ref().map(|column| column.small(*piece));
            for row in bounds.start.max(place.start) - place.start..bounds.end.min(place.end) - place.start {
                let number = |numbers: &[i32]| numbers.get(row).copied().unwrap_or(0);
                out.push(Nested { left: number(left), right: number(right), parent: number(parent), child_count: 0 });
            }
        }
    }
}
