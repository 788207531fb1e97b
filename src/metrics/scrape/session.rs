//! What is known of a target between its scrapes: which text is which series, which series there were, what the families
//! are. Turns an exposition into bodies of remote write, and ends the series that are missing.

use super::config::Job;
use super::exposition::{self, Exposed, Form, Histograms, Item, Malformed, Pairs, Point};
use super::output::Output;
use super::relabel::relabel;
use super::target::Target;
use crate::metrics::METRIC_NAME;
use crate::metrics::rows::{Exemplar, Metadata, MetricType};
use crate::model::{Labels, LabelsBuilder};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A family is remembered for so many scrapes after it was last described.
const FAMILY_KEPT: u64 = 10;

/// Texts that failed scrapes may add before all is forgotten, beside as many as the last good one had.
const FAILED_TEXTS_MAX: usize = 1_000;

/// What a scrape came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub scraped: u64,
    /// Left by relabelling.
    pub kept: u64,
    /// Not in the scrape before.
    pub added: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    pub kind: MetricType,
    pub help: String,
    pub unit: String,
    seen: u64,
}

/// What was described, by name. Others look at it, too.
pub type Families = Arc<Mutex<BTreeMap<String, Described>>>;

/// The text of a series.
struct Known {
    /// `None` if relabelling drops it.
    slot: Option<u32>,
    seen: u64,
}

/// A series as it is stored.
struct Slot {
    labels: Labels,
    /// The round in which it was last there.
    seen: u64,
    /// It ends when it is missing.
    live: bool,
    /// The round in which its family was last told.
    told: u64,
    /// The latest exemplar that had no time of its own.
    exemplar: Option<Box<(Labels, u64)>>,
}

#[derive(Default)]
pub struct Session {
    texts: HashMap<Box<str>, Known>,
    slots: HashMap<u32, Slot>,
    by_labels: HashMap<Labels, u32>,
    next_slot: u32,
    families: Families,
    round: u64,
    /// The round in which a family was last described anew.
    described: u64,
    /// Texts of the last scrape that succeeded.
    good_texts: usize,
}

/// Why a scrape fails although there was an answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Rejected(String);

impl From<Malformed> for Rejected {
    fn from(error: Malformed) -> Rejected {
        Rejected(error.0)
    }
}

impl Session {
    /// Families are described in `families`.
    pub fn new(families: Families) -> Session {
        Session { families, ..Session::default() }
    }

    /// The samples of one exposition at `now`, milliseconds, into `out`. When it fails, what was added to `out` is not to
    /// be stored.
    pub fn take(&mut self, target: &Target, form: Form, body: &[u8], now: i64, out: &mut Output) -> (Counts, Result<(), Rejected>) {
        self.round += 1;
        let mut counts = Counts::default();
        let wanted = &target.job.exposition;
        let histograms = Histograms { native: wanted.native_histograms, always_classic: wanted.always_classic };
        let mut take = |item: Item<'_>| self.item(target, item, now, &mut counts, out);
        let mut read = exposition::read(form, body, histograms, &mut take);
        let limit = target.job.limits.samples;
        if read.is_ok() && limit > 0 && counts.kept > limit {
            read = Err(Rejected("sample limit exceeded".to_owned()));
        }
        if read.is_ok() {
            self.end_missing(now, out);
            let round = self.round;
            self.texts.retain(|_, known| known.seen == round);
            self.families.lock().retain(|_, family| family.seen + FAMILY_KEPT >= round);
            self.good_texts = self.texts.len();
        }
        (counts, read)
    }

