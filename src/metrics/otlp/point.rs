//! Data points as their bytes have them. Field numbers: opentelemetry-proto `metrics/v1/metrics.proto`. A message that may stand
//! once is merged if it stands twice, as protobuf has it.

use super::points::{Family, exemplar_of, millis};
use crate::ingest::{Field, Message, WireError, read_attribute};
use crate::metrics::builder::RowsBuilder;
use crate::metrics::rows::Exemplar;
use crate::model::Attribute;
use crate::model::number::plain_float;

/// When a point was taken, nanoseconds since the epoch, and its flags.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) time: u64,
    pub(super) start: u64,
    pub(super) flags: u32,
}

#[derive(Debug, Default)]
pub(super) struct NumberPoint {
    pub(super) taken: Taken,
    pub(super) value: f64,
    pub(super) exemplars: Vec<Exemplar>,
}

#[derive(Debug, Default)]
pub(super) struct HistogramPoint {
    pub(super) taken: Taken,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) bounds: Vec<f64>,
    pub(super) counts: Vec<u64>,
    pub(super) exemplars: Vec<Exemplar>,
}

#[derive(Debug, Default)]
pub(super) struct ExponentialPoint {
    pub(super) taken: Taken,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
    pub(super) scale: i32,
    pub(super) zero_count: u64,
    pub(super) positive: Side,
    pub(super) negative: Side,
    pub(super) exemplars: Vec<Exemplar>,
}

/// Buckets of one sign.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) offset: i32,
    pub(super) counts: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct SummaryPoint {
    pub(super) taken: Taken,
    pub(super) count: u64,
    pub(super) sum: f64,
    /// Quantiles and their values.
    pub(super) quantiles: Vec<(f64, f64)>,
}

/// One of the series that a data point has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Itself,
    Sum,
    Count,
    /// What is not above this bound.
    Bucket(f64),
    Infinity,
    Quantile(f64),
}

impl Part {
    /// What follows the name of the family.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Part::Itself | Part::Quantile(_) => "",
            Part::Sum => "_sum",
            Part::Count => "_count",
            Part::Bucket(_) | Part::Infinity => "_bucket",
        }
    }

    /// The label that it has beside those of the point.
    pub(super) fn label(self) -> Option<(&'static str, String)> {
        match self {
            Part::Itself | Part::Sum | Part::Count => None,
            Part::Bucket(bound) => Some(("le", plain_float(bound))),
            Part::Infinity => Some(("le", "+Inf".to_owned())),
            Part::Quantile(quantile) => Some(("quantile", plain_float(quantile))),
        }
    }

    /// Nine bytes that no other part of a point has.
    pub(super) fn bytes(self) -> [u8; 9] {
        let (kind, number) = match self {
            Part::Itself => (0, 0.0),
            Part::Sum => (1, 0.0),
            Part::Count => (2, 0.0),
            Part::Infinity => (3, 0.0),
            Part::Bucket(bound) => (4, bound),
            Part::Quantile(quantile) => (5, quantile),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&number.to_bits().to_le_bytes());
        bytes
    }
}

/// The series of one data point.
pub(super) trait PointSeries {
    /// The position of one of them in the rows.
    fn position(&mut self, part: Part, family: &Family<'_>, rows: &mut RowsBuilder<'_>) -> u32;
}

/// Reads what is not an attribute; the bytes of each attribute go to `attribute`.
pub(super) trait ReadPoint: Default {
    /// The number of the field of attributes.
    const ATTRIBUTES: u32;

    fn read<'a>(&mut self, message: Message<'a>, attribute: impl FnMut(Message<'a>)) -> Result<(), WireError>;

    fn taken(&self) -> Taken;
}

impl ReadPoint for NumberPoint {
    const ATTRIBUTES: u32 = 7;

