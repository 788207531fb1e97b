use crate::model::{AttributeRef, AttributeValue, ValueRef};
use crate::traces::schema::{
    AttributeScope, ColumnType, SERVICE_NAME_KEY, column_name, event_fields, link_fields, may_have_column, span_fields,
};
use crate::traces::span_ref::SpanRef;
use arrow_schema::Field;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

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
const DISTINCT_SHARE: u64 = 8;

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

/// What is known of a key in one scope.
#[derive(Default)]
struct Key<'a> {
    /// How often it has a value of each type, in the order of [`ColumnType::ALL`].
    types: [u64; 4],
    /// Its texts, as far as they are asked for.
    texts: HashSet<&'a str>,
}

/// The keys of one scope.
struct Counts<'a> {
    with_texts: bool,
    rows: u64,
    by_key: HashMap<&'a str, Key<'a>>,
}

impl<'a> Counts<'a> {
    fn new(with_texts: bool) -> Counts<'a> {
        Counts { with_texts, rows: 0, by_key: HashMap::new() }
    }

    /// Of so many rows.
    fn add(&mut self, attributes: &'a [AttributeRef<'_>], rows: u64) {
        self.rows += rows;
        for attribute in attributes {
            let Some(column_type) = column_type(&attribute.value) else { continue };
            let key = self.by_key.entry(attribute.key).or_default();
            key.types[column_type as usize] += rows;
            if self.with_texts {
                key.texts.extend(text_of(&attribute.value));
            }
        }
    }

    /// As [`Counts::add`] for each row, of what many rows share.
    fn add_shared<T: 'a>(&mut self, values: impl Iterator<Item = &'a Rc<T>>, attributes: impl Fn(&'a T) -> &'a [AttributeRef<'a>]) {
        let mut shared: HashMap<*const T, (&'a T, u64)> = HashMap::new();
        values.for_each(|value| shared.entry(Rc::as_ptr(value)).or_insert((value, 0)).1 += 1);
        shared.into_values().for_each(|(value, rows)| self.add(attributes(value), rows));
    }

    /// Strings, doubles and booleans in more than 1 % of the rows, integers in more than 5 %; of these the most frequent.
    fn choose(&self, reserved: Option<&str>) -> Vec<(String, ColumnType)> {
        let each = self.by_key.iter().flat_map(|(key, known)| ColumnType::ALL.map(|t| ((*key, t), known.types[t as usize])));
        let often = |((_, column_type), count): &((&str, ColumnType), u64)| {
            let percent = if *column_type == ColumnType::Int { 5 } else { 1 };
            *count * 100 > self.rows * percent
        };
        let allowed = |((key, column_type), _): &((&str, ColumnType), u64)| {
            may_have_column(key, *column_type) && !(*column_type == ColumnType::String && Some(*key) == reserved)
        };
        let mut chosen: Vec<_> = each.filter(|entry| often(entry) && allowed(entry)).collect();
        chosen.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        chosen.truncate(COLUMNS_MAX);
        let mut columns: Vec<_> = chosen.into_iter().map(|((key, column_type), _)| (key.to_owned(), column_type)).collect();
        columns.sort();
        columns
    }

    /// Whether the key has texts that hardly repeat.
    fn hardly_repeats(&self, key: &str) -> bool {
        let often = |known: &Key<'_>| {
            let (count, distinct) = (known.types[ColumnType::String as usize], known.texts.len());
            distinct > DISTINCT_MIN && distinct as u64 * DISTINCT_SHARE > count
        };
        self.by_key.get(key).is_some_and(often)
    }
}

impl Plan {
    /// The plan for a block with these spans.
    pub fn choose<'a>(spans: &'a [SpanRef<'a>]) -> Plan {
        // Events and links are looked at through their spans, so a filter on a column of theirs would not be asked.
        let mut counts = [
            (AttributeScope::Span, Counts::new(true)),
            (AttributeScope::Resource, Counts::new(true)),
            (AttributeScope::Instrumentation, Counts::new(false)),
            (AttributeScope::Event, Counts::new(false)),
            (AttributeScope::Link, Counts::new(false)),
        ];
        for (scope, counts) in &mut counts {
            match scope {
                AttributeScope::Span => spans.iter().for_each(|s| counts.add(&s.attributes, 1)),
                AttributeScope::Resource => counts.add_shared(spans.iter().map(|s| &s.resource), |resource| &resource.attributes),
                AttributeScope::Instrumentation => counts.add_shared(spans.iter().map(|s| &s.scope), |scope| &scope.attributes),
                AttributeScope::Event => spans.iter().flat_map(|s| &s.events).for_each(|e| counts.add(&e.attributes, 1)),
                AttributeScope::Link => spans.iter().flat_map(|s| &s.links).for_each(|l| counts.add(&l.attributes, 1)),
            }
        }
        let mut plan = Plan::default();
        for (scope, counts) in counts {
            let columns = counts.choose((scope == AttributeScope::Resource).then_some(SERVICE_NAME_KEY));
            let distinct = columns.iter().filter(|(key, t)| *t == ColumnType::String && counts.hardly_repeats(key));
            plan.distinct.extend(distinct.map(|(key, t)| column_name(scope, key, *t)));
            plan.columns.insert(scope, columns);
        }
        plan
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
