//! Names of attributes without a look at the spans: columns tell theirs, and of the rest maps only the keys are read.

use super::head::Chunk;
use super::schema::{AttributeScope, EVENTS, LINKS, SERVICE_NAME_KEY, SPANS, parse_column};
use super::source::{Source, Sources, storage};
use super::tags::Names;
use crate::model::TimeRange;
use crate::query::{Context, QueryError};
use crate::storage::Scan;
use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::Schema;
use std::collections::BTreeSet;

/// Of the blocks and chunks that overlap the range, all names of the scopes.
pub fn all(ctx: &Context, sources: &Sources, range: TimeRange, scopes: &[AttributeScope]) -> Result<Names, QueryError> {
    let mut names = Names::new();
    for source in sources.within(range) {
        for scope in scopes {
            ctx.check()?;
            let names = names.entry(*scope).or_default();
            match source {
                Source::Chunk(chunk) => of_chunk(chunk, *scope, names),
                Source::Block(block) => {
                    let Some(table) = block.table(table_of(*scope)).map_err(storage)? else { continue };
                    of_schema(table.schema(), *scope, names);
                    for batch in table.scan(&Scan::columns([scope.rest(), "service_name"])).map_err(storage)? {
                        ctx.check()?;
                        of_batch(&batch.map_err(storage)?, *scope, names);
                    }
                }
            }
        }
    }
    Ok(names)
}

const fn table_of(scope: AttributeScope) -> &'static str {
    match scope {
        AttributeScope::Span | AttributeScope::Resource | AttributeScope::Instrumentation => SPANS,
        AttributeScope::Event => EVENTS,
        AttributeScope::Link => LINKS,
    }
}

fn of_chunk(chunk: &Chunk, scope: AttributeScope, names: &mut BTreeSet<String>) {
    let mut add = |key: &str| {
        if !names.contains(key) {
            names.insert(key.to_owned());
        }
    };
    match scope {
        AttributeScope::Resource => chunk.groups().iter().flat_map(|g| &g.resource.attributes).for_each(|a| add(&a.key)),
        AttributeScope::Instrumentation => chunk.groups().iter().flat_map(|g| &g.scope.attributes).for_each(|a| add(&a.key)),
        AttributeScope::Span | AttributeScope::Event | AttributeScope::Link => {
            let reader = chunk.reader();
            for span in (0..chunk.rows().len()).filter_map(|row| reader.span(row)) {
                match scope {
                    AttributeScope::Event => span.events.iter().flat_map(|e| &e.attributes).for_each(|a| add(a.key)),
                    AttributeScope::Link => span.links.iter().flat_map(|l| &l.attributes).for_each(|a| add(a.key)),
                    _ => span.attributes.iter().for_each(|a| add(a.key)),
                }
            }
        }
    }
}

/// A column exists because some row has the attribute.
fn of_schema(schema: &Schema, scope: AttributeScope, names: &mut BTreeSet<String>) {
    names.extend(schema.fields().iter().filter_map(|f| parse_column(scope, f)).map(|(key, _)| key.to_owned()));
}

fn of_batch(batch: &RecordBatch, scope: AttributeScope, names: &mut BTreeSet<String>) {
    let has_service = || batch.column_by_name("service_name").is_some_and(|c| c.null_count() < c.len());
    if scope == AttributeScope::Resource && !names.contains(SERVICE_NAME_KEY) && has_service() {
        names.insert(SERVICE_NAME_KEY.to_owned());
    }
    let keys = batch.column_by_name(scope.rest()).and_then(|c| c.as_map_opt()).and_then(|map| map.keys().as_string_opt::<i32>());
    for key in keys.into_iter().flatten().flatten() {
        if !names.contains(key) {
            names.insert(key.to_owned());
        }
    }
}
