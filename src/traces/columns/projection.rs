use crate::traces::schema::{AttributeScope, ColumnType, column_name};
use std::collections::{BTreeMap, BTreeSet};

/// Which attributes of a scope are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keys {
    #[default]
    None,
    Some(BTreeSet<String>),
    All,
}

impl Keys {
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Keys::None => false,
            Keys::Some(keys) => keys.contains(key),
            Keys::All => true,
        }
    }

    fn add(&mut self, key: &str) {
        match self {
            Keys::None => *self = Keys::Some(BTreeSet::from([key.to_owned()])),
            Keys::Some(keys) => {
                keys.insert(key.to_owned());
            }
            Keys::All => {}
        }
    }
}

/// What is read of spans: the fields that a query needs. The trace id is always read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Projection {
    /// Fixed columns; `None` reads all.
    fixed: Option<BTreeSet<&'static str>>,
    attributes: BTreeMap<AttributeScope, Keys>,
    pub events: bool,
    pub links: bool,
}

const SCOPES: [AttributeScope; 5] =
    [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation, AttributeScope::Event, AttributeScope::Link];

impl Projection {
    pub fn all() -> Projection {
        let attributes = SCOPES.into_iter().map(|scope| (scope, Keys::All)).collect();
        Projection { fixed: None, attributes, events: true, links: true }
    }

    /// No more than the trace id.
    pub fn none() -> Projection {
        Projection { fixed: Some(BTreeSet::new()), ..Projection::default() }
    }

    pub fn add_column(&mut self, column: &'static str) {
        if let Some(fixed) = &mut self.fixed {
            fixed.insert(column);
        }
    }

    pub fn add_columns(&mut self, columns: &[&'static str]) {
        columns.iter().for_each(|column| self.add_column(column));
    }

    pub fn add_attribute(&mut self, scope: AttributeScope, key: &str) {
        self.attributes.entry(scope).or_default().add(key);
        self.touch(scope);
    }

    pub fn add_all_attributes(&mut self, scope: AttributeScope) {
        self.attributes.insert(scope, Keys::All);
        self.touch(scope);
    }

    fn touch(&mut self, scope: AttributeScope) {
        match scope {
            AttributeScope::Event => self.events = true,
            AttributeScope::Link => self.links = true,
            AttributeScope::Resource => self.add_column("service_name"),
            AttributeScope::Span | AttributeScope::Instrumentation => {}
        }
    }

    /// Everything that either reads.
    pub fn union(&self, other: &Projection) -> Projection {
        let mut both = self.clone();
        match (&mut both.fixed, &other.fixed) {
            (Some(fixed), Some(more)) => fixed.extend(more),
            _ => both.fixed = None,
        }
        for (scope, keys) in &other.attributes {
            match keys {
                Keys::None => {}
                Keys::Some(keys) => keys.iter().for_each(|key| both.attributes.entry(*scope).or_default().add(key)),
                Keys::All => {
                    both.attributes.insert(*scope, Keys::All);
                }
            }
        }
        both.events |= other.events;
        both.links |= other.links;
        both
    }

    pub fn reads(&self, column: &str) -> bool {
        column == "trace_id" || self.fixed.as_ref().is_none_or(|fixed| fixed.contains(column))
    }

    pub fn keys(&self, scope: AttributeScope) -> &Keys {
        self.attributes.get(&scope).unwrap_or(&Keys::None)
    }

    /// Names of the columns of `spans` to scan, also such as a block may not have; `None` for all.
    pub fn span_columns(&self) -> Option<Vec<String>> {
        let fixed = self.fixed.as_ref()?;
        let mut names: Vec<String> = fixed.iter().map(|name| (*name).to_owned()).collect();
        names.push("trace_id".to_owned());
        for scope in [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Instrumentation] {
            match self.keys(scope) {
                Keys::None => {}
                Keys::Some(keys) => {
                    names.push(scope.rest().to_owned());
                    names.extend(keys.iter().flat_map(|key| ColumnType::ALL.map(|t| column_name(scope, key, t))));
                }
                Keys::All => return None,
            }
        }
        Some(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_union_reads_what_either_reads() {
        let mut a = Projection::none();
        a.add_column("name");
        a.add_attribute(AttributeScope::Span, "x");
        let mut b = Projection::none();
        b.add_attribute(AttributeScope::Event, "y");
        b.add_all_attributes(AttributeScope::Resource);
        let both = a.union(&b);
        assert!(both.reads("name") && both.reads("service_name") && !both.reads("kind") && both.events && !both.links);
        assert!(both.keys(AttributeScope::Resource).contains("z") && !both.keys(AttributeScope::Span).contains("z"));
        assert_eq!(both.span_columns(), None);
        let names = a.span_columns().unwrap();
        assert!(["trace_id", "name", "span.x", "span.x:int", "span_rest"].iter().all(|n| names.iter().any(|m| m == n)));
        assert!(!names.iter().any(|n| n == "res_rest"));
    }
}
