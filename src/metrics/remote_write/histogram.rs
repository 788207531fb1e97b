//! The `Histogram` message, which both versions share, and what makes it valid (contracts/prometheus.md 2.1, 2.4).

use crate::ingest::{self, Field, WireError, zigzag};
use crate::metrics::histogram::{Buckets, CUSTOM_SCHEMA, Histogram, ResetHint, SCHEMA_MAX, SCHEMA_MIN};
use crate::metrics::rows::HistogramSample;
use std::sync::Arc;

/// Schemas above 8 up to this one are legal on the wire, and are merged down to 8.
const WIRE_SCHEMA_MAX: i32 = 52;

/// One side's buckets as they stand in the message.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Side {
    /// (gap before the span, its length)
    pub spans: Vec<(i32, u32)>,
    pub deltas: Vec<i64>,
    pub counts: Vec<f64>,
}

/// A histogram as it came.
#[derive(Debug, Default)]
pub(in crate::metrics) struct Message {
    pub count: Count,
    pub zero_count: Count,
    pub sum: f64,
    pub schema: i32,
    pub zero_threshold: f64,
    pub positive: Side,
    pub negative: Side,
    pub hint: ResetHint,
    pub ts: i64,
    pub start: i64,
    pub custom: Vec<f64>,
}

/// An integer makes the histogram one of integers.
#[derive(Debug, Clone, Copy)]
pub(in crate::metrics) enum Count {
    Integer(u64),
    Float(f64),
}

impl Default for Count {
    fn default() -> Count {
        Count::Integer(0)
    }
}

impl Count {
    pub fn to_float(self) -> f64 {
        match self {
            Count::Integer(count) => count as f64,
            Count::Float(count) => count,
        }
    }
}

pub(super) fn read(mut fields: ingest::Message<'_>) -> Result<Message, WireError> {
    let mut message = Message::default();
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => message.count = Count::Integer(field.varint()?),
            2 => message.count = Count::Float(field.double()?),
            3 => message.sum = field.double()?,
            4 => message.schema = field.sint32()?,
            5 => message.zero_threshold = field.double()?,
            6 => message.zero_count = Count::Integer(field.varint()?),
            7 => message.zero_count = Count::Float(field.double()?),
            8 => message.negative.spans.push(span(field)?),
            9 => field.each_varint(|n| message.negative.deltas.push(zigzag(n)))?,
            10 => field.each_double(|n| message.negative.counts.push(n))?,
            11 => message.positive.spans.push(span(field)?),
            12 => field.each_varint(|n| message.positive.deltas.push(zigzag(n)))?,
            13 => field.each_double(|n| message.positive.counts.push(n))?,
            14 => {
                message.hint = match field.int32()? {
                    1 => ResetHint::Reset,
                    2 => ResetHint::NotReset,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            15 => message.ts = field.int64()?,
            16 => field.each_double(|n| message.custom.push(n))?,
            17 => message.start = field.int64()?,
            _ => field.unknown()?,
        }
    }
    Ok(message)
}

pub(in crate::metrics) fn span(field: Field<'_>) -> Result<(i32, u32), WireError> {
    let (mut offset, mut length) = (0, 0);
    let mut fields = field.message()?;
    while let Some(field) = fields.field()? {
        match field.tag {
            1 => offset = field.sint32()?,
            2 => length = field.uint32()?,
            _ => field.unknown()?,
        }
    }
    Ok((offset, length))
}

/// What a message holds: a histogram, or why it is none, with its time in milliseconds.
pub(super) fn decode(message: ingest::Message<'_>) -> Result<Result<HistogramSample, String>, WireError> {
    let message = read(message)?;
    let (ts, start) = (message.ts, message.start);
    Ok(histogram(message).map(|histogram| HistogramSample { ts, start, histogram: Arc::new(histogram) }))
}