    #[inline]
    fn read<'a>(&mut self, mut message: Message<'a>, mut attribute: impl FnMut(Message<'a>)) -> Result<(), WireError> {
        *self = NumberPoint::default();
        while let Some(field) = message.field()? {
            match field.tag {
                2 => self.taken.start = field.fixed64()?,
                3 => self.taken.time = field.fixed64()?,
                4 => self.value = field.double()?,
                5 => self.exemplars.push(exemplar(field.message()?)?),
                6 => self.value = field.fixed64()?.cast_signed() as f64,
                Self::ATTRIBUTES => attribute(field.message()?),
                8 => self.taken.flags = field.uint32()?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    fn taken(&self) -> Taken {
        self.taken
    }
}

impl ReadPoint for HistogramPoint {
    const ATTRIBUTES: u32 = 9;

    fn read<'a>(&mut self, mut message: Message<'a>, mut attribute: impl FnMut(Message<'a>)) -> Result<(), WireError> {
        let (mut bounds, mut counts) = (std::mem::take(&mut self.bounds), std::mem::take(&mut self.counts));
        bounds.clear();
        counts.clear();
        *self = HistogramPoint { bounds, counts, ..HistogramPoint::default() };
        while let Some(field) = message.field()? {
            match field.tag {
                2 => self.taken.start = field.fixed64()?,
                3 => self.taken.time = field.fixed64()?,
                4 => self.count = field.fixed64()?,
                5 => self.sum = Some(field.double()?),
                6 => field.each_fixed64(|count| self.counts.push(count))?,
                7 => field.each_double(|bound| self.bounds.push(bound))?,
                8 => self.exemplars.push(exemplar(field.message()?)?),
                Self::ATTRIBUTES => attribute(field.message()?),
                10 => self.taken.flags = field.uint32()?,
                11 | 12 => drop(field.double()?),
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    fn taken(&self) -> Taken {
        self.taken
    }
}

impl ReadPoint for ExponentialPoint {
    const ATTRIBUTES: u32 = 1;

    fn read<'a>(&mut self, mut message: Message<'a>, mut attribute: impl FnMut(Message<'a>)) -> Result<(), WireError> {
        *self = ExponentialPoint::default();
        while let Some(field) = message.field()? {
            match field.tag {
                Self::ATTRIBUTES => attribute(field.message()?),
                2 => self.taken.start = field.fixed64()?,
                3 => self.taken.time = field.fixed64()?,
                4 => self.count = field.fixed64()?,
                5 => self.sum = Some(field.double()?),
                6 => self.scale = field.sint32()?,
                7 => self.zero_count = field.fixed64()?,
                8 => self.positive.merge(field.message()?)?,
                9 => self.negative.merge(field.message()?)?,
                10 => self.taken.flags = field.uint32()?,
                11 => self.exemplars.push(exemplar(field.message()?)?),
                12..=14 => drop(field.double()?),
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    fn taken(&self) -> Taken {
        self.taken
    }
}

impl Side {
    fn merge(&mut self, mut message: Message<'_>) -> Result<(), WireError> {
        while let Some(field) = message.field()? {
            match field.tag {
                1 => self.offset = field.sint32()?,
                2 => field.each_varint(|count| self.counts.push(count))?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }
}

impl ReadPoint for SummaryPoint {
    const ATTRIBUTES: u32 = 7;

    fn read<'a>(&mut self, mut message: Message<'a>, mut attribute: impl FnMut(Message<'a>)) -> Result<(), WireError> {
        *self = SummaryPoint::default();
        while let Some(field) = message.field()? {
            match field.tag {
                2 => self.taken.start = field.fixed64()?,
                3 => self.taken.time = field.fixed64()?,
                4 => self.count = field.fixed64()?,
                5 => self.sum = field.double()?,
                6 => self.quantiles.push(quantile(field.message()?)?),
                Self::ATTRIBUTES => attribute(field.message()?),
                8 => self.taken.flags = field.uint32()?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    fn taken(&self) -> Taken {
        self.taken
    }
}

fn quantile(mut message: Message<'_>) -> Result<(f64, f64), WireError> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = message.field()? {
        match field.tag {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => field.unknown()?,
        }
    }
    Ok((quantile, value))
}

fn exemplar(mut message: Message<'_>) -> Result<Exemplar, WireError> {
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
    Ok(exemplar_of(millis(time), value, (trace_id, span_id), &attributes))
}

/// The attributes of a point, in the order in which they came; `number` is their field's.
pub(super) fn attributes(mut message: Message<'_>, number: u32) -> Result<Vec<Attribute>, WireError> {
    let mut attributes = Vec::new();
    while let Some(field) = message.field()? {
        if field.tag == number {
            attributes.push(Attribute::from(read_attribute(field.message()?)?));
        }
    }
    Ok(attributes)
}

/// What a metric's data say of all points.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About {
    pub(super) temporality: i32,
    pub(super) is_monotonic: bool,
}

/// The fields of a metric that hold data: one of them counts, the last.
pub(super) const GAUGE: u32 = 5;
pub(super) const SUM: u32 = 7;
pub(super) const HISTOGRAM: u32 = 9;
pub(super) const EXPONENTIAL: u32 = 10;
pub(super) const SUMMARY: u32 = 11;

impl About {
    /// Reads what is not a data point.
    pub(super) fn merge(&mut self, data: Field<'_>) -> Result<(), WireError> {
        let mut message = data.message()?;
        while let Some(field) = message.field()? {
            match field.tag {
                1 => drop(field.message()?),
                2 if matches!(data.tag, SUM | HISTOGRAM | EXPONENTIAL) => self.temporality = field.int32()?,
                3 if data.tag == SUM => self.is_monotonic = field.bool()?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }
}

/// Reads data that are not used, since others follow them.
pub(super) fn check(data: Field<'_>) -> Result<(), WireError> {
    fn point<P: ReadPoint>(message: Message<'_>) -> Result<(), WireError> {
        P::default().read(message, drop)?;
        attributes(message, P::ATTRIBUTES).map(drop)
    }
    About::default().merge(data)?;
    let mut message = data.message()?;
    while let Some(field) = message.field()? {
        match (field.tag, data.tag) {
            (1, GAUGE | SUM) => point::<NumberPoint>(field.message()?)?,
            (1, HISTOGRAM) => point::<HistogramPoint>(field.message()?)?,
            (1, EXPONENTIAL) => point::<ExponentialPoint>(field.message()?)?,
            (1, SUMMARY) => point::<SummaryPoint>(field.message()?)?,
            _ => {}
        }
    }
    Ok(())
}
