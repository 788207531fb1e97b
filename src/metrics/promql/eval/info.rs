//! info(): labels of `target_info` and its like, added to the series of the same instance and job.

use super::{Evaluator, Grid, Result, Series, merge_equal};
use crate::metrics::METRIC_NAME;
use crate::metrics::promql::ast::{At, Duration, Expr, Kind, Selector};
use crate::model::{Labels, MatchOp, Matcher};
use crate::query::QueryError;
use std::collections::{BTreeSet, HashMap};

/// Labels by which a series finds its info series.
const IDENTITY: [&str; 2] = ["instance", "job"];

fn identity(labels: &Labels) -> Labels {
    labels.filtered(|n| IDENTITY.contains(&n))
}

impl Evaluator<'_> {
    pub(super) fn info_function(&self, args: &[Expr], grid: Grid) -> Result<Vec<Series>> {
        let base = self.vector(&args[0], grid)?;
        let wanted: &[Matcher] = match args.get(1).map(|a| &a.kind) {
            Some(Kind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let name_matchers = info_names(wanted);
        let is_info = |labels: &Labels| name_matchers.iter().all(|m| m.matches(labels.value(METRIC_NAME)));
        let info = self.info_series(&args[0], &name_matchers, wanted, &base, grid)?;
        let data_matchers: Vec<&Matcher> = wanted.iter().filter(|m| m.name != METRIC_NAME).collect();
        let chosen: BTreeSet<&str> = data_matchers.iter().map(|m| m.name.as_str()).collect();
        let drops_unmatched = data_matchers.iter().any(|m| !m.matches_empty());
        let mut result = Vec::new();
        for series in base {
            if is_info(&series.labels) {
                result.push(series);
                continue;
            }
            let partners: Vec<&Series> = info.get(&identity(&series.labels)).map(|p| p.iter().collect()).unwrap_or_default();
            let mut parts: HashMap<Labels, Series> = HashMap::new();
            for step in (0..grid.count).filter(|s| series.has(*s)) {
                let present: Vec<&&Series> = partners.iter().filter(|p| p.has(step)).collect();
                let Some(labels) = enriched(&series.labels, &present, &chosen)? else { continue };
                if present.is_empty() && drops_unmatched {
                    continue;
                }
                let part = parts
                    .entry(labels.clone())
                    .or_insert_with(|| Series { drop_name: series.drop_name, ..Series::new(labels, grid.count) });
                if let Some(cell) = series.get(step) {
                    part.set(step, cell);
                }
            }
            result.extend(parts.into_values());
        }
        merge_equal(result)
    }

    /// Info series by identity. They are read at the offset and time of the argument's own selector.
    fn info_series(
        &self,
        arg: &Expr,
        names: &[Matcher],
        wanted: &[Matcher],
        base: &[Series],
        grid: Grid,
    ) -> Result<HashMap<Labels, Vec<Series>>> {
        let mut matchers = names.to_vec();
        matchers.extend(wanted.iter().filter(|m| m.name != METRIC_NAME).cloned());
        let (offset, at) = reference(arg).unwrap_or((0, None));
        let selector = Selector { matchers, offset: Some(Duration::Fixed(offset)), at, ..Selector::default() };
        let identities: BTreeSet<Labels> = base.iter().map(|s| identity(&s.labels)).collect();
        let mut info: HashMap<Labels, Vec<Series>> = HashMap::new();
        let mut found: HashMap<(Labels, String), Vec<(Series, Series)>> = HashMap::new();
        let times = self.instant_timestamps(&selector, grid)?.collect(self)?;
        for (mut series, times) in self.instant_selector(arg, &selector, grid)?.collect(self)?.into_iter().zip(times) {
            let key = identity(&series.labels);
            if !identities.contains(&key) {
                continue;
            }
            // Of series of the same name and identity only the newest sample counts.
            let same: &mut Vec<(Series, Series)> = found.entry((key, series.labels.value(METRIC_NAME).to_owned())).or_default();
            for (other, other_times) in same.iter_mut() {
                for step in 0..grid.count {
                    let (Some(mine), Some(theirs)) = (times.float(step), other_times.float(step)) else { continue };
                    if !other.has(step) || !series.has(step) {
                        continue;
                    }
                    if mine == theirs {
                        return Err(duplicate(other, &series, theirs));
                    }
                    if mine > theirs { other.clear(step) } else { series.clear(step) }
                }
            }
            same.push((series, times));
        }
        for ((key, _), series) in found {
            info.entry(key).or_default().extend(series.into_iter().map(|s| s.0));
        }
        Ok(info)
    }
}

fn duplicate(existing: &Series, new: &Series, seconds: f64) -> QueryError {
    let ms = (seconds * 1000.0).round();
    QueryError::Execution(format!("found duplicate series for info metric: existing {} @ {ms}, new {} @ {ms}", existing.labels, new.labels))
}

/// The offset (milliseconds) and `@` at which the first selector in `expr` reads.
fn reference(expr: &Expr) -> Option<(i64, Option<At>)> {
    let ms = |offset: &Option<Duration>| offset.as_ref().map_or(0, Duration::ms);
    match &expr.kind {
        Kind::Selector(s) | Kind::Range { selector: s, .. } => Some((ms(&s.offset), s.at)),
        Kind::Subquery(s) => {
            let (offset, at) = reference(&s.expr)?;
            if at.is_some() { Some((offset, at)) } else { Some((offset + ms(&s.offset), s.at)) }
        }
        _ => {
            let mut first = None;
            expr.for_each_child(&mut |child| {
                if first.is_none() {
                    first = reference(child);
                }
            });
            first
        }
    }
}

/// Matchers for the names of info metrics: those given, or the default.
fn info_names(wanted: &[Matcher]) -> Vec<Matcher> {
    let mut names: Vec<Matcher> = wanted.iter().filter(|m| m.name == METRIC_NAME).cloned().collect();
    if names.is_empty() {
        return vec![Matcher::equal(METRIC_NAME, "target_info")];
    }
    if names.iter().all(|m| matches!(m.op, MatchOp::NotEqual | MatchOp::NotRegex)) {
        names.extend(Matcher::new(METRIC_NAME, MatchOp::Regex, ".+_info"));
    }
    names
}

/// The labels of a series with those of its info series that it does not have.
fn enriched(own: &Labels, info: &[&&Series], chosen: &BTreeSet<&str>) -> Result<Option<Labels>> {
    let mut added: HashMap<&str, &str> = HashMap::new();
    for series in info {
        for (name, value) in series.labels.iter() {
            let takes = chosen.is_empty() || chosen.contains(name);
            if name == METRIC_NAME || IDENTITY.contains(&name) || !takes || own.get(name).is_some() {
                continue;
            }
            if added.insert(name, value).is_some_and(|known| known != value) {
                return Err(QueryError::Execution(format!("conflicting label: {name}")));
            }
        }
    }
    let mut labels = own.to_builder();
    for (name, value) in added {
        labels.set(name, value);
    }
    Ok(Some(labels.build()))
}
