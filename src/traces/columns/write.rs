use super::plan::{Plan, column_type, text_of};
use super::typed_json;
use crate::model::{AttributeRef, ValueRef};
use crate::traces::schema::{AttributeScope, ColumnType, SERVICE_NAME_KEY, rest_entries, service_fields, timestamp, trace_fields};
use crate::traces::span_ref::{Node, ResourceRef, ScopeRef, SpanRef};
use crate::traces::trace::{Nested, TraceRow};
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames,
    StringBuilder, StructBuilder,
};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

type MapOfText = MapBuilder<StringBuilder, StringBuilder>;

/// The attribute columns of one scope under construction.
struct AttributeColumns<'a> {
    scope: AttributeScope,
    chosen: &'a [(String, ColumnType)],
    columns: Vec<ColumnBuilder>,
    rest: MapOfText,
    text: String,
}

/// Bytes that a text has, about.
const TEXT_BYTES: usize = 12;

enum ColumnBuilder {
    String(StringBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
}

impl ColumnBuilder {
    fn new(column_type: ColumnType, rows: usize) -> ColumnBuilder {
        match column_type {
            ColumnType::String => ColumnBuilder::String(StringBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            ColumnType::Int => ColumnBuilder::Int(Int64Builder::with_capacity(rows)),
            ColumnType::Double => ColumnBuilder::Double(Float64Builder::with_capacity(rows)),
            ColumnType::Bool => ColumnBuilder::Bool(BooleanBuilder::with_capacity(rows)),
        }
    }

    /// A value of the column's type; null for any other.
    fn append(&mut self, value: &ValueRef<'_>) {
        match (self, value) {
            (ColumnBuilder::String(b), value) => b.append_option(text_of(value)),
            (ColumnBuilder::Int(b), ValueRef::Int(v)) => b.append_value(*v),
            (ColumnBuilder::Double(b), ValueRef::Double(v)) => b.append_value(*v),
            (ColumnBuilder::Bool(b), ValueRef::Bool(v)) => b.append_value(*v),
            (ColumnBuilder::Int(b), _) => b.append_null(),
            (ColumnBuilder::Double(b), _) => b.append_null(),
            (ColumnBuilder::Bool(b), _) => b.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::String(b) => Arc::new(b.finish()),
            ColumnBuilder::Int(b) => Arc::new(b.finish()),
            ColumnBuilder::Double(b) => Arc::new(b.finish()),
            ColumnBuilder::Bool(b) => Arc::new(b.finish()),
        }
    }
}

impl<'a> AttributeColumns<'a> {
    /// For about so many rows.
    fn new(scope: AttributeScope, plan: &'a Plan, rows: usize) -> AttributeColumns<'a> {
        let chosen = plan.of(scope);
        let columns = chosen.iter().map(|(_, t)| ColumnBuilder::new(*t, rows)).collect();
        let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
        let entries = rest_entries();
        let rest = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_keys_field(entries[0].clone())
            .with_values_field(entries[1].clone());
        AttributeColumns { scope, chosen, columns, rest, text: String::new() }
    }

    /// Attributes in order of key. Only the first of a key can be in a column, so that a reader finds it first.
    fn append(&mut self, attributes: &[AttributeRef<'_>]) -> Result<(), ArrowError> {
        // Columns are in order of key, too: all before this one have their value.
        let mut column = 0;
        let mut before: Option<&str> = None;
        for attribute in attributes {
            let first = before != Some(attribute.key);
            before = Some(attribute.key);
            let mut is_in_column = false;
            if first {
                let own_type = column_type(&attribute.value);
                while let Some((key, column_type)) = self.chosen.get(column).filter(|(key, _)| key.as_str() <= attribute.key) {
                    let own = key == attribute.key && Some(*column_type) == own_type;
                    self.columns[column].append(if own { &attribute.value } else { &ValueRef::Empty });
                    is_in_column |= own;
                    column += 1;
                }
            }
            let elsewhere =
                self.scope == AttributeScope::Resource && first && attribute.key == SERVICE_NAME_KEY && text_of(&attribute.value).is_some();
            if !is_in_column && !elsewhere {
                self.text.clear();
                typed_json::write(&mut self.text, &attribute.value);
                self.rest.keys().append_value(attribute.key);
                self.rest.values().append_value(&self.text);
            }
        }
        self.columns[column..].iter_mut().for_each(|builder| builder.append(&ValueRef::Empty));
        self.rest.append(true)
    }

    /// The rest map, and the columns of the plan.
    fn finish(mut self) -> (ArrayRef, Vec<ArrayRef>) {
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        (Arc::new(self.rest.finish()), arrays)
    }
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringArray>())
}

fn optional_strings<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from(values.collect::<Vec<_>>()))
}

fn small_integers(values: impl Iterator<Item = i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values.collect::<Vec<_>>()))
}

fn timestamps(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(values.collect::<Vec<_>>()).with_data_type(timestamp()))
}

