//! `io.prometheus.write.v2.Request` (contracts/prometheus.md 2.1, 2.3).

use super::label_set::{LabelFault, label_set, shown};
use super::v1::sample;
use super::{FloatSample, histogram};
use crate::ingest::{Field, Limits, Message, Plain, WireError};
use crate::metrics::METRIC_NAME;
use crate::metrics::builder::RowsBuilder;
use crate::metrics::rows::{Exemplar, Metadata, MetricRows, MetricType, Value};
use crate::model::{Labels, Reason};
use crate::storage::Refusals;
use std::collections::HashMap;
use std::sync::Arc;

/// What the items of a request are, in runs: for the counts of what was written.
#[derive(Debug, Default)]
pub struct Tally(Vec<(u32, Kind)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Histogram,
    Exemplar,
    /// A series that has nothing to store.
    Nothing,
}

/// The counts that answers carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub samples: u64,
    pub histograms: u64,
    pub exemplars: u64,
}

impl Tally {
    fn add(&mut self, end: u32, kind: Kind) {
        match self.0.last_mut() {
            Some(last) if last.1 == kind => last.0 = end,
            _ => self.0.push((end, kind)),
        }
    }

    /// How many of each kind were not refused.
    pub fn written(&self, refusals: &Refusals) -> Written {
        let mut written = Written::default();
        let indexes = refusals.indexes();
        let (mut from, mut refused) = (0, &indexes[..]);
        for (end, kind) in &self.0 {
            let (inside, rest) = refused.split_at(refused.partition_point(|index| index < end));
            refused = rest;
            let count = u64::from(end - from) - inside.len() as u64;
            match kind {
                Kind::Float => written.samples += count,
                Kind::Histogram => written.histograms += count,
                Kind::Exemplar => written.exemplars += count,
                Kind::Nothing => {}
            }
            from = *end;
        }
        written
    }
}

/// Why a body is no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undecodable {
    #[error("{0}")]
    Bytes(#[from] WireError),
    #[error("the first symbol is not the empty string")]
    FirstSymbol,
}

pub(super) fn translate(body: Plain<'_>) -> Result<(MetricRows, Refusals, Tally), Undecodable> {
    // Series may stand before the symbols that they refer to.
    let mut symbols: Vec<Option<&str>> = Vec::new();
    let mut request = Message::new(body);
    let mut has_series = false;
    while let Some(field) = request.field()? {
        match field.tag {
            4 => {
                body.check_for(0).map_err(WireError::from)?;
                symbols.push(std::str::from_utf8(field.bytes()?).ok());
            }
            5 => has_series = true,
            _ => field.unknown()?,
        }
    }
    if has_series && symbols.first() != Some(&Some("")) {
        return Err(Undecodable::FirstSymbol);
    }
    let mut translation = Translation::new(symbols, RowsBuilder::new(body));
    let mut series = Series::default();
    let mut request = Message::new(body);
    while let Some(field) = request.field()? {
        if field.tag == 5 {
            series.read(field.message()?)?;
            translation.series(&series)?;
        }
    }
    let (rows, refusals) = translation.rows.finish();
    Ok((rows, refusals, translation.tally))
}

/// One `TimeSeries`, in buffers that the next one uses again.
#[derive(Default)]
struct Series<'a> {
    references: Vec<u32>,
    samples: Vec<FloatSample>,
    histograms: Vec<Message<'a>>,
    exemplars: Vec<Message<'a>>,
    metadata: MetadataReferences,
    /// Start of all samples that have none of their own: senders of a draft of 2.0.
    created: i64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct MetadataReferences {
    kind: i32,
    help: u32,
    unit: u32,
}

