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
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, Schema};
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
    /// The last first.
    shapes: Vec<Shape<'a>>,
}

/// Where the attributes of a row go. What one library sends has few shapes, so that most rows have one that is known.
struct Shape<'a> {
    keys: Vec<(&'a str, Option<ColumnType>)>,
    /// The attribute of each column, by its position.
    columns: Vec<Option<usize>>,
    /// Of the rest map, in order of key.
    rest: Vec<usize>,
}

/// Shapes that are kept.
const SHAPES_MAX: usize = 8;

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
        AttributeColumns { scope, chosen, columns, rest, text: String::new(), shapes: Vec::new() }
    }

    /// Attributes in any order, equal keys in the order in which they came.
    fn append(&mut self, attributes: &'a [AttributeRef<'_>]) -> Result<(), ArrowError> {
        match self.shapes.iter().position(|shape| shape.is_of(attributes)) {
            Some(0) => {}
            Some(known) => self.shapes[..=known].rotate_right(1),
            None => {
                self.shapes.truncate(SHAPES_MAX - 1);
                self.shapes.insert(0, Shape::new(attributes, self.chosen, self.scope));
            }
        }
        if let Some(shape) = self.shapes.first() {
            for (column, attribute) in self.columns.iter_mut().zip(&shape.columns) {
                column.append(attribute.map_or(&ValueRef::Empty, |at| &attributes[at].value));
            }
            for attribute in shape.rest.iter().map(|at| &attributes[*at]) {
                self.text.clear();
                typed_json::write(&mut self.text, &attribute.value);
                self.rest.keys().append_value(attribute.key);
                self.rest.values().append_value(&self.text);
            }
        }
        self.rest.append(true)
    }

    /// The rest map, and the columns of the plan.
    fn finish(mut self) -> (ArrayRef, Vec<ArrayRef>) {
        let arrays = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        (Arc::new(self.rest.finish()), arrays)
    }
}

impl<'a> Shape<'a> {
    /// Only the first of a key can be in a column, so that a reader finds it first.
    fn new(attributes: &'a [AttributeRef<'_>], chosen: &[(String, ColumnType)], scope: AttributeScope) -> Shape<'a> {
        let keys: Vec<_> = attributes.iter().map(|a| (a.key, column_type(&a.value))).collect();
        let mut in_order: Vec<usize> = (0..keys.len()).collect();
        in_order.sort_by_key(|at| keys[*at].0);
        let mut shape = Shape { columns: vec![None; chosen.len()], rest: Vec::new(), keys };
        let mut before = None;
        for at in in_order {
            let (key, own_type) = shape.keys[at];
            let is_first = before.replace(key) != Some(key);
            let column =
                own_type.filter(|_| is_first).and_then(|t| chosen.binary_search_by_key(&(key, t), |(own, t)| (own.as_str(), *t)).ok());
            let elsewhere =
                is_first && scope == AttributeScope::Resource && key == SERVICE_NAME_KEY && own_type == Some(ColumnType::String);
            match column {
                Some(column) => shape.columns[column] = Some(at),
                None if elsewhere => {}
                None => shape.rest.push(at),
            }
        }
        shape
    }

    fn is_of(&self, attributes: &[AttributeRef<'_>]) -> bool {
        let is_same =
            |((key, own_type), a): (&(&str, Option<ColumnType>), &AttributeRef<'_>)| *key == a.key && *own_type == column_type(&a.value);
        self.keys.len() == attributes.len() && self.keys.iter().zip(attributes).all(is_same)
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

/// Of these columns, of which texts may have a dictionary.
pub fn batch(fields: Vec<Field>, arrays: Vec<ArrayRef>) -> Result<RecordBatch, ArrowError> {
    let typed = |(field, array): (Field, &ArrayRef)| match array.data_type() {
        keyed @ DataType::Dictionary(..) => field.with_data_type(keyed.clone()),
        _ => field,
    };
    let fields: Vec<Field> = fields.into_iter().zip(&arrays).map(typed).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
}

/// The same rows, with texts as they are.
pub fn without_dictionaries(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let plain = |(field, column): (&FieldRef, &ArrayRef)| match column.as_any_dictionary_opt() {
        Some(dictionary) => {
            let column = take(dictionary.values(), dictionary.keys(), None)?;
            Ok((field.as_ref().clone().with_data_type(column.data_type().clone()), column))
        }
        None => Ok((field.as_ref().clone(), column.clone())),
    };
    let columns = batch.schema_ref().fields().iter().zip(batch.columns()).map(plain);
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.collect::<Result<Vec<_>, ArrowError>>()?.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// Columns of what many spans share: made of each once, and spread over the rows. Texts become a dictionary.
struct Shared<'s, T> {
    distinct: Vec<&'s T>,
    rows: Int32Array,
}

impl<'s, T> Shared<'s, T> {
    fn of(values: impl ExactSizeIterator<Item = &'s Rc<T>>) -> Shared<'s, T> {
        let mut known: HashMap<*const T, i32> = HashMap::new();
        let mut distinct = Vec::new();
        let mut last = (std::ptr::null(), 0);
        let mut rows = Vec::with_capacity(values.len());
        for value in values {
            let own = Rc::as_ptr(value);
            if last.0 != own {
                let number = *known.entry(own).or_insert_with(|| {
                    distinct.push(&**value);
                    i32::try_from(distinct.len() - 1).unwrap_or(i32::MAX)
                });
                last = (own, number);
            }
            rows.push(last.1);
        }
        Shared { distinct, rows: Int32Array::from(rows) }
    }

    fn spread(&self, column: ArrayRef) -> Result<ArrayRef, ArrowError> {
        match column.data_type() {
            DataType::Utf8 => Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(self.rows.clone(), column)?)),
            _ => take(&column, &self.rows, None),
        }
    }

    fn spread_all(&self, columns: Vec<ArrayRef>) -> Result<Vec<ArrayRef>, ArrowError> {
        columns.into_iter().map(|column| self.spread(column)).collect()
    }
}

/// Rows of `spans`, with a nested-set number each. Texts of resources and scopes have a dictionary.
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
