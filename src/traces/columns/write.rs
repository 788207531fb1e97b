use super::plan::{Plan, column_type};
use super::typed_json;
use crate::model::{Attribute, AttributeValue};
use crate::traces::schema::{
    AttributeScope, ColumnType, SERVICE_NAME_KEY, column_name, event_fields, is_structural, link_fields, rest_entries, service_fields,
    span_fields, timestamp, trace_fields,
};
use crate::traces::span::Span;
use crate::traces::trace::{Nested, TraceRow};
use arrow_array::builder::{
    BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, Float64Builder, Int64Builder, ListBuilder, MapBuilder, MapFieldNames,
    StringBuilder, StructBuilder,
};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use std::collections::HashSet;
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

    fn append(&mut self, value: Option<&AttributeValue>) {
        match (self, value) {
            (ColumnBuilder::String(b), Some(AttributeValue::String(v))) => b.append_value(v),
            (ColumnBuilder::Int(b), Some(AttributeValue::Int(v))) => b.append_value(*v),
            (ColumnBuilder::Double(b), Some(AttributeValue::Double(v))) => b.append_value(*v),
            (ColumnBuilder::Bool(b), Some(AttributeValue::Bool(v))) => b.append_value(*v),
            (ColumnBuilder::String(b), _) => b.append_null(),
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

    /// Only the first attribute of a key can be in a column, so that a reader finds it first.
    fn append(&mut self, attributes: &[Attribute]) -> Result<(), ArrowError> {
        let mut in_column: Vec<Option<&AttributeValue>> = vec![None; self.columns.len()];
        let mut seen = HashSet::with_capacity(attributes.len());
        for attribute in attributes {
            let first = seen.insert(attribute.key.as_str());
            let column = column_type(&attribute.value)
                .filter(|_| first)
                .and_then(|t| self.chosen.binary_search_by(|(k, ct)| (k.as_str(), *ct).cmp(&(&attribute.key, t))).ok());
            if let Some(column) = column {
                in_column[column] = Some(&attribute.value);
                continue;
            }
            let elsewhere = self.scope == AttributeScope::Resource
                && first
                && attribute.key == SERVICE_NAME_KEY
                && matches!(attribute.value, AttributeValue::String(_));
            if !elsewhere {
                self.text.clear();
                typed_json::write(&mut self.text, &attribute.value);
                self.rest.keys().append_value(&attribute.key);
                self.rest.values().append_value(&self.text);
            }
        }
        self.rest.append(true)?;
        self.columns.iter_mut().zip(in_column).for_each(|(builder, value)| builder.append(value));
        Ok(())
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
    exact(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// The batch in buffers that are no larger than what is in them: builders allocate for a thousand rows, and a request may
/// have ten.
pub fn exact(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (schema, mut columns, _) = batch.into_parts();
    columns.iter_mut().for_each(arrow_array::Array::shrink_to_fit);
    RecordBatch::try_new(schema, columns)
}

/// Rows of `spans`. Without `nested`, the columns of the nested-set numbers are left out, as in a head, where a trace is
/// not complete.
pub fn write_spans(spans: &[Span], nested: Option<&[Nested]>, plan: &Plan) -> Result<RecordBatch, ArrowError> {
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
    ];
    if let Some(nested) = nested {
        arrays.extend([
            small_integers(nested.iter().map(|n| n.left)),
            small_integers(nested.iter().map(|n| n.right)),
            small_integers(nested.iter().map(|n| n.parent)),
            small_integers(nested.iter().map(|n| n.child_count)),
        ]);
    }
    arrays.extend([
        strings(each().map(|s| &*s.name)),
        small_integers(each().map(|s| s.kind)),
        small_integers(each().map(|s| s.status_code)),
        strings(each().map(|s| &*s.status_message)),
        optional_strings(each().map(|s| s.resource.service_name())),
        timestamps(each().map(|s| s.start)),
        integers(each().map(|s| s.duration)),
        strings(each().map(|s| &*s.trace_state)),
        integers(each().map(|s| i64::from(s.flags))),
        integers(each().map(|s| i64::from(s.dropped_attributes_count))),
        integers(each().map(|s| i64::from(s.dropped_events_count))),
        integers(each().map(|s| i64::from(s.dropped_links_count))),
        strings(each().map(|s| &*s.scope.name)),
        strings(each().map(|s| &*s.scope.version)),
        strings(each().map(|s| &*s.scope.schema_url)),
        integers(each().map(|s| i64::from(s.scope.dropped_attributes_count))),
        strings(each().map(|s| &*s.resource.schema_url)),
        integers(each().map(|s| i64::from(s.resource.dropped_attributes_count))),
        span_rest,
        res_rest,
        scope_rest,
    ]);
    let mut fields: Vec<Field> = span_fields().into_iter().filter(|f| nested.is_some() || !is_structural(f.name())).collect();
    fields.extend(span_fields_more.into_iter().chain(res_fields).chain(scope_fields));
    arrays.extend(span_columns.into_iter().chain(res_columns).chain(scope_columns));
    batch(fields, arrays)
}

/// The events of `spans`, the first of which is row `first_row` of its table.
pub fn write_events(spans: &[Span], first_row: i64, plan: &Plan) -> Result<RecordBatch, ArrowError> {
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
        strings(each().map(|(_, _, e)| &*e.name)),
        integers(each().map(|(_, _, e)| i64::from(e.dropped_attributes_count))),
        rest,
    ];
    arrays.extend(columns);
    let mut fields = event_fields();
    fields.extend(more);
    batch(fields, arrays)
}

/// The links of `spans`, the first of which is row `first_row` of its table.
pub fn write_links(spans: &[Span], first_row: i64, plan: &Plan) -> Result<RecordBatch, ArrowError> {
    let mut attributes = AttributeColumns::new(AttributeScope::Link, plan);
    let (mut trace_ids, mut span_ids) = (BinaryBuilder::new(), BinaryBuilder::new());
    for link in spans.iter().flat_map(|s| &s.links) {
        attributes.append(&link.attributes)?;
        trace_ids.append_value(&link.trace_id);
        span_ids.append_value(&link.span_id);
    }
    let (rest, more, columns) = attributes.finish();
    let each = || (first_row..).zip(spans).flat_map(|(row, span)| span.links.iter().map(move |link| (row, span, link)));
    let mut arrays = vec![
        ids(16, each().map(|(_, s, _)| Some(&s.trace_id.0[..])))?,
        integers(each().map(|(row, _, _)| row)),
        Arc::new(trace_ids.finish()) as ArrayRef,
        Arc::new(span_ids.finish()),
        strings(each().map(|(_, _, l)| &*l.trace_state)),
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
