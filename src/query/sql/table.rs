//! What a room tells SQL of its tables, and how it gives their rows.

use crate::model::{TenantId, TimeRange};
use crate::query::{Context, QueryError};
use arrow_array::builder::{
    BooleanBuilder, Float64Builder, Int64Builder, MapBuilder, MapFieldNames, StringBuilder, TimestampNanosecondBuilder,
};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use std::borrow::Cow;
use std::sync::Arc;

/// The types that columns have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    Text,
    Int,
    Double,
    Bool,
    /// Nanoseconds since the epoch, UTC.
    Time,
    /// Texts by texts.
    Map,
}

impl ColumnType {
    pub(super) fn data_type(self) -> DataType {
        match self {
            ColumnType::Text => DataType::Utf8,
            ColumnType::Int => DataType::Int64,
            ColumnType::Double => DataType::Float64,
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            ColumnType::Map => {
                let entries = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, true)];
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(Fields::from(entries)), false)), false)
            }
        }
    }
}

/// Attributes or labels: a map column, and a column for each key that a statement names.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The column that holds all of them: `attributes`.
    pub map: &'static str,
    /// What the names of their own columns begin with: `span.`.
    pub prefix: &'static str,
    /// Whether `:int`, `:double` and `:bool` behind the key ask for values of that type. The plain name gives any value as text.
    pub is_typed: bool,
}

impl Family {
    /// The key and type of a column's name.
    pub fn parse<'a>(&self, column: &'a str) -> Option<(&'a str, ColumnType)> {
        let key = column.strip_prefix(self.prefix)?;
        let typed = [(":int", ColumnType::Int), (":double", ColumnType::Double), (":bool", ColumnType::Bool)];
        let typed = typed.into_iter().filter(|_| self.is_typed).find_map(|(suffix, kind)| Some((key.strip_suffix(suffix)?, kind)));
        Some(typed.unwrap_or((key, ColumnType::Text)))
    }
}

/// A table as SQL sees it.
#[derive(Debug, Clone, Copy)]
pub struct TableSpec {
    pub name: &'static str,
    /// Maps of families included.
    pub columns: &'static [(&'static str, ColumnType)],
    /// The column by whose time rows are found.
    pub time: &'static str,
    pub families: &'static [Family],
}

impl TableSpec {
    /// With a column for each of the names that belongs to a family.
    pub(super) fn schema<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> SchemaRef {
        let field = |name: &str, kind: ColumnType| Field::new(name, kind.data_type(), true);
        let mut fields: Vec<Field> = self.columns.iter().map(|(name, kind)| field(name, *kind)).collect();
        for name in names {
            if let Some((_, kind)) = self.families.iter().find_map(|family| family.parse(name)) {
                fields.push(field(name, kind));
            }
        }
        Arc::new(Schema::new(fields))
    }
}

/// What a scan is for. All of it but the columns may be passed over: SQL looks at every row again.
#[derive(Debug, Clone)]
pub struct Request {
    pub table: &'static str,
    /// Those whose cells are wanted, in order.
    pub columns: Vec<String>,
    /// Of [`TableSpec::time`].
    pub range: TimeRange,
    /// Columns of text that have one of these values.
    pub equal: Vec<(String, Vec<String>)>,
    /// Columns of text, and what they contain.
    pub contains: Vec<(String, String)>,
}

impl Request {
    /// The values that a column may have, if that is known.
    pub fn values(&self, column: &str) -> Option<&[String]> {
        self.equal.iter().find(|(name, _)| name == column).map(|(_, values)| values.as_slice())
    }
}

/// A room's tables.
pub trait Tables: Send + Sync {
    fn specs(&self) -> &'static [TableSpec];

    /// One instant of the tenant's data.
    fn open(&self, tenant: &TenantId) -> Result<Arc<dyn Reader>, QueryError>;
}

