use super::projection::{Keys, Projection};
use super::typed_json;
use crate::model::{Attribute, AttributeRef, SpanId, TraceId, ValueRef};
use crate::traces::schema::{AttributeScope, ColumnType, SERVICE_NAME_KEY, parse_column};
use crate::traces::source::parts_of_batch;
use crate::traces::span::{Event, Link, Resource, Scope, Span};
use crate::traces::span_ref::{EventRef, LinkRef, ResourceRef, ScopeRef, SpanRef};
use crate::traces::trace::{ServiceCounts, TraceRow};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{
    Array, BinaryArray, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, MapArray, RecordBatch, StringArray,
    TimestampNanosecondArray,
};
use std::rc::Rc;
use std::sync::Arc;

fn text(column: Option<&StringArray>, row: usize) -> &str {
    column.map_or("", |c| c.value(row))
}

fn number(column: Option<&Int32Array>, row: usize) -> i32 {
    column.map_or(0, |c| c.value(row))
}

/// A count that was written from a `u32`.
fn count(column: Option<&Int64Array>, row: usize) -> u32 {
    column.map_or(0, |c| u32::try_from(c.value(row)).unwrap_or(u32::MAX))
}

fn bytes(column: Option<&BinaryArray>, row: usize) -> &[u8] {
    column.map_or(&[], |c| c.value(row))
}

fn id<const N: usize>(column: Option<&FixedSizeBinaryArray>, row: usize) -> Option<[u8; N]> {
    column.filter(|c| c.is_valid(row)).and_then(|c| c.value(row).try_into().ok())
}

/// The columns of a batch by name; those of another type than expected count as absent.
struct Columns<'a> {
    batch: &'a RecordBatch,
    /// `None` reads all.
    projection: Option<&'a Projection>,
}

impl<'a> Columns<'a> {
    fn get(&self, name: &str) -> Option<&'a dyn Array> {
        self.projection.is_none_or(|p| p.reads(name)).then(|| self.batch.column_by_name(name)).flatten().map(|c| c.as_ref())
    }

    fn text(&self, name: &str) -> Option<&'a StringArray> {
        self.get(name)?.as_string_opt()
    }

    fn int32(&self, name: &str) -> Option<&'a Int32Array> {
        self.get(name)?.as_primitive_opt::<Int32Type>()
    }

    fn int64(&self, name: &str) -> Option<&'a Int64Array> {
        self.get(name)?.as_primitive_opt::<Int64Type>()
    }

    fn time(&self, name: &str) -> Option<&'a TimestampNanosecondArray> {
        self.get(name)?.as_primitive_opt::<TimestampNanosecondType>()
    }

    fn id(&self, name: &str) -> Option<&'a FixedSizeBinaryArray> {
        self.get(name)?.as_fixed_size_binary_opt()
    }
}

enum TypedColumn<'a> {
    String(&'a StringArray),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
}

impl<'a> TypedColumn<'a> {
    fn value(&self, row: usize) -> Option<ValueRef<'a>> {
        match self {
            TypedColumn::String(c) => c.is_valid(row).then(|| ValueRef::String(c.value(row))),
            TypedColumn::Int(c) => c.is_valid(row).then(|| ValueRef::Int(c.value(row))),
            TypedColumn::Double(c) => c.is_valid(row).then(|| ValueRef::Double(c.value(row))),
            TypedColumn::Bool(c) => c.is_valid(row).then(|| ValueRef::Bool(c.value(row))),
        }
    }
}

/// The attributes of one scope in a batch.
struct AttributeReader<'a> {
    keys: &'a Keys,
    columns: Vec<(&'a str, TypedColumn<'a>)>,
    rest: Option<(&'a MapArray, &'a StringArray, &'a StringArray)>,
}