fn ids<'a>(size: i32, values: impl Iterator<Item = Option<&'a [u8]>>) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::new(size);
    for value in values {
        match value {
            Some(id) => builder.append_value(id)?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn batch(fields: Vec<Field>, arrays: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// Columns of what many spans share: made of each once, and spread over the rows.
struct Shared<'s, T> {
    distinct: Vec<&'s T>,
    rows: UInt32Array,
}

impl<'s, T> Shared<'s, T> {
    fn of(values: impl ExactSizeIterator<Item = &'s Rc<T>>) -> Shared<'s, T> {
        let mut known: HashMap<*const T, u32> = HashMap::new();
        let mut distinct = Vec::new();
        let mut last = (std::ptr::null(), 0);
        let mut rows = Vec::with_capacity(values.len());
        for value in values {
            let own = Rc::as_ptr(value);
            if last.0 != own {
                let number = *known.entry(own).or_insert_with(|| {
                    distinct.push(&**value);
                    u32::try_from(distinct.len() - 1).unwrap_or(u32::MAX)
                });
                last = (own, number);
            }
            rows.push(last.1);
        }
        Shared { distinct, rows: UInt32Array::from(rows) }
    }

    fn spread(&self, column: ArrayRef) -> Result<ArrayRef, ArrowError> {
        take(&column, &self.rows, None)
    }

    fn spread_all(&self, columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>, ArrowError> {
        columns.into_iter().map(|column| self.spread(column)).collect()
    }
}

/// Rows of `spans`, with a nested-set number each.
pub fn write_spans(spans: &[SpanRef<'_>], nested: &[Nested], plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let resources: Shared<'_, ResourceRef<'_>> = Shared::of(spans.iter().map(|s| &s.resource));
    let scopes: Shared<'_, ScopeRef<'_>> = Shared::of(spans.iter().map(|s| &s.scope));
    let mut of_span = AttributeColumns::new(AttributeScope::Span, plan, spans.len());
    let mut of_resource = AttributeColumns::new(AttributeScope::Resource, plan, resources.distinct.len());
    let mut of_scope = AttributeColumns::new(AttributeScope::Instrumentation, plan, scopes.distinct.len());
    spans.iter().try_for_each(|span| of_span.append(&span.attributes))?;
    resources.distinct.iter().try_for_each(|resource| of_resource.append(&resource.attributes))?;
    scopes.distinct.iter().try_for_each(|scope| of_scope.append(&scope.attributes))?;
    let (span_rest, span_columns) = of_span.finish();
    let (res_rest, res_columns) = of_resource.finish();
    let (scope_rest, scope_columns) = of_scope.finish();
    let each = || spans.iter();
    let (each_resource, each_scope) = (|| resources.distinct.iter(), || scopes.distinct.iter());
    let mut arrays = vec![
        ids(16, each().map(|s| Some(&s.trace_id.0[..])))?,
        ids(8, each().map(|s| Some(&s.span_id.0[..])))?,
        ids(8, each().map(|s| s.parent_span_id.as_ref().map(|id| &id.0[..])))?,
        small_integers(nested.iter().map(|n| n.left)),
        small_integers(nested.iter().map(|n| n.right)),
        small_integers(nested.iter().map(|n| n.parent)),
        small_integers(nested.iter().map(|n| n.child_count)),
        strings(each().map(|s| s.name)),
        small_integers(each().map(|s| s.kind)),
        small_integers(each().map(|s| s.status_code)),
        strings(each().map(|s| s.status_message)),
        resources.spread(optional_strings(each_resource().map(|r| r.service_name())))?,
        timestamps(each().map(|s| s.start)),
        integers(each().map(|s| s.duration)),
        strings(each().map(|s| s.trace_state)),
        integers(each().map(|s| i64::from(s.flags))),
        integers(each().map(|s| i64::from(s.dropped_attributes_count))),
        integers(each().map(|s| i64::from(s.dropped_events_count))),
        integers(each().map(|s| i64::from(s.dropped_links_count))),
        scopes.spread(strings(each_scope().map(|s| s.name)))?,
        scopes.spread(strings(each_scope().map(|s| s.version)))?,
        scopes.spread(strings(each_scope().map(|s| s.schema_url)))?,
        scopes.spread(integers(each_scope().map(|s| i64::from(s.dropped_attributes_count))))?,
        resources.spread(strings(each_resource().map(|r| r.schema_url)))?,
        resources.spread(integers(each_resource().map(|r| i64::from(r.dropped_attributes_count))))?,
        span_rest,
        resources.spread(res_rest)?,
        scopes.spread(scope_rest)?,
    ];
    arrays.extend(span_columns);
    arrays.extend(resources.spread_all(res_columns)?);
    arrays.extend(scopes.spread_all(scope_columns)?);
    batch(plan.span_fields(), arrays)
}

/// Columns that say where rows stand, by name; the first span is row `first_row` of its table.
pub struct Structure {
    pub of_spans: [(&'static str, ArrayRef); 4],
    pub of_events: [(&'static str, ArrayRef); 1],
    pub of_links: [(&'static str, ArrayRef); 1],
}

impl Structure {
    /// Of spans with a nested-set number each.
    pub fn of<N: Node>(spans: &[N], nested: &[Nested], first_row: i64) -> Structure {
        let rows = |count: fn((usize, usize)) -> usize| {
            let rows = (first_row..).zip(spans).flat_map(move |(row, span)| std::iter::repeat_n(row, count(span.attached())));
            integers(rows)
        };
        Structure {
            of_spans: [
                ("nested_left", small_integers(nested.iter().map(|n| n.left))),
                ("nested_right", small_integers(nested.iter().map(|n| n.right))),
                ("nested_parent", small_integers(nested.iter().map(|n| n.parent))),
                ("child_count", small_integers(nested.iter().map(|n| n.child_count))),
            ],
            of_events: [("span_row", rows(|(events, _)| events))],
            of_links: [("span_row", rows(|(_, links)| links))],
        }
    }
}

/// The events of `spans`, the first of which is row `first_row` of its table.
pub fn write_events(spans: &[SpanRef<'_>], first_row: i64, plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let mut attributes = AttributeColumns::new(AttributeScope::Event, plan, 0);
    for event in spans.iter().flat_map(|s| &s.events) {
        attributes.append(&event.attributes)?;
    }
    let (rest, columns) = attributes.finish();
    let each = || (first_row..).zip(spans).flat_map(|(row, span)| span.events.iter().map(move |event| (row, span, event)));
    let mut arrays = vec![
        ids(16, each().map(|(_, s, _)| Some(&s.trace_id.0[..])))?,
        integers(each().map(|(row, _, _)| row)),
        timestamps(each().map(|(_, _, e)| e.time_unix_nano.cast_signed())),
        strings(each().map(|(_, _, e)| e.name)),
        integers(each().map(|(_, _, e)| i64::from(e.dropped_attributes_count))),
        rest,
    ];
    arrays.extend(columns);
    batch(plan.event_fields(), arrays)
}

/// The links of `spans`, the first of which is row `first_row` of its table.
pub fn write_links(spans: &[SpanRef<'_>], first_row: i64, plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let mut attributes = AttributeColumns::new(AttributeScope::Link, plan, 0);
    let (mut trace_ids, mut span_ids) = (BinaryBuilder::new(), BinaryBuilder::new());
    for link in spans.iter().flat_map(|s| &s.links) {
        attributes.append(&link.attributes)?;
        trace_ids.append_value(link.trace_id);
        span_ids.append_value(link.span_id);
    }
    let (rest, columns) = attributes.finish();
    let each = || (first_row..).zip(spans).flat_map(|(row, span)| span.links.iter().map(move |link| (row, span, link)));
    let mut arrays = vec![
        ids(16, each().map(|(_, s, _)| Some(&s.trace_id.0[..])))?,
        integers(each().map(|(row, _, _)| row)),
        Arc::new(trace_ids.finish()) as ArrayRef,
        Arc::new(span_ids.finish()),
        strings(each().map(|(_, _, l)| l.trace_state)),
        integers(each().map(|(_, _, l)| i64::from(l.dropped_attributes_count))),
        integers(each().map(|(_, _, l)| i64::from(l.flags))),
        rest,
    ];
    arrays.extend(columns);
    batch(plan.link_fields(), arrays)
}

/// Rows of `traces`.
pub fn write_traces(rows: &[TraceRow]) -> Result<RecordBatch, ArrowError> {
    let mut services = ListBuilder::new(StructBuilder::from_fields(service_fields(), rows.len())).with_field(Field::new(
        "element",
        DataType::Struct(service_fields()),
        false,
    ));
    for row in rows {
        for (service, counts) in &row.services {
            let entry = services.values();
            if let Some(builder) = entry.field_builder::<StringBuilder>(0) {
                builder.append_value(service);
            }
            for (column, count) in [(1, counts.spans), (2, counts.errors)] {
                if let Some(builder) = entry.field_builder::<Int64Builder>(column) {
                    builder.append_value(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            entry.append(true);
        }
        services.append(true);
    }
    let each = || rows.iter();
    let arrays = vec![
        ids(16, each().map(|r| Some(&r.part.trace_id.0[..])))?,
        timestamps(each().map(|r| r.part.start)),
        timestamps(each().map(|r| r.part.end)),
        optional_strings(each().map(|r| r.root_service.as_deref())),
        optional_strings(each().map(|r| r.root_name.as_deref())),
        Arc::new(services.finish()) as ArrayRef,
        integers(each().map(|r| r.part.spans.start.cast_signed())),
        integers(each().map(|r| (r.part.spans.end - r.part.spans.start).cast_signed())),
        integers(each().map(|r| r.part.events.start.cast_signed())),
        integers(each().map(|r| (r.part.events.end - r.part.events.start).cast_signed())),
        integers(each().map(|r| r.part.links.start.cast_signed())),
        integers(each().map(|r| (r.part.links.end - r.part.links.start).cast_signed())),
    ];
    batch(trace_fields(), arrays)
}
