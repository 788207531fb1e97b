//! Names and values of attributes, for autocompletion (contracts/tempo.md 1.5).

use super::columns::Projection;
use super::schema::AttributeScope;
use super::source::{Sources, TraceRef, steps};
use super::span::Span;
use super::traceql::ast::{Body, Expr, Field, Intrinsic, Op, Scope, Spanset, Stage, Static};
use super::traceql::eval::{Filter, Look, Subject, TraceFacts, Value, need, need_expr};
use super::traceql::{check, parse};
use crate::model::{Attribute, TimeRange};
use crate::query::{Context, QueryError};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of values that one answer holds; further ones are left out.
const VALUES_MAX_BYTES: usize = 1_000_000;

/// Groups of conditions that a filter with OR may stand for.
const GROUPS_MAX: usize = 100;

/// Conditions joined by `&&` that filter while the last one is being typed: each makes the tree of conditions deeper.
const CONDITIONS_MAX: usize = 1000;

/// Traces that are read at a time.
const STEP: usize = 1024;

/// What a filter that is still being typed asks for.
pub struct Lenient(Option<Expr>);

impl Lenient {
    /// Never fails on what cannot be parsed: unfinished conditions count as true, and what is more than one `{ … }` does not
    /// filter. Fails if the filter stands for too many groups of conditions.
    pub fn parse(text: &str) -> Result<Lenient, String> {
        let expr = whole_filter(text).or_else(|| inside_braces(text).and_then(finished_part));
        let expr = expr.filter(|e| !matches!(e, Expr::Static(_)));
        if expr.as_ref().is_some_and(|e| groups(e) > GROUPS_MAX) {
            return Err(format!("maximum condition groups reached (limit: {GROUPS_MAX}). Reduce the number of OR conditions in the query"));
        }
        Ok(Lenient(expr))
    }
}

fn whole_filter(text: &str) -> Option<Expr> {
    let query = parse(text).ok()?;
    check(&query).ok()?;
    let Body::Spansets(mut pipeline) = query.body else { return None };
    match (pipeline.stages.pop(), pipeline.stages.is_empty()) {
        (Some(Stage::Spanset(Spanset::Filter(expr))), true) => Some(expr),
        _ => None,
    }
}

/// The text between the first brace and its end, if nothing follows it.
fn inside_braces(text: &str) -> Option<&str> {
    let inside = text.trim().strip_prefix('{')?;
    let mut quoted = None;
    let mut escaped = false;
    let end = inside.find(|c| {
        match quoted {
            Some(quote) => {
                if c == quote && !escaped {
                    quoted = None;
                }
                escaped = c == '\\' && !escaped;
            }
            None if matches!(c, '"' | '`') => quoted = Some(c),
            None => return c == '}',
        }
        false
    });
    match end {
        None => Some(inside),
        Some(end) => inside[end + 1..].trim().is_empty().then_some(&inside[..end]),
    }
}

/// The conditions joined by `&&` that are complete. With an OR beside an unfinished condition everything is true, and with
/// more conditions than are taken.
fn finished_part(inside: &str) -> Option<Expr> {
    if inside.contains("||") || inside.split("&&").count() > CONDITIONS_MAX {
        return None;
    }
    let finished = inside.split("&&").filter_map(|part| whole_filter(&format!("{{{part}}}"))).filter(|e| !matches!(e, Expr::Static(_)));
    finished.reduce(|left, right| Expr::Binary { op: Op::And, left: Box::new(left), right: Box::new(right) })
}

fn groups(expr: &Expr) -> usize {
    match expr {
        Expr::Binary { op: Op::Or, left, right } => groups(left).saturating_add(groups(right)),
        Expr::Binary { op: Op::And, left, right } => groups(left).saturating_mul(groups(right)),
        _ => 1,
    }
}

