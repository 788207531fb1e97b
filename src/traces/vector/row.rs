//! One row of a piece, as expressions see it.

use super::column::Column;
use crate::traces::traceql::ast::Field;
use crate::traces::traceql::eval::{Bound, Look, Value};
use std::sync::Arc;

/// The columns of the fields that an expression has.
#[derive(Default)]
pub struct Columns(pub Vec<(Field, Arc<Column>)>);

impl Columns {
    pub fn row(&self, piece: usize, row: usize) -> Row<'_> {
        Row { columns: self, piece, row }
    }
}

/// One row, as expressions see it. It has no events and links: what asks for them is not judged here.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    columns: &'a Columns,
    piece: usize,
    row: usize,
}

impl<'a> Look<'a> for Row<'a> {
    fn get(&self, field: &Field) -> Value<'a> {
        let column = self.columns.0.iter().find(|(f, _)| f == field);
        column.map_or(Value::Nil, |(_, column)| column.value(self.piece, self.row))
    }

    fn bounds(&self) -> (Bound, Bound) {
        (Bound::Any, Bound::Any)
    }

    fn bound(self, _: Bound, _: Bound) -> Row<'a> {
        self
    }

    fn counts(&self) -> (usize, usize) {
        (0, 0)
    }
}
