use crate::logs::source::Columns;
use crate::model::Labels;
use std::borrow::Cow;
use std::collections::HashMap;
use xxhash_rust::xxh3::xxh3_64;

/// Where a label of an entry comes from; it decides who wins a name, and where it is shown (contracts/loki.md 0, 3.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Category {
    Stream,
    Metadata,
    Parsed,
}

#[derive(Debug, Clone)]
pub struct Label<'a> {
    pub name: Cow<'a, str>,
    pub value: Cow<'a, str>,
    pub category: Category,
}

/// The labels of one entry as filters, templates, grouping and output see them: names are unique.
#[derive(Debug, Clone, Default)]
pub struct LabelSet<'a> {
    labels: Vec<Label<'a>>,
    /// Where labels are, by the hashes of their names: of many, none is looked for one by one. Not kept for few; emptied where
    /// places change, and then made anew with the next label.
    places: HashMap<u64, u32>,
    /// Bytes of names and values that parsers have found.
    parsed_bytes: usize,
    error: Option<(&'static str, String)>,
}

/// Labels that are looked for one by one.
const FEW: usize = 32;

/// Bytes of names and values that parsers may find in one line: those of nested objects grow with their depth. What is
/// beyond is left out, and said.
const PARSED_MAX_BYTES: usize = 8 << 20;
const TOO_MUCH: &str = "the line has more labels than fit into 8 MiB";

pub const ERROR: &str = "__error__";
pub const ERROR_DETAILS: &str = "__error_details__";

impl<'a> LabelSet<'a> {
    /// Stream labels, and the metadata of a row, only that with the `wanted` names if there are any; a pair whose name
    /// the stream has, too, becomes `<name>_extracted`. `bare` leaves out unwanted stream labels, too.
    pub fn of_row(stream: &'a Labels, columns: &'a Columns, row: usize, wanted: Option<&[String]>, bare: bool) -> LabelSet<'a> {
        let mut set = LabelSet::of_stream(stream, wanted.filter(|_| bare));
        columns.each_metadata(row, |name, value| {
            if wanted.is_none_or(|w| w.iter().any(|n| n == name)) {
                set.add_metadata(name, value);
            }
        });
        set
    }

    /// Stream labels alone, only `wanted` ones if there are any.
    pub fn of_stream(stream: &'a Labels, wanted: Option<&[String]>) -> LabelSet<'a> {
        let label = |(name, value)| Label { name: Cow::Borrowed(name), value: Cow::Borrowed(value), category: Category::Stream };
        let kept = stream.iter().filter(|(name, _)| wanted.is_none_or(|w| w.iter().any(|n| n == name)));
        LabelSet { labels: kept.map(label).collect(), ..LabelSet::default() }
    }

    fn add_metadata(&mut self, name: &'a str, value: Cow<'a, str>) {
        let name = match self.find(name) {
            None => Cow::Borrowed(name),
            Some(_) => Cow::Owned(format!("{name}_extracted")),
        };
        if self.find(&name).is_none() {
            self.push(Label { name, value, category: Category::Metadata });
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        if self.labels.len() > FEW && self.places.len() == self.labels.len() {
            let at = self.places.get(&xxh3_64(name.as_bytes()))?;
            if self.labels[*at as usize].name == name {
                return Some(*at as usize);
            }
        }
        self.labels.iter().position(|l| l.name == name)
    }

    fn push(&mut self, label: Label<'a>) {
        if self.labels.len() >= FEW {
            if self.places.len() != self.labels.len() {
                let hashed = |(at, label): (u32, &Label<'_>)| (xxh3_64(label.name.as_bytes()), at);
                self.places = (0..).zip(&self.labels).map(hashed).collect();
            }
            self.places.insert(xxh3_64(label.name.as_bytes()), self.labels.len() as u32);
        }
        self.labels.push(label);
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.labels.iter().map(|l| l.name.len() + l.value.len()).sum()
    }

    /// The value as filters see it: `""` when absent.
    pub fn value(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        match name {
            ERROR => self.error.as_ref().map(|(kind, _)| *kind),
            ERROR_DETAILS => None,
            name => self.find(name).map(|at| &*self.labels[at].value),
        }
    }

    /// Sets a label that a parser found. It never hides a stream label or metadata; of two values the first stays,
    /// unless `overwrite`.
    pub fn set_parsed(&mut self, name: &str, value: Cow<'a, str>, overwrite: bool) {
        self.parsed_bytes += name.len() + value.len();
        if self.parsed_bytes > PARSED_MAX_BYTES {
            self.set_error(super::errors::JSON, TOO_MUCH);
            return;
        }
        let at = match self.find(name) {
            Some(at) if self.labels[at].category != Category::Parsed => {
                let extracted = format!("{name}_extracted");
                match self.find(&extracted) {
                    Some(at) if self.labels[at].category == Category::Metadata => {
                        self.labels[at].category = Category::Parsed;
                        self.labels[at].value = value;
                        return;
                    }
                    Some(at) if self.labels[at].category == Category::Stream => return,
                    Some(at) => Some(at),
                    None => {
                        self.push(Label { name: Cow::Owned(extracted), value, category: Category::Parsed });
                        return;
                    }
                }
            }
            found => found,
        };
        match at {
            Some(at) if overwrite => self.labels[at].value = value,
            Some(_) => {}
            None => self.push(Label { name: Cow::Owned(name.to_owned()), value, category: Category::Parsed }),
        }
    }

    /// Replaces whatever has that name, as `label_format` does.
    pub fn replace(&mut self, name: &str, value: Cow<'a, str>) {
        match self.find(name) {
            Some(at) => {
                self.labels[at].value = value;
                self.labels[at].category = Category::Parsed;
            }
            None => self.push(Label { name: Cow::Owned(name.to_owned()), value, category: Category::Parsed }),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Cow<'a, str>> {
        match name {
            ERROR => {
                let removed = self.error.take();
                removed.map(|(kind, _)| Cow::Borrowed(kind))
            }
            ERROR_DETAILS => {
                if let Some((_, details)) = &mut self.error {
                    details.clear();
                }
                None
            }
            name => {
                let at = self.find(name)?;
                self.places.clear();
                Some(self.labels.remove(at).value)
            }
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.places.clear();
        self.labels.retain(|l| keep(&l.name, &l.value));
    }

    /// The first error of an entry stays.
    pub fn set_error(&mut self, kind: &'static str, details: impl Into<String>) {
        if self.error.is_none() {
            self.error = Some((kind, details.into()));
        }
    }

    pub fn error(&self) -> Option<&'static str> {
        self.error.as_ref().map(|(kind, _)| *kind)
    }

    /// All labels with their categories, errors included, in no particular order.
    pub fn output(&self) -> impl Iterator<Item = (&str, &str, Category)> + Clone {
        let labels = self.labels.iter().map(|l| (&*l.name, &*l.value, l.category));
        let error = self.error.iter().map(|(kind, _)| (ERROR, *kind, Category::Parsed));
        let details = self.error.iter().filter(|(_, d)| !d.is_empty()).map(|(_, d)| (ERROR_DETAILS, d.as_str(), Category::Parsed));
        labels.chain(error).chain(details)
    }

    /// All labels as a set in which empty values stay.
    pub fn to_labels(&self) -> Labels {
        let mut pairs: Vec<(&str, &str)> = self.output().map(|(n, v, _)| (n, v)).collect();
        pairs.sort_unstable();
        Labels::from_sorted(pairs)
    }
}
