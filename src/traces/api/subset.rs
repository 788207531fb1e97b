//! The part of a trace that a filter asks for: `q` and its companions of the second version of trace by id (contracts/tempo.md
//! 1.3).

use super::error::ApiError;
use super::search::check_size;
use crate::query::QueryError;
use crate::traces::find::checked;
use crate::traces::trace::{Trace, parents_of};
use crate::traces::traceql::ast::{Body, Expr, Spanset, Stage};
use crate::traces::traceql::eval::{Filter, Subject, TraceFacts};
use crate::web::Params;

/// What tells the reader that spans are missing.
pub const MESSAGE: &str = "Trace filtered, only a subset of spans matching the filter is returned";

pub struct Subset {
    filter: Filter,
    /// Levels above and below a match that are kept; `None` keeps all.
    above: Option<usize>,
    below: Option<usize>,
}

impl Subset {
    /// `None` without a filter.
    pub fn parse(params: &Params) -> Result<Option<Subset>, ApiError> {
        let (above, below) = (depth(params, "ancestor_depth", None)?, depth(params, "match_depth", Some(0))?);
        let hierarchy = match params.non_empty("keep_hierarchy") {
            None => false,
            Some(text) => text.parse::<bool>().map_err(|_| ApiError::bad_request(format!("invalid value for keep_hierarchy: {text:?}")))?,
        };
        let Some(text) = params.non_empty("q") else { return Ok(None) };
        check_size(text)?;
        let query = checked(text).map_err(|e| ApiError::bad_request(format!("invalid TraceQL query: {e}")))?;
        let expr = single_filter(query.body).ok_or_else(|| {
            ApiError::bad_request(
                "invalid TraceQL query: a trace can be filtered by one spanset filter only, about spans and not about the trace",
            )
        })?;
        Ok(Some(Subset { filter: Filter::new(&expr), above: if hierarchy { above } else { Some(0) }, below }))
    }

    /// The trace without the other spans, and whether any went.
    pub fn of(&self, mut trace: Trace) -> Result<(Trace, bool), QueryError> {
        let facts = TraceFacts::new(&trace);
        let mut kept = vec![false; trace.spans.len()];
        for (index, kept) in kept.iter_mut().enumerate() {
            *kept = self.filter.matches(Subject::new(&facts, index)).map_err(|e| QueryError::Execution(e.to_string()))?;
        }
        let parents = parents_of(&trace.spans);
        let matches: Vec<usize> = (0..kept.len()).filter(|i| kept[*i]).collect();
        keep_ancestors(&parents, &matches, self.above, &mut kept);
        keep_descendants(&parents, &matches, self.below, &mut kept);
        let all = kept.iter().all(|k| *k);
        let mut kept = kept.into_iter();
        trace.spans.retain(|_| kept.next().unwrap_or(false));
        Ok((trace, !all))
    }
}

/// At least -1, which is no bound.
fn depth(params: &Params, name: &str, default: Option<usize>) -> Result<Option<usize>, ApiError> {
    let Some(text) = params.non_empty(name) else { return Ok(default) };
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(depth) if depth >= 0 => Ok(Some(usize::try_from(depth).unwrap_or(usize::MAX))),
        _ => Err(ApiError::bad_request(format!("invalid value for {name}: {text:?} is not an integer of at least -1"))),
    }
}

fn single_filter(body: Body) -> Option<Expr> {
    let Body::Spansets(mut pipeline) = body else { return None };
    let (Some(Stage::Spanset(Spanset::Filter(expr))), true) = (pipeline.stages.pop(), pipeline.stages.is_empty()) else { return None };
    let mut alone = true;
    expr.visit_fields(&mut |field| alone &= !field.is_of_trace());
    alone.then_some(expr)
}

fn keep_ancestors(parents: &[Option<usize>], matches: &[usize], levels: Option<usize>, kept: &mut [bool]) {
    // How far up from each span was gone already: a shared way is gone again only if this goes further.
    let mut gone: Vec<Option<usize>> = vec![None; parents.len()];
    for index in matches {
        let (mut at, mut left) = (*index, levels.unwrap_or(parents.len()));
        while left > 0
            && let Some(parent) = parents[at]
            && gone[parent].is_none_or(|before| before < left)
        {
            gone[parent] = Some(left);
            kept[parent] = true;
            (at, left) = (parent, left - 1);
        }
    }
}

fn keep_descendants(parents: &[Option<usize>], matches: &[usize], levels: Option<usize>, kept: &mut [bool]) {
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); parents.len()];
    for (index, parent) in parents.iter().enumerate() {
        parent.iter().for_each(|parent| children[*parent].push(index));
    }
    // Level by level, so that each span is met first on its shortest way from a match.
    let (mut level, mut seen) = (matches.to_vec(), vec![false; parents.len()]);
    matches.iter().for_each(|index| seen[*index] = true);
    let mut left = levels.unwrap_or(parents.len());
    while left > 0 && !level.is_empty() {
        let next: Vec<usize> = level.iter().flat_map(|index| &children[*index]).copied().collect();
        level = next.into_iter().filter(|index| !std::mem::replace(&mut seen[*index], true)).collect();
        level.iter().for_each(|index| kept[*index] = true);
        left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{SpanId, TraceId};
    use crate::traces::span::Span;

    /// A chain of five spans, of which the third is named, beside another child of the first.
    fn kept(params: &[(&str, &str)]) -> Vec<u8> {
        let span = |id: u8, parent: u8, name: &str| Span {
            span_id: SpanId([id; 8]),
            parent_span_id: (parent > 0).then_some(SpanId([parent; 8])),
            name: name.into(),
            start: i64::from(id),
            ..Span::default()
        };
        let spans = vec![span(1, 0, ""), span(2, 1, ""), span(3, 2, "x"), span(4, 3, ""), span(5, 4, ""), span(6, 1, "")];
        let params = Params::from_pairs(params.iter().copied().chain([("q", "{ name = \"x\" }")]));
        let subset = Subset::parse(&params).unwrap().unwrap();
        let (trace, fewer) = subset.of(Trace { trace_id: TraceId::default(), spans }).unwrap();
        assert!(fewer);
        trace.spans.iter().map(|s| s.span_id.0[0]).collect()
    }

    #[test]
    fn matches_are_kept_with_what_is_asked_for_around_them() {
        assert_eq!(kept(&[]), [3]);
        assert_eq!(kept(&[("keep_hierarchy", "true")]), [1, 2, 3]);
        assert_eq!(kept(&[("keep_hierarchy", "true"), ("ancestor_depth", "1")]), [2, 3]);
        assert_eq!(kept(&[("match_depth", "1")]), [3, 4]);
        assert_eq!(kept(&[("match_depth", "-1"), ("keep_hierarchy", "true")]), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn only_one_filter_on_spans_is_taken() {
        let parse = |name: &str, value: &str| Subset::parse(&Params::from_pairs([(name, value)])).map(|s| s.is_some());
        assert_eq!(parse("q", "{ .a = 1 && event:name = \"x\" }"), Ok(true));
        assert_eq!(parse("q", ""), Ok(false));
        for bad in ["{ } | count() > 1", "{ } >> { }", "{ } | rate()", "{ rootName = \"x\" }", "{ nestedSetParent < 0 }", "{ .a = "] {
            assert!(parse("q", bad).is_err(), "{bad}");
        }
        assert!(parse("match_depth", "-2").is_err() && parse("ancestor_depth", "x").is_err() && parse("keep_hierarchy", "x").is_err());
    }
}
