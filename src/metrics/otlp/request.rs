//! An export request from its bytes. Numbers, which are most of what comes, are read where they stand; a metric of another
//! type is handed to prost, with the messages around it, so that both see it as deep inside.

use super::labels::ResourceLabels;
use super::points::{Family, Translation, millis};
use super::series_cache::{Families, FamilyId};
use super::{SeriesCache, target_info};
use crate::ingest::{self, Field, Message, Plain, WireError, merge_resource, merge_scope, read_attribute};
use crate::metrics::rows::{Exemplar, SeriesKey};
use crate::model::Attribute;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;

/// Why a request is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Bytes(#[from] WireError),
    #[error("{0}")]
    Message(#[from] prost::DecodeError),
}

/// `info_step` is the distance of `target_info` samples, milliseconds.
pub(super) fn read(body: Plain<'_>, translation: &mut Translation<'_>, cache: &SeriesCache, info_step: i64) -> Result<(), Unreadable> {
    let mut request = Message::new(body);
    let mut scratch = Scratch::default();
    while let Some(field) = request.field()? {
        match field.tag {
            1 => resource(field.message()?, translation, cache, info_step, &mut scratch)?,
            _ => field.unknown()?,
        }
    }
    Ok(())
}

/// Kept for its memory.
#[derive(Default)]
struct Scratch {
    context: Vec<u8>,
    key: Vec<u8>,
}

/// Appends a part of a key: equal keys have equal parts.
fn add_part(key: &mut Vec<u8>, part: &[u8]) {
    // Bounded by the length of a request.
    key.extend_from_slice(&(part.len() as u32).to_le_bytes());
    key.extend_from_slice(part);
}

/// Fields come in any order, so the resource is looked for before the metrics are read.
fn resource(
    message: Message<'_>,
    translation: &mut Translation<'_>,
    cache: &SeriesCache,
    info_step: i64,
    scratch: &mut Scratch,
) -> Result<(), Unreadable> {
    let mut resource = ingest::ResourceRef::default();
    scratch.context.clear();
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => {
                let own = field.message()?;
                add_part(&mut scratch.context, own.bytes());
                merge_resource(&mut resource, own)?;
            }
            2 => drop(field.message()?),
            3 => drop(field.text()?),
            _ => field.unknown()?,
        }
    }
    let attributes: Vec<Attribute> = resource.attributes.into_iter().map(Attribute::from).collect();
    let labels = ResourceLabels::new(&attributes, translation.config);
    translation.covered = None;
    let resource_key = scratch.context.len();
    let mut fields = message;
    while let Some(field) = fields.field()? {
        if field.tag == 2 {
            scratch.context.truncate(resource_key);
            scope(field.message()?, translation, cache, &labels, scratch)?;
        }
    }
    if let Some(range) = translation.covered.take() {
        target_info::add(&mut translation.rows, &attributes, &labels, range, info_step, translation.config);
    }
    Ok(())
}

fn scope(
    message: Message<'_>,
    translation: &mut Translation<'_>,
    cache: &SeriesCache,
    resource: &ResourceLabels,
    scratch: &mut Scratch,
) -> Result<(), Unreadable> {
    let (mut scope, mut schema_url) = (None, "");
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => {
                let own = field.message()?;
                add_part(&mut scratch.context, own.bytes());
                merge_scope(scope.get_or_insert_default(), own)?;
            }
            2 => drop(field.message()?),
            3 => schema_url = field.text()?,
            _ => field.unknown()?,
        }
    }
    add_part(&mut scratch.context, schema_url.as_bytes());
    let scope = scope.map(|scope: ingest::ScopeRef<'_>| {
        let attributes: Vec<Attribute> = scope.attributes.into_iter().map(Attribute::from).collect();
        translation.scope_labels(scope.name, scope.version, &attributes, schema_url)
    });
    let around = Around { resource, scope: &scope.unwrap_or_default() };
    let Scratch { context, key } = scratch;
    cache.with(context, |families| {
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.tag == 2 {
                metric(field.message()?, translation, families, around, key)?;
            }
        }
        Ok(())
    })
}

/// What a metric stands in.
#[derive(Clone, Copy)]
struct Around<'a> {
    resource: &'a ResourceLabels,
    scope: &'a [(String, String)],
}