impl<'a> Series<'a> {
    fn read(&mut self, mut message: Message<'a>) -> Result<(), WireError> {
        self.references.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
        self.metadata = MetadataReferences::default();
        self.created = 0;
        while let Some(field) = message.field()? {
            match field.tag {
                // `uint32`: what does not fit is cut off.
                1 => field.each_varint(|reference| self.references.push(reference as u32))?,
                2 => self.samples.push(sample(field.message()?)?),
                3 => self.histograms.push(field.message()?),
                4 => self.exemplars.push(field.message()?),
                5 => self.metadata.merge(field)?,
                6 => self.created = field.int64()?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }

    fn start(&self, own: i64) -> i64 {
        if own != 0 { own } else { self.created }
    }
}

impl MetadataReferences {
    /// Of a message that comes in parts, the last of each field counts.
    fn merge(&mut self, field: Field<'_>) -> Result<(), WireError> {
        let mut message = field.message()?;
        while let Some(field) = message.field()? {
            match field.tag {
                1 => self.kind = field.int32()?,
                3 => self.help = field.uint32()?,
                4 => self.unit = field.uint32()?,
                _ => field.unknown()?,
            }
        }
        Ok(())
    }
}

struct Translation<'a> {
    /// `None` where one is not UTF-8.
    symbols: Vec<Option<&'a str>>,
    rows: RowsBuilder<'a>,
    tally: Tally,
    /// Described families: a family has many series, and one text of help.
    families: HashMap<(String, MetadataReferences), Arc<Metadata>>,
    /// Bytes of labels and texts that symbols may still be written out to: a few bytes refer to a symbol of megabytes.
    room: usize,
}

/// What a label takes beside its texts.
const PAIR_BYTES: usize = 8;

/// Why a whole series is refused.
struct SeriesFault {
    reason: Reason,
    message: String,
}

fn too_large() -> SeriesFault {
    SeriesFault { reason: Reason::TooLarge, message: "the labels of this request take more memory than a request may".to_owned() }
}

impl<'a> Translation<'a> {
    fn new(symbols: Vec<Option<&'a str>>, rows: RowsBuilder<'a>) -> Translation<'a> {
        let room = Limits::default().decoded_max_bytes;
        Translation { symbols, rows, tally: Tally::default(), families: HashMap::new(), room }
    }

    fn series(&mut self, message: &Series<'_>) -> Result<(), WireError> {
        let parts = [message.samples.len(), message.histograms.len(), message.exemplars.len()];
        match self.named(message) {
            Ok((labels, metadata)) => self.items(message, parts, &labels, metadata.as_ref()),
            Err(fault) => {
                // What has no items takes one, so that its refusal has a number.
                let count = parts.iter().sum::<usize>().max(1);
                let items = self.rows.next_items(count);
                self.tally.add(items.end, Kind::Nothing);
                self.rows.refuse_all(items, fault.reason, || fault.message);
                // A body is taken or refused whatever its series are called.
                message.histograms.iter().try_for_each(|bytes| histogram::decode(*bytes).map(drop))?;
                message.exemplars.iter().try_for_each(|bytes| self.exemplar(*bytes).map(drop))
            }
        }
    }

    /// The labels and metadata of a series that has something to store.
    fn named(&mut self, message: &Series<'_>) -> Result<(Labels, Option<Arc<Metadata>>), SeriesFault> {
        let invalid = |message| SeriesFault { reason: Reason::InvalidLabel, message };
        // A reference is a byte, and a pair is there twice below.
        if !self.rows.has_room_for(message.references.len() * size_of::<(&str, &str)>()) {
            return Err(too_large());
        }
        let mut pairs = self
            .pairs(&message.references)
            .map_err(|cause| invalid(format!("parsing labels for series {}: {cause}", listed(&message.references))))?;
        if pairs.iter().any(Option::is_none) {
            let readable: Vec<(&str, &str)> = pairs.into_iter().flatten().collect();
            return Err(invalid(format!("invalid metric name or labels, got {}", shown(&readable))));
        }
        let mut pairs: Vec<(&str, &str)> = pairs.drain(..).flatten().collect();
        self.take_room(&pairs, message.metadata)?;
        let labels = match label_set(&mut pairs) {
            Ok(labels) => labels,
            Err(LabelFault::Invalid) => return Err(invalid(format!("invalid metric name or labels, got {}", shown(&pairs)))),
            Err(LabelFault::Duplicate(name)) => {
                return Err(invalid(format!("invalid labels for series, labels {}, duplicated label {name}", shown(&pairs))));
            }
        };
        if message.samples.is_empty() && message.histograms.is_empty() {
            return Err(invalid(format!("TimeSeries must contain at least one sample or histogram for series {labels}")));
        }
        let metadata =
            self.metadata(&labels, message.metadata).map_err(|cause| invalid(format!("parsing metadata for series {labels}: {cause}")))?;
        Ok((labels, metadata))
    }

    /// Before the texts of a series are written out.
    fn take_room(&mut self, pairs: &[(&str, &str)], metadata: MetadataReferences) -> Result<(), SeriesFault> {
        let text = |reference| self.symbol(reference, "").ok().flatten().map_or(0, str::len);
        let labels: usize = pairs.iter().map(|(name, value)| name.len() + value.len() + PAIR_BYTES).sum();
        let needed = labels + text(metadata.help) + text(metadata.unit);
        let left = self.room.checked_sub(needed).filter(|_| self.rows.has_room_for(needed));
        self.room = left.ok_or_else(too_large)?;
        Ok(())
    }