impl<'a> AttributeReader<'a> {
    fn new(batch: &'a RecordBatch, scope: AttributeScope, projection: &'a Projection) -> AttributeReader<'a> {
        let keys = projection.keys(scope);
        let mut reader = AttributeReader { keys, columns: Vec::new(), rest: None };
        if *keys == Keys::None {
            return reader;
        }
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let Some((key, column_type)) = parse_column(scope, field) else { continue };
            if !keys.contains(key) {
                continue;
            }
            let column = match column_type {
                ColumnType::String => column.as_string_opt().map(TypedColumn::String),
                ColumnType::Int => column.as_primitive_opt::<Int64Type>().map(TypedColumn::Int),
                ColumnType::Double => column.as_primitive_opt::<Float64Type>().map(TypedColumn::Double),
                ColumnType::Bool => column.as_boolean_opt().map(TypedColumn::Bool),
            };
            reader.columns.extend(column.map(|c| (key, c)));
        }
        reader.rest = batch.column_by_name(scope.rest()).and_then(|c| c.as_map_opt()).and_then(|map| {
            let (keys, values) = (map.keys().as_string_opt()?, map.values().as_string_opt()?);
            Some((map, keys, values))
        });
        reader
    }

    /// In order of key; equal keys in the order in which they came.
    fn read(&self, row: usize, more: Option<AttributeRef<'a>>) -> Vec<AttributeRef<'a>> {
        let mut attributes = Vec::with_capacity(self.columns.len() + 1);
        attributes.extend(more);
        for (key, column) in &self.columns {
            attributes.extend(column.value(row).map(|value| AttributeRef { key, value }));
        }
        if let Some((map, keys, values)) = self.rest {
            let (from, to) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
            for entry in from..to {
                let key = keys.value(entry);
                if self.keys.contains(key) {
                    // Damaged text cannot get here past the checksums of the file; it reads as an empty value.
                    let value = typed_json::read(values.value(entry)).unwrap_or(ValueRef::Empty);
                    attributes.push(AttributeRef { key, value });
                }
            }
        }
        attributes.sort_by(|a, b| a.key.cmp(b.key));
        attributes
    }

    fn is_empty(&self) -> bool {
        self.columns.is_empty() && self.rest.is_none()
    }
}

/// Reads rows of `spans`, from a scan of a block.
pub struct SpanReader<'a> {
    trace_id: Option<&'a FixedSizeBinaryArray>,
    span_id: Option<&'a FixedSizeBinaryArray>,
    parent_span_id: Option<&'a FixedSizeBinaryArray>,
    name: Option<&'a StringArray>,
    kind: Option<&'a Int32Array>,
    status_code: Option<&'a Int32Array>,
    status_message: Option<&'a StringArray>,
    service_name: Option<&'a StringArray>,
    start: Option<&'a TimestampNanosecondArray>,
    duration: Option<&'a Int64Array>,
    trace_state: Option<&'a StringArray>,
    /// flags; dropped attributes, events, links.
    counts: [Option<&'a Int64Array>; 4],
    scope_name: Option<&'a StringArray>,
    scope_version: Option<&'a StringArray>,
    scope_schema_url: Option<&'a StringArray>,
    scope_dropped: Option<&'a Int64Array>,
    res_schema_url: Option<&'a StringArray>,
    res_dropped: Option<&'a Int64Array>,
    attributes: AttributeReader<'a>,
    resource: AttributeReader<'a>,
    scope: AttributeReader<'a>,
    /// Shared by the spans of which neither is read.
    nothing: (Arc<Resource>, Arc<Scope>),
    blank: (Rc<ResourceRef<'a>>, Rc<ScopeRef<'a>>),
}

