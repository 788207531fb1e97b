//! An export request from its bytes, read where they stand.

use super::labels::ResourceLabels;
use super::point::{self, About, ExponentialPoint, HistogramPoint, NumberPoint, Part, PointSeries, ReadPoint, SummaryPoint};
use super::points::{Family, Kind, Translation, millis};
use super::series_cache::{Families, FamilyId};
use super::{SeriesCache, target_info};
use crate::ingest::{self, Field, Message, Plain, WireError, merge_resource, merge_scope, read_attribute};
use crate::metrics::builder::RowsBuilder;
use crate::metrics::rows::SeriesKey;
use crate::model::{Attribute, LabelsBuilder};

/// `info_step` is the distance of `target_info` samples, milliseconds.
pub(super) fn read(body: Plain<'_>, translation: &mut Translation<'_>, cache: &SeriesCache, info_step: i64) -> Result<(), WireError> {
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
    points: PointScratch,
}

/// The point that is read, and the bytes that name its series.
#[derive(Default)]
struct PointScratch {
    key: Vec<u8>,
    number: NumberPoint,
    histogram: HistogramPoint,
    exponential: ExponentialPoint,
    summary: SummaryPoint,
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
) -> Result<(), WireError> {
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
) -> Result<(), WireError> {
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
    let Scratch { context, points } = scratch;
    cache.with(context, |families| {
        let mut fields = message;
        while let Some(field) = fields.field()? {
            if field.tag == 2 {
                metric(field.message()?, translation, families, around, points)?;
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
    scratch: &mut PointScratch,
) -> Result<(), WireError> {
    let (mut name, mut description, mut unit) = ("", "", "");
    // Of one type, and seldom more than the first.
    let (mut data, mut more): (Option<Field<'_>>, Vec<Field<'_>>) = (None, Vec::new());
    let mut fields = message;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => name = field.text()?,
            2 => description = field.text()?,
            3 => unit = field.text()?,
            point::GAUGE | point::SUM | point::HISTOGRAM | point::EXPONENTIAL | point::SUMMARY => {
                field.message()?;
                match data {
                    Some(before) if before.tag == field.tag => more.push(field),
                    before => {
                        before.into_iter().chain(more.drain(..)).try_for_each(point::check)?;
                        data = Some(field);
                    }
                }
            }
            12 => drop(read_attribute(field.message()?)?),
            _ => field.unknown()?,
        }
    }
    let Some(data) = data else { return Ok(()) };
    let mut about = About::default();
    [data].iter().chain(&more).try_for_each(|field| about.merge(*field))?;
    let kind = kind(data.tag, about);
    let family = translation.family((name, unit, description), kind, around.resource, around.scope);
    let PointScratch { key, .. } = scratch;
    key.clear();
    add_part(key, name.as_bytes());
    add_part(key, unit.as_bytes());
    key.extend_from_slice(&[data.tag as u8, u8::from(about.is_monotonic)]);
    // Points of a family without a name are refused, and have no series.
    let known = if family.has_name() { families.family(key) } else { None };
    let mut reader = Points { translation, families, known, family: &family, scratch };
    for data in [data].iter().chain(&more) {
        let mut fields = data.message()?;
        while let Some(field) = fields.field()? {
            if field.tag == 1 {
                reader.point(kind, field.message()?)?;
            }
        }
    }
    Ok(())
}

/// By the field that has the data.
fn kind(field: u32, About { temporality, is_monotonic }: About) -> Kind {
    match field {
        point::SUM => Kind::Sum { temporality, is_monotonic },
        point::HISTOGRAM => Kind::Histogram { temporality },
        point::EXPONENTIAL => Kind::Exponential { temporality },
        point::SUMMARY => Kind::Summary,
        _ => Kind::Gauge,
    }
}

/// The data points of one metric.
struct Points<'s, 't> {
    translation: &'s mut Translation<'t>,
    families: &'s mut Families,
    known: Option<FamilyId>,
    family: &'s Family<'s>,
    scratch: &'s mut PointScratch,
}

impl Points<'_, '_> {
    fn point(&mut self, kind: Kind, message: Message<'_>) -> Result<(), WireError> {
        let Points { translation, families, known, family, scratch } = self;
        let PointScratch { key, number, histogram, exponential, summary } = &mut **scratch;
        key.clear();
        let mut series = KnownSeries { message, families, known: *known, key, attributes_end: 0, attributes: 0, labels: None };
        match kind {
            Kind::Gauge | Kind::Sum { .. } => {
                series.read(number, translation)?;
                series.number(number, translation, family)?;
            }
            Kind::Histogram { .. } => {
                let first = if translation.config.convert_histograms_to_nhcb { Part::Itself } else { Part::Count };
                let series = series.of(histogram, translation, family, first)?;
                translation.histogram(family, histogram, series);
            }
            Kind::Exponential { .. } => {
                let series = series.of(exponential, translation, family, Part::Itself)?;
                translation.exponential(family, exponential, series);
            }
            Kind::Summary => {
                let series = series.of(summary, translation, family, Part::Count)?;
                translation.summary(family, summary, series);
            }
        }
        Ok(())
    }
}

/// The series of one data point, known by the bytes of its attributes.
struct KnownSeries<'s, 'm> {
    message: Message<'m>,
    families: &'s mut Families,
    known: Option<FamilyId>,
    /// The attributes, and what tells one of the series from the others.
    key: &'s mut Vec<u8>,
    attributes_end: usize,
    /// Which field of the message has them.
    attributes: u32,
    /// What the attributes say, once a series is not known.
    labels: Option<LabelsBuilder>,
}

impl KnownSeries<'_, '_> {
    #[inline]
    fn read<P: ReadPoint>(&mut self, point: &mut P, translation: &mut Translation<'_>) -> Result<(), WireError> {
        let key = &mut *self.key;
        point.read(self.message, |attribute| add_part(key, attribute.bytes()))?;
        self.attributes_end = self.key.len();
        self.attributes = P::ATTRIBUTES;
        translation.cover(millis(point.taken().time));
        Ok(())
    }

    /// A point of numbers is one series.
    fn number(&mut self, point: &mut NumberPoint, translation: &mut Translation<'_>, family: &Family<'_>) -> Result<(), WireError> {
        if let Some(series) = self.known.and_then(|known| self.families.get(known, self.key)) {
            translation.number(family, point, Ok(series));
            return Ok(());
        }
        let labels = family.labels(&point::attributes(self.message, self.attributes)?).map(|labels| {
            let labels = family.series_labels(&labels, Part::Itself);
            let key = SeriesKey::of(&labels);
            (labels, key)
        });
        if let (Some(known), Ok((labels, series))) = (self.known, &labels) {
            self.families.insert(known, self.key, labels, *series);
        }
        let series = labels.as_ref().map(|(labels, key)| (labels, *key)).map_err(String::clone);
        translation.number(family, point, series);
        Ok(())
    }

    /// Reads the point. Its series, of which it has the `first` in any case, or why it has none.
    fn of<P: ReadPoint>(
        mut self,
        point: &mut P,
        translation: &mut Translation<'_>,
        family: &Family<'_>,
        first: Part,
    ) -> Result<Result<Self, String>, WireError> {
        self.read(point, translation)?;
        self.key.extend_from_slice(&first.bytes());
        if self.known.is_none_or(|known| self.families.get(known, self.key).is_none()) {
            match family.labels(&point::attributes(self.message, self.attributes)?) {
                Ok(labels) => self.labels = Some(labels),
                Err(message) => return Ok(Err(message)),
            }
        }
        Ok(Ok(self))
    }
}

impl PointSeries for KnownSeries<'_, '_> {
    fn position(&mut self, part: Part, family: &Family<'_>, rows: &mut RowsBuilder<'_>) -> u32 {
        self.key.truncate(self.attributes_end);
        self.key.extend_from_slice(&part.bytes());
        if let Some((labels, key)) = self.known.and_then(|known| self.families.get(known, self.key)) {
            return rows.known_series(labels, key, Some(family.metadata()));
        }
        let labels = self.labels.get_or_insert_with(|| {
            // Another series of these attributes is known, so they can be read and make labels.
            let attributes = point::attributes(self.message, self.attributes).ok();
            attributes.and_then(|attributes| family.labels(&attributes).ok()).unwrap_or_default()
        });
        let labels = family.series_labels(labels, part);
        let key = SeriesKey::of(&labels);
        if let Some(known) = self.known {
            self.families.insert(known, self.key, &labels, key);
        }
        rows.known_series(&labels, key, Some(family.metadata()))
    }
}
