//! What is known of a block without reading its rows.

use crate::query::QueryError;
use crate::storage::block::{Block, BlockId, Table};
use crate::traces::cache::{Cache, Key};
use crate::traces::schema::{AttributeScope, ColumnType, EVENTS, LINKS, SPANS, TRACES, column_name, parse_column};
use crate::traces::source::{damaged, storage};
use crate::traces::traceql::ast::{Field, Scope};
use arrow_array::Array;
use arrow_array::cast::AsArray;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// A block that is being looked at.
pub struct Facts<'a> {
    pub block: &'a Arc<Block>,
    pub spans: Table,
    /// The rows of each row group of spans.
    pub groups: Vec<Range<u64>>,
    cache: &'a Cache,
}

/// How much of its traces a block is taken to have.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub facts: &'a Facts<'a>,
    /// Whether they lie whole in it, so that what is of the trace can be judged.
    pub whole: bool,
}

impl View<'_> {
    pub fn judges(&self, field: &Field) -> Result<bool, QueryError> {
        Ok((self.whole || !field.is_of_trace()) && self.facts.supports(field)?)
    }
}

/// Keys of a rest map, by row group; `None` where they are not known.
type RestKeys = Vec<Option<HashSet<String>>>;

/// Name and service of the root of each trace, empty where the root is not in the block.
#[derive(Debug, Default)]
pub struct Roots {
    pub names: Vec<Arc<str>>,
    pub services: Vec<Arc<str>>,
}

impl<'a> Facts<'a> {
    /// `None` for a block without spans.
    pub fn new(block: &'a Arc<Block>, cache: &'a Cache) -> Result<Option<Facts<'a>>, QueryError> {
        let Some(spans) = block.table(SPANS).map_err(storage)? else { return Ok(None) };
        let groups = spans.groups();
        Ok(Some(Facts { block, spans, groups, cache }))
    }

    /// The columns of the key, one a type.
    pub fn typed(&self, scope: AttributeScope, key: &str) -> Vec<String> {
        let is_its = |t: &ColumnType, name: &str| {
            let field = self.spans.schema().field_with_name(name);
            field.is_ok_and(|f| parse_column(scope, f).is_some_and(|(k, found)| k == key && found == *t))
        };
        let names = ColumnType::ALL.into_iter().map(|t| (t, column_name(scope, key, t)));
        names.filter(|(t, name)| is_its(t, name)).map(|(_, name)| name).collect()
    }

    /// Whether rows of the group may have the key in the rest map.
    pub fn rest_has(&self, scope: AttributeScope, key: &str, group: usize) -> Result<bool, QueryError> {
        self.rest_of(&self.spans, scope, key, group)
    }

    /// As [`Facts::rest_has`], of the table that has the scope.
    pub fn rest_of(&self, table: &Table, scope: AttributeScope, key: &str, group: usize) -> Result<bool, QueryError> {
        let keys = self.rest_keys(table, scope)?;
        Ok(keys.get(group).and_then(Option::as_ref).is_none_or(|keys| keys.contains(key)))
    }

    fn rest_keys(&self, table: &Table, scope: AttributeScope) -> Result<Arc<RestKeys>, QueryError> {
        let id: BlockId = self.block.meta().id;
        self.cache.get_or(Key::RestKeys(id, scope.rest()), || {
            let path = format!("{}/entries/key", scope.rest());
            let (mut keys, mut bytes) = (RestKeys::new(), 0);
            for group in 0..table.groups().len() {
                let found = table.distinct(group, &path).map_err(storage)?;
                bytes += 64 + found.iter().flatten().map(|key| 48 + key.len() as u64).sum::<u64>();
                keys.push(found.map(|keys| keys.into_iter().collect()));
            }
            Ok((keys, bytes))
        })
    }

    /// Whether the field can be judged by rows of spans. What is of events and links cannot.
    pub fn supports(&self, field: &Field) -> Result<bool, QueryError> {
        match field {
            Field::Attribute { parent: true, .. } => Ok(false),
            Field::Attribute { scope: Scope::Any, name, .. } => {
                let attached =
                    self.attached_has(EVENTS, AttributeScope::Event, name)? || self.attached_has(LINKS, AttributeScope::Link, name)?;
                Ok(!attached)
            }
            field => Ok(!field.is_of_event() && !field.is_of_link()),
        }
    }

    fn attached_has(&self, table: &str, scope: AttributeScope, key: &str) -> Result<bool, QueryError> {
        let Some(table) = self.block.table(table).map_err(storage)? else { return Ok(false) };
        if table.schema().fields().iter().any(|f| parse_column(scope, f).is_some_and(|(k, _)| k == key)) {
            return Ok(true);
        }
        let keys = self.rest_keys(&table, scope)?;
        Ok(keys.iter().any(|keys| keys.as_ref().is_none_or(|keys| keys.contains(key))))
    }

    pub fn roots(&self) -> Result<Arc<Roots>, QueryError> {
        self.cache.get_or(Key::Roots(self.block.meta().id), || {
            let (mut roots, mut texts, mut bytes) = (Roots::default(), HashSet::<Arc<str>>::new(), 0);
            let Some(table) = self.block.table(TRACES).map_err(storage)? else { return Ok((roots, 0)) };
            for batch in table.scan(&crate::storage::Scan::columns(["root_name", "root_service"])).map_err(storage)? {
                let batch = batch.map_err(storage)?;
                for (name, out) in [("root_name", &mut roots.names), ("root_service", &mut roots.services)] {
                    let texts_of = batch.column_by_name(name).and_then(|c| c.as_string_opt::<i32>()).ok_or_else(|| damaged(self.block))?;
                    bytes += 16 * texts_of.len() as u64;
                    out.extend(texts_of.iter().map(|text| {
                        let text = text.unwrap_or_default();
                        texts.get(text).cloned().unwrap_or_else(|| {
                            let text: Arc<str> = text.into();
                            bytes += 32 + text.len() as u64;
                            texts.insert(text.clone());
                            text
                        })
                    }));
                }
            }
            Ok((roots, bytes))
        })
    }
}