/// Gives every span of those traces that overlap the range and satisfies the filter to `each`, which tells whether to go on.
fn spans(
    ctx: &Context,
    sources: &Sources,
    (traces, range): (&[TraceRef], TimeRange),
    filter: &Lenient,
    mut projection: Projection,
    mut each: impl FnMut(Subject<'_>) -> bool,
) -> Result<(), QueryError> {
    // For when it ends.
    need(&mut projection, &Field::Intrinsic(Intrinsic::TraceDuration));
    let compiled = filter.0.as_ref().map(Filter::new);
    if let Some(expr) = &filter.0 {
        need_expr(&mut projection, expr);
    }
    for step in steps(traces, STEP) {
        // The time of a trace that was looked for may be that of a duplicate that does not count.
        for trace in sources.load(ctx, step, &projection)?.into_iter().filter(|t| range.overlaps(t.start(), t.end())) {
            ctx.check()?;
            let facts = TraceFacts::new(&trace);
            for index in 0..trace.spans.len() {
                let subject = Subject::new(&facts, index);
                // A filter that fails on this span's data does not hold for it.
                let holds = compiled.as_ref().is_none_or(|f| f.matches(subject).unwrap_or(false));
                if holds && !each(subject) {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Names of attributes by scope.
pub type Names = BTreeMap<AttributeScope, BTreeSet<String>>;

pub fn names(ctx: &Context, sources: &Sources, range: TimeRange, filter: &Lenient, scopes: &[AttributeScope]) -> Result<Names, QueryError> {
    if filter.0.is_none() {
        return super::names::all(ctx, sources, range, scopes);
    }
    let mut projection = Projection::none();
    scopes.iter().for_each(|scope| projection.add_all_attributes(*scope));
    let mut names = Names::new();
    spans(ctx, sources, (&sources.traces(ctx, range)?, range), filter, projection, |subject| {
        for scope in scopes {
            let names = names.entry(*scope).or_default();
            each_attribute(subject.span(), *scope, |attribute| {
                if !names.contains(&attribute.key) {
                    names.insert(attribute.key.clone());
                }
            });
        }
        true
    })?;
    Ok(names)
}

fn each_attribute<'a>(span: &'a Span, scope: AttributeScope, mut each: impl FnMut(&'a Attribute)) {
    match scope {
        AttributeScope::Span => span.attributes.iter().for_each(each),
        AttributeScope::Resource => span.resource.attributes.iter().for_each(each),
        AttributeScope::Instrumentation => span.scope.attributes.iter().for_each(each),
        AttributeScope::Event => span.events.iter().flat_map(|e| &e.attributes).for_each(&mut each),
        AttributeScope::Link => span.links.iter().flat_map(|l| &l.attributes).for_each(&mut each),
    }
}

/// Values, each once.
#[derive(Debug, Default)]
pub struct Distinct {
    found: BTreeMap<String, Value<'static>>,
    bytes: usize,
    limit: usize,
}

impl Distinct {
    pub fn new(limit: usize) -> Distinct {
        Distinct { limit, ..Distinct::default() }
    }

    pub fn is_full(&self) -> bool {
        self.found.len() >= self.limit || self.bytes >= VALUES_MAX_BYTES
    }

    /// How many more there may be.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.found.len())
    }

    /// Of a list, its elements.
    pub fn add(&mut self, value: Value<'_>) {
        match value {
            Value::Array(values) => values.into_iter().for_each(|value| self.add(value)),
            Value::Nil => {}
            value => {
                let key = value.key();
                if !self.is_full() && self.bytes + key.len() <= VALUES_MAX_BYTES && !self.found.contains_key(&key) {
                    self.bytes += key.len();
                    self.found.insert(key, value.into_owned());
                }
            }
        }
    }

    pub fn absorb(&mut self, other: Distinct) {
        other.found.into_values().for_each(|value| self.add(value));
    }
}

/// The distinct values of a field, at most `limit`, in order of their text.
pub fn values(
    ctx: &Context,
    sources: &Sources,
    range: TimeRange,
    filter: &Lenient,
    field: &Field,
    limit: usize,
) -> Result<Vec<Value<'static>>, QueryError> {
    let mut distinct = Distinct::new(limit);
    let expr = filter.0.clone().unwrap_or(Expr::Static(Static::Bool(true)));
    let traces = super::values::of_blocks(ctx, sources, range, expr, &parts(field), &mut distinct)?;
    let mut projection = Projection::none();
    need(&mut projection, field);
    spans(ctx, sources, (&traces, range), filter, projection, |subject| {
        each_value(subject, field, &mut |value| distinct.add(value));
        !distinct.is_full()
    })?;
    Ok(distinct.found.into_values().collect())
}

/// An unscoped attribute stands for those of span, resource and instrumentation, whichever hides the other.
fn parts(field: &Field) -> Vec<Field> {
    match field {
        Field::Attribute { scope: Scope::Any, parent: false, name } => {
            let scoped = |scope| Field::Attribute { scope, parent: false, name: name.clone() };
            [Scope::Span, Scope::Resource, Scope::Instrumentation].map(scoped).to_vec()
        }
        field => vec![field.clone()],
    }
}

fn each_value<'a>(subject: Subject<'a>, field: &Field, each: &mut impl FnMut(Value<'a>)) {
    let span = subject.span();
    for field in parts(field) {
        match &field {
            Field::Attribute { scope: scope @ (Scope::Event | Scope::Link), name, .. } => {
                for scope in scope.attribute_scopes() {
                    each_attribute(span, *scope, |attribute| {
                        if attribute.key == *name {
                            each(Value::of_attribute(&attribute.value));
                        }
                    });
                }
            }
            Field::Intrinsic(_) if field.is_of_event() => {
                span.events.iter().for_each(|event| each(Value::String(event.name.as_str().into())));
            }
            field => each(subject.get(field)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        Lenient::parse(text).unwrap().0.map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn a_filter_that_is_being_typed_keeps_what_is_complete() {
        for (text, expected) in [
            ("{ span.a = 1 && name = \"x\" }", "(span.a = 1) && (name = `x`)"),
            ("{ span.a = 1 && span.b = ", "span.a = 1"),
            ("{ span.a = 1 && }", "span.a = 1"),
            ("{ span.a = \"}\" && span.", "span.a = `}`"),
            ("{ span.a = 1 || span.b = }", ""),
            ("{ span.a = 1 } | count() > 1", ""),
            ("{ span.a = 1 } && { span.b = 1 }", ""),
            ("nonsense", ""),
            ("{}", ""),
            ("{ parent.a = 1 }", ""),
            ("", ""),
        ] {
            assert_eq!(kept(text), expected, "{text}");
        }
    }

    #[test]
    fn groups_of_conditions_are_bounded() {
        let or = |n: usize| (0..n).map(|i| format!(".a = {i}")).collect::<Vec<_>>().join(" || ");
        assert!(Lenient::parse(&format!("{{ {} }}", or(100))).is_ok());
        assert!(Lenient::parse(&format!("{{ {} }}", or(101))).is_err());
        assert!(Lenient::parse(&format!("{{ ({}) && ({}) }}", or(11), or(10))).is_err());
    }

    #[test]
    fn too_many_conditions_do_not_filter() {
        let unfinished = |n: usize| format!("{{ {} && .b = ", vec![".a = 1"; n].join(" && "));
        assert!(Lenient::parse(&unfinished(900)).unwrap().0.is_some());
        assert!(Lenient::parse(&unfinished(10_000)).unwrap().0.is_none());
    }
}