impl<'a> SpanReader<'a> {
    pub fn new(batch: &'a RecordBatch, projection: &'a Projection) -> SpanReader<'a> {
        let c = Columns { batch, projection: Some(projection) };
        SpanReader {
            trace_id: c.id("trace_id"),
            span_id: c.id("span_id"),
            parent_span_id: c.id("parent_span_id"),
            name: c.text("name"),
            kind: c.int32("kind"),
            status_code: c.int32("status_code"),
            status_message: c.text("status_message"),
            service_name: c.text("service_name"),
            start: c.time("start"),
            duration: c.int64("duration_ns"),
            trace_state: c.text("trace_state"),
            counts: ["flags", "dropped_attributes_count", "dropped_events_count", "dropped_links_count"].map(|name| c.int64(name)),
            scope_name: c.text("scope_name"),
            scope_version: c.text("scope_version"),
            scope_schema_url: c.text("scope_schema_url"),
            scope_dropped: c.int64("scope_dropped_attributes_count"),
            res_schema_url: c.text("res_schema_url"),
            res_dropped: c.int64("res_dropped_attributes_count"),
            attributes: AttributeReader::new(batch, AttributeScope::Span, projection),
            resource: AttributeReader::new(batch, AttributeScope::Resource, projection),
            scope: AttributeReader::new(batch, AttributeScope::Instrumentation, projection),
            nothing: Default::default(),
            blank: Default::default(),
        }
    }

    pub fn trace_id(&self, row: usize) -> TraceId {
        TraceId(id(self.trace_id, row).unwrap_or_default())
    }

    /// Without events and links, which have tables of their own.
    pub fn read(&self, row: usize) -> Span {
        let span = self.fields(row);
        let resource = || {
            let resource = self.resource_of(row);
            Resource {
                attributes: owned(resource.attributes),
                dropped_attributes_count: resource.dropped_attributes_count,
                schema_url: resource.schema_url.to_owned(),
            }
        };
        let scope = || {
            let scope = self.scope_of(row);
            Scope {
                name: scope.name.to_owned(),
                version: scope.version.to_owned(),
                attributes: owned(scope.attributes),
                dropped_attributes_count: scope.dropped_attributes_count,
                schema_url: scope.schema_url.to_owned(),
            }
        };
        let resource = if self.has_resource() { Arc::new(resource()) } else { self.nothing.0.clone() };
        let scope = if self.has_scope() { Arc::new(scope()) } else { self.nothing.1.clone() };
        Span {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            name: span.name.to_owned(),
            kind: span.kind,
            status_code: span.status_code,
            status_message: span.status_message.to_owned(),
            start: span.start,
            duration: span.duration,
            trace_state: span.trace_state.to_owned(),
            flags: span.flags,
            attributes: owned(span.attributes),
            dropped_attributes_count: span.dropped_attributes_count,
            events: Vec::new(),
            dropped_events_count: span.dropped_events_count,
            links: Vec::new(),
            dropped_links_count: span.dropped_links_count,
            resource,
            scope,
        }
    }

    /// As [`SpanReader::read`], with the texts left where they are.
    pub fn borrow(&self, row: usize) -> SpanRef<'a> {
        SpanRef { resource: Rc::new(self.resource_of(row)), scope: Rc::new(self.scope_of(row)), ..self.fields(row) }
    }

    /// All but resource and scope.
    fn fields(&self, row: usize) -> SpanRef<'a> {
        let [flags, dropped_attributes, dropped_events, dropped_links] = self.counts.map(|c| count(c, row));
        SpanRef {
            trace_id: self.trace_id(row),
            span_id: SpanId(id(self.span_id, row).unwrap_or_default()),
            parent_span_id: id(self.parent_span_id, row).map(SpanId),
            name: text(self.name, row),
            kind: number(self.kind, row),
            status_code: number(self.status_code, row),
            status_message: text(self.status_message, row),
            start: self.start.map_or(0, |c| c.value(row)),
            duration: self.duration.map_or(0, |c| c.value(row)),
            trace_state: text(self.trace_state, row),
            flags,
            attributes: self.attributes.read(row, None),
            dropped_attributes_count: dropped_attributes,
            events: Vec::new(),
            dropped_events_count: dropped_events,
            links: Vec::new(),
            dropped_links_count: dropped_links,
            resource: self.blank.0.clone(),
            scope: self.blank.1.clone(),
        }
    }

    fn has_resource(&self) -> bool {
        self.service_name.is_some() || self.res_schema_url.is_some() || self.res_dropped.is_some() || !self.resource.is_empty()
    }

    fn has_scope(&self) -> bool {
        let texts = [self.scope_name, self.scope_version, self.scope_schema_url];
        texts.iter().any(Option::is_some) || self.scope_dropped.is_some() || !self.scope.is_empty()
    }

    fn resource_of(&self, row: usize) -> ResourceRef<'a> {
        let service = self.service_name.filter(|c| c.is_valid(row));
        let service = service.map(|c| AttributeRef { key: SERVICE_NAME_KEY, value: ValueRef::String(c.value(row)) });
        ResourceRef {
            attributes: self.resource.read(row, service),
            dropped_attributes_count: count(self.res_dropped, row),
            schema_url: text(self.res_schema_url, row),
        }
    }

    fn scope_of(&self, row: usize) -> ScopeRef<'a> {
        ScopeRef {
            name: text(self.scope_name, row),
            version: text(self.scope_version, row),
            attributes: self.scope.read(row, None),
            dropped_attributes_count: count(self.scope_dropped, row),
            schema_url: text(self.scope_schema_url, row),
        }
    }
}

fn owned(attributes: Vec<AttributeRef<'_>>) -> Vec<Attribute> {
    attributes.into_iter().map(Attribute::from).collect()
}

/// Reads rows of `events`.
pub struct EventReader<'a> {
    span_row: Option<&'a Int64Array>,
    time: Option<&'a TimestampNanosecondArray>,
    name: Option<&'a StringArray>,
    dropped: Option<&'a Int64Array>,
    attributes: AttributeReader<'a>,
}

