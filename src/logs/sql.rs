//! The table `logs` of SQL.

use super::schema;
use super::source::{Columns, Metadata, Needs, Rows, Selection, select};
use super::spec::LogsSpec;
use super::tokens::Text;
use crate::model::{Labels, Matcher, TenantId};
use crate::query::sql::{Cell, ColumnType, Family, Output, Reader, Request, TableSpec, Tables};
use crate::query::{Context, QueryError};
use crate::storage::{Store, View};
use std::collections::HashSet;
use std::sync::Arc;

const LABELS: Family = Family { map: "labels", prefix: "label.", is_typed: false };
const METADATA: Family = Family { map: "metadata", prefix: "md.", is_typed: false };

const SPECS: &[TableSpec] = &[TableSpec {
    name: "logs",
    columns: &[
        ("ts", ColumnType::Time),
        ("line", ColumnType::Text),
        ("severity_number", ColumnType::Int),
        ("trace_id", ColumnType::Text),
        ("span_id", ColumnType::Text),
        ("observed_ts", ColumnType::Time),
        ("labels", ColumnType::Map),
        ("metadata", ColumnType::Map),
    ],
    time: "ts",
    families: &[LABELS, METADATA],
}];

/// Memory of one remembered fingerprint.
const SEEN_BYTES: u64 = 64;

/// The logs of a store.
pub struct LogTables(pub Arc<Store<LogsSpec>>);

impl Tables for LogTables {
    fn specs(&self) -> &'static [TableSpec] {
        SPECS
    }

    fn open(&self, tenant: &TenantId) -> Result<Arc<dyn Reader>, QueryError> {
        if !self.0.is_ready() {
            return Err(QueryError::NotReady);
        }
        Ok(Arc::new(Opened(self.0.view(tenant))))
    }
}

struct Opened(View<LogsSpec>);

enum Column<'a> {
    Ts,
    Line,
    Labels,
    Label(&'a str),
    Metadata,
    Text(&'a str),
    Number(&'a str),
}

impl<'a> Column<'a> {
    fn of(name: &'a str) -> Option<Column<'a>> {
        Some(match name {
            schema::TS => Column::Ts,
            schema::LINE => Column::Line,
            "severity_number" => Column::Number(schema::SEVERITY_NUMBER),
            "observed_ts" => Column::Number(schema::OBSERVED_TIMESTAMP),
            schema::TRACE_ID | schema::SPAN_ID => Column::Text(name),
            "labels" => Column::Labels,
            "metadata" => Column::Metadata,
            other => match LABELS.parse(other) {
                Some((label, _)) => Column::Label(label),
                None => Column::Text(METADATA.parse(other)?.0),
            },
        })
    }
}

/// The name of the metadata that a column of text holds.
fn metadata_of(column: &str) -> Option<&str> {
    match column {
        schema::TRACE_ID | schema::SPAN_ID => Some(column),
        other => METADATA.parse(other).map(|(key, _)| key),
    }
}

fn needs(request: &Request, columns: &[Column<'_>]) -> Needs {
    let names = columns.iter().map(|column| match column {
        Column::Metadata => None,
        Column::Text(name) | Column::Number(name) => Some(Some((*name).to_owned())),
        _ => Some(None),
    });
    let names: Option<Vec<Option<String>>> = names.collect();
    let equal = request.equal.iter().filter_map(|(column, values)| match values.as_slice() {
        [one] if !one.is_empty() => Some((metadata_of(column)?.to_owned(), one.clone())),
        _ => None,
    });
    let texts = request.contains.iter().filter(|(column, _)| column == schema::LINE).map(|(_, text)| Text::of(text));
    Needs {
        without_line: !columns.iter().any(|column| matches!(column, Column::Line)),
        metadata: names.map(|names| names.into_iter().flatten().collect()),
        equal: equal.collect(),
        texts: texts.filter(Text::tells).map(|text| vec![vec![text]]).collect(),
    }
}

fn matchers(request: &Request) -> Result<Vec<Matcher>, QueryError> {
    let tested = request.equal.iter().filter_map(|(column, values)| Some(Matcher::one_of(LABELS.parse(column)?.0, values)));
    tested.collect::<Result<_, _>>().map_err(|e| QueryError::Invalid(e.to_string()))
}

impl Reader for Opened {
    fn read(&self, request: &Request, context: &Context, out: &mut Output<'_>) -> Result<(), QueryError> {
        let columns: Vec<Column<'_>> = request.columns.iter().filter_map(|name| Column::of(name)).collect();
        let needs = needs(request, &columns);
        let selection = select(&self.0, request.range, &matchers(request)?, context)?;
        let mut scan = LogScan { selection: &selection, columns: &columns, context, seen: HashSet::new(), out };
        for part in 0..selection.parts() {
            for rows in selection.read(part, request.range, &needs)? {
                context.check()?;
                scan.rows(part, &rows?)?;
            }
        }
        Ok(())
    }

    fn warning(&self) -> Option<String> {
        self.0.missing.warning()
    }
}

struct LogScan<'a, 'o> {
    selection: &'a Selection,
    columns: &'a [Column<'a>],
    context: &'a Context,
    /// Twins (decisions 16) are found by the fingerprints of rows that may have any.
    seen: HashSet<(u32, i64, u128)>,
    out: &'a mut Output<'o>,
}

impl LogScan<'_, '_> {
    fn rows(&mut self, part: usize, rows: &Rows) -> Result<(), QueryError> {
        let reads_metadata = self.columns.iter().any(|c| matches!(c, Column::Metadata | Column::Text(_) | Column::Number(_)));
        for (row, stream) in &rows.rows {
            let (row, ts) = (*row as usize, rows.columns.ts(*row as usize));
            if self.selection.may_have_twin(part, *stream, ts) {
                self.context.reserve(SEEN_BYTES)?;
                if !self.seen.insert((*stream, ts, rows.columns.fingerprint(row))) {
                    continue;
                }
            }
            let metadata = if reads_metadata { rows.columns.metadata(row) } else { Vec::new() };
            let labels = &self.selection.streams[*stream as usize];
            self.out.row(self.columns.iter().map(|column| cell(column, labels, &rows.columns, row, &metadata)))?;
        }
        Ok(())
    }
}

fn cell<'a>(column: &Column<'_>, labels: &'a Labels, columns: &'a Columns, row: usize, metadata: &'a [Metadata<'a>]) -> Cell<'a> {
    let value = |name: &str| metadata.iter().find(|(own, _)| *own == name).map(|(_, value)| &**value);
    match column {
        Column::Ts => Cell::Int(columns.ts(row)),
        Column::Line => Cell::text(columns.line(row)),
        Column::Labels => Cell::Map(labels.iter().map(|(name, value)| (name.into(), value.into())).collect()),
        Column::Label(name) => Cell::text_or_null(labels.get(name)),
        Column::Metadata => Cell::Map(metadata.iter().map(|(name, value)| ((*name).into(), (&**value).into())).collect()),
        Column::Text(name) => Cell::text_or_null(value(name)),
        Column::Number(name) => value(name).and_then(|text| text.parse().ok()).map_or(Cell::Null, Cell::Int),
    }
}
