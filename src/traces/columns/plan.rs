use crate::model::{AttributeRef, AttributeValue, ValueRef};
use crate::traces::schema::{
    AttributeScope, ColumnType, SERVICE_NAME_KEY, column_name, event_fields, link_fields, may_have_column, span_fields,
};
use crate::traces::span_ref::SpanRef;
use arrow_schema::Field;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Columns a scope has at most.
const COLUMNS_MAX: usize = 64;

/// Which attributes get a column. An empty plan keeps all in the rest maps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// By scope, then key; ascending.
    pub columns: BTreeMap<AttributeScope, Vec<(String, ColumnType)>>,
    /// Columns of texts that hardly repeat, by name: they get a Bloom filter.
    pub distinct: BTreeSet<String>,
}

/// Texts hardly repeat if there are more than this many in the sample, and more than one in so many occurrences.
const DISTINCT_MIN: usize = 512;
const DISTINCT_SHARE: usize = 8;

pub fn column_type(value: &ValueRef<'_>) -> Option<ColumnType> {
    match value {
        ValueRef::String(_) => Some(ColumnType::String),
        ValueRef::Int(_) => Some(ColumnType::Int),
        ValueRef::Double(_) => Some(ColumnType::Double),
        ValueRef::Bool(_) => Some(ColumnType::Bool),
        ValueRef::Nested(value) if matches!(**value, AttributeValue::String(_)) => Some(ColumnType::String),
        ValueRef::Empty | ValueRef::Bytes(_) | ValueRef::Nested(_) => None,
    }
}