    /// Ends every series: the target does not answer, or is gone.
    pub fn end_all(&mut self, now: i64, out: &mut Output) {
        for slot in self.slots.values_mut().filter(|slot| slot.live) {
            slot.live = false;
            out.end(&slot.labels, now);
        }
        if self.texts.len() > 2 * self.good_texts + FAILED_TEXTS_MAX {
            self.texts.clear();
            self.slots.clear();
            self.by_labels.clear();
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.texts.len()
    }

    fn end_missing(&mut self, now: i64, out: &mut Output) {
        let round = self.round;
        let mut missing: Vec<u32> = self.slots.iter().filter(|(_, slot)| slot.seen != round).map(|(at, _)| *at).collect();
        missing.sort_unstable();
        for slot in missing.into_iter().filter_map(|at| self.slots.remove(&at)) {
            self.by_labels.remove(&slot.labels);
            if slot.live {
                out.end(&slot.labels, now);
            }
        }
    }

    fn item(&mut self, target: &Target, item: Item<'_>, now: i64, counts: &mut Counts, out: &mut Output) -> Result<(), Rejected> {
        match item {
            Item::Type(family, kind) => self.describe(&family, |known| std::mem::replace(&mut known.kind, kind) != kind),
            Item::Help(family, help) => self.describe(&family, |known| renew(&mut known.help, &help)),
            Item::Unit(family, unit) => self.describe(&family, |known| renew(&mut known.unit, &unit)),
            Item::Point(point) => return self.point(target, point, now, counts, out),
        }
        Ok(())
    }

    /// `set` says whether it changed something.
    fn describe(&mut self, name: &str, set: impl FnOnce(&mut Described) -> bool) {
        let mut families = self.families.lock();
        let is_new = !families.contains_key(name);
        let family = families.entry(name.to_owned()).or_default();
        family.seen = self.round;
        if set(family) || is_new {
            self.described = self.round;
        }
    }

    fn point(&mut self, target: &Target, point: Point<'_>, now: i64, counts: &mut Counts, out: &mut Output) -> Result<(), Rejected> {
        counts.scraped += 1;
        let job = &target.job;
        let Some(at) = self.slot(target, &point, counts)? else { return Ok(()) };
        counts.kept += 1;
        let Some(slot) = self.slots.get_mut(&at) else { return Ok(()) };
        let own_time = point.ts.filter(|_| job.honor_timestamps);
        slot.seen = self.round;
        slot.live = own_time.is_none() || job.track_timestamps_staleness;
        let ts = own_time.unwrap_or(now);
        let is_news = slot.told < self.described;
        let metadata = is_news.then(|| describe(&self.families.lock(), slot.labels.value(METRIC_NAME))).flatten();
        if is_news {
            slot.told = self.round;
        }
        let exemplars: Vec<Exemplar> = point.exemplars.into_iter().filter_map(|exposed| slot.exemplar(exposed, ts)).collect();
        // A start time that is not before the sample says nothing.
        let start = if point.start < ts { point.start } else { 0 };
        out.sample(&slot.labels, (ts, start), &point.value, &exemplars, metadata.as_ref());
        Ok(())
    }

    /// The series of a point; `None` if relabelling drops it.
    fn slot(&mut self, target: &Target, point: &Point<'_>, counts: &mut Counts) -> Result<Option<u32>, Rejected> {
        if let Some(known) = self.texts.get_mut(point.series.key()) {
            known.seen = self.round;
            return Ok(known.slot);
        }
        let labels = stored_labels(target, point.series.pairs()?)?;
        let slot = labels.map(|labels| {
            counts.added += 1;
            *self.by_labels.entry(labels.clone()).or_insert_with(|| {
                let at = self.next_slot;
                self.next_slot += 1;
                self.slots.insert(at, Slot { labels, seen: 0, live: false, told: 0, exemplar: None });
                at
            })
        });
        self.texts.insert(point.series.key().into(), Known { slot, seen: self.round });
        Ok(slot)
    }
}

fn renew(known: &mut String, said: &str) -> bool {
    let differs = known != said;
    if differs {
        said.clone_into(known);
    }
    differs
}

impl Slot {
    /// With the sample's time where it has none; `None` if it was taken before, or cannot be.
    fn exemplar(&mut self, exposed: Exposed, ts: i64) -> Option<Exemplar> {
        if !Exemplar::takes(&exposed.labels) {
            return None;
        }
        if exposed.ts.is_none() {
            let content = (exposed.labels.clone(), exposed.value.to_bits());
            if self.exemplar.as_deref() == Some(&content) {
                return None;
            }
            self.exemplar = Some(Box::new(content));
        }
        Some(Exemplar { ts: exposed.ts.unwrap_or(ts), value: exposed.value, labels: exposed.labels })
    }
}

/// What was said of the family of a series with this name.
fn describe(families: &BTreeMap<String, Described>, name: &str) -> Option<Metadata> {
    const SUFFIXES: [&str; 8] = ["_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum", "_gcount"];
    let bare = || SUFFIXES.iter().find_map(|suffix| families.get(name.strip_suffix(suffix)?));
    let family = families.get(name).or_else(bare)?;
    let metadata = Metadata {
        family: family.kind.family_of(name).to_owned(),
        kind: family.kind,
        unit: family.unit.clone(),
        help: family.help.clone(),
    };
    Some(metadata)
}

/// The labels under which a series is stored: its own and its target's, relabelled.
fn stored_labels(target: &Target, pairs: Pairs<'_>) -> Result<Option<Labels>, Rejected> {
    let job = &target.job;
    let names = job.exposition.names;
    if let Some((name, _)) = pairs.iter().find(|(name, value)| {
        let is_metric = name == METRIC_NAME;
        !names.take(if is_metric { value } else { name }, !is_metric)
    }) {
        return Err(Rejected(format!("invalid metric name or label names: {name:?}")));
    }
    let mut labels = with_target_labels(pairs, &target.labels, job.honor_labels);
    if !relabel(&job.metric_relabel, &mut labels) {
        return Ok(None);
    }
    let labels = labels.build();
    if labels.is_empty() {
        return Ok(None);
    }
    if labels.get(METRIC_NAME).is_none() {
        return Err(Rejected("missing metric name (__name__ label)".to_owned()));
    }
    check_limits(job, &labels)?;
    Ok(Some(labels))
}

/// With `honor`, the target's labels are set where the series has none of that name, an empty one included. Else they win,
/// and the series keeps its own under a name with `exported_` before it.
pub(super) fn with_target_labels(pairs: Pairs<'_>, target: &Labels, honor: bool) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    for (name, value) in &pairs {
        labels.set(name, value);
    }
    if honor {
        for (name, value) in target.iter().filter(|(name, _)| !pairs.iter().any(|(own, _)| own == name)) {
            labels.set(name, value);
        }
        return labels;
    }
    let mut conflicts = Vec::new();
    for (name, value) in target.iter() {
        conflicts.extend(labels.get(name).map(|own| (name.to_owned(), own.to_owned())));
        labels.set(name, value);
    }
    // Short names first, so that what comes out does not depend on the order of the labels.
    conflicts.sort_by_key(|(name, _)| name.len());
    for (mut name, value) in conflicts {
        loop {
            name.insert_str(0, "exported_");
            if labels.get(&name).is_none() {
                labels.set(&name, &value);
                break;
            }
        }
    }
    labels
}

fn check_limits(job: &Job, labels: &Labels) -> Result<(), Rejected> {
    let limits = &job.limits;
    let metric = || labels.value(METRIC_NAME).chars().take(50).collect::<String>();
    let count = labels.len() as u64;
    if limits.labels > 0 && count > limits.labels {
        let text = format!("label_limit exceeded (metric: {}, number of labels: {count}, limit: {})", metric(), limits.labels);
        return Err(Rejected(text));
    }
    for (name, value) in labels.iter() {
        let (name_bytes, value_bytes) = (name.len() as u64, value.len() as u64);
        let over = |bytes: u64, limit: u64| limit > 0 && bytes > limit;
        if over(name_bytes, limits.label_name_bytes) || over(value_bytes, limits.label_value_bytes) {
            let (what, length, limit) = if over(name_bytes, limits.label_name_bytes) {
                ("label_name_length_limit", name_bytes, limits.label_name_bytes)
            } else {
                ("label_value_length_limit", value_bytes, limits.label_value_bytes)
            };
            let name: String = name.chars().take(50).collect();
            return Err(Rejected(format!("{what} exceeded (metric: {}, label: {name}, length: {length}, limit: {limit})", metric())));
        }
    }
    Ok(())
}