fn metric(
    message: Message<'_>,
    translation: &mut Translation<'_>,
    families: &mut Families,
    around: Around<'_>,
    key: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    let (mut name, mut description, mut unit) = ("", "", "");
    // Gauge or sum, if there is one and nothing else.
    let mut numbers: Option<Field<'_>> = None;
    let mut is_other = false;
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => name = field.text()?,
            2 => description = field.text()?,
            3 => unit = field.text()?,
            5 | 7 => is_other |= numbers.replace(field).is_some(),
            9..=11 => is_other = true,
            12 => drop(read_attribute(field.message()?)?),
            _ => field.unknown()?,
        }
    }
    if is_other {
        return by_message(message.body(), translation, around);
    }
    let Some(field) = numbers else { return Ok(()) };
    let (is_sum, data) = (field.tag == 7, field.message()?);
    let (mut temporality, mut is_monotonic) = (0, false);
    let mut fields = data;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => drop(field.message()?),
            2 if is_sum => temporality = field.int32()?,
            3 if is_sum => is_monotonic = field.bool()?,
            _ => field.unknown()?,
        }
    }
    let family =
        translation.number_family((name, unit, description), is_sum.then_some((temporality, is_monotonic)), around.resource, around.scope);
    key.clear();
    add_part(key, name.as_bytes());
    add_part(key, unit.as_bytes());
    key.push(u8::from(is_sum) << 1 | u8::from(is_monotonic));
    // Points of a family without a name are refused, and have no series.
    let known = if family.has_name() { families.family(key) } else { None };
    let mut fields = data;
    while let Some(field) = fields.field()? {
        if field.tag == 1 {
            number(field.message()?, translation, &family, families, known, key)?;
        }
    }
    Ok(())
}

/// Reads a metric as a message of its own request.
fn by_message(metric: Plain<'_>, translation: &mut Translation<'_>, around: Around<'_>) -> Result<(), Unreadable> {
    let mut request = metric.bytes().to_vec();
    // The numbers of `metrics`, `scope_metrics` and `resource_metrics`.
    for tag in [2u32, 2, 1] {
        let mut outer = Vec::with_capacity(request.len() + 6);
        prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut outer);
        prost::encoding::encode_varint(request.len() as u64, &mut outer);
        outer.append(&mut request);
        request = outer;
    }
    let request = ExportMetricsServiceRequest::decode(metric.become_of(&request))?;
    let scopes = request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
    for metric in scopes.flat_map(|s| s.metrics) {
        translation.cover_points_of(&metric);
        translation.metric(metric, around.resource, around.scope);
    }
    Ok(())
}

/// A data point of numbers.
pub(super) struct Number {
    pub(super) time: u64,
    pub(super) start: u64,
    pub(super) value: f64,
    pub(super) flags: u32,
    pub(super) exemplars: Vec<Exemplar>,
}

fn number(
    message: Message<'_>,
    translation: &mut Translation<'_>,
    family: &Family<'_>,
    families: &mut Families,
    known: Option<FamilyId>,
    key: &mut Vec<u8>,
) -> Result<(), Unreadable> {
    let mut point = Number { time: 0, start: 0, value: 0.0, flags: 0, exemplars: Vec::new() };
    key.clear();
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            2 => point.start = field.fixed64()?,
            3 => point.time = field.fixed64()?,
            4 => point.value = field.double()?,
            5 => point.exemplars.push(exemplar(field.message()?)?),
            6 => point.value = field.fixed64()?.cast_signed() as f64,
            7 => add_part(key, field.message()?.bytes()),
            8 => point.flags = field.uint32()?,
            _ => field.unknown()?,
        }
    }
    translation.cover(millis(point.time));
    if let Some(series) = known.and_then(|family| families.get(family, key)) {
        translation.number(family, point, Ok(series));
        return Ok(());
    }
    let mut attributes = Vec::new();
    let mut fields = message;
    while let Some(field) = fields.field()? {
        if field.tag == 7 {
            attributes.push(Attribute::from(read_attribute(field.message()?)?));
        }
    }
    let labels = family.labels(&attributes).map(|labels| {
        let labels = family.series_labels(&labels, "", None);
        let key = SeriesKey::of(&labels);
        (labels, key)
    });
    if let (Some(family), Ok((labels, series))) = (known, &labels) {
        families.insert(family, key, labels, *series);
    }
    let series = labels.as_ref().map(|(labels, key)| (labels, *key)).map_err(String::clone);
    translation.number(family, point, series);
    Ok(())
}

fn exemplar(mut message: Message<'_>) -> Result<Exemplar, Unreadable> {
    let (mut time, mut value) = (0, 0.0);
    let (mut span_id, mut trace_id): (&[u8], &[u8]) = (&[], &[]);
    let mut attributes = Vec::new();
    while let Some(field) = message.field()? {
        match field.tag {
            2 => time = field.fixed64()?,
            3 => value = field.double()?,
            4 => span_id = field.bytes()?,
            5 => trace_id = field.bytes()?,
            6 => value = field.fixed64()?.cast_signed() as f64,
            7 => attributes.push(Attribute::from(read_attribute(field.message()?)?)),
            _ => field.unknown()?,
        }
    }
    Ok(super::points::exemplar_of(millis(time), value, (trace_id, span_id), &attributes))
}
