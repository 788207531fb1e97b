//! `prometheus.WriteRequest` (contracts/prometheus.md 2.1, 2.2).

use super::label_set::label_set;
use super::{FloatSample, histogram};
use crate::ingest::{Message, Plain, WireError};
use crate::metrics::builder::RowsBuilder;
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, MetricType, Value};
use crate::model::{Labels, LabelsBuilder, Reason};
use crate::storage::Refusals;

pub(super) fn translate(body: Plain<'_>) -> Result<(MetricRows, Refusals), WireError> {
    let mut rows = RowsBuilder::new(body);
    rows.all_or_nothing();
    let mut series = Series::default();
    let mut request = Message::new(body);
    while let Some(field) = request.field()? {
        match field.tag {
            1 => {
                series.read(field.message()?)?;
                series.translate(&mut rows)?;
            }
            3 => family(field.message()?, &mut rows)?,
            _ => field.unknown()?,
        }
    }
    Ok(rows.finish())
}

/// One `TimeSeries`, in buffers that the next one uses again.
#[derive(Default)]
struct Series<'a> {
    labels: Vec<(&'a str, &'a str)>,
    is_utf8: bool,
    samples: Vec<FloatSample>,
    histograms: Vec<Message<'a>>,
    exemplars: Vec<Message<'a>>,
}

impl<'a> Series<'a> {
    fn read(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        self.labels.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.is_utf8 = true;
        while let Some(field) = message.field()? {
            match field.tag {
                1 => match label(field.message()?)? {
                    Some(pair) => self.labels.push(pair),
                    None => self.is_utf8 = false,
                },
                2 => self.samples.push(sample(field.message()?)?),
                3 => self.exemplars.push(field.message()?),
                4 => self.histograms.push(field.message()?),
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    fn translate(&mut self, rows: &mut RowsBuilder<'_>) -> Result<(), WireError> {
        let items = rows.next_items(self.samples.len() + self.histograms.len());
        let labels = match label_set(&mut self.labels) {
            Ok(labels) if self.is_utf8 => labels,
            _ => {
                rows.pass_over(items, Reason::InvalidLabel);
                return self.check();
            }
        };
        let series = rows.series(labels.clone(), None);
        let mut items = items;
        for (sample, item) in self.samples.iter().zip(&mut items) {
            rows.sample(series, item, (sample.ts, sample.start), Value::Float(sample.value));
        }
        for (message, item) in self.histograms.iter().zip(&mut items) {
            match histogram::decode(*message)? {
                Ok(sample) => rows.sample(series, item, (sample.ts, sample.start), Value::Histogram(sample.histogram)),
                Err(cause) => rows.refuse(item, Reason::InvalidHistogram, || format!("{cause} for series {labels}")),
            }
        }
        for message in &self.exemplars {
            if let Some(exemplar) = exemplar(*message)? {
                rows.exemplar(series, None, exemplar);
            }
        }
        Ok(())
    }

    /// Reads what is not stored, since a body is taken or refused whatever its series are called.
    fn check(&self) -> Result<(), WireError> {
        self.histograms.iter().try_for_each(|message| histogram::decode(*message).map(drop))?;
        self.exemplars.iter().try_for_each(|message| exemplar(*message).map(drop))
    }
}

/// `None` for what is not UTF-8.
fn label(mut message: Message<'_>) -> Result<Option<(&str, &str)>, WireError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some(field) = message.field()? {
        match field.tag {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => field.unknown()?,
        }
    }
    Ok(std::str::from_utf8(name).ok().zip(std::str::from_utf8(value).ok()))
}

/// Both versions' `Sample`; version 1.0 has no start time.
pub(super) fn sample(mut message: Message<'_>) -> Result<FloatSample, WireError> {
    let mut sample = FloatSample::default();
    while let Some(field) = message.field()? {
        match field.tag {
            1 => sample.value = field.double()?,
            2 => sample.ts = field.int64()?,
            3 => sample.start = field.int64()?,
            _ => field.unknown()?,
        }
    }
    Ok(sample)
}

/// `None` for one whose labels cannot be taken: exemplars never fail a request.
fn exemplar(mut message: Message<'_>) -> Result<Option<Exemplar>, WireError> {
    let mut labels = Some(LabelsBuilder::default());
    let mut exemplar = Exemplar { ts: 0, value: 0.0, labels: Labels::empty() };
    while let Some(field) = message.field()? {
        match field.tag {
            1 => match (label(field.message()?)?, &mut labels) {
                (Some((name, value)), Some(labels)) => {
                    labels.set(name, value);
                }
                _ => labels = None,
            },
            2 => exemplar.value = field.double()?,
            3 => exemplar.ts = field.int64()?,
            _ => field.unknown()?,
        }
    }
    let labels = labels.map(|l| l.build()).filter(Exemplar::takes);
    Ok(labels.map(|labels| Exemplar { labels, ..exemplar }))
}

fn family(mut message: Message<'_>, rows: &mut RowsBuilder<'_>) -> Result<(), WireError> {
    let (mut kind, mut texts): (i32, [&[u8]; 3]) = (0, [&[]; 3]);
    while let Some(field) = message.field()? {
        match field.tag {
            1 => kind = field.int32()?,
            2 => texts[0] = field.bytes()?,
            4 => texts[1] = field.bytes()?,
            5 => texts[2] = field.bytes()?,
            _ => field.unknown()?,
        }
    }
    // One that is not UTF-8, or of no family, describes nothing.
    if let [Ok(family), Ok(help), Ok(unit)] = texts.map(std::str::from_utf8)
        && !family.is_empty()
    {
        let kind = MetricType::from_number(kind);
        rows.family(Metadata { family: family.to_owned(), kind, unit: unit.to_owned(), help: help.to_owned() });
    }
    Ok(())
}