    fn symbol(&self, reference: u32, what: &str) -> Result<Option<&'a str>, String> {
        let found = usize::try_from(reference).ok().and_then(|at| self.symbols.get(at));
        let size = self.symbols.len();
        found.copied().ok_or_else(|| format!("{what} = {reference} outside of symbols table (size {size})"))
    }

    /// Names and values; `None` where one of them is not UTF-8.
    fn pairs(&self, references: &[u32]) -> Result<Vec<Option<(&'a str, &'a str)>>, String> {
        if !references.len().is_multiple_of(2) {
            return Err(format!("invalid labelRefs length {}", references.len()));
        }
        let pair = |pair: &[u32]| Ok(self.symbol(pair[0], "labelRefs (name)")?.zip(self.symbol(pair[1], "labelRefs (value)")?));
        references.chunks_exact(2).map(pair).collect()
    }

    /// `None` if the message says nothing.
    fn metadata(&mut self, labels: &Labels, references: MetadataReferences) -> Result<Option<Arc<Metadata>>, String> {
        if references == MetadataReferences::default() {
            return Ok(None);
        }
        let text = |reference, what| self.symbol(reference, what)?.ok_or_else(|| format!("{what} is not UTF-8"));
        let (help, unit) = (text(references.help, "helpRef")?, text(references.unit, "unitRef")?);
        let kind = MetricType::from_number(references.kind);
        let family = kind.family_of(labels.value(METRIC_NAME)).to_owned();
        let described = self.families.entry((family, references)).or_insert_with_key(|(family, _)| {
            Arc::new(Metadata { family: family.clone(), kind, unit: unit.to_owned(), help: help.to_owned() })
        });
        Ok(Some(described.clone()))
    }

    fn items(
        &mut self,
        message: &Series<'_>,
        parts: [usize; 3],
        labels: &Labels,
        metadata: Option<&Arc<Metadata>>,
    ) -> Result<(), WireError> {
        let series = self.rows.series(labels.clone(), metadata);
        let floats = self.rows.next_items(parts[0]);
        self.tally.add(floats.end, Kind::Float);
        for (sample, item) in message.samples.iter().zip(floats) {
            self.rows.sample(series, item, (sample.ts, message.start(sample.start)), Value::Float(sample.value));
        }
        let histograms = self.rows.next_items(parts[1]);
        self.tally.add(histograms.end, Kind::Histogram);
        for (bytes, item) in message.histograms.iter().zip(histograms) {
            match histogram::decode(*bytes)? {
                Ok(sample) => {
                    let times = (sample.ts, message.start(sample.start));
                    self.rows.sample(series, item, times, Value::Histogram(sample.histogram));
                }
                Err(cause) => self.rows.refuse(item, Reason::InvalidHistogram, || format!("{cause} for series {labels}")),
            }
        }
        let exemplars = self.rows.next_items(parts[2]);
        self.tally.add(exemplars.end, Kind::Exemplar);
        for (bytes, item) in message.exemplars.iter().zip(exemplars) {
            match self.exemplar(*bytes)? {
                Some(exemplar) => self.rows.told_exemplar(series, item, exemplar),
                // Such a fault of an exemplar is not the request's.
                None => self.rows.pass_over(item..item + 1, Reason::InvalidLabel),
            }
        }
        Ok(())
    }

    /// `None` for one whose labels cannot be taken.
    fn exemplar(&self, mut message: Message<'_>) -> Result<Option<Exemplar>, WireError> {
        let mut references = Vec::new();
        let mut exemplar = Exemplar { ts: 0, value: 0.0, labels: Labels::empty() };
        while let Some(field) = message.field()? {
            match field.tag {
                1 => field.each_varint(|reference| references.push(reference as u32))?,
                2 => exemplar.value = field.double()?,
                3 => exemplar.ts = field.int64()?,
                _ => field.unknown()?,
            }
        }
        // Each pair has a name.
        if references.len() > 2 * Exemplar::BYTES_MAX {
            return Ok(None);
        }
        let pairs: Option<Vec<(&str, &str)>> = self.pairs(&references).ok().and_then(|pairs| pairs.into_iter().collect());
        let short = pairs.filter(|pairs| pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= Exemplar::BYTES_MAX);
        let labels = short.map(Labels::from_pairs).filter(Exemplar::takes);
        Ok(labels.map(|labels| Exemplar { labels, ..exemplar }))
    }
}

/// References as they are shown in messages, the first 32 of them.
fn listed(references: &[u32]) -> String {
    let words: Vec<String> = references.iter().take(32).map(u32::to_string).collect();
    format!("[{}{}]", words.join(" "), if references.len() > 32 { " …" } else { "" })
}
