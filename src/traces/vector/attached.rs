//! Conditions on events and on links: they are judged row by row of their own table, and say which spans have one that
//! satisfies them.

use super::column::{Column, Layer};
use super::cond::failed;
use super::facts::Facts;
use super::row::Columns;
use super::rows::Rows;
use crate::query::QueryError;
use crate::storage::block::Table;
use crate::storage::{Predicate, Scan, Value as Stored};
use crate::traces::schema::{AttributeScope, ColumnType, EVENTS, LINKS, column_name, parse_column};
use crate::traces::source::{damaged, storage};
use crate::traces::traceql::ast::{Expr, Field, Intrinsic, Op, Static};
use crate::traces::traceql::eval::{Filter, Value};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, RecordBatch};
use std::ops::Range;
use std::sync::Arc;

/// A condition on one event, or on one link.
#[derive(Debug)]
pub struct Attached {
    scope: AttributeScope,
    filter: Filter,
    fields: Vec<Field>,
    /// A text that every match has, and the column it has it in, if there is one for the key.
    text: Option<(Field, String)>,
}

impl Attached {
    /// `None` if the condition is not about events alone or links alone, needs more than their own rows, or holds where
    /// there is none.
    pub fn new(expr: &Expr) -> Option<Attached> {
        let mut fields: Vec<Field> = Vec::new();
        expr.visit_fields(&mut |field| fields.push(field.clone()));
        let scope = match fields.first()? {
            field if field.is_of_event() => AttributeScope::Event,
            field if field.is_of_link() => AttributeScope::Link,
            _ => return None,
        };
        let own = |field: &Field| match field {
            Field::Intrinsic(Intrinsic::EventTimeSinceStart) => false,
            field if scope == AttributeScope::Event => field.is_of_event(),
            field => field.is_of_link(),
        };
        let filter = Filter::new(expr);
        let nothing = Columns::default();
        if !fields.iter().all(own) || filter.matches(nothing.row(0, 0)).unwrap_or(true) {
            return None;
        }
        Some(Attached { scope, filter, fields, text: text_of(expr) })
    }

    fn table(&self, facts: &Facts<'_>) -> Result<Option<Table>, QueryError> {
        facts.block.table(if self.scope == AttributeScope::Event { EVENTS } else { LINKS }).map_err(storage)
    }

    /// Takes the rows away from `within` of spans that have no event, or link, that satisfies the condition.
    pub fn keep(&self, rows: &Rows<'_>, within: &mut [bool], lenient: bool) -> Result<(), QueryError> {
        let mut has = vec![false; within.len()];
        if let Some(table) = self.table(rows.facts)? {
            let asked = rows.attached(self.scope);
            for (group, own) in table.groups().into_iter().enumerate() {
                let own = own.start.max(asked.start)..own.end.min(asked.end);
                if own.start < own.end && self.may_hold(rows.facts, &table, group)? {
                    self.find(rows, &table, (group, own), &mut has, lenient)?;
                }
            }
        }
        within.iter_mut().zip(&has).for_each(|(within, has)| *within &= has);
        Ok(())
    }

