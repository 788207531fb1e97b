//! `compare()`: how the values of all attributes are spread over the spans of a selection and over the others.

use super::{Grid, Series};
use crate::model::Attribute;
use crate::query::{Context, QueryError};
use crate::traces::columns::Projection;
use crate::traces::schema::AttributeScope;
use crate::traces::traceql::ast::{Compare, Field, Intrinsic, Scope};
use crate::traces::traceql::eval::{Filter, Look, Subject, Value, need, need_expr};
use std::collections::HashMap;

pub struct Comparison {
    filter: Filter,
    top: usize,
    range: Option<(i64, i64)>,
}

/// Intrinsics that are compared beside the attributes.
const INTRINSICS: [Intrinsic; 10] = [
    Intrinsic::Name,
    Intrinsic::Status,
    Intrinsic::Kind,
    Intrinsic::StatusMessage,
    Intrinsic::RootName,
    Intrinsic::RootService,
    Intrinsic::ChildCount,
    Intrinsic::InstrumentationName,
    Intrinsic::InstrumentationVersion,
    Intrinsic::EventName,
];

const SCOPES: [(Scope, AttributeScope); 5] = [
    (Scope::Span, AttributeScope::Span),
    (Scope::Resource, AttributeScope::Resource),
    (Scope::Instrumentation, AttributeScope::Instrumentation),
    (Scope::Event, AttributeScope::Event),
    (Scope::Link, AttributeScope::Link),
];

impl Comparison {
    pub fn new(compare: &Compare) -> Comparison {
        Comparison { filter: Filter::new(&compare.filter), top: usize::try_from(compare.top).unwrap_or(1), range: compare.range }
    }

    pub fn need(&self, compare: &Compare, reads: &mut Projection) {
        need_expr(reads, &compare.filter);
        INTRINSICS.iter().for_each(|intrinsic| need(reads, &Field::Intrinsic(*intrinsic)));
        SCOPES.iter().for_each(|(_, scope)| reads.add_all_attributes(*scope));
    }

    pub fn start(&self, grid: Grid) -> Counting<'_> {
        Counting { comparison: self, grid, sides: Default::default() }
    }

    fn selects(&self, subject: Subject<'_>) -> Result<bool, QueryError> {
        let start = subject.span().start;
        if self.range.is_some_and(|(from, to)| start <= from || start > to) {
            return Ok(false);
        }
        self.filter.matches(subject).map_err(|e| QueryError::Execution(e.to_string()))
    }
}

/// Counts that the values of one attribute on one side have, all intervals together. An attribute with more values than
/// that, an id of an order say, forgets those it has seen least often; its totals stay exact.
const COUNTS_MAX: usize = 1 << 16;

/// Values of an attribute that are counted at least, however many intervals there are: far more than can be asked for.
const VALUES_MIN: usize = 4096;

/// The values of one attribute on one side, each with its count in every interval.
#[derive(Default)]
struct Spread {
    values: HashMap<String, (Value<'static>, Vec<u64>)>,
    total: Vec<u64>,
}

impl Spread {
    /// Forgets the half that was seen least often.
    fn forget(&mut self, ctx: &Context) {
        let seen = |counts: &[u64]| counts.iter().sum::<u64>();
        let mut all: Vec<u64> = self.values.values().map(|(_, counts)| seen(counts)).collect();
        let middle = all.len() / 2;
        let (_, least, _) = all.select_nth_unstable(middle);
        let least = *least;
        self.values.retain(|key, (_, counts)| {
            let stays = seen(counts) > least;
            if !stays {
                ctx.release(value_bytes(key, counts.len()));
            }
            stays
        });
    }
}

fn value_bytes(key: &str, intervals: usize) -> u64 {
    128 + key.len() as u64 + 8 * intervals as u64
}

/// Of the baseline and of the selection, by the text of the attribute.
pub struct Counting<'a> {
    comparison: &'a Comparison,
    grid: Grid,
    sides: [HashMap<String, Spread>; 2],
}

impl Counting<'_> {
    pub fn observe(&mut self, ctx: &Context, subject: Subject<'_>, interval: usize) -> Result<(), QueryError> {
        let side = usize::from(self.comparison.selects(subject)?);
        let span = subject.span();
        for (scope, _) in SCOPES {
            let own: Vec<&Attribute> = match scope {
                Scope::Span => span.attributes.iter().collect(),
                Scope::Resource => span.resource.attributes.iter().collect(),
                Scope::Instrumentation => span.scope.attributes.iter().collect(),
                Scope::Event => span.events.iter().flat_map(|e| &e.attributes).collect(),
                Scope::Link | Scope::Any => span.links.iter().flat_map(|l| &l.attributes).collect(),
            };
            for attribute in own {
                let field = Field::Attribute { scope, parent: false, name: attribute.key.clone() };
                self.add(ctx, (side, interval), &field, Value::of_attribute(&attribute.value))?;
            }
        }
        for intrinsic in INTRINSICS {
            let field = Field::Intrinsic(intrinsic);
            let value = subject.get(&field);
            if !matches!(&value, Value::String(text) if text.is_empty()) {
                self.add(ctx, (side, interval), &field, value)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, ctx: &Context, (side, interval): (usize, usize), field: &Field, value: Value<'_>) -> Result<(), QueryError> {
        let values = match value {
            Value::Nil => return Ok(()),
            Value::Array(values) => values,
            value => vec![value],
        };
        let count = self.grid.count;
        let spread = self.sides[side].entry(field.to_string()).or_default();
        spread.total.resize(count, 0);
        for value in values {
            let key = value.key();
            if !spread.values.contains_key(&key) {
                if spread.values.len() >= (COUNTS_MAX / count.max(1)).max(VALUES_MIN) {
                    spread.forget(ctx);
                }
                ctx.reserve(value_bytes(&key, count))?;
                spread.values.insert(key.clone(), (value.into_owned(), vec![0; count]));
            }
            if let Some((_, counts)) = spread.values.get_mut(&key) {
                counts[interval] += 1;
            }
            spread.total[interval] += 1;
        }
        Ok(())
    }

    pub fn finish(self) -> Vec<Series> {
        let mut out = Vec::new();
        let top = self.comparison.top;
        for (side, name) in self.sides.into_iter().zip(["baseline", "selection"]) {
            for (attribute, spread) in side {
                let series = |kind: String, value: Value<'static>, counts: Vec<u64>| {
                    let labels = vec![("__meta_type".to_owned(), Value::String(kind.into())), (attribute.clone(), value)];
                    Series::new(labels, counts.into_iter().map(|n| Some(n as f64)).collect())
                };
                let mut values: Vec<(u64, Value<'static>, Vec<u64>)> =
                    spread.values.into_values().map(|(value, counts)| (counts.iter().sum(), value, counts)).collect();
                values.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.text().cmp(&b.1.text())));
                values.truncate(top);
                out.extend(values.into_iter().map(|(_, value, counts)| series(name.to_owned(), value, counts)));
                out.push(series(format!("{name}_total"), Value::String("nil".into()), spread.total));
            }
        }
        out
    }
}