fn row_of_span(column: Option<&Int64Array>, row: usize) -> u64 {
    column.map_or(0, |c| c.value(row).cast_unsigned())
}

impl<'a> EventReader<'a> {
    pub fn new(batch: &'a RecordBatch, projection: &'a Projection) -> EventReader<'a> {
        let c = Columns { batch, projection: None };
        EventReader {
            span_row: c.int64("span_row"),
            time: c.time("time"),
            name: c.text("name"),
            dropped: c.int64("dropped_attributes_count"),
            attributes: AttributeReader::new(batch, AttributeScope::Event, projection),
        }
    }

    /// The row of its span, and the event.
    pub fn read(&self, row: usize) -> (u64, Event) {
        let (span, event) = self.borrow(row);
        (span, event.into())
    }

    /// As [`EventReader::read`], with the texts left where they are.
    pub fn borrow(&self, row: usize) -> (u64, EventRef<'a>) {
        let event = EventRef {
            time_unix_nano: self.time.map_or(0, |c| c.value(row)).cast_unsigned(),
            name: text(self.name, row),
            attributes: self.attributes.read(row, None),
            dropped_attributes_count: count(self.dropped, row),
        };
        (row_of_span(self.span_row, row), event)
    }
}

/// Reads rows of `links`.
pub struct LinkReader<'a> {
    span_row: Option<&'a Int64Array>,
    trace_id: Option<&'a BinaryArray>,
    span_id: Option<&'a BinaryArray>,
    trace_state: Option<&'a StringArray>,
    dropped: Option<&'a Int64Array>,
    flags: Option<&'a Int64Array>,
    attributes: AttributeReader<'a>,
}

impl<'a> LinkReader<'a> {
    pub fn new(batch: &'a RecordBatch, projection: &'a Projection) -> LinkReader<'a> {
        let c = Columns { batch, projection: None };
        LinkReader {
            span_row: c.int64("span_row"),
            trace_id: c.get("linked_trace_id").and_then(|c| c.as_binary_opt()),
            span_id: c.get("linked_span_id").and_then(|c| c.as_binary_opt()),
            trace_state: c.text("trace_state"),
            dropped: c.int64("dropped_attributes_count"),
            flags: c.int64("flags"),
            attributes: AttributeReader::new(batch, AttributeScope::Link, projection),
        }
    }

    /// The row of its span, and the link.
    pub fn read(&self, row: usize) -> (u64, Link) {
        let (span, link) = self.borrow(row);
        (span, link.into())
    }

    /// As [`LinkReader::read`], with the texts left where they are.
    pub fn borrow(&self, row: usize) -> (u64, LinkRef<'a>) {
        let link = LinkRef {
            trace_id: bytes(self.trace_id, row),
            span_id: bytes(self.span_id, row),
            trace_state: text(self.trace_state, row),
            attributes: self.attributes.read(row, None),
            dropped_attributes_count: count(self.dropped, row),
            flags: count(self.flags, row),
        };
        (row_of_span(self.span_row, row), link)
    }
}

/// The rows of a batch of `traces`; `None` if it has another shape.
pub fn trace_rows(batch: &RecordBatch) -> Option<Vec<TraceRow>> {
    let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
    let (root_service, root_name) = (text("root_service")?, text("root_name")?);
    let services = batch.column_by_name("services")?.as_list_opt::<i32>()?;
    let of_service = services.values().as_struct_opt()?;
    let names = of_service.column_by_name("service")?.as_string_opt::<i32>()?;
    let number = |name| of_service.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let (spans, errors) = (number("spans")?, number("errors")?);
    let mut rows = Vec::with_capacity(batch.num_rows());
    parts_of_batch(batch, &mut |part| {
        let row = rows.len();
        let entries = services.value_offsets()[row] as usize..services.value_offsets()[row + 1] as usize;
        let counts = |at: usize| ServiceCounts { spans: spans.value(at).cast_unsigned(), errors: errors.value(at).cast_unsigned() };
        let owned = |column: &StringArray| column.is_valid(row).then(|| column.value(row).to_owned());
        rows.push(TraceRow {
            part,
            root_service: owned(root_service),
            root_name: owned(root_name),
            services: entries.map(|at| (names.value(at).to_owned(), counts(at))).collect(),
        });
    })?;
    Some(rows)
}