/// The text of a string.
pub fn text_of<'a>(value: &'a ValueRef<'_>) -> Option<&'a str> {
    match value {
        ValueRef::String(text) => Some(text),
        ValueRef::Nested(value) => match &**value {
            AttributeValue::String(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// How often each (key, type) occurs in one scope.
#[derive(Default)]
struct Counts<'a> {
    rows: u64,
    by_key: HashMap<(&'a str, ColumnType), u64>,
}

impl<'a> Counts<'a> {
    fn add(&mut self, attributes: &'a [AttributeRef<'_>]) {
        self.rows += 1;
        for attribute in attributes {
            if let Some(column_type) = column_type(&attribute.value) {
                *self.by_key.entry((attribute.key, column_type)).or_default() += 1;
            }
        }
    }

    /// Strings, doubles and booleans in more than 1 % of the rows, integers in more than 5 %; of these the most frequent.
    fn choose(self, reserved: Option<&str>) -> Vec<(String, ColumnType)> {
        let often = |((_, column_type), count): &((&str, ColumnType), u64)| {
            let percent = if *column_type == ColumnType::Int { 5 } else { 1 };
            *count * 100 > self.rows * percent
        };
        let allowed = |((key, column_type), _): &((&str, ColumnType), u64)| {
            may_have_column(key, *column_type) && !(*column_type == ColumnType::String && Some(*key) == reserved)
        };
        let mut chosen: Vec<_> = self.by_key.into_iter().filter(|entry| often(entry) && allowed(entry)).collect();
        chosen.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        chosen.truncate(COLUMNS_MAX);
        let mut columns: Vec<_> = chosen.into_iter().map(|((key, column_type), _)| (key.to_owned(), column_type)).collect();
        columns.sort();
        columns
    }
}

impl Plan {
    /// The plan for a block with these spans.
    pub fn choose(spans: &[SpanRef<'_>]) -> Plan {
        let mut counts: [Counts<'_>; 5] = Default::default();
        for span in spans {
            counts[0].add(&span.attributes);
            counts[1].add(&span.resource.attributes);
            counts[2].add(&span.scope.attributes);
            span.events.iter().for_each(|e| counts[3].add(&e.attributes));
            span.links.iter().for_each(|l| counts[4].add(&l.attributes));
        }
        let scopes =
            [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation, AttributeScope::Event, AttributeScope::Link];
        let columns = scopes.into_iter().zip(counts).map(|(scope, counts)| {
            let reserved = (scope == AttributeScope::Resource).then_some(SERVICE_NAME_KEY);
            (scope, counts.choose(reserved))
        });
        let mut plan = Plan { columns: columns.collect(), distinct: BTreeSet::new() };
        plan.find_distinct(spans);
        plan
    }

    /// Events and links are looked at through their spans, so a filter on a column of theirs would not be asked.
    fn find_distinct(&mut self, spans: &[SpanRef<'_>]) {
        for scope in [AttributeScope::Span, AttributeScope::Resource] {
            let mut seen: HashMap<&str, (usize, HashSet<&str>)> = HashMap::new();
            for attribute in spans.iter().flat_map(|span| match scope {
                AttributeScope::Resource => &span.resource.attributes,
                _ => &span.attributes,
            }) {
                if let Some(text) = text_of(&attribute.value) {
                    let (count, texts) = seen.entry(attribute.key).or_default();
                    *count += 1;
                    texts.insert(text);
                }
            }
            let often = |key: &str| seen.get(key).is_some_and(|(n, texts)| texts.len() > DISTINCT_MIN && texts.len() * DISTINCT_SHARE > *n);
            let chosen = self.of(scope).iter().filter(|(key, t)| *t == ColumnType::String && often(key));
            let names: Vec<String> = chosen.map(|(key, t)| column_name(scope, key, *t)).collect();
            self.distinct.extend(names);
        }
    }

    pub fn of(&self, scope: AttributeScope) -> &[(String, ColumnType)] {
        self.columns.get(&scope).map_or(&[], |c| c)
    }

    fn fields_of(&self, scope: AttributeScope) -> impl Iterator<Item = Field> {
        self.of(scope).iter().map(move |(key, t)| Field::new(column_name(scope, key, *t), t.data_type(), true))
    }

    /// The columns of `spans`, in file order.
    pub fn span_fields(&self) -> Vec<Field> {
        let scopes = [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation];
        span_fields().into_iter().chain(scopes.into_iter().flat_map(|scope| self.fields_of(scope))).collect()
    }

    /// The columns of `events`.
    pub fn event_fields(&self) -> Vec<Field> {
        event_fields().into_iter().chain(self.fields_of(AttributeScope::Event)).collect()
    }

    /// The columns of `links`.
    pub fn link_fields(&self) -> Vec<Field> {
        link_fields().into_iter().chain(self.fields_of(AttributeScope::Link)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attribute;
    use crate::traces::span::Span;

    fn choose(spans: &[Span]) -> Plan {
        Plan::choose(&spans.iter().map(SpanRef::from).collect::<Vec<_>>())
    }

    #[test]
    fn frequent_attributes_get_columns_and_integers_must_be_more_frequent() {
        let mut spans = vec![Span::default(); 100];
        for (i, span) in spans.iter_mut().enumerate() {
            let mut add = |key: &str, value| span.attributes.push(Attribute::new(key, value));
            if i < 2 {
                add("twice", AttributeValue::String("x".into()));
                add("rare", AttributeValue::Int(1));
            }
            if i < 1 {
                add("once", AttributeValue::String("x".into()));
            }
            if i < 6 {
                add("six", AttributeValue::Int(1));
                add("bytes", AttributeValue::Bytes(vec![]));
                add("six:int", AttributeValue::String("x".into()));
            }
        }
        let plan = choose(&spans);
        let expected = [("six".to_owned(), ColumnType::Int), ("twice".to_owned(), ColumnType::String)];
        assert_eq!(plan.of(AttributeScope::Span), expected);
        assert_eq!(plan.of(AttributeScope::Resource), []);
    }

    #[test]
    fn texts_that_hardly_repeat_get_a_filter() {
        let span = |i: usize| {
            let attributes = vec![
                Attribute::new("id", AttributeValue::String(i.to_string())),
                Attribute::new("route", AttributeValue::String((i % 600).to_string())),
            ];
            Span { attributes, ..Span::default() }
        };
        let spans: Vec<Span> = (0..10_000).map(span).collect();
        assert_eq!(choose(&spans).distinct.into_iter().collect::<Vec<_>>(), ["span.id"]);
        assert!(choose(&spans[..500]).distinct.is_empty());
    }

    #[test]
    fn a_scope_has_a_bounded_number_of_columns() {
        let attributes = (0..100).map(|i| Attribute::new(format!("k{i:03}"), AttributeValue::Bool(true))).collect();
        let plan = choose(&[Span { attributes, ..Span::default() }]);
        assert_eq!(plan.of(AttributeScope::Span).len(), COLUMNS_MAX);
    }
}