/// The histogram, or why it is none.
pub(in crate::metrics) fn histogram(message: Message) -> Result<Histogram, String> {
    let schema = message.schema;
    if schema != CUSTOM_SCHEMA && !(SCHEMA_MIN..=WIRE_SCHEMA_MAX).contains(&schema) {
        return Err(format!(
            "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets or -53 for custom buckets, got schema {schema}"
        ));
    }
    if message.zero_threshold.is_nan() || message.zero_threshold < 0.0 {
        return Err(format!("histogram has the zero threshold {}", message.zero_threshold));
    }
    if message.count.to_float() < 0.0 || message.zero_count.to_float() < 0.0 {
        return Err("histogram has an observation count that is negative".to_owned());
    }
    let is_integer = matches!(message.count, Count::Integer(_));
    let custom = schema == CUSTOM_SCHEMA;
    if custom {
        check_custom(&message)?;
    }
    let (positive, in_positive) = buckets(&message.positive, is_integer, custom.then_some(message.custom.len()))?;
    let (negative, in_negative) = buckets(&message.negative, is_integer, None)?;
    if let (Count::Integer(count), Count::Integer(zero)) = (message.count, message.zero_count) {
        let counted = in_positive + in_negative + u128::from(zero);
        // Observations of NaN are counted but lie in no bucket.
        let fits = if message.sum.is_nan() { counted <= count.into() } else { counted == count.into() };
        if !fits {
            return Err(format!(
                "{counted} observations found in buckets, but the Count field is {count}: histogram's observation count should equal the number of observations found in the buckets"
            ));
        }
    }
    let mut histogram = Histogram {
        hint: message.hint,
        schema,
        zero_threshold: message.zero_threshold,
        zero_count: message.zero_count.to_float(),
        count: message.count.to_float(),
        sum: message.sum,
        positive,
        negative,
        custom: message.custom.into(),
    };
    if !custom {
        histogram.custom = Arc::from([]);
        histogram.reduce(SCHEMA_MAX.min(schema));
    }
    Ok(histogram)
}

fn check_custom(message: &Message) -> Result<(), String> {
    let bounds = &message.custom;
    if bounds.iter().any(|b| b.is_nan()) {
        return Err("histogram custom bounds must not be NaN".to_owned());
    }
    if let Some(pair) = bounds.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(format!(
            "histogram custom bounds must be in strictly increasing order: previous bound is {} and current is {}",
            pair[0], pair[1]
        ));
    }
    if bounds.last() == Some(&f64::INFINITY) {
        return Err("last custom bound must not be +Inf: histogram custom bounds must be finite".to_owned());
    }
    if message.zero_count.to_float() != 0.0 || message.zero_threshold != 0.0 {
        return Err("custom buckets: must have zero count and threshold of 0".to_owned());
    }
    let negative = &message.negative;
    if !negative.spans.is_empty() || !negative.deltas.is_empty() || !negative.counts.is_empty() {
        return Err("custom buckets: must not have negative buckets".to_owned());
    }
    if message.positive.spans.iter().any(|(offset, _)| *offset < 0) {
        return Err("histogram has a span whose offset is negative".to_owned());
    }
    Ok(())
}

/// The populated buckets of one side, and how many observations they hold if they are integers. `bounds` is the number of
/// custom bounds, which the buckets must not exceed.
fn buckets(side: &Side, is_integer: bool, bounds: Option<usize>) -> Result<(Buckets, u128), String> {
    let given = if is_integer { side.deltas.len() } else { side.counts.len() };
    let (unused, kind) = if is_integer { (side.counts.len(), "integer") } else { (side.deltas.len(), "float") };
    if unused > 0 {
        return Err(format!("histogram has an {kind} count and buckets of the other kind"));
    }
    let mut needed = 0u64;
    for (at, (offset, length)) in side.spans.iter().enumerate() {
        if at > 0 && *offset < 0 {
            return Err(format!("span number {} with offset {offset}: histogram has a span whose offset is negative", at + 1));
        }
        needed = needed.saturating_add((*length).into());
    }
    if needed != given as u64 {
        return Err(format!(
            "spans need {needed} buckets, have {given} buckets: histogram spans specify different number of buckets than provided"
        ));
    }
    let mut buckets = Buckets::new();
    let (mut index, mut position, mut count, mut observations) = (0i64, 0usize, 0i64, 0u128);
    for (offset, length) in &side.spans {
        index = index.saturating_add((*offset).into());
        for _ in 0..*length {
            let value = if is_integer {
                count = count.checked_add(side.deltas[position]).ok_or("a bucket's count has more than 63 bits")?;
                observations += u128::from(count.unsigned_abs());
                count as f64
            } else {
                side.counts[position]
            };
            if value < 0.0 {
                return Err(format!(
                    "bucket number {} has observation count of {value}: histogram has a bucket whose observation count is negative",
                    position + 1
                ));
            }
            let at = i32::try_from(index).map_err(|_| "a bucket has no index of 32 bits".to_owned())?;
            if bounds.is_some_and(|bounds| usize::try_from(at).is_ok_and(|at| at > bounds)) {
                return Err(format!("only {} custom bounds defined which is insufficient to cover the spans", bounds.unwrap_or(0)));
            }
            if value != 0.0 {
                buckets.push((at, value));
            }
            position += 1;
            index = index.saturating_add(1);
        }
    }
    Ok((buckets, observations))
}