    /// What the dictionary of a column and the keys of the rest map tell.
    fn may_hold(&self, facts: &Facts<'_>, table: &Table, group: usize) -> Result<bool, QueryError> {
        let Some((field, text)) = &self.text else { return Ok(true) };
        let names = match field {
            Field::Attribute { name, .. } if facts.rest_of(table, self.scope, name, group)? => return Ok(true),
            Field::Attribute { name, .. } => columns_of(table, self.scope, name),
            Field::Intrinsic(Intrinsic::EventName) => vec!["name".to_owned()],
            Field::Intrinsic(_) => return Ok(true),
        };
        for column in names {
            let predicate = Predicate::OneOf { column: column.clone(), values: vec![Stored::Text(text.clone())] };
            let distinct = || table.distinct(group, &column).map_err(storage);
            if table.group_allows(group, &predicate).map_err(storage)? && distinct()?.is_none_or(|texts| texts.contains(text)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find(
        &self,
        rows: &Rows<'_>,
        table: &Table,
        (group, own): (usize, Range<u64>),
        has: &mut [bool],
        lenient: bool,
    ) -> Result<(), QueryError> {
        rows.ctx.check()?;
        let mut names = vec!["span_row".to_owned()];
        for field in &self.fields {
            match field {
                Field::Attribute { name, .. } => {
                    names.extend(columns_of(table, self.scope, name));
                    if rows.facts.rest_of(table, self.scope, name, group)? {
                        names.push(self.scope.rest().to_owned());
                    }
                }
                Field::Intrinsic(Intrinsic::LinkTraceId) => names.push("linked_trace_id".to_owned()),
                Field::Intrinsic(Intrinsic::LinkSpanId) => names.push("linked_span_id".to_owned()),
                Field::Intrinsic(_) => names.push("name".to_owned()),
            }
        }
        let count = usize::try_from(own.end - own.start).unwrap_or(usize::MAX);
        let scan = Scan { batch_rows: count, dictionaries: true, ..Scan::columns(names) }.rows(vec![own]);
        for batch in table.scan(&scan).map_err(storage)? {
            let batch = batch.map_err(storage)?;
            let spans = batch.column_by_name("span_row").and_then(|c| c.as_primitive_opt::<Int64Type>());
            let spans = spans.ok_or_else(|| damaged(rows.facts.block))?;
            let columns = self.columns(&batch);
            for (row, span) in spans.values().iter().enumerate() {
                let holds = self.filter.matches(columns.row(0, row)).or_else(|e| if lenient { Ok(true) } else { Err(failed(e)) })?;
                if holds && let Some(has) = rows.local(span.cast_unsigned()).and_then(|local| has.get_mut(local)) {
                    *has = true;
                }
            }
        }
        Ok(())
    }

    fn columns(&self, batch: &RecordBatch) -> Columns {
        let layers = |field: &Field| match field {
            Field::Attribute { name, .. } => {
                let typed = batch.schema_ref().fields().iter().zip(batch.columns());
                let own = typed.filter(|(f, _)| is_column(self.scope, f.name(), name));
                let rest = batch.column_by_name(self.scope.rest()).and_then(|rest| Layer::of_rest(rest, name));
                own.filter_map(|(_, array)| Layer::of_array(array)).chain(rest).collect()
            }
            Field::Intrinsic(Intrinsic::LinkTraceId) => ids(batch.column_by_name("linked_trace_id")),
            Field::Intrinsic(Intrinsic::LinkSpanId) => ids(batch.column_by_name("linked_span_id")),
            Field::Intrinsic(_) => batch.column_by_name("name").and_then(Layer::of_array).into_iter().collect(),
        };
        Columns(self.fields.iter().map(|field| (field.clone(), Arc::new(Column { pieces: vec![layers(field)] }))).collect())
    }
}

/// Of conditions joined by `&&`, the first that is an equality with a text.
fn text_of(expr: &Expr) -> Option<(Field, String)> {
    match expr {
        Expr::Binary { op: Op::And, left, right } => text_of(left).or_else(|| text_of(right)),
        Expr::Binary { op: Op::Eq, left, right } => match (&**left, &**right) {
            (Expr::Field(field), Expr::Static(Static::String(text))) | (Expr::Static(Static::String(text)), Expr::Field(field)) => {
                Some((field.clone(), text.clone()))
            }
            _ => None,
        },
        _ => None,
    }
}

fn columns_of(table: &Table, scope: AttributeScope, key: &str) -> Vec<String> {
    let its = |f: &&arrow_schema::FieldRef| parse_column(scope, f).is_some_and(|(k, _)| k == key);
    table.schema().fields().iter().filter(its).map(|f| f.name().clone()).collect()
}

/// Texts are dictionaries here, so the type of the field tells nothing.
fn is_column(scope: AttributeScope, column: &str, key: &str) -> bool {
    ColumnType::ALL.into_iter().any(|t| column == column_name(scope, key, t))
}

fn ids(array: Option<&ArrayRef>) -> Vec<Layer> {
    let Some(ids) = array.and_then(|array| array.as_binary_opt::<i32>()) else { return Vec::new() };
    let text = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let values = (0u32..).zip(ids.iter()).filter_map(|(row, id)| Some((row, Value::String(text(id?).into()))));
    vec![Layer::Rest(values.collect())]
}

/// Whether a condition is about events or links alone.
pub fn is_attached(expr: &Expr) -> bool {
    let (mut any, mut all) = (false, true);
    expr.visit_fields(&mut |field| {
        any = true;
        all &= field.is_of_event() || field.is_of_link();
    });
    any && all
}