/// One instant of a tenant's data.
pub trait Reader: Send + Sync {
    /// Gives `out` every row that the request can mean, each once. What it holds meanwhile is reserved.
    fn read(&self, request: &Request, context: &Context, out: &mut Output<'_>) -> Result<(), QueryError>;

    /// What to tell the user of what could not be read.
    fn warning(&self) -> Option<String>;
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Keys differ.
    Map(Vec<(Cow<'a, str>, Cow<'a, str>)>),
}

impl<'a> Cell<'a> {
    pub fn text(text: impl Into<Cow<'a, str>>) -> Cell<'a> {
        Cell::Text(text.into())
    }

    pub fn text_or_null(text: Option<impl Into<Cow<'a, str>>>) -> Cell<'a> {
        text.map_or(Cell::Null, Cell::text)
    }

    fn bytes(&self) -> usize {
        match self {
            Cell::Null | Cell::Int(_) | Cell::Double(_) | Cell::Bool(_) => size_of::<i64>(),
            Cell::Text(text) => text.len() + size_of::<i32>(),
            Cell::Map(pairs) => pairs.iter().map(|(key, value)| key.len() + value.len() + size_of::<i64>()).sum(),
        }
    }
}

enum Column {
    Text(StringBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampNanosecondBuilder),
    Map(Box<MapBuilder<StringBuilder, StringBuilder>>),
}

impl Column {
    fn of(data_type: &DataType) -> Result<Column, QueryError> {
        Ok(match data_type {
            DataType::Utf8 => Column::Text(StringBuilder::new()),
            DataType::Int64 => Column::Int(Int64Builder::new()),
            DataType::Float64 => Column::Double(Float64Builder::new()),
            DataType::Boolean => Column::Bool(BooleanBuilder::new()),
            DataType::Timestamp(..) => Column::Time(TimestampNanosecondBuilder::new().with_data_type(data_type.clone())),
            DataType::Map(..) => {
                let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
                Column::Map(Box::new(MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())))
            }
            other => return Err(QueryError::Storage(format!("a column of type {other} cannot be built"))),
        })
    }

    /// A value of another type than the column's is null.
    fn push(&mut self, cell: Cell<'_>) -> Result<(), arrow_schema::ArrowError> {
        match (self, cell) {
            (Column::Text(column), Cell::Text(text)) => column.append_value(text),
            (Column::Text(column), _) => column.append_null(),
            (Column::Int(column), Cell::Int(n)) => column.append_value(n),
            (Column::Int(column), _) => column.append_null(),
            (Column::Double(column), Cell::Double(d)) => column.append_value(d),
            (Column::Double(column), _) => column.append_null(),
            (Column::Bool(column), Cell::Bool(b)) => column.append_value(b),
            (Column::Bool(column), _) => column.append_null(),
            (Column::Time(column), Cell::Int(t)) => column.append_value(t),
            (Column::Time(column), _) => column.append_null(),
            (Column::Map(column), Cell::Map(pairs)) => {
                for (key, value) in pairs {
                    column.keys().append_value(key);
                    column.values().append_value(value);
                }
                column.append(true)?;
            }
            (Column::Map(column), _) => column.append(false)?,
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Column::Text(column) => Arc::new(column.finish()),
            Column::Int(column) => Arc::new(column.finish()),
            Column::Double(column) => Arc::new(column.finish()),
            Column::Bool(column) => Arc::new(column.finish()),
            Column::Time(column) => Arc::new(column.finish()),
            Column::Map(column) => Arc::new(column.finish()),
        }
    }
}

/// Rows and bytes of a batch at most, but for its last row.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 1 << 20;

/// Where a scan leaves its batches; it waits while they are not taken, and fails once they are not wanted any more.
pub(super) type Sent<'a> = &'a mut dyn FnMut(RecordBatch) -> Result<(), QueryError>;

/// Takes rows and makes batches of them.
pub struct Output<'a> {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    since: usize,
    context: &'a Context,
    send: Sent<'a>,
}

impl<'a> Output<'a> {
    pub(super) fn new(schema: SchemaRef, context: &'a Context, send: Sent<'a>) -> Result<Output<'a>, QueryError> {
        let columns = schema.fields().iter().map(|field| Column::of(field.data_type())).collect::<Result<_, _>>()?;
        Ok(Output { schema, columns, rows: 0, bytes: 0, since: 0, context, send })
    }

    /// The cells of one row, in the order of [`Request::columns`].
    pub fn row<'c>(&mut self, cells: impl Iterator<Item = Cell<'c>>) -> Result<(), QueryError> {
        let before = self.bytes;
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += cell.bytes();
            column.push(cell).map_err(|e| QueryError::Storage(e.to_string()))?;
        }
        self.rows += 1;
        self.context.check_every(&mut self.since, self.bytes - before)?;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<(), QueryError> {
        if self.rows == 0 {
            return Ok(());
        }
        let columns = self.columns.iter_mut().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options);
        (self.send)(batch.map_err(|e| QueryError::Storage(e.to_string()))?)
    }
}
