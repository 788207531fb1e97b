use super::plan::{Plan, column_type, text_of};
use super::typed_json;
use crate::model::{AttributeRef, ValueRef};
use crate::traces::schema::{
    AttributeScope, ColumnType, SERVICE_NAME_KEY, column_name, event_fields, link_fields, rest_entries, service_fields, span_fields,
    timestamp, trace_fields,
};
use crate::traces::span_ref::SpanRef;
use crate::traces::trace::{Nested, TraceRow};
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames,
    StringBuilder, StructBuilder,
};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
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

enum ColumnBuilder {
    String(StringBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
}

impl ColumnBuilder {
    fn new(column_type: ColumnType) -> ColumnBuilder {
        match column_type {
            ColumnType::String => ColumnBuilder::String(StringBuilder::new()),
            ColumnType::Int => ColumnBuilder::Int(Int64Builder::new()),
            ColumnType::Double => ColumnBuilder::Double(Float64Builder::new()),
            ColumnType::Bool => ColumnBuilder::Bool(BooleanBuilder::new()),
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
    fn new(scope: AttributeScope, plan: &'a Plan) -> AttributeColumns<'a> {
        let chosen = plan.of(scope);
        let columns = chosen.iter().map(|(_, t)| ColumnBuilder::new(*t)).collect();
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

    fn finish(mut self) -> (ArrayRef, Vec<Field>, Vec<ArrayRef>) {
        let field = |(key, t): &(String, ColumnType)| Field::new(column_name(self.scope, key, *t), t.data_type(), true);
        let fields = self.chosen.iter().map(field).collect();
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        (Arc::new(self.rest.finish()), fields, arrays)
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

/// Rows of `spans`, with a nested-set number each.
pub fn write_spans(spans: &[SpanRef<'_>], nested: &[Nested], plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let mut of_span = AttributeColumns::new(AttributeScope::Span, plan);
    let mut of_resource = AttributeColumns::new(AttributeScope::Resource, plan);
    let mut of_scope = AttributeColumns::new(AttributeScope::Instrumentation, plan);
    for span in spans {
        of_span.append(&span.attributes)?;
        of_resource.append(&span.resource.attributes)?;
        of_scope.append(&span.scope.attributes)?;
    }
    let (span_rest, span_fields_more, span_columns) = of_span.finish();
    let (res_rest, res_fields, res_columns) = of_resource.finish();
    let (scope_rest, scope_fields, scope_columns) = of_scope.finish();
    let each = || spans.iter();
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
        optional_strings(each().map(|s| s.resource.service_name())),
        timestamps(each().map(|s| s.start)),
        integers(each().map(|s| s.duration)),
        strings(each().map(|s| s.trace_state)),
        integers(each().map(|s| i64::from(s.flags))),
        integers(each().map(|s| i64::from(s.dropped_attributes_count))),
        integers(each().map(|s| i64::from(s.dropped_events_count))),
        integers(each().map(|s| i64::from(s.dropped_links_count))),
        strings(each().map(|s| s.scope.name)),
        strings(each().map(|s| s.scope.version)),
        strings(each().map(|s| s.scope.schema_url)),
        integers(each().map(|s| i64::from(s.scope.dropped_attributes_count))),
        strings(each().map(|s| s.resource.schema_url)),
        integers(each().map(|s| i64::from(s.resource.dropped_attributes_count))),
        span_rest,
        res_rest,
        scope_rest,
    ];
    let mut fields = span_fields();
    fields.extend(span_fields_more.into_iter().chain(res_fields).chain(scope_fields));
    arrays.extend(span_columns.into_iter().chain(res_columns).chain(scope_columns));
    batch(fields, arrays)
}

/// The events of `spans`, the first of which is row `first_row` of its table.
pub fn write_events(spans: &[SpanRef<'_>], first_row: i64, plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let mut attributes = AttributeColumns::new(AttributeScope::Event, plan);
    for event in spans.iter().flat_map(|s| &s.events) {
        attributes.append(&event.attributes)?;
    }
    let (rest, more, columns) = attributes.finish();
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
    let mut fields = event_fields();
    fields.extend(more);
    batch(fields, arrays)
}

/// The links of `spans`, the first of which is row `first_row` of its table.
pub fn write_links(spans: &[SpanRef<'_>], first_row: i64, plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let mut attributes = AttributeColumns::new(AttributeScope::Link, plan);
    let (mut trace_ids, mut span_ids) = (BinaryBuilder::new(), BinaryBuilder::new());
    for link in spans.iter().flat_map(|s| &s.links) {
        attributes.append(&link.attributes)?;
        trace_ids.append_value(link.trace_id);
        span_ids.append_value(link.span_id);
    }
    let (rest, more, columns) = attributes.finish();
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
    let mut fields = link_fields();
    fields.extend(more);
    batch(fields, arrays)
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
